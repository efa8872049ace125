"""Confirmation of e-mail addresses: a link that is sent to an address, and opened in a login of its account."""

from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.account import Account, Caller
from flowrunner.domain.audit import AuditEntry, act_on_account
from flowrunner.domain.errors import Conflict, LinkNotValid
from flowrunner.domain.mails import OutgoingMail
from flowrunner.domain.values import AccountId, personal_workspace
from flowrunner.ports.accounts import AccountStore, ConfirmationLink
from flowrunner.ports.clock import Clock
from flowrunner.ports.outgoing_mails import MailedTokens
from flowrunner.services.logins import session_of
from flowrunner.services.mails import Mails, shown_name
from flowrunner.services.random_tokens import digest_of_token
from flowrunner.services.rates import SlidingWindow

PAGE: Final = "/confirm-email"
LIFE: Final = timedelta(days=1)
# Links to an address in an hour: nobody can flood the mailbox of another person.
MOST_LINKS: Final = 5
# Links that an account may have sent to its own address in an hour.
MOST_SENT_AGAIN: Final = 5
CONFIRMED: Final = "email.confirmed"


class EmailConfirmations:
    """Use cases of confirmations.

    A link works only in a login of the account that it is for: the owner of a mailbox who opens it out of curiosity
    does not confirm the address for an account of somebody else.
    """

    def __init__(self, store: AccountStore, mails: Mails, tokens: MailedTokens, clock: Clock) -> None:
        self._store = store
        self._mails = mails
        self._tokens = tokens
        self._clock = clock
        hour = timedelta(hours=1)
        self._sent: SlidingWindow[str] = SlidingWindow(
            MOST_LINKS,
            limit="confirmation_mails",
            message="An address gets at most {most} e-mails an hour that confirm it: wait before the next one",
            length=hour,
        )
        self._sent_again: SlidingWindow[AccountId] = SlidingWindow(
            MOST_SENT_AGAIN,
            limit="account_confirmations",
            message="An account asks for at most {most} e-mails an hour: wait before the next one",
            length=hour,
        )

    @property
    def are_mailed(self) -> bool:
        return self._mails.are_possible

    def begin(
        self, id: AccountId, *, name: str, email: str
    ) -> tuple[ConfirmationLink | None, tuple[OutgoingMail, ...]]:
        """Return a link that confirms the address, to be stored, and the e-mail with it; None without e-mails.

        `count` must follow once it is stored.

        Raises: TooManyRequests.
        """
        if not self._mails.are_possible:
            return None, ()
        now = self._clock.now()
        self._sent.check(email, at=now)
        token, seed = self._tokens.new()
        link = ConfirmationLink(digest=digest_of_token(token), expires_at=now + LIFE)
        text = (
            f"The account '{shown_name(name)}' on FlowRunner has this e-mail address. Open this link where you are "
            f"logged in with the account to confirm that it is yours; it works until {link.expires_at:%Y-%m-%d %H:%M} "
            "UTC. If it is not your account, do not open it."
        )
        subject = "Confirm your e-mail address for FlowRunner"
        return link, self._mails.make(id, subject, text, to=email, page=PAGE, seed=seed, life=LIFE)

    def count(self, email: str) -> None:
        """Count a link that was sent to an address.

        A rejected claim of another account's address does not count: its owner could have no link sent otherwise.
        """
        self._sent.add(email, at=self._clock.now())

    async def send_again(self, caller: Caller) -> None:
        """Send another link, in place of the earlier ones.

        Raises: Conflict if no e-mails are sent, or the address is confirmed; TooManyRequests, Forbidden.
        """
        session_of(caller)
        if not self._mails.are_possible:
            raise Conflict("This server sends no e-mails: ask an admin to confirm the address")
        account = await self._store.get(caller.account_id)
        if account.is_email_confirmed:
            raise Conflict("The e-mail address is confirmed already")
        now = self._clock.now()
        self._sent_again.take(account.id, at=now)
        link, mails = self.begin(account.id, name=account.name, email=account.email)
        assert link is not None, "e-mails are possible"
        action = "email.confirmation_sent"
        entry = act_on_account(caller, action, "account", account.id, at=now, account_id=account.id, mails=mails)
        await self._store.set_confirmation_link(account.id, account.email, link, audit=entry)
        self.count(account.email)

    async def confirm(self, caller: Caller, token: str) -> Account:
        """Confirm the address of the caller's account with the token of a link, once.

        Raises: NotFound if the link was used, replaced or has expired, or is for another account; Forbidden.
        """
        session_of(caller)
        plain, is_signed = self._tokens.read(token)
        if not is_signed:
            raise LinkNotValid
        now, id = self._clock.now(), caller.account_id
        entry = act_on_account(caller, CONFIRMED, "account", id, at=now, account_id=id)
        return await self._store.use_confirmation_link(id, digest_of_token(plain), at=now, audit=entry)


def confirmation_of(account: Account, *, at: datetime, credential: str, address: str = "") -> AuditEntry:
    """Return the entry for a confirmation by the operator, or by a provider that has verified the address."""
    return AuditEntry(
        at=at,
        action=CONFIRMED,
        object=("account", account.id),
        credential=credential,
        address=address,
        workspace_id=personal_workspace(account.id),
    )
