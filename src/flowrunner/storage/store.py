"""The stores of workspaces in the database, and the results of steps that have changed them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from flowrunner.bounded_json import canonical_text, decode_json
from flowrunner.domain.errors import NotFound
from flowrunner.domain.limits import UNLIMITED, WorkspaceLimits, check_count
from flowrunner.domain.store import MAX_KEY_CHARACTERS, MAX_KEYS, EntryValue, StoreChange, StoreKey, changed, end_of
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.journal import Fenced
from flowrunner.ports.page import Page, number_of
from flowrunner.ports.store import Check, EntryView
from flowrunner.storage.batch import MAX_BATCH_BYTES
from flowrunner.storage.database import Database
from flowrunner.storage.deleted_workspaces import check_not_deleted
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms, to_ms, to_ms_or_none
from flowrunner.storage.secrets import WORKSPACE_EXISTS
from flowrunner.storage.transaction import Row, Statement, Transaction, one_row
from flowrunner.storage.usage import STORED

VALUE: Final = """
SELECT value FROM store_entries
 WHERE workspace_id = :workspace_id AND namespace = :namespace AND key = :key
   AND (expires_at IS NULL OR expires_at > :now)
"""
KEYS: Final = """
SELECT key FROM store_entries
 WHERE workspace_id = :workspace_id AND namespace = :namespace AND key >= :start AND key < :end AND key <> :after
   AND (expires_at IS NULL OR expires_at > :now)
 ORDER BY key LIMIT :limit
"""
ENTRY: Final = """
SELECT namespace, key, value, size, created_at, updated_at, expires_at, edition FROM store_entries
 WHERE workspace_id = :workspace_id AND namespace = :namespace AND key = :key
"""
PAGE: Final = """
SELECT namespace, key, NULL, size, created_at, updated_at, expires_at, edition FROM store_entries
 WHERE workspace_id = :workspace_id AND namespace >= :first AND namespace <= :last
   AND (namespace, key) > (:after_namespace, :after_key)
   AND substr(key, 1, length(CAST(:prefix AS text))) = :prefix AND (expires_at IS NULL OR expires_at > :now)
 ORDER BY namespace, key LIMIT :limit OFFSET :offset
"""
EXPORTED: Final = """
SELECT namespace, key, value, size, created_at, updated_at, expires_at, edition FROM store_entries
 WHERE workspace_id = :workspace_id AND (namespace, key) > (:namespace, :key)
   AND (expires_at IS NULL OR expires_at > :now)
 ORDER BY namespace, key LIMIT :limit
"""
COUNT: Final = """
SELECT count(*) FROM store_entries
 WHERE workspace_id = :workspace_id AND namespace >= :first AND namespace <= :last
   AND substr(key, 1, length(CAST(:prefix AS text))) = :prefix AND (expires_at IS NULL OR expires_at > :now)
"""
SAVE: Final = """
INSERT INTO store_entries (workspace_id, namespace, key, size, edition, created_at, updated_at, expires_at, value)
VALUES (:workspace_id, :namespace, :key, :size, 1, :created_at, :now, :expires_at, :value)
    ON CONFLICT (workspace_id, namespace, key) DO UPDATE
   SET size = :size, edition = store_entries.edition + 1, created_at = :created_at, updated_at = :now,
       expires_at = :expires_at, value = :value
RETURNING namespace, key, value, size, created_at, updated_at, expires_at, edition
"""
DELETE: Final = """
DELETE FROM store_entries WHERE workspace_id = :workspace_id AND namespace = :namespace AND key = :key
"""
NUMBER: Final = "SELECT number FROM store_counts WHERE workspace_id = :workspace_id"
RESULT: Final = "SELECT result FROM store_results WHERE execution_id = :execution_id AND digest = :digest"
IS_OPEN: Final = """
SELECT 1 FROM executions WHERE id = :execution_id AND workspace_id = :workspace_id AND completed_at IS NULL
"""
KEEP_RESULT: Final = """
INSERT INTO store_results (execution_id, digest, result) VALUES (:execution_id, :digest, :result)
"""
# What is deleted is looked for while others write, so it must still be what it was.
EXPIRED: Final = """
SELECT workspace_id, namespace, key FROM store_entries WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit
"""
OF_DELETED_WORKSPACES: Final = """
SELECT e.workspace_id, e.namespace, e.key FROM workspaces w CROSS JOIN store_entries e
 WHERE w.deleted_at IS NOT NULL AND e.workspace_id = w.id LIMIT :limit
"""
DELETE_UNNEEDED: Final = Statement.on_rows(
    """
DELETE FROM store_entries USING {new}
 WHERE store_entries.workspace_id = new.workspace_id AND store_entries.namespace = new.namespace
   AND store_entries.key = new.key
   AND (store_entries.expires_at <= new.now
        OR EXISTS (SELECT 1 FROM workspaces w WHERE w.id = store_entries.workspace_id AND w.deleted_at IS NOT NULL))
""",
    bigint="now",
)
# An open execution may have very many results, so that each execution is looked up once: the next one behind the last.
WITH_RESULTS: Final = """
WITH RECURSIVE held (id, number) AS (
  SELECT (SELECT min(execution_id) FROM store_results WHERE execution_id > :after), CAST(1 AS bigint)
   UNION ALL
  SELECT (SELECT min(execution_id) FROM store_results WHERE execution_id > held.id), number + 1
    FROM held WHERE held.id IS NOT NULL AND number < :limit)
SELECT id, EXISTS (SELECT 1 FROM executions x WHERE x.id = held.id AND x.completed_at IS NULL)
  FROM held WHERE id IS NOT NULL
"""
RESULTS_OF: Final = Statement.with_texts(
    "SELECT execution_id, digest FROM store_results WHERE execution_id IN (:ids) LIMIT :limit", "ids"
)
DELETE_RESULTS: Final = Statement.on_rows("""
DELETE FROM store_results USING {new}
 WHERE store_results.execution_id = new.execution_id AND store_results.digest = new.digest
""")
# Of one commit. An entry may have 64 KiB, and a result has a few bytes.
_ENTRIES_AT_ONCE: Final = 100
_RESULTS_AT_ONCE: Final = 1000
# It bounds the changes of one commit to 128: PostgreSQL takes a time that grows with the square of them if all are of
# one key, because it keeps each version of the row until the commit.
_LEAST_SIZE: Final = MAX_BATCH_BYTES // 128
# Sorts after every key.
_AFTER_ALL: Final = "\U0010ffff" * (MAX_KEY_CHARACTERS + 1)


class SqlStore:
    """Implements `ports.EntryStore`.

    Args:
        limits: Limits of each workspace.
    """

    def __init__(self, database: Database, limits: WorkspaceLimits = UNLIMITED) -> None:
        self._database = database
        self._limits = limits

    # Of steps

    async def value(self, workspace_id: WorkspaceId, at: StoreKey, *, now: datetime) -> str | None:
        values = {**_place(workspace_id, at), "now": to_ms(now)}
        row = await self._database.read(lambda tx: tx.row(VALUE, values))
        return None if row is None else str(row[0])

    async def keys(
        self, workspace_id: WorkspaceId, *, namespace: str, prefix: str, after: str, limit: int, now: datetime
    ) -> Sequence[str]:
        values = {
            "workspace_id": workspace_id, "namespace": namespace, "start": max(prefix, after),
            "end": end_of(prefix) or _AFTER_ALL, "after": after, "limit": limit, "now": to_ms(now),
        }  # fmt: skip
        rows = await self._database.read_long(lambda tx: tx.rows(KEYS, values))
        return [key for (key,) in rows]

    async def change(self, workspace_id: WorkspaceId, change: StoreChange, *, now: datetime) -> JSON:
        result: JSON = await self._database.submit(_ChangeOp(workspace_id, change, now, self._limits))
        return result

    # Of people

    async def get(self, workspace_id: WorkspaceId, at: StoreKey, *, now: datetime) -> EntryView:
        row = await self._database.read(lambda tx: tx.row(ENTRY, _place(workspace_id, at)))
        entry = None if row is None else _live(_view(row), now)
        if entry is None:
            raise NotFound("entry of the store")
        return entry

    async def page(
        self, workspace_id: WorkspaceId, *, namespace: str | None, prefix: str, page: Page, now: datetime
    ) -> tuple[Sequence[EntryView], int]:
        # The length of the namespace, a colon, and both without anything in between.
        length, after = page.pair
        size = number_of(length) if page.after else 0
        values = {
            "workspace_id": workspace_id, "first": namespace or "", "last": namespace or _AFTER_ALL, "prefix": prefix,
            "now": to_ms(now), "after_namespace": after[:size], "after_key": after[size:],
        }  # fmt: skip
        rows, total = await self._database.read_long(lambda tx: page_and_total(tx, page, PAGE, COUNT, values))
        return list(map(_view, rows)), total

    async def entries(
        self, workspace_id: WorkspaceId, *, after: StoreKey, limit: int, now: datetime
    ) -> Sequence[EntryView]:
        values = {**_place(workspace_id, after), "limit": limit, "now": to_ms(now)}
        return list(map(_view, await self._database.read_long(lambda tx: tx.rows(EXPORTED, values))))

    async def save(
        self, workspace_id: WorkspaceId, change: StoreChange, *, now: datetime, check: Check, audit: Audit = None
    ) -> tuple[EntryView, bool]:
        async def save(tx: Transaction) -> tuple[EntryView, bool]:
            if await tx.row(WORKSPACE_EXISTS, {"workspace_id": workspace_id}) is None:
                raise NotFound("workspace")
            before = await _entry(tx, workspace_id, change.at)
            live = _live(before, now)
            check(live)
            after, _ = changed(change, None, now=now, canonical=canonical_text)
            assert after is not None, "a saved entry is there"
            saved = await _EntryWriter(tx, workspace_id, now, self._limits).save(change.at, after, before)
            return saved, live is None

        return await self._database.write(save, audit=audit)

    async def delete(
        self, workspace_id: WorkspaceId, at: StoreKey, *, now: datetime, check: Check, audit: Audit = None
    ) -> None:
        async def delete(tx: Transaction) -> None:
            entry = _live(await _entry(tx, workspace_id, at), now)
            if entry is None:
                raise NotFound("entry of the store")
            check(entry)
            await tx.run(DELETE, _place(workspace_id, at))

        await self._database.write(delete, audit=audit)

    # Housekeeping

    async def purge(self, *, now: datetime) -> bool:
        has_more = [await self._purge_entries(statement, now) for statement in (EXPIRED, OF_DELETED_WORKSPACES)]
        ended = {"ids": json.dumps(await self._ended_with_results()), "limit": _RESULTS_AT_ONCE}
        results = await self._database.read_long(lambda tx: tx.rows(RESULTS_OF, ended))
        await self._run_many(DELETE_RESULTS, [{"execution_id": id, "digest": digest} for id, digest in results])
        return any(has_more) or len(results) == _RESULTS_AT_ONCE

    async def _purge_entries(self, unneeded: str, now: datetime) -> bool:
        values = {"now": to_ms(now), "limit": _ENTRIES_AT_ONCE}
        found = await self._database.read_long(lambda tx: tx.rows(unneeded, values))
        rows = [{"workspace_id": id, "namespace": name, "key": key, "now": values["now"]} for id, name, key in found]
        await self._run_many(DELETE_UNNEEDED, rows)
        return len(rows) == _ENTRIES_AT_ONCE

    async def _ended_with_results(self) -> Sequence[str]:
        """Return executions that have ended, or are gone, and have results: the first ones, if there are very many."""
        ended: list[str] = []
        after = ""
        while len(ended) < _RESULTS_AT_ONCE:
            rows = await self._with_results(after)
            ended += [id for id, is_open in rows if not is_open]
            if len(rows) < _RESULTS_AT_ONCE:
                break
            after = rows[-1][0]
        return ended

    async def _with_results(self, after: str) -> Sequence[Row]:
        values = {"after": after, "limit": _RESULTS_AT_ONCE}
        return await self._database.read_long(lambda tx: tx.rows(WITH_RESULTS, values))

    async def _run_many(self, statement: Statement, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            await self._database.write(lambda tx: tx.run_many(statement, rows))


@dataclass(frozen=True, slots=True)
class _ChangeOp:
    """The change of a step as a write operation."""

    workspace_id: WorkspaceId
    change: StoreChange
    now: datetime
    limits: WorkspaceLimits
    allows_concurrent_writers: ClassVar[bool] = False
    execution_id: ClassVar[None] = None

    @property
    def size(self) -> int:
        return max(len(self.change.value), _LEAST_SIZE)

    async def run(self, tx: Transaction) -> JSON:
        change, workspace_id = self.change, self.workspace_id
        step: dict[str, Any] = {}
        if change.step is not None:
            step = {"execution_id": change.step.execution_id, "digest": change.step.digest}
            row = await tx.row(RESULT, step)
            if row is not None:
                kept: JSON = decode_json(row[0])
                return kept
        if await tx.row(WORKSPACE_EXISTS, {"workspace_id": workspace_id}) is None:
            await check_not_deleted(tx, workspace_id)
            raise NotFound("workspace")
        # The results of an execution are deleted once it has ended, so that a process which was paused must not write.
        if step and await tx.row(IS_OPEN, {**step, "workspace_id": workspace_id}) is None:
            raise Fenced("the execution has ended")
        before = await _entry(tx, workspace_id, change.at)
        live = _live(before, self.now)
        stored = None if live is None or live.value is None else EntryValue(live.value, live.expires_at)
        after, result = changed(change, stored, now=self.now, canonical=canonical_text)
        if after is not None:
            await _EntryWriter(tx, workspace_id, self.now, self.limits).save(change.at, after, before)
        elif before is not None:
            await tx.run(DELETE, _place(workspace_id, change.at))
        if step:
            await tx.run(KEEP_RESULT, {**step, "result": msgspec.json.encode(result).decode()})
        return result


async def _entry(tx: Transaction, workspace_id: WorkspaceId, at: StoreKey) -> EntryView | None:
    row = await tx.row(ENTRY, _place(workspace_id, at))
    return None if row is None else _view(row)


@dataclass(frozen=True, slots=True)
class _EntryWriter:
    """The writing of entries of a workspace within its limits."""

    tx: Transaction
    workspace_id: WorkspaceId
    now: datetime
    limits: WorkspaceLimits

    async def save(self, at: StoreKey, after: EntryValue, before: EntryView | None) -> EntryView:
        """Write an entry. Raises: LimitReached.

        Args:
            before: The stored entry, also if it has expired.
        """
        of_workspace = {"workspace_id": self.workspace_id}
        if before is None:
            row = await self.tx.row(NUMBER, of_workspace)
            check_count("keys in its store", 0 if row is None else row[0], MAX_KEYS, limit="store_keys")
        live, size = _live(before, self.now), len(after.value.encode())
        values = {
            **_place(self.workspace_id, at), "size": size, "value": after.value, "now": to_ms(self.now),
            "created_at": to_ms(self.now if live is None else live.created_at),
            "expires_at": to_ms_or_none(after.expires_at),
        }  # fmt: skip
        saved = _view(await one_row(self.tx, SAVE, values))
        if self.limits.stored is not None and (before is None or size > before.size):
            self.limits.check_grown(int((await one_row(self.tx, STORED, of_workspace))[0]))
        return saved


def _live(entry: EntryView | None, now: datetime) -> EntryView | None:
    """Return the entry unless it has expired."""
    is_gone = entry is None or (entry.expires_at is not None and entry.expires_at <= now)
    return None if is_gone else entry


def _place(workspace_id: WorkspaceId, at: StoreKey) -> dict[str, Any]:
    return {"workspace_id": workspace_id, "namespace": at.namespace, "key": at.key}


def _view(row: Row) -> EntryView:
    namespace, key, value, size, created_at, updated_at, expires_at, edition = row
    return EntryView(
        at=StoreKey(namespace, key),
        value=value,
        size=size,
        created_at=from_ms(created_at),
        updated_at=from_ms(updated_at),
        expires_at=None if expires_at is None else from_ms(expires_at),
        edition=edition,
    )
