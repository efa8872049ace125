"""The request log: one event per answered request, without anything that the client sent."""

import logging
from http import HTTPStatus
from typing import Final

import structlog
from starlette.types import Scope

logger = structlog.get_logger()

# Key in the ASGI scope: the status code of the answer.
ANSWERED: Final = "answered"
# The same: why the server cannot do at the moment what was asked.
REASON: Final = "reason"


def logs_every_request() -> bool:
    """Return whether the server logs at `debug`."""
    return bool(logger.is_enabled_for(logging.DEBUG))


def log_request(scope: Scope, *, seconds: float, even_if_served: bool) -> None:
    """Log a finished request if it was rejected, or if the server failed to serve it.

    Args:
        seconds: The duration.
        even_if_served: Log it also if it was served.
    """
    status = scope.get(ANSWERED)
    # A standby is probed all the time, and is never ready; `readiness.changed` says why.
    is_unready = status == HTTPStatus.SERVICE_UNAVAILABLE and scope.get("path") == "/readyz"
    if status is not None and status >= HTTPStatus.BAD_REQUEST and not is_unready:
        log = logger.info
    elif even_if_served:
        log = logger.debug
    else:
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
        **({REASON: scope[REASON]} if REASON in scope else {}),
    )


def log_unreadable(request_id: str, status: int) -> None:
    """Log the answer to input that could not be parsed as a request."""
    logger.info("request.finished", request_id=request_id, status=status)
