"""The pool of sandbox workers: assignment to workspaces, queues and time limits."""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
import structlog

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.expression.script import Script, ScriptError, ScriptOutcome
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.sandbox.fork_server import ForkServer, Worker, WorkerLost
from flowrunner.sandbox.messages import CHECK, ScriptAnswer, encoded_request, error_of, evaluation, is_over, read_answer
from flowrunner.sandbox.worker import ENGINE_SECONDS, MAX_REQUEST

logger = structlog.get_logger()

# A worker without an answer after this time is killed. Normally the engine's own limit takes effect first.
_WALL_SECONDS: Final = ENGINE_SECONDS + 0.3
# The time that is left is looked at this often. If a look takes as long as a pause, the machine or its processes stood
# still, as while a virtual machine is suspended, and it counts as if it had been in time.
_LOOK_SECONDS: Final = 0.1
_PAUSE_SECONDS: Final = 0.5
_QUEUE_SECONDS: Final = 10.0
# For this time after a script exceeded its limit, its workspace may not use all workers.
_SLOW_SECONDS: Final = 10.0
# A worker is replaced after this many requests, in case the engine leaks memory.
_REQUESTS_OF_A_WORKER: Final = 10_000
# Requests of one workspace are sent in batches to save round trips, as many as are answered in about
# `_STRETCH_SECONDS`.
_MOST_TOGETHER: Final = 8
_STRETCH_SECONDS: Final = 0.005
_BYTES_TOGETHER: Final = 1024 * 1024

_TOO_LONG: Final = f"the scripts of one evaluation took longer than {ENGINE_SECONDS:g} s"
_LOST: Final = "the process that evaluated the script ended unexpectedly"
# No process ends because of it.
_NOTHING: Final = Script("null")
_STOPPING: Final = "the server is stopping"
_TOO_LARGE: Final = f"the scripts and what they can see take more than {MAX_REQUEST // 1024 // 1024} MiB"
_LEFT_OUT: Final = "not evaluated, because a script before it went over its limit"


class _Request:
    """The scripts at one place of a flow.

    Attributes:
        kind: See `encoded_request`.
        scope: The visible values. They are encoded only when a worker is free, so waiting requests take no memory.
        answers: All answers together. The caller cancels it to withdraw the request.
        worker: The worker that is evaluating it.
        seconds_left: The remaining time, without pauses.
        is_repeated: A worker has ended during it for an unknown reason.
    """

    __slots__ = (
        "_queue_timer",
        "answers",
        "is_repeated",
        "kind",
        "scope",
        "scripts",
        "seconds_left",
        "worker",
    )

    def __init__(self, kind: bytes, scripts: Sequence[Script], scope: Mapping[str, JSON] | None) -> None:
        loop = asyncio.get_running_loop()
        self.kind = kind
        self.scripts = scripts
        self.scope = scope
        self.answers: asyncio.Future[list[ScriptAnswer]] = loop.create_future()
        self.worker: Worker | None = None
        self.seconds_left = _WALL_SECONDS
        self.is_repeated = False
        self._queue_timer = loop.call_later(_QUEUE_SECONDS, self._reject)

    @property
    def count(self) -> int:
        """Return the number of its answers."""
        return len(self.scripts)

    @property
    def is_wanted(self) -> bool:
        return not self.answers.done()

    def leave_queue(self) -> None:
        self._queue_timer.cancel()

    def settle(self, answers: list[ScriptAnswer]) -> None:
        """Set the answers. Scripts after one that exceeded a limit are reported as not evaluated."""
        if self.is_wanted:
            left_out = ScriptAnswer(fault=_LEFT_OUT, limit=answers[-1].limit)
            self.answers.set_result(answers + [left_out] * (self.count - len(answers)))

    def fail(self, error: Exception) -> None:
        if self.is_wanted:
            self.answers.set_exception(error)

    def _reject(self) -> None:
        self.fail(Unavailable("JavaScript cannot be evaluated now: the queue is too long"))


class JailedSandbox:
    """Implements `ports.Sandbox`. No process starts before the first script.

    A worker that has seen a workspace's scripts is never reused for another workspace: it is kept idle for a while, and
    then killed. Fresh workers are started in advance.

    Args:
        workers: The number of scripts that are evaluated at the same time.
    """

    def __init__(self, workers: int = 2) -> None:
        self._workers = workers
        self._fork_server: ForkServer | None = None
        self._starting = asyncio.Lock()
        self._fresh: deque[Worker] = deque()
        # Ordered by last use, the oldest first.
        self._idle: list[Worker] = []
        self._running: Counter[WorkspaceId | None] = Counter()
        # Ordered: the workspace that is served next comes first.
        self._waiting: OrderedDict[WorkspaceId | None, deque[_Request]] = OrderedDict()
        self._serving: set[asyncio.Task[None]] = set()
        self._slow: dict[WorkspaceId | None, float] = {}
        self._refilling: asyncio.Task[None] | None = None
        self._is_closed = False

    async def evaluate(
        self,
        workspace_id: WorkspaceId,
        scripts: Sequence[Script],
        scope: Mapping[str, JSON],
        *,
        now: datetime | None = None,
    ) -> Sequence[ScriptOutcome]:
        answers = await self._ask(workspace_id, evaluation(now), scripts, scope)
        await self._check_processes(answers)
        return [
            ScriptOutcome(answer.value, error_of(answer, script), tuple(answer.lines), answer.has_drawn)
            for script, answer in zip(scripts, answers, strict=True)
        ]

    async def check(self, scripts: Sequence[Script]) -> Sequence[ScriptError | None]:
        answers = await self._ask(None, CHECK, scripts, None)
        await self._check_processes(answers)
        return [error_of(answer, script) for script, answer in zip(scripts, answers, strict=True)]

    async def _check_processes(self, answers: Sequence[ScriptAnswer]) -> None:
        """Raise Unavailable if a process has ended unexpectedly and no script is the reason.

        The system may kill all of them, or start no others.
        """
        if any(answer.fault == _LOST for answer in answers):
            (answer,) = await self._ask(None, CHECK, [_NOTHING], None)
            if answer.fault is not None:
                raise Unavailable(f"JavaScript cannot be evaluated now: {_LOST}")

    async def close(self) -> None:
        """End all processes. Running evaluations fail with Unavailable."""
        self._is_closed = True
        if self._refilling is not None:
            self._refilling.cancel()
        async with self._starting:
            for worker in (*self._fresh, *self._idle):
                worker.retire()
            self._fresh.clear()
            self._idle.clear()
            if self._fork_server is not None:
                await self._fork_server.close()
        while self._serving:
            # Running requests lose their worker, and waiting ones get none.
            await asyncio.wait(self._serving)

    @property
    def busy(self) -> int:
        """Return the number of workers that evaluate scripts now."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """Return the number of requests that wait for a worker."""
        return sum(map(len, self._waiting.values()))

    async def _ask(
        self, workspace_id: WorkspaceId | None, kind: bytes, scripts: Sequence[Script], scope: Mapping[str, JSON] | None
    ) -> list[ScriptAnswer]:
        if not scripts:
            return []
        if self._is_closed:
            raise Unavailable(_STOPPING)
        request = _Request(kind, scripts, scope)
        self._waiting.setdefault(workspace_id, deque()).append(request)
        self._start_batches()
        try:
            return await request.answers
        except asyncio.CancelledError:
            if request.worker is not None:
                # The result is no longer needed.
                request.worker.retire()
            self._withdraw(workspace_id, request)
            raise
        except Exception:
            self._withdraw(workspace_id, request)
            raise
        finally:
            request.leave_queue()
            # The request keeps its error, whose traceback keeps this frame and those of all callers: an execution with
            # its values.
            del request

    def _withdraw(self, workspace_id: WorkspaceId | None, request: _Request) -> None:
        waiting = self._waiting.get(workspace_id)
        if waiting is not None and request in waiting:
            waiting.remove(request)
            if not waiting:
                del self._waiting[workspace_id]

    # Scheduling

    def _start_batches(self) -> None:
        """Start batches on free workers, round-robin over workspaces."""
        while (free := self._workers - self._running.total()) > 0:
            for workspace_id in self._waiting:
                if self._may_run(workspace_id):
                    break
            else:
                return
            waiting = self._waiting[workspace_id]
            worker = None if waiting[0].is_repeated else self._idle_worker_of(workspace_id)
            # Requests are spread over the free workers.
            most = min(_batch_size(worker), -(-len(waiting) // free))
            batch = deque(waiting.popleft() for _ in range(most))
            if waiting:
                self._waiting.move_to_end(workspace_id)
            else:
                del self._waiting[workspace_id]
            self._running[workspace_id] += 1
            serving = asyncio.create_task(self._serve(workspace_id, worker, batch), name="sandbox")
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)

    def _may_run(self, workspace_id: WorkspaceId | None) -> bool:
        slow_until = self._slow.get(workspace_id)
        if slow_until is None:
            return True
        if slow_until < asyncio.get_running_loop().time():
            del self._slow[workspace_id]
            return True
        return self._running[workspace_id] < max(1, self._workers - 1)

    async def _serve(self, workspace_id: WorkspaceId | None, worker: Worker | None, batch: deque[_Request]) -> None:
        """Evaluate requests of one workspace on one worker, until it ends or all are done."""
        try:
            for request in batch:
                request.leave_queue()
            worker = worker or await self._unused(is_new=batch[0].is_repeated)
            worker.workspace_id = workspace_id
            await self._evaluate(worker, batch)
        except Exception as error:
            if worker is not None:
                # What it has received is not known.
                worker.retire()
            # Every waiting caller gets the error.
            while batch:
                batch.popleft().fail(error)
        finally:
            self._running[workspace_id] -= 1
            if not self._running[workspace_id]:
                del self._running[workspace_id]
            if batch:
                self._waiting.setdefault(workspace_id, deque()).extendleft(reversed(batch))
                self._waiting.move_to_end(workspace_id, last=False)
            self._start_batches()

    async def _evaluate(self, worker: Worker, batch: deque[_Request]) -> None:
        """Remove finished requests from the batch. The remaining ones have not started, or must be repeated."""
        # The loop's own clock may not advance in between.
        clock = time.perf_counter
        requests, messages = _encoded(batch)
        begun_at, count = clock(), len(requests)
        if requests:
            worker.send(messages, sum(request.count for request in requests))
        for request in requests:
            answers = await self._answers(worker, request)
            is_complete = len(answers) == request.count or is_over(answers)
            if not is_complete and request.is_wanted:
                # The worker, and fresh ones with it, may have been killed for a reason unrelated to the scripts.
                logger.warning("sandbox.worker_lost", workspace_id=worker.workspace_id)
                if not request.is_repeated:
                    request.is_repeated = True
                    break
                answers.append(ScriptAnswer(fault=_LOST))
            batch.popleft()
            if answers and answers[-1].limit == "time":
                self._slow[worker.workspace_id] = asyncio.get_running_loop().time() + _SLOW_SECONDS
            request.settle(answers)
            if worker.is_lost:
                break
        if count:
            worker.pace = (clock() - begun_at) / count
        self._put_back(worker)

    async def _answers(self, worker: Worker, request: _Request) -> list[ScriptAnswer]:
        """Return the answers up to one that exceeded a limit or the end of the worker, which is then killed."""
        late = lost = False
        if len(worker.answers) < request.count:
            if not request.is_wanted:
                worker.retire()
                return []
            request.worker = worker
            try:
                late = not await _has_answered(worker, request)
            except WorkerLost:
                lost = True
            finally:
                request.worker = None
        try:
            answers = [read_answer(answer) for answer in worker.take(request.count)]
        except (msgspec.DecodeError, UnicodeDecodeError):
            lost = True
            answers = [ScriptAnswer(fault=_LOST)] * request.count
        if late and len(answers) < request.count and not is_over(answers):
            answers.append(ScriptAnswer(fault=_TOO_LONG, limit="time"))
        if late or lost or is_over(answers):
            worker.retire()
        return answers

    # Workers

    def _idle_worker_of(self, workspace_id: WorkspaceId | None) -> Worker | None:
        """Return an idle worker that has seen scripts of this workspace only, or None."""
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index].workspace_id == workspace_id:
                worker = self._idle.pop(index)
                if not worker.is_lost:
                    return worker
                worker.retire()
        return None

    async def _unused(self, *, is_new: bool) -> Worker:
        """Return a worker that has seen no script. Args: is_new: Start a new process. Raises: Unavailable."""
        while self._fresh and not is_new:
            worker = self._fresh.popleft()
            self._refill()
            if not worker.is_lost:
                return worker
            worker.retire()
        worker = await self._new_worker()
        self._refill()
        return worker

    def _put_back(self, worker: Worker) -> None:
        # A worker that only checks belongs to no workspace.
        if worker.workspace_id is None or worker.is_lost or self._is_closed or worker.requests >= _REQUESTS_OF_A_WORKER:
            worker.retire()
            return
        self._idle.append(worker)
        if len(self._idle) > self._workers:
            self._idle.pop(0).retire()

    def _refill(self) -> None:
        if self._refilling is None or self._refilling.done():
            self._refilling = asyncio.create_task(self._fill())

    async def _fill(self) -> None:
        try:
            while len(self._fresh) < self._workers and not self._is_closed:
                self._fresh.append(await self._new_worker())
        except Unavailable:
            # The next caller that needs a worker gets the error.
            return

    async def _new_worker(self) -> Worker:
        for _ in range(2):
            async with self._starting:
                if self._is_closed:
                    raise Unavailable(_STOPPING)
                if self._fork_server is None or self._fork_server.is_lost:
                    if self._fork_server is not None:
                        await self._fork_server.close()
                        logger.warning("sandbox.lost")
                    self._fork_server = None
                    self._fork_server = await ForkServer.start()
                fork_server = self._fork_server
            try:
                return await fork_server.worker()
            except OSError:
                await fork_server.close()
        raise Unavailable("JavaScript cannot be evaluated now: no process can be started")


async def _has_answered(worker: Worker, request: _Request) -> bool:
    """Wait for the answers; return False once no time is left. Raises: WorkerLost."""
    while request.seconds_left > 0:
        # The loop's own clock may not advance in between.
        began_at = time.perf_counter()
        try:
            async with asyncio.timeout(min(_LOOK_SECONDS, request.seconds_left)):
                await worker.until(request.count)
            return True
        except TimeoutError:
            continue
        finally:
            seconds = time.perf_counter() - began_at
            request.seconds_left -= seconds if seconds < _PAUSE_SECONDS else _LOOK_SECONDS
    return False


def _batch_size(worker: Worker | None) -> int:
    """Return the number of requests to send at once, which is small enough not to delay other workspaces."""
    if worker is None or worker.pace is None:
        return 1
    return max(1, min(_MOST_TOGETHER, int(_STRETCH_SECONDS / worker.pace)))


def _encoded(batch: deque[_Request]) -> tuple[list[_Request], list[bytes]]:
    """Encode the requests to send now. Requests that are too large are answered and removed from the batch."""
    requests: list[_Request] = []
    messages: list[bytes] = []
    size = 0
    for request in tuple(batch):
        if size > _BYTES_TOGETHER:
            break
        try:
            message = encoded_request(request.kind, request.scripts, request.scope)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            batch.remove(request)
            request.fail(error)
            continue
        if message is None:
            batch.remove(request)
            request.settle([ScriptAnswer(fault=_TOO_LARGE, limit="memory")] * request.count)
            continue
        requests.append(request)
        messages.append(message)
        size += len(message)
    return requests, messages
