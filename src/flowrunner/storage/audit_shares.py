"""The share of the audit log that acts of one account on executions take. Beyond it, they are counted.

Other acts have limits of their own: see `account_changes` and the limits of logins. Nothing but its entry is left of an
execution that was deleted.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.values import AccountId

WINDOW: Final = timedelta(hours=1)
# Entries of one account in a window for one action. Actions are apart, so that many starts hide no cancellation.
MOST_ENTRIES: Final = 36_000
# Pairs of account and action that are counted in a window, to bound its memory.
_MOST_SHARES: Final = 100_000


class AuditShares:
    """Numbers of the entries that a process has written. Used by its one writer only.

    What a transaction has counted is forgotten unless it was committed: its operations may be run again.
    """

    def __init__(self) -> None:
        self._began_at: datetime | None = None
        self._written: Counter[tuple[AccountId, str]] = Counter()
        # Those of the open transaction.
        self._added: Counter[tuple[AccountId, str]] = Counter()

    def begin(self) -> None:
        """Forget what an earlier transaction has left uncommitted."""
        self._added.clear()

    def commit(self) -> None:
        self._written.update(self._added)
        self._added.clear()

    def has_room(self, entry: AuditEntry) -> bool:
        """Count an entry; return whether it is written, and not only counted."""
        if entry.actor is None or not entry.action.startswith("execution.") or entry.action == "execution.deleted":
            return True
        # The absolute value: the clock may have been set back.
        if self._began_at is None or abs(entry.at - self._began_at) >= WINDOW:
            self._began_at = entry.at
            self._written.clear()
            self._added.clear()
        share = entry.actor, entry.action
        if share not in self._written and len(self._written) + len(self._added) >= _MOST_SHARES:
            return True
        self._added[share] += 1
        return self._written[share] + self._added[share] <= MOST_ENTRIES
