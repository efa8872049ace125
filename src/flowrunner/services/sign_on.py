"""Single sign-on: logins by OpenID Connect providers, and the accounts that they are linked to."""

import contextlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from flowrunner.domain.account import Account, Caller
from flowrunner.domain.audit import AuditEntry, act_on_account
from flowrunner.domain.email_address import is_address, normal_email
from flowrunner.domain.errors import (
    Conflict,
    EmailTaken,
    LimitReached,
    NotFound,
    Unauthorized,
    Unavailable,
    invalid,
)
from flowrunner.domain.sign_on import Provider, ProviderAccount, SignOnFailed, own_path
from flowrunner.domain.values import JSON, AccountId, SessionId, personal_workspace
from flowrunner.ids import new_id
from flowrunner.lru_cache import LruCache
from flowrunner.ports.accounts import AccountStore
from flowrunner.ports.clock import Clock
from flowrunner.ports.sessions import SessionStore
from flowrunner.ports.sign_on import Identity, IdentityStore, LoginState, OpenIdClient, StateSigner
from flowrunner.services.email_confirmations import confirmation_of
from flowrunner.services.group_roles import GroupRoles, by_provider
from flowrunner.services.login_mails import LoginMails
from flowrunner.services.logins import check_recent_login
from flowrunner.services.random_tokens import digest_of_token, new_token
from flowrunner.services.rates import Allowance, source_of
from flowrunner.services.sessions import AccessToken, Sessions, login_entry

logger = structlog.get_logger()

STATE_LIFE: Final = timedelta(minutes=10)
_MOST_IDENTITIES: Final = 10
_MOST_CODE_CHARACTERS: Final = 4_096
_MOST_NAME_CHARACTERS: Final = 200
_KEPT_STATES: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOnStart:
    """The address at which the browser logs in, and the cookie that it keeps until it returns."""

    url: str
    cookie: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderReturn:
    """The parameters that a browser returns with; None for those that are missing."""

    state: str | None
    code: str | None
    issuer: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOn:
    """The end of a login. Args: token: None if an account was linked instead."""

    token: AccessToken | None
    next: str


class SignOn:
    """Use cases of single sign-on.

    Args:
        public_url: The address that browsers return to; None without providers.
        most_of_address: Failed logins of an address within 15 minutes; None is no limit.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        client: OpenIdClient,
        store: IdentityStore,
        group_roles: GroupRoles,
        sessions: Sessions,
        *,
        session_store: SessionStore,
        accounts: AccountStore,
        states: StateSigner,
        login_mails: LoginMails,
        clock: Clock,
        public_url: str | None,
        most_of_address: int | None,
    ) -> None:
        self.providers = tuple(providers)
        self._client = client
        self._store = store
        self._group_roles = group_roles
        self._sessions = sessions
        self._session_store = session_store
        self._accounts = accounts
        self._states = states
        self._login_mails = login_mails
        self._clock = clock
        self._public_url = public_url
        # States that came back to this process, whatever became of them. The store knows those that logged in.
        self._returned: LruCache[str, bool] = LruCache(_KEPT_STATES)
        self._failures: Allowance[str] = Allowance(
            most_of_address,
            limit="anonymous_logins",
            message="More than {most} logins from this address have failed: wait before the next one",
            fills_in=timedelta(minutes=15),
        )

    def _provider(self, id: str) -> Provider:
        provider = next((provider for provider in self.providers if provider.id == id), None)
        if provider is None:
            raise NotFound("provider")
        return provider

    def _return_to(self, provider: Provider) -> str:
        return f"{self._public_url}/sign-on/{provider.id}/return"

    async def start(self, id: str, *, next: str | None, address: str, session: SessionId | None = None) -> SignOnStart:
        """Start a login. Raises: NotFound for no such provider; SignOnFailed.

        Args:
            next: Where the browser goes afterwards; only a path of this server is.
            session: Link the account of this session instead of logging in.
        """
        provider = self._provider(id)
        state = LoginState(
            provider=provider.id,
            state=new_token(),
            nonce=new_token(),
            verifier=secrets.token_urlsafe(48),
            next=own_path(next),
            session=session,
        )
        try:
            url = await self._client.authorization_url(provider, state, return_to=self._return_to(provider))
        except SignOnFailed as error:
            _log_failure(error, provider, address=address)
            raise
        expires_at = self._clock.now() + STATE_LIFE
        return SignOnStart(url=url, cookie=self._states.sign(state, expires_at=expires_at), expires_at=expires_at)

    async def start_link(self, caller: Caller, id: str, *, next: str | None) -> SignOnStart:
        """Start to link the caller's account. Raises: InvalidInput, SignOnFailed, RecentLoginRequired, Forbidden."""
        session = check_recent_login(caller, at=self._clock.now())
        if not any(provider.id == id for provider in self.providers):
            raise invalid("provider", "is not one of the providers that GET /api/v1/auth/methods lists", code="unknown")
        return await self.start(id, next=next, address=caller.address, session=session)

    async def finish(
        self, id: str, cookie: str | None, returned: ProviderReturn, *, address: str, agent: str
    ) -> SignedOn:
        """Finish a login, or the link of an account. Raises: NotFound, SignOnFailed, TooManyRequests."""
        provider, source = self._provider(id), source_of(address)
        self._failures.take(source, at=self._clock.now())
        try:
            done = await self._finish(provider, cookie, returned, address=address, agent=agent)
        except SignOnFailed as error:
            _log_failure(error, provider, address=address)
            if error.fault == "not_ready":
                self._failures.give_back(source)
            raise
        self._failures.give_back(source)
        return done

    async def _finish(
        self, provider: Provider, cookie: str | None, returned: ProviderReturn, *, address: str, agent: str
    ) -> SignedOn:
        state = self._state_of(provider, cookie, returned)
        try:
            return await self._finish_of(state, provider, returned, address=address, agent=agent)
        except (SignOnFailed, Unavailable) as error:
            failed = error if isinstance(error, SignOnFailed) else SignOnFailed("not_ready", str(error))
            failed.next = _next_after_failure(state)
            raise failed from None

    def next_after_failure(self, cookie: str | None) -> str | None:
        """Return where a browser goes that was linking an account; None for a login, and without a state."""
        with contextlib.suppress(Unauthorized):
            return _next_after_failure(self._states.open(cookie or ""))
        return None

    async def _finish_of(
        self, state: LoginState, provider: Provider, returned: ProviderReturn, *, address: str, agent: str
    ) -> SignedOn:
        if returned.error is not None or not returned.code or len(returned.code) > _MOST_CODE_CHARACTERS:
            raise SignOnFailed("refused", "The provider has not logged the person in")
        found = await self._client.identify(
            provider, state, code=returned.code, issuer=returned.issuer, return_to=self._return_to(provider)
        )
        if state.session is not None:
            await self._link(provider, state, state.session, found, address=address)
            return SignedOn(token=None, next=state.next)
        identity, account = await self._known(provider, found, address=address)
        if account.is_disabled:
            raise SignOnFailed("disabled", "The account is disabled here")
        session = self._sessions.new_session(account.id, account.role, address=address, agent=agent, proof="provider")
        now = self._clock.now()
        is_open = await self._store.open(
            identity,
            session,
            state_digest=digest_of_token(state.state),
            state_expires_at=now + STATE_LIFE,
            at=now,
            audit=lambda _: by_provider(login_entry(session, at=now), provider),
        )
        if not is_open:
            raise SignOnFailed("expired", "The login was used before, or the account was changed in the meantime")
        # A login that is refused, such as a repeated one, changes nothing.
        if found.email is not None and not account.is_email_confirmed and is_address(found.email, account.email):
            now, credential = self._clock.now(), f"provider:{provider.id}"
            entry = confirmation_of(account, at=now, credential=credential, address=address)
            # The address may have been changed since.
            with contextlib.suppress(NotFound):
                await self._accounts.confirm_email(account.id, account.email, at=now, audit=entry)
        await self._group_roles.apply(provider, account, found)
        return SignedOn(token=self._sessions.token_of(session), next=state.next)

    def _state_of(self, provider: Provider, cookie: str | None, returned: ProviderReturn) -> LoginState:
        """Return the state that this browser has begun this login with, which it can do once."""
        try:
            state = self._states.open(cookie or "")
        except Unauthorized:
            raise SignOnFailed("expired", "The browser has no state of a login, or one that has expired") from None
        given = (returned.state or "").encode("utf-8", "surrogatepass")
        if state.provider != provider.id or not hmac.compare_digest(state.state.encode(), given):
            raise SignOnFailed("expired", "The state is that of another login")
        digest = digest_of_token(state.state)
        if self._returned.get(digest):
            raise SignOnFailed("expired", "The state was used before")
        self._returned.keep(digest, True)
        return state

    async def _known(self, provider: Provider, found: ProviderAccount, *, address: str) -> tuple[Identity, Account]:
        """Return the account that is linked, or a new one if the provider may create accounts."""
        known = await self._store.find(found.issuer, found.subject)
        if known is not None:
            return known
        if not provider.creates_accounts:
            raise SignOnFailed("no_account", "No account is linked to this account of the provider")
        email = _email_of(found)
        now = self._clock.now()
        account = Account(
            id=AccountId(new_id("account", now)),
            name=_name_of(found, email),
            email=email,
            role=provider.role,
            created_at=now,
            updated_at=now,
            is_email_confirmed=True,
        )
        identity = self._identity_of(provider, found, account.id)
        entry = AuditEntry(
            at=now,
            action="account.created",
            object=("account", account.id),
            address=address,
            workspace_id=personal_workspace(account.id),
            details={"role": account.role},
        )
        try:
            await self._store.create(account, identity, audit=by_provider(entry, provider))
        except EmailTaken:
            raise SignOnFailed("email_taken", "Another account has the e-mail address") from None
        except Conflict:
            raise SignOnFailed("expired", "The account was linked in the meantime") from None
        return identity, account

    def _identity_of(self, provider: Provider, found: ProviderAccount, account_id: AccountId) -> Identity:
        now = self._clock.now()
        return Identity(
            id=new_id("identity", now),
            account_id=account_id,
            provider=provider.id,
            issuer=found.issuer,
            subject=found.subject,
            created_at=now,
        )

    async def _link(
        self, provider: Provider, state: LoginState, session: SessionId, found: ProviderAccount, *, address: str
    ) -> None:
        caller = await self._session_store.find(session)
        if caller is None:
            raise SignOnFailed("expired", "The session that began to link the account has ended")
        identity, now = self._identity_of(provider, found, caller.account_id), self._clock.now()
        details: dict[str, JSON] = {"provider": provider.id}
        text = f"Your account was linked to one of '{provider.id}', by which it logs in from now on."
        with self._login_mails.about(caller.account_id, text) as mails:
            by, id = replace(caller, address=address), caller.account_id
            entry = act_on_account(
                by, "identity.linked", "identity", identity.id, at=now, account_id=id, details=details, mails=mails
            )
            try:
                await self._store.add(
                    identity,
                    session=session,
                    state_digest=digest_of_token(state.state),
                    state_expires_at=now + STATE_LIFE,
                    most=_MOST_IDENTITIES,
                    audit=entry,
                )
            except LimitReached as error:
                raise SignOnFailed("too_many_links", str(error)) from None
            except Conflict as error:
                raise SignOnFailed("taken", str(error)) from None


def _next_after_failure(state: LoginState) -> str | None:
    return None if state.session is None else state.next


def _log_failure(error: SignOnFailed, provider: Provider, *, address: str) -> None:
    logger.warning("sign_on.failed", provider=provider.id, fault=error.fault, reason=str(error), address=address)


def _email_of(found: ProviderAccount) -> str:
    """Return the normalised address of a new account. Raises: SignOnFailed."""
    try:
        return normal_email(found.email or "")
    except ValueError:
        raise SignOnFailed("no_email", "The provider has not verified an e-mail address") from None


def _name_of(found: ProviderAccount, email: str) -> str:
    name = "".join(filter(str.isprintable, found.name or "")).strip()[:_MOST_NAME_CHARACTERS]
    return name or email.partition("@")[0]
