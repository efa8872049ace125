"""The store of invitations to workspaces."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.account import Account
from flowrunner.domain.values import AccountId, InvitationId, WorkspaceId
from flowrunner.domain.workspace import WorkspaceRole
from flowrunner.ports.accounts import ConfirmationLink
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """An invitation that has been neither accepted nor revoked.

    Attributes:
        email: The normalised address of the invited person.
        invited_by: The account that invites.
    """

    id: InvitationId
    workspace_id: WorkspaceId
    email: str
    role: WorkspaceRole
    invited_by: AccountId
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInvitation:
    """An invitation as the owner of its link sees it.

    Attributes:
        inviter: The account that invites.
    """

    invitation: Invitation
    workspace_name: str
    inviter: Account


class InvitationStore(Protocol):
    async def save(self, invitation: Invitation, *, digest: str, most: int, audit: Audit = None) -> None:
        """Save an invitation; it replaces an earlier one of the same address to the workspace.

        Args:
            digest: The digest of the token in its link.
            most: Limit of invitations of a workspace.

        Raises:
            Conflict: If the workspace has ``most`` others.
            Forbidden: If the inviting account may not invite to the workspace any more.
        """
        ...

    async def workspace_name(self, id: WorkspaceId) -> str:
        """Return the name of a workspace: for a personal one, that of its account."""
        ...

    async def page(self, id: WorkspaceId, *, now: datetime, page: Page) -> tuple[Sequence[Invitation], int]:
        """Return a page of the invitations to a workspace that have not expired, the oldest first, and the total."""
        ...

    async def delete(self, workspace_id: WorkspaceId, id: InvitationId, *, audit: Audit = None) -> None:
        """Raises: NotFound."""
        ...

    async def find(self, digest: str, *, now: datetime) -> OpenInvitation | None:
        """Return the invitation with this digest.

        It is None if there is none, it has expired, or the inviting account is no longer an admin of the workspace.
        """
        ...

    async def accept(
        self,
        digest: str,
        account_id: AccountId,
        *,
        at: datetime,
        new: Account | None = None,
        password_hash: str = "",
        link: ConfirmationLink | None = None,
        confirms_email: bool,
        most_members: int,
        most_joined: int,
        most_administered: int,
        audit: Audit = None,
    ) -> Invitation:
        """Use an invitation: make an account a member of the workspace, or raise its role there.

        Args:
            new: The account, if it is to be created.
            password_hash: Hash of the new account's password.
            link: The link that confirms the address of the new account.
            confirms_email: The account has shown that the invited address is its own.

        Raises:
            NotFound: When `find` returns None.
            EmailTaken: If another account has the address of the new one.
            Conflict: If the workspace has ``most_members``, or the account is a member of ``most_joined`` others, or
                would be an admin of more than ``most_administered``.
        """
        ...

    async def purge(self, *, now: datetime, limit: int) -> bool:
        """Delete at most ``limit`` expired invitations; return whether there may be more."""
        ...
