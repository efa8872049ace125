"""Accounts, sessions and API tokens, and what proves who somebody is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from flowrunner.domain.account import Account, Caller, Role, Scope
from flowrunner.domain.values import AccountId, SessionId, TokenId
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    account: Account
    password_hash: str


class AccountStore(Protocol):
    async def create(
        self, account: Account, *, password_hash: str, only_if_first: bool = False, audit: Audit = None
    ) -> None:
        """Raises: EmailTaken; Conflict if ``only_if_first`` and it is not."""
        ...

    async def update(
        self,
        id: AccountId,
        *,
        by: AccountId,
        at: datetime,
        name: str | None = None,
        email: str | None = None,
        role: Role | None = None,
        password_hash: str | None = None,
        old_password_hash: str | None = None,
        is_disabled: bool | None = None,
        audit: Audit = None,
    ) -> tuple[Account, bool]:
        """Change what is given and nothing else; the flag says whether this ended the account's sessions.

        A new role and a new password do, and disabling or enabling it. A new password ends its API tokens too.

        Args:
            by: Who changes it, with the rights that they have at this moment.
            old_password_hash: Of the password that was checked for this; None if none was.

        Raises:
            NotFound: Also if ``by`` may not see the account.
            Forbidden: If this is about the role, or whether it is disabled, and ``by`` is no admin.
            EmailTaken.
            Conflict: If no active admin would remain, or the password is no longer the one that was checked.
        """
        ...

    async def delete(self, id: AccountId, *, at: datetime, audit: Audit = None) -> None:
        """Ends its sessions and API tokens, and erases its secrets too.

        Raises: NotFound; Conflict if no admin would remain.
        """
        ...

    async def get(self, id: AccountId) -> Account:
        """Raises: NotFound."""
        ...

    async def credential(self, email: str) -> Credential | None:
        """None for nobody, and for an account that is disabled."""
        ...

    async def rehash(self, id: AccountId, *, old: str, new: str) -> bool:
        """Put another hash of the same password in the place of ``old``; False if that is not there any more."""
        ...

    async def page(self, *, role: Role | None, page: Page) -> tuple[Sequence[Account], int]: ...
    async def any(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session that is to be opened, for an account that has this role."""

    id: SessionId
    account_id: AccountId
    role: Role
    expires_at: datetime


class Renewal(Enum):
    """What became of the wish to replace a session by another."""

    REPLACED = auto()
    # It was replaced a moment ago, and nothing points to a thief.
    REPEATED = auto()
    # It was replaced before, so two have its token: all that the login led to has ended.
    REUSED = auto()
    ENDED = auto()


class SessionStore(Protocol):
    async def open(self, session: NewSession, *, at: datetime, password_hash: str, audit: Audit = None) -> bool:
        """Open a session for who has logged in at this moment.

        False, and nothing done, if the account has another password or role by now, or is disabled or gone.
        """
        ...

    async def find(self, id: SessionId) -> Caller | None:
        """The live session with its account's present role, or None."""
        ...

    async def family(self, id: SessionId) -> str | None:
        """What a session and whatever it is refreshed into have in common; None if it has ended."""
        ...

    async def is_family_alive(self, family: str, *, now: datetime) -> bool:
        """Whether any session of the family is."""
        ...

    async def replace(
        self, old: SessionId, new: NewSession, *, now: datetime, old_ends_at: datetime, audit: Audit = None
    ) -> Renewal:
        """Open ``new``, of the same login, and let ``old`` end, unless ``old`` was replaced before."""
        ...

    async def end_if_replaced(self, id: SessionId, *, audit: Audit = None) -> AccountId | None:
        """End all that a login led to, if this session of it was replaced before; whose they were, or None."""
        ...

    async def end(self, id: SessionId, *, audit: Audit = None) -> None:
        """End the session and the one it replaced, if that is still alive."""
        ...

    async def save_ticket(self, digest: str, session_id: SessionId, *, expires_at: datetime) -> None: ...

    async def take_ticket(self, digest: str, *, now: datetime) -> SessionId | None:
        """The session of a ticket, which is used up by this."""
        ...

    async def purge(self, *, now: datetime) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """An API token, but for what its holder shows: that is known to nobody else.

    Attributes:
        last_used_at: To about a minute; None if it never was.
    """

    id: TokenId
    name: str
    scopes: Sequence[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


class TokenStore(Protocol):
    async def create(
        self, account_id: AccountId, token: TokenView, *, digest: str, by: SessionId, most: int, audit: Audit = None
    ) -> None:
        """Raises: Conflict if there are ``most`` already; Unauthorized if the session has ended."""
        ...

    async def find(self, digest: str) -> Caller | None:
        """Who a token stands for, with their present role; it may have expired. None for no such token."""
        ...

    async def is_alive(self, id: TokenId, *, now: datetime) -> bool: ...

    async def delete(self, account_id: AccountId, id: TokenId, *, audit: Audit = None) -> None:
        """Raises: NotFound."""
        ...

    async def page(self, account_id: AccountId, *, page: Page) -> tuple[Sequence[TokenView], int]:
        """The oldest first, with the total."""
        ...

    async def note_uses(self, uses: Mapping[TokenId, datetime]) -> None: ...
    async def purge(self, *, now: datetime) -> None: ...


class PasswordHasher(Protocol):
    """Hashes few passwords at a time; others wait in turns.

    Each method takes the ``source`` of the request, such as an address. Sources take turns, and both methods raise
    QueueFull if too many wait. Who cancels the call while it waits takes it out of the queue.
    """

    async def hash(self, password: str, *, source: str) -> str: ...
    async def verify(self, password_hash: str | None, password: str, *, source: str) -> bool:
        """Take as long for None, which stands for no such account, as for a wrong password."""
        ...

    def is_outdated(self, password_hash: str) -> bool: ...


class TokenIssuer(Protocol):
    def issue(self, session: NewSession, *, now: datetime) -> str: ...

    def verify(self, token: str) -> SessionId:
        """The session a token stands for. Raises: Unauthorized."""
        ...
