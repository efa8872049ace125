"""The share of the audit log that one account takes. Beyond it, acts are counted."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.values import AccountId

WINDOW: Final = timedelta(hours=1)
# Entries of one account in a window about one kind of object, such as executions. Kinds are apart, so that many starts
# hide no change of a secret.
MOST_ENTRIES: Final = 10_000
# Pairs of account and kind that are counted in a window, to bound its memory.
_MOST_SHARES: Final = 100_000


class AuditShares:
    """Numbers of the entries that a process has written. Used by its one writer only."""

    def __init__(self) -> None:
        self._began_at: datetime | None = None
        self._written: Counter[tuple[AccountId, str]] = Counter()

    def has_room(self, entry: AuditEntry) -> bool:
        """Count an entry; return whether it is written, and not only counted."""
        if entry.actor is None:
            return True
        # The absolute value: the clock may have been set back.
        if self._began_at is None or abs(entry.at - self._began_at) >= WINDOW:
            self._began_at = entry.at
            self._written.clear()
        share = entry.actor, entry.action.partition(".")[0]
        if share not in self._written and len(self._written) >= _MOST_SHARES:
            return True
        self._written[share] += 1
        return self._written[share] <= MOST_ENTRIES
