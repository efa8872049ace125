"""The store of idempotency keys. A change claims the key of its request in its own transaction, by its audit entry."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.request_keys import ClaimedKey, KeptAnswer, RequestKey
from flowrunner.domain.values import AccountId, WorkspaceId


@dataclass(frozen=True, slots=True)
class ForgettableKey:
    """A key that is no longer needed, with the request that has claimed it."""

    account_id: AccountId
    key: str
    request_id: str


class RequestKeyStore(Protocol):
    async def find(self, account_id: AccountId, key: str, earlier: str | None = None) -> ClaimedKey | None:
        """Return the claim of an account's key, in this form or an ``earlier`` one; None if it is free."""
        ...

    async def keep(
        self,
        account_id: AccountId,
        workspace_id: WorkspaceId,
        request: RequestKey,
        answer: KeptAnswer | None,
        *,
        at: datetime,
    ) -> None:
        """Keep the answer of a request, and claim its key if no change of the request has. None keeps no answer."""
        ...

    async def old(self, *, claimed_before: datetime, limit: int) -> Sequence[ForgettableKey]:
        """Return keys that were claimed before then, the oldest first."""
        ...

    async def without_owner(self, *, limit: int) -> Sequence[ForgettableKey]:
        """Return keys of workspaces and accounts that were deleted."""
        ...

    async def forget(self, keys: Sequence[ForgettableKey]) -> None:
        """Delete keys with their answers, unless other requests have claimed them meanwhile."""
        ...
