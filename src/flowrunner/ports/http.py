"""HTTP clients of nodes."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.traces import TraceContext
from flowrunner.domain.values import WorkspaceId
from flowrunner.plugin import HttpClient


class HttpClients(Protocol):
    """An HTTP client for each workspace, with a share of the common resources."""

    def of(self, workspace_id: WorkspaceId) -> HttpClient: ...

    def hold_long_value(self, workspace_id: WorkspaceId) -> AbstractAsyncContextManager[None]:
        """Hold one of the workspace's slots for a long response until its result is recorded."""
        ...

    def hold_memory(self, workspace_id: WorkspaceId, size: int) -> AbstractAsyncContextManager[None]:
        """Hold the bytes for the value of a long response, as long as the slot."""
        ...


@dataclass(slots=True, kw_only=True)
class SentRequest:
    """An outgoing request, for its trace.

    Attributes:
        status: The status of the answer; None if there is no answer.
        error_type: The type of the error; None if there is none.
        context: Its span, if it belongs to a trace.
    """

    workspace_id: WorkspaceId
    method: str
    host: str
    port: int
    began_at: datetime
    ended_at: datetime
    status: int | None = None
    error_type: str | None = None
    context: TraceContext | None = None


class RequestTracer(Protocol):
    """The traces of outgoing requests."""

    def begin(self, request: SentRequest) -> str | None:
        """Return the `traceparent` header to send; None to send none."""
        ...

    async def end(self, request: SentRequest) -> None:
        """Record the end of a request."""
        ...
