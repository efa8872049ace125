"""The events of executions and their summaries, in the database."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Final

import msgspec

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.causes import awaiting_parent, repeated
from flowrunner.domain.errors import LimitReached, NotFound
from flowrunner.domain.events import EVENT_TYPES, Event, Logged
from flowrunner.domain.execution import Status
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId, WorkspaceId, memory_of_json
from flowrunner.ports import (
    LARGE_BYTES,
    PAGE_OF_EVENTS_BYTES,
    Append,
    ConcurrencyLimitReached,
    ConcurrencySlot,
    DuplicateRequest,
    Fenced,
    Loading,
    NewExecution,
    Recorded,
    StoredExecution,
    Unreadable,
    UnreconciledChild,
)
from flowrunner.ports.event_codec import decode_event, encode_event
from flowrunner.storage.active_slots import assign_active_slots
from flowrunner.storage.audit_chain import add_to_chain
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms, from_ms_or_none, to_ms, to_ms_or_none
from flowrunner.storage.transaction import Refused, Row, Statement, Transaction, one_row
from flowrunner.storage.usage import STORED

# Creates nothing for a process whose claim was taken over, and nothing of a deleted flow or revision: without the
# definition the execution could not continue after a crash. (Deleting an account deletes its flows.) The last queue
# position of a key is found at one of two places of an index, however many executions wait.
CREATE: Final = Statement(
    sqlite="""
INSERT INTO executions (id, workspace_id, flow_id, revision_id, status, started_at, completed_at,
                        error, is_idle, wake_at, waiting_for, epoch, last_seq, size, idempotency_key, request_digest,
                        parent_id, rerun_of, concurrency_key, concurrency_limit, is_queued,
                        is_active, queued_at, queue_position)
SELECT :id, :workspace_id, :flow_id, :revision_id, :status, :started_at, :completed_at,
       :error, :is_idle, :wake_at, :waiting_for, :epoch, :last_seq, :size, :idempotency_key, :request_digest,
       :parent_id, :rerun_of, :concurrency_key, :concurrency_limit, :is_queued, :is_active, :queued_at,
       CASE WHEN :concurrency_key IS NOT NULL
            THEN 1 + max(coalesce((SELECT max(queue_position) FROM executions
                                    WHERE concurrency_key = :concurrency_key
                                      AND completed_at IS NULL AND is_queued = 0), 0),
                         coalesce((SELECT max(queue_position) FROM executions
                                    WHERE concurrency_key = :concurrency_key
                                      AND completed_at IS NULL AND is_queued = 1), 0)) END
 WHERE :epoch = (SELECT epoch FROM engine)
   AND EXISTS (SELECT 1 FROM flows WHERE id = :flow_id AND workspace_id = :workspace_id AND deleted_at IS NULL)
   AND NOT EXISTS (SELECT 1 FROM revisions WHERE id = :revision_id AND deleted_at IS NOT NULL)
   AND (:concurrency_key IS NULL OR :is_queued
        OR :concurrency_limit > (SELECT count(*) FROM executions
                          WHERE concurrency_key = :concurrency_key AND completed_at IS NULL))
""",
    postgres="""
INSERT INTO executions (id, workspace_id, flow_id, revision_id, status, started_at, completed_at,
                        error, is_idle, wake_at, waiting_for, epoch, last_seq, size, idempotency_key, request_digest,
                        parent_id, rerun_of, concurrency_key, concurrency_limit, is_queued,
                        is_active, queued_at, queue_position)
SELECT new.*,
       CASE WHEN new.concurrency_key IS NOT NULL
            THEN 1 + coalesce(
                greatest((SELECT max(x.queue_position) FROM executions x
                           WHERE x.concurrency_key = new.concurrency_key
                             AND x.completed_at IS NULL AND NOT x.is_queued),
                         (SELECT max(x.queue_position) FROM executions x
                           WHERE x.concurrency_key = new.concurrency_key
                             AND x.completed_at IS NULL AND x.is_queued)), 0) END
  FROM unnest(:id::text[], :workspace_id::text[], :flow_id::text[], :revision_id::text[], :status::text[],
              :started_at::bigint[], :completed_at::bigint[], :error::text[], :is_idle::boolean[],
              :wake_at::bigint[], :waiting_for::text[], :epoch::bigint[], :last_seq::bigint[], :size::bigint[],
              :idempotency_key::text[], :request_digest::text[], :parent_id::text[], :rerun_of::text[],
              :concurrency_key::text[], :concurrency_limit::bigint[], :is_queued::boolean[], :is_active::boolean[],
              :queued_at::bigint[])
    AS new (id, workspace_id, flow_id, revision_id, status, started_at, completed_at, error, is_idle, wake_at,
            waiting_for, epoch, last_seq, size, idempotency_key, request_digest, parent_id, rerun_of, concurrency_key,
            concurrency_limit, is_queued, is_active, queued_at)
 WHERE new.epoch = (SELECT epoch FROM engine)
   AND EXISTS (SELECT 1 FROM flows f
                WHERE f.id = new.flow_id AND f.workspace_id = new.workspace_id AND f.deleted_at IS NULL)
   AND NOT EXISTS (SELECT 1 FROM revisions r WHERE r.id = new.revision_id AND r.deleted_at IS NOT NULL)
   AND (new.concurrency_key IS NULL OR new.is_queued
        OR new.concurrency_limit > (SELECT count(*) FROM executions x
                             WHERE x.concurrency_key = new.concurrency_key AND x.completed_at IS NULL))
""",
)
# Slots are counted from the executions that hold them, so that none can leak. Executions that wait count as well, so
# that none is overtaken.
HAS_SLOT: Final = """
SELECT :concurrency_limit > (SELECT count(*) FROM executions
                              WHERE concurrency_key = :concurrency_key AND completed_at IS NULL)
"""
# Admits the execution that has waited longest, under its own limit.
ADMIT: Final = """
UPDATE executions SET is_queued = false, is_idle = false, waiting_for = NULL
 WHERE id = (SELECT id FROM executions
              WHERE concurrency_key = :key AND completed_at IS NULL AND is_queued ORDER BY queue_position LIMIT 1)
   AND concurrency_limit > (SELECT count(*) FROM executions
                     WHERE concurrency_key = :key AND completed_at IS NULL AND NOT is_queued)
RETURNING id, workspace_id
"""
HOLDING_SLOT: Final = """
SELECT id, workspace_id FROM executions
 WHERE concurrency_key = :key AND completed_at IS NULL AND NOT is_queued AND NOT is_idle ORDER BY id
"""
QUEUED_KEYS: Final = """
SELECT DISTINCT concurrency_key FROM executions WHERE concurrency_key IS NOT NULL AND completed_at IS NULL AND is_queued
"""
# Children that have ended without the notification of their open parent, and open children. The order of the joins is
# explicit, because the planner does not know how few executions are open.
UNRECONCILED: Final = Statement(
    sqlite="""
WITH ended AS (
    SELECT child.id, child.parent_id
      FROM executions parent CROSS JOIN executions child INDEXED BY executions_parent
     WHERE parent.status IN ('running', 'waiting') AND child.parent_id = parent.id
       AND child.completed_at IS NOT NULL
),
notified AS MATERIALIZED (
    SELECT execution_id, data ->> '$.key' AS key FROM events
     WHERE execution_id IN (SELECT parent_id FROM ended) AND type = 'signal.received'
)
SELECT id, parent_id, 1, 0 FROM ended WHERE (parent_id, 'flow:' || id) NOT IN (SELECT execution_id, key FROM notified)
UNION ALL
SELECT child.id, child.parent_id, 0, parent.completed_at IS NOT NULL
  FROM executions child CROSS JOIN executions parent
 WHERE child.status IN ('running', 'waiting') AND parent.id = child.parent_id
""",
    postgres="""
WITH ended AS (
    SELECT child.id, child.parent_id
      FROM executions parent JOIN executions child ON child.parent_id = parent.id
     WHERE parent.status IN ('running', 'waiting') AND child.completed_at IS NOT NULL
),
notified AS MATERIALIZED (
    SELECT execution_id, replace(data, '\\u0000', '\\ufffd')::json ->> 'key' AS key FROM events
     WHERE execution_id IN (SELECT parent_id FROM ended) AND type = 'signal.received'
)
SELECT id, parent_id, true, false FROM ended
 WHERE NOT EXISTS (SELECT 1 FROM notified
                    WHERE notified.execution_id = ended.parent_id AND notified.key = 'flow:' || ended.id)
UNION ALL
SELECT child.id, child.parent_id, false, parent.completed_at IS NOT NULL
  FROM executions child JOIN executions parent ON parent.id = child.parent_id
 WHERE child.status IN ('running', 'waiting')
""",
)
UNRECONCILED_OF: Final = Statement(
    sqlite="""
SELECT child.id, child.parent_id, child.completed_at IS NOT NULL, parent.completed_at IS NOT NULL
  FROM executions parent CROSS JOIN executions child INDEXED BY executions_parent
 WHERE parent.id = :parent AND child.parent_id = parent.id
   AND (child.completed_at IS NULL
        OR (parent.completed_at IS NULL
            AND 'flow:' || child.id NOT IN (SELECT data ->> '$.key' FROM events
                                             WHERE execution_id = :parent AND type = 'signal.received')))
""",
    postgres="""
SELECT child.id, child.parent_id, child.completed_at IS NOT NULL, parent.completed_at IS NOT NULL
  FROM executions parent JOIN executions child ON child.parent_id = parent.id
 WHERE parent.id = :parent
   AND (child.completed_at IS NULL
        OR (parent.completed_at IS NULL
            AND 'flow:' || child.id NOT IN (SELECT replace(data, '\\u0000', '\\ufffd')::json ->> 'key' FROM events
                                             WHERE execution_id = :parent AND type = 'signal.received')))
""",
)
LAST_QUEUED: Final = """
SELECT id FROM executions
 WHERE concurrency_key = :key AND completed_at IS NULL AND is_queued ORDER BY queue_position DESC LIMIT 1
"""
# Returns nothing for an execution that has ended, because its position may be in use again.
OLDER_WITH_KEY: Final = """
SELECT id FROM executions
 WHERE concurrency_key = (SELECT concurrency_key FROM executions WHERE id = :id AND completed_at IS NULL)
   AND completed_at IS NULL
   AND queue_position < (SELECT queue_position FROM executions WHERE id = :id)
 ORDER BY queue_position
"""
FLOW_EXISTS: Final = """
SELECT 1 FROM flows WHERE id = :flow_id AND workspace_id = :workspace_id AND deleted_at IS NULL
"""
REVISION_IS_DELETED: Final = """
SELECT 1 FROM revisions WHERE id = :revision_id AND workspace_id = :workspace_id AND deleted_at IS NOT NULL
"""

# Advances a summary only from the expected last event, and only for the owner of the execution: a late write finds no
# row. An execution that was acquired before the last claim has no owner.
ADVANCE: Final = Statement(
    sqlite="""
UPDATE executions
   SET status = :status, completed_at = :completed_at, error = :error, is_idle = :is_idle, wake_at = :wake_at,
       waiting_for = :waiting_for, last_seq = :last_seq, size = size + :size
 WHERE id = :id AND last_seq = :after AND is_queued = :is_queued
   AND :epoch >= (SELECT epoch FROM engine) AND (epoch = :epoch OR epoch < (SELECT epoch FROM engine))
""",
    postgres="""
UPDATE executions
   SET status = new.status, completed_at = new.completed_at, error = new.error, is_idle = new.is_idle,
       wake_at = new.wake_at,
       waiting_for = new.waiting_for, last_seq = new.last_seq, size = executions.size + new.size
  FROM unnest(:id::text[], :status::text[], :completed_at::bigint[], :error::text[], :is_idle::boolean[],
              :wake_at::bigint[], :waiting_for::text[], :last_seq::bigint[], :size::bigint[], :after::bigint[],
              :epoch::bigint[], :is_queued::boolean[])
    AS new (id, status, completed_at, error, is_idle, wake_at, waiting_for, last_seq, size, after, epoch, is_queued)
 WHERE executions.id = ANY(:id) AND executions.id = new.id AND executions.last_seq = new.after
   AND executions.is_queued = new.is_queued AND new.epoch >= (SELECT epoch FROM engine)
   AND (executions.epoch = new.epoch OR executions.epoch < (SELECT epoch FROM engine))
""",
)

ADD_EVENT: Final = Statement(
    sqlite="INSERT INTO events (execution_id, seq, at, type, data) VALUES (?, ?, ?, ?, ?)",
    postgres="""
INSERT INTO events (execution_id, seq, at, type, data)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[])
""",
)

TAKE_MESSAGE: Final = Statement(
    sqlite="DELETE FROM execution_inbox WHERE number = :number AND execution_id = :id",
    postgres="""
DELETE FROM execution_inbox USING unnest(:number::bigint[], :id::text[]) AS read (number, id)
 WHERE execution_inbox.number = read.number AND execution_inbox.execution_id = read.id
""",
)

REQUEST: Final = """
SELECT id, request_digest FROM executions
 WHERE workspace_id = :workspace_id AND idempotency_key = :idempotency_key
"""

# The fencing tokens of single executions lie between the epoch of a claim and the next epoch. So a token identifies the
# claim under which it was made, and changing one row takes over all executions.
TOKENS_PER_EPOCH: Final = 10**11
CLAIM: Final = "UPDATE engine SET epoch = epoch + :tokens RETURNING epoch"
EPOCH: Final = "SELECT epoch FROM engine"
ACQUIRE: Final = """
UPDATE executions SET epoch = :fencing_token
 WHERE id = :id AND status IN ('running', 'waiting') AND :epoch = (SELECT epoch FROM engine)
RETURNING 1
"""
# A process that advances all executions alone needs no active slots. As many rows have one, or wait for one, as workers
# had in memory or had to queue: none in most installations.
RELEASE_SLOTS: Final = """
UPDATE executions SET is_active = false, queued_at = NULL
 WHERE id IN (SELECT id FROM executions WHERE is_active AND completed_at IS NULL
               UNION ALL
              SELECT id FROM executions WHERE queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL
               LIMIT :limit)
"""

HEADER: Final = """
SELECT workspace_id, flow_id, revision_id, status,
       EXISTS (SELECT 1 FROM accounts WHERE id = workspace_id AND deleted_at IS NOT NULL),
       parent_id, concurrency_key, concurrency_limit, is_queued, size, last_seq
  FROM executions WHERE id = :id
"""
EVENTS: Final = """
SELECT seq, at, type, data FROM events
 WHERE execution_id = :id AND seq > :after ORDER BY seq LIMIT :limit
"""
# The first of these events, up to and including the one that reaches the number of characters.
PAGE_OF_EVENTS: Final = """
SELECT seq, at, type, data
  FROM (SELECT seq, at, type, data, sum(length(data)) OVER (ORDER BY seq) - length(data) AS before
          FROM events WHERE execution_id = :id AND seq > :after ORDER BY seq LIMIT :limit) AS page
 WHERE before < :characters ORDER BY seq
"""
# An execution is created with the epoch of a claim, and has a fencing token above the last epoch once it is acquired.
# The status is tested twice, here and below, because SQLite uses a partial index only for its exact condition.
UNOWNED: Final = """
SELECT id, workspace_id FROM executions
 WHERE status IN ('running', 'waiting') AND status = 'running' AND is_idle = false AND queued_at IS NULL
   AND started_at <= :since AND epoch <= (SELECT epoch FROM engine)
 LIMIT :limit
"""
# Without executions that wait for an active slot: they are admitted when one is free.
UNFINISHED: Final = """
SELECT id, workspace_id FROM executions
 WHERE status IN ('running', 'waiting') AND status = 'running' AND is_idle = false AND queued_at IS NULL AND id > :after
 ORDER BY id LIMIT :limit
"""
DUE: Final = """
SELECT id, workspace_id FROM executions
 WHERE wake_at IS NOT NULL AND wake_at <= :now AND queued_at IS NULL ORDER BY wake_at LIMIT :limit
"""
NEXT_WAKE: Final = "SELECT min(wake_at) FROM executions WHERE wake_at IS NOT NULL"

# The maximum number of rows that one statement reads or changes, where their number has no bound.
_PAGE: Final = 1000
# How much is decoded before other tasks of the event loop run; each event has less than a megabyte.
_EVENTS_A_PORTION: Final = 200
_CHARACTERS_A_PORTION: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class AppendOp:
    """An append as a write operation."""

    append: Append

    @property
    def allows_concurrent_writers(self) -> bool:
        return self.append.create is None and not self.append.audit

    @property
    def size(self) -> int:
        return sum(len(record.data) for record in self.append.records)

    @property
    def execution_id(self) -> ExecutionId:
        return self.append.execution_id

    async def run(self, tx: Transaction) -> None:
        try:
            async with tx.attempt():
                await append_together(tx, [self])
        except (Refused, Fenced, LimitReached) as error:
            new = self.append.create
            if new is not None:
                values = _creation_row(new)
                # A repeated request gets the first answer, even if the flow has been deleted since.
                row = await tx.row(REQUEST, values)
                if row is not None:
                    raise DuplicateRequest(ExecutionId(row[0]), row[1]) from None
                if await tx.row(FLOW_EXISTS, values) is None:
                    raise NotFound("flow") from None
                if new.slot is not None and not (await one_row(tx, HAS_SLOT, values))[0]:
                    raise ConcurrencyLimitReached from None
                if await tx.row(REVISION_IS_DELETED, values) is not None:
                    raise NotFound("revision") from None
            if isinstance(error, LimitReached):
                raise
            raise Fenced(str(error)) from error


async def append_together(tx: Transaction, works: Sequence[AppendOp]) -> None:
    """Do all the appends.

    Raises:
        TooManyRequests: If an account has the maximum number of executions that wait for an active slot.
        LimitReached: If an account would exceed its quota. `AppendOp.run` finds out by which append.
        Fenced: If at least one append is not allowed. `AppendOp.run` finds out which one, and why.
    """
    created: list[tuple[NewExecution, dict[str, Any]]] = []
    advanced: list[dict[str, Any]] = []
    events: list[tuple[str, int, int, str, str]] = []
    audit: list[AuditEntry] = []
    messages: list[dict[str, Any]] = []
    for work in works:
        append = work.append
        if append.create is not None and append.create.audit is not None:
            audit.append(append.create.audit)
        audit += append.audit
        messages += [{"number": number, "id": append.execution_id} for number in append.messages]
        row = summary_row(append)
        if append.create is None:
            advanced.append(row)
        else:
            created.append((append.create, row))
        events += event_rows(append)
    await assign_active_slots(tx, created)
    # Each execution with a concurrency limit needs a count that includes the ones before it.
    unlimited = [row for _, row in created if row["concurrency_key"] is None]
    limited = [[row] for _, row in created if row["concurrency_key"] is not None]
    for statement, rows in ((CREATE, unlimited), *((CREATE, each) for each in limited), (ADVANCE, advanced)):
        if rows and await tx.run_many(statement, rows) != len(rows):
            raise Fenced("the execution is owned by another process, or has moved on")
    await _check_quotas(tx, works)
    await tx.run_many(ADD_EVENT, events)
    if messages and await tx.run_many(TAKE_MESSAGE, messages) != len(messages):
        # The sender has cancelled it and reported that it was not done, or it was taken before.
        raise Fenced("a message that these events answer was cancelled")
    for work in works:
        tx.announce(work.append.execution_id)
    if audit:
        await add_to_chain(tx, audit)


async def _check_quotas(tx: Transaction, works: Sequence[AppendOp]) -> None:
    """Compare the storage of accounts, including these writes, with their quotas. Raises: LimitReached."""
    quotas = {quota.workspace_id: quota.limits for work in works if (quota := work.append.quota) is not None}
    for workspace_id, limits in quotas.items():
        if limits.stored is not None:
            limits.check_grown(int((await one_row(tx, STORED, {"workspace_id": workspace_id}))[0]))


def event_rows(append: Append) -> list[tuple[str, int, int, str, str]]:
    return [(append.execution_id, r.seq, to_ms(r.at), r.event.type, r.data.decode()) for r in append.records]


@dataclass(frozen=True, slots=True)
class AcquireOp:
    """The acquisition of an execution as a write operation."""

    execution_id: ExecutionId
    fencing_token: int
    epoch: int
    allows_concurrent_writers: ClassVar[bool] = True
    size: ClassVar[int] = 0

    async def run(self, tx: Transaction) -> None:
        is_owned = (
            await tx.row(ACQUIRE, {"id": self.execution_id, "fencing_token": self.fencing_token, "epoch": self.epoch})
            is not None
        )
        if not is_owned and (await one_row(tx, EPOCH))[0] != self.epoch:
            raise Fenced("another server has taken over all executions")


def summary_row(append: Append) -> dict[str, Any]:
    summary = append.summary
    row: dict[str, Any] = {
        "id": append.execution_id,
        "status": summary.status.value,
        "completed_at": to_ms_or_none(summary.completed_at),
        "error": summary.error,
        "is_idle": summary.rests,
        "wake_at": to_ms_or_none(summary.wake_at),
        "waiting_for": None if summary.waiting_for is None else summary.waiting_for.decode(),
        "epoch": append.epoch,
        "last_seq": append.after + len(append.records),
        "size": sum(len(record.data) for record in append.records),
    }
    if append.create is None:
        row |= {"after": append.after, "is_queued": summary.is_queued}
    else:
        row |= _creation_row(append.create)
    return row


def _creation_row(new: NewExecution) -> dict[str, Any]:
    return {
        "workspace_id": new.workspace_id,
        "flow_id": new.flow_id,
        "revision_id": new.revision_id,
        "started_at": to_ms(new.started_at),
        "idempotency_key": new.idempotency_key,
        "request_digest": new.request_digest,
        "parent_id": awaiting_parent(new.cause),
        "rerun_of": repeated(new.cause),
        "concurrency_key": None if new.slot is None else new.slot.key,
        "concurrency_limit": None if new.slot is None else new.slot.most,
        "is_queued": new.slot is not None and new.slot.is_queued,
        "is_active": False,
        "queued_at": None,
    }


class SqlJournal:
    """Implements `ports.Journal`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, append: Append) -> Awaitable[None]:
        return self._database.submit(AppendOp(append))

    async def claim(self) -> int:
        released = 0

        async def release_slots(tx: Transaction) -> None:
            nonlocal released
            released = await tx.run(RELEASE_SLOTS, {"limit": _PAGE})

        async def claim(tx: Transaction) -> int:
            epoch: int = (await one_row(tx, CLAIM, {"tokens": TOKENS_PER_EPOCH}))[0]
            await release_slots(tx)
            return epoch

        epoch = await self._database.claim(claim)
        while released == _PAGE:
            await self._database.write(release_slots)
        return epoch

    async def epoch(self) -> int:
        async def epoch(tx: Transaction) -> int:
            epoch: int = (await one_row(tx, EPOCH))[0]
            return epoch

        return await self._database.claim(epoch)

    async def acquire(self, id: ExecutionId, epoch: int) -> int:
        fencing_token = epoch + 1 + secrets.randbelow(TOKENS_PER_EPOCH - 1)
        await self._database.submit(AcquireOp(id, fencing_token, epoch))
        return fencing_token

    async def load(
        self, id: ExecutionId, loading: Loading | None = None
    ) -> tuple[StoredExecution, Sequence[tuple[Event, datetime]]]:
        async def begin(tx: Transaction) -> tuple[StoredExecution | None, list[Row]]:
            header = await tx.row(HEADER, {"id": id})
            stored = None if header is None else _stored(id, header)
            if stored is None or (loading is not None and stored.size > LARGE_BYTES):
                return stored, []
            return stored, await _page(tx, id, after=0, limit=_PAGE)

        stored, rows = await self._database.read_long(begin)
        if stored is None:
            raise NotFound("execution")
        if loading is None or stored.size <= LARGE_BYTES:
            return stored, await self._events_of(stored, rows)
        async with loading.reading(stored.workspace_id):
            rows = await self._database.read_long(partial(_page, id=id, after=0, limit=_PAGE))
            await loading.take(stored.workspace_id, _memory_of(rows, stored.size))
            return stored, await self._events_of(stored, rows)

    async def _events_of(self, stored: StoredExecution, rows: list[Row]) -> list[tuple[Event, datetime]]:
        """Return all events of an execution, given its first rows. Raises: NotFound, Unreadable."""
        id = stored.id
        events: list[tuple[Event, datetime]] = []
        while rows and rows[0][0] == len(events) + 1:
            async for portion in _in_portions(rows):
                events += [(event_of_row(*row), from_ms(row[1])) for row in portion]
            if len(rows) < _PAGE:
                break
            rows = await self._database.read_long(partial(_page, id=id, after=len(events), limit=_PAGE))
        if len(events) < max(stored.last_seq, 1):
            if not stored.status.is_final:
                raise Unreadable(f"Event {len(events) + 1} of this execution is missing")
            # Retention is deleting it, from its first event on.
            raise NotFound("execution")
        return events

    async def stored(self, id: ExecutionId) -> StoredExecution:
        header = await self._database.read(lambda tx: tx.row(HEADER, {"id": id}))
        if header is None:
            raise NotFound("execution")
        return _stored(id, header)

    async def events(self, id: ExecutionId, *, after: int, limit: int) -> Sequence[Recorded]:
        values = {"id": id, "after": after, "limit": limit, "characters": PAGE_OF_EVENTS_BYTES}
        rows = await self._database.read_long(lambda tx: tx.rows(PAGE_OF_EVENTS, values))
        return list(map(_recorded, rows))

    async def unfinished(self, *, after: ExecutionId | None, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        return await self._ids(UNFINISHED, {"after": after or "", "limit": limit})

    def announce(self, id: ExecutionId) -> None:
        self._database.notify([id])

    async def unowned(self, *, since: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        return await self._ids(UNOWNED, {"since": to_ms(since), "limit": limit})

    async def due(self, *, now: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        return await self._ids(DUE, {"now": to_ms(now), "limit": limit})

    async def next_wake(self) -> datetime | None:
        row = await self._database.read(lambda tx: one_row(tx, NEXT_WAKE))
        return from_ms_or_none(row[0])

    async def admit(self, key: str) -> tuple[ExecutionId, WorkspaceId] | None:
        async def admit(tx: Transaction) -> tuple[ExecutionId, WorkspaceId] | None:
            row = await tx.row(ADMIT, {"key": key})
            return None if row is None else (ExecutionId(row[0]), WorkspaceId(row[1]))

        return await self._database.write(admit)

    async def holding_slot(self, key: str) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        return await self._ids(HOLDING_SLOT, {"key": key})

    async def queued_keys(self) -> Sequence[str]:
        rows = await self._database.read_long(lambda tx: tx.rows(QUEUED_KEYS))
        return [row[0] for row in rows]

    async def last_queued(self, key: str) -> ExecutionId | None:
        row = await self._database.read(lambda tx: tx.row(LAST_QUEUED, {"key": key}))
        return None if row is None else ExecutionId(row[0])

    async def older_with_key(self, id: ExecutionId) -> Sequence[ExecutionId]:
        rows = await self._database.read_long(lambda tx: tx.rows(OLDER_WITH_KEY, {"id": id}))
        return [ExecutionId(row[0]) for row in rows]

    async def unreconciled_children(self, parent: ExecutionId | None = None) -> Sequence[UnreconciledChild]:
        statement, values = (UNRECONCILED, {}) if parent is None else (UNRECONCILED_OF, {"parent": parent})
        rows = await self._database.read_long(lambda tx: tx.rows(statement, values))
        return [
            UnreconciledChild(ExecutionId(child), ExecutionId(parent), bool(a), bool(b)) for child, parent, a, b in rows
        ]

    async def _ids(self, statement: str, values: dict[str, Any]) -> list[tuple[ExecutionId, WorkspaceId]]:
        rows = await self._database.read_long(lambda tx: tx.rows(statement, values))
        return [(ExecutionId(row[0]), WorkspaceId(row[1])) for row in rows]


async def _page(tx: Transaction, id: ExecutionId, after: int, limit: int) -> list[Row]:
    return await tx.rows(EVENTS, {"id": id, "after": after, "limit": limit})


def _memory_of(rows: Sequence[Row], size: int) -> int:
    """Estimate the memory of all events of an execution from its first rows."""
    texts = [data for *_, data in rows]
    memory = characters = 0
    for text in texts:
        characters += len(text)
        memory += memory_of_json(text)
    return memory if characters >= size or not characters else memory * size // characters


async def _in_portions(rows: list[Row]) -> AsyncIterator[list[Row]]:
    """Yield the rows of events in portions, letting other tasks run in between."""
    begin = characters = 0
    for end, (*_, data) in enumerate(rows, start=1):
        characters += len(data)
        if end - begin >= _EVENTS_A_PORTION or characters >= _CHARACTERS_A_PORTION:
            yield rows[begin:end]
            begin, characters = end, 0
            await asyncio.sleep(0)
    yield rows[begin:]


def _stored(id: ExecutionId, header: Sequence[Any]) -> StoredExecution:
    (
        workspace_id,
        flow_id,
        revision_id,
        status,
        is_gone,
        parent_id,
        concurrency_key,
        concurrency_limit,
        is_queued,
        size,
        last_seq,
    ) = header
    return StoredExecution(
        id=id,
        workspace_id=WorkspaceId(workspace_id),
        flow_id=FlowId(flow_id),
        revision_id=RevisionId(revision_id),
        status=Status(status),
        account_is_gone=bool(is_gone),
        size=size,
        last_seq=last_seq,
        parent_id=None if parent_id is None else ExecutionId(parent_id),
        slot=None if concurrency_key is None else ConcurrencySlot(concurrency_key, concurrency_limit, bool(is_queued)),
    )


def event_of_row(seq: int, at: int, type: str, data: str) -> Event:
    """Return the event of a row. Raises: Unreadable."""
    if type not in EVENT_TYPES:
        raise Unreadable(
            f"Event {seq} of this execution is of a kind that this version of FlowRunner does not know: {type[:100]}",
            newer_since=from_ms(at),
        )
    try:
        return decode_event(type, data)
    except (msgspec.MsgspecError, UnicodeError) as error:
        # The cause may quote the event, so it must appear in the log of the server only.
        raise Unreadable(f"Event {seq} of this execution ({type}) cannot be read") from error


def _recorded(row: Row) -> Recorded:
    seq, at, _, data = row
    try:
        event = event_of_row(*row)
    except Unreadable as error:
        event = Logged(level="warn", message=str(error))
        data = encode_event(event).decode()
    return Recorded(seq, from_ms(at), event, data.encode())
