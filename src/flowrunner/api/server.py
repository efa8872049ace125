"""The ASGI application: routes, error handlers and the OpenAPI document."""

import asyncio
from typing import Final

import msgspec
from fastapi import APIRouter, FastAPI, Request
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flowrunner import __version__
from flowrunner.api import (
    accounts,
    approval_links,
    approvals,
    audit,
    callbacks,
    command_logins,
    config,
    deployment,
    drafts,
    email_confirmations,
    events,
    execution_logs,
    executions,
    flows,
    health,
    hook_deliveries,
    hooks,
    invitations,
    jobs,
    keys,
    logins,
    node_trials,
    node_types,
    overview,
    password_resets,
    pause,
    retention,
    revisions,
    schemas,
    second_factors,
    secrets,
    sessions,
    sign_on,
    signals,
    starts,
    steps,
    store,
    system,
    tokens,
    triggers,
    web,
    workspaces,
)
from flowrunner.api.http.asyncapi import asyncapi_document
from flowrunner.api.http.conditions import encoded_or_not_modified, state_of_answer
from flowrunner.api.http.edge import Edge, OnRequest
from flowrunner.api.http.errors import add_error_handlers
from flowrunner.api.http.hosts import Hosts
from flowrunner.api.http.openapi import openapi_document
from flowrunner.api.http.proxies import Proxies
from flowrunner.api.http.route_index import DirectRoutes, RouteIndex
from flowrunner.api.http.routing import PublicRoute
from flowrunner.api.http.state import STATE, AppState, state_of
from flowrunner.api.live import Live
from flowrunner.api.mcp import route as mcp

documents = APIRouter(route_class=PublicRoute)


@documents.get("/api/v1/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """Return the OpenAPI description of this API."""

    def make() -> tuple[bytes, str]:
        body = msgspec.json.encode(openapi_document(request.app.routes))
        return body, state_of_answer(body)

    body, state = await state_of(request).openapi.get(lambda: asyncio.to_thread(make))
    return encoded_or_not_modified(request, body, state)


_ASYNCAPI: Final = msgspec.json.encode(asyncapi_document())
_ASYNCAPI_STATE: Final = state_of_answer(_ASYNCAPI)


@documents.get("/api/v1/asyncapi.json", include_in_schema=False)
async def asyncapi(request: Request) -> Response:
    """Return the AsyncAPI description of the WebSocket."""
    return encoded_or_not_modified(request, _ASYNCAPI, _ASYNCAPI_STATE)


ROUTERS: Final = (
    # Before the executions by id, whose paths would fit.
    overview.router,
    starts.router,
    executions.router,
    execution_logs.router,
    jobs.router,
    approval_links.public,
    approval_links.router,
    signals.router,
    approvals.router,
    callbacks.router,
    hook_deliveries.router,
    hooks.router,
    # Before the flows by id, whose paths would fit.
    deployment.router,
    steps.router,
    events.router,
    retention.of_flows,
    flows.router,
    revisions.router,
    drafts.router,
    triggers.router,
    documents,
    health.router,
    sessions.public,
    sessions.router,
    sessions.renewing,
    command_logins.public,
    command_logins.router,
    sign_on.public,
    sign_on.browser,
    sign_on.router,
    sign_on.admin,
    second_factors.public,
    second_factors.router,
    second_factors.admin,
    tokens.router,
    logins.router,
    logins.preferences,
    retention.of_workspaces,
    workspaces.router,
    workspaces.admin,
    invitations.router,
    invitations.invited,
    invitations.public,
    password_resets.public,
    password_resets.admin,
    email_confirmations.router,
    accounts.admin,
    accounts.router,
    config.router,
    store.router,
    secrets.router,
    secrets.of_workspaces,
    keys.admin,
    pause.admin,
    system.router,
    audit.admin,
    audit.router,
    schemas.router,
    node_types.router,
    node_trials.router,
    mcp.router,
    web.router,
)


def build_app(
    state: AppState, live: Live, *, proxies: Proxies, hosts: Hosts, on_request: OnRequest, reads_traces: bool
) -> FastAPI:
    app = _Application(
        title="FlowRunner",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # The framework would otherwise check the environment for exporters on every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.flowrunner = state
    # The routes are copied, because a nested router would match every request twice.
    for router in ROUTERS:
        app.router.routes.extend(router.routes)
    app.router.routes.extend(live.routes())
    app.router.default = web.or_shell(app.router.not_found)
    add_error_handlers(app)
    app.router.middleware_stack = index = RouteIndex(app.router)
    app.middleware_stack = Edge(
        DirectRoutes(index, app.build_middleware_stack()),
        proxies=proxies,
        hosts=hosts,
        is_behind_tls=state.browser.is_secure,
        on_request=on_request,
        reads_traces=reads_traces,
    )
    return app


class _Application(FastAPI):
    """The framework's application, without its layers that have no work here.

    The edge answers crashes, and routes limit the bodies of their requests.
    """

    def build_middleware_stack(self) -> ASGIApp:
        return ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers=self.exception_handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"], scope[STATE] = self, self.state.flowrunner
        assert self.middleware_stack is not None, "built with the application"
        await self.middleware_stack(scope, receive, send)
