"""The applications of standby servers and of workers: which requests they pass on, and what they say of others."""

from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from api.shapes import assert_error
from flowrunner.api.http.hosts import Hosts
from flowrunner.api.http.proxies import Proxies
from flowrunner.api.http.standby import STANDBY, OnlyHealth, Standby
from support.asgi import call, connect

PAGE = {"accept": "text/html"}


async def passed_on(scope: Any, receive: Any, send: Any) -> None:
    """Answer as the main application."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await PlainTextResponse("served")(scope, receive, send)


def standby(app: Any = None, why: str = STANDBY) -> Standby:
    return Standby(app, Proxies(()), Hosts(), lambda: why)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_a_standby_server_serves_reads(method: str) -> None:
    reply = await call(standby(passed_on), method, "/api/v1/flows")

    assert (reply.status, reply.body) == (200, b"served")
    assert (await connect(standby(passed_on), "/api/v1/executions/exec-1/live")).status == 101


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_standby_server_refuses_writes(method: str) -> None:
    reply = await call(standby(passed_on), method, "/api/v1/flows")

    assert_error(reply, 503)
    assert reply.error["message"] == "This server is on standby and read-only: another server is active"


async def test_without_a_database_a_server_is_alive_and_says_why_it_is_not_ready() -> None:
    app = standby(why="the database is being migrated")
    alive, ready, other = [await call(app, "GET", path) for path in ("/healthz", "/readyz", "/api/v1/flows")]
    page = await call(app, "GET", "/", headers=PAGE)

    assert (alive.status, alive.json) == (200, {"status": "ok"})
    assert [reply.status for reply in (ready, other, page)] == [503, 503, 503]
    why = "The server is not ready: the database is being migrated"
    assert (ready.error["message"], other.error["message"]) == (why, why)
    # The page loads itself again, and a proxy does not give it to another client.
    assert f"<p>{why}.</p>" in page.body.decode()
    assert page.headers["retry-after"] == "5"
    assert 'http-equiv="refresh" content="5"' in page.body.decode()
    assert (page.headers["vary"], page.headers["cache-control"]) == ("Accept", "no-store")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert (await connect(app, "/healthz")).status == 503


async def test_a_worker_serves_its_health_and_metrics_alone() -> None:
    app = OnlyHealth(passed_on, Proxies(()), Hosts())

    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await call(app, "GET", path)).body == b"served"
    for path in ("/", "/api/v1/flows", "/healthz/"):
        reply = await call(app, "GET", path)
        assert_error(reply, 404)
        assert "This is a worker" in reply.error["message"]
    assert (await connect(app, "/metrics")).status == 404
