"""The dispatcher of a server: it starts executions and sends them messages; workers advance them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from flowrunner.dispatch.attempts import attempt_all, attempt_until_outage, raise_first
from flowrunner.dispatch.links import LinkingDispatcher
from flowrunner.dispatch.temporal.admission import Admission
from flowrunner.dispatch.temporal.workflow_client import NewMessage, WorkflowClient
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Conflict, Unavailable
from flowrunner.domain.flow import Flow
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.ports.children import ChildExecutions
from flowrunner.ports.clock import Clock
from flowrunner.ports.concurrency import ConcurrencyLimits
from flowrunner.ports.dispatch import CANCEL_UNKNOWN, HANDLERS_RUN, OUTCOME_UNKNOWN, Cancel, Engine, Signal
from flowrunner.ports.due_executions import DueExecutions
from flowrunner.ports.inbox import Inbox
from flowrunner.ports.journal import JournalReader, NewExecution

logger = structlog.get_logger()

# Timeout of cancellations and signals, until a worker has recorded them.
_ANSWER_SECONDS: Final = 25.0
# The same with the queries before and after that, of which a hung database may answer none.
_MOST_SECONDS: Final = 30.0
_SHORTEST_POLL_SECONDS: Final = 0.005
_LONGEST_POLL_SECONDS: Final = 0.2
# Ages at which the sweep assumes that a message, a timer or a rejected message was forgotten.
_LATE: Final = timedelta(seconds=5)
_LATE_WAIT: Final = timedelta(seconds=30)
_FORGOTTEN: Final = timedelta(minutes=5)
_PAGE: Final = 500
# Executions of which one pass over the running ones asks Temporal; the next pass continues there.
_MOST_OF_A_PASS: Final = 5_000


class TemporalDispatcher(LinkingDispatcher):
    """Implements `ports.OpenDispatcher`."""

    def __init__(
        self,
        engine: Engine,
        workflows: WorkflowClient,
        admission: Admission,
        *,
        journal: JournalReader,
        due: DueExecutions,
        concurrency: ConcurrencyLimits,
        children: ChildExecutions,
        inbox: Inbox,
        clock: Clock,
    ) -> None:
        super().__init__(engine, concurrency, children)
        self._journal = journal
        self._due = due
        self._workflows = workflows
        self._admission = admission
        self._inbox = inbox
        self._clock = clock
        self._is_open = False
        self._queued = 0
        self._oldest_queued_seconds = 0.0
        self._is_queue_known = False
        self._checked: ExecutionId | None = None

    @property
    def is_open(self) -> bool:
        """Return whether executions are accepted."""
        return self._is_open

    @property
    def active(self) -> int:
        """Return 0: workers advance the executions."""
        return 0

    @property
    def queued(self) -> int:
        """Return the number of queued executions of all processes, as last counted."""
        return self._queued

    @property
    def oldest_queued_seconds(self) -> float:
        """Return the longest wait of all processes, for an active slot or a worker, as last read."""
        return self._oldest_queued_seconds

    @property
    def is_queue_known(self) -> bool:
        """Return whether the queue could be read the last time."""
        return self._is_queue_known

    async def can_assign(self) -> bool:
        """Return whether Temporal answers."""
        return await self._workflows.is_reachable()

    async def open(self) -> None:
        await self._engine.open_shared()
        self._is_open = True

    async def drain(self, *, seconds: float) -> None:
        """Stop accepting executions; none runs in this process."""
        self._engine.stop()

    async def close(self) -> None:
        self._is_open = False
        await self._workflows.close()

    async def _start(self, new: NewExecution, flow: Flow, input: JSON) -> None:
        if self._engine.is_stopping or not self.is_open:
            raise Unavailable("The server is stopping: try again in a moment")
        async with self._admission.counted(new) as counted:
            await self._engine.begin(counted, flow, input, at_once=False)
        if new.slot is None or not new.slot.is_queued:
            # It is durable: during an outage of Temporal the start is retried.
            id, workspace_id = new.id, new.workspace_id
            self._workflows.keep_trying(lambda: self._begin(id, workspace_id), "temporal.start_failed", id)

    async def _begin(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        if not await self._admission.keeps_waiting(id):
            await self._workflows.begin(id, workspace_id)

    async def cancel(
        self, id: ExecutionId, *, reason: str, audit: AuditEntry | None = None, force: bool = False
    ) -> None:
        is_accepted = await self._send_and_wait(id, Cancel(reason=reason, audit=audit, spares_handlers=not force))
        if is_accepted:
            return
        stored = await self._journal.stored(id)
        if is_accepted is False and not stored.status.is_final:
            raise Conflict(HANDLERS_RUN)
        if stored.status is not Status.CANCELLED:
            raise Conflict(f"The execution has already ended: it is {stored.status.value}")

    async def signal(self, id: ExecutionId, signal: Signal) -> bool:
        is_accepted = await self._send_and_wait(id, signal)
        if is_accepted is None:
            raise Conflict("The execution has ended")
        return is_accepted

    async def _send_and_wait(self, id: ExecutionId, content: Signal | Cancel) -> bool | None:
        """Send a message; return whether it was accepted, or None if the execution has ended without it."""
        unknown = CANCEL_UNKNOWN if isinstance(content, Cancel) else OUTCOME_UNKNOWN
        late = "Nothing was sent, because the database does not answer. Try again later"
        try:
            async with asyncio.timeout(_MOST_SECONDS):
                stored = await self._journal.stored(id)
                if stored.status.is_final:
                    return None
                message = await self._workflows.message(stored, content)
                late = unknown
                return await self._exchange(id, message, unknown)
        except TimeoutError:
            raise Unavailable(late) from None

    async def _exchange(self, id: ExecutionId, message: NewMessage, unknown: str) -> bool | None:
        try:
            number = await self._workflows.send(message)
        except Unavailable:
            # It may be stored.
            raise Unavailable(unknown) from None
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + _ANSWER_SECONDS
        forgotten_at = loop.time() + _FORGOTTEN.total_seconds() / 2
        async for is_last in self._polls(ends_at):
            try:
                answer = await self._inbox.answer(number)
                has_ended = answer is None and (await self._journal.stored(id)).status.is_final
            except Unavailable:
                # A worker may take it meanwhile. The read itself may have taken long.
                if loop.time() >= ends_at:
                    raise Unavailable(unknown) from None
                continue
            if answer is False:
                self._workflows.keep_trying(partial(self._delete, number), "temporal.delete_failed", id)
                return False
            if answer or ((has_ended or is_last) and not await self._withdraw(number, unknown)):
                # A deleted message was accepted, unless this process was suspended for so long that others purged it.
                if loop.time() > forgotten_at:
                    raise Unavailable(unknown)
                return True
            if has_ended:
                return None
        raise Unavailable("No worker takes it: none is running, or Temporal is unavailable. Try again later")

    async def _withdraw(self, number: int, unknown: str) -> bool:
        """Delete a message; return False if it was gone already. Raises: Unavailable with the text ``unknown``."""
        try:
            return await self._inbox.cancel(number)
        except Unavailable:
            raise Unavailable(unknown) from None

    async def _delete(self, number: int) -> None:
        """Delete a rejected message, unless it was purged. Raises: Unavailable."""
        await self._inbox.cancel(number)

    async def _polls(self, ends_at: float) -> AsyncIterator[bool]:
        """Yield at each time to poll; True at the last one, which is at ``ends_at`` by the clock of the loop."""
        loop, seconds = asyncio.get_running_loop(), _SHORTEST_POLL_SECONDS
        while loop.time() < ends_at:
            yield False
            await asyncio.sleep(seconds)
            seconds = min(seconds * 1.5, _LONGEST_POLL_SECONDS)
        yield True

    # Links between executions

    async def _send(self, id: ExecutionId, signal: Signal) -> None:
        await self._workflows.send_if_open(id, signal)

    async def _end(self, id: ExecutionId, *, reason: str) -> None:
        await self._workflows.send_if_open(id, Cancel(reason=reason))

    async def _resume_admitted(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        await self._workflows.nudge(id, workspace_id)

    def _keep_trying(self, work: Callable[[], Awaitable[None]], failure: str, what: str) -> None:
        self._workflows.keep_trying(work, failure, what)

    # Background jobs

    async def sweep(self) -> None:
        """Repeat starts and nudges that seem lost; a needless repeat is harmless.

        Raises:
            Exception: The first error, after everything was attempted.
        """
        now = self._clock.now()
        parts = (
            partial(self._sweep_inbox, now - _LATE),
            partial(self._sweep_due, now - _LATE_WAIT),
            partial(self._sweep_unowned, now - _LATE),
            partial(self._admission.sweep, late=now - _LATE, limit=_PAGE),
            partial(self._purge_inbox, now - _FORGOTTEN),
        )
        raise_first(await attempt_all(parts))

    async def _sweep_inbox(self, since: datetime) -> None:
        async def nudge(id: ExecutionId) -> None:
            await self._workflows.nudge(id, (await self._journal.stored(id)).workspace_id)

        waiting = await self._inbox.waiting(since=since, limit=_PAGE)
        raise_first(await attempt_all(partial(nudge, id) for id in waiting))

    async def _purge_inbox(self, before: datetime) -> None:
        while await self._inbox.purge(before=before, limit=_PAGE):
            pass

    async def _sweep_due(self, now: datetime) -> None:
        due = await self._due.due(now=now, limit=_PAGE)
        raise_first(await attempt_all(partial(self._workflows.nudge, *pair) for pair in due))

    async def _sweep_unowned(self, since: datetime) -> None:
        unowned = await self._due.unowned(since=since, limit=_PAGE)
        raise_first(await attempt_all(partial(self._workflows.revive, *pair) for pair in unowned))

    async def revive_suspects(self) -> None:
        """Check again the executions that, as this process has found, may wait for a dead worker."""
        await self._workflows.revive_suspects()

    async def revive_running(self) -> None:
        """Start the workflow of running executions that Temporal has lost, or whose worker has died.

        Checks a limited number of executions, after the last one of the pass before. An outage of Temporal ends the
        pass, and the next one begins with the same page.

        Raises:
            Exception: The first error, after the others were attempted.
        """
        self._checked, errors = await self._revive_after(self._checked, most=_MOST_OF_A_PASS)
        raise_first(errors)

    async def _revive_all(self) -> None:
        _, errors = await self._revive_after(None, most=None)
        raise_first(errors)

    async def _revive_after(
        self, after: ExecutionId | None, *, most: int | None
    ) -> tuple[ExecutionId | None, Sequence[Exception]]:
        """Check running executions after ``after``.

        Returns: The last one that was checked, or None if no more follow; and the errors.
        """
        errors: list[Exception] = []
        checked = 0
        while most is None or checked < most:
            page = await self._due.unfinished(after=after, limit=_PAGE)
            found, is_outage = await attempt_until_outage(partial(self._workflows.revive, *pair) for pair in page)
            errors += found
            if is_outage:
                break
            if len(page) < _PAGE:
                return None, errors
            checked += len(page)
            after = page[-1][0]
        return after, errors

    async def count_queued(self) -> None:
        """Read how many executions wait for an active slot or for a worker, and since when. Raises: Unavailable."""
        try:
            self._queued, since = await self._admission.waiting()
        except Exception:
            self._is_queue_known = False
            raise
        self._is_queue_known = True
        waited = timedelta(0) if since is None else self._clock.now() - since
        self._oldest_queued_seconds = max(0.0, waited.total_seconds())

    async def restart_all(self) -> None:
        """Repeat every start and notification that may be lost: Temporal may be another one than before."""
        parts = (self._revive_all, partial(self._admission.sweep_lost, limit=_PAGE), self._reconcile_all)
        raise_first(await attempt_all(parts))
