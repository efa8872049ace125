"""Who evaluates which script, when, and for how long."""

import asyncio
import re
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.expression.script import Script, ScriptFault, ScriptOutcome
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.sandbox.fork_server import ForkServer, Worker, WorkerLost
from flowrunner.sandbox.worker import ENGINE_SECONDS, MAX_REQUEST, PREFIX

logger = structlog.get_logger()

# A worker that has not answered by then is killed. The engine's own limit comes first where it can.
_WALL_SECONDS: Final = ENGINE_SECONDS + 0.3
_QUEUE_SECONDS: Final = 10.0
# An account whose script has run into its time limit leaves a worker to the others for so long.
_SLOW_SECONDS: Final = 10.0
# An engine that leaks a little for every evaluation is replaced before it matters.
_REQUESTS_OF_A_WORKER: Final = 10_000
# Requests of one account that are sent together, so that neither side waits for the other between them: as many as
# are answered in about this time.
_MOST_TOGETHER: Final = 8
_STRETCH_SECONDS: Final = 0.005
_BYTES_TOGETHER: Final = 1024 * 1024

_TOO_LONG: Final = f"the scripts of one evaluation took longer than {ENGINE_SECONDS:g} s"
_LOST: Final = "the process that evaluated the script ended unexpectedly"
_TOO_DEEP: Final = "the value is nested too deeply"
_STOPPING: Final = "the server is stopping"
_TOO_LARGE: Final = f"the scripts and what they can see take more than {MAX_REQUEST // 1024 // 1024} MiB"
_LEFT_OUT: Final = "not evaluated, because a script before it went over its limit"

# `at <anonymous> (<input>:3:12)`; without brackets it is a place in a text that did not parse.
_FRAME: Final = re.compile(r"\(<input>:(\d+):(\d+)\)$", re.MULTILINE)
_SYNTAX: Final = re.compile(r"at <input>:(\d+):(\d+)$", re.MULTILINE)
# What the engine itself says at run time quotes what it was given, and cuts it: names to 63 bytes or somewhat
# fewer, all of it to 255.
_ENGINE: Final = re.compile(r"(?:Aggregate|Eval|Internal|Range|Reference|Syntax|Type|URI)?Error: ")
_QUOTED: Final = re.compile(r"'.*'|^\S+(?= is not (?:defined|initialized))", re.DOTALL)
_PIECE: Final = re.compile(r":? '.{4,}'", re.DOTALL)
_CUT_NAME_BYTES: Final = range(60, 64)
_CUT_MESSAGE_BYTES: Final = range(250, 257)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONE_SURROGATE: Final = re.compile(rb"\\\\|\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class _Answer(msgspec.Struct):
    value: Any = None
    fault: str | None = None
    kind: str | None = None
    stack: str = ""
    limit: str | None = None
    lines: list[tuple[str, str]] = []


_decode: Final = msgspec.json.Decoder(_Answer).decode
_encode: Final = msgspec.json.Encoder().encode


class _Request:
    """What is to be evaluated for one place of a flow.

    Attributes:
        kind: `E` to evaluate, `C` to check.
        scope: It is not written down before a worker is free: what waits takes no memory of its own.
        count: How many answers there will be.
        answers: Come all together. Whoever does not wait for them any longer cancels it.
        worker: What is evaluating it just now.
        seconds_left: How long that may take yet.
        is_repeated: A worker has ended over it for no known reason.
    """

    __slots__ = ("_patience", "answers", "count", "is_repeated", "kind", "scope", "scripts", "seconds_left", "worker")

    def __init__(self, kind: bytes, scripts: Sequence[Script], scope: Mapping[str, JSON] | None) -> None:
        loop = asyncio.get_running_loop()
        self.kind = kind
        self.scripts = scripts
        self.scope = scope
        self.count = len(scripts)
        self.answers: asyncio.Future[list[_Answer]] = loop.create_future()
        self.worker: Worker | None = None
        self.seconds_left = _WALL_SECONDS
        self.is_repeated = False
        self._patience = loop.call_later(_QUEUE_SECONDS, self._wait_no_longer)

    @property
    def is_wanted(self) -> bool:
        return not self.answers.done()

    def has_its_turn(self) -> None:
        self._patience.cancel()

    def settle(self, answers: list[_Answer]) -> None:
        """Give the answers; what comes behind one that is over a limit is left out."""
        if self.is_wanted:
            left_out = _Answer(fault=_LEFT_OUT, limit=answers[-1].limit)
            self.answers.set_result(answers + [left_out] * (self.count - len(answers)))

    def fail(self, error: Exception) -> None:
        if self.is_wanted:
            self.answers.set_exception(error)

    def _wait_no_longer(self) -> None:
        self.fail(Unavailable("JavaScript cannot be evaluated now: too much of it is waiting"))


class JailedSandbox:
    """Fills `ports.Sandbox`. Starts nothing before the first script.

    A worker that has seen an account's scripts is never given to another account: it is kept for a while, and then
    ends. Fresh ones wait ready in their place.

    Args:
        workers: How many scripts are evaluated at a time.
    """

    def __init__(self, workers: int = 2) -> None:
        self._workers = workers
        self._fork_server: ForkServer | None = None
        self._starting = asyncio.Lock()
        self._fresh: deque[Worker] = deque()
        # The least recently used first.
        self._idle: list[Worker] = []
        self._running: Counter[WorkspaceId | None] = Counter()
        # Who has waited longest for a turn first.
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
        kind = b"E" if now is None else b"T" + _milliseconds(now)
        answers = await self._ask(workspace_id, kind, scripts, scope)
        return [
            ScriptOutcome(answer.value, _fault(answer, script), tuple(answer.lines))
            for script, answer in zip(scripts, answers, strict=True)
        ]

    async def check(self, scripts: Sequence[Script]) -> Sequence[ScriptFault | None]:
        answers = await self._ask(None, b"C", scripts, None)
        return [_fault(answer, script) for script, answer in zip(scripts, answers, strict=True)]

    async def close(self) -> None:
        """End all processes. Evaluations under way end with Unavailable."""
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
            # What is under way loses its worker, and what waits finds none.
            await asyncio.wait(self._serving)

    async def _ask(
        self, workspace_id: WorkspaceId | None, kind: bytes, scripts: Sequence[Script], scope: Mapping[str, JSON] | None
    ) -> list[_Answer]:
        if not scripts:
            return []
        if self._is_closed:
            raise Unavailable(_STOPPING)
        request = _Request(kind, scripts, scope)
        self._waiting.setdefault(workspace_id, deque()).append(request)
        self._take_turns()
        try:
            return await request.answers
        except asyncio.CancelledError:
            if request.worker is not None:
                # Nobody waits for what it is doing.
                request.worker.retire()
            raise
        finally:
            request.has_its_turn()

    # Turns

    def _take_turns(self) -> None:
        """Let those go on who may, the accounts one after the other, whoever has more waiting."""
        while (free := self._workers - self._running.total()) > 0:
            for workspace_id in self._waiting:
                if self._may_run(workspace_id):
                    break
            else:
                return
            waiting = self._waiting[workspace_id]
            worker = None if waiting[0].is_repeated else self._kept_for(workspace_id)
            # Others may go on beside it.
            most = min(_together(worker), -(-len(waiting) // free))
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
        running = self._running.total()
        if running >= self._workers:
            return False
        slow_until = self._slow.get(workspace_id)
        if slow_until is None:
            return True
        if slow_until < asyncio.get_running_loop().time():
            del self._slow[workspace_id]
            return True
        return self._running[workspace_id] < max(1, self._workers - 1)

    async def _serve(self, workspace_id: WorkspaceId | None, worker: Worker | None, batch: deque[_Request]) -> None:
        """Have requests of one account evaluated, as far as one worker comes with them."""
        try:
            for request in batch:
                request.has_its_turn()
            worker = worker or await self._unused(is_new=batch[0].is_repeated)
            worker.workspace_id = workspace_id
            await self._evaluate(worker, batch)
        except Exception as error:
            # Those who wait are told, whatever it is.
            while batch:
                batch.popleft().fail(error)
        finally:
            self._running[workspace_id] -= 1
            if not self._running[workspace_id]:
                del self._running[workspace_id]
            if batch:
                self._waiting.setdefault(workspace_id, deque()).extendleft(reversed(batch))
                self._waiting.move_to_end(workspace_id, last=False)
            self._take_turns()

    async def _evaluate(self, worker: Worker, batch: deque[_Request]) -> None:
        """Take what has come to its end off the batch; what is left then has not begun, or is to be repeated."""
        # The loop's own clock may stand still in between.
        clock = time.perf_counter
        requests, messages = _written(batch)
        begun_at, count = clock(), len(requests)
        if requests:
            worker.send(messages, sum(request.count for request in requests))
        for request in requests:
            first_at = clock()
            answers = await self._answers(worker, request)
            request.seconds_left -= clock() - first_at
            is_complete = len(answers) == request.count or _is_over(answers)
            if not is_complete and request.is_wanted:
                # It may have been killed for no fault of the scripts, and those that wait ready with it.
                logger.warning("sandbox.worker_lost", workspace_id=worker.workspace_id)
                if not request.is_repeated:
                    request.is_repeated = True
                    break
                answers.append(_Answer(fault=_LOST))
            batch.popleft()
            if answers and answers[-1].limit == "time":
                self._slow[worker.workspace_id] = asyncio.get_running_loop().time() + _SLOW_SECONDS
            request.settle(answers)
            if worker.is_lost:
                break
        if count:
            worker.pace = (clock() - begun_at) / count
        self._put_back(worker)

    async def _answers(self, worker: Worker, request: _Request) -> list[_Answer]:
        """The answers until one is over a limit, or the worker ends, which is fit for nothing afterwards."""
        late = lost = False
        if len(worker.answers) < request.count:
            if not request.is_wanted:
                worker.retire()
                return []
            request.worker = worker
            try:
                async with asyncio.timeout(request.seconds_left):
                    await worker.until(request.count)
            except TimeoutError:
                late = True
            except WorkerLost:
                lost = True
            finally:
                request.worker = None
        try:
            answers = [_read(answer) for answer in worker.take(request.count)]
        except (msgspec.DecodeError, UnicodeDecodeError):
            lost = True
            answers = [_Answer(fault=_LOST)] * request.count
        if late and len(answers) < request.count and not _is_over(answers):
            answers.append(_Answer(fault=_TOO_LONG, limit="time"))
        if late or lost or _is_over(answers):
            worker.retire()
        return answers

    # Workers

    def _kept_for(self, workspace_id: WorkspaceId | None) -> Worker | None:
        """A worker that has seen scripts of the account, and of no other."""
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index].workspace_id == workspace_id:
                worker = self._idle.pop(index)
                if not worker.is_lost:
                    return worker
                worker.retire()
        return None

    async def _unused(self, *, is_new: bool) -> Worker:
        """A worker that has seen no script. Args: is_new: It did not wait ready. Raises: Unavailable."""
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
        # What only checks has no account to be kept for.
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
            # Whoever needs one next is told.
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
        raise Unavailable("JavaScript cannot be evaluated now: no process can be had")


def _together(worker: Worker | None) -> int:
    """How many requests a worker is sent at once: the others' turns are a short time off even so."""
    if worker is None or worker.pace is None:
        return 1
    return max(1, min(_MOST_TOGETHER, int(_STRETCH_SECONDS / worker.pace)))


def _is_over(answers: Sequence[_Answer]) -> bool:
    """Whether the last went over a limit that ends its worker."""
    return bool(answers) and answers[-1].limit in ("time", "memory")


def _written(batch: deque[_Request]) -> tuple[list[_Request], list[bytes]]:
    """Write down what a worker is to be sent now; what is too large for any is answered, and leaves the batch."""
    requests: list[_Request] = []
    messages: list[bytes] = []
    size = 0
    for request in tuple(batch):
        if size > _BYTES_TOGETHER:
            break
        try:
            message = _message(request)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            batch.remove(request)
            request.fail(error)
            continue
        if message is None:
            batch.remove(request)
            request.settle([_Answer(fault=_TOO_LARGE, limit="memory")] * request.count)
            continue
        requests.append(request)
        messages.append(message)
        size += len(message)
    return requests, messages


def _message(request: _Request) -> bytes | None:
    """Write a request as the worker reads it; None if it is too large."""
    parts = [request.kind, request.count.to_bytes(4, "little")]
    for script in request.scripts:
        # What is not Unicode is no JavaScript either; the engine then says so.
        source = script.source.encode(errors="replace")
        parts += (b"b" if script.is_body else b"e", len(source).to_bytes(4, "little"), source)
    left = MAX_REQUEST - sum(map(len, parts))
    if request.scope is not None:
        scope = _encoded_scope(request.scope, left)
        if scope is None:
            return None
        parts.append(scope)
    return b"".join(parts) if left >= 0 else None


def _encoded_scope(scope: Mapping[str, JSON], left: int) -> bytes | None:
    """Write what scripts can see as JSON, name by name and node by node; stop as soon as it is too large."""
    members: list[bytes] = []
    for name, value in scope.items():
        entries = value.items() if isinstance(value, dict) else ()
        if len(entries) > 1:
            pieces = []
            for key, entry in entries:
                pieces.append(b"%b:%b" % (_encode(key), _encode(entry)))
                left -= len(pieces[-1])
                if left < 0:
                    return None
            written = b"{%b}" % b",".join(pieces)
        else:
            written = _encode(value)
            left -= len(written)
        if left < 0:
            return None
        members.append(b"%b:%b" % (_encode(name), written))
    return b"{%b}" % b",".join(members)


def _milliseconds(moment: datetime) -> bytes:
    return ((moment - _EPOCH) // timedelta(milliseconds=1)).to_bytes(8, "little", signed=True)


def _read(answer: bytes) -> _Answer:
    try:
        return _decode(answer)
    except RecursionError:
        return _Answer(fault=_TOO_DEEP)
    except msgspec.DecodeError:
        # Half a pair of surrogates has no UTF-8: it becomes what JavaScript itself makes of it on the way out.
        return _decode(_LONE_SURROGATE.sub(lambda m: m[0] if m[0] == b"\\\\" else rb"\ufffd", answer))


def _whole(message: str) -> str:
    """What a script failed with, without what the engine may have cut: half of a secret is a secret too, and only
    whole ones are found and hidden later."""
    head = _ENGINE.match(message)
    if head is None:
        return message
    name, said = head[0], message[head.end() :]
    if len(said.encode()) in _CUT_MESSAGE_BYTES:
        return f"{name}a message of {len(said)} characters"
    if name == "SyntaxError: ":
        # Of a text that was given at run time, of which it quotes a piece.
        return name + _PIECE.sub("", said)
    quoted = _QUOTED.search(said)
    if quoted is not None and len(quoted[0].strip("'").encode()) in _CUT_NAME_BYTES:
        return f"{name}{said[: quoted.start()]}'…'{said[quoted.end() :]}"
    return message


def _fault(answer: _Answer, script: Script) -> ScriptFault | None:
    if answer.fault is None:
        return None
    if answer.kind != "syntax":
        answer.fault = _whole(answer.fault)
    place = None
    if answer.kind in ("syntax", "error"):
        place = (_SYNTAX if answer.kind == "syntax" else _FRAME).search(answer.stack)
    if place is None:
        return ScriptFault(answer.fault, limit=answer.limit)
    line, column = int(place[1]), int(place[2])
    if line == 1:
        column -= PREFIX
    last = script.source.count("\n") + 1
    if column < 1 or line > last:
        # Something is missing at the end, which the engine finds behind it.
        return ScriptFault(answer.fault, last, limit=answer.limit)
    return ScriptFault(answer.fault, line, column, answer.limit)
