"""Invitations to workspaces: their creation, list and end; `invitation_links` accepts them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import act
from flowrunner.domain.email_address import normal_email
from flowrunner.domain.errors import (
    invalid,
)
from flowrunner.domain.mails import OutgoingMail
from flowrunner.domain.values import JSON, AccountId, InvitationId
from flowrunner.domain.workspace import WorkspaceRole
from flowrunner.ids import new_id
from flowrunner.ports.accounts import AccountStore
from flowrunner.ports.clock import Clock
from flowrunner.ports.invitations import Invitation, InvitationStore
from flowrunner.ports.outgoing_mails import MailedTokens
from flowrunner.ports.page import Page
from flowrunner.services.links import link_to
from flowrunner.services.mails import Mails, shown_name
from flowrunner.services.random_tokens import digest_of_token
from flowrunner.services.rates import SlidingWindow
from flowrunner.services.short_commits import PURGED_AT_ONCE, commit_in_portions

PAGE: Final = "/invitation"
USUAL_LIFE: Final = timedelta(days=7)
SHORTEST_LIFE: Final = timedelta(minutes=5)
LONGEST_LIFE: Final = timedelta(days=30)
# An e-mail that could not be sent for so long is given up; the account that invites has the link, too.
_LONGEST_MAILED: Final = timedelta(days=2)
# Open invitations of a workspace.
MOST_OPEN: Final = 100
# Invitations of an account in an hour: each may be an e-mail to anybody.
MOST_SENT: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInvitation:
    """A new invitation.

    Attributes:
        link: The only copy of its link.
        is_mailed: An e-mail with it is on its way.
    """

    invitation: Invitation
    link: str
    is_mailed: bool


class Invitations:
    """Use cases of an account that invites.

    Args:
        public_url: The origin in links; None makes them paths.
    """

    def __init__(
        self,
        store: InvitationStore,
        accounts: AccountStore,
        mails: Mails,
        clock: Clock,
        *,
        mailed: MailedTokens,
        public_url: str | None,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._mails = mails
        self._mailed = mailed
        self._clock = clock
        self._public_url = public_url
        self._sent: SlidingWindow[AccountId] = SlidingWindow(
            MOST_SENT,
            limit="account_invitations",
            message="An account invites at most {most} people an hour: wait before the next one",
            length=timedelta(hours=1),
        )

    async def create(
        self, caller: Caller, *, email: str, role: WorkspaceRole, life: timedelta | None = None
    ) -> NewInvitation:
        """Invite an address to the workspace that the request acts in; an earlier invitation of it ends.

        Nothing depends on whether the address has an account.

        Raises: InvalidInput, Forbidden, Conflict, TooManyRequests.
        """
        try:
            address = normal_email(email)
        except ValueError:
            message = "must be an e-mail address such as name@example.com, with letters of one script"
            raise invalid("email", message, code="email") from None
        if life is not None and not SHORTEST_LIFE <= life <= LONGEST_LIFE:
            raise invalid("expires_in", "must be between 5m and 30d", code="range")
        now = self._clock.now()
        self._sent.take(caller.account_id, at=now)
        token, seed = self._mailed.new()
        invitation = Invitation(
            id=InvitationId(new_id("invitation", now)),
            workspace_id=caller.workspace_id,
            email=address,
            role=role,
            invited_by=caller.account_id,
            created_at=now,
            expires_at=now + (life or USUAL_LIFE),
        )
        details: dict[str, JSON] = {"role": role}
        entry = act(caller, "invitation.created", "invitation", invitation.id, at=now, details=details)
        mails = await self._mail(caller, invitation, seed)
        await self._store.save(
            invitation, digest=digest_of_token(token), most=MOST_OPEN, audit=replace(entry, mails=mails)
        )
        link = link_to(self._public_url, PAGE, token)
        return NewInvitation(invitation=invitation, link=link, is_mailed=bool(mails))

    async def _mail(self, caller: Caller, invitation: Invitation, seed: str) -> tuple[OutgoingMail, ...]:
        if not self._mails.are_possible:
            return ()
        inviter = await self._accounts.get(caller.account_id)
        # Any account may claim an address, and this e-mail would lend it credit.
        address = f" ({inviter.email})" if inviter.is_email_confirmed else ""
        workspace = shown_name(await self._store.workspace_name(invitation.workspace_id))
        text = (
            f"{shown_name(inviter.name)}{address} invites you to the workspace '{workspace}' on FlowRunner. "
            f"Open this link to accept; it can be used once, until {invitation.expires_at:%Y-%m-%d %H:%M} UTC. If you "
            "do not know them, ignore this e-mail."
        )
        subject, life = f"Invitation to '{workspace}' on FlowRunner", invitation.expires_at - invitation.created_at
        return self._mails.make(
            inviter.id, subject, text, to=invitation.email, page=PAGE, seed=seed, life=min(life, _LONGEST_MAILED)
        )

    async def page(self, caller: Caller, *, page: Page) -> tuple[Sequence[Invitation], int]:
        """Return a page of the open invitations to the workspace, the oldest first, and the total."""
        return await self._store.page(caller.workspace_id, now=self._clock.now(), page=page)

    async def revoke(self, caller: Caller, id: InvitationId) -> None:
        """Raises: NotFound."""
        entry = act(caller, "invitation.revoked", "invitation", id, at=self._clock.now())
        await self._store.delete(caller.workspace_id, id, audit=entry)

    async def purge(self) -> None:
        """Delete invitations that have expired."""
        now = self._clock.now()
        await commit_in_portions(lambda: self._store.purge(now=now, limit=PURGED_AT_ONCE))
