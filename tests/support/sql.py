"""The node type `sql` as tests run it, and servers that only look like PostgreSQL."""

import socket
import struct
from collections.abc import Sequence
from typing import Any, cast

import pytest

from flowrunner.domain.values import WorkspaceId
from flowrunner.nodes.sql import Sql
from flowrunner.plugin import NodeFailure
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.security.egress_sql import EgressSqlClients
from flowrunner.security.name_lookups import lookup_slots
from support.contexts import PlainContext
from support.databases import MARA
from support.networks import LOOPBACK

LOGIN_OK = b"R" + struct.pack("!II", 8, 0)
READY = b"Z" + struct.pack("!I", 5) + b"T"


class Querier:
    """Runs queries of one workspace against one database."""

    def __init__(self, url: str, policy: EgressPolicy | None = None) -> None:
        self.url = url
        self.clients = EgressSqlClients(policy or EgressPolicy([LOOPBACK]), lookup_slots())
        self.context = PlainContext(http=cast("Any", None), sql=self.clients.of(WorkspaceId(MARA)))
        self.type = Sql()

    async def run(self, query: str | None = None, **params: Any) -> Any:
        given = {"url": self.url, **({} if query is None else {"query": query}), **params}
        return await self.type.run(self.type.read(given), self.context)

    async def rows(self, query: str, *args: Any) -> Any:
        return (await self.run(query, args=list(args)))["rows"]

    async def value(self, query: str, *args: Any) -> Any:
        """Return the only value of the only row."""
        (row,) = await self.rows(query, *args)
        (value,) = row.values()
        return value

    async def fail(self, query: str | None = None, **params: Any) -> NodeFailure:
        with pytest.raises(NodeFailure) as raised:
            await self.run(query, **params)
        return raised.value


def url_for(url: str, **changes: str) -> str:
    """Return the URL of a server of the tests, which has no TLS."""
    return f"{url}?sslmode=disable" + "".join(f"&{name}={value}" for name, value in changes.items())


def message(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return kind + struct.pack("!I", len(body) + 4) + body


def error(*fields: tuple[bytes, bytes]) -> bytes:
    return message(b"E", *(letter + text + b"\0" for letter, text in fields), b"\0")


def asked(connection: socket.socket) -> bytes:
    """Return the next message of the client: the first one has no kind."""
    return connection.recv(65536)


def greet(connection: socket.socket) -> None:
    """Let the client in, and begin its transaction."""
    asked(connection)
    connection.sendall(LOGIN_OK + message(b"K", struct.pack("!II", 1, 2)) + READY)
    asked(connection)
    connection.sendall(message(b"C", b"BEGIN\0") + READY)


def described(*columns: tuple[str, int]) -> bytes:
    """Return the answer to a query that is parsed and described."""
    parts = [name.encode() + b"\0" + struct.pack("!IhIhih", 0, 0, oid, -1, -1, 0) for name, oid in columns]
    rows = message(b"T", struct.pack("!h", len(columns)), *parts)
    return message(b"1") + message(b"t", b"\0\0") + rows + READY


def row(values: Sequence[bytes]) -> bytes:
    parts = [struct.pack("!I", len(value)) + value for value in values]
    return message(b"D", struct.pack("!h", len(values)), *parts)
