"""The table of errors and status codes, and the bodies of error answers."""

import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Final

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from msgspec import UNSET
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from flowrunner.api.http.answers import (
    ErrorAnswer,
    ErrorBody,
    ErrorDetails,
    ErrorEntry,
    FixAnswer,
    Reply,
    SecondStepNeeded,
    answer,
    present,
)
from flowrunner.api.http.authentication import address_of
from flowrunner.api.http.guides import Guide, guide_of_error, guide_of_status
from flowrunner.api.http.rate_headers import exceeded_headers
from flowrunner.api.http.request_faults import request_faults
from flowrunner.api.http.state import services_of, state_of
from flowrunner.api.request_log import REASON
from flowrunner.domain.errors import (
    Conflict,
    Fault,
    FlowRunnerError,
    Forbidden,
    InvalidFlow,
    InvalidFlows,
    InvalidInput,
    LimitReached,
    NotFound,
    PasswordLoginDisabled,
    PreconditionFailed,
    QueueFull,
    RecentLoginRequired,
    RedactionLimit,
    RequestLimit,
    SecondFactorMissing,
    SecondFactorRequired,
    StartsPaused,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from flowrunner.domain.sign_on import SignOnFailed
from flowrunner.domain.values import rfc3339

logger = structlog.get_logger()


class AnswerCutOff(Exception):
    """The rest of an answer that has begun is not sent; its connection is closed, so that nobody takes it for whole."""


STATUS: Final[Mapping[type[Exception], int]] = {
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    PreconditionFailed: 412,
    InvalidFlow: 422,
    InvalidFlows: 422,
    InvalidInput: 422,
    RedactionLimit: 422,
    TooManyRequests: 429,
    # Only of requests by scripts: browsers go back to the login page.
    SignOnFailed: 503,
    Unavailable: 503,
}

CODES: Final[Mapping[int, str]] = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    412: "precondition_failed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "validation_error",
    429: "too_many_requests",
    431: "headers_too_large",
    500: "internal_error",
    502: "execution_failed",
    503: "unavailable",
}


# Errors that a client handles otherwise than others with their status.
CODES_OF_ERRORS: Final[Mapping[type[Exception], str]] = {
    SecondFactorRequired: "second_factor_required",
    SecondFactorMissing: "second_factor_missing",
    RecentLoginRequired: "recent_login_required",
    PasswordLoginDisabled: "password_login_disabled",
}

# Faults that an answer lists. A document may have ten thousand.
MOST_FAULTS: Final = 1_000
NOTHING_HERE: Final = "There is nothing at this address"


class InvalidRequest(FlowRunnerError):
    """A request that cannot be read."""

    def __init__(self, message: str, *, status: int = 400, hint: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.hint = hint


def etag(state: str) -> str:
    """Return the `ETag` header for a state."""
    return f'"{state}"'


_NO_DETAILS: Final = ErrorDetails()


def error_answer(
    request_id: str,
    status: int,
    message: str,
    *,
    details: ErrorDetails = _NO_DETAILS,
    hint: str | None = None,
    guide: Guide | None = None,
    headers: Mapping[str, str] | None = None,
    code: str | None = None,
) -> Reply[ErrorAnswer]:
    """Return the answer to a request that is rejected.

    Args:
        hint: Closer advice than that of the guide.
        guide: Advice about this kind of error; None is that about the status.
        code: The code of this kind of error; None is that of the status.
    """
    guide = guide or guide_of_status(status)
    error = ErrorBody(
        code=code or CODES.get(status, "invalid_request" if status < 500 else "internal_error"),
        message=message,
        details=details,
        request_id=request_id,
        hint=hint or guide.hint,
        docs=guide.docs,
    )
    sent = dict(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        sent["WWW-Authenticate"] = "Bearer"
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        sent.setdefault("Retry-After", "1")
    return answer(ErrorAnswer(error=error), status, sent)


def _status_of(error: Exception) -> int | None:
    """Return the status code of a domain error, or None if the error is a bug."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)


def entry_of(fault: Fault, *, document: str | None = None) -> ErrorEntry:
    """Return the entry of a fault. Args: document: The request field that contains the faulty document."""
    return ErrorEntry(
        pointer=f"/{document}" if document else _pointer(fault.path),
        path=fault.path,
        code=fault.code,
        message=fault.message,
        line=present(fault.line),
        column=present(fault.column),
        hint=present(fault.hint),
        fix=UNSET
        if fault.fix is None
        else FixAnswer(
            line=fault.fix.line, column=fault.fix.column, end_column=fault.fix.end_column, text=fault.fix.text
        ),
    )


def _pointer(path: str) -> str:
    """Return the JSON pointer (RFC 6901) of a dotted path: `/data/items/0` for `data.items[0]`."""
    keys = (key for key in _BETWEEN_KEYS.split(path) if key)
    return "".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in keys)


_BETWEEN_KEYS: Final = re.compile(r"[.\[\]]")


def details_of(faults: Sequence[Fault], *, document: str | None = None) -> ErrorDetails:
    """Return the first faults; a single one also as the reference's `field` and `reason`. Args: as `entry_of`."""
    entries = [entry_of(fault, document=document) for fault in faults[:MOST_FAULTS]]
    if len(faults) != 1:
        return ErrorDetails(errors=entries)
    return ErrorDetails(field=document or faults[0].path, reason=faults[0].message, errors=entries)


async def _domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FlowRunnerError), "registered for this class"
    await record_refusal(request, error)
    if isinstance(error, Unavailable):
        request.scope[REASON] = str(error)
    return answer_to(request.scope["request_id"], error)


async def record_refusal(connection: HTTPConnection, error: Exception) -> None:
    """Record a denied request in the audit log, and a request that a limit rejected in the metrics."""
    if isinstance(error, TooManyRequests | LimitReached | QueueFull):
        state_of(connection).refused(error.limit)
    if isinstance(error, Forbidden):
        method, route = connection.scope.get("method", "WEBSOCKET"), connection.scope.get("route")
        try:
            await services_of(connection).audit.denied(
                connection.scope.get("caller"),
                method,
                getattr(route, "path_format", ""),
                address=address_of(connection),
            )
        except Unavailable as problem:
            # The request is denied anyway. A standby server can never write to the database.
            logger.warning("audit.denial_not_written", method=method, reason=str(problem))


def answer_to(request_id: str, error: FlowRunnerError) -> Reply[ErrorAnswer]:
    """Return the answer to a domain error, for HTTP requests and WebSocket handshakes.

    Raises:
        FlowRunnerError: The error itself, if it is a bug.
    """
    status = _status_of(error)
    if status is None:
        raise error
    reply = partial(
        error_answer, request_id, status, guide=guide_of_error(error), code=CODES_OF_ERRORS.get(type(error))
    )
    match error:
        case InvalidFlow():
            message = f"The flow definition has {_number(len(error.faults))}"
            return reply(message, details=details_of(error.faults, document="definition"))
        case InvalidFlows():
            entries = [
                msgspec.structs.replace(entry_of(fault), pointer=place, flow=name)
                for name, place, fault in error.faults
            ]
            return reply(str(error), details=ErrorDetails(errors=entries))
        case InvalidInput():
            return _faulty(request_id, error.faults)
        case PreconditionFailed():
            details = ErrorDetails(revision=present(error.revision))
            current = None if error.state is None else {"ETag": etag(error.state)}
            return reply(str(error), details=details, headers=current)
        case TooManyRequests():
            seconds = max(math.ceil(error.retry_after.total_seconds()), 1)
            headers = {"Retry-After": str(seconds)}
            if error.seconds is not None:
                headers |= exceeded_headers(RequestLimit(error.limit, error.most, error.seconds), retry_after=seconds)
            return reply(str(error), details=_limit(error), headers=headers)
        case LimitReached() | QueueFull():
            return reply(str(error), details=_limit(error))
        case SecondFactorRequired():
            step = SecondStepNeeded(
                challenge=error.challenge,
                methods=list(error.methods),
                expires_at=rfc3339(error.expires_at),
                passkey=UNSET if error.passkey is None else dict(error.passkey),
            )
            return reply(str(error), details=ErrorDetails(second_factor=step))
        case StartsPaused():
            return reply(str(error), headers={"Retry-After": _PAUSE_SECONDS})
        case _:
            return reply(str(error))


# A pause ends by hand.
_PAUSE_SECONDS: Final = "60"


def _limit(error: TooManyRequests | LimitReached | QueueFull) -> ErrorDetails:
    return ErrorDetails(limit=error.limit, most=error.most)


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidRequest), "registered for this class"
    return error_answer(request.scope["request_id"], error.status, str(error), hint=error.hint)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for this class"
    found = error.errors()
    faults = request_faults(found[:MOST_FAULTS], request)
    return _faulty(request.scope["request_id"], faults, unlisted=max(len(found) - MOST_FAULTS, 0))


def _faulty(request_id: str, faults: Sequence[Fault], *, unlisted: int = 0) -> Reply[ErrorAnswer]:
    message = f"The request has {_number(len(faults) + unlisted)}"
    if len(faults) == 1:
        fault = faults[0]
        # The message "… is required" already contains the field's name.
        is_named = fault.message.endswith(" is required")
        message = fault.message if is_named or not fault.path else f"{fault.path}: {fault.message}"
    hint = faults[0].hint if len(faults) == 1 else None
    return error_answer(request_id, 422, message, details=details_of(faults), hint=hint)


def _number(faults: int) -> str:
    return "1 fault" if faults == 1 else f"{faults} faults"


_HTTP_MESSAGES: Final = {
    404: NOTHING_HERE,
    405: "This address does not take the method {method}",
}


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for this class"
    message = _HTTP_MESSAGES.get(error.status_code, str(error.detail)).format(method=request.method)
    return error_answer(request.scope["request_id"], error.status_code, message, headers=error.headers)


_HANDLERS: Final[Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = {
    FlowRunnerError: _domain_error,
    InvalidRequest: _invalid_request,
    RequestValidationError: _validation_error,
    HTTPException: _http_error,
}


def add_error_handlers(app: FastAPI) -> None:
    for kind, handle in _HANDLERS.items():
        app.add_exception_handler(kind, handle)


async def answer_of_error(request: Request, error: Exception) -> Response:
    """Return the answer to a request that has raised an error. Raises: the error itself, if it is a bug."""
    handle = next((_HANDLERS[kind] for kind in type(error).__mro__ if kind in _HANDLERS), None)
    if handle is None:
        raise error
    return await handle(request, error)
