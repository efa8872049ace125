"""The request log: one event per answered request, without anything that the client sent."""

import logging
from typing import Any, Final

import structlog
from starlette.types import Scope

logger = structlog.get_logger()

# Key in the ASGI scope: the status code of the answer.
ANSWERED: Final = "answered"


def log_request(scope: Scope, *, seconds: float) -> None:
    """Log a finished request if it was rejected; with `log_level=debug`, log every request.

    Args:
        seconds: The duration.
    """
    status = scope.get(ANSWERED)
    log = _logger_for(status)
    if log is None:
        return
    route, caller = scope.get("route"), scope.get("caller")
    log(
        "request.finished",
        request_id=scope["request_id"],
        method=scope.get("method", "WEBSOCKET"),
        # The route contains parameter names in place of ids. A path without a route is arbitrary text and is left out.
        route=None if route is None else route.path_format,
        status=None if status is None else int(status),
        duration_ms=round(seconds * 1000, 3),
        account_id=None if caller is None else caller.account_id,
    )


def log_unreadable(request_id: str, status: int) -> None:
    """Log the answer to input that could not be parsed as a request."""
    logger.info("request.finished", request_id=request_id, status=status)


def _logger_for(status: int | None) -> Any:
    """Return the logger method for this status, or None if such requests are not logged."""
    if status is not None and 400 <= status < 500:
        return logger.info
    return logger.debug if logger.is_enabled_for(logging.DEBUG) else None
