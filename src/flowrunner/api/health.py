"""Health, readiness and metrics of the server."""

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from flowrunner.api.http.answers import Health, Reply, answer, errors
from flowrunner.api.http.routing import ProbeRoute
from flowrunner.api.http.state import services_of, state_of
from flowrunner.domain.errors import Unavailable

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
    """Return the metrics of this process. They contain no names and no values of users."""
    return Response(state_of(request).metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
