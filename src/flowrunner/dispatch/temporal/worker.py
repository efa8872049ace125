"""The worker that advances executions assigned by Temporal."""

import asyncio
import contextlib
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import uuid4

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import FixedSizeSlotSupplier, UnsandboxedWorkflowRunner, Worker, WorkerTuner

from flowrunner import __version__
from flowrunner.dispatch.interruptions import Interruptions
from flowrunner.dispatch.temporal.admission import Admission
from flowrunner.dispatch.temporal.task_slots import TaskSlots
from flowrunner.dispatch.temporal.workflow import (
    ADVANCE,
    ADVANCE_LOCALLY,
    CANCEL,
    HEARTBEAT_SECONDS,
    SHORT_SECONDS,
    AdvanceResult,
    ExecutionWorkflow,
)
from flowrunner.dispatch.temporal.workflow_client import WorkflowClient
from flowrunner.domain.errors import NotFound, Unavailable
from flowrunner.domain.events import Step
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.clock import Clock
from flowrunner.ports.dispatch import ActiveExecution, Cancel, Engine, Signal
from flowrunner.ports.inbox import Inbox, InboxMessage
from flowrunner.ports.journal import Fenced
from flowrunner.tasks import alongside, cancel_all

logger = structlog.get_logger()

_INBOX_SECONDS: Final = 0.25
# Each one may use a thread.
_MOST_LOCAL_ADVANCES: Final = 500
_OTHER_TASKS: Final = 50
# The client needs one for new workflows and one for those that it has in memory.
_LEAST_TASKS: Final = 2
_CANCELLED_IN_TEMPORAL: Final = "cancelled in Temporal"
# Several heartbeats per timeout, so that a worker may miss one or two.
_BEAT_SECONDS: Final = HEARTBEAT_SECONDS / 4
_BENIGN: Final = ApplicationErrorCategory.BENIGN
_STICKY_TIMEOUT: Final = timedelta(seconds=2)
# Of an execution beyond these, the steps that have got a signal meanwhile count as interrupted.
_MOST_HELD: Final = 10_000
# Also for activities that run here only according to Temporal.
_SHUTDOWN_GRACE: Final = timedelta(seconds=5)
# By default, the client reads the code of all modules again, a third of a second, to compute one. Workers are not
# assigned by it: any of them takes any execution.
_BUILD_ID: Final = f"flowrunner-{__version__}"


@dataclass(slots=True, eq=False)
class _Loaded:
    """An execution in memory, with the numbers of the messages it has received."""

    execution: ActiveExecution
    received: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Held:
    """The state of an execution that this worker had in memory without a slot, for its messages alone.

    Attributes:
        queued_at: See `SlotEntry`. Once another process has had the execution with a slot, the rest does not hold.
        cut_off: See `ActiveExecution`.
    """

    queued_at: int | None
    cut_off: Mapping[Step, int]


class TemporalWorker:
    """The executions of one worker process.

    Args:
        most_active: Limit of executions in memory.
    """

    def __init__(
        self,
        engine: Engine,
        workflows: WorkflowClient,
        inbox: Inbox,
        admission: Admission,
        clock: Clock,
        *,
        client: Client,
        queue: str,
        most_active: int,
    ) -> None:
        self._engine = engine
        self._workflows = workflows
        self._inbox = inbox
        self._admission = admission
        self._clock = clock
        # Half of the limit is for local activities, half for activities that Temporal assigns: these start immediately,
        # and the others wait in Temporal for any worker.
        self._most_local_advances = min(most_active // 2, _MOST_LOCAL_ADVANCES)
        # The slots of one of the halves are taken, so that what Temporal has for this worker may wait for them.
        self._many = max(self._most_local_advances, 1)
        self._others_wait = False
        most_tasks = most_workflow_tasks(most_active)
        self._task_slots = TaskSlots(most_tasks)
        make = partial(
            Worker,
            client,
            # By default, the client delays heartbeats until the timeout is nearly over.
            max_heartbeat_throttle_interval=timedelta(seconds=_BEAT_SECONDS),
            graceful_shutdown_timeout=_SHUTDOWN_GRACE,
            build_id=_BUILD_ID,
        )
        self._worker = make(
            task_queue=queue,
            workflows=[ExecutionWorkflow],
            activities=[self.advance_locally, self.advance, self.cancel],
            tuner=WorkerTuner.create_composite(
                workflow_supplier=self._task_slots,
                local_activity_supplier=FixedSizeSlotSupplier(most_tasks),
                activity_supplier=FixedSizeSlotSupplier(most_active - self._most_local_advances),
                nexus_supplier=FixedSizeSlotSupplier(1),
            ),
            # The last worker of a workflow may be dead: then any other one takes it.
            sticky_queue_schedule_to_start_timeout=_STICKY_TIMEOUT,
            # The workflow is trusted code that only waits for activities: a sandbox would have no use.
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        # For executions that began as local activities here and take longer.
        self._own_queue = f"{queue}/{uuid4()}"
        self._own_worker = make(
            task_queue=self._own_queue,
            activities=[self.advance],
            max_concurrent_activities=max(self._most_local_advances, 1),
            max_concurrent_activity_task_polls=1,
        )
        self._advancing: dict[ExecutionId, asyncio.Task[AdvanceResult]] = {}
        self._advancing_locally: set[ExecutionId] = set()
        self._loaded: dict[ExecutionId, _Loaded] = {}
        self._held: dict[ExecutionId, _Held] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._interruptions = Interruptions()

    @property
    def is_open(self) -> bool:
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @property
    def active(self) -> int:
        return len(self._loaded)

    async def open(self) -> None:
        self._tasks = [
            asyncio.create_task(_run(self._worker), name="temporal worker"),
            asyncio.create_task(_run(self._own_worker), name="temporal worker, own queue"),
            asyncio.create_task(self._deliver(), name="inbox"),
        ]

    async def drain(self, *, seconds: float) -> None:
        """Start no further step, and wait for the running ones; other workers continue the executions."""
        self._engine.stop()
        for loaded in self._loaded.values():
            loaded.execution.nudge()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._loaded:  # noqa: ASYNC110 # each leaves in its own time
                    await asyncio.sleep(0.02)
        if self._loaded:
            logger.warning("worker.drain_timed_out", still_running=len(self._loaded))

    async def close(self) -> None:
        self._engine.stop()
        running = zip((self._worker, self._own_worker), self._tasks, strict=False)
        await asyncio.gather(*(worker.shutdown() for worker, task in running if not task.done()))
        tasks = [*self._tasks, *self._advancing.values()]
        await cancel_all(*tasks)
        self._interruptions.write()
        await self._workflows.close()

    @activity.defn(name=ADVANCE_LOCALLY)
    async def advance_locally(self, execution_id: str) -> AdvanceResult:
        """Advance an execution for a while, if there is capacity. Temporal stores the result and the error."""
        id = ExecutionId(execution_id)
        if id not in self._advancing:
            if len(self._advancing_locally) >= self._most_local_advances:
                return AdvanceResult(is_cut_off=True)
            self._advancing_locally.add(id)
        with self._errors_for_temporal(id), self._task_slots.advancing():
            result = await self._wait_for(id, seconds=SHORT_SECONDS)
            return AdvanceResult(goes_on_at=self._own_queue) if result is None else result

    @activity.defn(name=ADVANCE)
    async def advance(self, execution_id: str) -> AdvanceResult:
        """Advance an execution until it ends or waits. Temporal stores the result and the error."""
        id = ExecutionId(execution_id)
        async with alongside(_send_heartbeats()):
            with self._errors_for_temporal(id):
                result = await self._wait_for(id, seconds=None)
                assert result is not None, "nothing limits the time"
                return result

    @activity.defn(name=CANCEL)
    async def cancel(self, execution_id: str) -> None:
        with contextlib.suppress(NotFound):
            await self._workflows.send_if_open(ExecutionId(execution_id), Cancel(reason=_CANCELLED_IN_TEMPORAL))

    @contextlib.contextmanager
    def _errors_for_temporal(self, id: ExecutionId) -> Iterator[None]:
        """Replace errors by ones without data of the execution.

        They are benign, so that Temporal's client does not log them again.
        """
        try:
            yield
        except Fenced:
            raise ApplicationError("another worker owns the execution", type="fenced", category=_BENIGN) from None
        except Unavailable as error:
            self._interruptions.add(id, str(error))
            raise ApplicationError("interrupted", type="interrupted", category=_BENIGN) from None
        except Exception:
            logger.exception("execution.load_failed", execution_id=id)
            raise ApplicationError("failed: see the worker's log", type="failed", category=_BENIGN) from None

    async def _wait_for(self, id: ExecutionId, *, seconds: float | None) -> AdvanceResult | None:
        """Advance an execution, or join its running task, and return the result; None if it takes longer."""
        advancing = self._advancing.get(id)
        if advancing is None:
            advancing = self._advancing[id] = asyncio.create_task(self._advance(id), name=f"execution {id}")
            advancing.add_done_callback(lambda task: self._forget(id, task))
        try:
            await asyncio.wait((advancing,), timeout=seconds)
        except asyncio.CancelledError:
            # Temporal assigns it to another worker.
            await cancel_all(advancing)
            raise
        if advancing.cancelled():
            raise Unavailable("another worker advances the execution")
        return advancing.result() if advancing.done() else None

    def _forget(self, id: ExecutionId, task: "asyncio.Task[AdvanceResult]") -> None:
        del self._advancing[id]
        self._advancing_locally.discard(id)
        if not task.cancelled():
            # Mark the exception as retrieved: a later call advances again and gets its own error.
            task.exception()

    async def _advance(self, id: ExecutionId) -> AdvanceResult:
        if self._engine.is_stopping:
            raise Unavailable("the worker is stopping")
        try:
            execution = await self._engine.load(id)
        except NotFound:
            return AdvanceResult(is_over=True)
        if execution is None:
            await self._workflows.settled()
            return AdvanceResult(is_over=True)
        # This process owns it now: the previous owner can no longer free its slot.
        is_active, queued_at = await self._admission.enter(id)
        held = self._held.pop(id, None)
        if held is not None and held.queued_at == queued_at:
            execution.resume_after_hold(held.cut_off)
        loaded = self._loaded[id] = _Loaded(execution)
        self._note_who_waits()
        try:
            inbox = await self._inbox.unread([id])
            if not is_active:
                if not inbox:
                    return AdvanceResult()
                self._hold(id, execution, queued_at)
            for message in inbox:
                self._pass_on(loaded, message)
            try:
                due_at = await execution.advance()
            except (Fenced, Unavailable):
                raise
            except Exception:
                # A bug here must not leave the execution running indefinitely.
                logger.exception("execution.crashed", execution_id=id)
                await self._engine.give_up(id)
                self._admission.slot_freed(execution.workspace_id)
                return AdvanceResult(is_over=True)
        finally:
            if self._loaded.get(id) is loaded:
                del self._loaded[id]
                self._note_who_waits()
        if execution.status.is_final:
            self._admission.slot_freed(execution.workspace_id)
        elif is_active and not self._engine.is_stopping:
            await self._admission.leave(execution, id)
        await self._workflows.settled()
        if execution.status.is_final:
            return AdvanceResult(is_over=True)
        return AdvanceResult(is_cut_off=self._engine.is_stopping, due_in_seconds=self._seconds_until(due_at))

    def _hold(self, id: ExecutionId, execution: ActiveExecution, queued_at: int | None) -> None:
        execution.hold()
        self._held[id] = _Held(queued_at, execution.cut_off)
        if len(self._held) > _MOST_HELD:
            del self._held[next(iter(self._held))]

    def _seconds_until(self, at: datetime | None) -> float | None:
        return None if at is None else max((at - self._clock.now()).total_seconds(), 0.0)

    def _note_who_waits(self) -> None:
        self._engine.set_others_wait(self._others_wait or len(self._loaded) >= self._many)

    # Messages

    async def _deliver(self) -> None:
        while True:
            await asyncio.sleep(_INBOX_SECONDS)
            if not self._loaded:
                continue
            try:
                snapshot = dict(self._loaded)
                for message in await self._inbox.unread(list(snapshot)):
                    loaded = snapshot[message.execution_id]
                    # An execution that was loaded again meanwhile may have received the message before.
                    if self._loaded.get(message.execution_id) is loaded:
                        self._pass_on(loaded, message)
                self._others_wait = await self._admission.others_wait()
                self._note_who_waits()
            except Exception as error:
                # Retry after any error: without this loop no execution here receives messages.
                logger.warning("inbox.read_failed", reason=str(error))

    def _pass_on(self, loaded: _Loaded, message: InboxMessage) -> None:
        if message.number in loaded.received:
            return
        loaded.received.add(message.number)
        number, fencing_token = message.number, loaded.execution.fencing_token
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda answer: self._answered(number, fencing_token, message.content, answer))
        match message.content:
            case Cancel() as request:
                loaded.execution.cancel(request, answer, message=number)
            case Signal() as signal:
                loaded.execution.receive(replace(signal, message=number), answer)

    def _answered(
        self, number: int, fencing_token: int, content: Signal | Cancel, answer: "asyncio.Future[bool]"
    ) -> None:
        # If the outcome is unknown, the message is deleted or is read again.
        if answer.cancelled() or answer.exception() is not None:
            return
        if answer.result():
            # The append has deleted an accepted message, but not a repeat, which appends nothing.
            if isinstance(content, Cancel) or content.request is not None:
                self._discard(number, fencing_token)
        elif isinstance(content, Cancel) or content.step is None:
            self._workflows.keep_trying(
                lambda: self._inbox.reject(number, fencing_token), "inbox.reject_failed", str(number)
            )
        else:
            # From another execution, which does not wait for the answer.
            self._discard(number, fencing_token)

    def _discard(self, number: int, fencing_token: int) -> None:
        """Delete a message, which would be read again until the execution has ended."""
        self._workflows.keep_trying(
            lambda: self._inbox.discard(number, fencing_token), "inbox.discard_failed", str(number)
        )


def most_workflow_tasks(most_active: int) -> int:
    """Return how many workflow tasks a worker takes at a time: those of a worker that dies begin again late."""
    # Each local activity occupies one, and other workflows need some, too.
    return max(min(most_active // 2, _MOST_LOCAL_ADVANCES) + min((most_active + 1) // 2, _OTHER_TASKS), _LEAST_TASKS)


async def _run(worker: Worker) -> None:
    """Run a worker of Temporal's client, which ends only if the process stops or no retry helps."""
    try:
        await worker.run()
    except Exception as error:
        # This task is not awaited, so log its error here.
        logger.error("dispatcher.failed", exception="".join(traceback.format_exception(error)))
        raise


async def _send_heartbeats() -> None:
    while True:
        # The timeout starts with the activity, so wait before the first heartbeat, too.
        await asyncio.sleep(_BEAT_SECONDS)
        activity.heartbeat()
