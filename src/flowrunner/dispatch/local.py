"""The dispatcher that advances executions in the server's own process."""

import asyncio
import contextlib
import traceback
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import structlog

from flowrunner.dispatch.attempts import seconds_after, until_done
from flowrunner.dispatch.fair_queue import ActiveLimit, FairQueue
from flowrunner.dispatch.interruptions import Interruptions
from flowrunner.dispatch.links import LinkingDispatcher
from flowrunner.dispatch.timers import Timers
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Conflict, NotFound, Unavailable
from flowrunner.domain.events import Step
from flowrunner.domain.flow import Flow
from flowrunner.domain.limits import UNLIMITED, WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.fair_slots import FairSlots
from flowrunner.ports.children import ChildExecutions
from flowrunner.ports.clock import Clock
from flowrunner.ports.concurrency import ConcurrencyLimits
from flowrunner.ports.dispatch import (
    CANCEL_UNKNOWN,
    HANDLERS_RUN,
    OUTCOME_UNKNOWN,
    ActiveExecution,
    Cancel,
    Engine,
    Signal,
)
from flowrunner.ports.due_executions import DueExecutions
from flowrunner.ports.journal import Fenced, JournalReader, NewExecution
from flowrunner.ports.read_turns import READS_FOR
from flowrunner.retrying import retry, rising
from flowrunner.tasks import cancel_all
from flowrunner.threads import OF_PACKAGE

logger = structlog.get_logger()

_PAGE: Final = 500
_RECOVERY_DELAY: Final = rising(1.0)
SURE_OF_A_WORKSPACE: Final = 5
# Executions in memory only for a message of another one, such as the children of one that has ended.
MOST_LINKED: Final = 16
_MOST_LOOKUPS: Final = 4
# Timeout of cancellations and signals, as with Temporal: a full disk may stay full.
_ANSWER_SECONDS: Final = 30.0
# A cancel call waits this long for the handlers of the flow's end, which then continue.
_HANDLERS_SECONDS: Final = 10.0


@dataclass(slots=True)
class _Slot:
    """The slot of an execution that is in memory, or is being loaded.

    Attributes:
        workspace_id: The workspace it is counted for; None until that is known, or if it only processes messages.
        messages: Messages that arrived before it was loaded, each with the future for its answer.
        reload: Load it again after it has left memory: it may have missed a change.
        queued_since: Its time in the queue that a message has taken it from, if one has.
        has_left: Set when it has left memory.
    """

    workspace_id: WorkspaceId | None
    execution: ActiveExecution | None = None
    reload: bool = False
    queued_since: float | None = None
    messages: "list[tuple[Signal | Cancel, asyncio.Future[bool]]]" = field(default_factory=list)
    has_left: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, message: Signal | Cancel, answer: "asyncio.Future[bool]") -> None:
        """Pass a message to the execution, once it is loaded."""
        if self.execution is None:
            self.messages.append((message, answer))
        elif isinstance(message, Cancel):
            self.execution.cancel(message, answer)
        else:
            self.execution.receive(message, answer)

    def deliver(self) -> None:
        """Pass on the messages that arrived before the execution was loaded."""
        messages, self.messages = self.messages, []
        for message, answer in messages:
            self.put(message, answer)


class LocalDispatcher(LinkingDispatcher):
    """Implements `ports.OpenDispatcher`.

    Args:
        most_active: Limit of executions in memory. Further ones are queued round-robin over workspaces, and each of
            these may always have a few in memory.
        limits: Limits of each workspace's executions in memory and in the queue.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        journal: JournalReader,
        due: DueExecutions,
        concurrency: ConcurrencyLimits,
        children: ChildExecutions,
        most_active: int,
        limits: WorkspaceLimits = UNLIMITED,
    ) -> None:
        super().__init__(engine, concurrency, children)
        self._journal = journal
        self._due = due
        self._limits = limits
        self._active_limit = ActiveLimit(most_active, SURE_OF_A_WORKSPACE, most_of_one=limits.active)
        self._slots: dict[ExecutionId, _Slot] = {}
        self._queue = FairQueue()
        # As the engine knows it.
        self._others_wait = False
        # New executions that are being written and will be queued then.
        self._accepting: defaultdict[WorkspaceId, set[ExecutionId]] = defaultdict(set)
        # Executions that are loaded, for a message of another one, regardless of free slots.
        self._linked = FairSlots(total=MOST_LINKED, share=MOST_LINKED // 2, sure=1)
        self._lookups = asyncio.Semaphore(_MOST_LOOKUPS)
        # Retries of each execution that failed to load or advance.
        self._retries: dict[ExecutionId, int] = {}
        self._interruptions = Interruptions()
        # New executions whose start has failed, and which may become durable later. Without that they do not exist.
        self._unsettled: set[ExecutionId] = set()
        # Executions that were loaded without a free slot, each with the steps that a crash had cut off before. Their
        # steps resume at the next load; no crash cut the other ones off.
        self._held: dict[ExecutionId, Mapping[Step, int]] = {}
        self._timers = Timers(
            due, clock, self._take_up, in_memory=self._slots, queued=self._queue, put_off=self._retries
        )
        self._tasks: asyncio.TaskGroup | None = None
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._owner: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Return whether executions advance."""
        return self._owner is not None and not self._owner.done()

    @property
    def active(self) -> int:
        return len(self._slots)

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def oldest_queued_seconds(self) -> float:
        return self._queue.oldest_seconds

    @property
    def is_queue_known(self) -> bool:
        """Return True: the queue is in memory."""
        return True

    async def can_assign(self) -> bool:
        """Return True: this process advances all of them."""
        return True

    async def open(self) -> None:
        """Claim the journal and resume every unfinished execution."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._own(ready), name="dispatcher")
        await ready

    async def _own(self, ready: "asyncio.Future[None]") -> None:
        try:
            await self._engine.open()
            async with asyncio.TaskGroup() as self._tasks:
                ready.set_result(None)
                self._tasks.create_task(self._recover(), name="recovery")
                self._tasks.create_task(self._timers.watch(), name="timers")
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
                return
            if not isinstance(error, asyncio.CancelledError):
                # This task is not awaited, so log its error here.
                logger.error("dispatcher.failed", exception="".join(traceback.format_exception(error)))
            raise

    async def drain(self, *, seconds: float) -> None:
        """Start no further step, and wait for the running ones."""
        self._engine.stop()
        self._queue.clear()
        for slot in self._slots.values():
            if slot.execution is not None:
                slot.execution.nudge()
        try:
            async with asyncio.timeout(seconds):
                await self._is_empty.wait()
        except TimeoutError:
            logger.warning("dispatcher.drain_timed_out", still_running=len(self._slots))

    async def close(self) -> None:
        """Drop the executions in memory; they continue at the next start."""
        self._engine.stop()
        if self._owner is not None:
            await cancel_all(self._owner)
        self._interruptions.write()

    # Ports

    async def _start(self, new: NewExecution, flow: Flow, input: JSON) -> None:
        if self._engine.is_stopping or self._tasks is None:
            raise Unavailable("The server is stopping: try again in a moment")
        waiting = self._queue.count(new.workspace_id)
        if waiting or not self._active_limit.has_free_slot(new.workspace_id):
            self._limits.check_queued(waiting + len(self._accepting.get(new.workspace_id, ())))
            await self._begin_queued(new, flow, input)
            return
        slot = self._take_slot(new.id, new.workspace_id)
        try:
            slot.execution = await self._engine.begin(new, flow, input, at_once=True)
        except (asyncio.CancelledError, Unavailable):
            # The caller has gone or gets an error, but the execution may be durable.
            self._unsettled.add(new.id)
            self._retry_later(new.id, slot)
            raise
        except BaseException:
            self._leave(new.id, slot)
            raise
        if slot.execution is None:
            # It advances once its memory is reserved.
            self._spawn(self._resume(new.id, slot), new.id, slot)
            return
        slot.deliver()
        self._spawn(self._advance(new.id, slot), new.id, slot)

    async def _begin_queued(self, new: NewExecution, flow: Flow, input: JSON) -> None:
        accepting = self._accepting[new.workspace_id]
        accepting.add(new.id)
        try:
            await self._engine.begin(new, flow, input, at_once=False)
        except (asyncio.CancelledError, Unavailable):
            self._unsettled.add(new.id)
            self._schedule_retry(new.id, new.workspace_id)
            raise
        finally:
            accepting.discard(new.id)
            if not accepting:
                self._accepting.pop(new.workspace_id, None)
        self._enqueue(new.id, new.workspace_id)

    async def cancel(
        self, id: ExecutionId, *, reason: str, audit: AuditEntry | None = None, force: bool = False
    ) -> None:
        slot = await self._cancel(id, Cancel(reason=reason, audit=audit, spares_handlers=not force))
        # Most handlers end soon, and an execution that waits leaves memory, too.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HANDLERS_SECONDS):
                await slot.has_left.wait()

    async def _cancel(self, id: ExecutionId, request: Cancel) -> _Slot:
        """Wait until the cancellation is durable, and return the slot. Raises: See `cancel`."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                slot, answer, status = await self._ask(id, request)
        except TimeoutError:
            raise Unavailable(CANCEL_UNKNOWN) from None
        if answer is False:
            raise Conflict(HANDLERS_RUN)
        if answer is None and status is not Status.CANCELLED:
            raise Conflict(f"The execution has already ended: it is {status.value}")
        return slot

    async def signal(self, id: ExecutionId, signal: Signal) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._signal(id, signal)
        except TimeoutError:
            raise Unavailable(OUTCOME_UNKNOWN) from None

    async def _signal(self, id: ExecutionId, signal: Signal) -> bool:
        _, answer, _ = await self._ask(id, signal)
        if answer is None:
            raise Conflict("The execution has ended")
        return answer

    async def _ask(self, id: ExecutionId, message: Signal | Cancel) -> tuple[_Slot, bool | None, Status]:
        """Pass a message to an execution, which is loaded if necessary; return its slot, its answer and its status.

        The answer is None if the execution has ended without one.
        """
        while True:
            slot = self._slot_of(id)
            answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            slot.put(message, answer)
            left = asyncio.ensure_future(slot.has_left.wait())
            try:
                await asyncio.wait((answer, left), return_when=asyncio.FIRST_COMPLETED)
            finally:
                left.cancel()
                if isinstance(message, Signal):
                    # An unanswered signal is never recorded after this.
                    answer.cancel()
            is_answered = answer.done() and not answer.cancelled()
            if is_answered and slot.execution is not None:
                return slot, answer.result(), slot.execution.status
            answer.cancel()
            # It left memory with the message unread: repeat unless it has ended.
            status = slot.execution.status if slot.execution is not None else await self._stored_status(id)
            if status.is_final:
                return slot, None, status
            if slot.execution is None:
                raise Unavailable("The execution cannot be loaded at the moment: try again")

    def _slot_of(self, id: ExecutionId) -> _Slot:
        """Return the slot of an execution, which is loaded if necessary."""
        slot = self._slots.get(id)
        if slot is None:
            if self._engine.is_stopping or self._tasks is None:
                raise Unavailable("The server is stopping: try again in a moment")
            queued_since = self._queue.remove(id)
            slot = self._take_slot(id, None)
            slot.queued_since = queued_since
            self._spawn(self._resume(id, slot), id, slot)
        return slot

    def waits_to_become_active(self, id: ExecutionId) -> bool:
        return id in self._queue

    async def _stored_status(self, id: ExecutionId) -> Status:
        return (await self._journal.stored(id)).status

    # Links between executions

    async def _send(self, id: ExecutionId, signal: Signal) -> None:
        async with self._loading_of(id):
            await self._signal(id, signal)

    async def _end(self, id: ExecutionId, *, reason: str) -> None:
        async with self._loading_of(id):
            await self._cancel(id, Cancel(reason=reason))

    @contextlib.asynccontextmanager
    async def _loading_of(self, id: ExecutionId) -> AsyncIterator[None]:
        """Wait for one of the few slots in which executions are loaded because of another one."""
        if id in self._slots:
            yield
            return
        async with self._lookups:
            # Let other tasks run between the lookups of many.
            await asyncio.sleep(0)
            workspace_id = (await self._journal.stored(id)).workspace_id
        async with self._linked.hold(workspace_id):
            yield

    async def _resume_admitted(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        if id in self._slots:
            # It was loaded before it got its concurrency slot.
            self._slots[id].reload = True
        else:
            self._enqueue(id, workspace_id)

    def _keep_trying(self, work: Callable[[], Awaitable[None]], failure: str, what: str) -> None:
        # Work that a stop leaves undone is found again at the next start.
        if self._tasks is not None and not self._engine.is_stopping:
            self._tasks.create_task(self._try_until_done(work, failure, what), name=f"links {what}")

    async def _try_until_done(self, work: Callable[[], Awaitable[None]], failure: str, what: str) -> None:
        READS_FOR.set(None)
        await until_done(work, failure, what, is_over=lambda _: self._engine.is_stopping)

    # Executions in memory

    def _take_slot(self, id: ExecutionId, workspace_id: WorkspaceId | None) -> _Slot:
        slot = self._slots[id] = _Slot(workspace_id)
        self._active_limit.enter(workspace_id)
        self._is_empty.clear()
        return slot

    def _leave(self, id: ExecutionId, slot: _Slot) -> None:
        del self._slots[id]
        self._active_limit.leave(slot.workspace_id)
        if slot.execution is not None and slot.execution.status.is_final:
            self._held.pop(id, None)
        slot.has_left.set()
        if not self._slots:
            self._is_empty.set()
        is_unfinished = (
            slot.execution is not None and not slot.execution.status.is_final and not self._engine.is_stopping
        )
        if slot.reload and slot.execution is not None and is_unfinished:
            self._enqueue(id, slot.execution.workspace_id, since=slot.queued_since)
        self._fill()

    def _enqueue(self, id: ExecutionId, workspace_id: WorkspaceId, *, since: float | None = None) -> None:
        if id not in self._slots and id not in self._queue:
            self._queue.add(id, workspace_id, since=since)
            self._fill()

    def _take_up(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        # A failing execution stays due; `_schedule_retry` loads it after growing delays.
        if id not in self._retries:
            self._enqueue(id, workspace_id)

    def _fill(self) -> None:
        """Load queued executions while there are free slots."""
        while self._queue and not self._engine.is_stopping:
            taken = self._queue.take(unless=self._active_limit.full_workspaces())
            if taken is None:
                break
            id, workspace_id = taken
            slot = self._take_slot(id, workspace_id)
            self._spawn(self._resume(id, slot), id, slot)
        if self._others_wait is not bool(self._queue):
            self._others_wait = bool(self._queue)
            self._engine.set_others_wait(self._others_wait)

    def _spawn(self, work: Coroutine[Any, Any, None], id: ExecutionId, slot: _Slot) -> None:
        """Do the work in a task, and free the slot in any case, as callers wait for that."""
        assert self._tasks is not None, "executions are in memory only while the dispatcher is open"

        def leave(task: asyncio.Task[None]) -> None:
            if task.cancelled() and not slot.has_left.is_set():
                # A step that runs in this task may have cancelled it. Loaded again, its next attempt is counted.
                self._retry_later(id, slot)

        context = copy_context()
        # A request of any account, or a step of any execution, may have made room for it.
        context.run(READS_FOR.set, None)
        context.run(OF_PACKAGE.set, False)
        self._tasks.create_task(work, name=f"execution {id}", context=context).add_done_callback(leave)

    async def _resume(self, id: ExecutionId, slot: _Slot) -> None:
        try:
            if id in self._unsettled:
                await self._due.settle()
                self._unsettled.discard(id)
            slot.execution = await self._engine.load(id)
        except NotFound:
            self._retries.pop(id, None)
            self._held.pop(id, None)
            self._leave(id, slot)
            return
        except Unavailable as error:
            # The database or an engine process is unavailable; nothing is wrong with the execution.
            self._interruptions.add(id, str(error))
            self._retry_later(id, slot)
            return
        except Exception:
            # The execution is unchanged: retry later.
            logger.exception("execution.load_failed", execution_id=id)
            self._retry_later(id, slot)
            return
        self._retries.pop(id, None)
        cut_off_before = self._held.pop(id, None)
        if slot.execution is None:
            self._leave(id, slot)
            return
        if cut_off_before is not None:
            slot.execution.resume_after_hold(cut_off_before)
        if slot.workspace_id is None:
            self._count(id, slot, slot.execution)
        slot.deliver()
        await self._advance(id, slot)

    def _count(self, id: ExecutionId, slot: _Slot, execution: ActiveExecution) -> None:
        """Count an execution that a call has loaded; without a free slot it only processes its messages."""
        if self._active_limit.has_free_slot(execution.workspace_id):
            slot.workspace_id = execution.workspace_id
            self._active_limit.count(execution.workspace_id)
        else:
            execution.hold()
            slot.reload = True
            self._held[id] = execution.cut_off

    async def _advance(self, id: ExecutionId, slot: _Slot) -> None:
        assert slot.execution is not None, "an execution is loaded before it advances"
        try:
            due_at = await slot.execution.advance()
        except (Fenced, Unavailable) as error:
            self._interruptions.add(id, str(error))
            # Its last append may be durable, without notifications.
            self.reconcile_children(id)
            self._retry_later(id, slot)
            return
        except Exception:
            # A bug here must not leave the execution running indefinitely.
            logger.exception("execution.crashed", execution_id=id)
            if await self._give_up(id):
                self._leave(id, slot)
            else:
                self._retry_later(id, slot)
            return
        self._leave(id, slot)
        if due_at is not None:
            self._timers.expect(due_at)

    async def _give_up(self, id: ExecutionId) -> bool:
        """End the execution as failed; return False if that fails, too."""
        try:
            await self._engine.give_up(id)
        except Exception:
            logger.exception("execution.give_up_failed", execution_id=id)
            return False
        return True

    def _retry_later(self, id: ExecutionId, slot: _Slot) -> None:
        self._leave(id, slot)
        self._schedule_retry(id, slot.workspace_id if slot.execution is None else slot.execution.workspace_id)

    def _schedule_retry(self, id: ExecutionId, workspace_id: WorkspaceId | None) -> None:
        if not self._engine.is_stopping:
            retries = self._retries[id] = self._retries.get(id, 0) + 1
            asyncio.get_running_loop().call_later(
                seconds_after(retries), self._enqueue_unless_stopping, id, workspace_id
            )

    def _enqueue_unless_stopping(self, id: ExecutionId, workspace_id: WorkspaceId | None) -> None:
        if not self._engine.is_stopping:
            # The workspace of an execution that was never loaded is unknown.
            self._enqueue(id, workspace_id or WorkspaceId(""))

    # After a start

    async def _recover(self) -> None:
        """Resume every execution that was running when the last owner ended, and repeat lost notifications."""
        after: ExecutionId | None = None
        count = 0

        def failed(error: Exception, attempts: int) -> None:
            logger.error("dispatcher.recovery_failed", error=str(error))

        while True:
            # After any error: an execution that is not resumed would stay "running" indefinitely.
            ids = await retry(
                partial(self._due.unfinished, after=after, limit=_PAGE),
                on=Exception,
                delay=_RECOVERY_DELAY,
                on_failure=failed,
            )
            for id, workspace_id in ids:
                self._enqueue(id, workspace_id)
            count += len(ids)
            if len(ids) < _PAGE:
                break
            after, _ = ids[-1]
        await self._try_until_done(self._reconcile_all, "dispatcher.recovery_failed", "links")
        if count:
            logger.info("dispatcher.recovered", executions=count)
