"""What people and programs did: one entry for each act, kept for whoever has to find out later."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from flowrunner.domain.account import ApiToken, Caller
from flowrunner.domain.values import JSON, AccountId, WorkspaceId

Outcome: TypeAlias = Literal["done", "failed", "denied"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One act. It holds ids and the names of fields: no text that people wrote, and so no secret.

    Attributes:
        actor: Whose account acted; None for somebody unknown, and for whoever runs the server.
        credential: What proved it: `session:…`, `token:…`, `setup`, `console`, or nothing.
        address: Where the request came from.
        action: A dotted name, such as `flow.created`.
        object: What was acted on, as a kind and an id.
        workspace_id: The workspace that the act was in; for an act on an account its personal one.
    """

    at: datetime
    action: str
    object: tuple[str, str]
    actor: AccountId | None = None
    credential: str = ""
    address: str = ""
    workspace_id: WorkspaceId | None = None
    outcome: Outcome = "done"
    details: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """An entry as it is stored: numbered, and with the hash over itself and the row before."""

    seq: int
    entry: AuditEntry
    previous: bytes
    hash: bytes


def act(
    caller: Caller,
    action: str,
    kind: str,
    id: str,
    *,
    at: datetime,
    workspace_id: WorkspaceId | None = None,
    details: Mapping[str, JSON] | None = None,
) -> AuditEntry:
    """Return the entry for an act of ``caller``, in their personal workspace unless another is given."""
    return AuditEntry(
        at=at,
        action=action,
        object=(kind, id),
        actor=caller.account_id,
        credential=credential_of(caller),
        address=caller.address,
        workspace_id=workspace_id or caller.workspace_id,
        details=details or {},
    )


def credential_of(caller: Caller) -> str:
    credential = caller.credential
    if isinstance(credential, ApiToken):
        return f"token:{credential.id}"
    return session_name(credential.id)


def session_name(id: str) -> str:
    # Tells sessions apart, and is of no use to anybody who wants to take one over.
    return f"session:{hashlib.sha256(id.encode()).hexdigest()[:16]}"
