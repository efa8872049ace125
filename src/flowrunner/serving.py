"""Runs the program behind its socket, from the start to a signal."""

import asyncio
import contextlib
import gc
import ipaddress
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

import structlog
import uvicorn

from flowrunner.api.protocol import Connections, JoinedHttpProtocol
from flowrunner.bootstrap import Program, first_admin, in_url, keep_house, keep_token_uses, open_program, rotate_keys
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.logs import configure_logging
from flowrunner.settings import Settings

logger = structlog.get_logger()

_LOOK_SECONDS: Final = 1.0
# How often a WebSocket is asked whether the other side is there, and how long it may take to say so.
PING_SECONDS: Final = 20.0
# Open at once, if the process may open twice as many files; more where more WebSockets may be open.
_CONNECTIONS: Final = 10_000
_EXPOSED: Final = (
    "other machines can reach this server. It speaks plain HTTP: whoever is in between reads passwords, tokens and "
    "results, and whoever gets here first can try passwords. Listen on 127.0.0.1 behind a proxy with TLS instead, "
    "or keep strangers out by a firewall"
)


async def serve(settings: Settings) -> None:
    """Run the server until a signal ends it.

    Raises:
        FlowRunnerError: If it cannot start; the message says what to do.
    """
    configure_logging(settings)
    # The other half is for what the server itself opens.
    most_connections = _open_files(2 * max(_CONNECTIONS, 2 * settings.max_sockets)) // 2
    settings = replace(settings, max_sockets=min(settings.max_sockets, most_connections // 2))
    listener = _listen(settings)
    port = listener.getsockname()[1]
    with contextlib.closing(listener):
        async with open_program(settings, own_ports=frozenset({port})) as program:
            await first_admin(settings, program, port)
            await _serve(settings, program, listener, most_connections)


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
    except OSError as error:
        listener.close()
        raise FlowRunnerError(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}; choose another with --port"
        ) from None
    listener.listen(2048)
    return listener


async def _serve(settings: Settings, program: Program, listener: socket.socket, most_connections: int) -> None:
    connections = Connections(most_connections, on_drop=lambda: program.metrics.refused("connections"))
    server = _Server(
        uvicorn.Config(
            program.app,
            loop="none",
            http=partial(JoinedHttpProtocol, open_connections=connections),  # type: ignore[arg-type] # makes one
            ws="websockets-sansio",
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
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    host, port = listener.getsockname()[:2]
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[listener]), name="http")
        housekeeping = tasks.create_task(keep_house(settings, program), name="housekeeping")
        rotating = tasks.create_task(rotate_keys(program), name="keys")
        noting = tasks.create_task(keep_token_uses(program), name="token-uses")
        logger.info("server.started", url=f"http://{in_url(host)}:{port}", data_dir=str(settings.data_dir))
        if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            logger.warning("server.exposed", listens_on=host, hint=_EXPOSED)
        settle_memory()
        stopping = tasks.create_task(stop.wait(), name="stop")
        advancing = tasks.create_task(_until_nothing_advances(program), name="advancing")
        await asyncio.wait((stopping, advancing), return_when=asyncio.FIRST_COMPLETED)
        is_crippled = not stop.is_set()
        if is_crippled:
            stop.set()
            logger.critical("engine.ended", hint="the server stops, and goes on with everything when it starts again")
        stopping.cancel()
        advancing.cancel()
        logger.info("server.stopping")
        program.readiness.is_stopping = True
        housekeeping.cancel()
        rotating.cancel()
        noting.cancel()
        draining = tasks.create_task(program.dispatcher.drain(seconds=settings.drain_time), name="drain")
        hurrying = tasks.create_task(hurry.wait(), name="hurry")
        await asyncio.wait((draining, hurrying), return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        hurrying.cancel()
        await program.live.close()
        server.should_exit = True
        await serving
    logger.info("server.stopped")
    if is_crippled:
        raise FlowRunnerError("The engine has ended unexpectedly: start the server again")


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals are ours: a stop has more to do than to close the sockets.
        yield


def settle_memory() -> None:
    """Tune the interpreter for a process that has loaded what it needs."""
    # What is there now stays for ever: the collector need not walk it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    # The writer and the readers of the database give the lock up between rows; they should not
    # wait long to get it back.
    sys.setswitchinterval(0.001)


async def _until_nothing_advances(program: Program) -> None:
    while program.dispatcher.is_open:  # noqa: ASYNC110 # it may end in any way, also without a word
        await asyncio.sleep(_LOOK_SECONDS)
