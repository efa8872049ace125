"""The store of links that set a new password."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.account import Account
from flowrunner.domain.values import AccountId
from flowrunner.ports.audit import Audit


@dataclass(frozen=True, slots=True)
class LosingAccount:
    """An account that may get a link.

    Attributes:
        has_password: It does not log in by a provider alone.
    """

    account: Account
    has_password: bool


@dataclass(frozen=True, slots=True)
class PasswordReset:
    """A link that sets a new password, with the other means by which its account logs in.

    Attributes:
        second_factors: The number of confirmed second factors.
        providers: The ids of the providers whose accounts are linked.
    """

    account: Account
    second_factors: int
    providers: Sequence[str]


class PasswordResetStore(Protocol):
    async def account(self, *, id: AccountId | None = None, email: str | None = None) -> LosingAccount | None:
        """Return the account with this id or normalised address, if it may log in; otherwise None."""
        ...

    async def save(
        self,
        account_id: AccountId,
        digest: str,
        *,
        at: datetime,
        expires_at: datetime,
        most: int,
        audit: Audit = None,
    ) -> None:
        """Save the digest of a link's token, and end the oldest links of the account beyond ``most``."""
        ...

    async def find(self, digest: str, *, now: datetime) -> PasswordReset | None:
        """Return a link; None if it was used, has expired, or its account may not log in."""
        ...

    async def use(self, digest: str, *, password_hash: str, at: datetime, audit: Audit = None) -> None:
        """Set a new password, and end all links, logins and API tokens of the account.

        Its second factors and its links to providers remain.

        Raises: NotFound when `find` returns None.
        """
        ...

    async def purge(self, *, now: datetime, limit: int) -> bool:
        """Delete at most ``limit`` expired links; return whether there may be more."""
        ...
