"""Runs the program behind its socket, from the start to a signal."""

import asyncio
import contextlib
import ctypes
import gc
import ipaddress
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from enum import Enum, auto
from functools import partial
from typing import Any, Final

import structlog
import uvicorn
from starlette.types import ASGIApp

from flowrunner.api.http.connections import Connections
from flowrunner.api.http.hosts import Hosts
from flowrunner.api.http.protocol import JoinedHttpProtocol
from flowrunner.api.http.proxies import Proxies
from flowrunner.api.http.standby import STANDBY, OnlyHealth, Standby, Switch
from flowrunner.api.http.websockets import FrameReading, SocketProtocol
from flowrunner.bootstrap.dispatching import check_dispatch
from flowrunner.bootstrap.first_admin import first_admin
from flowrunner.bootstrap.housekeeping import forget_secrets, keep_token_uses, rotate_keys, run_retention
from flowrunner.bootstrap.lifecycle import open_program
from flowrunner.bootstrap.location import has_usable_schema
from flowrunner.bootstrap.ownership import is_shared, owning
from flowrunner.bootstrap.program import Program
from flowrunner.domain.errors import DispatchAway, FlowRunnerError, Unavailable
from flowrunner.logs import configure_logging
from flowrunner.ports import Ownership
from flowrunner.settings import InvalidSettings, Settings, without_credentials

logger = structlog.get_logger()

_LOOK_SECONDS: Final = 1.0
# How often a WebSocket is asked whether the other side is there, and how long it may take to say so.
PING_SECONDS: Final = 20.0
# Open at once, if the process may open enough files; more where more WebSockets may be open.
_CONNECTIONS: Final = 10_000
# For what the server itself opens, and for connections that come faster than others are closed. Half of all, if that is
# less.
_OTHER_FILES: Final = 5_000
# What memory is taken and given back in one piece from so many bytes on, by a number of <malloc.h>.
_M_MMAP_THRESHOLD: Final = -3
_LARGE_BLOCK: Final = 256 * 1024
_EXPOSED: Final = (
    "other machines can reach this server. It speaks plain HTTP: whoever is in between reads passwords, tokens and "
    "results, and whoever gets here first can try passwords. Listen on 127.0.0.1 behind a proxy with TLS instead, "
    "or keep strangers out by a firewall"
)


async def serve(settings: Settings, *, is_worker: bool = False) -> None:
    """Run the server, or a worker, until a signal ends it.

    Raises:
        FlowRunnerError: If it cannot start; the message says what to do.
    """
    configure_logging(settings)
    give_large_blocks_back()
    # Asked in any case: what does not go together is told before anything is waited for.
    if not is_shared(settings) and is_worker:
        raise InvalidSettings(
            "Workers advance what Temporal gives them: set FLOWRUNNER_DISPATCH to its address. "
            "Without Temporal, the server does all by itself: flowrunner serve"
        )
    # Before the database has a schema, and the data directory keys.
    check_dispatch(settings)
    files = _open_files(max(_CONNECTIONS, settings.max_sockets * 3 // 2) + _OTHER_FILES)
    most_connections = files - min(_OTHER_FILES, files // 2)
    # A third is for what is no WebSocket.
    settings = replace(settings, max_sockets=min(settings.max_sockets, most_connections * 2 // 3))
    listener = _listen(settings)
    with contextlib.closing(listener):
        await _Serving(settings, listener, most_connections, is_worker=is_worker).run()


def _open_files(wanted: int) -> int:
    """Let the process have that many files open, or as many as it may; gives how many."""
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
        raise FlowRunnerError(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}; choose another with --port"
        ) from None
    except UnicodeError:
        listener.close()
        raise FlowRunnerError(f"Cannot listen on {settings.host}: it is no address; choose one with --host") from None
    return listener


class Exit(Enum):
    """Why a program ends."""

    STOP = auto()
    # Another server has become the active one, or this one may.
    ROLE = auto()
    ENGINE_DIED = auto()


class _Serving:
    """Serves as the active server or as a standby, as the ownership of the database goes.

    A change of roles is a new program: nothing that the one had in memory is known to the other.
    """

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        most_connections: int,
        *,
        is_worker: bool,
    ) -> None:
        self._settings = settings
        self._is_worker = is_worker
        self._listener = listener
        self._stop, self._force_stop = asyncio.Event(), asyncio.Event()
        self._problem = STANDBY
        # Why nothing could be done last time; None if it could.
        self._trouble: str | None = None
        self._proxies = Proxies(settings.trusted_proxies)
        self._hosts = Hosts(settings.public_url, settings.allowed_hosts)
        self._alone = Standby(None, self._proxies, self._hosts, lambda: self._problem)
        self._switch = Switch(self._alone)
        self._refused: Callable[[str], None] = lambda limit: None
        connections = Connections(most_connections, on_drop=lambda: self._refused("connections"))
        self._server = _Server(
            uvicorn.Config(
                self._switch,
                loop="none",
                http=partial(JoinedHttpProtocol, open_connections=connections),  # type: ignore[arg-type] # makes one
                ws=partial(SocketProtocol, reading=FrameReading(), long_sends=asyncio.Lock()),  # type: ignore[arg-type] # makes one
                ws_max_size=64 * 1024,
                ws_per_message_deflate=False,
                # A subscriber that is not there any more does not hold its place.
                ws_ping_interval=PING_SECONDS,
                ws_ping_timeout=PING_SECONDS,
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        self._http: asyncio.Task[None] | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
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

    def _on_signal(self) -> None:
        (self._force_stop if self._stop.is_set() else self._stop).set()

    async def _own(self) -> Exit:
        """Be one of those who may be the active server, once the database lets one be."""
        try:
            async with owning(self._settings) as ownership:
                why = Exit.ROLE
                while why is Exit.ROLE:
                    why = await self._run_role(ownership)
                return why
        except Unavailable as error:
            return await self._wait_for_what_is_away(error)

    async def _run_role(self, ownership: Ownership) -> Exit:
        """Be what the ownership says, until it says something else."""
        is_standby = not ownership.is_held
        own_ports = frozenset({self._listener.getsockname()[1]})
        try:
            if is_standby and (not await has_usable_schema(self._settings) or self._is_worker):
                # There is nothing yet that this version can read, or nobody who would read here.
                return await self._wait_alone(STANDBY)
            async with open_program(
                self._settings, own_ports=own_ports, is_standby=is_standby, is_worker=self._is_worker
            ) as program:
                self._trouble = None
                if is_standby:
                    return await self._be_standby(program, ownership)
                url = _url(self._settings.host, self._listener.getsockname()[1])
                await first_admin(self._settings, program, url)
                return await self._be_active(program, ownership)
        except Unavailable as error:
            return await self._wait_for_what_is_away(error)

    async def _wait_for_what_is_away(self, error: Unavailable) -> Exit:
        """Try again in a moment: what starts all at once is not there all at once."""
        if self._settings.database_url is None:
            # Nothing brings a file back but the one who reads this.
            raise error
        is_temporal = isinstance(error, DispatchAway)
        if str(error) != self._trouble:
            self._trouble = str(error)
            hint = "this goes on by itself once it answers"
            if is_temporal:
                logger.warning("temporal.away", reason=self._trouble, hint=hint)
            else:
                at = without_credentials(self._settings.database_url)
                logger.warning("database.away", reason=self._trouble, at=at, hint=hint)
        return await self._wait_alone("Temporal does not answer" if is_temporal else "the database does not answer")

    async def _wait_alone(self, problem: str) -> Exit:
        """Answer that there is nothing to be had, and try again in a moment."""
        self._problem = problem
        self._serve_with(self._alone)
        if problem == STANDBY:
            self._say_standby()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._stop.wait()
        return Exit.STOP if self._stop.is_set() else Exit.ROLE

    async def _be_standby(self, program: Program, ownership: Ownership) -> Exit:
        self._serve_with(Standby(program.app, self._proxies, self._hosts))
        self._say_standby()
        why = await self._first((Exit.ROLE, ownership.until(lambda: ownership.is_held)), (Exit.STOP, self._stop.wait()))
        await self._close(program)
        return why

    def _say_standby(self) -> None:
        if self._trouble == STANDBY:
            return
        self._trouble = STANDBY
        hint = "another server is active on the database; this one takes over when it ends"
        if is_shared(self._settings):
            hint = "a server without Temporal is active on the database; this one goes on when it has ended"
        logger.info("server.standby", hint=hint)

    async def _be_active(self, program: Program, ownership: Ownership) -> Exit:
        self._refused = program.metrics.refused
        self._serve_with(OnlyHealth(program.app, self._proxies, self._hosts) if self._is_worker else program.app)
        logger.info("worker.active" if self._is_worker else "server.active", epoch=program.deps.epoch)
        freeze_gc()
        async with asyncio.TaskGroup() as tasks:
            helpers = [
                tasks.create_task(run_retention(self._settings, program), name="housekeeping"),
                tasks.create_task(rotate_keys(program), name="keys"),
                tasks.create_task(keep_token_uses(program), name="token-uses"),
                tasks.create_task(forget_secrets(program), name="secrets"),
            ]
            why = await self._first(
                (Exit.STOP, self._stop.wait()),
                (Exit.ENGINE_DIED, _until_nothing_advances(program)),
                (Exit.ROLE, _until_overtaken(program, ownership)),
            )
            for helper in helpers:
                helper.cancel()
            if why is Exit.ENGINE_DIED:
                self._stop.set()
                hint = "the server stops, and goes on with everything when it starts again"
                logger.critical("engine.ended", hint=hint)
            if why is Exit.ROLE:
                logger.warning("server.overtaken", hint="another server has become the active one; this one waits")
                self._switch.app = self._alone
                await program.live.close()
            else:
                await self._wind_up(program)
        return why

    async def _wind_up(self, program: Program) -> None:
        """Let what is under way end, and say goodbye."""
        logger.info("server.stopping")
        program.readiness.is_stopping = True
        await self._first(
            (Exit.STOP, program.advancing.drain(seconds=self._settings.drain_time)),
            (Exit.STOP, self._force_stop.wait()),
        )
        await self._close(program)

    async def _close(self, program: Program) -> None:
        await program.live.close()
        if self._stop.is_set():
            await self._end_http()

    async def _first(self, *endings: tuple[Exit, Coroutine[Any, Any, Any]]) -> Exit:
        """Which of the endings comes first; also that of the network side."""
        tasks = {asyncio.ensure_future(work): why for why, work in endings}
        assert self._http is not None, "served before anything can end"
        try:
            done, _ = await asyncio.wait((*tasks, self._http), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return next((why for task, why in tasks.items() if task in done), Exit.ENGINE_DIED)

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
    # An address of IPv6 stands in brackets there.
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals are ours: a stop has more to do than to close the sockets.
        yield


def give_large_blocks_back() -> None:
    """Have the system take back each large block of memory as soon as it is free; only glibc needs to be told."""
    with contextlib.suppress(AttributeError, OSError):
        # Without this, glibc learns from the first long values to keep blocks of their size, and what lives on in
        # between keeps them from ever being given back.
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


def freeze_gc() -> None:
    """Tune the interpreter for a process that has loaded what it needs."""
    # What is there now stays for ever: the collector need not walk it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    # The writer and the readers of the database give the lock up between rows; they should not
    # wait long to get it back.
    sys.setswitchinterval(0.001)


async def _until_overtaken(program: Program, ownership: Ownership) -> None:
    """Done when another process has claimed the database since this one did, or others share it."""
    await ownership.until(lambda: (ownership.epoch or 0) > program.deps.epoch or ownership.is_lost)


async def _until_nothing_advances(program: Program) -> None:
    while program.dispatcher.is_open and program.advancing.is_open:  # noqa: ASYNC110 # it may end in any way, also without a word
        await asyncio.sleep(_LOOK_SECONDS)
