"""Refusals of starts before authentication: a client that repeats refused starts costs little."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol

from starlette.types import Scope

from flowrunner.api.http.edge import SECURITY_HEADERS, TLS_ONLY, OnRequest, request_id_of
from flowrunner.api.http.errors import answer_to
from flowrunner.api.http.refusals import status_line
from flowrunner.api.request_log import ANSWERED, log_request, logs_every_request
from flowrunner.domain.account import Caller
from flowrunner.domain.errors import QueueFull
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.lru_cache import LruCache

# A client is known for as long as its refusal tells it to wait. Then its token is checked again.
_KNOWN_SECONDS: Final = 1.0
_MOST_KNOWN: Final = 10_000
# Bytes of what is kept of a client, whose head may have 64 KiB. Others take the usual way.
_LONGEST_KEY: Final = 4 * 1024
# What decides who asks for what, and where. A cookie needs checks of its own, so its requests take the usual way.
_TELLING: Final = frozenset({b"authorization", b"host", b"flowrunner-workspace"})
_REQUEST_ID_HERE: Final = "request-id-here"


class _RefusedClient(NamedTuple):
    """A client that was refused. Attributes: route: The template of the route. until: When it is checked again."""

    workspace_id: WorkspaceId
    account_id: AccountId
    route: str
    until: float


class _Full(Protocol):
    def __call__(self, workspace_id: WorkspaceId, account_id: AccountId, *, more: int) -> QueueFull | None: ...


class EarlyRefusals:
    """The clients whose starts were refused a moment ago, and the answers to those that repeat them.

    The first start of a client is refused after authentication and the whole body, as any request is. The same request
    with the same token within a second is refused from its head alone, while the queue is still full.

    Args:
        full: Returns the error of a start if the queue is full; ``more`` starts are about to be queued.
        on_request, is_behind_tls: As of `Edge`.
        refused: Called with the name of the limit of each refusal.
    """

    def __init__(
        self,
        full: _Full,
        *,
        on_request: OnRequest,
        refused: Callable[[str], None],
        is_behind_tls: bool = False,
    ) -> None:
        self._full = full
        self._on_request = on_request
        self._refused = refused
        self._headers = (*SECURITY_HEADERS, TLS_ONLY) if is_behind_tls else SECURITY_HEADERS
        self._logs_every_request = logs_every_request()
        self._known: LruCache[tuple[bytes, ...], _RefusedClient] = LruCache(_MOST_KNOWN)
        # Starts of a workspace that were let through, and whose requests have not begun.
        self._let_through: Counter[WorkspaceId] = Counter()

    def note(self, scope: Scope, caller: Caller) -> None:
        """Remember a client whose start has been refused by `QueueFull`."""
        if (key := _key(scope)) is not None:
            until = time.monotonic() + _KNOWN_SECONDS
            route = scope["route"].path_format
            self._known.keep(key, _RefusedClient(caller.workspace_id, caller.account_id, route, until))

    def answer_to(self, scope: Scope, default_headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes | None:
        """Return the refusal of a request; None if it has to be served as any other."""
        if not len(self._known) or scope["method"] != "POST" or (key := _key(scope)) is None:
            return None
        client = self._known.get(key)
        if client is None:
            return None
        if client.until <= time.monotonic():
            self._known.forget(key)
            return None
        error = self._full(client.workspace_id, client.account_id, more=self._let_through[client.workspace_id])
        if error is None:
            if not self._let_through:
                # Their requests begin before anything more is received.
                asyncio.get_running_loop().call_soon(self._let_through.clear)
            self._let_through[client.workspace_id] += 1
            return None
        self._refused(error.limit)
        self._on_request(client.route, "POST", HTTPStatus.SERVICE_UNAVAILABLE, 0.0)
        return self._answer(scope, error, default_headers)

    def _answer(self, scope: Scope, error: QueueFull, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        request_id = request_id_of(scope)
        if self._logs_every_request:
            scope["request_id"], scope[ANSWERED] = request_id, HTTPStatus.SERVICE_UNAVAILABLE
            log_request(scope, seconds=0.0, even_if_served=True)
        head, before, after = _parts(str(error), error.limit, error.most)
        id = request_id.encode()
        own = ((b"x-request-id", id), (b"content-length", b"%d" % (len(before) + len(id) + len(after))))
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in (*default_headers, *own, *self._headers))
        return head + lines + b"\r\n" + before + id + after


def _key(scope: Scope) -> tuple[bytes, ...] | None:
    telling = [part for pair in scope["headers"] if pair[0] in _TELLING for part in pair]
    if b"authorization" not in telling:
        return None
    key = (scope["raw_path"], scope["query_string"], *telling)
    return key if sum(map(len, key)) <= _LONGEST_KEY else None


@lru_cache(maxsize=8)
def _parts(message: str, limit: str, most: int) -> tuple[bytes, bytes, bytes]:
    """Return the head of the answer without the headers that differ, and the body before and after the request id."""
    answer = answer_to(_REQUEST_ID_HERE, QueueFull(message, limit=limit, most=most))
    lines = [name + b": " + value + b"\r\n" for name, value in answer.raw_headers if name != b"content-length"]
    before, _, after = bytes(answer.body).partition(_REQUEST_ID_HERE.encode())
    return status_line(answer.status_code) + b"".join(lines), before, after
