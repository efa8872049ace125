"""The ASGI application: routes, error handlers and the OpenAPI document."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from flowrunner import __version__
from flowrunner.api import accounts, audit, executions, flows, health, identity, keys, schemas, secrets, tokens
from flowrunner.api.browser import Browser
from flowrunner.api.health import Readiness
from flowrunner.api.http.edge import Edge
from flowrunner.api.http.errors import add_error_handlers
from flowrunner.api.http.hosts import Hosts
from flowrunner.api.http.proxies import Proxies
from flowrunner.api.http.routing import SECURITY_SCHEME, PublicRoute
from flowrunner.api.live import Live
from flowrunner.domain.account import Account
from flowrunner.ports import BodyRoom
from flowrunner.services.account_locks import AccountLocks
from flowrunner.services.bundle import Services

documents = APIRouter(route_class=PublicRoute)


@documents.get("/api/v1/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """Return the OpenAPI description of this API."""
    state = request.app.state
    async with state.openapi_lock:
        if state.openapi is None:
            state.openapi = await asyncio.to_thread(lambda: msgspec.json.encode(openapi_document(request.app)))
    return Response(state.openapi, media_type="application/json")


class SetUp(Protocol):
    async def run(self, *, token: str, name: str, email: str, password: str, address: str = "") -> Account:
        """Create the first admin. Raises: Unauthorized, Conflict, InvalidInput."""
        ...


ROUTERS: Final = (
    executions.router,
    flows.router,
    documents,
    health.router,
    identity.public,
    identity.router,
    identity.renewing,
    tokens.router,
    accounts.admin,
    accounts.router,
    secrets.router,
    keys.admin,
    audit.admin,
    schemas.router,
)


def build_app(
    services: Services,
    live: Live,
    *,
    setup: SetUp,
    readiness: Readiness,
    metrics: Callable[[], bytes],
    refused: Callable[[str], None],
    browser: Browser,
    proxies: Proxies,
    hosts: Hosts,
    body_room: BodyRoom,
) -> FastAPI:
    """Build the application. Args: refused: Called with the name of each limit that rejects a request."""
    app = FastAPI(
        title="FlowRunner",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # The framework would otherwise check the environment for exporters on every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.services = services
    app.state.setup = setup
    app.state.readiness = readiness
    app.state.metrics = metrics
    app.state.refused = refused
    app.state.browser = browser
    app.state.long_bodies = AccountLocks()
    app.state.body_room = body_room
    app.state.openapi, app.state.openapi_lock = None, asyncio.Lock()
    # The routes are copied, because a nested router would match every request twice.
    for router in ROUTERS:
        app.router.routes.extend(router.routes)
    app.router.routes.append(live.route())
    add_error_handlers(app)
    app.add_middleware(Edge, proxies=proxies, hosts=hosts, is_behind_tls=browser.is_secure)

    return app


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the REST API, with the security requirements of each route."""
    document = get_openapi(
        title="FlowRunner",
        version=__version__,
        description="Runs flows: YAML documents of named nodes joined by named edges.",
        routes=app.routes,
    )
    components = document.setdefault("components", {})
    components["securitySchemes"] = {
        SECURITY_SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A session token or an API token. The `x-right` of a route names the required right.",
        }
    }
    # The framework documents its own form of a 422 for routes that declare none; it is never sent.
    for path in document["paths"].values():
        for operation in path.values():
            if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    return document
