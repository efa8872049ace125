"""Clients of nodes that send e-mails."""

from typing import Protocol

from flowrunner.domain.values import WorkspaceId
from flowrunner.plugin import MailClient


class MailClients(Protocol):
    """A client for each workspace, with a share of the common resources."""

    def of(self, workspace_id: WorkspaceId) -> MailClient: ...
