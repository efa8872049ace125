"""The store of the audit log, and the hashes that chain its entries."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from flowrunner.domain.audit import AuditEntry, AuditRow, Outcome
from flowrunner.domain.values import JSON
from flowrunner.ports.page import Listed, Page

_json: Final = msgspec.json.Encoder()

# The audit entries of a change, written in its transaction: an entry, None, or a function from the result of the change
# to one entry, several or None. The function is called on another thread. A change that raises writes no entry.
Audit: TypeAlias = AuditEntry | Callable[[Any], AuditEntry | Sequence[AuditEntry] | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """A selection of entries; None selects any. ``until`` itself is excluded.

    Attributes:
        has_account: Include logins to the account of a personal workspace, and changes of the account.
    """

    actor: str | None = None
    workspace_id: str | None = None
    has_account: bool = True
    action: str | None = None
    object_kind: str | None = None
    object_id: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None


class AuditStore(Protocol):
    async def add(self, entry: AuditEntry) -> None:
        """Write an entry that belongs to no change; a change passes its entry to its own store."""
        ...

    async def page(self, wanted: AuditFilter, page: Page) -> Listed[AuditRow]:
        """Return a page of entries, the newest first.

        A limited number of entries is examined, so a short page may have a cursor, too.
        """
        ...

    async def write_counts(self, *, since_before: datetime, at: datetime, limit: int) -> bool:
        """Write an entry with the number for each kind of act of an account that was counted since before then.

        Return whether there are more than ``limit``.
        """
        ...

    async def purge(self, *, before: datetime, limit: int, audit: Audit = None) -> int:
        """Delete at most ``limit`` of the oldest entries from before then; return their number.

        The hash chain of the remaining entries stays verifiable.
        """
        ...


def chain_hash(previous: bytes, values: Sequence[Any]) -> bytes:
    """Return the hash of an entry, over its values and the hash of the entry before it.

    Args:
        values: Number, time in milliseconds since 1970, actor, credential, address, action, kind and id of the object,
            workspace, outcome, and the text of `details_text`.
    """
    return hashlib.sha256(previous + _json.encode(values)).digest()


def details_text(details: Mapping[str, JSON]) -> str:
    """Return the details of an entry as JSON, as they are stored and hashed."""
    return _json.encode(details).decode() if details else "{}"
