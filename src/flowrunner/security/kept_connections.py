"""Requests on connections that an earlier request has left open.

aiohttp opens, checks and keeps the connections, and parses the answers. A request on a kept one needs no more of it,
which takes half of the time of a request of aiohttp's own.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import aiohttp
import yarl
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy

T = TypeVar("T")

# A longer body is sent by aiohttp, which waits for the receiver.
_LONGEST_BODY: Final = 64 * 1024
# Methods without a body, to which aiohttp adds no headers about one.
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# RFC 9110, 9.2.2: the request of one may be repeated if the connection was closed meanwhile.
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_BUFFER_BYTES: Final = 64 * 1024


class KeptResponse(NamedTuple):
    """The head of an answer, and the stream of its body. Has what callers read of `aiohttp.ClientResponse`."""

    status: int
    headers: "CIMultiDictProxy[str]"
    content: aiohttp.StreamReader
    connection: Any

    def close(self) -> None:
        self.connection.close()


class KeptConnections:
    """The open connections of a connector.

    Args:
        headers: Added to each request that does not have them.
    """

    def __init__(self, connector: aiohttp.TCPConnector, headers: Mapping[str, str]) -> None:
        self._connector = connector
        self._added = _lines([*ClientRequest.DEFAULT_HEADERS.items(), *headers.items()])

    async def request(
        self,
        method: str,
        url: yarl.URL,
        headers: Mapping[str, str],
        body: bytes | None,
        read: Callable[[KeptResponse], Awaitable[T]],
    ) -> T | None:
        """Send a request on a kept connection and read its answer; return None if aiohttp has to send it.

        Raises:
            aiohttp.ClientError, OSError.
            ValueError: A header cannot be sent.
            Exceptions of ``read``.
        """
        if not _is_simple(method, url, body):
            return None
        sent = self._written(method, url, headers, body)
        # aiohttp has no public way to a kept connection. If its keys change, none is found.
        connection: Any = await self._connector._get(_key_of(url), [])
        if connection is None:
            return None
        try:
            answer = await _answer(connection, method, url, sent)
            result = None if answer is None else await read(answer)
        except BaseException:
            connection.close()
            raise
        # Closes the connection unless the answer has been read to its end.
        connection.release()
        return result

    def _written(self, method: str, url: yarl.URL, headers: Mapping[str, str], body: bytes | None) -> bytes:
        """Return the bytes of a request. Its method and headers were checked."""
        first = f"{method} {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n"
        lines = {**self._added, **_lines(headers.items())}
        if body is None:
            return "".join((first, *lines.values(), "\r\n")).encode()
        lines.setdefault("content-type", "Content-Type: application/octet-stream\r\n")
        lines["content-length"] = f"Content-Length: {len(body)}\r\n"
        return "".join((first, *lines.values(), "\r\n")).encode() + body


def _lines(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the lines by their names in lower case: of two that differ in case, aiohttp sends the last one."""
    return {name.lower(): f"{name}: {value}\r\n" for name, value in headers}


async def _answer(connection: Any, method: str, url: yarl.URL, sent: bytes) -> KeptResponse | None:
    """Send a request and return the head of its answer; None if it may be sent again."""
    protocol = connection.protocol
    protocol.set_response_params(skip_payload=method == "HEAD", read_until_eof=True, read_bufsize=_BUFFER_BYTES)
    try:
        connection.transport.write(sent)
        message, payload = await protocol.read()
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        if method not in _IDEMPOTENT:
            raise
        return None
    except HttpProcessingError as error:
        request = aiohttp.RequestInfo(url, method, CIMultiDictProxy(CIMultiDict()), url)
        raise aiohttp.ClientResponseError(request, (), status=error.code, message=error.message) from error
    return KeptResponse(message.code, message.headers, payload, connection)


def _is_simple(method: str, url: yarl.URL, body: bytes | None) -> bool:
    if url.raw_user is not None or url.raw_password is not None:
        return False
    return method in _WITHOUT_BODY if body is None else len(body) <= _LONGEST_BODY


def _key_of(url: yarl.URL) -> ConnectionKey:
    return ConnectionKey(url.raw_host or "", url.port, url.scheme == "https", True, None, None, None)
