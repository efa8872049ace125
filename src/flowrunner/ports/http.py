"""What sends requests for nodes."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from flowrunner.domain.values import WorkspaceId
from flowrunner.plugin import HttpClient


class HttpClients(Protocol):
    """A client for each account, with a share of what all of them need."""

    def of(self, workspace_id: WorkspaceId) -> HttpClient: ...

    def hold_long_value(self, workspace_id: WorkspaceId) -> AbstractAsyncContextManager[None]:
        """Hold the account's turn for an answer that is long, until what it became is recorded."""
        ...
