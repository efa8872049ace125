"""Python client of FlowRunner: `Client` for synchronous programs, `AsyncClient` for asyncio."""

from typing import Final

from flowrunner.client.answers import Answer
from flowrunner.client.client import Client, Run
from flowrunner.client.errors import (
    ApiError,
    ClientError,
    ConflictError,
    ExecutionFailed,
    ForbiddenError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    ServerUnreachable,
    StillRunning,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnreadableAnswer,
    ValidationError,
)

__version__: Final = "0.1.0"
__all__ = [
    "Answer",
    "ApiError",
    "Client",
    "ClientError",
    "ConflictError",
    "ExecutionFailed",
    "ForbiddenError",
    "InternalError",
    "InvalidRequestError",
    "NotFoundError",
    "PreconditionFailedError",
    "Run",
    "ServerUnreachable",
    "StillRunning",
    "TooManyRequestsError",
    "UnauthorizedError",
    "UnavailableError",
    "UnreadableAnswer",
    "ValidationError",
]
