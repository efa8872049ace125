"""The HTTP client for all outgoing connections of flows."""

import asyncio
import re
import socket
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeAlias

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import ContentEncodingError

from flowrunner.domain.causes import DEPTH_HEADER
from flowrunner.domain.errors import quoted
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import WorkspaceId
from flowrunner.fair_slots import FairSlots
from flowrunner.plugin import LONG_BODY_BYTES, HttpAnswer, HttpClient, NodeFailure
from flowrunner.ports.http import RequestTracer, SentRequest
from flowrunner.security.bounded_answers import MAX_ANSWER_BYTES, BoundedResponseHandler, UnfitAnswer
from flowrunner.security.compressed_answers import IncompleteStream, require_whole_streams
from flowrunner.security.egress_policy import EgressForbidden, EgressPolicy
from flowrunner.security.kept_connections import KeptConnections, KeptResponse
from flowrunner.security.name_lookups import NameUnanswered, WorkspaceResolver, lookup_slots
from flowrunner.security.open_files import ATTEMPTS, PAUSE_SECONDS, causes_of, lacks_files
from flowrunner.security.parsing_budget import ParsingBudget

MAX_REDIRECTS: Final = 5
# Concurrent requests: of all workspaces, of one workspace at most, and guaranteed to each. Also the number of kept
# connections.
_REQUESTS: Final = 1024
_REQUESTS_OF_A_WORKSPACE: Final = 256
_SURE_REQUESTS: Final = 16
# The same for requests with a long body, which stays in memory until it is sent.
_LONG_REQUESTS: Final = 128
_LONG_REQUESTS_OF_A_WORKSPACE: Final = 48
_SURE_LONG_REQUESTS: Final = 2
# The same for long answers, from the time they are recognised as long until their result is recorded.
_LONG_ANSWERS: Final = 24
_LONG_ANSWERS_OF_A_WORKSPACE: Final = 6
_SURE_LONG_ANSWERS: Final = 1
# The same for their decoded values, in MiB: one may take thirty times the memory of its answer.
_DECODED: Final = 192
_DECODED_OF_A_WORKSPACE: Final = 48
_SURE_DECODED: Final = 16
_MIB: Final = 1024 * 1024
# Number of workspaces whose connections are kept.
_KEPT_CLIENTS: Final = 256
_CONNECT_SECONDS: Final = 10.0
_NOBODY: Final = WorkspaceId("")
_TRACEPARENT: Final = "traceparent"
_DEPTH: Final = DEPTH_HEADER.lower()
# Headers that every request has.
_OF_NO_NODE: Final = frozenset({"idempotency-key", _DEPTH})
_FORBIDDEN_HEADERS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"}
)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_IN_HEADER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_IN_URL: Final = re.compile(r"[\x00-\x20\x7f\\]")
# Where aiohttp begins to quote an answer, of which it shows a part.
_QUOTE: Final = re.compile(r"\s*:?\s*b['\"]")
_HEADERS: Final = {"User-Agent": "FlowRunner"}
_METHOD: Final = re.compile(r"[A-Za-z]{1,20}")
_ReadAnswer: TypeAlias = Callable[[aiohttp.ClientResponse | KeptResponse], Awaitable[HttpAnswer]]


class EgressClients:
    """The clients of all workspaces. Implements `ports.HttpClients`.

    Workspaces share no connections, DNS results or cookies, and each has its share of requests, of lookups and of the
    time for parsing answers.

    Args:
        processes: Processes that have such clients. Their requests together keep the limits of one.
    """

    def __init__(self, policy: EgressPolicy, tracer: RequestTracer | None = None, *, processes: int = 1) -> None:
        self.policy = policy
        self._tracer = tracer
        self._shares = _Shares(processes)
        self.lookups = self._shares.lookups
        # Ordered by last use, the oldest first.
        self._clients: OrderedDict[WorkspaceId, EgressClient] = OrderedDict()

    def of(self, workspace_id: WorkspaceId) -> "_WorkspaceClient":
        return _WorkspaceClient(self, workspace_id)

    def hold_long_value(self, workspace_id: WorkspaceId) -> AbstractAsyncContextManager[None]:
        return self._shares.long_answers.hold(workspace_id)

    def hold_memory(self, workspace_id: WorkspaceId, size: int) -> AbstractAsyncContextManager[None]:
        return self._shares.decoded.hold(workspace_id, 1 + size // _MIB)

    def hold(self, workspace_id: WorkspaceId, *, is_long: bool = False) -> AbstractAsyncContextManager["EgressClient"]:
        """Wait for a request slot of the workspace, and hold its client."""
        return self._hold_long(workspace_id) if is_long else _HeldClient(self, workspace_id)

    @asynccontextmanager
    async def _hold_long(self, workspace_id: WorkspaceId) -> AsyncIterator["EgressClient"]:
        # Before the request slot, so that none is held while waiting for a long-body slot.
        async with self._shares.long_requests.hold(workspace_id), _HeldClient(self, workspace_id) as held:
            yield held

    async def take(self, workspace_id: WorkspaceId) -> "EgressClient":
        """Wait for a request slot of the workspace, and return its client. `give_back` must return the slot."""
        if not self._shares.requests.take_at_once(workspace_id):
            await self._shares.requests.take(workspace_id)
        client = self._clients.get(workspace_id)
        if client is None:
            client = self._clients[workspace_id] = EgressClient(self.policy, self._shares, workspace_id, self._tracer)
        self._clients.move_to_end(workspace_id)
        return client

    async def give_back(self, workspace_id: WorkspaceId) -> None:
        self._shares.requests.give_back(workspace_id)
        if len(self._clients) > _KEPT_CLIENTS:
            await self._drop_one()

    async def close(self) -> None:
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()

    async def _drop_one(self) -> None:
        unused = (id for id in self._clients if not self._shares.requests.held(id))
        if (workspace_id := next(unused, None)) is not None:
            await self._clients.pop(workspace_id).close()


class _HeldClient:
    """A request slot of a workspace with its client. A generator would take three times as long."""

    __slots__ = ("_clients", "_workspace_id")

    def __init__(self, clients: EgressClients, workspace_id: WorkspaceId) -> None:
        self._clients = clients
        self._workspace_id = workspace_id

    async def __aenter__(self) -> "EgressClient":
        return await self._clients.take(self._workspace_id)

    async def __aexit__(self, *exc: object) -> None:
        await self._clients.give_back(self._workspace_id)


@static_dataclass(frozen=True, slots=True)
class _WorkspaceClient:
    """Implements `plugin.HttpClient` for the nodes of one workspace."""

    clients: EgressClients
    workspace_id: WorkspaceId

    def hold(self, *, is_long: bool = False) -> AbstractAsyncContextManager[HttpClient]:
        return self.clients.hold(self.workspace_id, is_long=is_long)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        max_redirects: int = 0,
        on_long: Callable[[], Awaitable[None]] | None = None,
    ) -> HttpAnswer:
        async with self.hold(is_long=body is not None and len(body) > LONG_BODY_BYTES) as client:
            return await client.request(
                method, url, headers=headers, body=body, max_redirects=max_redirects, on_long=on_long
            )


class _Shares:
    """The limits that the clients of all workspaces share."""

    def __init__(self, processes: int = 1) -> None:
        slots = partial(FairSlots.of_process, processes)
        self.most_connections = max(_REQUESTS // processes, 1)
        self.most_of_a_workspace = max(_REQUESTS_OF_A_WORKSPACE // processes, 1)
        self.requests = slots(total=_REQUESTS, share=_REQUESTS_OF_A_WORKSPACE, sure=_SURE_REQUESTS)
        self.long_requests = slots(total=_LONG_REQUESTS, share=_LONG_REQUESTS_OF_A_WORKSPACE, sure=_SURE_LONG_REQUESTS)
        self.long_answers = slots(total=_LONG_ANSWERS, share=_LONG_ANSWERS_OF_A_WORKSPACE, sure=_SURE_LONG_ANSWERS)
        self.decoded = slots(total=_DECODED, share=_DECODED_OF_A_WORKSPACE, sure=_SURE_DECODED)
        self.lookups = lookup_slots(processes)
        self.parsing = ParsingBudget()
        self.open_connections = 0


class EgressClient:
    """The client for the nodes of one workspace. Implements `plugin.HttpClient`.

    Every address is checked when the socket is created, so unusual spellings, redirects and a second DNS answer
    cannot bypass the check.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        shares: _Shares | None = None,
        workspace_id: WorkspaceId = _NOBODY,
        tracer: RequestTracer | None = None,
    ) -> None:
        self._policy = policy
        self._workspace_id = workspace_id
        self._tracer = tracer
        self._shares = shares or _Shares()
        self._open_connections = 0
        connector = aiohttp.TCPConnector(
            resolver=WorkspaceResolver(policy, self._shares.lookups, workspace_id),
            socket_factory=self._socket,
            # `FairSlots` limits the requests instead.
            limit=0,
            ttl_dns_cache=5,
        )
        # aiohttp has no public option for the response handler. Without this one, no limit would be enforced.
        assert connector._factory.func is ResponseHandler
        answers: Any = partial(
            BoundedResponseHandler,
            budget=self._shares.parsing,
            workspace_id=workspace_id,
            on_change=self._count,
            is_crowded=self._is_crowded,
        )
        connector._factory = partial(answers, loop=connector._loop)
        self._kept = KeptConnections(connector, _HEADERS)
        require_whole_streams()
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            trust_env=False,
            headers=_HEADERS,
        )

    def _socket(self, address_info: Any) -> socket.socket:
        family, kind, protocol, _, address = address_info
        self._policy.check(address[0], address[1])
        return socket.socket(family=family, type=kind, proto=protocol)

    def _count(self, change: int) -> None:
        self._open_connections += change
        self._shares.open_connections += change

    def _is_crowded(self) -> bool:
        shares = self._shares
        return self._open_connections > shares.most_of_a_workspace or shares.open_connections > shares.most_connections

    def hold(self, *, is_long: bool = False) -> AbstractAsyncContextManager[HttpClient]:
        return nullcontext(self)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        max_redirects: int = 0,
        on_long: Callable[[], Awaitable[None]] | None = None,
    ) -> HttpAnswer:
        _check_request(method, headers)
        method = method.upper()
        target, sent = _parse_url(url), dict(headers)
        # Messages show the address as written, because redaction finds a secret in it only in that form.
        shown, redirects, is_stripped = url, 0, False
        while True:
            send = self._once if self._tracer is None else self._traced
            read = partial(_answer_of, shown=shown, redirects=redirects, on_long=on_long)
            answer = await send(method, target, sent, body, read, shown=shown)
            if is_stripped:
                answer = replace(answer, is_stripped=True)
            location = answer.headers.get("location")
            if answer.status not in (301, 302, 303, 307, 308) or location is None or max_redirects == 0:
                return answer
            if redirects >= max_redirects:
                raise NodeFailure("http.redirects", f"More than {max_redirects} redirects, the last to {location}")
            redirects += 1
            following = _parse_url(location, base=target)
            if (answer.status == 303 and method != "HEAD") or (answer.status in (301, 302) and method == "POST"):
                method, body = "GET", None
                sent = {k: v for k, v in sent.items() if not k.lower().startswith("content-")}
            if following.origin() != target.origin():
                # Any header may contain a credential, because flows choose their names.
                is_stripped = is_stripped or body is not None or any(k.lower() not in _OF_NO_NODE for k in sent)
                sent, body = {k: v for k, v in sent.items() if k.lower() == _DEPTH}, None
            target, shown = following, location if yarl.URL(location).absolute else str(following)

    async def _traced(
        self,
        method: str,
        url: yarl.URL,
        headers: Mapping[str, str],
        body: bytes | None,
        read: _ReadAnswer,
        *,
        shown: str,
    ) -> HttpAnswer:
        """Send a request once, as a part of the trace that the step belongs to."""
        tracer = self._tracer
        assert tracer is not None, "checked by the caller"
        now = datetime.now(UTC)
        request = SentRequest(
            workspace_id=self._workspace_id,
            method=method,
            host=url.host or "",
            port=url.port or 0,
            began_at=now,
            ended_at=now,
        )
        traceparent = tracer.begin(request)
        if traceparent is not None and not any(name.lower() == _TRACEPARENT for name in headers):
            headers = {**headers, _TRACEPARENT: traceparent}
        try:
            answer = await self._once(method, url, headers, body, read, shown=shown)
            request.status = answer.status
            return answer
        except NodeFailure as error:
            request.error_type = error.type
            raise
        except BaseException as error:
            # A cancellation, such as by the step's timeout, is recorded too.
            request.error_type = type(error).__name__
            raise
        finally:
            request.ended_at = datetime.now(UTC)
            await tracer.end(request)

    async def _once(
        self,
        method: str,
        url: yarl.URL,
        headers: Mapping[str, str],
        body: bytes | None,
        read: _ReadAnswer,
        *,
        shown: str,
    ) -> HttpAnswer:
        await self._policy.prepare(url.port)
        attempts = 0
        while True:
            try:
                answer = await self._kept.request(method, url, headers, body, read)
                if answer is not None:
                    return answer
                async with self._session.request(
                    method, url, headers=headers, data=body, allow_redirects=False
                ) as response:
                    return await read(response)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                # Nothing was sent, and the lack passes as other requests end.
                attempts += 1
                is_begun = not isinstance(error, aiohttp.ClientConnectorError)
                if attempts == ATTEMPTS or is_begun or not lacks_files(error):
                    # aiohttp raises ValueError for values that it cannot send.
                    raise _as_failure(error, shown) from error
            await asyncio.sleep(PAUSE_SECONDS)

    async def close(self) -> None:
        await self._session.close()


async def _answer_of(
    response: aiohttp.ClientResponse | KeptResponse,
    *,
    shown: str,
    redirects: int,
    on_long: Callable[[], Awaitable[None]] | None,
) -> HttpAnswer:
    return HttpAnswer(
        status=response.status,
        headers=_joined(response.headers.items()),
        body=await _read(response, shown, on_long),
        url=shown,
        redirects=redirects,
    )


def _joined(headers: Any) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, given in headers:
        key, value = name.lower(), _text_of(given)
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


# A byte that is no UTF-8, as aiohttp reads it, and the character that it has in ISO 8859-1 (RFC 9110, 5.5).
_NO_UTF8: Final = {0xDC00 + byte: chr(byte) for byte in range(0x80, 0x100)}


def _text_of(value: str) -> str:
    """Return the value of a header that aiohttp has read as UTF-8, with bytes that are none read by themselves."""
    return value if value.isascii() else value.translate(_NO_UTF8)


async def _read(
    response: aiohttp.ClientResponse | KeptResponse, shown: str, on_long: Callable[[], Awaitable[None]] | None
) -> bytes:
    """Read the decoded body, up to the limit."""
    content = response.content
    if content.is_eof() and content.total_bytes <= LONG_BODY_BYTES:
        return content.read_nowait()
    chunks, size = [], 0
    async for chunk in content.iter_any():
        size += len(chunk)
        if size > LONG_BODY_BYTES and on_long is not None:
            await on_long()
            on_long = None
        if size > MAX_ANSWER_BYTES:
            # The body was not read to its end, so the connection cannot be reused.
            response.close()
            raise NodeFailure(
                "http.too_large",
                f"The answer of {shown} has more than {MAX_ANSWER_BYTES:,} bytes: ask for a part of it",
                data={"status_code": response.status},
            )
        chunks.append(chunk)
    return b"".join(chunks)


def _check_request(method: str, headers: Mapping[str, str]) -> None:
    if not _METHOD.fullmatch(method):
        raise NodeFailure("http.invalid_request", f"{quoted(method)} is not an HTTP method")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise NodeFailure("http.invalid_request", f"{quoted(name)} is not a header name")
        if name.lower() in _FORBIDDEN_HEADERS:
            raise NodeFailure("http.invalid_request", f"The header '{name}' is set by FlowRunner itself")
        if _BAD_IN_HEADER.search(value):
            raise NodeFailure("http.invalid_request", f"The value of the header '{name}' contains control characters")


def _parse_url(text: str, *, base: yarl.URL | None = None) -> yarl.URL:
    """Parse a URL with the client's own parser, so that check and request cannot disagree."""
    if _BAD_IN_URL.search(text):
        raise NodeFailure(
            "http.invalid_request", "The URL contains spaces, backslashes or control characters: encode them"
        )
    try:
        url = yarl.URL(text)
        url = url if base is None else base.join(url)
        # The host is decoded when it is read, which fails for a label such as `xn--`.
        port, host = url.port, url.host
    except (ValueError, TypeError) as error:
        raise NodeFailure("http.invalid_request", f"The URL cannot be read: {error}") from None
    if url.scheme not in ("http", "https") or not host or port == 0:
        raise NodeFailure("http.invalid_request", "The URL must start with http:// or https:// and contain a host")
    return url


def _as_failure(error: Exception, shown: str) -> NodeFailure:
    for cause in causes_of(error):
        if isinstance(cause, EgressForbidden):
            return NodeFailure("egress.forbidden", f"{cause.who} may not connect to {shown}: {cause}")
        if isinstance(cause, NameUnanswered):
            return NodeFailure("connection.dns", f"The name of the host cannot be resolved: {shown}: {cause}")
        if isinstance(cause, IncompleteStream):
            return NodeFailure("http.invalid_answer", f"The answer of {shown} ends before its compressed data does")
        if isinstance(cause, UnfitAnswer):
            return NodeFailure(cause.type, f"The answer of {shown} cannot be read: {cause.reason}")
    match error:
        case aiohttp.ClientConnectorDNSError() | aiohttp.InvalidURL():
            return NodeFailure("connection.dns", f"The name of the host cannot be resolved: {shown}")
        case aiohttp.ClientConnectorCertificateError():
            return NodeFailure(
                "connection.tls", f"No trusted TLS connection to {shown}: {_reason(error.certificate_error)}"
            )
        case aiohttp.ClientConnectorSSLError():
            return NodeFailure("connection.tls", f"No trusted TLS connection to {shown}: {_reason(error.os_error)}")
        case aiohttp.ClientSSLError():
            return NodeFailure("connection.tls", f"No trusted TLS connection to {shown}: {_reason(error)}")
        case aiohttp.ConnectionTimeoutError() | aiohttp.ServerTimeoutError() | TimeoutError():
            return NodeFailure("timeout", f"{shown} did not answer in time")
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return NodeFailure("connection.refused", f"The connection was refused: {shown}")
        case aiohttp.ClientConnectorError():
            return NodeFailure("connection.failed", f"Cannot connect to {shown}: {_reason(error.os_error)}")
        case aiohttp.ClientPayloadError() if isinstance(error.__cause__, ContentEncodingError):
            return NodeFailure("http.invalid_answer", f"The answer of {shown} is not compressed as its head says")
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError() | OSError():
            return NodeFailure("connection.lost", f"The connection ended before the answer was complete: {shown}")
        case aiohttp.ClientResponseError():
            # Nothing is quoted, because no part of a secret is found in it.
            reason = " ".join(_QUOTE.split(error.message, maxsplit=1)[0].split())
            return NodeFailure("http.invalid_answer", f"The answer of {shown} is not valid HTTP: {reason}")
        case _:
            return NodeFailure("http.invalid_request", f"The request cannot be sent: {_reason(error)}")


def _reason(error: BaseException) -> str:
    # The name of a file of this machine, such as of one that cannot be opened for lack of files, is nobody's business.
    text = error.strerror if isinstance(error, OSError) and error.filename is not None else str(error)
    return str(text).replace("\n", " ") or type(error).__name__
