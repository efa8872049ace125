"""The audit log: read by admins, shortened in time; and what is refused, told in bounds.

Every act writes its own entry, with itself. What is refused changes nothing, so its entry stands alone;
and anybody may be refused as often as they like, so of many refusals only their number is kept.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.audit import AuditEntry, AuditRow, credential_of
from flowrunner.domain.values import JSON, AccountId
from flowrunner.ports import AuditFilter, AuditStore, Clock, Page

WINDOW: Final = timedelta(minutes=1)
# Entries in a window: of one kind of refusal, to one account or else to one address; and of all.
MOST_ALIKE: Final = 5
MOST: Final = 50
# Hardly anything, and still it must end.
_KINDS: Final = 1000
_PURGE_BATCH: Final = 1000


@dataclass(slots=True)
class _Window:
    """What was refused within one minute.

    Attributes:
        alike: How many there were of each kind.
        untold: How many have no entry of their own, by action.
    """

    began_at: datetime
    told: int = 0
    alike: Counter[tuple[str, str]] = field(default_factory=Counter)
    untold: Counter[str] = field(default_factory=Counter)


class AuditLog:
    def __init__(self, store: AuditStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._window: _Window | None = None

    async def page(self, caller: Caller, wanted: AuditFilter, *, page: Page) -> tuple[Sequence[AuditRow], int]:
        """Raises: Forbidden."""
        authorise(caller, Right.ADMIN)
        return await self._store.page(wanted, page=page)

    async def login_failed(self, whose: Callable[[], Awaitable[AccountId | None]], *, address: str) -> None:
        """Args: whose: Finds out whose name was given, which is asked only for an entry of its own.

        The name itself is never written: people type passwords there.
        """
        if await self._is_told("login.failed", address):
            account_id = await whose()
            await self._store.add(
                AuditEntry(
                    at=self._clock.now(),
                    action="login.failed",
                    object=("account", account_id or ""),
                    address=address,
                    account_id=account_id,
                    outcome="failed",
                )
            )

    async def denied(self, caller: Caller | None, method: str, path: str, *, address: str) -> None:
        """Args: path: The address of the route, with names in the place of ids."""
        account_id = None if caller is None else caller.account_id
        if await self._is_told("request.denied", account_id or address):
            await self._store.add(
                AuditEntry(
                    at=self._clock.now(),
                    action="request.denied",
                    object=("route", f"{method} {path}"),
                    actor=account_id,
                    credential="" if caller is None else credential_of(caller),
                    address=address,
                    account_id=account_id,
                    outcome="denied",
                )
            )

    async def _is_told(self, action: str, by: str) -> bool:
        """Whether one more refusal has an entry of its own; it is counted either way.

        Args:
            by: Who was refused: an account that has logged in, or else an address. Not the account whose name
                was given: one that exists would then be told of, and slower, where one that does not is only
                counted.
        """
        await self.tell_untold()
        if self._window is None:
            self._window = _Window(self._clock.now())
        window, kind = self._window, (action, by)
        window.alike[kind] += 1
        if window.told >= MOST or window.alike[kind] > MOST_ALIKE or len(window.alike) > _KINDS:
            window.untold[action] += 1
            if len(window.alike) > _KINDS:
                del window.alike[kind]
            return False
        window.told += 1
        return True

    async def tell_untold(self, *, at_once: bool = False) -> None:
        """Write the number of refusals that have no entry of their own, once their minute is over."""
        window, now = self._window, self._clock.now()
        if window is None or (now - window.began_at < WINDOW and not at_once):
            return
        self._window = None
        for action, count in sorted(window.untold.items()):
            entry = AuditEntry(
                at=now,
                action=f"{action}.more",
                object=("audit", ""),
                outcome="denied" if action == "request.denied" else "failed",
                details={"count": count, "since": window.began_at.isoformat(timespec="seconds")},
            )
            await self._store.add(entry)

    async def purge(self, *, older_than: timedelta) -> int:
        """Delete entries of before, a little at a time; gives how many were."""
        now, total = self._clock.now(), 0
        while purged := await self._store.purge(before=now - older_than, limit=_PURGE_BATCH):
            total += purged
        if total:
            details: dict[str, JSON] = {"count": total, "before": (now - older_than).isoformat(timespec="seconds")}
            await self._store.add(
                AuditEntry(at=now, action="audit.purged", object=("audit", ""), credential="server", details=details)
            )
        return total
