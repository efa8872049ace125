"""Reruns: executions that repeat another one, as a whole, with other input, or from one of its steps."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypedDict

import msgspec

from flowrunner.bounded_json import decode_json
from flowrunner.domain.account import Caller
from flowrunner.domain.causes import Rerun, keys_of
from flowrunner.domain.errors import Conflict, Unavailable, invalid
from flowrunner.domain.events import InputEdited
from flowrunner.domain.labels import NO_LABELS, checked_labels
from flowrunner.domain.request_keys import stored_form
from flowrunner.domain.rerun import (
    NoFailedElements,
    NoSuchStep,
    Timed,
    find_step,
    kept_before,
    kept_elements,
    misfit,
    with_input,
    with_time_left,
)
from flowrunner.domain.transitions import IllegalEvent
from flowrunner.domain.values import JSON, ExecutionId, RevisionId
from flowrunner.ports.clock import Clock
from flowrunner.ports.executions import ExecutionDetail, ExecutionReader
from flowrunner.ports.flows import CompiledFlows, FlowStore
from flowrunner.ports.journal import JournalReader
from flowrunner.services.chain_depth import cause_of
from flowrunner.services.executions import Executions, StartedExecution, StartRequest
from flowrunner.services.replays import Replays
from flowrunner.services.request_keys import digest_of_request
from flowrunner.threads import on_thread_if

CURRENT: Final = "current"
_SAME: Final = "same"
_LABEL: Final = "label:"


class NodeInput(NamedTuple):
    """Another input of the step that a rerun begins at; null is one, too."""

    value: JSON


class RerunOptions(TypedDict, total=False):
    """The fields of `RerunRequest` that suit many executions, as a job stores them."""

    from_step: str
    failed_elements: bool
    revision: int | str
    same_keys: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunRequest:
    """The part of an execution that is repeated, and what is different then.

    Attributes:
        from_step: The node to start at, or a step such as `each.1[4]/push.1`; None repeats the whole execution.
        failed_elements: ``from_step`` is a loop, whose completed elements are kept, too.
        node_input: The input of ``from_step``; None is the one that it had.
        input: The input; None is that of the execution.
        labels: All labels of the new execution; None are those of the execution.
        revision: The flow's revision to run: `current`, `same` for the one that ran, a number, or `label:` and the
            author's label.
        same_keys: Send the same idempotency keys as the steps of the execution.
    """

    from_step: str | None = None
    failed_elements: bool = False
    node_input: NodeInput | None = None
    input: Mapping[str, JSON] | None = None
    labels: Mapping[str, str] | None = None
    revision: int | str = CURRENT
    same_keys: bool = False

    def check(self) -> None:
        """Raises: InvalidInput if no execution can be re-run so, whatever it has done."""
        if self.node_input is not None and self.from_step is None:
            hint = "Or send 'input', the execution's"
            raise invalid("node_input", "needs 'from', the node whose input it is", hint=hint)
        if self.failed_elements and self.from_step is None:
            raise invalid("elements", "needs 'from', the loop whose elements they are")
        revision = self.revision
        if isinstance(revision, str) and revision not in (CURRENT, _SAME) and not revision.startswith(_LABEL):
            hint = f"write '{_LABEL}{revision}' for the revision with that label"
            raise invalid("revision", "must be current, same, a number, or label: and a label", hint=hint)
        if self.failed_elements and self.node_input is not None:
            raise invalid("node_input", "does not go with 'elements': each has the element of the list as its input")

    def digest(self, id: ExecutionId) -> str:
        """Return the digest that tells a repeated request for an execution from another one with the same key."""
        more: list[JSON] = [
            *([] if self.labels is None else [self.labels]),
            # In a list, to tell it from labels.
            *([] if self.node_input is None else [[self.node_input.value]]),
            *(["failed"] if self.failed_elements else []),
        ]
        return digest_of_request([id, self.from_step, self.input, self.revision, self.same_keys, *more])


_WHOLE: Final = RerunRequest()


class Reruns:
    def __init__(
        self,
        executions: Executions,
        reader: ExecutionReader,
        journal: JournalReader,
        flows: FlowStore,
        library: CompiledFlows,
        *,
        replays: Replays,
        clock: Clock,
    ) -> None:
        self._executions = executions
        self._reader = reader
        self._journal = journal
        self._replays = replays
        self._flows = flows
        self._library = library
        self._clock = clock

    async def rerun(
        self,
        caller: Caller,
        id: ExecutionId,
        asked: RerunRequest = _WHOLE,
        *,
        idempotency_key: str | None = None,
        new_id: ExecutionId | None = None,
    ) -> StartedExecution:
        """Start an execution that repeats ``id``, keeping the results before the step that it starts at.

        Args:
            new_id: The id of the new execution, if the caller needs it before.

        Raises:
            NotFound.
            InvalidInput: If there is no such step, the fields of the request do not go together, the loop has no failed
                elements, the input or a label is invalid, or the key was used for another request.
            Conflict: If the kept events do not fit the revision.
        """
        asked.check()
        key = digest = None
        if idempotency_key is not None:
            key, digest = stored_form(idempotency_key), asked.digest(id)
            repeated = await self._executions.accepted_before(caller.workspace_id, key, digest, earlier=idempotency_key)
            if repeated is not None:
                return await self._with_revision(caller, repeated)
        before = await self._reader.get(caller.workspace_id, id)
        request = replace(
            await self._request(caller, before, asked),
            idempotency_key=key,
            sent_key=idempotency_key,
            digest=digest,
            id=new_id,
        )
        try:
            accepted = await self._executions.accept(request)
        except IllegalEvent as error:
            raise _does_not_fit(asked.revision, str(error)) from None
        # It has started, which an outage must not hide: then the answer does not name the revision.
        with contextlib.suppress(Unavailable):
            return await self._with_revision(caller, accepted)
        return accepted

    async def _request(self, caller: Caller, before: ExecutionDetail, asked: RerunRequest) -> StartRequest:
        """Return the start of an execution that repeats one. Raises: NotFound, InvalidInput; Conflict as `_kept`."""
        revision_id = await self._revision_named(caller, before, asked.revision)
        kept: Sequence[Timed] = ()
        if asked.from_step is not None:
            kept = await self._kept(caller, before, asked, asked.from_step, revision_id)
        given = asked.input
        input = await on_thread_if(len(before.input), decode_json, before.input) if given is None else given
        return StartRequest(
            workspace_id=caller.workspace_id,
            flow_id=before.flow_id,
            input=input,
            cause=Rerun(
                by=caller.account_id,
                of=before.id,
                from_step=asked.from_step,
                keys_of=await self._keys_of(before.id) if asked.same_keys else None,
            ),
            caller=caller,
            revision_id=revision_id,
            labels=_labels_of(before) if asked.labels is None else checked_labels(asked.labels),
            kept=kept,
        )

    async def _kept(
        self, caller: Caller, before: ExecutionDetail, asked: RerunRequest, from_step: str, revision_id: RevisionId
    ) -> Sequence[Timed]:
        """Return the events before a step. Raises: InvalidInput; Conflict if they do not fit the revision."""
        flow, now = None, self._clock.now()
        # The revision that ran needs no check.
        if revision_id != before.revision_id:
            flow = await self._library.get(caller.workspace_id, revision_id)

        def evaluate(events: Sequence[Timed]) -> tuple[Sequence[Timed], str | None]:
            start = find_step(events, from_step)
            kept = with_time_left((kept_elements if asked.failed_elements else kept_before)(events, start), now)
            if asked.node_input is not None:
                edited = InputEdited(**start._asdict(), input=asked.node_input.value, by=caller.account_id)
                kept = with_input(kept, edited, now)
            return kept, None if flow is None else misfit(kept, start, flow)

        try:
            kept, why_not = await self._replays.of(caller, before.id, evaluate)
        except NoSuchStep as error:
            raise invalid("from", str(error)) from None
        except NoFailedElements as error:
            hint = "leave out 'elements' to run all of it again"
            raise invalid("elements", str(error), hint=hint) from None
        if why_not is not None:
            raise _does_not_fit(asked.revision, why_not)
        return kept

    async def _revision_named(self, caller: Caller, before: ExecutionDetail, revision: int | str) -> RevisionId:
        """Raises: NotFound."""
        match revision:
            case str() if revision == _SAME:
                return before.revision_id
            case str() if revision == CURRENT:
                return (await self._flows.current(caller.workspace_id, before.flow_id)).revision_id
            case str():
                revision = revision.removeprefix(_LABEL)
        return await self._flows.revision_named(caller.workspace_id, before.flow_id, revision)

    async def _keys_of(self, id: ExecutionId) -> ExecutionId:
        """Return the execution whose idempotency keys the steps of ``id`` sent."""
        cause = await cause_of(self._journal, id)
        return (None if cause is None else keys_of(cause)) or id

    async def _with_revision(self, caller: Caller, accepted: StartedExecution) -> StartedExecution:
        return replace(accepted, revision=(await self._reader.get(caller.workspace_id, accepted.id)).revision)


def _labels_of(execution: ExecutionDetail) -> Mapping[str, str]:
    labels: Mapping[str, str] = NO_LABELS if execution.labels is None else msgspec.json.decode(execution.labels)
    return labels


def _does_not_fit(revision: int | str, why: str) -> Conflict:
    named = "The current revision" if revision == CURRENT else f"The revision {str(revision).removeprefix(_LABEL)}"
    return Conflict(
        f'{named} of the flow does not fit what the execution has done: {why}. Send "revision": "same" to run the '
        "revision that ran, or leave out 'from' to run the whole flow"
    )
