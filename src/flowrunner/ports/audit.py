"""The audit log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from flowrunner.domain.audit import AuditEntry, AuditRow, Outcome
from flowrunner.ports.page import Page

# What is written into the audit log in the transaction of an act: an entry, or what makes one, or none,
# of the act's result. It is called on another thread. An act that raises leaves none.
Audit: TypeAlias = AuditEntry | Callable[[Any], AuditEntry | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries somebody wants to see; None is any. ``until`` is not among them."""

    actor: str | None = None
    account_id: str | None = None
    action: str | None = None
    object_kind: str | None = None
    object_id: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None


class AuditStore(Protocol):
    async def add(self, entry: AuditEntry) -> None:
        """For an act that changes nothing else. Any other takes its entry along."""
        ...

    async def page(self, wanted: AuditFilter, *, page: Page) -> tuple[Sequence[AuditRow], int]:
        """The newest first, with the total."""
        ...

    async def purge(self, *, before: datetime, limit: int) -> int:
        """Delete some of the oldest entries, from before then; gives how many. The rest still follows from them."""
        ...
