"""Requests to the REST API from within the server.

A tool does what routes do, so it sends them a request: with the caller's own token, the rights and limits of the route,
and its checks of what is sent. Only the network is missing.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from fastapi import Request
from starlette.types import Message, Scope

from flowrunner.api.http.authentication import SURFACE
from flowrunner.api.mcp.errors import ToolError, error_of
from flowrunner.bounded_json import decode_json
from flowrunner.threads import on_thread_if

API: Final = "/api/v1"
# An answer is cut off here, and is an error then.
_MOST_BYTES: Final = 8 * 1024 * 1024
# A part of a path. What a client gives as an id must not name another route.
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
# The caller is authenticated again with each request, by these.
_PASSED_ON: Final = frozenset({b"host", b"authorization"})


@dataclass(frozen=True, slots=True)
class InnerAnswer:
    headers: Mapping[str, str]
    body: bytes

    async def json(self) -> Any:
        return await on_thread_if(len(self.body), decode_json, self.body)


class InnerRequests:
    """Sends requests to the routes of the application that a request has reached.

    Args:
        outer: The request that the client has sent.
        gone: Set when the client has disconnected: requests that wait for something end then.
    """

    def __init__(self, outer: Request, gone: asyncio.Event) -> None:
        self._outer = outer
        self._gone = gone

    async def get(self, *path: str, **query: Any) -> Any:
        return await (await self.send("GET", *path, query=query)).json()

    async def post(self, *path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        return await (await self.send("POST", *path, body=body, headers=headers)).json()

    async def send(
        self,
        method: str,
        *path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> InnerAnswer:
        """Send a request, and return the answer.

        Args:
            path: The parts of the path below `/api/v1`.
            query: A parameter that is None is left out.

        Raises: ToolError for an answer that is an error.
        """
        if not all(_SEGMENT.fullmatch(part) for part in path):
            raise ToolError("not_found", "There is no such object", "an id has letters, digits, _ and - only")
        content = b"" if body is None else msgspec.json.encode(body)
        scope = self._scope(method, path, query or {}, headers or {}, has_body=body is not None)
        is_sent, chunks, size, start = False, list[bytes](), 0, dict[str, Any]()

        async def receive() -> Message:
            nonlocal is_sent
            if is_sent:
                await self._gone.wait()
                return {"type": "http.disconnect"}
            is_sent = True
            return {"type": "http.request", "body": content, "more_body": False}

        async def collect(message: Message) -> None:
            nonlocal size
            if message["type"] == "http.response.start":
                start.update(message)
                return
            chunk = message.get("body", b"")
            size += len(chunk)
            if size <= _MOST_BYTES:
                chunks.append(chunk)

        await self._outer.app(scope, receive, collect)
        found = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
        if start["status"] >= 400:
            raise error_of(b"".join(chunks), found)
        if size > _MOST_BYTES:
            hint = "ask for less: another view, a filter, or a shorter page"
            raise ToolError("too_large", f"The answer has more than {_MOST_BYTES} bytes", hint)
        return InnerAnswer(found, b"".join(chunks))

    def _scope(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        *,
        has_body: bool,
    ) -> Scope:
        outer, address = self._outer.scope, "/".join((API, *path))
        sent = [(name, value) for name, value in outer["headers"] if name in _PASSED_ON]
        sent.append((b"x-request-id", outer["request_id"].encode()))
        if has_body:
            sent.append((b"content-type", b"application/json"))
        sent += [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        present = {name: _text_of(value) for name, value in query.items() if value is not None}
        return {
            **{
                key: outer[key]
                for key in ("type", "asgi", "http_version", "scheme", "client", "server")
                if key in outer
            },
            "method": method,
            "path": address,
            "raw_path": address.encode(),
            "root_path": "",
            "query_string": urlencode(present).encode(),
            "headers": sent,
            "state": {},
            SURFACE: outer[SURFACE],
        }


def _text_of(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
