"""The store of providers' accounts that are linked, and the client of the providers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.account import Account
from flowrunner.domain.sign_on import Provider, ProviderAccount
from flowrunner.domain.values import AccountId, SessionId, WorkspaceId
from flowrunner.domain.workspace import WorkspaceRole
from flowrunner.ports.audit import Audit
from flowrunner.ports.sessions import NewSession


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An account of a provider that an account is linked to.

    Attributes:
        provider: The provider's id when it was linked.
    """

    id: str
    account_id: AccountId
    provider: str
    issuer: str
    subject: str
    created_at: datetime
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginState:
    """The state that a browser keeps between the start of a login and the return from the provider.

    Attributes:
        state: The provider sends it back with the browser.
        nonce: The provider sends it back in the ID token.
        verifier: Proves to the provider that the code is exchanged by the one who started the login (PKCE).
        next: The path that the browser opens afterwards.
        session: The session whose account is linked; None for a login.
    """

    provider: str
    state: str
    nonce: str
    verifier: str
    next: str
    session: SessionId | None = None


class StateSigner(Protocol):
    def sign(self, state: LoginState, *, expires_at: datetime) -> str: ...

    def open(self, text: str) -> LoginState:
        """Raises: Unauthorized if this installation has not signed it, or it has expired."""
        ...


class IdentityStore(Protocol):
    async def find(self, issuer: str, subject: str) -> tuple[Identity, Account] | None:
        """Return the identity of a provider's account, with the account that it is linked to."""
        ...

    async def create(self, account: Account, identity: Identity, *, audit: Audit = None) -> None:
        """Create an account without a password. Raises: EmailTaken; Conflict if the identity was linked meanwhile."""
        ...

    async def add(
        self,
        identity: Identity,
        *,
        session: SessionId,
        state_digest: str,
        state_expires_at: datetime,
        most: int,
        audit: Audit = None,
    ) -> None:
        """Link an account.

        Args:
            session: The session in which the account is linked.

        Raises: Conflict if the identity is linked, the state was used, or the session has ended; LimitReached.
        """
        ...

    async def of_account(self, account_id: AccountId) -> tuple[Sequence[Identity], bool]:
        """Return the identities of an account, and whether it has a password besides."""
        ...

    async def remove(
        self, account_id: AccountId, id: str, *, issuers: Collection[str], accepts_passwords: bool, audit: Audit = None
    ) -> None:
        """Remove a link.

        Args:
            issuers: Those of the providers that log in at present.
            accepts_passwords: Accounts log in with a password, too, if they have one.

        Raises: NotFound; Conflict if the account could no longer log in.
        """
        ...

    async def remove_all(self, account_id: AccountId, *, audit: Audit = None) -> None:
        """Remove all links of an account, and end its logins. Raises: NotFound."""
        ...

    async def open(
        self,
        identity: Identity,
        session: NewSession,
        *,
        state_digest: str,
        state_expires_at: datetime,
        at: datetime,
        audit: Audit = None,
    ) -> bool:
        """Open a session, and record that the state of the login was used.

        Return False, and change nothing, if the state was used before, or the account has changed.
        """
        ...

    async def role_in(self, account_id: AccountId, workspace: str) -> tuple[WorkspaceId, WorkspaceRole | None] | None:
        """Return a shared workspace, by id or slug, and the account's role in it; None if it does not exist."""
        ...


class OpenIdClient(Protocol):
    """Requests to providers. All methods raise SignOnFailed."""

    async def authorization_url(self, provider: Provider, state: LoginState, *, return_to: str) -> str:
        """Return the URL at which the browser logs in."""
        ...

    async def identify(
        self, provider: Provider, state: LoginState, *, code: str, issuer: str | None, return_to: str
    ) -> ProviderAccount:
        """Exchange a code, and return the account that the ID token names.

        Args:
            issuer: The issuer that came with the code; None if none came.
        """
        ...
