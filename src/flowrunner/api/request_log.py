"""What the server's log tells of a request: one event when it has been answered, and nothing that it brought."""

import logging
from typing import Any, Final

import structlog
from starlette.types import Scope

logger = structlog.get_logger()

# Of a scope: the status that the request was answered with.
ANSWERED: Final = "answered"


def log_request(scope: Scope, *, seconds: float) -> None:
    """Log a request that has ended: one that was refused, and with `log_level=debug` any.

    Args:
        seconds: How long it took.
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
        # With names in the place of ids; an address without a route may be anything, and is left out.
        route=None if route is None else route.path_format,
        status=None if status is None else int(status),
        duration_ms=round(seconds * 1000, 3),
        account_id=None if caller is None else caller.account_id,
    )


def log_unreadable(request_id: str, status: int) -> None:
    """Log an answer to what never became a request."""
    logger.info("request.finished", request_id=request_id, status=status)


def _logger_for(status: int | None) -> Any:
    """Return the method of the logger for requests answered so; None if they have no line."""
    if status is not None and 400 <= status < 500:
        return logger.info
    return logger.debug if logger.is_enabled_for(logging.DEBUG) else None
