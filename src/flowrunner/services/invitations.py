"""Invitations to workspaces: links that make the account of an e-mail address a member."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from flowrunner.domain.account import Account, Caller, name_faults, password_faults
from flowrunner.domain.audit import AuditEntry, act, act_on_account
from flowrunner.domain.email_address import normal_email
from flowrunner.domain.errors import (
    EmailTaken,
    Forbidden,
    InvalidInput,
    LinkNotValid,
    PasswordLoginDisabled,
    invalid,
)
from flowrunner.domain.mails import OutgoingMail
from flowrunner.domain.values import JSON, AccountId, InvitationId, personal_workspace
from flowrunner.domain.workspace import WorkspaceRole
from flowrunner.ids import new_id
from flowrunner.ports.accounts import AccountStore, ConfirmationLink, PasswordHasher
from flowrunner.ports.clock import Clock
from flowrunner.ports.invitations import Invitation, InvitationStore, OpenInvitation
from flowrunner.ports.outgoing_mails import MailedTokens
from flowrunner.ports.page import Page
from flowrunner.services.email_confirmations import CONFIRMED, EmailConfirmations
from flowrunner.services.links import link_to
from flowrunner.services.logins import session_of
from flowrunner.services.mails import Mails, shown_name
from flowrunner.services.random_tokens import digest_of_token
from flowrunner.services.rates import SlidingWindow, source_of
from flowrunner.services.short_commits import PURGED_AT_ONCE, commit_in_portions
from flowrunner.services.workspaces import MAX_JOINED, MAX_MEMBERS

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
# Sign-ups from an address in an hour.
MOST_SIGN_UPS: Final = 20


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
    """Use cases of invitations.

    Args:
        sign_up: Whose invitations create accounts: nobody's (`no`), those of `admins` of the installation, or those of
            everybody who may invite (`invited`). Those of others than admins of the installation do it with the link
            in the e-mail alone, which the account that invites does not have: it could make an account for the address
            of somebody else, and learn which addresses have one.
        accepts_passwords: False if only a provider of single sign-on logs in; then no invitation creates an account.
        public_url: The origin in links; None makes them paths.
        most_administered: Workspaces of which an account may be an admin, its personal one excepted.
        on_access_change: Called with an account that has become a member.
    """

    def __init__(
        self,
        store: InvitationStore,
        accounts: AccountStore,
        hasher: PasswordHasher,
        mails: Mails,
        clock: Clock,
        *,
        mailed: MailedTokens,
        confirmations: EmailConfirmations,
        sign_up: str,
        accepts_passwords: bool,
        public_url: str | None,
        most_administered: int,
        on_access_change: Callable[[AccountId], Awaitable[None]],
    ) -> None:
        self._store = store
        self._most_administered = most_administered
        self._accounts = accounts
        self._hasher = hasher
        self._mails = mails
        self._mailed = mailed
        self._confirmations = confirmations
        self._clock = clock
        self._sign_up = sign_up
        self._accepts_passwords = accepts_passwords
        self._public_url = public_url
        self._on_access_change = on_access_change
        self._sent: SlidingWindow[AccountId] = SlidingWindow(
            MOST_SENT,
            limit="account_invitations",
            message="An account invites at most {most} people an hour: wait before the next one",
            length=timedelta(hours=1),
        )
        self._sign_ups: SlidingWindow[str] = SlidingWindow(
            MOST_SIGN_UPS,
            limit="sign_ups",
            message="More than {most} accounts an hour are made from this address: wait before the next one",
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

    async def open(self, token: str) -> OpenInvitation:
        """Return the invitation of a link, without using it. Raises: NotFound."""
        found = await self._store.find(self._digest_of(token), now=self._clock.now())
        if found is None:
            raise LinkNotValid
        return found

    def _digest_of(self, token: str) -> str:
        return digest_of_token(self._mailed.read(token)[0])

    def lets_sign_up(self, found: OpenInvitation, token: str) -> bool:
        """Return whether an account may be created with the link of an invitation."""
        if not self._accepts_passwords or self._sign_up == "no":
            return False
        return found.inviter.role == "admin" or (self._sign_up == "invited" and self._mailed.read(token)[1])

    async def accept(self, caller: Caller, token: str) -> Invitation:
        """Make the caller a member.

        Raises:
            NotFound: The invitation was used or revoked, or has expired.
            Forbidden: It is for another e-mail address, the account has not confirmed that, or an API token makes the
                request.
            Conflict: The workspace or the account has too many memberships.
        """
        session_of(caller)
        found = await self.open(token)
        account = await self._accounts.get(caller.account_id)
        # A link that was passed on gives nothing to another account.
        if account.email != found.invitation.email:
            raise Forbidden("This invitation is for another e-mail address: log in with the account that has it")
        # Nor to one that only claims the address. The link in the e-mail shows that the mailbox is its own.
        if not account.is_email_confirmed and not self._mailed.read(token)[1]:
            raise Forbidden("Confirm the e-mail address of your account first, or open the link in the e-mail")
        now, where = self._clock.now(), found.invitation.workspace_id
        entries = [act(caller, *_ACCEPTED, found.invitation.id, at=now, workspace_id=where)]
        if not account.is_email_confirmed:
            entries.append(act_on_account(caller, CONFIRMED, "account", account.id, at=now, account_id=account.id))
        return await self._use(token, account.id, *entries)

    async def sign_up(self, token: str, *, name: str, password: str, address: str) -> Account:
        """Create an account for the invited address, and make it a member.

        Args:
            address: The client's address.

        Raises:
            NotFound: As of `accept`.
            Forbidden: No account can be created: this link may not, or the address has one already.
            PasswordLoginDisabled, InvalidInput, TooManyRequests, Conflict.
        """
        if not self._accepts_passwords:
            raise PasswordLoginDisabled
        found = await self.open(token)
        if not self.lets_sign_up(found, token):
            raise _no_sign_up()
        invitation, now = found.invitation, self._clock.now()
        _check(name, password, email=invitation.email)
        source = source_of(address)
        self._sign_ups.take(source, at=now)
        account = Account(
            id=AccountId(new_id("account", now)),
            name=name,
            email=invitation.email,
            role="user",
            created_at=now,
            updated_at=now,
            is_email_confirmed=self._mailed.read(token)[1],
        )
        link: ConfirmationLink | None = None
        mails: tuple[OutgoingMail, ...] = ()
        if not account.is_email_confirmed:
            link, mails = self._confirmations.begin(account.id, name=name, email=account.email)
        password_hash = await self._hasher.hash(password, source=source)
        created, accepted = _sign_up_entries(account, invitation, address=address)
        entries = [replace(created, mails=mails), accepted]
        try:
            await self._use(token, account.id, *entries, new=account, password_hash=password_hash, link=link)
        except EmailTaken:
            # The same as above: the answer to a link that was passed on does not tell who has an account.
            raise _no_sign_up() from None
        if link is not None:
            self._confirmations.count(account.email)
        return account

    async def _use(
        self,
        token: str,
        id: AccountId,
        *entries: AuditEntry,
        new: Account | None = None,
        password_hash: str = "",
        link: ConfirmationLink | None = None,
    ) -> Invitation:
        invitation = await self._store.accept(
            self._digest_of(token),
            id,
            at=self._clock.now(),
            new=new,
            password_hash=password_hash,
            link=link,
            confirms_email=self._mailed.read(token)[1],
            most_members=MAX_MEMBERS,
            most_joined=MAX_JOINED,
            most_administered=self._most_administered,
            audit=lambda _: entries,
        )
        await self._on_access_change(id)
        return invitation

    async def purge(self) -> None:
        """Delete invitations that have expired."""
        now = self._clock.now()
        await commit_in_portions(lambda: self._store.purge(now=now, limit=PURGED_AT_ONCE))


_ACCEPTED: Final = ("invitation.accepted", "invitation")


def _no_sign_up() -> Forbidden:
    return Forbidden("No account can be created with this link: log in, or open the link in the e-mail")


def _check(name: str, password: str, *, email: str) -> None:
    """Raises: InvalidInput, with every fault of a name and a password."""
    faults = name_faults(name) + password_faults(password, email=email, name=name)
    if faults:
        raise InvalidInput(faults)


def _sign_up_entries(account: Account, invitation: Invitation, *, address: str) -> tuple[AuditEntry, AuditEntry]:
    """Return the audit entries of a new account, and of the invitation that it accepts."""
    entry = AuditEntry(
        at=account.created_at,
        action="account.created",
        object=("account", account.id),
        actor=account.id,
        credential="invitation",
        address=address,
        workspace_id=personal_workspace(account.id),
        details={"role": account.role},
    )
    action, kind = _ACCEPTED
    accepted = replace(
        entry,
        action=action,
        object=(kind, invitation.id),
        workspace_id=invitation.workspace_id,
        details={"role": invitation.role},
    )
    return entry, accepted
