"""The other side of the demo: a small shop that flows fetch orders from and post receipts to."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final, Self

from aiohttp import web

TOKEN: Final = "shop-token-4711-blue"  # noqa: S105 # made up, for a server that lives for seconds
ORDERS: Final = {
    "1001": {"id": 1001, "customer": "Ada", "items": ["compass", "map"], "total": 74.5},
    "1002": {"id": 1002, "customer": "Grace", "items": ["lamp", "rope", "tent"], "total": 312},
}


@dataclass(frozen=True, slots=True)
class Received:
    """A request as the shop got it."""

    method: str
    path: str
    key: str | None
    body: Any


class Shop:
    """A real HTTP server on a free port of this machine.

    Attributes:
        received: Every request, in order.
        failures: Requests for an order that are still to be answered with 503.
        gate: While it is closed, requests for orders get no answer.
        knock: Set when a request arrives at the gate.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.knock = asyncio.Event()
        self.url = ""
        app = web.Application(middlewares=[self._receive])
        app.router.add_get("/orders/{id}", self._order)
        app.router.add_post("/receipts", self._receipt)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _receive(self, request: web.Request, handler: Any) -> web.StreamResponse:
        text = await request.text()
        self.received.append(
            Received(
                request.method, request.path, request.headers.get("Idempotency-Key"), json.loads(text) if text else None
            )
        )
        response: web.StreamResponse = await handler(request)
        return response

    async def _order(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": "who are you?"}, status=401)
        if self.failures > 0:
            self.failures -= 1
            return web.json_response({"error": "come back in a moment"}, status=503)
        self.knock.set()
        await self.gate.wait()
        order = ORDERS.get(request.match_info["id"])
        return web.json_response(order or {"error": "no such order"}, status=200 if order else 404)

    async def _receipt(self, request: web.Request) -> web.Response:
        return web.json_response({"thanks": True}, status=201)
