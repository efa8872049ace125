"""The server's handles of the sandbox processes."""

import asyncio
import contextlib
import importlib.util
import itertools
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

import structlog

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import WorkspaceId

logger = structlog.get_logger()

_WORKER: Final = Path(__file__).with_name("worker.py")
_PRELUDE: Final = Path(__file__).with_name("prelude.js")
_LAZY_RUNTIME: Final = Path(__file__).with_name("lazy_runtime.js")
_START_SECONDS: Final = 10.0
# Limit for the answers to one batch: bounded values and lines, with their JSON escapes.
_MAX_ANSWER: Final = 64 * 1024 * 1024


class WorkerLost(Exception):
    """The worker ended before it answered."""


class Worker(asyncio.Protocol):
    """A process that evaluates scripts of one workspace, one request after the other.

    Attributes:
        workspace_id: The workspace whose scripts it has seen; None while it is fresh.
        is_lost: True if it accepts no further request.
        requests: The number of requests sent to it.
        pace: Recent average of seconds per request; None if unknown.
        answers: Received answers that were not taken yet.
    """

    def __init__(self, end: Callable[[], None]) -> None:
        self.workspace_id: WorkspaceId | None = None
        self.is_lost = False
        self.requests = 0
        self.pace: float | None = None
        self.answers: list[bytes] = []
        self._end = end
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._total = 0
        self._owed = 0
        self._wanted = 0
        self._arrival: asyncio.Future[None] | None = None

    def send(self, messages: Sequence[bytes], count: int) -> None:
        """Send a batch of requests that give ``count`` answers. All earlier requests must have been answered."""
        self.requests += len(messages)
        self._total = 0
        self._owed = count
        if not self.is_lost and self._transport is not None:
            frames = [part for message in messages for part in (len(message).to_bytes(4, "little"), message)]
            self._transport.write(b"".join(frames))

    async def until(self, count: int) -> None:
        """Wait until ``count`` answers have arrived. Raises: WorkerLost."""
        if len(self.answers) >= count:
            return
        if self.is_lost:
            raise WorkerLost
        self._wanted = count
        self._arrival = asyncio.get_running_loop().create_future()
        try:
            await self._arrival
        finally:
            self._arrival = None

    def take(self, count: int) -> list[bytes]:
        """Remove and return up to ``count`` answers."""
        taken = self.answers[:count]
        del self.answers[:count]
        return taken

    def retire(self) -> None:
        """Kill the process, even while it evaluates."""
        if self._transport is not None:
            self._transport.abort()
        self.is_lost = True
        self._end()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._total += len(data)
        if self._total > _MAX_ANSWER:
            self.retire()
            return
        at = 0
        while self._owed and len(self._received) - at >= 4:
            end = at + 4 + int.from_bytes(self._received[at : at + 4], "little")
            if end > len(self._received):
                break
            self._owed -= 1
            self.answers.append(bytes(self._received[at + 4 : end]))
            at = end
        del self._received[:at]
        if self._received and not self._owed:
            # The worker sends more answers than requested.
            self.retire()
        if self._arrival is not None and len(self.answers) >= self._wanted and not self._arrival.done():
            self._arrival.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_exception(WorkerLost())


class ForkServer:
    """The process that forks workers."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._numbers = itertools.count(1)
        self._watch = asyncio.create_task(self._wait())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_lost(self) -> bool:
        return self._watch.done()

    @classmethod
    async def start(cls) -> "ForkServer":
        """Start the process. Raises: Unavailable."""
        engine = importlib.util.find_spec("_quickjs")
        if engine is None or engine.origin is None:
            raise Unavailable("JavaScript cannot be evaluated: quickjs-ng is not installed")
        ours, theirs = _socket_pair()
        ours.setblocking(False)
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-I", "-S", str(_WORKER), engine.origin, str(_PRELUDE), str(_LAZY_RUNTIME),
                    stdin=theirs.fileno(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
                    env={}, cwd="/", start_new_session=True,
                )  # fmt: skip
            fork_server = cls(process, ours)
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError):
                raise _not_now(error) from None
            raise
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = await _line(ours)
        except BaseException as error:
            await fork_server.close()
            if isinstance(error, TimeoutError):
                raise Unavailable("JavaScript cannot be evaluated: the sandbox does not start") from None
            raise
        state, _, rest = line.partition(" ")
        if state != "ready":
            await fork_server.close()
            logger.error("sandbox.failed", reason=rest or "the process ended")
            raise Unavailable("JavaScript cannot be evaluated: the sandbox does not start")
        logger.info("sandbox.started", pid=process.pid)
        if lacking := rest.split():
            logger.warning("sandbox.jail_incomplete", lacking=lacking, hint="see docs/operations.md, JavaScript")
        return fork_server

    async def worker(self) -> Worker:
        """Return a fresh worker, which may still be starting.

        Raises:
            Unavailable: The server can open no more files. The workers that run are not affected.
            OSError: The process has ended, or hangs.
        """
        number = next(self._numbers)
        ours, theirs = _socket_pair()
        try:
            with theirs:
                socket.send_fds(self._control, [b"F" + number.to_bytes(4, "little")], [theirs.fileno()])
            _, worker = await asyncio.get_running_loop().create_connection(
                lambda: Worker(lambda: self._kill(number)), sock=ours
            )
        except BaseException:
            ours.close()
            self._kill(number)
            raise
        return worker

    async def close(self) -> None:
        """End the process and all workers."""
        if not self._watch.done():
            # The kernel kills the workers with it.
            self._kill_process()
            await asyncio.shield(self._watch)
        self._control.close()

    def _kill(self, number: int) -> None:
        try:
            self._control.send(b"K" + number.to_bytes(4, "little"))
        except OSError:
            # The fork server has ended, and its workers with it, or it hangs and is unusable.
            self._kill_process()

    def _kill_process(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _wait(self) -> None:
        await self._process.wait()


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Raises: Unavailable."""
    try:
        return socket.socketpair()
    except OSError as error:
        raise _not_now(error) from None


def _not_now(error: OSError) -> Unavailable:
    """Return the error for a lack of files, processes or memory, which passes: it must not fail a flow."""
    return Unavailable(f"JavaScript cannot be evaluated now: no process can be started ({error.strerror})")


async def _line(control: socket.socket) -> str:
    loop = asyncio.get_running_loop()
    line = b""
    while not line.endswith(b"\n"):
        data = await loop.sock_recv(control, 4096)
        if not data:
            break
        line += data
    return line.decode(errors="replace").strip()
