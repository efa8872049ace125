"""The server process: it serves the program on a socket from the start until a signal."""

import asyncio
import contextlib
import errno
import ipaddress
import resource
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import structlog
import uvicorn
from starlette.types import ASGIApp, Scope

from flowrunner.api.http.accept_queue import AcceptQueue
from flowrunner.api.http.connections import Connections
from flowrunner.api.http.hosts import Hosts
from flowrunner.api.http.protocol import JoinedHttpProtocol
from flowrunner.api.http.proxies import Proxies
from flowrunner.api.http.standby import STANDBY, AppSwitch, OnlyHealth, Standby
from flowrunner.api.http.websockets import FrameReading, SocketProtocol
from flowrunner.api.open_streams import TRY_AGAIN
from flowrunner.bootstrap.data import check_data_dir
from flowrunner.bootstrap.dispatching import check_dispatch
from flowrunner.bootstrap.first_admin import first_admin
from flowrunner.bootstrap.housekeeping import active_jobs, run_jobs
from flowrunner.bootstrap.interpreter import frozen_gc, unmap_large_blocks
from flowrunner.bootstrap.lifecycle import open_program
from flowrunner.bootstrap.location import has_usable_schema
from flowrunner.bootstrap.memory_limit import HINT, memory_fault, memory_limit
from flowrunner.bootstrap.ownership import is_shared, owning
from flowrunner.bootstrap.program import Program
from flowrunner.bootstrap.telemetry import open_exporters
from flowrunner.domain.errors import DispatchUnavailable, FlowRunnerError, Unavailable
from flowrunner.logs import configure_logging, forward_events
from flowrunner.ports.ownership import Ownership
from flowrunner.settings import InvalidSettings, Settings, without_credentials
from flowrunner.tasks import alongside, cancel_all
from flowrunner.threads import start_threads

if TYPE_CHECKING:
    from flowrunner.bootstrap.telemetry import Exporters

logger = structlog.get_logger()

_LOOK_SECONDS: Final = 1.0
# The interval between pings of a WebSocket, and the time allowed for the pong.
PING_SECONDS: Final = 20.0
# Longer than proxies keep an idle connection (nginx and load balancers 60 s, Caddy 120 s). Otherwise a proxy can send a
# request at the moment of the close, and answers it with 502 if it may not be repeated.
KEEP_ALIVE_SECONDS: Final = 130
# Maximum of open connections, if the file limit allows it; more if more WebSockets are allowed.
_CONNECTIONS: Final = 10_000
# Reserved for the server's own files, and for connections that arrive faster than others are closed. At most half of
# all files.
_OTHER_FILES: Final = 5_000
_EXPOSED: Final = (
    "other machines can reach this server. It speaks plain HTTP: anyone on the network path can read passwords, tokens "
    "and results, and anyone can try passwords. Listen on 127.0.0.1 behind a proxy with TLS instead, "
    "or restrict access by a firewall"
)


async def serve(settings: Settings, *, is_worker: bool = False) -> None:
    """Run the server, or a worker, until a signal ends it.

    Raises:
        FlowRunnerError: If it cannot start. The message contains the remedy.
    """
    configure_logging(settings)
    await start_threads()
    unmap_large_blocks()
    # Called in any case, because it rejects contradictory settings before anything is awaited.
    if not is_shared(settings) and is_worker:
        raise InvalidSettings(
            "Workers need Temporal: set FLOWRUNNER_DISPATCH to its address. "
            "Without Temporal, the server needs no workers: flowrunner serve"
        )
    # Checked before anything is created in the database or the data directory.
    check_dispatch(settings)
    files = _open_files(max(_CONNECTIONS, settings.max_sockets * 3 // 2) + _OTHER_FILES)
    most_connections = files - min(_OTHER_FILES, files // 2)
    # A third of the connections is reserved for plain requests.
    settings = replace(settings, max_sockets=min(settings.max_sockets, most_connections * 2 // 3))
    listener = _listen(settings)
    with contextlib.closing(listener):
        exporters = open_exporters(settings)
        try:
            if exporters is not None and exporters.has_logs:
                forward_events(exporters.log)
            await _Serving(settings, listener, most_connections, is_worker=is_worker, exporters=exporters).run()
        finally:
            if exporters is not None:
                forward_events(None)
                await asyncio.to_thread(exporters.close)


def _open_files(wanted: int) -> int:
    """Raise the limit of open files to the wanted number or to the allowed maximum; return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        option = "--port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "--host"
        raise FlowRunnerError(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}; choose another with {option}"
        ) from None
    except UnicodeError:
        listener.close()
        raise FlowRunnerError(f"Cannot listen on {settings.host}: not an address; choose another with --host") from None
    return listener


class Exit(Enum):
    """The reason why a program ends."""

    STOP = auto()
    # Another server has become active, or this one may become active.
    ROLE = auto()
    ENGINE_DIED = auto()


class _Serving:
    """A server that is active or on standby, depending on the ownership of the database.

    Each change of roles opens a new program, which starts without any state in memory.
    """

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        most_connections: int,
        *,
        is_worker: bool,
        exporters: "Exporters | None",
    ) -> None:
        self._settings = settings
        self._exporters = exporters
        self._is_worker = is_worker
        self._listener = listener
        self._stop, self._force_stop = asyncio.Event(), asyncio.Event()
        self._problem = STANDBY
        # The reason why the last attempt failed, which is logged only once; None after a success.
        self._last_problem: str | None = None
        self._proxies = Proxies(settings.trusted_proxies)
        self._hosts = Hosts(settings.public_url, settings.allowed_hosts)
        self._fallback = Standby(None, self._proxies, self._hosts, lambda: self._problem)
        self._switch = AppSwitch(self._fallback)
        # The program that answers the requests; None before this server is active, and on standby.
        self._active: Program | None = None
        accept_queue = AcceptQueue(listener, self._make_protocol)
        connections = Connections(
            most_connections, on_open=accept_queue.look, on_drop=self._count_drop, on_refusal=self._count_refusal
        )
        self._server = _Server.of(
            self._switch, partial(JoinedHttpProtocol, open_connections=connections, refuse_early=self._refuse_early)
        )
        self._http: asyncio.Task[None] | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        # With `nohup` the end of the terminal ends nothing.
        hang_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
        for number in (signal.SIGTERM, signal.SIGINT, *hang_up):
            loop.add_signal_handler(number, self._on_signal)
        why = Exit.ROLE
        try:
            while why is Exit.ROLE:
                why = await self._own()
        finally:
            await self._end_http()
        logger.info("server.stopped")
        if why is Exit.ENGINE_DIED:
            raise FlowRunnerError("The engine has ended unexpectedly: start the server again")

    def _make_protocol(self) -> asyncio.Protocol:
        """Return what uvicorn makes for a new connection."""
        http: Callable[..., asyncio.Protocol] = self._server.config.http_protocol_class
        return http(
            config=self._server.config, server_state=self._server.server_state, app_state=self._server.lifespan.state
        )

    def _refuse_early(self, scope: Scope, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        return None if self._active is None else self._active.early_refusals.answer_to(scope, headers)

    def _count_drop(self) -> None:
        if self._active is not None:
            self._active.metrics.refused("connections")

    def _count_refusal(self, status: int) -> None:
        if self._active is not None:
            self._active.metrics.requests.count(None, "", status, 0.0)

    def _on_signal(self) -> None:
        (self._force_stop if self._stop.is_set() else self._stop).set()

    async def _own(self) -> Exit:
        """Compete for the ownership of the database and run the resulting roles."""
        try:
            async with owning(self._settings) as ownership:
                why = Exit.ROLE
                while why is Exit.ROLE:
                    why = await self._run_role(ownership)
                return why
        except Unavailable as error:
            return await self._wait_until_available(error)

    async def _run_role(self, ownership: Ownership) -> Exit:
        """Run the role that the ownership assigns until it changes."""
        is_standby = not ownership.is_held
        own_ports = frozenset({self._listener.getsockname()[1]})
        try:
            if is_standby and (not await has_usable_schema(self._settings) or self._is_worker):
                # Either this version cannot read the database yet, or a worker would have nothing to serve.
                if self._last_problem != STANDBY:
                    await check_data_dir(self._settings)
                return await self._wait_on_fallback(STANDBY)
            if is_standby:
                # Before the program is opened, which takes a moment, or longer if the database is slow.
                self._log_standby()
            async with open_program(
                self._settings,
                own_ports=own_ports,
                is_standby=is_standby,
                is_worker=self._is_worker,
                exporters=self._exporters,
            ) as program:
                if is_standby:
                    return await self._be_standby(program, ownership)
                self._last_problem = None
                url = _url(self._settings.host, self._listener.getsockname()[1])
                await first_admin(self._settings, program, url)
                return await self._be_active(program, ownership)
        except Unavailable as error:
            return await self._wait_until_available(error)

    async def _wait_until_available(self, error: Unavailable) -> Exit:
        """Log the unavailable service and wait before the next attempt: services may start in any order."""
        if self._settings.database_url is None:
            # A missing file does not come back by itself, so the operator must be told at once.
            raise error
        is_temporal = isinstance(error, DispatchUnavailable)
        if str(error) != self._last_problem:
            self._last_problem = str(error)
            hint = "the server continues when the service answers"
            if is_temporal:
                logger.warning("temporal.unavailable", reason=self._last_problem, hint=hint)
            else:
                at = without_credentials(self._settings.database_url)
                logger.warning("database.unavailable", reason=self._last_problem, at=at, hint=hint)
        return await self._wait_on_fallback(
            "Temporal does not answer" if is_temporal else "the database does not answer"
        )

    async def _wait_on_fallback(self, problem: str) -> Exit:
        """Answer 503 to all requests, and wait before the next attempt."""
        self._problem = problem
        self._serve_with(self._fallback)
        if problem == STANDBY:
            self._log_standby()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._stop.wait()
        return Exit.STOP if self._stop.is_set() else Exit.ROLE

    async def _be_standby(self, program: Program, ownership: Ownership) -> Exit:
        self._serve_with(Standby(program.app, self._proxies, self._hosts))
        async with alongside(_end_silent_streams(program, ownership), name="silent streams"):
            why = await self._first(
                (Exit.ROLE, ownership.until(lambda: ownership.is_held)),
                (Exit.STOP, self._stop.wait()),
            )
        await self._close(program)
        return why

    def _log_standby(self) -> None:
        if self._last_problem == STANDBY:
            return
        self._last_problem = STANDBY
        hint = (
            "another server is active on the database, and this one takes over when it ends: "
            "stop that one, or name another database in FLOWRUNNER_DATABASE_URL"
        )
        if is_shared(self._settings):
            hint = (
                "a server without Temporal is active on the database, and this one continues when it ends: "
                "stop that one, or start it with FLOWRUNNER_DISPATCH"
            )
        logger.info("server.standby", hint=hint)

    async def _be_active(self, program: Program, ownership: Ownership) -> Exit:
        self._active = program
        self._serve_with(OnlyHealth(program.app, self._proxies, self._hosts) if self._is_worker else program.app)
        logger.info("worker.active" if self._is_worker else "server.active", epoch=program.engine.deps.epoch)
        if (fault := memory_fault(self._settings, memory_limit())) is not None:
            logger.warning("memory.exceeds_limit", reason=fault, hint=HINT)
        with frozen_gc():
            return await self._serve_until_it_ends(program, ownership)

    async def _serve_until_it_ends(self, program: Program, ownership: Ownership) -> Exit:
        async with (
            run_jobs(active_jobs(self._settings, program), program),
            alongside(_end_silent_streams(program, ownership), name="silent streams"),
        ):
            why = await self._first(
                (Exit.STOP, self._stop.wait()),
                (Exit.ENGINE_DIED, _until_nothing_advances(program)),
                (Exit.ROLE, _until_overtaken(program, ownership)),
            )
            if why is Exit.ENGINE_DIED:
                self._stop.set()
                hint = "the server stops now; executions continue after a restart"
                logger.critical("engine.ended", hint=hint)
            if why is Exit.ROLE:
                logger.warning("leadership.lost", hint="another server has become active; this one is on standby")
                self._switch.app, self._active = self._fallback, None
                await program.streams.close()
            else:
                logger.info("server.stopping")
                program.readiness.is_stopping = True
        if why is not Exit.ROLE:
            await self._drain(program)
        return why

    async def _drain(self, program: Program) -> None:
        """Let running nodes finish, then close the program."""
        await self._first(
            (Exit.STOP, program.engine.advancing.drain(seconds=self._settings.drain_time)),
            (Exit.STOP, self._force_stop.wait()),
        )
        await self._close(program)

    async def _close(self, program: Program) -> None:
        await program.streams.close()
        if self._stop.is_set():
            await self._end_http()

    async def _first(self, *endings: tuple[Exit, Coroutine[Any, Any, Any]]) -> Exit:
        """Return the reason of the first ending, which may also be that of the HTTP server.

        After an unexpected error, the server ends as it does without an engine.
        """
        tasks = {asyncio.ensure_future(work): why for why, work in endings}
        assert self._http is not None, "served before anything can end"
        try:
            done, _ = await asyncio.wait((*tasks, self._http), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_all(*tasks)
        for task, why in tasks.items():
            if task in done:
                if (error := task.exception()) is None:
                    return why
                logger.critical("server.crashed", exc_info=error)
        return Exit.ENGINE_DIED

    def _serve_with(self, app: ASGIApp) -> None:
        self._switch.app = app
        if self._http is not None:
            return
        self._http = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="http")
        host, port = self._listener.getsockname()[:2]
        logger.info("server.started", url=_url(host, port), data_dir=str(self._settings.data_dir))
        if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            logger.warning("server.exposed", listens_on=host, hint=_EXPOSED)

    async def _end_http(self) -> None:
        if self._http is not None:
            self._server.should_exit = True
            await self._http


def _url(host: str, port: int) -> str:
    # URLs contain IPv6 addresses in brackets.
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    @classmethod
    def of(cls, app: ASGIApp, http: Callable[..., asyncio.Protocol]) -> Self:
        """Return the server of an application. Args: http: Makes the protocol of a connection."""
        config = uvicorn.Config(
            app,
            loop="none",
            http=http,  # type: ignore[arg-type] # makes one
            ws=partial(SocketProtocol, reading=FrameReading(), long_sends=asyncio.Lock()),  # type: ignore[arg-type] # makes one
            ws_max_size=64 * 1024,
            ws_per_message_deflate=False,
            # Pings detect dead subscribers, which would otherwise count towards the limits.
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PING_SECONDS,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=5,
        )
        return cls(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # FlowRunner handles signals itself, because it does more than close the sockets.
        yield


async def _until_overtaken(program: Program, ownership: Ownership) -> None:
    """Return when another process has taken over the database, or when others share it."""
    await ownership.until(lambda: (ownership.epoch or 0) > program.engine.deps.epoch or ownership.is_lost)


async def _end_silent_streams(program: Program, ownership: Ownership) -> None:
    """End the open streams whenever the database is silent: a process that reaches it may have recorded more events."""
    while True:
        await ownership.until(lambda: ownership.is_silent)
        if program.streams.count:
            logger.warning("streams.ended", hint="the database does not answer: subscribers have to connect again")
            program.streams.end_all(TRY_AGAIN)
        await asyncio.sleep(_LOOK_SECONDS)


async def _until_nothing_advances(program: Program) -> None:
    while program.engine.dispatcher.is_open and program.engine.advancing.is_open:  # noqa: ASYNC110 # it may end in any way, also without a word
        await asyncio.sleep(_LOOK_SECONDS)
