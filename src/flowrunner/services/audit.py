"""The audit log: reading, retention, and a bounded record of rejected requests.

Every change writes its own entry in its own transaction; of more than an account's share, that transaction counts
them, and the number is written later. A rejected request changes nothing, so its entry is written alone; and a client
may be rejected any number of times, so of many rejections only the number is kept.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.audit import AuditEntry, AuditRow, act, credential_of
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import JSON, AccountId, WorkspaceId, personal_workspace, rfc3339
from flowrunner.ports.audit import AuditFilter, AuditStore
from flowrunner.ports.clock import Clock
from flowrunner.ports.page import Listed, Page
from flowrunner.ports.secrets import SecretReader
from flowrunner.services.short_commits import commit_in_portions

logger = structlog.get_logger()

WINDOW: Final = timedelta(minutes=1)
# Entries in a window: for one action and one account (or address, where no account is known), and in total.
MOST_ALIKE: Final = 5
MOST: Final = 50
# Entries in a window for wrong passwords of one account; other rejections do not use them up.
MOST_GUESSES: Final = 60
# Pairs of action and account or address that are counted in a window, to bound its memory.
_KINDS: Final = 1000
_PURGE_BATCH: Final = 1000
_COUNTS_AT_ONCE: Final = 100
# Entries of an export that are in memory.
_ROWS_AT_ONCE: Final = 500


@dataclass(slots=True)
class _Window:
    """Counters of the rejections within one minute.

    Attributes:
        written: Rejections with an entry of their own, wrong passwords of known accounts excluded.
        alike: Rejections, by action and account or address.
        guesses: Wrong passwords, by account.
        unwritten: Rejections without an entry of their own, by action and the account whose password was wrong.
    """

    began_at: datetime
    written: int = 0
    alike: Counter[tuple[str, str]] = field(default_factory=Counter)
    guesses: Counter[AccountId] = field(default_factory=Counter)
    unwritten: Counter[tuple[str, AccountId | None]] = field(default_factory=Counter)

    def is_over(self, now: datetime) -> bool:
        # The absolute value: the clock may have been set back.
        return abs(now - self.began_at) >= WINDOW


async def name_in_entry(vault: SecretReader, workspace_id: WorkspaceId, name: str) -> str:
    """Return a name that people have chosen as an entry has it: without values of the workspace's secrets."""
    return str((await vault.redactor(workspace_id)).redact(name))


class AuditLog:
    def __init__(self, store: AuditStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._window: _Window | None = None
        # The counts of windows that are over.
        self._unwritten: _Window | None = None
        self._writing: set[asyncio.Task[None]] = set()

    async def page(self, caller: Caller, wanted: AuditFilter, page: Page) -> Listed[AuditRow]:
        """Raises: Forbidden."""
        authorise(caller, Right.ADMIN)
        await self.settle()
        return await self._store.page(wanted, page)

    async def page_of_workspace(self, caller: Caller, wanted: AuditFilter, page: Page) -> Listed[AuditRow]:
        """Return a page of the entries of the workspace that the request acts in. Raises: Forbidden."""
        wanted = _in_workspace(caller, wanted)
        await self.settle()
        return await self._store.page(wanted, page)

    async def all(self, caller: Caller, wanted: AuditFilter) -> AsyncIterator[Sequence[AuditRow]]:
        """Yield all entries that there are at the start, the newest first. Raises: Forbidden."""
        authorise(caller, Right.ADMIN)
        async for rows in self._portions(wanted):
            yield rows

    async def all_of_workspace(self, caller: Caller, wanted: AuditFilter) -> AsyncIterator[Sequence[AuditRow]]:
        """Yield all entries of the workspace that the request acts in, as `all` does. Raises: Forbidden."""
        async for rows in self._portions(_in_workspace(caller, wanted)):
            yield rows

    async def _portions(self, wanted: AuditFilter) -> AsyncIterator[Sequence[AuditRow]]:
        await self.settle()
        # By number, so that entries which are added meanwhile move nothing.
        cursor: str | None = ""
        while cursor is not None:
            listed = await self._store.page(wanted, Page(limit=_ROWS_AT_ONCE, cursor=cursor, counts=False))
            if listed.items:
                yield listed.items
            cursor = listed.next_cursor

    def login_failed(self, account_id: AccountId | None, *, address: str) -> bool:
        """Record a wrong password; return whether it has an entry of its own.

        The entry is written in the background: writing takes time, and an existing account gets more entries than an
        unknown name, so the response time would reveal which names exist. The name itself is never written: people
        type passwords there.

        Args:
            account_id: The account that has the name; None if there is none.
        """
        logger.info("login.failed", account_id=account_id, address=address, is_throttled=False)
        has_entry = self._has_entry("login.failed", address) if account_id is None else self._has_share(account_id)
        if has_entry:
            self._write_later(self._failed_login(account_id, address))
        return has_entry

    def login_refused(self, whose: Callable[[], Awaitable[AccountId | None]], *, address: str) -> bool:
        """Record a login that was rejected before its password was checked, as `login_failed` does.

        Args:
            whose: Returns the account that has the name. Called only if there is an entry to write.
        """
        logger.info("login.failed", account_id=None, address=address, is_throttled=True)
        has_entry = self._has_entry("login.failed", address)
        if has_entry:

            async def write() -> None:
                await self._store.add(self._failed_login(await whose(), address))

            self._do_later(write())
        return has_entry

    def _failed_login(self, account_id: AccountId | None, address: str) -> AuditEntry:
        return AuditEntry(
            at=self._clock.now(),
            action="login.failed",
            object=("account", account_id or ""),
            address=address,
            workspace_id=None if account_id is None else personal_workspace(account_id),
            outcome="failed",
        )

    async def denied(self, caller: Caller | None, method: str, path: str, *, address: str) -> None:
        """Record a request that was rejected for lack of a right.

        Args:
            path: The route's path, with parameter names in place of ids.
        """
        account_id = None if caller is None else caller.account_id
        if self._has_entry("request.denied", account_id or address):
            await self._store.add(
                AuditEntry(
                    at=self._clock.now(),
                    action="request.denied",
                    object=("route", f"{method} {path}"),
                    actor=account_id,
                    credential="" if caller is None else credential_of(caller),
                    address=address,
                    workspace_id=None if caller is None else caller.workspace_id,
                    outcome="denied",
                )
            )

    async def called(self, caller: Caller, kind: str, name: str, ids: Mapping[str, JSON]) -> None:
        """Record that an agent calls something, before it is done: what it changes has entries of its own.

        Args:
            kind: A tool or a resource of the MCP server.
            ids: The objects that the call names.
        """
        await self._store.add(act(caller, "mcp.called", kind, name, at=self._clock.now(), details=ids))

    def _has_entry(self, action: str, by: str) -> bool:
        """Count a rejection; return whether it gets an entry of its own.

        Args:
            by: The rejected client: an account that has logged in, or else an address.
        """
        window, kind = self._present(), (action, by)
        window.alike[kind] += 1
        if window.written >= MOST or window.alike[kind] > MOST_ALIKE or len(window.alike) > _KINDS:
            window.unwritten[action, None] += 1
            if len(window.alike) > _KINDS:
                del window.alike[kind]
            return False
        window.written += 1
        return True

    def _has_share(self, account_id: AccountId) -> bool:
        """Count a wrong password of an account; return whether it gets an entry from the account's own share.

        The total is bounded by the number of passwords that the server can check in a minute.
        """
        window = self._present()
        window.guesses[account_id] += 1
        if window.guesses[account_id] > MOST_GUESSES:
            window.unwritten["login.failed", account_id] += 1
            return False
        return True

    def _present(self) -> _Window:
        """Return the window of this minute; write the counts of the previous one in the background."""
        now = self._clock.now()
        if self._window is not None and self._window.is_over(now):
            self._keep(self._window)
            self._window = None
            self._do_later(self._write_counts())
        if self._window is None:
            self._window = _Window(now)
        return self._window

    async def write_rejection_counts(self, *, at_once: bool = False) -> None:
        """Write the number of rejections without an entry of their own, once their minute is over."""
        await self.settle()
        if self._window is not None and (at_once or self._window.is_over(self._clock.now())):
            self._keep(self._window)
            self._window = None
        await self._write_counts()

    async def _write_counts(self) -> None:
        """Write the counts of the windows that are over.

        Raises: Unavailable; the next call writes the rest. A count whose outcome is unknown is then written again.
        """
        left, self._unwritten = self._unwritten, None
        if left is None:
            return
        try:
            for action, account_id in sorted(left.unwritten, key=str):
                entry = AuditEntry(
                    at=self._clock.now(),
                    action=f"{action}.more",
                    object=("audit", "") if account_id is None else ("account", account_id),
                    workspace_id=None if account_id is None else personal_workspace(account_id),
                    outcome="denied" if action == "request.denied" else "failed",
                    details={"count": left.unwritten[action, account_id], "since": rfc3339(left.began_at)},
                )
                await self._store.add(entry)
                del left.unwritten[action, account_id]
        finally:
            self._keep(left)

    def _keep(self, window: _Window) -> None:
        """Add the counts of a window that is over to those that are to be written."""
        if not window.unwritten:
            return
        kept = self._unwritten = self._unwritten or _Window(window.began_at)
        kept.began_at = min(kept.began_at, window.began_at)
        kept.unwritten += window.unwritten

    async def write_act_counts(self) -> None:
        """Write the numbers of acts beyond the shares of their accounts, at most one of each kind a minute."""
        now = self._clock.now()
        await commit_in_portions(
            lambda: self._store.write_counts(since_before=now - WINDOW, at=now, limit=_COUNTS_AT_ONCE)
        )

    def _write_later(self, entry: AuditEntry) -> None:
        self._do_later(self._store.add(entry))

    def _do_later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_unless_unavailable(work))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def settle(self) -> None:
        """Wait until everything recorded so far is written."""
        if self._writing:
            # Not `gather`, whose cancellation would cancel them.
            await asyncio.wait(self._writing)

    async def purge(self, *, older_than: timedelta) -> int:
        """Delete old entries in small batches, each with an entry of its own; return how many were deleted."""
        now, total = self._clock.now(), 0
        before = now - older_than

        def audit(purged: int) -> AuditEntry | None:
            details: dict[str, JSON] = {"count": purged, "before": rfc3339(before)}
            return act(None, "audit.purged", "audit", "", at=now, details=details) if purged else None

        while purged := await self._store.purge(before=before, limit=_PURGE_BATCH, audit=audit):
            total += purged
        return total


def _in_workspace(caller: Caller, wanted: AuditFilter) -> AuditFilter:
    """Return the filter for the workspace that the request acts in.

    Members of a personal workspace do not see logins and changes of its account. Raises: Forbidden.
    """
    authorise(caller, Right.MEMBERS)
    id = caller.workspace_id
    return replace(wanted, workspace_id=id, has_account=id == personal_workspace(caller.account_id))


async def _unless_unavailable(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Unavailable as error:
        # The request itself is rejected either way.
        logger.warning("audit.refusal_not_written", reason=str(error))
