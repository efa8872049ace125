"""The parameters that a past attempt of a step was given, such as the URL and the body of a request.

They are not recorded. Expressions read what the execution has recorded, so they are evaluated again on request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from flowrunner.domain.account import Caller
from flowrunner.domain.causes import Rerun
from flowrunner.domain.errors import Conflict, InvalidFlow
from flowrunner.domain.events import ErrorValue, Event, NodeCompleted, NodeFailed, NodeStarted, Step, StepEvent
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.rerun import Timed
from flowrunner.domain.transitions import apply
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.ports.flows import CompiledFlows
from flowrunner.ports.step_params import PastAttempt, PastParams
from flowrunner.services.replays import Replays
from flowrunner.services.step_values import Preview, preview_of
from flowrunner.services.steps import Steps

# Bytes of the parameters, and of a value that a failed expression reads, that are shown whole.
_PARAMS_BYTES: Final = 256 * 1024
_READ_BYTES: Final = 4 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamsErrorView:
    """A part of the parameters without a value. Args: reads: What it reads, by name."""

    path: str
    message: str
    reads: dict[str, Preview]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamsView:
    """The parameters of an attempt.

    Attributes:
        params: None if the attempt was given none that can be shown.
        reasons: Why they may differ from those of the attempt; empty if they are the same.
    """

    step: str
    attempt: int
    params: Preview | None
    errors: Sequence[ParamsErrorView]
    reasons: Sequence[str]


class StepParams:
    """Use case of looking at the parameters of an attempt."""

    def __init__(self, steps: Steps, replays: Replays, library: CompiledFlows, params: PastParams) -> None:
        self._steps = steps
        self._replays = replays
        self._library = library
        self._params = params

    async def of(self, caller: Caller, id: ExecutionId, step_id: int, attempt: int | None) -> ParamsView:
        """Return the parameters of an attempt of a step, of the latest one by default.

        Raises:
            NotFound: Also if the revision was deleted.
            InvalidInput: If the step has had fewer attempts.
            Conflict: If the events or the revision cannot be read.
            Unavailable: If the evaluation takes too long.
        """
        stored, step, number = await self._steps.attempt(caller, id, step_id, attempt)
        try:
            flow = await self._library.get(caller.workspace_id, stored.revision_id)
        except InvalidFlow as error:
            raise Conflict(f"The revision of this execution can no longer be read: {error}") from error
        past = _History(step, number)
        async with self._replays.up_to(caller, id, past.add):
            found = await self._params.of(
                PastAttempt(
                    execution=stored,
                    flow=flow,
                    state=past.state,
                    step=step,
                    started_at=past.started_at,
                    error=past.error,
                    has_ended=past.has_ended,
                    others_set_variables=past.others_set_variables,
                )
            )
            earlier = () if past.ran_in is None else (f"The step ran in the execution {past.ran_in}: see there",)
            errors = [
                ParamsErrorView(
                    path=error.path,
                    message=error.message,
                    reads={name: _preview(value, _READ_BYTES) for name, value in error.reads.items()},
                )
                for error in found.errors
            ]
            return ParamsView(
                step=str(step),
                attempt=number,
                params=_preview(found.params, _PARAMS_BYTES) if found.has_params else None,
                errors=errors,
                reasons=[*earlier, *found.reasons],
            )


def _preview(value: JSON, most: int) -> Preview:
    return preview_of(msgspec.json.encode(value), most)


class _History:
    """The events of an execution up to the end of an attempt.

    Attributes:
        state: The state right after its start.
        others_set_variables: Other steps have set variables while it ran.
        ran_in: The execution in which it ran, if this one has repeated that and kept the step.
    """

    def __init__(self, step: Step, number: int) -> None:
        self._step = step
        self._number = number
        self.state = ExecutionState()
        self.error: ErrorValue | None = None
        self.has_ended = False
        self.others_set_variables = False
        self.ran_in: ExecutionId | None = None
        self._begun_at: datetime | None = None
        self._started_at: datetime | None = None

    @property
    def started_at(self) -> datetime:
        """Raises: Conflict if the events have no such attempt."""
        if self._started_at is None:
            raise Conflict("The events of this execution do not have the start of the attempt")
        return self._started_at

    def add(self, events: Sequence[Timed]) -> bool:
        """Add the next events, and return whether no others are needed. Raises: IllegalEvent."""
        for event, at in events:
            if self._started_at is None:
                self._before(event, at)
            elif isinstance(event, StepEvent) and event.step == self._step:
                self.has_ended = True
                self.error = event.error if isinstance(event, NodeFailed) else None
                return True
            elif isinstance(event, NodeCompleted) and event.vars:
                self.others_set_variables = True
        return False

    def _before(self, event: Event, at: datetime) -> None:
        apply(self.state, event, at)
        if self._begun_at is None:
            self._begun_at = at
        if isinstance(event, NodeStarted) and event.step == self._step and event.attempt == self._number:
            self._started_at = at
            if isinstance(self.state.cause, Rerun) and at < self._begun_at:
                self.ran_in = self.state.cause.of
