"""What tests from outside share: a running server, somebody for it to call, and accounts."""

import gc
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

from support.client import Client
from support.databases import copy_new_databases
from support.entry_points import remember_entry_points
from support.log_lines import log_plainly
from support.order import arranged
from support.passwords import hash_quickly
from support.postgres import PostgresServer
from support.receiver import Receiver
from support.server import HASTY, Server

log_plainly()

# An account of a test is a hash, and its login another.
hash_quickly()
copy_new_databases()
remember_entry_points()

# An example may take long beside other tests.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

pytest_plugins = ["support.fleet", "support.lazy", "support.scoreboard"]


# Other work on the machine does not make their tests fail. Those of nodes meet real servers, and may be run again.
_PURE: Final = ("domain", "docs")
# The directories whose files take longest, and those whose files take next to nothing.
_LONG: Final = ("web", "scenarios", "security", "engine", "language")
_SHORT: Final = ("docs", "domain")
# A file system in memory, and how much room it must have to be used.
_MEMORY: Final = Path("/dev/shm")
_LEAST_ROOM: Final = 6 * 2**30
# Characters that the summary shows of what a test wrote and of why it failed.
_LONGEST_REASON: Final = 8_000


def pytest_configure() -> None:
    """Keep all files of tests in memory, where a commit waits for no disk: no test takes the power away.

    Databases of PostgreSQL and profiles of browsers are among them: making one takes half of the processor time.

    All processes of a run also draw from the same seed, at midnight too.
    """
    os.environ.setdefault("CONFORMANCE_SEED", str(datetime.now(UTC).toordinal()))
    if "TMPDIR" not in os.environ and _has_room(_MEMORY):
        os.environ["TMPDIR"] = str(_MEMORY)
        # It may have been looked up before.
        tempfile.tempdir = None


def _has_room(directory: Path) -> bool:
    return (
        os.access(directory, os.W_OK)
        # Some tests start programs that they have written.
        and not os.statvfs(directory).f_flag & os.ST_NOEXEC
        and shutil.disk_usage(directory).free >= _LEAST_ROOM
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage: all of what is collected stays, and is left alone from then on."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Arrange the files, and choose which tests may be run again."""
    files: dict[str, list[pytest.Item]] = {}
    for item in sorted(items, key=lambda item: _rank(item.path.parent.name)):
        files.setdefault("/".join(item.path.parts[-2:]), []).append(item)
    items[:] = [item for file in arranged(list(files)) for item in files[file]]
    for item in items:
        # `--reruns` is for tests with real processes, sockets and time, on a machine that has other work.
        if item.path.parent.name in _PURE:
            item.add_marker(pytest.mark.flaky(reruns=0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell why tests were run again: nothing else keeps what made them fail, such as the seed of a campaign."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"{report.nodeid} was run again")
        terminalreporter.write_line(f"{report.capstdout[-_LONGEST_REASON:]}\n{report.longreprtext[-_LONGEST_REASON:]}")


def _rank(directory: str) -> int:
    return _LONG.index(directory) - len(_LONG) if directory in _LONG else int(directory in _SHORT)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not stop it: each makes accounts of its own."""
    # They all come from one address, many mean to fail, and one admin makes all accounts.
    settings = {"ANONYMOUS_LOGINS": "0", "ACCOUNT_CHANGES": "0"}
    running = Server(tmp_path_factory.mktemp("server"), settings)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="session")
def hasty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One more, for tests that would have to wait for long on the other."""
    running = Server(tmp_path_factory.mktemp("hasty"), program=HASTY)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def receiver(lasting_receiver: Receiver) -> Receiver:
    """The receiver of all tests, with what arrives from now on: an earlier run of the test may have used its paths."""
    return lasting_receiver.from_now()


@pytest.fixture(scope="session")
def lasting_receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """One receiver for all tests: each uses paths of its own where it counts what arrived."""
    running = Receiver(tmp_path_factory.mktemp("receiver"))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests that do not stop it. It is quick, as nobody pulls the plug.

    For each of its many databases a process would look every minute for something to clean up.
    """
    server = PostgresServer({"fsync": "off", "autovacuum_naptime": "5min"})
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def admin(server: Server) -> Client:
    return server.admin()


@pytest.fixture
def account(admin: Client) -> Client:
    """A new account that nobody else uses, logged in."""
    return admin.new_account()


@pytest.fixture
def other(admin: Client) -> Client:
    """A second new account."""
    return admin.new_account()
