"""Links of invitations: what they invite to, and the account that they make a member."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from flowrunner.domain.account import Account, Caller, name_faults, password_faults
from flowrunner.domain.audit import AuditEntry, act, act_on_account
from flowrunner.domain.errors import (
    EmailTaken,
    Forbidden,
    InvalidInput,
    LinkNotValid,
    PasswordLoginDisabled,
)
from flowrunner.domain.mails import OutgoingMail
from flowrunner.domain.values import AccountId, personal_workspace
from flowrunner.ids import new_id
from flowrunner.ports.accounts import AccountStore, ConfirmationLink, PasswordHasher
from flowrunner.ports.clock import Clock
from flowrunner.ports.invitations import Invitation, InvitationStore, OpenInvitation
from flowrunner.ports.outgoing_mails import MailedTokens
from flowrunner.services.email_confirmations import CONFIRMED, EmailConfirmations
from flowrunner.services.logins import session_of
from flowrunner.services.random_tokens import digest_of_token
from flowrunner.services.rates import SlidingWindow, source_of
from flowrunner.services.workspaces import MAX_JOINED, MAX_MEMBERS

# Sign-ups from an address in an hour.
MOST_SIGN_UPS: Final = 20


class InvitationLinks:
    """Use cases of a person that has the link of an invitation.

    Args:
        sign_up: Whose invitations create accounts: nobody's (`no`), those of `admins` of the installation, or those of
            everybody who may invite (`invited`). Those of others than admins of the installation do it with the link
            in the e-mail alone, which the account that invites does not have: it could make an account for the address
            of somebody else, and learn which addresses have one.
        accepts_passwords: False if only a provider of single sign-on logs in; then no invitation creates an account.
        most_administered: Workspaces of which an account may be an admin, its personal one excepted.
        on_access_change: Called with an account that has become a member.
    """

    def __init__(
        self,
        store: InvitationStore,
        accounts: AccountStore,
        hasher: PasswordHasher,
        clock: Clock,
        *,
        mailed: MailedTokens,
        confirmations: EmailConfirmations,
        sign_up: str,
        accepts_passwords: bool,
        most_administered: int,
        on_access_change: Callable[[AccountId], Awaitable[None]],
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._hasher = hasher
        self._clock = clock
        self._mailed = mailed
        self._confirmations = confirmations
        self._sign_up = sign_up
        self._accepts_passwords = accepts_passwords
        self._most_administered = most_administered
        self._on_access_change = on_access_change
        self._sign_ups: SlidingWindow[str] = SlidingWindow(
            MOST_SIGN_UPS,
            limit="sign_ups",
            message="More than {most} accounts an hour are made from this address: wait before the next one",
            length=timedelta(hours=1),
        )

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
