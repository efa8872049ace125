"""The store of idempotency keys. A change claims the key of its request in its own transaction, by its audit entry."""

from datetime import datetime
from typing import Protocol

from flowrunner.domain.request_keys import ClaimedKey, KeptAnswer, RequestKey
from flowrunner.domain.values import AccountId, WorkspaceId


class RequestKeyStore(Protocol):
    async def find(self, account_id: AccountId, key: str) -> ClaimedKey | None:
        """Return the claim of an account's key; None if it is free."""
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

    async def purge(self, *, claimed_before: datetime) -> None: ...
