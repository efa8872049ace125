"""Health, readiness and metrics of the server."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from flowrunner.api.http.answers import Answer, answer, errors
from flowrunner.api.http.routing import ProbeRoute
from flowrunner.domain.errors import Unavailable

router = APIRouter(tags=["Operation"], route_class=ProbeRoute)

# Returns the reason why the server is not ready, or None if it is ready.
Readiness = Callable[[], Awaitable[str | None]]


class Health(Answer):
    status: str


@router.get("/healthz", response_model=Health, responses=errors(is_limited=False))
async def healthz(request: Request) -> Response:
    """Report that the process is alive."""
    return answer({"status": "ok"})


@router.get("/readyz", response_model=Health, responses=errors(is_limited=False))
async def readyz(request: Request) -> Response:
    """Report that the server is ready: the database answers and the engine is active."""
    problem = await request.app.state.readiness()
    if problem is not None:
        raise Unavailable(f"The server is not ready: {problem}")
    return answer({"status": "ready"})


@router.get("/metrics", response_class=PlainTextResponse, responses={200: {"description": "Metrics for Prometheus"}})
async def metrics(request: Request) -> Response:
    """Return the metrics of this process. They contain no names and no values of users."""
    text: bytes = request.app.state.metrics()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
