"""Appends to the journal and acquisitions of executions, as write operations that share a transaction."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.causes import awaiting_parent, repeated, started_by, trigger_of
from flowrunner.domain.errors import LimitReached, NotFound
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.concurrency import ConcurrencyLimitReached
from flowrunner.ports.event_codec import stored_type
from flowrunner.ports.executions import LONGEST_LISTED_NAME
from flowrunner.ports.journal import Append, DuplicateRequest, Fenced, NewExecution
from flowrunner.ports.usage import BLOCK
from flowrunner.storage.active_slots import assign_active_slots
from flowrunner.storage.audit_chain import add_to_chain
from flowrunner.storage.concurrency import HAS_FREE_SLOT
from flowrunner.storage.execution_columns import statement_on_rows
from flowrunner.storage.execution_terms import ADD_TERM, terms_of_start
from flowrunner.storage.rows import to_ms, to_ms_or_none
from flowrunner.storage.transaction import Refused, Statement, Transaction, one_row
from flowrunner.storage.trigger_fires import record_fires
from flowrunner.storage.usage import STORED, FreeStorage

# Creates nothing if another process has taken over the claim, or the flow or the revision was deleted: without the
# definition the execution could not continue after a crash. (Deleting a workspace deletes its flows.) The last queue
# position of a key is at one of two places of an index, however many executions wait.
CREATE: Final = statement_on_rows(
    one="""
INSERT INTO executions ({new_columns}, original_id, queue_position)
SELECT {new_values},
       coalesce((SELECT original_id FROM executions WHERE id = :rerun_of), :rerun_of),
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
    many="""
INSERT INTO executions ({new_columns}, original_id, queue_position)
SELECT new.*, coalesce((SELECT x.original_id FROM executions x WHERE x.id = new.rerun_of), new.rerun_of),
       CASE WHEN new.concurrency_key IS NOT NULL
            THEN 1 + coalesce(
                (SELECT max(last.position)
                   FROM (SELECT max(x.queue_position) AS position FROM executions x
                          WHERE x.concurrency_key = new.concurrency_key
                            AND x.completed_at IS NULL AND x.is_queued = false
                          UNION ALL
                         SELECT max(x.queue_position) FROM executions x
                          WHERE x.concurrency_key = new.concurrency_key
                            AND x.completed_at IS NULL AND x.is_queued = true) AS last), 0) END
  FROM {new_rows}
 WHERE new.epoch = (SELECT epoch FROM engine)
   AND EXISTS (SELECT 1 FROM flows f
                WHERE f.id = new.flow_id AND f.workspace_id = new.workspace_id AND f.deleted_at IS NULL)
   AND NOT EXISTS (SELECT 1 FROM revisions r WHERE r.id = new.revision_id AND r.deleted_at IS NOT NULL)
   AND (new.concurrency_key IS NULL OR new.is_queued
        OR new.concurrency_limit > (SELECT count(*) FROM executions x
                             WHERE x.concurrency_key = new.concurrency_key AND x.completed_at IS NULL))
""",
)
FLOW_EXISTS: Final = """
SELECT 1 FROM flows WHERE id = :flow_id AND workspace_id = :workspace_id AND deleted_at IS NULL
"""
REVISION_IS_DELETED: Final = """
SELECT 1 FROM revisions WHERE id = :revision_id AND workspace_id = :workspace_id AND deleted_at IS NOT NULL
"""

# Advances a summary only from the expected last event, and only for the owner of the execution: a late write finds no
# row. An execution that was acquired before the last claim has no owner.
ADVANCE: Final = statement_on_rows(
    one="""
UPDATE executions
   SET {summary_values}, last_seq = :last_seq, size = size + :size
 WHERE id = :id AND last_seq = :after AND is_queued = :is_queued
   AND :epoch >= (SELECT epoch FROM engine) AND (epoch = :epoch OR epoch < (SELECT epoch FROM engine))
""",
    many="""
UPDATE executions
   SET {summary_of_row}, last_seq = new.last_seq, size = executions.size + new.size
  FROM {appends_with_summary}
 WHERE {are_new} executions.id = new.id AND executions.last_seq = new.after
   AND executions.is_queued = new.is_queued AND new.epoch >= (SELECT epoch FROM engine)
   AND (executions.epoch = new.epoch OR executions.epoch < (SELECT epoch FROM engine))
""",
)

# The same if the rest of the row is unchanged. Otherwise SQLite would write all indexes of the columns again.
EXTEND: Final = statement_on_rows(
    one="""
UPDATE executions SET last_seq = :last_seq, size = size + :size
 WHERE id = :id AND last_seq = :after AND is_queued = :is_queued
   AND :epoch >= (SELECT epoch FROM engine) AND (epoch = :epoch OR epoch < (SELECT epoch FROM engine))
""",
    many="""
UPDATE executions SET last_seq = new.last_seq, size = executions.size + new.size
  FROM {appends}
 WHERE {are_new} executions.id = new.id AND executions.last_seq = new.after
   AND executions.is_queued = new.is_queued AND new.epoch >= (SELECT epoch FROM engine)
   AND (executions.epoch = new.epoch OR executions.epoch < (SELECT epoch FROM engine))
""",
)

# With `OR FAIL`, SQLite keeps no copy of the pages for undoing a single row: the transaction is undone in any case.
ADD_EVENT: Final = Statement(
    sqlite="INSERT OR FAIL INTO events (execution_id, seq, at, type, data) VALUES (?, ?, ?, ?, ?)",
    postgres="""
INSERT INTO events (execution_id, seq, at, type, data)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[])
""",
)

TAKE_MESSAGE: Final = Statement.on_rows(
    """
DELETE FROM execution_inbox USING {new}
 WHERE execution_inbox.number = new.number AND execution_inbox.execution_id = new.id
""",
    bigint="number",
)

REQUEST: Final = """
SELECT id, request_digest FROM executions
 WHERE workspace_id = :workspace_id AND idempotency_key = :idempotency_key
"""

EPOCH: Final = "SELECT epoch FROM engine"
ACQUIRE: Final = """
UPDATE executions SET epoch = :fencing_token
 WHERE id = :id AND status IN ('running', 'waiting') AND :epoch = (SELECT epoch FROM engine)
RETURNING 1
"""


@static_dataclass(frozen=True, slots=True)
class AppendOp:
    """An append as a write operation.

    Attributes:
        free: The known free storage of workspaces.
    """

    append: Append
    free: FreeStorage

    @property
    def allows_concurrent_writers(self) -> bool:
        return self.append.create is None and not self.append.audit

    @property
    def size(self) -> int:
        return sum([len(record.data) for record in self.append.records])

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
                if new.slot is not None and not (await one_row(tx, HAS_FREE_SLOT, values))[0]:
                    raise ConcurrencyLimitReached from None
                if await tx.row(REVISION_IS_DELETED, values) is not None:
                    raise NotFound("revision") from None
            if isinstance(error, LimitReached):
                raise
            raise Fenced(str(error)) from error


async def append_together(tx: Transaction, works: Sequence[AppendOp]) -> None:
    """Do all the appends.

    Raises:
        TooManyRequests: If a workspace has the maximum number of executions that wait for an active slot.
        LimitReached: If a workspace would exceed its quota. `AppendOp.run` finds out by which append.
        TriggerHasMoved: If the trigger of a new execution has changed.
        Fenced: If at least one append is not allowed. `AppendOp.run` finds out which one, and why.
    """
    created: list[tuple[NewExecution, dict[str, Any]]] = []
    advanced: list[dict[str, Any]] = []
    extended: list[dict[str, Any]] = []
    events: list[tuple[str, int, int, str, str]] = []
    audit: list[AuditEntry] = []
    messages: list[dict[str, Any]] = []
    terms: list[Sequence[str]] = []
    grown: dict[WorkspaceId, tuple[WorkspaceLimits, int]] = {}
    for work in works:
        append = work.append
        if append.create is not None and append.create.audit is not None:
            audit.append(append.create.audit)
        audit += append.audit
        messages += [{"number": number, "id": append.execution_id} for number in append.messages]
        row = _extension_row(append) if append.is_summary_unchanged else summary_row(append)
        if (quota := append.quota) is not None:
            _, size = grown.get(quota.workspace_id, (quota.limits, 0))
            grown[quota.workspace_id] = quota.limits, size + row["size"] + BLOCK
        if append.is_summary_unchanged:
            extended.append(row)
        elif append.create is None:
            advanced.append(row)
        else:
            created.append((append.create, row))
            row["labels"], found = terms_of_start(append.create, append.records[0].data)
            terms += found
        events += event_rows(append)
    await assign_active_slots(tx, created)
    # Each execution with a concurrency limit needs a count that includes the ones before it.
    unlimited = [row for _, row in created if row["concurrency_key"] is None]
    limited = [[row] for _, row in created if row["concurrency_key"] is not None]
    creations = ((CREATE, rows) for rows in (unlimited, *limited))
    for statement, rows in (*creations, (ADVANCE, advanced), (EXTEND, extended)):
        if rows and await tx.run_many(statement, rows) != len(rows):
            raise Fenced("the execution is owned by another process, or has moved on")
    await record_fires(tx, [new for new, _ in created if new.fire is not None])
    await _check_quotas(tx, grown, works[0].free)
    await tx.run_many(ADD_EVENT, events)
    if terms:
        await tx.run_many(ADD_TERM, terms)
    if messages and await tx.run_many(TAKE_MESSAGE, messages) != len(messages):
        # The sender has cancelled it and reported that it had no effect, or it was taken before.
        raise Fenced("a message that these events answer was cancelled")
    for work in works:
        tx.announce(work.append.execution_id)
    if audit:
        await add_to_chain(tx, audit)


async def _check_quotas(
    tx: Transaction, grown: Mapping[WorkspaceId, tuple[WorkspaceLimits, int]], free: FreeStorage
) -> None:
    """Compare the storage of workspaces, which includes these writes, with their quotas. Raises: LimitReached."""
    for workspace_id, (limits, size) in grown.items():
        if limits.stored is None or free.covers(workspace_id, size):
            continue
        stored = int((await one_row(tx, STORED, {"workspace_id": workspace_id}))[0])
        limits.check_grown(stored)
        free.note(workspace_id, limits.stored - stored)


def event_rows(append: Append) -> list[tuple[str, int, int, str, str]]:
    return [(append.execution_id, r.seq, to_ms(r.at), stored_type(r.event), r.data.decode()) for r in append.records]


@static_dataclass(frozen=True, slots=True)
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
    summary, error = append.summary, append.summary.error
    row: dict[str, Any] = {
        "id": append.execution_id,
        "status": summary.status.value,
        "completed_at": to_ms_or_none(summary.completed_at),
        "error": None if error is None else error.message,
        "error_type": None if error is None else error.type[:LONGEST_LISTED_NAME],
        "failed_node": None if error is None or error.node is None else error.node[:LONGEST_LISTED_NAME],
        "log_counts": None if summary.log_counts is None else msgspec.json.encode(summary.log_counts).decode(),
        "is_idle": summary.is_idle,
        "wake_at": to_ms_or_none(summary.wake_at),
        "waiting_for": None if summary.waiting_for is None else summary.waiting_for.decode(),
        "approval_at": to_ms_or_none(summary.approval_at),
        "epoch": append.epoch,
        "last_seq": append.after + len(append.records),
        "size": sum([len(record.data) for record in append.records]),
    }
    if append.create is None:
        row |= {"after": append.after, "is_queued": summary.is_queued}
    else:
        row |= _creation_row(append.create)
    return row


def _extension_row(append: Append) -> dict[str, Any]:
    return {
        "id": append.execution_id,
        "epoch": append.epoch,
        "after": append.after,
        "last_seq": append.after + len(append.records),
        "size": sum([len(record.data) for record in append.records]),
        "is_queued": append.summary.is_queued,
    }


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
        "trigger_id": trigger_of(new.cause),
        "started_by": started_by(new.cause),
        "concurrency_key": None if new.slot is None else new.slot.key,
        "concurrency_limit": None if new.slot is None else new.slot.most,
        "is_queued": new.slot is not None and new.slot.is_queued,
        "is_active": False,
        "queued_at": None,
    }
