"""What executions record on their way, in statements that several processes may send at once.

Each is one exchange and a transaction by itself, so that no lock is held while an answer is on its way. It looks at
every row whether it is still the sender's, and gives the ids of those that were: the others are left as they are.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from flowrunner.domain.values import WorkspaceId
from flowrunner.storage.journal import AcquireOp, AppendOp, event_rows, summary_row
from flowrunner.storage.transaction import Transaction

# All that a step records, in one exchange that is a transaction by itself. What cannot be advanced has no event added
# and no letter taken, and is not among the ids that are given. Nor is what answers a letter that is gone, as its
# sender was told that it is not done. The letters are locked first, so that none can be withdrawn meanwhile. An account
# that would keep more than its quota advances none of its executions here: each by itself tells which it still can. Of
# what other processes write meanwhile, no more than one statement of each goes unseen.
APPEND_CONCURRENTLY: Final = """
WITH cited AS MATERIALIZED (
    SELECT execution_inbox.number
      FROM execution_inbox JOIN unnest(:letter::bigint[], :letter_to::text[]) AS read (number, id)
        ON execution_inbox.number = read.number AND execution_inbox.execution_id = read.id
     ORDER BY execution_inbox.number
       FOR UPDATE OF execution_inbox
), filled AS MATERIALIZED (
    SELECT quota.workspace_id
      FROM unnest(:account::text[], :grown::bigint[], :most::bigint[]) AS quota (workspace_id, grown, most)
     WHERE quota.most - quota.grown < (SELECT coalesce(sum(usage.stored), 0) FROM usage
                                        WHERE usage.workspace_id = quota.workspace_id)
), advanced AS (
    UPDATE executions
       SET status = new.status, completed_at = new.completed_at, error = new.error, is_idle = new.is_idle,
           wake_at = new.wake_at,
           waiting_for = new.waiting_for, last_seq = new.last_seq, size = executions.size + new.size
      FROM flowrunner_lock_shared() AS engine (epoch),
           unnest(:id::text[], :status::text[], :completed_at::bigint[], :error::text[], :is_idle::boolean[],
                  :wake_at::bigint[], :waiting_for::text[], :last_seq::bigint[], :size::bigint[], :after::bigint[],
                  :epoch::bigint[], :is_queued::boolean[])
        AS new (id, status, completed_at, error, is_idle, wake_at, waiting_for, last_seq, size, after, epoch, is_queued)
     WHERE executions.id = ANY(:id) AND executions.id = new.id AND executions.last_seq = new.after
       AND executions.is_queued = new.is_queued AND new.epoch >= engine.epoch
       AND (executions.epoch = new.epoch OR executions.epoch < engine.epoch)
       AND new.id NOT IN (SELECT read.id FROM unnest(:letter::bigint[], :letter_to::text[]) AS read (number, id)
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
     USING unnest(:letter::bigint[], :letter_to::text[]) AS read (number, id) JOIN advanced ON advanced.id = read.id
     WHERE execution_inbox.number = read.number AND execution_inbox.execution_id = read.id
)
SELECT id FROM advanced
"""
ACQUIRE_CONCURRENTLY: Final = """
UPDATE executions SET epoch = new.mark
  FROM flowrunner_lock_shared() AS engine (epoch),
       unnest(:id::text[], :mark::bigint[], :epoch::bigint[]) AS new (id, mark, epoch)
 WHERE executions.id = ANY(:id) AND executions.id = new.id AND executions.status IN ('running', 'waiting')
   AND new.epoch = engine.epoch
RETURNING executions.id
"""


async def append_concurrently(tx: Transaction, works: Sequence[AppendOp]) -> Sequence[AppendOp]:
    """Do as many of the appends as one statement can, all of which are by themselves; gives those that are done."""
    # One after another of the same execution is for the next statement. Rows are locked in one order.
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
    columns |= {"letter": [number for number, _ in messages], "letter_to": [id for _, id in messages]}
    columns |= _quotas(list(advancing.values()))
    done = [advancing[id] for (id,) in await tx.rows(APPEND_CONCURRENTLY, columns)]
    for work in done:
        tx.announce(work.append.execution_id)
    return done


def _quotas(works: Sequence[AppendOp]) -> dict[str, list[Any]]:
    """Return the accounts that have quotas, with the bytes that the works add to each and the most that it may keep."""
    grown: Counter[WorkspaceId] = Counter()
    most: dict[WorkspaceId, int] = {}
    for work in works:
        quota = work.append.quota
        if quota is not None and quota.limits.stored is not None:
            grown[quota.workspace_id] += work.size
            most[quota.workspace_id] = quota.limits.stored
    return {"account": list(most), "grown": [grown[id] for id in most], "most": list(most.values())}


async def acquire_concurrently(tx: Transaction, works: Sequence[AcquireOp]) -> Sequence[AcquireOp]:
    """Own as many as are to be owned, in one statement on PostgreSQL; gives those that are."""
    owned = {work.execution_id: work for work in sorted(works, key=lambda work: work.execution_id)}
    values = {
        "id": list(owned),
        "mark": [work.fencing_token for work in owned.values()],
        "epoch": [work.epoch for work in owned.values()],
    }
    return [owned[id] for (id,) in await tx.rows(ACQUIRE_CONCURRENTLY, values)]
