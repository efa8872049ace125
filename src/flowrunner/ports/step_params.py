"""The parameters that a past attempt of a step was given, worked out again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.events import ErrorValue, Step
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.flow import Flow
from flowrunner.domain.partial_rendering import PartError
from flowrunner.domain.values import JSON
from flowrunner.ports.journal import StoredExecution


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """An attempt of a step, as the execution has recorded it.

    Attributes:
        state: The state of the execution right after the attempt has started.
        error: The error that it has ended with; None if it has not failed.
        has_ended: It has ended, or waits.
        others_set_variables: Other steps have set variables while it ran.
    """

    execution: StoredExecution
    flow: Flow
    state: ExecutionState
    step: Step
    started_at: datetime
    error: ErrorValue | None
    has_ended: bool
    others_set_variables: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedParams:
    """The parameters of a past attempt, without secrets: `${secrets.NAME}` stands for the value of each.

    Attributes:
        has_params: False if the step was skipped, if none could be evaluated, and if they are too large to be shown.
        params: With null for the parts that have no value.
        errors: These parts.
        reasons: Why the attempt may have been given others; empty if it was given these.
    """

    has_params: bool
    params: JSON
    errors: Sequence[PartError]
    reasons: Sequence[str]


class PastParams(Protocol):
    async def of(self, attempt: PastAttempt) -> ResolvedParams:
        """Evaluate the parameters of an attempt again, for a bounded time, without running its node.

        Raises: Unavailable: If it takes too long, or the sandbox or the secrets cannot be reached.
        """
        ...
