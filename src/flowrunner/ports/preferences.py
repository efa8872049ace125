"""The store of accounts' preferences in the interface."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from flowrunner.domain.values import AccountId


class PreferenceStore(Protocol):
    async def get(self, account_id: AccountId) -> bytes | None:
        """Return the preferences as a JSON text; None if there are none."""
        ...

    async def put(
        self, account_id: AccountId, data: bytes, *, at: datetime, check: Callable[[bytes | None], None]
    ) -> None:
        """Replace the preferences.

        Args:
            check: Called with the present ones in the same transaction; an exception prevents the change.

        Raises: NotFound if the account is gone.
        """
        ...
