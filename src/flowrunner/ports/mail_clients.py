"""Clients of nodes that send e-mails."""

from collections.abc import Callable, Sequence
from email.message import EmailMessage
from typing import Protocol

from flowrunner.domain.values import WorkspaceId
from flowrunner.plugin import MailClient, MailServer, NodeFailure, RefusedRecipient


class MailClients(Protocol):
    """A client for each workspace, with a share of the common resources."""

    def of(self, workspace_id: WorkspaceId) -> MailClient: ...


class NoMail:
    """Implements `MailClients`, and rejects every e-mail."""

    def of(self, workspace_id: WorkspaceId) -> MailClient:
        return self

    async def send(
        self, server: MailServer, *, sender: str, recipients: Sequence[str], write: Callable[[], EmailMessage]
    ) -> Sequence[RefusedRecipient]:
        raise NodeFailure("egress.forbidden", "Tests of flows run offline")
