"""What the server tells whoever runs it."""

import contextlib
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TextIO, cast

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from flowrunner.settings import Settings

# The variables of a frame may hold whatever a flow works with, its secrets among it.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


# Of one kind, in a minute.
_MOST_LINES: Final = 10
_MINUTE_SECONDS: Final = 60.0
# Kinds beyond are counted as one.
_MOST_KINDS: Final = 100
_OTHER: Final = "other"
# What clients cause that nobody has to know.
_SAMPLED_EVENTS: Final = frozenset({"request.crashed"})


class _Unfailing:
    """A stream whose failures are nobody's: a full disk or a reader that has gone must not stop the
    work that a line tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class Sampling(logging.Filter):
    """Lets ten lines of a kind through in a minute, and reports how many others there were.

    Anybody can send a request that cannot be read, as often as they like, and libraries log each of them.

    Args:
        report: Called at the end of a minute with each kind and how many lines of it were left out.
        seconds: The minute, in tests.
    """

    def __init__(self, report: Callable[[str, int], None], *, seconds: float = _MINUTE_SECONDS) -> None:
        super().__init__()
        self._report = report
        self._seconds = seconds
        self._lock = threading.Lock()
        self._lines: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        return self.passes(f"{record.name}: {record.msg}")

    def passes(self, kind: str) -> bool:
        """Count a line of the kind, and return whether it is to be written."""
        with self._lock:
            if kind not in self._lines and len(self._lines) >= _MOST_KINDS:
                kind = _OTHER
            self._lines[kind] += 1
            if len(self._lines) == 1 and self._lines[kind] == 1:
                self._begin_minute()
            return self._lines[kind] <= _MOST_LINES

    def _begin_minute(self) -> None:
        timer = threading.Timer(self._seconds, self._end_minute)
        timer.daemon = True
        timer.start()

    def _end_minute(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, Counter()
        for kind, count in lines.items():
            if count > _MOST_LINES:
                self._report(kind, count - _MOST_LINES)


def _report_left_out(kind: str, count: int) -> None:
    structlog.get_logger().warning("log.left_out", like=kind, lines=count)


def configure_logging(settings: Settings) -> None:
    """Events with fields, one a line, on standard error."""
    level = getattr(logging, settings.log_level.upper())
    rendering: list[Any] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    sampling = Sampling(_report_left_out)

    def sample(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["event"] in _SAMPLED_EVENTS and not sampling.passes(event["event"]):
            raise structlog.DropEvent
        return event

    facts: list[Any] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    # What libraries tell comes in the same form.
    of_libraries = logging.StreamHandler(cast("TextIO", _Unfailing(sys.stderr)))
    of_libraries.addFilter(sampling)
    of_libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, _on_one_line, *facts],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[of_libraries])
    structlog.configure(
        processors=[sample, *facts, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Unfailing(sys.stderr))),
        cache_logger_on_first_use=True,
    )


def _on_one_line(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["event"] = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(event["event"]))
    return event
