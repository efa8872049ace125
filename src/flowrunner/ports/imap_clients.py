"""Clients of nodes for mailboxes."""

from typing import Protocol

from flowrunner.domain.values import WorkspaceId
from flowrunner.plugin import ImapClient


class ImapClients(Protocol):
    """A client for each workspace, with a share of the common resources."""

    def of(self, workspace_id: WorkspaceId) -> ImapClient: ...
