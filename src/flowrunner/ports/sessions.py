"""Sessions of accounts, and the access tokens that name them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from flowrunner.domain.account import Caller, Proof, Role
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.values import AccountId, SessionId
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page


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


def login_named_by(id: SessionId) -> str:
    """Return the family that the id of a session names: its first session has it as id, and later ones before a dot.

    Ids that an earlier version has made for refreshed sessions name none.
    """
    return id.partition(".")[0]


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
        """Open ``new`` in the same login and end ``old`` at ``old_ends_at``, unless ``old`` was replaced before.

        A replaced session whose id names its login is forgotten when it ends.
        """
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

    async def purge(self, *, now: datetime, limit: int) -> bool:
        """Delete at most ``limit`` sessions, tickets and login challenges each that have expired.

        Returns: There may be more.
        """
        ...


class TokenIssuer(Protocol):
    def issue(self, session: NewSession, *, now: datetime) -> str: ...

    def verify(self, token: str) -> SessionId:
        """Return the session of a token. Raises: Unauthorized."""
        ...
