"""Clients that reach nothing: tests of flows run offline, even those of a node type that claims to be pure."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from flowrunner.domain.values import WorkspaceId
from flowrunner.plugin import (
    HttpAnswer,
    HttpClient,
    ImapClient,
    ImapServer,
    ImapSession,
    MailClient,
    MailServer,
    NodeFailure,
    RefusedRecipient,
    SqlClient,
    SqlDatabase,
    SqlSession,
)

if TYPE_CHECKING:
    from email.message import EmailMessage

T = TypeVar("T")


def _refusal() -> NodeFailure:
    return NodeFailure("egress.forbidden", "Tests of flows run offline")


class NoHttp:
    """Implements `ports.HttpClients`. Rejects every request."""

    def of(self, workspace_id: WorkspaceId) -> HttpClient:
        return self

    def hold_long_value(self, workspace_id: WorkspaceId) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def hold_memory(self, workspace_id: WorkspaceId, size: int) -> AbstractAsyncContextManager[None]:
        return nullcontext()

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
        raise _refusal()


class NoMail:
    """Implements `ports.MailClients`. Rejects every e-mail, as `NoHttp` does requests."""

    def of(self, workspace_id: WorkspaceId) -> MailClient:
        return self

    async def send(
        self, server: MailServer, *, sender: str, recipients: Sequence[str], write: "Callable[[], EmailMessage]"
    ) -> Sequence[RefusedRecipient]:
        raise _refusal()


class NoImap:
    """Implements `ports.ImapClients`. Reads no mailbox."""

    def of(self, workspace_id: WorkspaceId) -> ImapClient:
        return self

    async def run(self, server: ImapServer, work: Callable[[ImapSession], T], *, seconds: float) -> T:
        raise _refusal()


class NoSql:
    """Implements `ports.SqlClients`. Rejects every query."""

    def of(self, workspace_id: WorkspaceId) -> SqlClient:
        return self

    async def run(
        self, database: SqlDatabase, work: Callable[[SqlSession], T], *, seconds: float, read_only: bool = False
    ) -> T:
        raise _refusal()
