"""Runs of flow tests in a process of their own, by the command `flowrunner test`.

Tests run the engine without ever waiting. On the server's event loop or on a thread they would slow down everything
else; a process does not, and can be killed. It gets only the document, and JavaScript runs in the jail that it starts.
"""

import asyncio
import contextlib
import os
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from flowrunner.domain.errors import Unavailable, invalid
from flowrunner.ports.flow_tests import EdgeCoverage, FlowTestOutcome, FlowTestRun

_TEST_SECONDS: Final = 10
_MOST_SECONDS: Final = 30.0
_MOST_PROCESSES: Final = 2
_MOST_BYTES: Final = 1024 * 1024 * 1024
_MOST_OUTPUT: Final = 4 * 1024 * 1024
_COMMAND: Final = ("-m", "flowrunner", "test", "-", "--output", "json", "--coverage", "--timeout", f"{_TEST_SECONDS}s")
# The process does not get the server's settings.
_INHERITED: Final = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"})


class _TestReport(msgspec.Struct):
    tests: Sequence[FlowTestOutcome]
    coverage: EdgeCoverage


class _TestOutput(msgspec.Struct):
    flows: Sequence[_TestReport]


class TestProcesses:
    """Implements `ports.FlowTestRunner`."""

    # Pytest would take it for a class of tests.
    __test__ = False

    def __init__(self, *, most_seconds: float = _MOST_SECONDS) -> None:
        self._most_seconds = most_seconds
        self._running = asyncio.Semaphore(_MOST_PROCESSES)

    async def run(self, definition: str) -> FlowTestRun:
        async with self._running:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *_COMMAND, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=_environment(), cwd="/",
                start_new_session=True,
            )  # fmt: skip
            try:
                resource.prlimit(process.pid, resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
                async with asyncio.timeout(self._most_seconds):
                    output = await _output_of(process, definition.encode())
                    await process.wait()
            except TimeoutError:
                message = f"the tests take longer than {self._most_seconds:g} s: run them with 'flowrunner test'"
                raise invalid("definition", message, code="tests.timeout") from None
            finally:
                await _end(process)
        return _run_of(output)


def _environment() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name in _INHERITED}


async def _output_of(process: Process, text: bytes) -> bytes:
    assert process.stdin is not None, "opened as a pipe"
    assert process.stdout is not None, "opened as a pipe"
    # A process that has ended no longer reads.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(text)
        await process.stdin.drain()
        process.stdin.close()
    chunks, size = [], 0
    while chunk := await process.stdout.read(64 * 1024):
        chunks.append(chunk)
        size += len(chunk)
        if size > _MOST_OUTPUT:
            message = "the tests differ from what they expect by too much: run them with 'flowrunner test'"
            raise invalid("definition", message, code="tests.too_large")
    return b"".join(chunks)


async def _end(process: Process) -> None:
    """Kill the process and all processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _run_of(output: bytes) -> FlowTestRun:
    """Raises: InvalidInput if the process has ended early; Unavailable if its output is no result."""
    if not output:
        raise invalid("definition", "the tests take too much memory", code="tests.too_large")
    try:
        (report,) = msgspec.json.decode(output, type=_TestOutput).flows
    except (msgspec.MsgspecError, ValueError):
        raise Unavailable("The tests could not be run") from None
    return FlowTestRun(tests=report.tests, coverage=report.coverage)
