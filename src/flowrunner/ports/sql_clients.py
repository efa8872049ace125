"""Clients of nodes for databases."""

from typing import Protocol

from flowrunner.domain.values import WorkspaceId
from flowrunner.plugin import SqlClient


class SqlClients(Protocol):
    """A client for each workspace, with a share of the common resources."""

    def of(self, workspace_id: WorkspaceId) -> SqlClient: ...
