"""Reruns: executions that repeat another one, as a whole, with other input, or from one of its steps."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple, TypedDict

import msgspec

from flowrunner.bounded_json import decode_json
from flowrunner.domain.account import Caller
from flowrunner.domain.causes import Rerun, keys_of
from flowrunner.domain.errors import Conflict, Unavailable, invalid
from flowrunner.domain.events import InputEdited, Started
from flowrunner.domain.flow import Flow
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
from flowrunner.domain.values import JSON, AccountId, ExecutionId, RevisionId
from flowrunner.ports.clock import Clock
from flowrunner.ports.executions import ExecutionDetail, ExecutionReader
from flowrunner.ports.flows import CompiledFlows, FlowStore
from flowrunner.ports.journal import JournalReader
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
    """The arguments of `Reruns.rerun` that suit many executions, as a job stores them."""

    from_step: str
    failed_elements: bool
    revision: int | str
    same_keys: bool


def check_options(options: RerunOptions) -> None:
    """Raises: InvalidInput if no execution can be re-run with these options."""
    if options.get("failed_elements") and "from_step" not in options:
        raise invalid("elements", "needs 'from', the loop whose elements they are")
    revision = options.get("revision", CURRENT)
    if isinstance(revision, str) and revision not in (CURRENT, _SAME) and not revision.startswith(_LABEL):
        hint = f"write '{_LABEL}{revision}' for the revision with that label"
        raise invalid("revision", "must be current, same, a number, or label: and a label", hint=hint)


class _RerunStart(NamedTuple):
    step: str
    failed_elements: bool


class _Edit(NamedTuple):
    value: JSON
    by: AccountId
    at: datetime


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
        *,
        from_step: str | None = None,
        failed_elements: bool = False,
        node_input: NodeInput | None = None,
        input: Mapping[str, JSON] | None = None,
        labels: Mapping[str, str] | None = None,
        revision: int | str = CURRENT,
        same_keys: bool = False,
        idempotency_key: str | None = None,
        new_id: ExecutionId | None = None,
    ) -> StartedExecution:
        """Start an execution that repeats ``id``, keeping the results before ``from_step``.

        Args:
            from_step: The node to start at, or a step such as `each.1[4]/push.1`; None repeats the whole execution.
            failed_elements: ``from_step`` is a loop, whose completed elements are kept, too.
            node_input: The input of ``from_step``; None is the one that it had.
            input: The input; None is the input of ``id``.
            labels: All labels of the new execution; None are those of ``id``.
            revision: The flow's revision to run: `current`, `same` for the one that ran, a number, or `label:` and the
                author's label.
            new_id: The id of the new execution, if the caller needs it before.
            same_keys: Send the same idempotency keys as the steps of ``id``.

        Raises:
            NotFound.
            InvalidInput: If there is no such step, ``node_input`` or ``failed_elements`` comes without a step, or both
                come together, the loop has no failed elements, the input or a label is invalid, or the key was used for
                another request.
            Conflict: If the kept events do not fit the revision.
        """
        if node_input is not None and from_step is None:
            raise invalid(
                "node_input", "needs 'from', the node whose input it is", hint="Or send 'input', the execution's"
            )
        options = RerunOptions(failed_elements=failed_elements, revision=revision)
        check_options(options if from_step is None else {**options, "from_step": from_step})
        if failed_elements and node_input is not None:
            raise invalid("node_input", "does not go with 'elements': each has the element of the list as its input")
        key = digest = None
        if idempotency_key is not None:
            key = stored_form(idempotency_key)
            more: list[JSON] = [
                *([] if labels is None else [labels]),
                # In a list, to tell it from labels.
                *([] if node_input is None else [[node_input.value]]),
                *(["failed"] if failed_elements else []),
            ]
            digest = digest_of_request([id, from_step, input, revision, same_keys, *more])
            repeated = await self._executions.accepted_before(caller.workspace_id, key, digest, earlier=idempotency_key)
            if repeated is not None:
                return await self._with_revision(caller, repeated)
        before = await self._reader.get(caller.workspace_id, id)
        revision_id = await self._revision_named(caller, before, revision)
        kept: Sequence[Timed] = ()
        if from_step is not None:
            edit = None if node_input is None else _Edit(node_input.value, caller.account_id, self._clock.now())
            # The revision that ran needs no check.
            changed = None if revision_id == before.revision_id else revision_id
            place = _RerunStart(from_step, failed_elements=failed_elements)
            kept, misfits = await self._kept_before(caller, id, place, edit, changed)
            if misfits is not None:
                raise _does_not_fit(revision, misfits)
        try:
            accepted = await self._executions.accept(
                StartRequest(
                    workspace_id=caller.workspace_id,
                    flow_id=before.flow_id,
                    input=await on_thread_if(len(before.input), decode_json, before.input) if input is None else input,
                    cause=Rerun(
                        by=caller.account_id,
                        of=id,
                        from_step=from_step,
                        keys_of=await self._keys_of(id) if same_keys else None,
                    ),
                    caller=caller,
                    revision_id=revision_id,
                    idempotency_key=key,
                    sent_key=idempotency_key,
                    digest=digest,
                    labels=_labels_of(before) if labels is None else checked_labels(labels),
                    kept=kept,
                    id=new_id,
                )
            )
        except IllegalEvent as error:
            raise _does_not_fit(revision, str(error)) from None
        # It has started, which an outage must not hide: then the answer does not name the revision.
        with contextlib.suppress(Unavailable):
            return await self._with_revision(caller, accepted)
        return accepted

    async def _kept_before(
        self, caller: Caller, id: ExecutionId, place: _RerunStart, edit: _Edit | None, revision_id: RevisionId | None
    ) -> tuple[Sequence[Timed], str | None]:
        """Return the events before a place, and what does not fit a revision, or None. Raises: InvalidInput."""
        flow = None if revision_id is None else await self._library.get(caller.workspace_id, revision_id)
        now = self._clock.now()
        try:
            return await self._replays.of(caller, id, lambda events: _kept(events, place, flow, edit, now))
        except NoSuchStep as error:
            raise invalid("from", str(error)) from None
        except NoFailedElements as error:
            hint = "leave out 'elements' to run all of it again"
            raise invalid("elements", str(error), hint=hint) from None

    async def _revision_named(self, caller: Caller, before: ExecutionDetail, revision: int | str) -> RevisionId:
        """Raises: NotFound, InvalidInput."""
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
        first = await self._journal.events(id, after=0, limit=1)
        started = first[0].event if first else None
        return (keys_of(started.cause) if isinstance(started, Started) else None) or id

    async def _with_revision(self, caller: Caller, accepted: StartedExecution) -> StartedExecution:
        return replace(accepted, revision=(await self._reader.get(caller.workspace_id, accepted.id)).revision)


def _kept(
    events: Sequence[Timed], place: "_RerunStart", flow: Flow | None, edit: "_Edit | None", now: datetime
) -> tuple[Sequence[Timed], str | None]:
    """Return the kept events, and why the flow cannot continue after them; None if it can.

    Raises: NoSuchStep, NoFailedElements.
    """
    start = find_step(events, place.step)
    kept = with_time_left((kept_elements if place.failed_elements else kept_before)(events, start), now)
    if edit is not None:
        kept = with_input(kept, InputEdited(**start._asdict(), input=edit.value, by=edit.by), edit.at)
    return kept, None if flow is None else misfit(kept, start, flow)


def _labels_of(execution: ExecutionDetail) -> Mapping[str, str]:
    labels: Mapping[str, str] = NO_LABELS if execution.labels is None else msgspec.json.decode(execution.labels)
    return labels


def _does_not_fit(revision: int | str, why: str) -> Conflict:
    named = "The current revision" if revision == CURRENT else f"The revision {str(revision).removeprefix(_LABEL)}"
    return Conflict(
        f'{named} of the flow does not fit what the execution has done: {why}. Send "revision": "same" to run the '
        "revision that ran, or leave out 'from' to run the whole flow"
    )
