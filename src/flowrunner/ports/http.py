"""HTTP clients of nodes."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from flowrunner.domain.values import WorkspaceId
from flowrunner.plugin import HttpClient


class HttpClients(Protocol):
    """An HTTP client for each account, with a share of the common resources."""

    def of(self, workspace_id: WorkspaceId) -> HttpClient: ...

    def hold_long_value(self, workspace_id: WorkspaceId) -> AbstractAsyncContextManager[None]:
        """Hold the account's lock for a long response until its result is recorded."""
        ...
