"""Tests in several processes: forks of the one that has collected them.

`pytest --numprocesses 6` or `-n 6` runs them. An interpreter for each process would import and collect all tests anew,
as pytest-xdist's do, which takes as long as the tests of a minute. A process takes the next file when it has ended one,
so that a fixture of a module is built once.
"""

import atexit
import itertools
import mmap
import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Final, NoReturn

import pytest
from _pytest.capture import FDCapture

from support import preloaded

# A number of a file in the pipe from which all processes take them. All fit, as a pipe has room for 64 KiB.
_NUMBER_BYTES: Final = 4


def pytest_addoption(parser: pytest.Parser) -> None:
    # Short options of one lower-case letter are kept for pytest and for what takes the place of pytest-xdist.
    parser.getgroup("processes")._addoption(
        "-n", "--numprocesses", type=int, default=0, help="run the files of tests in this many processes"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    options = session.config.option
    if not options.numprocesses or options.collectonly or session.testsfailed or not session.items:
        return None
    preloaded.share()
    with _Run(session) as run:
        run.report_all()
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
    return True


@dataclass(slots=True)
class _Process:
    """A process that runs tests, as seen by the one that has started it.

    Attributes:
        reports: Where it sends the numbers of tests that begin, the reports of tests, and at its end None.
        running: The number of the test that it runs.
    """

    pid: int
    reports: Connection
    running: int | None = None


class _Run:
    """The processes of a run."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._config: Any = session.config
        self._files = [list(tests) for _, tests in itertools.groupby(range(len(session.items)), self._path)]
        self._queue, writer = os.pipe()
        os.write(writer, b"".join(n.to_bytes(_NUMBER_BYTES) for n in range(len(self._files))))
        os.close(writer)
        # One byte that all processes share: not 0 when no further test may begin.
        self._is_stopped = mmap.mmap(-1, 1)
        self._processes: dict[Connection, _Process] = {}
        self._names = itertools.count()

    def __enter__(self) -> "_Run":
        for _ in range(min(self._config.option.numprocesses, len(self._files))):
            self._start(())
        return self

    def __exit__(self, *error: object) -> None:
        """End the processes, and with them what they have started."""
        self._is_stopped[0] = 1
        for process in self._processes.values():
            process.reports.close()
            os.kill(process.pid, signal.SIGINT)
        for process in self._processes.values():
            os.waitpid(process.pid, 0)
        os.close(self._queue)

    def report_all(self) -> None:
        """Report what the processes send, until all have ended."""
        while self._processes:
            for reports in wait(list(self._processes)):
                assert isinstance(reports, Connection)
                self._receive(self._processes[reports])
            if self._session.shouldfail or self._session.shouldstop:
                self._is_stopped[0] = 1

    def _path(self, number: int) -> os.PathLike[str]:
        return self._session.items[number].path

    def _receive(self, process: _Process) -> None:
        hook = self._config.hook
        match _received(process.reports):
            case EOFError():
                self._end(process)
            case int() as message:
                process.running = message
                hook.pytest_runtest_logstart(**_place(self._session.items[message]))
            case None:
                process.running = None
            case str() as message:
                raise RuntimeError(f"a process of the tests failed:\n{message}")
            case message:
                report = hook.pytest_report_from_serializable(config=self._config, data=message)
                hook.pytest_runtest_logreport(report=report)

    def _end(self, process: _Process) -> None:
        """Note the end of a process, and have another one go on if a test has ended it."""
        del self._processes[process.reports]
        process.reports.close()
        status = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])
        if process.running is None:
            return
        report = pytest.TestReport(
            **_place(self._session.items[process.running]), keywords={}, outcome="failed", when="call",
            longrepr=f"the process of this test has ended with {status}",
        )  # fmt: skip
        self._config.hook.pytest_runtest_logreport(report=report)
        file = next(file for file in self._files if process.running in file)
        self._start(file[file.index(process.running) + 1 :])

    def _start(self, first: Sequence[int]) -> None:
        """Start a process, which runs some tests before it takes files."""
        name = f"process-{next(self._names)}"
        directory = self._config._tmp_path_factory.getbasetemp() / name
        reports, sending = Pipe(duplex=False)
        pid = os.fork()
        if pid == 0:
            reports.close()
            for process in self._processes.values():
                process.reports.close()
            self._run(first, sending, directory)
        sending.close()
        self._processes[reports] = _Process(pid, reports)

    # In the processes

    def _run(self, first: Sequence[int], sending: Connection, directory: Any) -> NoReturn:
        status = 1
        try:
            self._prepare(sending, directory)
            self._run_tests(first, sending)
            status = 0
        except KeyboardInterrupt:
            pass
        except BaseException:
            with suppress(OSError):
                sending.send(traceback.format_exc())
        finally:
            with suppress(BaseException):
                self._config.hook.pytest_sessionfinish(session=self._session, exitstatus=self._session.testsfailed)
                threading._shutdown()  # type: ignore[attr-defined]
                atexit._run_exitfuncs()
            os._exit(status)

    def _prepare(self, sending: Connection, directory: Any) -> None:
        """Take apart what the processes would share."""
        plugins: Any = self._config.pluginmanager
        plugins.unregister(name="terminalreporter")
        # What is written is captured in a file of its own, and the stream that modules saw at their import stays open.
        capturing = plugins.getplugin("capturemanager")._global_capturing
        for captured in (capturing.out, capturing.err):
            if isinstance(captured, FDCapture):
                with tempfile.TemporaryFile() as own:
                    os.dup2(own.fileno(), captured.tmpfile.fileno(), inheritable=False)
        directory.mkdir()
        self._config._tmp_path_factory._basetemp = directory
        plugins.register(_Sender(self._config, sending))

    def _run_tests(self, first: Sequence[int], sending: Connection) -> None:
        items = self._session.items
        for file in itertools.chain([first], self._taken()):
            for at, number in enumerate(file):
                if self._is_stopped[0] or self._session.shouldfail or self._session.shouldstop:
                    break
                sending.send(number)
                # What a test leaves depends on the next one. Which file comes next is decided only when this has ended:
                # until then what the whole run needs is left.
                nextitem = items[file[at + 1]] if at + 1 < len(file) else self._session
                self._config.hook.pytest_runtest_protocol(item=items[number], nextitem=nextitem)
        sending.send(None)

    def _taken(self) -> Iterator[Sequence[int]]:
        """The files that this process takes."""
        while taken := os.read(self._queue, _NUMBER_BYTES):
            yield self._files[int.from_bytes(taken)]


class _Sender:
    """The plugin that sends the reports of a process."""

    def __init__(self, config: pytest.Config, sending: Connection) -> None:
        self._config = config
        self._sending = sending

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._sending.send(data)


def _received(reports: Connection) -> Any:
    try:
        return reports.recv()
    except EOFError as end:
        return end


def _place(test: pytest.Item) -> dict[str, Any]:
    return {"nodeid": test.nodeid, "location": test.location}
