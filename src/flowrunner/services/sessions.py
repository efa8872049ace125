"""Sessions: login, refresh, logout, tickets, and the caller behind a token."""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.account import Account, ApiToken, Caller, Proof, Role, Session
from flowrunner.domain.audit import AuditEntry, act_on_account, credential_of, session_name
from flowrunner.domain.errors import Unauthorized
from flowrunner.domain.values import AccountId, SessionId, TokenId, personal_workspace
from flowrunner.ports.clock import Clock
from flowrunner.ports.sessions import NewSession, Renewal, SessionStore, SessionUse, TokenIssuer, login_named_by
from flowrunner.ports.tokens import TokenStore
from flowrunner.services import tokens
from flowrunner.services.audit import AuditLog
from flowrunner.services.known_callers import KnownCallers
from flowrunner.services.logins import session_of
from flowrunner.services.password_logins import PasswordLogins
from flowrunner.services.random_tokens import digest_of_token, new_token
from flowrunner.services.rates import Allowance
from flowrunner.services.short_commits import PURGED_AT_ONCE, commit_in_portions
from flowrunner.write_behind import WriteBehind

# Time that a refreshed token stays valid, so that requests under way with it do not fail.
REFRESH_GRACE: Final = timedelta(seconds=10)
TICKET_LIFE: Final = timedelta(seconds=30)
# Refreshes and tickets of an account in a minute: each writes a row that stays for a while.
MOST_RENEWED: Final = 600
_MOST_AGENT_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    token: str
    expires_at: datetime
    account_id: AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A one-time credential for one WebSocket, for clients that cannot set headers."""

    ticket: str
    expires_at: datetime


class Sessions:
    """Use cases of sessions, and the lookup of callers by token.

    Args:
        token_life: Time that a login lasts without a refresh.
        requires_second_factor: A login with a password can do nothing without one.
    """

    def __init__(
        self,
        store: SessionStore,
        api_tokens: TokenStore,
        uses: tokens.TokenUses,
        known: KnownCallers,
        *,
        password_logins: PasswordLogins,
        audit: AuditLog,
        tokens: TokenIssuer,
        clock: Clock,
        token_life: timedelta,
        requires_second_factor: bool = False,
    ) -> None:
        self._store = store
        self._api_tokens = api_tokens
        self._uses = uses
        self._known = known
        self.session_uses: WriteBehind[SessionId, SessionUse] = WriteBehind(store.note_uses)
        self._password_logins = password_logins
        self._audit = audit
        self._tokens = tokens
        self._clock = clock
        self._token_life = token_life
        self._requires_second_factor = requires_second_factor
        self._renewed: Allowance[AccountId] = Allowance(
            MOST_RENEWED,
            limit="account_renewals",
            message="This account refreshes tokens or gets tickets more than {most} times a minute: renew less often",
        )

    async def login(self, username: str, password: str, *, address: str, agent: str = "") -> AccessToken:
        """Open a session. A call that is cancelled while its password is queued leaves the queue.

        Args:
            address: The client's address. Failed logins are also counted by it, and the queue of passwords is fair to
                addresses.
            agent: What the client calls itself.

        Raises:
            Unauthorized: The same for an unknown name and a wrong password.
            SecondFactorRequired: The password is right, and the account has a second factor.
            PasswordLoginDisabled.
            TooManyRequests.
            QueueFull: Too many passwords wait to be checked.
        """
        credential = await self._password_logins.check(username, password, address=address)
        return await self._open(credential.account, credential.password_hash, address=address, agent=agent)

    @property
    def accepts_passwords(self) -> bool:
        """Return False if only a provider of single sign-on logs in."""
        return self._password_logins.are_accepted

    def new_session(
        self,
        account_id: AccountId,
        role: Role,
        *,
        address: str,
        agent: str,
        proof: Proof = "password",
        family: str | None = None,
    ) -> NewSession:
        """Return the session of a login, which a store has to open.

        Args:
            family: That of the session which it replaces; None for the first session of a login.
        """
        return NewSession(
            id=_new_session_id(family),
            account_id=account_id,
            role=role,
            expires_at=self._clock.now() + self._token_life,
            address=address,
            agent=agent[:_MOST_AGENT_CHARACTERS],
            proof=proof,
        )

    async def _open(self, account: Account, password_hash: str, *, address: str, agent: str) -> AccessToken:
        now, session = self._clock.now(), self.new_session(account.id, account.role, address=address, agent=agent)
        entry = login_entry(session, at=now)

        def audit(is_open: bool) -> AuditEntry | None:
            return entry if is_open else None

        if not await self._store.open(session, at=now, password_hash=password_hash, audit=audit):
            self._audit.login_failed(account.id, address=address)
            raise Unauthorized("The account was changed in the meantime: log in again")
        return self.token_of(session)

    def token_of(self, session: NewSession) -> AccessToken:
        """Return the token of a session that a store has opened."""
        token = self._tokens.issue(session, now=self._clock.now())
        return AccessToken(token=token, expires_at=session.expires_at, account_id=session.account_id)

    async def authenticate(self, token: str, *, address: str = "") -> Caller:
        """Return the caller of a session's token or an API token, at this address. Raises: Unauthorized."""
        caller = self._known.get(token)
        if caller is None:
            changes = self._known.changes
            if tokens.is_api_token(token):
                caller = await self._find_api_token(token)
            else:
                caller = await self._find(self._tokens.verify(token))
            caller = replace(caller, address=address)
            # The session or token may have ended while it was looked up.
            if changes == self._known.changes:
                self._known.keep(token, caller)
        elif caller.address != address:
            caller = replace(caller, address=address)
            self._known.keep(token, caller)
        now = self._clock.now()
        if caller.expires_at <= now:
            self._known.forget(token)
            raise Unauthorized("The token has expired: get a new one")
        if isinstance(caller.credential, ApiToken):
            self._uses.note(caller.credential.id, now)
        elif isinstance(caller.credential, Session):
            self.session_uses.note(caller.credential.id, SessionUse(now, address))
        return caller

    async def authenticate_again(self, token: str, before: Caller) -> Caller:
        """Return the caller of a request under way as it is now: a refresh of its token since then ends no login.

        Raises: Unauthorized.
        """
        try:
            return await self.authenticate(token, address=before.address)
        except Unauthorized:
            if not isinstance(before.credential, Session):
                raise
            present = await self.present(await self.login_of(before))
            if present is None:
                raise
            return replace(present, address=before.address)

    async def _find_api_token(self, token: str) -> Caller:
        digest = tokens.digest(token)
        caller = None if digest is None else await self._api_tokens.find(digest)
        if caller is None:
            raise Unauthorized("The API token is not valid: it may have expired or been revoked")
        return caller

    async def _find(self, id: SessionId) -> Caller:
        caller = await self._store.find(id)
        if caller is None:
            raise Unauthorized("The session has ended: log in again")
        return replace(caller, requires_second_factor=self._requires_second_factor)

    async def family_of(self, caller: Caller) -> str:
        """Return the id to pass to `present`. Raises: Unauthorized if the session or API token has ended."""
        credential = caller.credential
        if isinstance(credential, ApiToken):
            if await self._api_tokens.find_alive(credential.id, now=self._clock.now()) is None:
                raise Unauthorized("The API token is not valid: it may have expired or been revoked")
            return await self.login_of(caller)
        assert isinstance(credential, Session), "a job sends no requests"
        family = await self._store.family(credential.id)
        if family is None:
            raise Unauthorized("The session has ended: log in again")
        return family

    async def login_of(self, caller: Caller) -> str:
        """Return the same id, also if the session was refreshed since and its own time is over."""
        credential = caller.credential
        if isinstance(credential, ApiToken):
            return _OF_TOKENS + credential.id
        id = session_of(caller)
        return await self._store.family(id) or login_named_by(id)

    async def present(self, family: str) -> Caller | None:
        """Return the caller behind an API token or a login as it is now; None if that has ended."""
        now = self._clock.now()
        if family.startswith(_OF_TOKENS):
            return await self._api_tokens.find_alive(TokenId(family.removeprefix(_OF_TOKENS)), now=now)
        caller = await self._store.find_family(family, now=now)
        return None if caller is None else replace(caller, requires_second_factor=self._requires_second_factor)

    async def refresh(self, caller: Caller, *, agent: str = "") -> AccessToken:
        """Raises: Unauthorized if the token was refreshed before; TooManyRequests."""
        old, now = session_of(caller), self._clock.now()
        self._renewed.take(caller.account_id, at=now)
        family = await self.login_of(caller)
        new = self.new_session(caller.account_id, caller.role, address=caller.address, agent=agent, family=family)
        reuse = act_on_account(
            caller, "refresh.reused", "session", credential_of(caller), at=now, account_id=caller.account_id
        )

        def audit(renewal: Renewal) -> AuditEntry | None:
            return replace(reuse, outcome="denied") if renewal is Renewal.REUSED else None

        renewal = await self._store.replace(old, new, now=now, old_ends_at=now + REFRESH_GRACE, audit=audit)
        self._known.credential_replaced(caller)
        if renewal is Renewal.REPLACED:
            return self.token_of(new)
        self._renewed.give_back(caller.account_id)
        if renewal is Renewal.REUSED:
            await self._known.sessions_ended(caller.account_id)
        raise Unauthorized("The token was refreshed before: use the newer one, or log in again")

    async def refuse_refresh(self, token: str, *, address: str = "") -> None:
        """Handle an attempt to refresh a token that is no longer valid.

        A token that was refreshed before is in the hands of two clients, one of which did not log in: all sessions of
        the login end.
        """
        try:
            id = self._tokens.verify(token)
        except Unauthorized:
            return
        now = self._clock.now()

        def audit(account_id: AccountId | None) -> AuditEntry | None:
            if account_id is None:
                return None
            entry = _of_session(id, account_id, "refresh.reused", at=now, address=address)
            return replace(entry, outcome="denied")

        account_id = await self._store.end_if_replaced(id, audit=audit)
        if account_id is not None:
            await self._known.sessions_ended(account_id)

    async def logout(self, caller: Caller) -> None:
        """End the session, together with the ones that it was refreshed from or into."""
        session = session_of(caller)
        now, id = self._clock.now(), caller.account_id
        entry = act_on_account(caller, "logout", "session", credential_of(caller), at=now, account_id=id)
        await self._store.end(session, audit=entry)
        await self._known.sessions_ended(caller.account_id)

    async def issue_ticket(self, caller: Caller) -> Ticket:
        """Raises: TooManyRequests."""
        session, ticket, now = session_of(caller), new_token(), self._clock.now()
        self._renewed.take(caller.account_id, at=now)
        expires_at = now + TICKET_LIFE
        await self._store.save_ticket(digest_of_token(ticket), session, expires_at=expires_at)
        return Ticket(ticket=ticket, expires_at=expires_at)

    async def redeem_ticket(self, ticket: str) -> Caller:
        """Raises: Unauthorized if it was used, has expired, or its session has ended."""
        session_id = await self._store.take_ticket(digest_of_token(ticket), now=self._clock.now())
        if session_id is None:
            raise Unauthorized("The ticket is not valid: it can be used once, within 30 seconds")
        caller = await self._find(session_id)
        if caller.expires_at <= self._clock.now():
            raise Unauthorized("The session has ended: log in again")
        return caller

    async def purge(self) -> None:
        """Delete sessions, tickets and API tokens that have expired."""
        now = self._clock.now()
        await commit_in_portions(lambda: self._store.purge(now=now, limit=PURGED_AT_ONCE))
        await commit_in_portions(lambda: self._api_tokens.purge(now=now, limit=PURGED_AT_ONCE))


# Prefix of `family_of` for an API token; the id of a session's family is random letters and digits.
_OF_TOKENS: Final = "token:"


def login_entry(session: NewSession, *, at: datetime) -> AuditEntry:
    """Return the entry for a login, with what it has shown besides a password."""
    entry = _of_session(session.id, session.account_id, "login.succeeded", at=at, address=session.address)
    return entry if session.proof == "password" else replace(entry, details={"proof": session.proof})


def _of_session(id: SessionId, account_id: AccountId, action: str, *, at: datetime, address: str) -> AuditEntry:
    name = session_name(id)
    return AuditEntry(
        at=at,
        action=action,
        object=("session", name),
        actor=account_id,
        credential=name,
        address=address,
        workspace_id=personal_workspace(account_id),
    )


def _new_session_id(family: str | None) -> SessionId:
    """Return an id that names its login: see `login_named_by`."""
    id = secrets.token_urlsafe(18)
    return SessionId(id if family is None else f"{family}.{id}")
