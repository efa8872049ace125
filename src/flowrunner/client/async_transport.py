"""Connections of the asynchronous client, with aiohttp."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from yarl import URL

from flowrunner.client.answers import Answer
from flowrunner.client.errors import ClientError, ServerUnreachable, UnreadableAnswer, reason_of
from flowrunner.client.requests import Origin, Request

_CHUNK_BYTES = 256 * 1024
# Of requests; further ones wait for one of them. Streams, each of which keeps its connection to its end, have no limit.
_MOST_CONNECTIONS = 100


@dataclass(slots=True)
class _Attempt:
    """An attempt to send a request. Attributes: has_begun: It has a connection, and may have sent something."""

    has_begun: bool = False


class AsyncTransport:
    """Connections to one origin, which are kept open until `close`. They belong to the event loop of the first request.

    Args:
        connect_seconds: How long it may take to connect for a stream.
    """

    def __init__(self, origin: Origin, *, connect_seconds: float, ca_file: str | None) -> None:
        self._origin = origin
        # aiohttp names a host to the server as it is written here.
        self._url = str(replace(origin, host=origin.host.encode("idna").decode()))
        self._connect_seconds = connect_seconds
        self._context = ssl.create_default_context(cafile=ca_file) if origin.is_secure else None
        # That of streams, and that of other requests.
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._responses: set[aiohttp.ClientResponse] = set()

    async def send(self, request: Request, *, seconds: float, size: int) -> Answer:
        """Send a request once, and return its answer.

        Args:
            seconds: How long it may take.
            size: Bytes that the body may have.

        Raises:
            ServerUnreachable, UnreadableAnswer
        """
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self._exchange(request, timeout, is_stream=False) as (answer, chunks):
            found, read = [], 0
            async for chunk in chunks:
                read += len(chunk)
                if read > size:
                    raise UnreadableAnswer(f"The answer has more than {size} bytes")
                found.append(chunk)
        return Answer(status=answer.status, headers=answer.headers, body=b"".join(found))

    @asynccontextmanager
    async def stream(
        self, request: Request, *, silent_seconds: float
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        """Send a request once; give its answer without the body, and the chunks of that as they arrive.

        Args:
            silent_seconds: How long nothing may arrive.

        Raises: ServerUnreachable. So do the chunks.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_seconds, sock_read=silent_seconds)
        async with self._exchange(request, timeout, is_stream=True) as (answer, chunks):
            yield answer, chunks

    async def close(self) -> None:
        """Close all connections. Requests that are under way end with a ClientError, and are not repeated."""
        sessions, self._sessions = self._sessions, {}
        responses, self._responses = self._responses, set()
        for session in sessions.values():
            await session.close()
        for response in responses:
            # Otherwise aiohttp would leave its reader waiting.
            response.close()

    @asynccontextmanager
    async def _exchange(
        self, request: Request, timeout: aiohttp.ClientTimeout, *, is_stream: bool
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        url, session = URL(f"{self._url}{request.target}", encoded=True), self._opened(is_stream=is_stream)
        attempt = _Attempt()
        with self._errors_of(session, attempt):
            response = await session.request(
                request.method, url, data=request.body, headers=request.headers, timeout=timeout, allow_redirects=False,
                trace_request_ctx=attempt,
            )  # fmt: skip
        async with response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            answer = Answer(status=response.status, headers=headers, body=b"")
            self._responses.add(response)
            try:
                yield answer, self._chunks(response, session, attempt)
            finally:
                self._responses.discard(response)

    async def _chunks(
        self, response: aiohttp.ClientResponse, session: aiohttp.ClientSession, attempt: _Attempt
    ) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises: ServerUnreachable: It is cut off."""
        while True:
            # Only around the reads: an error of the caller is none of the connection.
            with self._errors_of(session, attempt):
                try:
                    chunk = await response.content.read(_CHUNK_BYTES)
                except RuntimeError as error:
                    # aiohttp's word for a read that begins while the connection is being closed.
                    raise aiohttp.ClientConnectionError(str(error)) from None
            if not chunk:
                return
            yield chunk

    @contextmanager
    def _errors_of(self, session: aiohttp.ClientSession, attempt: _Attempt) -> Iterator[None]:
        try:
            yield
        except (ServerUnreachable, aiohttp.ClientError, TimeoutError, OSError) as error:
            if session.closed:
                # Another attempt would open connections that nobody closes.
                raise ClientError(f"{self._origin} gave no answer: this client was closed meanwhile") from None
            if isinstance(error, TimeoutError) and not attempt.has_begun:
                raise self._not_connected(error) from None
            raise self._unreachable(error) from None

    def _opened(self, *, is_stream: bool) -> aiohttp.ClientSession:
        """Raises: RuntimeError in another event loop than before, where the connections would not work."""
        loop = asyncio.get_running_loop()
        if self._sessions and self._loop is not loop:
            raise RuntimeError(
                "This AsyncClient has connections of another event loop: close it there first, as `async with` does, "
                "or make one for each event loop"
            )
        self._loop = loop
        if is_stream not in self._sessions:
            tracing = aiohttp.TraceConfig()
            tracing.on_request_headers_sent.append(_note_beginning)
            self._sessions[is_stream] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._context or True, limit=0 if is_stream else _MOST_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                middlewares=(self._attempt_once,),
                trace_configs=[tracing],
                headers={"Accept-Encoding": "identity"},
            )
        return self._sessions[is_stream]

    async def _attempt_once(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # aiohttp repeats some requests by itself, unless the error is none of its own.
        try:
            return await handler(request)
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: BaseException) -> ServerUnreachable:
        if isinstance(error, ServerUnreachable):
            return error
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            # aiohttp wraps the error that has the reason.
            return self._not_connected(getattr(error, "os_error", error))
        return ServerUnreachable(f"{self._origin} gave no answer: {reason_of(error)}", was_sent=True)

    def _not_connected(self, error: BaseException) -> ServerUnreachable:
        return ServerUnreachable(f"Cannot connect to {self._origin}: {reason_of(error)}", was_sent=False)


async def _note_beginning(
    session: aiohttp.ClientSession, context: Any, sent: aiohttp.TraceRequestHeadersSentParams
) -> None:
    # aiohttp calls this before it writes.
    context.trace_request_ctx.has_begun = True
