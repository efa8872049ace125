"""Engine processes of a server: which executions each has in memory, and their restarts.

An engine process has neither the database nor the keys nor a socket for clients. It sends its events to the server,
whose one writer makes them durable. So its death can neither lose nor repeat an append, and the dispatcher with its
limits and queues stays in one process.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import structlog

from flowrunner.dispatch.processes.channel import Channel
from flowrunner.dispatch.processes.packed import pack_start, pack_texts
from flowrunner.dispatch.processes.remote_execution import Entry, RemoteExecution
from flowrunner.dispatch.processes.requests import ProcessRequests, ServerParts
from flowrunner.domain.errors import FlowRunnerError, Unavailable
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.ports.dispatch import Engine, Signal
from flowrunner.ports.journal import NewExecution
from flowrunner.ports.telemetry import TRACEPARENT, ObservedExecution
from flowrunner.retrying import rising
from flowrunner.tasks import cancel_all

logger = structlog.get_logger()

_REPORT_SECONDS: Final = 5.0
# A process that does not answer for this long gets no further execution.
_SILENCE_SECONDS: Final = 2.0
# One that does not answer for this long hangs, and is killed.
_LONGEST_SILENCE_SECONDS: Final = 30.0
_START_SECONDS: Final = 60.0
_FIRST_ATTEMPTS: Final = 3
# The restart of a process takes about a second, and more on a busy machine; a request can wait for it.
_RESTART_SECONDS: Final = 30.0
# A process that does not redact a new secret by then hangs, and is killed: then it can no longer show the secret.
_HIDE_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0
# An execution that ends its process is loaded again after a second, and fails after some attempts.
_restart_seconds: Final = rising(0.0, 0.5, 1.0, 2.0)
_failed_start_seconds: Final = rising(0.5, 1.0, 2.0, 5.0, 10.0)
# A process that has run for this long has started successfully.
_WELL_SECONDS: Final = 60.0
_NONE: Final = "No engine process is running: try again in a moment"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessReport:
    """The use of resources by an engine process.

    Attributes:
        cpu_seconds: Processor time of the process.
        memory: Bytes of its memory.
        busy_scripts: Script workers of the process that evaluate a script now.
        waiting_scripts: Requests that wait for one of them.
    """

    cpu_seconds: float = 0.0
    memory: int = 0
    busy_scripts: int = 0
    waiting_scripts: int = 0


class StartedProcess(Protocol):
    """A running engine process."""

    @property
    def channel(self) -> Channel: ...
    @property
    def pid(self) -> int: ...

    async def wait(self) -> int:
        """Return its exit code when it has ended."""
        ...

    def kill(self) -> None: ...


# Starts an engine process.
StartProcess: TypeAlias = Callable[[], Awaitable[StartedProcess]]


@dataclass(slots=True)
class _Process:
    """A process that has started. It is silent while it does not answer."""

    started: StartedProcess
    requests: ProcessRequests
    is_silent: bool = False


@dataclass(slots=True)
class _ProcessSlot:
    """The place of one process and its successors. The report is the last one, perhaps of an earlier process."""

    process: _Process | None = None
    report: ProcessReport = field(default_factory=ProcessReport)


class EngineProcesses:
    """Implements `ports.Engine`: engine processes advance the executions, and the server's own engine does the rest.

    Args:
        engine: The engine of the server's process.
        count: Number of engine processes.
    """

    def __init__(self, engine: Engine, parts: ServerParts, start: StartProcess, *, count: int) -> None:
        self._engine = engine
        self._parts = parts
        self._start = start
        self._slots = [_ProcessSlot() for _ in range(count)]
        self._supervisors: list[asyncio.Task[None]] = []
        self._is_closing = False
        self._others_wait = False
        self._has_started = asyncio.Event()
        self.restarts = 0

    @property
    def running(self) -> int:
        """Return the number of processes that advance executions."""
        return len(self._processes())

    @property
    def reports(self) -> Sequence[ProcessReport]:
        """Return the last report of each process."""
        return [slot.report for slot in self._slots]

    def _processes(self) -> list[_Process]:
        found = [slot.process for slot in self._slots if slot.process is not None]
        # The supervisor of one that has ended may not have noticed yet.
        return [process for process in found if not process.started.channel.lost.done()]

    async def close(self) -> None:
        """End the processes. Executions in their memory continue at the next start."""
        self._is_closing = True
        await cancel_all(*self._supervisors)
        # A supervisor that was cancelled before it began has ended none, and a start that was cancelled has made none.
        for slot in self._slots:
            if (process := slot.process) is not None:
                slot.process = None
                await self._end(process.started)

    # The engine

    @property
    def is_stopping(self) -> bool:
        return self._engine.is_stopping

    async def open(self) -> None:
        """Claim the journal, and start the processes. Raises: FlowRunnerError if one does not start."""
        await self._engine.open()
        started = await asyncio.gather(*map(self._start_first, self._slots), return_exceptions=True)
        for slot in self._slots:
            if slot.process is not None:
                supervise = self._supervise(slot)
                self._supervisors.append(asyncio.create_task(supervise, name="engine process"))
        for error in started:
            if isinstance(error, BaseException):
                await self.close()
                raise FlowRunnerError(f"An engine process does not start: {error}") from error

    async def open_shared(self) -> None:
        raise NotImplementedError("workers advance the executions")

    def stop(self) -> None:
        self._engine.stop()
        for process in self._processes():
            process.started.channel.notify("stop")

    def set_others_wait(self, others_wait: bool) -> None:
        self._others_wait = others_wait
        for process in self._processes():
            process.started.channel.notify("set_others_wait", others_wait)

    async def begin(self, new: NewExecution, flow: Flow, input: JSON, *, at_once: bool) -> RemoteExecution | None:
        if not at_once or new.kept:
            await self._engine.begin(new, flow, input, at_once=False)
            return None
        traceparent = TRACEPARENT.get()
        observed = ObservedExecution(
            execution_id=new.id,
            workspace_id=new.workspace_id,
            flow_id=new.flow_id,
            flow_name=new.flow_name or flow.name,
            cause=new.cause,
            traceparent=traceparent,
        )
        start = pack_start(new, new.first_event(flow, input, traceparent))
        while True:
            entry = await self._choose(new.id, observed, new)
            try:
                return await entry.begin(start)
            except Unavailable:
                if not entry.is_lost:
                    raise
                if await entry.was_created():
                    # It is loaded in another process.
                    return None
                # Nothing of it is durable, nor will be: another process begins it.

    async def load(self, id: ExecutionId) -> RemoteExecution | None:
        entry = await self._choose(id, None)
        return await entry.load()

    async def _choose(
        self, id: ExecutionId, observed: ObservedExecution | None, new: NewExecution | None = None
    ) -> Entry:
        """Choose the process with the fewest executions, and a silent one only if all are silent.

        Raises: Unavailable if there is none for some seconds.
        """
        if not (processes := self._processes()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RESTART_SECONDS):
                    while not (processes := self._processes()):
                        self._has_started.clear()
                        await self._has_started.wait()
            if not processes:
                raise Unavailable(_NONE)
        chosen = min(processes, key=lambda process: (process.is_silent, len(process.requests.executions)))
        held = chosen.requests.hold(id, observed, new)
        return Entry(chosen.requests, held, epoch=self._parts.deps.epoch)

    async def end_of(self, id: ExecutionId) -> Signal | None:
        return await self._engine.end_of(id)

    async def orphaned_children(self, parent: ExecutionId, children: Sequence[ExecutionId]) -> Sequence[ExecutionId]:
        return await self._engine.orphaned_children(parent, children)

    async def replaces(self, id: ExecutionId) -> bool:
        return await self._engine.replaces(id)

    async def give_up(self, id: ExecutionId) -> None:
        await self._engine.give_up(id)

    # Secrets

    async def hide(self, workspace_id: WorkspaceId, values: Collection[str]) -> None:
        """Have all processes redact these values of a workspace, and no others, when this returns."""
        await asyncio.gather(*(_hide(process, workspace_id, values) for process in self._processes()))

    def forget(self, workspace_id: WorkspaceId) -> None:
        """Have all processes forget the secrets of a workspace that was deleted."""
        for process in self._processes():
            process.requests.workspaces.discard(workspace_id)
            process.started.channel.notify("forget", workspace_id)

    # Supervision

    async def _start_first(self, slot: _ProcessSlot) -> None:
        """Start a process with the server. One that is killed meanwhile must not end the server."""
        for _ in range(_FIRST_ATTEMPTS - 1):
            with contextlib.suppress(Unavailable):
                await self._start_one(slot)
                return
        await self._start_one(slot)

    async def _start_one(self, slot: _ProcessSlot) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                process = await self._opened()
        except TimeoutError:
            raise Unavailable(f"it was not ready after {_START_SECONDS:g} s") from None
        if self._engine.is_stopping:
            process.started.channel.notify("stop")
        process.started.channel.notify("set_others_wait", self._others_wait)
        slot.process = process
        self._has_started.set()

    async def _opened(self) -> _Process:
        started = await self._start()
        requests = ProcessRequests(self._parts, started.channel)
        started.channel.serve(requests.handlers)
        try:
            await started.channel.call("open", self._parts.deps.epoch, self._parts.link_key())
        except BaseException:
            await _kill(started)
            raise
        return _Process(started, requests)

    async def _supervise(self, slot: _ProcessSlot) -> None:
        """Keep one process running until cancelled."""
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            began_at = loop.time()
            try:
                if slot.process is None:
                    await self._start_one(slot)
                    self.restarts += 1
                await self._watch(slot)
            except Exception as error:
                # Continue after any error: otherwise no execution might ever advance again.
                logger.error("engine_process.failed", reason=str(error) or type(error).__name__)
            finally:
                ended, slot.process = slot.process, None
                if ended is not None:
                    await self._end(ended.started)
            failures = 1 if loop.time() - began_at >= _WELL_SECONDS else failures + 1
            await asyncio.sleep(_failed_start_seconds(failures) if ended is None else _restart_seconds(failures))

    async def _watch(self, slot: _ProcessSlot) -> None:
        """Return when the process has closed its socket, or hangs."""
        assert slot.process is not None, "started before"
        process, started = slot.process, slot.process.started
        try:
            while not started.channel.lost.done():
                async with asyncio.timeout(_LONGEST_SILENCE_SECONDS):
                    report = started.channel.call("report", self._parts.link_key(), returns=ProcessReport)
                    await asyncio.wait((report,), timeout=_SILENCE_SECONDS)
                    if not report.done():
                        process.is_silent = True
                        logger.warning("engine_process.silent", pid=started.pid, hint="others get new executions")
                    slot.report = await report
                process.is_silent = False
                await asyncio.wait((started.channel.lost,), timeout=_REPORT_SECONDS)
        except TimeoutError:
            logger.error("engine_process.hangs", pid=started.pid, seconds=_LONGEST_SILENCE_SECONDS)
        except Unavailable:
            # It has ended meanwhile.
            pass
        logger.error("engine_process.ended", pid=started.pid, hint="its executions continue in another one")

    async def _end(self, started: StartedProcess) -> None:
        """End a process, which does so by itself when its socket is closed."""
        started.channel.close()
        if self._is_closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await started.wait()
                return
        await _kill(started)


async def _hide(process: _Process, workspace_id: WorkspaceId, values: Collection[str]) -> None:
    if workspace_id not in process.requests.workspaces:
        return
    try:
        async with asyncio.timeout(_HIDE_SECONDS):
            await process.started.channel.call("hide", workspace_id, pack_texts(values))
    except TimeoutError:
        logger.error("engine_process.hangs", pid=process.started.pid, seconds=_HIDE_SECONDS)
        await _kill(process.started)
    except Unavailable:
        # A new process asks for the values.
        pass


async def _kill(started: StartedProcess) -> None:
    started.kill()
    await started.wait()
