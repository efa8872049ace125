"""A worker's side: executions that Temporal has placed here, while they are in memory."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from flowrunner.dispatch.temporal.admission import Admission
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
from flowrunner.domain.values import ExecutionId
from flowrunner.ports import ActiveExecution, Cancel, Clock, Engine, Fenced, Inbox, InboxMessage, Signal

logger = structlog.get_logger()

_MAIL_SECONDS: Final = 0.25
# Each may take a thread.
_MOST_LOCAL_ADVANCES: Final = 500
_OTHER_TASKS: Final = 50
_CANCELLED_IN_TEMPORAL: Final = "cancelled in Temporal"
# Several of them come in the time after which a worker is taken for dead, so that it may miss one or two.
_BEAT_SECONDS: Final = HEARTBEAT_SECONDS / 4
_TOLD: Final = ApplicationErrorCategory.BENIGN
_STICKY_TIMEOUT: Final = timedelta(seconds=2)
# Also what Temporal may believe to be under way here that is not.
_SHUTDOWN_GRACE: Final = timedelta(seconds=5)


@dataclass(slots=True, eq=False)
class _Place:
    """An execution in memory, and the letters it was given."""

    run: ActiveExecution
    given: set[int] = field(default_factory=set)


class TemporalWorker:
    """Advances executions of this process's share.

    Args:
        most_active: Executions in memory at once.
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
        # Half of the room is for those that set out here, the other half for those that Temporal sends: what it sends
        # finds room at once, and what finds none waits there, for any worker.
        self._most_local_advances = min(most_active // 2, _MOST_LOCAL_ADVANCES)
        self._worker = Worker(
            client,
            task_queue=queue,
            workflows=[ExecutionWorkflow],
            activities=[self.advance_locally, self.advance, self.cancel],
            # Whoever sets out holds a task of the workflow, and the others need some, too.
            max_concurrent_workflow_tasks=self._most_local_advances + _OTHER_TASKS,
            max_concurrent_local_activities=self._most_local_advances + _OTHER_TASKS,
            max_concurrent_activities=most_active - self._most_local_advances,
            # Where it was last may be dead: then any other one takes it.
            sticky_queue_schedule_to_start_timeout=_STICKY_TIMEOUT,
            # Otherwise the client keeps them back until that time is nearly over.
            max_heartbeat_throttle_interval=timedelta(seconds=_BEAT_SECONDS),
            # The workflow is ours and does nothing but wait for others: there is nothing to keep it from.
            workflow_runner=UnsandboxedWorkflowRunner(),
            graceful_shutdown_timeout=_SHUTDOWN_GRACE,
        )
        # For those that set out here and take longer.
        self._own_queue = f"{queue}/{uuid4()}"
        self._own_worker = Worker(
            client,
            task_queue=self._own_queue,
            activities=[self.advance],
            max_concurrent_activities=max(self._most_local_advances, 1),
            max_concurrent_activity_task_polls=1,
            max_heartbeat_throttle_interval=timedelta(seconds=_BEAT_SECONDS),
            graceful_shutdown_timeout=_SHUTDOWN_GRACE,
        )
        self._under_way: dict[ExecutionId, asyncio.Task[AdvanceResult]] = {}
        self._advancing_locally: set[ExecutionId] = set()
        self._places: dict[ExecutionId, _Place] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_open(self) -> bool:
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @property
    def active(self) -> int:
        return len(self._places)

    @property
    def queued(self) -> int:
        """They wait in Temporal."""
        return 0

    async def open(self) -> None:
        self._tasks = [
            asyncio.create_task(self._worker.run(), name="temporal worker"),
            asyncio.create_task(self._own_worker.run(), name="temporal worker, own queue"),
            asyncio.create_task(self._deliver(), name="letters"),
        ]

    async def drain(self, *, seconds: float) -> None:
        """Begin no further step, and wait for the ones under way; other workers go on with the rest."""
        self._engine.stop()
        for place in self._places.values():
            place.run.nudge()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._places:  # noqa: ASYNC110 # each leaves in its own time
                    await asyncio.sleep(0.02)
        if self._places:
            logger.warning("worker.drain_timed_out", still_running=len(self._places))

    async def close(self) -> None:
        self._engine.stop()
        running = zip((self._worker, self._own_worker), self._tasks, strict=False)
        await asyncio.gather(*(worker.shutdown() for worker, task in running if not task.done()))
        tasks = [*self._tasks, *self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._workflows.close()

    @activity.defn(name=ADVANCE_LOCALLY)
    async def advance_locally(self, execution_id: str) -> AdvanceResult:
        """Advance an execution for a while, if there is room. Temporal keeps what this gives and raises."""
        id = ExecutionId(execution_id)
        if id not in self._under_way:
            if len(self._advancing_locally) >= self._most_local_advances:
                return AdvanceResult(is_cut_off=True)
            self._advancing_locally.add(id)
        with _as_temporal_sees_it(id):
            result = await self._wait_for(id, seconds=SHORT_SECONDS)
            return AdvanceResult(goes_on_at=self._own_queue) if result is None else result

    @activity.defn(name=ADVANCE)
    async def advance(self, execution_id: str) -> AdvanceResult:
        """Advance an execution until it ends or waits. Temporal keeps what this gives and raises."""
        id = ExecutionId(execution_id)
        beating = asyncio.create_task(_beat())
        try:
            with _as_temporal_sees_it(id):
                result = await self._wait_for(id, seconds=None)
                assert result is not None, "nothing limits the time"
                return result
        finally:
            beating.cancel()

    @activity.defn(name=CANCEL)
    async def cancel(self, execution_id: str) -> None:
        with contextlib.suppress(NotFound):
            await self._workflows.send_if_open(ExecutionId(execution_id), Cancel(reason=_CANCELLED_IN_TEMPORAL))

    async def _wait_for(self, id: ExecutionId, *, seconds: float | None) -> AdvanceResult | None:
        """What an execution comes to that is under way here from now on, if not before; None if it takes longer."""
        going = self._under_way.get(id)
        if going is None:
            going = self._under_way[id] = asyncio.create_task(self._advance(id), name=f"execution {id}")
            going.add_done_callback(lambda task: self._forget(id, task))
        try:
            await asyncio.wait((going,), timeout=seconds)
        except asyncio.CancelledError:
            # Temporal gives it to another worker.
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
            raise
        if going.cancelled():
            raise Unavailable("another worker goes on with it")
        return going.result() if going.done() else None

    def _forget(self, id: ExecutionId, task: "asyncio.Task[AdvanceResult]") -> None:
        del self._under_way[id]
        self._advancing_locally.discard(id)
        if not task.cancelled():
            # Whoever comes to wait for it later begins anew, and hears of what is still wrong.
            task.exception()

    async def _advance(self, id: ExecutionId) -> AdvanceResult:
        if self._engine.is_stopping:
            raise Unavailable("the worker is stopping")
        try:
            run = await self._engine.load(id)
        except NotFound:
            return AdvanceResult(is_over=True)
        if run is None:
            await self._workflows.settled()
            return AdvanceResult(is_over=True)
        # It is owned by now: whoever had it before takes no room from it any more.
        is_active = await self._admission.enter(id)
        place = self._places[id] = _Place(run)
        try:
            inbox = await self._inbox.unread([id])
            if not is_active:
                if not inbox:
                    return AdvanceResult()
                run.hold()
            for message in inbox:
                self._give(place, message)
            try:
                due_at = await run.advance()
            except (Fenced, Unavailable):
                raise
            except Exception:
                # A fault of ours must not leave the execution running for ever.
                logger.exception("execution.crashed", execution_id=id)
                await self._engine.give_up(id)
                self._admission.slot_freed(run.workspace_id)
                return AdvanceResult(is_over=True)
        finally:
            if self._places.get(id) is place:
                del self._places[id]
        if run.status.is_final:
            self._admission.slot_freed(run.workspace_id)
        elif is_active and not self._engine.is_stopping:
            await self._admission.leave(run, id)
        await self._workflows.settled()
        if run.status.is_final:
            return AdvanceResult(is_over=True)
        return AdvanceResult(is_cut_off=self._engine.is_stopping, due_in_seconds=self._seconds_until(due_at))

    def _seconds_until(self, at: datetime | None) -> float | None:
        return None if at is None else max((at - self._clock.now()).total_seconds(), 0.0)

    # Letters

    async def _deliver(self) -> None:
        while True:
            await asyncio.sleep(_MAIL_SECONDS)
            if not self._places:
                continue
            try:
                places = dict(self._places)
                for message in await self._inbox.unread(list(places)):
                    place = places[message.execution_id]
                    # One that has come back meanwhile may have taken the letter in its life before.
                    if self._places.get(message.execution_id) is place:
                        self._give(place, message)
            except Exception as error:
                # Whatever it is, the next look may go well; without one nothing here is told anything.
                logger.warning("letters.failed", reason=str(error))

    def _give(self, place: _Place, message: InboxMessage) -> None:
        if message.number in place.given:
            return
        place.given.add(message.number)
        number, fencing_token = message.number, place.run.fencing_token
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda answer: self._answered(number, fencing_token, message.content, answer))
        match message.content:
            case Cancel() as wish:
                place.run.cancel(wish, answer, message=number)
            case Signal() as signal:
                place.run.receive(replace(signal, message=number), answer)

    def _answered(
        self, number: int, fencing_token: int, content: Signal | Cancel, answer: "asyncio.Future[bool]"
    ) -> None:
        # If nobody knows, the letter is gone or comes again.
        if answer.cancelled() or answer.exception() is not None:
            return
        if answer.result():
            # What counted is gone with the append; a repeat of something that counted before was in none.
            if isinstance(content, Cancel) or content.request is not None:
                self._discard(number, fencing_token)
        elif isinstance(content, Cancel) or content.step is None:
            self._workflows.keep_trying(
                lambda: self._inbox.reject(number, fencing_token), "letter.not_refused", str(number)
            )
        else:
            # Of executions: nobody waits to see it.
            self._discard(number, fencing_token)

    def _discard(self, number: int, fencing_token: int) -> None:
        """Otherwise it would be brought again and again, for as long as the execution has not ended."""
        self._workflows.keep_trying(
            lambda: self._inbox.discard(number, fencing_token), "letter.not_discarded", str(number)
        )


@contextlib.contextmanager
def _as_temporal_sees_it(id: ExecutionId) -> Iterator[None]:
    """Failures without a word of what is in the execution.

    Benign to Temporal's client, which would log them all over again.
    """
    try:
        yield
    except Fenced:
        raise ApplicationError("another worker has it", type="fenced", category=_TOLD) from None
    except Unavailable as error:
        logger.warning("execution.interrupted", execution_id=id, reason=str(error))
        raise ApplicationError("interrupted", type="interrupted", category=_TOLD) from None
    except Exception:
        logger.exception("execution.load_failed", execution_id=id)
        raise ApplicationError("failed: see the worker's log", type="failed", category=_TOLD) from None


async def _beat() -> None:
    while True:
        # Temporal counts from the start of the activity, so the first one can wait, too.
        await asyncio.sleep(_BEAT_SECONDS)
        activity.heartbeat()
