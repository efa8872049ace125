"""The outermost ASGI layer: request ids, client addresses behind proxies, security headers, crash answers, the log."""

import asyncio
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, TypeAlias

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowrunner.api.http.errors import NOTHING_HERE, AnswerCutOff, error_answer
from flowrunner.api.http.headers import header_of
from flowrunner.api.http.hosts import Hosts
from flowrunner.api.http.proxies import Proxies
from flowrunner.api.http.rate_headers import RATES, rate_headers
from flowrunner.api.request_log import ANSWERED, log_request, logs_every_request
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.traces import read_traceparent
from flowrunner.ids import random_digits
from flowrunner.ports.telemetry import TRACEPARENT

logger = structlog.get_logger()

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REQUEST_ID_DIGITS: Final = 16
# Of all answers, whatever else they are.
COMMON_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
NO_STORE: Final = (b"cache-control", b"no-store")
SECURITY_HEADERS: Final = (
    *COMMON_HEADERS,
    NO_STORE,
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
# In the scope of a request whose answer has other headers than these.
OWN_HEADERS: Final = "own_headers"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_FEATURES: Final = (
    b"permissions-policy",
    b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
)
_TRUSTED_TYPES: Final = (b"content-security-policy", f"{_POLICY}; require-trusted-types-for 'script'".encode())
# Pages. A browser asks each time whether it still has them.
_PAGE_HEADERS: Final = (*COMMON_HEADERS, (b"cache-control", b"no-cache"), _FEATURES)
PAGE_HEADERS: Final = (*_PAGE_HEADERS, _TRUSTED_TYPES)
# Swagger UI writes markup as text, which trusted types refuse.
API_PAGE_HEADERS: Final = (*_PAGE_HEADERS, (b"content-security-policy", _POLICY.encode()))
# What pages consist of, at addresses that name their build: it never changes there.
LASTING_HEADERS: Final = (
    *COMMON_HEADERS,
    (b"cache-control", b"public, max-age=31536000, immutable"),
    _FEATURES,
    _TRUSTED_TYPES,
)
# A browser that has reached the server over TLS uses nothing else for a year.
TLS_ONLY: Final = (b"strict-transport-security", b"max-age=31536000")
# Called with the template of the route, the method, the status and the seconds of a request.
OnRequest: TypeAlias = Callable[[str | None, str, int | None, float], None]
CRASHED: Final = "An internal error occurred; its id is in request_id"
CANCELLED: Final = "The server stopped before the request was complete: see what it has done, and then send it again"


class Edge:
    """The outermost ASGI middleware.

    Args:
        hosts: The host names that are served.
        is_behind_tls: Browsers reach the server over TLS.
        reads_traces: The trace context of clients is read, because traces are exported.
        on_request: Called with the route, the method, the status and the seconds of each finished request.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        proxies: Proxies,
        hosts: Hosts,
        is_behind_tls: bool = False,
        reads_traces: bool = False,
        on_request: OnRequest = lambda route, method, status, seconds: None,
    ) -> None:
        self._app = app
        self._proxies = proxies
        self._hosts = hosts
        self._on_request = on_request
        self._reads_traces = reads_traces
        self._logs_every_request = logs_every_request()
        self._tls_only = (TLS_ONLY,) if is_behind_tls else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        scope["request_id"] = request_id_of(scope)
        self._proxies.resolve(scope)
        if self._reads_traces:
            given = read_traceparent(header_of(scope, b"traceparent") or "")
            TRACEPARENT.set("" if given is None else str(given))
        serve = self._serve_socket if scope["type"] == "websocket" else self._serve
        try:
            await serve(scope, receive, send)
        finally:
            seconds, route, status = time.perf_counter() - began, scope.get("route"), scope.get(ANSWERED)
            template = None if route is None else route.path_format
            self._on_request(template, scope.get("method", "WEBSOCKET"), status, seconds)
            log_request(scope, seconds=seconds, even_if_served=self._logs_every_request)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope["request_id"]
        has_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                self._add_headers(message, scope)
            await send(message)

        if (fault := self._hosts.fault(scope)) is not None:
            await error_answer(request_id, 400, fault)(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except AnswerCutOff:
            return
        except asyncio.CancelledError:
            # The HTTP server cancels the requests that are left when it stops. It would answer 500.
            if not has_started:
                await error_answer(request_id, 503, CANCELLED)(scope, receive, send_with_headers)
            raise
        except Exception as error:
            if has_started and isinstance(error, Unavailable):
                # The rest cannot be read. The connection is closed, so that nobody takes the answer for whole.
                logger.warning("request.cut_off", request_id=request_id, method=scope["method"], reason=str(error))
                return
            # The caller gets only a request id, which is in this log.
            logger.exception("request.crashed", request_id=request_id, method=scope["method"])
            if has_started:
                raise
            answer = error_answer(request_id, 500, CRASHED)
            await answer(scope, receive, send_with_headers)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket. Until it is accepted, it is handled like other requests."""
        request_id = scope["request_id"]
        has_started = False

        async def send_denial(message: Message) -> None:
            if message["type"] == "websocket.http.response.start":
                self._add_headers(message, scope)
            await send(message)

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "websocket.close" and not has_started:
                # Closed before it was accepted: no route serves it.
                has_started = True
                await error_answer(request_id, 404, NOTHING_HERE)(scope, receive, send_denial)
                return
            has_started = True
            if message["type"] == "websocket.accept":
                scope[ANSWERED] = HTTPStatus.SWITCHING_PROTOCOLS
            await send_denial(message)

        if (fault := self._hosts.fault(scope)) is not None:
            await error_answer(request_id, 400, fault)(scope, receive, send_denial)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            logger.exception("request.crashed", request_id=request_id, method="WEBSOCKET")
            if has_started:
                raise
            await error_answer(request_id, 500, CRASHED)(scope, receive, send_denial)

    def _add_headers(self, message: Message, scope: Scope) -> None:
        scope[ANSWERED] = message["status"]
        headers = scope.get(OWN_HEADERS, SECURITY_HEADERS)
        request_id = (b"x-request-id", scope["request_id"].encode())
        left = rate_headers(scope[RATES]) if RATES in scope else ()
        message["headers"] = [*message["headers"], request_id, *left, *headers, *self._tls_only]


def request_id_of(scope: Scope) -> str:
    """Return the id that the client has given its request, or a new one."""
    given = header_of(scope, b"x-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else random_digits()[:_REQUEST_ID_DIGITS]
