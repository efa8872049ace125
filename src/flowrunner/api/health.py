"""Health, readiness and metrics of the server."""

from hmac import compare_digest
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from flowrunner.api.http.answers import Health, Reply, answer, errors
from flowrunner.api.http.negotiation import takes
from flowrunner.api.http.routing import ProbeRoute
from flowrunner.api.http.state import services_of, state_of
from flowrunner.domain.errors import Unavailable, UnknownMetricsReader

_OPENMETRICS: Final = "application/openmetrics-text"

router = APIRouter(tags=["Operation"], route_class=ProbeRoute)


@router.get("/healthz", responses=errors(is_limited=False))
async def healthz(request: Request) -> Reply[Health]:
    """Report that the process is alive."""
    return answer(Health(status="ok"))


@router.get("/readyz", responses=errors(is_limited=False))
async def readyz(request: Request) -> Reply[Health]:
    """Report that the server is ready: the database answers and the engine is active.

    The status of a ready server is `paused` while the installation starts no executions.
    """
    problem = await state_of(request).readiness()
    if problem is not None:
        raise Unavailable(f"The server is not ready: {problem}")
    is_paused = await services_of(request).pause.began_at() is not None
    return answer(Health(status="paused" if is_paused else "ready"))


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"description": "Metrics for Prometheus"}, **errors(is_limited=False)},
)
async def metrics(request: Request) -> Response:
    """Return the metrics of this process.

    If the server has a `metrics_token`, the request needs it as a bearer token, and the metrics contain the names of
    the flows that run most. Otherwise they contain no names and no values of users.
    """
    state = state_of(request)
    if state.metrics_token is not None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not compare_digest(token.strip().encode(), state.metrics_token.encode()):
            raise UnknownMetricsReader("The metrics need the token of the setting metrics_token as a bearer token")
    is_open = takes(request.headers.get("accept", ""), _OPENMETRICS)
    text, content_type = await state.metrics(_OPENMETRICS if is_open else "")
    # The framework would add another charset.
    return Response(text, headers={"Content-Type": content_type})
