"""Log lines of what runs in the tests' own process."""

import logging

import structlog
from structlog.typing import EventDict, WrappedLogger


def log_plainly() -> None:
    """Write log lines without columns and colours, and tracebacks without locals, which take most of a request's time.

    As of a server with its own settings, there is no line for each step.
    """
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.dev.set_exc_info,
            structlog.processors.format_exc_info,
            _line,
        ],
    )


def _line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    facts = {name: event.pop(name, "") for name in ("level", "event", "exception", "stack")}
    described = " ".join(f"{name}={value if isinstance(value, str) else repr(value)}" for name, value in event.items())
    return "\n".join(
        filter(None, [f"[{facts['level']}] {facts['event']} {described}", facts["stack"], facts["exception"]])
    )
