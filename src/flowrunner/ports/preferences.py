"""The store of what accounts prefer in the interface."""

from datetime import datetime
from typing import Protocol

from flowrunner.domain.values import AccountId


class PreferenceStore(Protocol):
    async def get(self, account_id: AccountId) -> bytes | None:
        """Return the preferences as a JSON text; None if there are none."""
        ...

    async def put(self, account_id: AccountId, data: bytes, *, at: datetime) -> None:
        """Replace the preferences. Raises: NotFound if the account is gone."""
        ...
