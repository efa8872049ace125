"""Python client of FlowRunner: `Client` for synchronous programs, `AsyncClient` for asyncio."""

from typing import TYPE_CHECKING, Any

from flowrunner.client.answers import Answer
from flowrunner.client.calls import UNCHANGED, Page
from flowrunner.client.core import VERSION
from flowrunner.client.errors import (
    ApiError,
    ClientError,
    ConflictError,
    ForbiddenError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    ServerUnreachable,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnreadableAnswer,
    ValidationError,
)
from flowrunner.client.following import ExecutionFailed, StillRunning
from flowrunner.client.sync_client import Client, Run

if TYPE_CHECKING:
    from flowrunner.client.async_client import AsyncClient, AsyncRun

__version__ = VERSION
__all__ = [
    "UNCHANGED",
    "Answer",
    "ApiError",
    "AsyncClient",
    "AsyncRun",
    "Client",
    "ClientError",
    "ConflictError",
    "ExecutionFailed",
    "ForbiddenError",
    "InternalError",
    "InvalidRequestError",
    "NotFoundError",
    "Page",
    "PreconditionFailedError",
    "Run",
    "ServerUnreachable",
    "StillRunning",
    "TooManyRequestsError",
    "UnauthorizedError",
    "UnavailableError",
    "UnreadableAnswer",
    "ValidationError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # aiohttp takes a quarter of a second to load, and only asynchronous programs have it.
    if name in ("AsyncClient", "AsyncRun"):
        from flowrunner.client import async_client

        return getattr(async_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
