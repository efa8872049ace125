"""What the server tells whoever runs it."""

import contextlib
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO, cast

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from flowrunner.settings import Settings

# The variables of a frame may hold whatever a flow works with, its secrets among it.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


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


def configure_logging(settings: Settings) -> None:
    """Events with fields, one a line, on standard error."""
    level = getattr(logging, settings.log_level.upper())
    rendering: list[Any] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    facts: list[Any] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    # What libraries tell comes in the same form.
    of_libraries = logging.StreamHandler(cast("TextIO", _Unfailing(sys.stderr)))
    of_libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, _on_one_line, *facts],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[of_libraries])
    structlog.configure(
        processors=[*facts, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Unfailing(sys.stderr))),
        cache_logger_on_first_use=True,
    )


def _on_one_line(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["event"] = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(event["event"]))
    return event
