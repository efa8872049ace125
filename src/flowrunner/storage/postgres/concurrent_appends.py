"""Appends and acquisitions in statements that several processes may send at the same time.

Each is one round trip and a transaction of its own, so that no lock is held during network latency. The statement
checks for every row that the sender still owns it, and returns the ids of those rows; other rows stay unchanged.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from flowrunner.domain.values import WorkspaceId
from flowrunner.ports.usage import BLOCK
from flowrunner.storage.appends import AcquireOp, AppendOp, event_rows, summary_row
from flowrunner.storage.execution_columns import with_columns
from flowrunner.storage.transaction import Transaction

# Appends all events of many steps. An execution that cannot be advanced gets no events, keeps its messages and is not
# among the returned ids. The same holds if its events answer a missing message, because the sender has reported that
# the message had no effect. Messages are locked first, so that none can be cancelled meanwhile. If a workspace would
# exceed its quota, none of its executions is advanced here, and each append is tried alone. The quota may miss at most
# one concurrent statement of each other process.
APPEND_CONCURRENTLY: Final = with_columns("""
WITH cited AS MATERIALIZED (
    SELECT execution_inbox.number
      FROM execution_inbox JOIN unnest(:message::bigint[], :message_to::text[]) AS read (number, id)
        ON execution_inbox.number = read.number AND execution_inbox.execution_id = read.id
     ORDER BY execution_inbox.number
       FOR UPDATE OF execution_inbox
), filled AS MATERIALIZED (
    SELECT quota.workspace_id
      FROM unnest(:workspace::text[], :grown::bigint[], :most::bigint[]) AS quota (workspace_id, grown, most)
     WHERE quota.most - quota.grown < (SELECT coalesce(sum(usage.stored), 0) FROM usage
                                        WHERE usage.workspace_id = quota.workspace_id)
), advanced AS (
    UPDATE executions
       SET {summary_of_row}, last_seq = new.last_seq, size = executions.size + new.size
      FROM flowrunner_lock_shared() AS engine (epoch),
           {appends_with_summary}
     WHERE executions.id = ANY(:id) AND executions.id = new.id AND executions.last_seq = new.after
       AND executions.is_queued = new.is_queued AND new.epoch >= engine.epoch
       AND (executions.epoch = new.epoch OR executions.epoch < engine.epoch)
       AND new.id NOT IN (SELECT read.id FROM unnest(:message::bigint[], :message_to::text[]) AS read (number, id)
                           WHERE read.number NOT IN (SELECT number FROM cited))
       AND executions.workspace_id NOT IN (SELECT workspace_id FROM filled)
    RETURNING executions.id
), added AS (
    INSERT INTO events (execution_id, seq, at, type, data)
    SELECT new.*
      FROM unnest(:event_of::text[], :seq::bigint[], :at::bigint[], :type::text[], :data::text[])
        AS new (execution_id, seq, at, type, data)
      JOIN advanced ON advanced.id = new.execution_id
), taken AS (
    DELETE FROM execution_inbox
     USING unnest(:message::bigint[], :message_to::text[]) AS read (number, id) JOIN advanced ON advanced.id = read.id
     WHERE execution_inbox.number = read.number AND execution_inbox.execution_id = read.id
)
SELECT id FROM advanced
""")
ACQUIRE_CONCURRENTLY: Final = """
UPDATE executions SET epoch = new.fencing_token
  FROM flowrunner_lock_shared() AS engine (epoch),
       unnest(:id::text[], :fencing_token::bigint[], :epoch::bigint[]) AS new (id, fencing_token, epoch)
 WHERE executions.id = ANY(:id) AND executions.id = new.id AND executions.status IN ('running', 'waiting')
   AND new.epoch = engine.epoch
RETURNING executions.id
"""


async def append_concurrently(tx: Transaction, works: Sequence[AppendOp]) -> Sequence[AppendOp]:
    """Run as many of the appends as one statement can, and return those that were done."""
    # Only the first append of each execution; later ones are for the next statement. Rows are locked in one order.
    advancing = {
        work.append.execution_id: work
        for work in sorted(works, key=lambda work: (work.append.execution_id, -work.append.after))
    }
    rows = [summary_row(work.append) for work in advancing.values()]
    events = [event for work in advancing.values() for event in event_rows(work.append)]
    messages = [(number, id) for id, work in advancing.items() for number in work.append.messages]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for place, name in enumerate(("event_of", "seq", "at", "type", "data")):
        columns[name] = [event[place] for event in events]
    columns |= {"message": [number for number, _ in messages], "message_to": [id for _, id in messages]}
    columns |= _quotas(list(advancing.values()))
    done = [advancing[id] for (id,) in await tx.rows(APPEND_CONCURRENTLY, columns)]
    for work in done:
        tx.announce(work.append.execution_id)
    return done


def _quotas(works: Sequence[AppendOp]) -> dict[str, list[Any]]:
    """Return the workspaces with a quota, the most that the appends add, and the maximum, in bytes."""
    grown: Counter[WorkspaceId] = Counter()
    most: dict[WorkspaceId, int] = {}
    for work in works:
        quota = work.append.quota
        if quota is not None and quota.limits.stored is not None:
            grown[quota.workspace_id] += work.size + BLOCK
            most[quota.workspace_id] = quota.limits.stored
    return {"workspace": list(most), "grown": [grown[id] for id in most], "most": list(most.values())}


async def acquire_concurrently(tx: Transaction, works: Sequence[AcquireOp]) -> Sequence[AcquireOp]:
    """Acquire as many of the executions as one statement can, and return the operations that were done."""
    owned = {work.execution_id: work for work in sorted(works, key=lambda work: work.execution_id)}
    values = {
        "id": list(owned),
        "fencing_token": [work.fencing_token for work in owned.values()],
        "epoch": [work.epoch for work in owned.values()],
    }
    return [owned[id] for (id,) in await tx.rows(ACQUIRE_CONCURRENTLY, values)]
