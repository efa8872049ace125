"""What a server answers while another one is active on the same database."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from flowrunner.api.http.answers import answer
from flowrunner.api.http.edge import Edge
from flowrunner.api.http.errors import error_answer
from flowrunner.api.http.hosts import Hosts
from flowrunner.api.http.proxies import Proxies

STANDBY: Final = "standby: another server is active on this database"
_REFUSAL: Final = "This server is on standby, and only reads: another one is active"
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def _unready(why: str) -> str:
    return f"The server is not ready: {why}"


class Standby:
    """ASGI application: passes on what reads, and refuses the rest.

    Args:
        app: Answers what reads; None if there is nothing to be read yet.
        proxies, hosts: As the program's own.
        why: Why the server is not ready; asked with each request.
    """

    def __init__(
        self, app: ASGIApp | None, proxies: Proxies, hosts: Hosts, why: Callable[[], str] = lambda: STANDBY
    ) -> None:
        self._app = app
        self._why = why
        self._alone = Edge(self._answer, proxies=proxies, hosts=hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is not None and (scope["type"] != "http" or scope["method"] in _READING):
            await self._app(scope, receive, send)
        else:
            await self._alone(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/healthz":
            response = answer({"status": "ok"})
        elif scope["type"] == "http" and scope["path"] == "/readyz":
            response = error_answer(scope["request_id"], 503, _unready(self._why()))
        else:
            why = self._why()
            response = error_answer(scope["request_id"], 503, _REFUSAL if why == STANDBY else _unready(why))
        await response(scope, receive, send)


class OnlyHealth:
    """ASGI application of a worker: how it is, and nothing of the API.

    Args:
        app: Answers that.
        proxies, hosts: As the program's own.
    """

    def __init__(self, app: ASGIApp, proxies: Proxies, hosts: Hosts) -> None:
        self._app = app
        self._edge = Edge(self._answer, proxies=proxies, hosts=hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_health = scope["type"] == "http" and scope["path"] in ("/healthz", "/readyz", "/metrics")
        await (self._app if is_health else self._edge)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = error_answer(scope["request_id"], 404, "This is a worker: the API is at the servers")
        await response(scope, receive, send)


class Switch:
    """ASGI application: whichever one is in charge at the moment."""

    def __init__(self, app: ASGIApp) -> None:
        self.app: Callable[[Scope, Receive, Send], Awaitable[None]] = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)
