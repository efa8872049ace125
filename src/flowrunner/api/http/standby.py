"""ASGI applications of standby servers and workers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from flowrunner.api.http.answers import Health, Reply, answer
from flowrunner.api.http.edge import Edge
from flowrunner.api.http.errors import error_answer
from flowrunner.api.http.hosts import Hosts
from flowrunner.api.http.negotiation import wants_page
from flowrunner.api.http.proxies import Proxies
from flowrunner.api.http.unready_page import unready_page

STANDBY: Final = "standby: another server is active on this database"
_REFUSAL: Final = "This server is on standby and read-only: another server is active"
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def _unready(why: str) -> str:
    return f"The server is not ready: {why}"


class Standby:
    """An ASGI application that serves reads and live events, and rejects writes.

    Args:
        app: Serves reads; None if there is no readable database yet.
        proxies, hosts: The same as in the main application.
        why: Returns the reason why the server is not ready; called for each request.
    """

    def __init__(
        self, app: ASGIApp | None, proxies: Proxies, hosts: Hosts, why: Callable[[], str] = lambda: STANDBY
    ) -> None:
        self._app = app
        self._why = why
        self._fallback = Edge(self._answer, proxies=proxies, hosts=hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is not None and (scope["type"] != "http" or scope["method"] in _READING):
            await self._app(scope, receive, send)
        else:
            await self._fallback(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/healthz":
            response: Reply[Any] = answer(Health(status="ok"))
        elif scope["type"] == "http" and scope["path"] == "/readyz":
            response = error_answer(scope["request_id"], 503, _unready(self._why()))
        elif wants_page(scope):
            await unready_page(scope, _unready(self._why()))(scope, receive, send)
            return
        else:
            why = self._why()
            response = error_answer(scope["request_id"], 503, _REFUSAL if why == STANDBY else _unready(why))
        await response(scope, receive, send)


class OnlyHealth:
    """The ASGI application of a worker: health and metrics without the API.

    Args:
        app: Serves health and metrics.
        proxies, hosts: The same as in the main application.
    """

    def __init__(self, app: ASGIApp, proxies: Proxies, hosts: Hosts) -> None:
        self._app = app
        self._edge = Edge(self._answer, proxies=proxies, hosts=hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_health = scope["type"] == "http" and scope["path"] in ("/healthz", "/readyz", "/metrics")
        await (self._app if is_health else self._edge)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = error_answer(
            scope["request_id"], 404, "This is a worker, which does not serve the API: send requests to a server"
        )
        await response(scope, receive, send)


class AppSwitch:
    """An ASGI application that forwards to a replaceable one.

    The HTTP server runs it as the whole task of a request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app: Callable[[Scope, Receive, Send], Awaitable[None]] = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            # The HTTP server cancels the requests that are left when it stops. The edge has answered them by now, and
            # uvicorn would log a traceback.
            return
