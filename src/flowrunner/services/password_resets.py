"""Lost passwords: links that set a new one, made by admins, by the operator, or sent by e-mail."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from flowrunner.domain.account import Account, Caller, password_faults
from flowrunner.domain.audit import AuditEntry, act_on_account
from flowrunner.domain.email_address import sought_email
from flowrunner.domain.errors import (
    Conflict,
    FlowRunnerError,
    InvalidInput,
    LinkNotValid,
    NotFound,
    TooManyRequests,
    UnknownEmail,
)
from flowrunner.domain.values import AccountId, personal_workspace
from flowrunner.ports.accounts import PasswordHasher
from flowrunner.ports.audit import AuditStore
from flowrunner.ports.clock import Clock
from flowrunner.ports.outgoing_mails import MailedTokens
from flowrunner.ports.password_resets import PasswordReset, PasswordResetStore
from flowrunner.services.links import link_to
from flowrunner.services.login_mails import LoginMails
from flowrunner.services.mails import Mails
from flowrunner.services.random_tokens import digest_of_token, new_token
from flowrunner.services.rates import SlidingWindow, source_of
from flowrunner.services.short_commits import PURGED_AT_ONCE, commit_in_portions

logger = structlog.get_logger()

PAGE: Final = "/new-password"
LIFE: Final = timedelta(hours=1)
# Links of an account that work at the same time.
MOST_LINKS: Final = 3
# E-mails to an address in an hour, and requests for them from a sender.
MOST_MAILS: Final = 3
MOST_ASKED: Final = 20
# Requests whose e-mails are not stored yet; further ones are dropped.
_MOST_PENDING: Final = 100
# New passwords that a sender may try to set in an hour: each takes the time of a login.
_MOST_SET: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLink:
    """A new link. Args: link: Its only copy."""

    link: str
    expires_at: datetime


class PasswordResets:
    """Use cases of lost passwords.

    Args:
        mails: Makes the e-mails with links that people ask for themselves.
        public_url: The origin in links; None makes them paths.
        on_sessions_end: Called with an account whose sessions have ended.
    """

    def __init__(
        self,
        store: PasswordResetStore,
        hasher: PasswordHasher,
        mails: Mails,
        login_mails: LoginMails,
        clock: Clock,
        *,
        tokens: MailedTokens,
        audit: AuditStore,
        public_url: str | None,
        on_sessions_end: Callable[[AccountId], Awaitable[None]],
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._mails = mails
        self._tokens = tokens
        self._audit = audit
        self._login_mails = login_mails
        self._clock = clock
        self._public_url = public_url
        self._on_sessions_end = on_sessions_end
        self._pending: set[asyncio.Task[None]] = set()
        hour = timedelta(hours=1)
        self._sent: SlidingWindow[str] = SlidingWindow(MOST_MAILS, limit="reset_mails", message="", length=hour)
        self._asked: SlidingWindow[str] = SlidingWindow(
            MOST_ASKED,
            limit="reset_requests",
            message="This address has requested more than {most} links in an hour: wait before the next one",
            length=hour,
        )
        self._set: SlidingWindow[str] = SlidingWindow(
            _MOST_SET,
            limit="new_passwords",
            message="This address has set more than {most} passwords in an hour: wait before the next one",
            length=hour,
        )

    @property
    def are_mailed(self) -> bool:
        return self._mails.are_possible

    async def create(self, caller: Caller, id: AccountId) -> NewLink:
        """Make a link for an account, on behalf of an admin. Raises: NotFound."""
        found = await self._store.account(id=id)
        if found is None:
            raise NotFound("account")
        entry = act_on_account(caller, "password.reset_created", "account", id, at=self._clock.now(), account_id=id)
        return await self._make(found.account, entry, new_token())

    async def create_by_operator(self, email: str) -> NewLink:
        """Make a link for an account, on the server's machine. Raises: UnknownEmail."""
        account = await self._with_email(email)
        return await self._make(account, self._entry(account), new_token())

    async def set_by_operator(self, email: str, password: str) -> None:
        """Set a new password on the server's machine. All logins and API tokens of the account end.

        Raises: UnknownEmail, InvalidInput.
        """
        account = await self._with_email(email)
        _check_password(account, password)
        token = new_token()
        await self._make(account, self._entry(account), token)
        password_hash = await self._hasher.hash(password, source="server")
        entry = replace(self._entry(account), action="password.reset")
        await self._store.use(digest_of_token(token), password_hash=password_hash, at=entry.at, audit=entry)

    async def _with_email(self, email: str) -> Account:
        found = await self._store.account(email=sought_email(email))
        if found is None:
            raise UnknownEmail(email)
        return found.account

    def ask(self, email: str, *, address: str) -> None:
        """Have a link sent by e-mail if the address has an account. The caller learns nothing about that.

        Raises: Conflict if no e-mails can be sent; TooManyRequests.
        """
        if not self._mails.are_possible:
            raise Conflict("This server sends no e-mails: ask an admin for a link")
        self._asked.take(source_of(address), at=self._clock.now())
        # All that depends on the account happens after the answer.
        if len(self._pending) < _MOST_PENDING:
            task = asyncio.create_task(self._send(sought_email(email), address=address))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def settle(self) -> None:
        """Wait until the e-mails that were asked for so far are stored."""
        if self._pending:
            await asyncio.wait(self._pending)

    async def _send(self, email: str, *, address: str) -> None:
        try:
            found = await self._store.account(email=email)
            # An address that is not confirmed may be anybody's, who would get the account with the link.
            if found is None or not found.account.is_email_confirmed:
                return
            # This keeps people from flooding the mailbox of another person.
            self._sent.take(email, at=self._clock.now())
            account = found.account
            entry = replace(self._entry(account), credential="email", address=address)
            if not found.has_password:
                # A mailbox must not outlive the provider's decision about its owner.
                mails = self._mails.make(account.id, _SUBJECT, _LOGS_IN_BY_PROVIDER, to=account.email)
                await self._audit.add(replace(entry, action="password.reset_refused", outcome="denied", mails=mails))
                return
            token, seed = self._tokens.new()
            text = (
                "Somebody has asked for a new password of your account on FlowRunner. Open this link to set one; it "
                f"can be used once, until {entry.at + LIFE:%H:%M} UTC. If it was not you, ignore this e-mail: your "
                "password stays as it is."
            )
            mails = self._mails.make(account.id, _SUBJECT, text, to=account.email, page=PAGE, seed=seed, life=LIFE)
            await self._make(account, replace(entry, mails=mails), token)
        except TooManyRequests:
            return
        except FlowRunnerError as error:
            logger.warning("password_reset.failed", reason=type(error).__name__)

    async def _make(self, account: Account, audit: AuditEntry, token: str) -> NewLink:
        digest, at = digest_of_token(token), audit.at
        await self._store.save(account.id, digest, at=at, expires_at=at + LIFE, most=MOST_LINKS, audit=audit)
        return NewLink(link=link_to(self._public_url, PAGE, token), expires_at=at + LIFE)

    async def use(self, token: str, password: str, *, address: str) -> None:
        """Set a new password, once. All logins and API tokens of the account end.

        Second factors stay, because a mailbox or an intercepted link must not replace them. Links to providers stay,
        too: an e-mail names both.

        Args:
            address: The client's address.

        Raises: NotFound if the link was used or has expired; InvalidInput, TooManyRequests, QueueFull.
        """
        # One that was sent by e-mail is signed.
        digest, source = digest_of_token(self._tokens.read(token)[0]), source_of(address)
        reset = await self._store.find(digest, now=self._clock.now())
        if reset is None:
            raise LinkNotValid
        account = reset.account
        _check_password(account, password)
        self._set.take(source, at=self._clock.now())
        password_hash = await self._hasher.hash(password, source=source)
        now, change = self._clock.now(), f"A link has set a new password of your account. {_besides(reset)}"
        with self._login_mails.about(account.id, change) as mails:
            entry = AuditEntry(
                at=now,
                action="password.reset",
                object=("account", account.id),
                actor=account.id,
                credential="reset",
                address=address,
                workspace_id=personal_workspace(account.id),
                mails=mails,
            )
            await self._store.use(digest, password_hash=password_hash, at=now, audit=entry)
        await self._on_sessions_end(account.id)

    def _entry(self, account: Account) -> AuditEntry:
        """Return the entry of a link that the operator makes."""
        id, at = account.id, self._clock.now()
        return act_on_account(None, "password.reset_created", "account", id, at=at, account_id=id)

    async def purge(self) -> None:
        """Delete links that have expired."""
        now = self._clock.now()
        await commit_in_portions(lambda: self._store.purge(now=now, limit=PURGED_AT_ONCE))


def _check_password(account: Account, password: str) -> None:
    faults = password_faults(password, email=account.email, name=account.name)
    if faults:
        raise InvalidInput(faults)


_SUBJECT: Final = "New password for FlowRunner"
_LOGS_IN_BY_PROVIDER: Final = (
    "Somebody has asked for a new password of your account on FlowRunner. The account has no password: log in by your "
    "provider, or ask an admin for a link. If it was not you, ignore this e-mail."
)


def _besides(reset: PasswordReset) -> str:
    """Return a sentence about what else the account logs in with."""
    if not reset.providers and not reset.second_factors:
        return "It logs in with nothing else."
    ways = ["a second factor" if reset.second_factors == 1 else f"{reset.second_factors} second factors"]
    ways = ways[: reset.second_factors] + [f"a linked account of '{provider}'" for provider in reset.providers]
    return f"These are as before: {', '.join(ways)}."
