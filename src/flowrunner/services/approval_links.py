"""Approvals that are answered by their links, by people without an account."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from flowrunner.domain.account import Caller
from flowrunner.domain.approvals import BY_LINK
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.errors import Conflict, FlowRunnerError, NotFound
from flowrunner.domain.events import NodeCompleted, NodeWaiting, SignalReceived, Step
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.rerun import Timed
from flowrunner.domain.status import StepStatus
from flowrunner.domain.step_state import StepState
from flowrunner.domain.transitions import replay
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId, rfc3339
from flowrunner.domain.waits import ApprovalWait, signal_key
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.ports.approval_links import ApprovalLinks, ApprovalPlace
from flowrunner.ports.clock import Clock
from flowrunner.ports.dispatch import Dispatcher, Signal
from flowrunner.ports.executions import ExecutionReader
from flowrunner.ports.journal import Unreadable
from flowrunner.services.account_locks import Locks
from flowrunner.services.rates import Allowance
from flowrunner.services.replays import Replays
from flowrunner.services.signals import Signals, checked_data

# Requests with the link of an approval in a minute; each may read a long execution.
MOST_REQUESTS: Final = 60

# Why a link no longer answers: its approval has its answer, has waited long enough, or ended with its execution; or the
# link was revoked.
LinkEnd: TypeAlias = Literal["answered", "expired", "ended", "revoked"]


class LinkUnknown(FlowRunnerError):
    """A link that this installation has not signed, or whose execution is gone."""


class LinkIsOver(FlowRunnerError):
    """A link that no longer answers."""

    def __init__(self, reason: LinkEnd) -> None:
        super().__init__(f"The link no longer answers: {reason}")
        self.reason: LinkEnd = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedApproval:
    """An approval that waits, as the owner of its link sees it.

    Attributes:
        until: The end of the wait; None for no limit.
    """

    place: ApprovalPlace
    workspace_id: WorkspaceId
    flow_name: str
    step: Step
    wait: ApprovalWait
    until: datetime | None


class LinkedApprovals:
    def __init__(
        self,
        links: ApprovalLinks,
        reader: ExecutionReader,
        replays: Replays,
        dispatcher: Dispatcher,
        signals: Signals,
        *,
        schemas: SchemaEngine,
        clock: Clock,
    ) -> None:
        self._links = links
        self._reader = reader
        self._replays = replays
        self._dispatcher = dispatcher
        self._signals = signals
        self._schemas = schemas
        self._clock = clock
        self._locks: Locks[ExecutionId] = Locks()
        self._checking: Locks[WorkspaceId] = Locks()
        self._requests: Allowance[ApprovalPlace] = Allowance(
            MOST_REQUESTS,
            limit="link_requests",
            message="This link is used more than {most} times a minute: wait before the next one",
        )

    async def open(self, token: str) -> LinkedApproval:
        """Return the approval of a link, without answering it. Raises: LinkUnknown, LinkIsOver, TooManyRequests."""
        # Nothing is read for a token that nobody has signed.
        place = self._links.read(token)
        if place is None:
            raise LinkUnknown
        now = self._clock.now()
        self._requests.take(place, at=now)
        async with self._locks.of(place.execution_id):
            try:
                stored, found = await self._replays.read(place.execution_id, lambda events: _linked(events, place, now))
                if isinstance(found, str):
                    raise LinkIsOver(found)
                # As in a list: its input and what it waits for may have megabytes.
                executions = await self._reader.summaries([place.execution_id])
            except (NotFound, Unreadable):
                raise LinkUnknown from None
        if not executions:
            raise LinkUnknown
        _, execution = executions[0]
        current = found
        wait, waiting = current.approval, current.waiting
        assert wait is not None, "no other wait was looked for"
        assert waiting is not None, "no other wait was looked for"
        return LinkedApproval(
            place=place,
            workspace_id=stored.workspace_id,
            flow_name=execution.flow_name or "",
            step=current.step,
            wait=wait,
            until=waiting.due_at,
        )

    async def answer(self, approval: LinkedApproval, *, approved: bool, data: JSON, address: str) -> None:
        """Answer an approval by its link, once. Durable on return.

        Args:
            address: The client's address.

        Raises:
            InvalidInput: The data do not match the form.
            Conflict: The form is not a usable schema.
            LinkIsOver: Another answer came first.
        """
        wait, now = approval.wait, self._clock.now()
        # There are few threads, so the links of a workspace use one at a time.
        async with self._checking.of(approval.workspace_id):
            data = await asyncio.to_thread(checked_data, wait.form, data, approved=approved, schemas=self._schemas)
        answer: JSON = {"approved": approved, "by": BY_LINK, "at": rfc3339(now), "data": data}
        node = await self._signals.node_in_entry(approval.workspace_id, approval.step)
        entry = AuditEntry(
            at=now,
            action="execution.approval.answered",
            object=("execution", approval.place.execution_id),
            credential=BY_LINK,
            address=address,
            workspace_id=approval.workspace_id,
            details={"node": node, "approved": approved},
        )
        key = signal_key("approval", str(approval.step))
        signal = Signal(key=key, payload=answer, by=BY_LINK, if_awaited=True, audit=entry)
        try:
            is_taken = await self._dispatcher.signal(approval.place.execution_id, signal)
        except Conflict:
            is_taken = False
        if not is_taken:
            raise LinkIsOver("answered")

    async def revoke(self, caller: Caller, id: ExecutionId, node: str) -> None:
        """Revoke the link of an approval, which then waits for members alone. Durable on return.

        Args:
            node: The node that waits, or the step if several runs of the node wait.

        Raises:
            NotFound.
            Conflict: If nothing waits for an approval there, or no link answers it.
        """
        await self._reader.get(caller.workspace_id, id)
        waiting = await self._signals.waiting_for_approval(caller, id, node)
        if waiting.approval is None or not waiting.approval.link or waiting.is_link_revoked:
            raise Conflict("No link answers this approval")
        details: dict[str, JSON] = {"node": await self._signals.node_in_entry(caller.workspace_id, waiting.step)}
        entry = act(caller, "execution.approval.link_revoked", "execution", id, at=self._clock.now(), details=details)
        key = signal_key("link", str(waiting.step))
        signal = Signal(key=key, payload=None, by=caller.account_id, if_awaited=True, audit=entry)
        if not await self._dispatcher.signal(id, signal):
            raise Conflict("This approval has been answered already")


def _linked(events: Sequence[Timed], place: ApprovalPlace, now: datetime) -> StepState | LinkEnd:
    """Return the step that waits since an event; or why no link answers it any longer."""
    state, seq = replay(events), place.seq
    event, at = events[seq - 1] if seq <= len(events) else (None, now)
    if place.since not in (None, at):
        # The link was sent after the backup from which the execution was restored.
        return "ended"
    if not isinstance(event, NodeWaiting) or not isinstance(event.wait_for, ApprovalWait) or not event.wait_for.link:
        return "ended"
    step = event.step
    current = _waiting_at(state, step, seq)
    if current is None:
        return _end_of(events[seq:], step, event)
    if any(answer.by == BY_LINK for answer in current.answers):
        return "answered"
    if current.is_link_revoked:
        return "revoked"
    if event.due_at is not None and now >= event.due_at:
        return "expired"
    return current


def _waiting_at(state: ExecutionState, step: Step, seq: int) -> StepState | None:
    frame = state.frames.get(step.scope)
    current = None if frame is None else frame.steps.get(step.node)
    if current is None or current.step != step or current.wait_seq != seq or state.ending is not None:
        return None
    return current if current.status is StepStatus.WAITING else None


def _end_of(later: Sequence[Timed], step: Step, event: NodeWaiting) -> LinkEnd:
    for each, _ in later:
        if isinstance(each, SignalReceived) and each.key == event.signal_key:
            return "answered"
        if isinstance(each, NodeCompleted) and (each.node, each.iteration, each.scope) == step:
            return "expired" if each.action == event.action else "answered"
    return "ended"
