"""Stores of accounts, sessions and API tokens, and the parts that check credentials."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Final, Protocol

from flowrunner.domain.account import Account, Caller, Proof, Role, Scope
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.values import AccountId, SessionId, TokenId, WorkspaceId
from flowrunner.domain.workspace import OfDeletedAccount
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page

# Stored in place of a hash for an account that logs in by a provider only. No password matches it.
NO_PASSWORD: Final = "!"  # noqa: S105 # none


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An account with the hash that the password of a login is checked against.

    Attributes:
        has_second_factor: The account has a confirmed second factor, which the login has to use, too.
    """

    account: Account
    password_hash: str
    has_second_factor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationLink:
    """A link that confirms the e-mail address of an account. Attributes: digest: The digest of its token."""

    digest: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChanges:
    """The fields of an account that change; None leaves one as it is.

    Attributes:
        is_email_confirmed: A new address is not confirmed unless this is True.
    """

    name: str | None = None
    email: str | None = None
    role: Role | None = None
    password_hash: str | None = None
    is_disabled: bool | None = None
    is_email_confirmed: bool | None = None


class AccountStore(Protocol):
    async def create(
        self,
        account: Account,
        *,
        password_hash: str,
        only_if_first: bool = False,
        link: ConfirmationLink | None = None,
        audit: Audit = None,
    ) -> None:
        """Raises: EmailTaken; Conflict if ``only_if_first`` and there is an account."""
        ...

    async def update(
        self,
        id: AccountId,
        changes: AccountChanges,
        *,
        by: AccountId,
        at: datetime,
        old_password_hash: str | None = None,
        known_email: str | None = None,
        link: ConfirmationLink | None = None,
        audit: Audit = None,
    ) -> tuple[Account, bool]:
        """Change the fields that are not None; return the account and whether its sessions ended.

        A new role, a new password, disabling and enabling end them. A new password ends its API tokens too.

        Args:
            by: The account that makes the change; its current rights decide.
            old_password_hash: Hash of the password that was checked for the change; None if none was.
            known_email: Reject the change if the account no longer has this address.
            link: The link that confirms a new address; it replaces any earlier one.

        Raises:
            NotFound: Also if ``by`` may not see the account.
            Forbidden: If the role, `is_disabled` or `is_email_confirmed` is to change and ``by`` is not an admin.
            EmailTaken.
            Conflict: If no active admin would remain, or the password or the address has changed since it was checked.
        """
        ...

    async def delete(
        self,
        id: AccountId,
        *,
        at: datetime,
        workspace: OfDeletedAccount | None = "delete",
        to: AccountId | None = None,
        audit: Audit = None,
    ) -> tuple[AccountId, ...]:
        """Delete an account, and end its sessions and API tokens.

        Args:
            workspace: What to do with the personal workspace; None deletes it if it has neither flows nor members.
            to: The account that gets the workspace, and becomes an admin of it.

        Returns:
            The members of the personal workspace: their rights there have changed or ended.

        Raises:
            NotFound: If the account does not exist, or the one that gets the workspace.
            Conflict: If no admin would remain, in the installation or in a shared workspace; if ``workspace`` is None
                and the personal workspace is not empty; or if nobody can keep it.
        """
        ...

    async def get(self, id: AccountId) -> Account:
        """Raises: NotFound."""
        ...

    async def credential(self, email: str) -> Credential | None:
        """Return the account with this address; None if there is none, or it is disabled."""
        ...

    async def set_confirmation_link(
        self, id: AccountId, email: str, link: ConfirmationLink, *, audit: Audit = None
    ) -> None:
        """Replace the link that confirms an address.

        Raises: Conflict if the address is confirmed, or is not the account's.
        """
        ...

    async def use_confirmation_link(self, id: AccountId, digest: str, *, at: datetime, audit: Audit = None) -> Account:
        """Confirm the address of an account with its link. Raises: NotFound if the account no longer has the link."""
        ...

    async def confirm_email(self, id: AccountId, email: str, *, at: datetime, audit: Audit = None) -> None:
        """Confirm an address. Raises: NotFound if it is no longer the account's."""
        ...

    async def rehash(self, id: AccountId, *, old: str, new: str) -> bool:
        """Replace ``old`` with another hash of the same password; return False if ``old`` is no longer stored."""
        ...

    async def page(self, *, role: Role | None, page: Page) -> tuple[Sequence[Account], int]: ...
    async def any(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session to open, for an account that has this role.

    Attributes:
        address: The address of the client.
        agent: The client's `User-Agent`.
    """

    id: SessionId
    account_id: AccountId
    role: Role
    expires_at: datetime
    address: str = ""
    agent: str = ""
    proof: Proof = "password"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A login that has not ended, with the live one of the sessions that refreshed it.

    Attributes:
        family: The id that the sessions of the login share.
        last_used_at: The last use, to about a minute; None if an earlier version has opened it.
    """

    family: str
    logged_in_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class SessionUse:
    at: datetime
    address: str


class Renewal(Enum):
    """The outcome of replacing a session with another."""

    REPLACED = auto()
    # The session was replaced a moment ago: probably a repeated request.
    REPEATED = auto()
    # The session was replaced before, so two clients have its token: all sessions of the login have ended.
    REUSED = auto()
    ENDED = auto()


class SessionStore(Protocol):
    async def open(self, session: NewSession, *, at: datetime, password_hash: str | None, audit: Audit = None) -> bool:
        """Open a session for an account that has just logged in; return whether it was opened.

        It is not if the account has got another password or role meanwhile, or was disabled or deleted.

        Args:
            password_hash: The password that was checked; None for a login without one.
        """
        ...

    async def find(self, id: SessionId) -> Caller | None:
        """Return the caller of a live session, with the account's current role; None if it has ended."""
        ...

    async def family(self, id: SessionId) -> str | None:
        """Return the id that a session shares with the others of its login; None if it has ended."""
        ...

    async def find_family(self, family: str, *, now: datetime) -> Caller | None:
        """Return the caller of a live session of the family, as `find` does; None if all have ended."""
        ...

    async def replace(
        self, old: SessionId, new: NewSession, *, now: datetime, old_ends_at: datetime, audit: Audit = None
    ) -> Renewal:
        """Open ``new`` in the same login and end ``old`` at ``old_ends_at``, unless ``old`` was replaced before."""
        ...

    async def end_if_replaced(self, id: SessionId, *, audit: Audit = None) -> AccountId | None:
        """End all sessions of a login if this one was replaced before; return their account, or None."""
        ...

    async def end(self, id: SessionId, *, audit: Audit = None) -> None:
        """End the session and the one it replaced, if that is still alive."""
        ...

    async def logins(self, account_id: AccountId, *, now: datetime, page: Page) -> tuple[Sequence[SessionView], int]:
        """Return a page of the account's logins that have not ended, the newest first, and the total."""
        ...

    async def end_logins(
        self, account_id: AccountId, *, only: str | None, but: str | None, audit: Callable[[int], AuditEntry | None]
    ) -> int:
        """End logins of the account; return the number of their sessions.

        Args:
            only: Family of the login to end; None for all.
            but: Family of the login to keep.
        """
        ...

    async def note_uses(self, uses: Mapping[SessionId, SessionUse]) -> None: ...
    async def save_ticket(self, digest: str, session_id: SessionId, *, expires_at: datetime) -> None: ...

    async def take_ticket(self, digest: str, *, now: datetime) -> SessionId | None:
        """Redeem a ticket; return its session, or None if the ticket is not valid."""
        ...

    async def open_by_ticket(
        self, digest: str, new: Callable[[Caller], NewSession], *, now: datetime, audit: Audit = None
    ) -> NewSession | None:
        """Redeem a ticket for a session in a new login, which counts as old as the login of the ticket.

        One commit does all of it, so that ending the session of the ticket leaves no session that the ticket opened.

        Args:
            new: Returns the session to open for the caller of the ticket. Called on another thread.

        Returns:
            The session; None if the ticket is not valid, or its session has ended.
        """
        ...

    async def purge(self, *, now: datetime) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """An API token without its secret, which only its holder knows.

    Attributes:
        last_used_at: The last use, to about a minute; None if it was never used.
        workspace_id: The workspace that it is valid for; None for the account's personal one.
    """

    id: TokenId
    account_id: AccountId
    name: str
    scopes: Sequence[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    workspace_id: WorkspaceId | None = None


class TokenStore(Protocol):
    async def create(
        self, account_id: AccountId, token: TokenView, *, digest: str, by: SessionId, most: int, audit: Audit = None
    ) -> None:
        """Raises: Conflict if there are ``most`` already; Unauthorized if the session has ended."""
        ...

    async def find(self, digest: str) -> Caller | None:
        """Return the caller of a token, with the account's current role, even if it has expired; None if unknown."""
        ...

    async def find_alive(self, id: TokenId, *, now: datetime) -> Caller | None:
        """Return the caller of a token, as `find` does; None also if it has expired."""
        ...

    async def delete(self, account_id: AccountId, id: TokenId, *, audit: Audit = None) -> WorkspaceId | None:
        """Delete a token; return its workspace, None for the personal one. Raises: NotFound."""
        ...

    async def page(self, account_id: AccountId, *, page: Page) -> tuple[Sequence[TokenView], int]:
        """Return a page of tokens, the oldest first, and the total."""
        ...

    async def page_of_workspace(self, id: WorkspaceId, *, page: Page) -> tuple[Sequence[TokenView], int]:
        """Return a page of all members' tokens for the workspace, the oldest first, and the total."""
        ...

    async def delete_of_workspace(self, workspace_id: WorkspaceId, id: TokenId, *, audit: Audit = None) -> AccountId:
        """Delete a token for the workspace; return its account. Raises: NotFound."""
        ...

    async def note_uses(self, uses: Mapping[TokenId, datetime]) -> None: ...
    async def purge(self, *, now: datetime) -> None: ...


class PasswordHasher(Protocol):
    """Password hashing with a bound on concurrent hashes and a fair queue.

    Both methods take the ``source`` of the request, such as an address. The queue is round-robin over sources, and
    both methods raise QueueFull if too many calls wait. A call that is cancelled while it waits leaves the queue.
    """

    async def hash(self, password: str, *, source: str) -> str: ...
    async def verify(self, password_hash: str | None, password: str, *, source: str) -> bool:
        """Return whether the password matches; None, for an unknown account, takes as long as a wrong password."""
        ...

    def is_outdated(self, password_hash: str) -> bool: ...


class TokenIssuer(Protocol):
    def issue(self, session: NewSession, *, now: datetime) -> str: ...

    def verify(self, token: str) -> SessionId:
        """Return the session of a token. Raises: Unauthorized."""
        ...
