"""The services and settings that routes find on the application."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from flowrunner.api.browser import Browser
from flowrunner.api.event_feed import EventFeed
from flowrunner.api.http.assets import Asset
from flowrunner.api.manual import Manual
from flowrunner.api.open_streams import OpenStreams
from flowrunner.domain.account import Account, Caller
from flowrunner.fair_slots import FairSlots
from flowrunner.ports.clock import Clock
from flowrunner.ports.memory import BodyRoom
from flowrunner.services.account_locks import AccountLocks
from flowrunner.services.bundle import Services

T = TypeVar("T")

# Returns the reason why the server is not ready, or None if it is ready.
ReadinessCheck: TypeAlias = Callable[[], Awaitable[str | None]]


class SetUp(Protocol):
    async def run(self, *, token: str, name: str, email: str, password: str, address: str = "") -> Account:
        """Create the first admin. Raises: Unauthorized, Conflict, InvalidInput."""
        ...


class Once(Generic[T]):
    """A value that the first request makes and later ones share."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._value: T | None = None

    async def get(self, make: Callable[[], Awaitable[T]]) -> T:
        async with self._lock:
            if self._value is None:
                self._value = await make()
        return self._value


def hook_slots() -> FairSlots:
    """Return the slots of requests to webhook triggers that wait for a result; without one they do not wait."""
    return FairSlots(total=1000, share=250, sure=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """The services and settings of an application.

    Attributes:
        metrics: Returns the metrics and their content type, as OpenMetrics if the media type of that is given.
        metrics_token: The token that readers of the metrics need; None if any client may read them.
        refused: Called with the name of each limit that rejects a request.
        start_refused: Called with each request to start an execution that is refused because too many wait.
        body_room: The memory for long bodies of requests.
        message_room: The memory for long messages to the MCP server.
        hooks_waiting: Requests to webhook triggers that wait for a result.
        long_bodies: The locks of accounts whose long bodies are being parsed.
        openapi: The encoded OpenAPI document, and its digest.
        flow_schema: The encoded schema of flow documents, and its digest.
        node_types: The encoded descriptions of the node types, and their digest.
        web: The built files of the web interface, by path.
        mcp: Answers messages of the Model Context Protocol.
        manual: The documentation.
    """

    services: Services
    clock: Clock
    setup: SetUp
    readiness: ReadinessCheck
    metrics: Callable[[str], Awaitable[tuple[bytes, str]]]
    refused: Callable[[str], None]
    browser: Browser
    body_room: BodyRoom
    message_room: BodyRoom
    streams: OpenStreams
    feed: EventFeed
    start_refused: Callable[[Scope, Caller], None]
    metrics_token: str | None = field(default=None, repr=False)
    long_bodies: AccountLocks = field(default_factory=AccountLocks)
    hooks_waiting: FairSlots = field(default_factory=hook_slots)
    openapi: Once[tuple[bytes, str]] = field(default_factory=Once)
    flow_schema: Once[tuple[bytes, str]] = field(default_factory=Once)
    node_types: Once[tuple[bytes, str]] = field(default_factory=Once)
    web: Once[Mapping[str, Asset]] = field(default_factory=Once)
    mcp: Once[Callable[..., Awaitable[Response]]] = field(default_factory=Once)
    manual: Once[Manual] = field(default_factory=Once)


# Key in the ASGI scope: the state of the application. The framework's way to it is ten times as long.
STATE: Final = "flowrunner"


def state_of(connection: HTTPConnection) -> AppState:
    state: AppState = connection.scope[STATE]
    return state


def services_of(connection: HTTPConnection) -> Services:
    return state_of(connection).services


def now_of(connection: HTTPConnection) -> datetime:
    return state_of(connection).clock.now()
