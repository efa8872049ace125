"""Advances executions in the server's own process."""

import asyncio
import contextlib
import traceback
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from flowrunner.dispatch.attempts import FIRST_WAIT_SECONDS, seconds_after, until_done
from flowrunner.dispatch.child_executions import ChildExecutions
from flowrunner.dispatch.fair_queue import ActiveLimit, FairQueue
from flowrunner.dispatch.timers import Timers
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Conflict, NotFound, Unavailable
from flowrunner.domain.execution import Status
from flowrunner.domain.flow import Flow
from flowrunner.domain.limits import UNLIMITED, Limits
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.ports import (
    HANDLERS_RUN,
    OUTCOME_UNKNOWN,
    ActiveExecution,
    Cancel,
    Clock,
    Engine,
    Fenced,
    Journal,
    NewExecution,
    Signal,
)

logger = structlog.get_logger()

_PAGE: Final = 500
SURE_OF_AN_ACCOUNT: Final = 5
# How long who cancels or signals waits for what becomes of it, as with Temporal: a full disk may stay full.
_ANSWER_SECONDS: Final = 30.0
# So long whoever cancels an execution waits for the handlers of its end; they go on after that.
_HANDLERS_SECONDS: Final = 10.0


@dataclass(slots=True)
class _Slot:
    """An execution that is in memory, or on its way there.

    Attributes:
        workspace_id: Whose room it takes; None until that is known, or if it only takes what it is told.
        mail: Signals that came before it was there, each with where its answer goes.
        wishes: The same of wishes that it ends.
        is_called_back: Something has come for it that it may not have seen: it is to be loaded once more.
        left: Done when it has left memory again.
    """

    workspace_id: WorkspaceId | None
    run: ActiveExecution | None = None
    is_called_back: bool = False
    mail: "list[tuple[Signal, asyncio.Future[bool]]]" = field(default_factory=list)
    wishes: "list[tuple[Cancel, asyncio.Future[bool]]]" = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)


class LocalDispatcher(ChildExecutions):
    """Fills `ports.Dispatcher` and `ports.ExecutionLinks`.

    Args:
        most_active: Executions in memory at once; further ones wait their turn, as rows. Accounts take
            turns, and a few of each always find room.
        limits: Of each account, how many may be in memory, and how many may wait.
    """

    def __init__(
        self, engine: Engine, journal: Journal, clock: Clock, *, most_active: int, limits: Limits = UNLIMITED
    ) -> None:
        super().__init__(engine, journal)
        self._limits = limits
        self._room = ActiveLimit(most_active, SURE_OF_AN_ACCOUNT, most_of_one=limits.active)
        self._slots: dict[ExecutionId, _Slot] = {}
        self._queue = FairQueue()
        # New ones that are being written, and will wait then.
        self._coming: defaultdict[WorkspaceId, set[ExecutionId]] = defaultdict(set)
        # How often each execution that could not go on was looked at again.
        self._tries: dict[ExecutionId, int] = {}
        self._timers = Timers(
            journal, clock, self._take_up, in_memory=self._slots, queued=self._queue, put_off=self._tries
        )
        self._tasks: asyncio.TaskGroup | None = None
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._owner: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether executions advance."""
        return self._owner is not None and not self._owner.done()

    @property
    def active(self) -> int:
        return len(self._slots)

    @property
    def queued(self) -> int:
        return len(self._queue)

    async def open(self) -> None:
        """Claim the journal and go on with every execution that has not ended."""
        self._ready = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._own(self._ready), name="dispatcher")
        await self._ready

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
                # Nobody awaits this task, so this is where its end is told.
                logger.error("dispatcher.failed", exception="".join(traceback.format_exception(error)))
            raise

    async def drain(self, *, seconds: float) -> None:
        """Begin no further step, and wait for the ones under way."""
        self._engine.stop()
        self._queue.clear()
        for slot in self._slots.values():
            if slot.run is not None:
                slot.run.nudge()
        try:
            async with asyncio.timeout(seconds):
                await self._is_empty.wait()
        except TimeoutError:
            logger.warning("dispatcher.drain_timed_out", still_running=len(self._slots))

    async def close(self) -> None:
        """Let go of whatever is still in memory: it goes on at the next start."""
        self._engine.stop()
        if self._owner is not None:
            self._owner.cancel()
            await asyncio.gather(self._owner, return_exceptions=True)

    # Ports

    async def start(self, new: NewExecution, flow: Flow, input: JSON) -> None:
        if self._engine.is_stopping or self._tasks is None:
            raise Unavailable("The server is stopping: try again in a moment")
        waiting = self._queue.count(new.workspace_id)
        if waiting or not self._room.is_active(new.workspace_id):
            self._limits.check_queued(waiting + len(self._coming.get(new.workspace_id, ())))
            await self._begin_waiting(new, flow, input)
            return
        slot = self._take_slot(new.id, new.workspace_id)
        try:
            slot.run = await self._engine.begin(new, flow, input, at_once=True)
        except (asyncio.CancelledError, Unavailable):
            # Whoever asked has gone, or is told that it failed, but it may have become durable.
            self._retry_later(new.id, slot)
            raise
        except BaseException:
            self._leave(new.id, slot)
            raise
        if slot.run is None:
            # It goes on when there is room for it in memory.
            self._spawn(self._resume(new.id, slot), new.id, slot)
            return
        self._hand_over(slot.run, slot)
        self._spawn(self._advance(new.id, slot), new.id, slot)

    async def _begin_waiting(self, new: NewExecution, flow: Flow, input: JSON) -> None:
        coming = self._coming[new.workspace_id]
        coming.add(new.id)
        try:
            await self._engine.begin(new, flow, input, at_once=False)
        except (asyncio.CancelledError, Unavailable):
            self._look_again(new.id, new.workspace_id)
            raise
        finally:
            coming.discard(new.id)
            if not coming:
                self._coming.pop(new.workspace_id, None)
        self._enqueue(new.id, new.workspace_id)

    async def cancel(
        self, id: ExecutionId, *, reason: str, audit: AuditEntry | None = None, force: bool = False
    ) -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                slot = await self._cancel(id, Cancel(reason=reason, audit=audit, spares_handlers=not force))
        except TimeoutError:
            raise Unavailable(OUTCOME_UNKNOWN) from None
        # Most handlers end soon, and what waits for something leaves, too.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HANDLERS_SECONDS):
                await slot.left.wait()

    async def _cancel(self, id: ExecutionId, wish: Cancel) -> _Slot:
        """Done when the flow is cancelled for good. Raises: as `cancel`."""
        while True:
            slot = self._slot_of(id)
            answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            if slot.run is None:
                slot.wishes.append((wish, answer))
            else:
                slot.run.cancel(wish, answer)
            left = asyncio.ensure_future(slot.left.wait())
            try:
                await asyncio.wait((answer, left), return_when=asyncio.FIRST_COMPLETED)
            finally:
                left.cancel()
            if answer.done():
                if answer.result():
                    return slot
                raise Conflict(HANDLERS_RUN)
            answer.cancel()
            status = slot.run.status if slot.run is not None else await self._stored_status(id)
            if status is Status.CANCELLED:
                return slot
            if status.is_final:
                raise Conflict(f"The execution has already ended: it is {status.value}")
            if slot.run is None:
                raise Unavailable("The execution cannot be loaded at the moment: try again")

    async def signal(self, id: ExecutionId, signal: Signal) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._signal(id, signal)
        except TimeoutError:
            raise Unavailable(OUTCOME_UNKNOWN) from None

    async def _signal(self, id: ExecutionId, signal: Signal) -> bool:
        while True:
            slot = self._slot_of(id)
            answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            if slot.run is None:
                slot.mail.append((signal, answer))
            else:
                slot.run.receive(signal, answer)
            left = asyncio.ensure_future(slot.left.wait())
            try:
                await asyncio.wait((answer, left), return_when=asyncio.FIRST_COMPLETED)
            finally:
                left.cancel()
                # What was not taken by now never is.
                answer.cancel()
            if not answer.cancelled():
                return answer.result()
            # It left memory with its inbox unread: unless it has ended, it is asked again.
            status = slot.run.status if slot.run is not None else await self._stored_status(id)
            if status.is_final:
                raise Conflict("The execution has ended")
            if slot.run is None:
                raise Unavailable("The execution cannot be loaded at the moment: try again")

    def _slot_of(self, id: ExecutionId) -> _Slot:
        """The execution in memory, brought there if it is not."""
        slot = self._slots.get(id)
        if slot is None:
            if self._engine.is_stopping or self._tasks is None:
                raise Unavailable("The server is stopping: try again in a moment")
            self._queue.remove(id)
            slot = self._take_slot(id, None)
            self._spawn(self._resume(id, slot), id, slot)
        return slot

    def waits_to_become_active(self, id: ExecutionId) -> bool:
        return id in self._queue

    async def _stored_status(self, id: ExecutionId) -> Status:
        return (await self._journal.stored(id)).status

    # How executions reach each other

    async def _tell(self, id: ExecutionId, signal: Signal) -> None:
        await self._signal(id, signal)

    async def _end(self, id: ExecutionId, *, reason: str) -> None:
        await self.cancel(id, reason=reason)

    async def _let_in(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        if id in self._slots:
            # It was loaded before it was let in.
            self._slots[id].is_called_back = True
        else:
            self._enqueue(id, workspace_id)

    def _keep_trying(self, work: Callable[[], Awaitable[None]], failure: str, what: str) -> None:
        # What a stop leaves undone is found again at the next start.
        if self._tasks is not None and not self._engine.is_stopping:
            self._tasks.create_task(self._try_until_done(work, failure, what), name=f"relatives {what}")

    async def _try_until_done(self, work: Callable[[], Awaitable[None]], failure: str, what: str) -> None:
        await until_done(work, failure, what, is_over=lambda _: self._engine.is_stopping)

    # Executions in memory

    def _take_slot(self, id: ExecutionId, workspace_id: WorkspaceId | None) -> _Slot:
        slot = self._slots[id] = _Slot(workspace_id)
        self._room.enter(workspace_id)
        self._is_empty.clear()
        return slot

    def _leave(self, id: ExecutionId, slot: _Slot) -> None:
        del self._slots[id]
        self._room.leave(slot.workspace_id)
        slot.left.set()
        if not self._slots:
            self._is_empty.set()
        may_go_on = slot.run is not None and not slot.run.status.is_final and not self._engine.is_stopping
        if slot.is_called_back and slot.run is not None and may_go_on:
            self._enqueue(id, slot.run.workspace_id)
        self._fill()

    def _enqueue(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        if id not in self._slots and id not in self._queue:
            self._queue.add(id, workspace_id)
            self._fill()

    def _take_up(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        # One that could not go on stays due, and is looked at again each time later than before.
        if id not in self._tries:
            self._enqueue(id, workspace_id)

    def _fill(self) -> None:
        """Let waiting executions in while there is room."""
        while self._queue and not self._engine.is_stopping:
            taken = self._queue.take(unless=self._room.full_accounts())
            if taken is None:
                return
            id, workspace_id = taken
            slot = self._take_slot(id, workspace_id)
            self._spawn(self._resume(id, slot), id, slot)

    def _spawn(self, work: Coroutine[Any, Any, None], id: ExecutionId, slot: _Slot) -> None:
        """Do the work, and leave the slot in any case: whoever has asked for the execution waits for that."""
        assert self._tasks is not None, "executions are in memory only while the dispatcher is open"

        def leave(task: asyncio.Task[None]) -> None:
            if task.cancelled() and not slot.left.is_set():
                self._leave(id, slot)

        self._tasks.create_task(work, name=f"execution {id}").add_done_callback(leave)

    async def _resume(self, id: ExecutionId, slot: _Slot) -> None:
        try:
            slot.run = await self._engine.load(id)
        except NotFound:
            self._tries.pop(id, None)
            self._leave(id, slot)
            return
        except Exception:
            # Not now; the execution is where it was, and is looked at again.
            logger.exception("execution.load_failed", execution_id=id)
            self._retry_later(id, slot)
            return
        self._tries.pop(id, None)
        if slot.run is None:
            self._leave(id, slot)
            return
        if slot.workspace_id is None:
            self._count(slot, slot.run)
        self._hand_over(slot.run, slot)
        await self._advance(id, slot)

    def _count(self, slot: _Slot, run: ActiveExecution) -> None:
        """Give an execution that a call has brought in the room it takes; without any it only takes what it is told."""
        if self._room.is_active(run.workspace_id):
            slot.workspace_id = run.workspace_id
            self._room.count(run.workspace_id)
        else:
            run.hold()
            slot.is_called_back = True

    def _hand_over(self, run: ActiveExecution, slot: _Slot) -> None:
        """Tell an execution what came for it before it was there."""
        for signal, answer in slot.mail:
            run.receive(signal, answer)
        for wish, answer in slot.wishes:
            run.cancel(wish, answer)

    async def _advance(self, id: ExecutionId, slot: _Slot) -> None:
        assert slot.run is not None, "an execution is loaded before it advances"
        try:
            due_at = await slot.run.advance()
        except (Fenced, Unavailable) as error:
            logger.warning("execution.interrupted", execution_id=id, reason=str(error))
            # What it did may have become durable after all, and nobody was told.
            self.reconcile_children(id)
            self._retry_later(id, slot)
            return
        except Exception:
            # A fault of ours must not leave the execution running for ever.
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
        """Whether the execution has ended by it."""
        try:
            await self._engine.give_up(id)
        except Exception:
            logger.exception("execution.give_up_failed", execution_id=id)
            return False
        return True

    def _retry_later(self, id: ExecutionId, slot: _Slot) -> None:
        self._leave(id, slot)
        self._look_again(id, slot.workspace_id if slot.run is None else slot.run.workspace_id)

    def _look_again(self, id: ExecutionId, workspace_id: WorkspaceId | None) -> None:
        if not self._engine.is_stopping:
            tries = self._tries[id] = self._tries.get(id, 0) + 1
            asyncio.get_running_loop().call_later(seconds_after(tries), self._enqueue_unless_stopping, id, workspace_id)

    def _enqueue_unless_stopping(self, id: ExecutionId, workspace_id: WorkspaceId | None) -> None:
        if not self._engine.is_stopping:
            # One that was brought in by a call and never loaded is of no account that is known.
            self._enqueue(id, workspace_id or WorkspaceId(""))

    # After a start

    async def _recover(self) -> None:
        """Take up every execution that was running when the last owner ended, and what was left undone."""
        after: ExecutionId | None = None
        count = 0
        while True:
            try:
                ids = await self._journal.unfinished(after=after, limit=_PAGE)
            except Exception as error:
                # As with timers: what is not taken up now would stay "running" for ever.
                logger.error("dispatcher.recovery_failed", error=str(error))
                await asyncio.sleep(FIRST_WAIT_SECONDS)
                continue
            for id, workspace_id in ids:
                self._enqueue(id, workspace_id)
            count += len(ids)
            if len(ids) < _PAGE:
                break
            after, _ = ids[-1]
        await self._try_until_done(self._reconcile_all, "dispatcher.recovery_failed", "relatives")
        if count:
            logger.info("dispatcher.recovered", executions=count)
