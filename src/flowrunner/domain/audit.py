"""Entries of the audit log, one for each act of a person or program."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Literal, TypeAlias

from flowrunner.domain.account import ApiToken, Caller, JobRun
from flowrunner.domain.mails import OutgoingMail
from flowrunner.domain.request_keys import RequestKey
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import JSON, AccountId, WorkspaceId, personal_workspace

Outcome: TypeAlias = Literal["done", "failed", "denied"]


@static_dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A single act. An entry holds ids and names only. Those that people chose are without values of secrets.

    Attributes:
        actor: The account that acted; None for an unknown client, and for the server itself.
        credential: The credential used: `session:…`, `token:…`, `job:…`, `setup`, `server`, or "".
        address: The client's address.
        action: A dotted name, such as `flow.created`.
        object: Kind and id of the object.
        workspace_id: The workspace of the act; for an act on an account, its personal one.
        request: The key that the act claims, if the request has one; it is no part of the log.
        mails: The e-mails about the act, which are no part of the log either.
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
    request: RequestKey | None = None
    mails: tuple[OutgoingMail, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """A stored entry: numbered, with a hash over itself and the previous row."""

    seq: int
    entry: AuditEntry
    previous: bytes
    hash: bytes


def act(
    caller: Caller | None,
    action: str,
    kind: str,
    id: str,
    *,
    at: datetime,
    workspace_id: WorkspaceId | None = None,
    details: Mapping[str, JSON] | None = None,
    mails: tuple[OutgoingMail, ...] = (),
) -> AuditEntry:
    """Return the entry for an act of ``caller``, in the workspace where the request acts unless another is given.

    Args:
        caller: None for the server itself, and for its operator, who needs no account.
    """
    if caller is None:
        return AuditEntry(
            at=at,
            action=action,
            object=(kind, id),
            credential="server",
            workspace_id=workspace_id,
            details=details or {},
            mails=mails,
        )
    return AuditEntry(
        at=at,
        action=action,
        object=(kind, id),
        actor=caller.account_id,
        credential=credential_of(caller),
        address=caller.address,
        workspace_id=workspace_id or caller.workspace_id,
        details=details or {},
        request=caller.request,
        mails=mails,
    )


def act_on_account(
    caller: Caller | None,
    action: str,
    kind: str,
    id: str,
    *,
    at: datetime,
    account_id: AccountId,
    details: Mapping[str, JSON] | None = None,
    mails: tuple[OutgoingMail, ...] = (),
) -> AuditEntry:
    """Return the entry for an act, as `act` does, on an account or what it logs in with, in its personal workspace."""
    where = personal_workspace(account_id)
    return act(caller, action, kind, id, at=at, workspace_id=where, details=details, mails=mails)


def credential_of(caller: Caller) -> str:
    credential = caller.credential
    if isinstance(credential, ApiToken):
        return f"token:{credential.id}"
    if isinstance(credential, JobRun):
        return f"job:{credential.id}"
    return session_name(credential.id)


# A session acts many times in a row.
@lru_cache(maxsize=1024)
def session_name(id: str) -> str:
    # Distinguishes sessions, but cannot be used to take one over.
    return f"session:{hashlib.sha256(id.encode()).hexdigest()[:16]}"
