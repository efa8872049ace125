"""The store of links that set a new password."""

from datetime import datetime
from typing import Protocol

from flowrunner.domain.account import Account
from flowrunner.domain.values import AccountId
from flowrunner.ports.audit import Audit


class PasswordResetStore(Protocol):
    async def account(self, *, id: AccountId | None = None, email: str | None = None) -> Account | None:
        """Return the account that may log in with this id or normalised address; None if there is none."""
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
        """Save the digest of a link's token; the oldest beyond ``most`` links of the account end."""
        ...

    async def find(self, digest: str, *, now: datetime) -> Account | None:
        """Return the account of a link; None if it was used, has expired, or its account may not log in."""
        ...

    async def use(self, digest: str, *, password_hash: str, at: datetime, audit: Audit = None) -> AccountId:
        """Set a new password, and end all links, logins and API tokens of the account.

        Raises: NotFound as `find` returns None.
        """
        ...

    async def purge(self, *, now: datetime) -> None:
        """Delete the links that have expired."""
        ...
