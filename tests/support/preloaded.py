"""Programs in processes that have the modules of a server from the start.

Most of a server's start is the import of its modules. One process of the tests imports them once, and forks itself for
each program. From there on, the program runs as if an interpreter had been started for it: it has arguments,
environment, directory and files of its own, and nothing but imports has happened before. Only passwords are hashed
with less work, a new database file is a copy of one that was migrated once, and a directory of packages is read once.
"""

import atexit
import contextlib
import gc
import importlib
import json
import math
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from flowrunner.cli import commands
from flowrunner.nodes import built_in
from support.databases import copy_new_databases, newest_schema
from support.entry_points import remember_entry_points
from support.passwords import hash_quickly

# What a server, a worker and the commands of users have imported by the time that they are ready.
_MODULES: Final = (
    "encodings.idna", "uvloop", "uvicorn.lifespan.off", "asyncpg", "alembic.command", "sqlalchemy.dialects.sqlite",
    "temporalio.worker", "flowrunner.cli.main", "flowrunner.serving", "flowrunner.storage.postgres.location",
    "flowrunner.dispatch.temporal.dispatcher", "flowrunner.dispatch.temporal.worker",
    "flowrunner.cli.graph", "flowrunner.cli.run", "flowrunner.cli.schema", "flowrunner.cli.test",
    "flowrunner.cli.validate", "flowrunner.cli.bulk", "flowrunner.cli.logins", "flowrunner.cli.remote_run",
    "flowrunner.cli.reruns", "flowrunner.cli.command_client", "flowrunner.cli.flow_files",
)  # fmt: skip
_TESTS: Final = Path(__file__).parents[1]
_LARGEST_REQUEST: Final = 2**17
_LOOK_SECONDS: Final = 0.005


class ForkedProcess:
    """A program in a fork of the process that has the modules, as `subprocess.Popen` shows one.

    Args:
        program: What an interpreter would be given: `-m` and a module or `-c` and code, and its arguments.
        files: The descriptors of its standard input, output and error.
    """

    def __init__(self, program: Sequence[str], *, cwd: Path, env: Mapping[str, str], files: Sequence[int]) -> None:
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._told, telling = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with telling:
            request = json.dumps([list(program), str(cwd), dict(env)]).encode()
            socket.send_fds(_parent(), [request], [telling.fileno(), *files])
        self.pid = int(self._told.recv(32))

    def poll(self) -> int | None:
        # Several threads may ask at once.
        with self._lock:
            if self.returncode is None and select.select([self._told], [], [], 0)[0]:
                self.returncode = os.waitstatus_to_exitcode(int(self._told.recv(32)))
                self._told.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        ends_at = math.inf if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > ends_at:
                raise subprocess.TimeoutExpired("flowrunner", timeout or 0.0)
            time.sleep(_LOOK_SECONDS)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def run_forked(
    program: Sequence[str], *, cwd: Path, env: Mapping[str, str], input: bytes = b"", timeout: float = 60.0
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end, as `subprocess.run` does. Outputs are text, with escaped bytes that are not UTF-8."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(input)
        given.seek(0)
        files = [file.fileno() for file in (given, out, err)]
        process = ForkedProcess(program, cwd=cwd, env=env, files=files)
        try:
            status = process.wait(timeout)
        except BaseException:
            process.send_signal(signal.SIGKILL)
            raise
        written = []
        for file in (out, err):
            file.seek(0)
            written.append(file.read().decode(errors="backslashreplace"))
        return subprocess.CompletedProcess(list(program), status, *written)


@dataclass(frozen=True, slots=True)
class ForkedCommand:
    """The program `flowrunner` for scripts, which have it forked.

    Attributes:
        path: Its file, which is the only one of its directory.
        descriptor: What the shell must inherit.
    """

    path: Path
    descriptor: int


@cache
def forked_command() -> ForkedCommand:
    """Make the file, once a process of the tests."""
    directory = Path(tempfile.mkdtemp(prefix="flowrunner-command-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    descriptor, path = _parent().fileno(), directory / "flowrunner"
    client = _TESTS / "support" / "forked_command.py"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{client}" {descriptor} -m flowrunner "$@"\n')
    path.chmod(0o755)
    return ForkedCommand(path, descriptor)


@cache
def _parent() -> socket.socket:
    """Start the process that has the modules; return the socket on which it takes requests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "support.preloaded", str(theirs.fileno())],
            # Whether outputs are buffered is decided once, at its start.
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL, cwd=_TESTS, pass_fds=[theirs.fileno()],
        )  # fmt: skip

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _fork_for_requests(control: socket.socket) -> Any:
    """Take requests until the tests have ended. It returns in each fork, with the request, and then never with one."""
    running: dict[int, tuple[int, int]] = {}
    # Unlike a selector it has no descriptor, which a fork would have to close.
    ready = select.poll()
    ready.register(control, select.POLLIN)
    while True:
        for descriptor, _ in ready.poll():
            if descriptor in running:
                pid, telling = running.pop(descriptor)
                with contextlib.suppress(OSError):  # nobody waits for it any more
                    os.write(telling, str(os.waitpid(pid, 0)[1]).encode())
                ready.unregister(descriptor)
                os.close(descriptor)
                os.close(telling)
                continue
            request, descriptors, _, _ = socket.recv_fds(control, _LARGEST_REQUEST, 4)
            if not request:
                return None
            telling, *files = descriptors
            pid = os.fork()
            if pid == 0:
                for number, file in enumerate(files):
                    os.dup2(file, number)
                control.close()
                os.closerange(3, os.sysconf("SC_OPEN_MAX"))
                return json.loads(request)
            for file in files:
                os.close(file)
            with contextlib.suppress(OSError):  # the one who asked has ended meanwhile
                os.write(telling, str(pid).encode())
            watched = os.pidfd_open(pid)
            running[watched] = (pid, telling)
            ready.register(watched, select.POLLIN)


def _run(program: Sequence[str], directory: str, environment: Mapping[str, str]) -> None:
    """Run the program as an interpreter would."""
    kind, code, *arguments = program
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = [kind, *arguments]
    if kind == "-m":
        sys.path[0] = directory
        runpy.run_module(code, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), vars(main))


if __name__ == "__main__":
    # Ctrl-C is for the tests, which then end this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in _MODULES:
        importlib.import_module(module)
    for command in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"{commands.__name__}.{command.name}")
    built_in()
    hash_quickly()
    newest_schema()
    copy_new_databases()
    remember_entry_points()
    # Objects that the collector leaves alone stay in pages that all processes share.
    gc.collect()
    gc.freeze()
    requested = _fork_for_requests(socket.socket(fileno=int(sys.argv[1])))
    if requested is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = 0
        try:
            _run(*requested)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
            status = 1
        # To take all modules apart would copy every page, and take longer than the start.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(status)
