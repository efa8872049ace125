"""Puts the routes together."""

from collections.abc import Callable
from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from flowrunner import __version__
from flowrunner.api import accounts, executions, flows, health, identity, secrets
from flowrunner.api.edge import Edge
from flowrunner.api.errors import add_error_handlers
from flowrunner.api.health import Readiness
from flowrunner.api.live import Live
from flowrunner.api.routing import ProtectedRoute
from flowrunner.domain.account import Account
from flowrunner.services.bundle import Services


class SetUp(Protocol):
    async def run(self, *, token: str, name: str, email: str, password: str) -> Account:
        """Create the first admin. Raises: Unauthorized, Conflict, InvalidInput."""
        ...


def build_app(
    services: Services,
    live: Live,
    *,
    setup: SetUp,
    readiness: Readiness,
    metrics: Callable[[], bytes],
) -> FastAPI:
    app = FastAPI(
        title="FlowRunner",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.setup = setup
    app.state.readiness = readiness
    app.state.metrics = metrics
    for router in (
        health.router,
        identity.public,
        identity.router,
        flows.router,
        executions.router,
        accounts.admin,
        accounts.router,
        secrets.router,
    ):
        app.include_router(router)
    app.router.routes.append(live.route())
    add_error_handlers(app)
    app.add_middleware(Edge)

    document: dict[str, Any] = {}

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        if not document:
            document.update(openapi_document(app))
        return JSONResponse(document)

    return app


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 of the REST API, with the security that each route asks for."""
    document = get_openapi(
        title="FlowRunner",
        version=__version__,
        description="Runs flows: YAML documents of named nodes joined by named edges.",
        routes=app.routes,
    )
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["token"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    for route in _routes(app):
        for method in getattr(route, "methods", ()):
            operation = document["paths"].get(route.path, {}).get(method.lower())
            if operation is not None and isinstance(route, ProtectedRoute):
                operation["security"] = [{"token": []}]
    return document


def _routes(app: FastAPI) -> list[Any]:
    return list(app.routes)
