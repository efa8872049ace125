"""The store of what accounts prefer in the interface."""

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
            check: Called in the same transaction with the present ones; what it raises prevents the change.

        Raises: NotFound if the account is gone.
        """
        ...
