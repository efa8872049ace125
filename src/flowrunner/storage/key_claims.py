"""Claims of the idempotency keys of requests, in the transactions of their changes."""

from datetime import datetime
from typing import Any, Final

from flowrunner.domain.request_keys import RequestKey, RequestKeyTaken
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.storage.rows import to_ms
from flowrunner.storage.transaction import Transaction

# Changes nothing for another request with the key. One request may make its changes in several transactions.
CLAIM: Final = """
INSERT INTO request_keys (account_id, key, workspace_id, request_id, digest, created_at)
VALUES (:account_id, :key, :workspace_id, :request_id, :digest, :at)
    ON CONFLICT (account_id, key) DO UPDATE SET request_id = excluded.request_id
     WHERE request_keys.request_id = excluded.request_id
"""


async def claim(
    tx: Transaction, account_id: AccountId, workspace_id: WorkspaceId, request: RequestKey, *, at: datetime
) -> None:
    """Claim the key of a request in the open transaction. Raises: RequestKeyTaken if another request has it."""
    values: dict[str, Any] = {
        "account_id": account_id,
        "workspace_id": workspace_id,
        "key": request.key,
        "request_id": request.request_id,
        "digest": request.digest,
        "at": to_ms(at),
    }
    if await tx.run(CLAIM, values) == 0:
        raise RequestKeyTaken(request.key)
