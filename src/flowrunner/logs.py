"""The log of the server."""

import atexit
import contextlib
import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from queue import Empty, SimpleQueue
from typing import Any, Final, TextIO, cast

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from flowrunner.settings import Settings

# Local variables may contain data of flows, including secrets.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


# Lines of one kind per minute.
_MOST_LINES: Final = 10
_MINUTE_SECONDS: Final = 60.0
# Further kinds are counted together.
_MOST_KINDS: Final = 100
_OTHER: Final = "other"
# Events that clients can cause at any rate, with the fields that distinguish their kinds.
_SAMPLED: Final[Mapping[str, tuple[str, ...]]] = {
    "execution.cancelled": ("workspace_id",),
    "execution.completed": ("workspace_id",),
    "execution.failed": ("workspace_id",),
    "hook.refused": ("trigger_id",),
    "login.failed": ("account_id",),
    "readiness.changed": ("reason",),
    "request.crashed": (),
    "request.cut_off": (),
    "telemetry.failed": (),
    "request.finished": ("status", "account_id"),
    # In an outage, several for each execution.
    "temporal.delete_failed": ("reason",),
    "temporal.nudge_failed": ("reason",),
    "temporal.start_failed": ("reason",),
    # A queue that is full again whenever an execution ends.
    "trigger.waits": ("trigger",),
}
_MOST_ENDED_EXECUTIONS: Final = 60
# Messages of uvicorn about requests that already have a `request.finished` with their id.
_REDUNDANT: Final = frozenset(
    {
        "Invalid HTTP request received.",
        "ASGI callable returned without completing handshake.",
        "ASGI callable returned without completing response.",
    }
)
# Limit for lines that wait to be written. Further lines are dropped.
_MOST_WAITING_BYTES: Final = 4 * 2**20
_TOO_SLOW: Final = "any, written faster than they are read"
# Time that an ending process waits for its last lines to be written.
_LAST_LINES_SECONDS: Final = 2.0


class LineWriter:
    """A stream that a thread writes to a file, so that a slow reader of the log does not block the server.

    A full disk and a closed pipe do not block it either.

    Args:
        file: The file descriptor; None drops all lines.
        report: Called with the number of lines that were dropped because too many waited.
    """

    def __init__(self, file: int | None, report: Callable[[int], None], *, most: int = _MOST_WAITING_BYTES) -> None:
        self._file = file
        self._report = report
        self._most = most
        self._lock = threading.Lock()
        self._lines: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._waiting_bytes = self._left_out = 0
        self._thread: threading.Thread | None = None

    def write(self, text: str) -> None:
        line = text.encode(errors="backslashreplace")
        with self._lock:
            if self._file is None:
                return
            if self._waiting_bytes + len(line) > self._most:
                self._left_out += 1
                return
            self._waiting_bytes += len(line)
            self._lines.put(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Do nothing: the thread writes lines as soon as possible."""

    def close(self) -> None:
        """Wait for a limited time until all lines so far are written."""
        if self._thread is not None:
            written = threading.Event()
            self._lines.put(written)
            written.wait(_LAST_LINES_SECONDS)

    def _write_all(self) -> None:
        while True:
            self._write(self._lines.get())
            while not self._lines.empty():
                with contextlib.suppress(Empty):
                    self._write(self._lines.get_nowait())
            with self._lock:
                left_out, self._left_out = self._left_out, 0
            if left_out:
                self._report(left_out)

    def _write(self, line: bytes | threading.Event) -> None:
        if isinstance(line, threading.Event):
            line.set()
            return
        rest = memoryview(line)
        with contextlib.suppress(OSError):
            while rest:
                rest = rest[os.write(cast("int", self._file), rest) :]
        with self._lock:
            self._waiting_bytes -= len(line)


class Sampling(logging.Filter):
    """A filter that passes some lines of each kind per minute and reports the number of the others.

    Any client can send malformed requests at any rate, and libraries log each of them.

    Args:
        report: Called at the end of a minute with each kind and the number of its dropped lines.
        most: The number of lines of a kind that are written per minute.
        seconds: The length of the minute; tests shorten it.
    """

    def __init__(
        self, report: Callable[[str, int], None], *, most: int = _MOST_LINES, seconds: float = _MINUTE_SECONDS
    ) -> None:
        super().__init__()
        self._report = report
        self._most = most
        self._seconds = seconds
        self._lock = threading.Lock()
        self._lines: Counter[str] = Counter()
        self._has_timer = False

    def filter(self, record: logging.LogRecord) -> bool:
        return self.passes(f"{record.name}: {record.msg}")

    def passes(self, kind: str) -> bool:
        """Count a line of the kind; return True if it may be written."""
        with self._lock:
            if kind not in self._lines and len(self._lines) >= _MOST_KINDS:
                kind = _OTHER
            self._lines[kind] += 1
            if not self._has_timer:
                self._begin_minute()
            return self._lines[kind] <= self._most

    def _begin_minute(self) -> None:
        timer = threading.Timer(self._seconds, self._end_minute)
        timer.daemon = True
        # If the system has no further thread, the next line tries again.
        with contextlib.suppress(RuntimeError):
            timer.start()
            self._has_timer = True

    def _end_minute(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, Counter()
            self._has_timer = False
        for kind, count in lines.items():
            if count > self._most:
                self._report(kind, count - self._most)


def _report_left_out(kind: str, count: int) -> None:
    structlog.get_logger().warning("log.left_out", like=kind, lines=count)


def _sampler(level: int) -> Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]:
    """Return the processor that drops events that are too frequent."""
    samplings = {
        event: Sampling(
            _report_left_out, most=_MOST_ENDED_EXECUTIONS if event.startswith("execution.") else _MOST_LINES
        )
        for event in _SAMPLED
    }
    if level <= logging.DEBUG:
        # At this level, every request is logged.
        del samplings["request.finished"]

    def sample(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        name = event["event"]
        sampling = samplings.get(name)
        if sampling is not None:
            kinds = (f"{field}={event[field]}" for field in _SAMPLED[name] if event.get(field) is not None)
            if not sampling.passes(" ".join((name, *kinds))):
                raise structlog.DropEvent
        return event

    return sample


# Takes every event of FlowRunner's own that is written, before it is rendered; None for nobody.
_forward: Callable[[Mapping[str, Any]], None] | None = None


def forward_events(to: Callable[[Mapping[str, Any]], None] | None) -> None:
    """Pass every event of FlowRunner's own that is written to a function, too; None ends that."""
    global _forward  # noqa: PLW0603 # as the configuration of the log, it belongs to the process
    _forward = to


def _forwarded(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if _forward is not None:
        _forward(event)
    return event


def configure_logging(settings: Settings) -> None:
    """Log events with fields, one per line, to standard error."""
    level = getattr(logging, settings.log_level.upper())
    rendering: list[Any] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback), _as_text]
    )
    facts: list[Any] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    # Messages of libraries get the same form.
    stream = cast("TextIO", _open_stream())
    of_libraries = logging.StreamHandler(stream)
    of_libraries.addFilter(lambda record: record.msg not in _REDUNDANT)
    of_libraries.addFilter(Sampling(_report_left_out))
    of_libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, _on_one_line, *facts],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[of_libraries])
    structlog.configure(
        processors=[_sampler(level), *facts, _forwarded, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )


def _open_stream() -> LineWriter:
    # If standard error is closed, its descriptor may belong to another file.
    file = None if sys.stderr is None else sys.stderr.fileno()
    stream = LineWriter(file, lambda count: _report_left_out(_TOO_SLOW, count))
    atexit.register(stream.close)
    return stream


def _on_one_line(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["event"] = _printable(str(event["event"]))
    return event


def _as_text(_: Any, __: str, text: str) -> str:
    """Return an event as text that sets nothing in a terminal, and whose further lines begin as no event does."""
    return "\n    ".join(map(_printable, text.split("\n")))


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
