"""Columns of executions for lists: their errors, the lines of their logs, their triggers and their chains of reruns."""

from alembic import op

revision = "0008"
down_revision = "0007"

SQLITE = (
    # The type and the node of the error, whose beginnings are kept. Earlier versions leave these columns null.
    "ALTER TABLE executions ADD COLUMN error_type TEXT",
    "ALTER TABLE executions ADD COLUMN failed_node TEXT",
    # The number of lines in its log by level, as JSON, from its end on. Null for an end without its events, or of an
    # earlier version.
    "ALTER TABLE executions ADD COLUMN log_counts TEXT",
    # The trigger that has started it.
    "ALTER TABLE executions ADD COLUMN trigger_id TEXT",
    # The first execution of a chain of reruns; null for that one itself.
    "ALTER TABLE executions ADD COLUMN original_id TEXT",
    """
UPDATE executions
   SET error_type = (SELECT substr(data ->> '$.error.type', 1, 200) FROM events
                      WHERE execution_id = executions.id AND seq = executions.last_seq AND type = 'execution.failed'),
       failed_node = (SELECT substr(data ->> '$.error.node', 1, 200) FROM events
                      WHERE execution_id = executions.id AND seq = executions.last_seq AND type = 'execution.failed')
 WHERE status = 'failed'
""",
    """
WITH RECURSIVE chain (id, original_id) AS (
    SELECT id, rerun_of FROM executions e
     WHERE rerun_of IS NOT NULL
       AND NOT EXISTS (SELECT 1 FROM executions WHERE id = e.rerun_of AND rerun_of IS NOT NULL)
    UNION ALL
    SELECT e.id, chain.original_id FROM executions e JOIN chain ON e.rerun_of = chain.id
)
UPDATE executions SET original_id = (SELECT original_id FROM chain WHERE chain.id = executions.id)
 WHERE rerun_of IS NOT NULL
""",
    # Finds the completed execution that has repaired a failed one.
    "CREATE INDEX executions_reruns ON executions (original_id, status, id) WHERE original_id IS NOT NULL",
    "DROP TRIGGER executions_reject_change_after_end",
    """
CREATE TRIGGER executions_reject_change_after_end BEFORE UPDATE OF
    id, flow_id, revision_id, status, started_at, completed_at, error, is_idle, wake_at, waiting_for, epoch, last_seq,
    size, request_digest, parent_id, rerun_of, concurrency_key, concurrency_limit, queue_position, is_queued, is_active,
    queued_at, approval_at, error_type, failed_node, log_counts, trigger_id, original_id
ON executions
WHEN OLD.status IN ('completed', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'the execution has ended');
END;
""",
)
POSTGRES = """
ALTER TABLE executions ADD COLUMN error_type text COLLATE "C";
ALTER TABLE executions ADD COLUMN failed_node text COLLATE "C";
ALTER TABLE executions ADD COLUMN log_counts text;
ALTER TABLE executions ADD COLUMN trigger_id text COLLATE "C";
ALTER TABLE executions ADD COLUMN original_id text COLLATE "C";

-- The sizes stay as they are.
ALTER TABLE executions DISABLE TRIGGER executions_change_usage;
UPDATE executions
   SET error_type = left(replace(data, '\\u0000', '\\ufffd')::json #>> '{error,type}', 200),
       failed_node = left(replace(data, '\\u0000', '\\ufffd')::json #>> '{error,node}', 200)
  FROM events
 WHERE executions.status = 'failed' AND events.execution_id = executions.id AND events.seq = executions.last_seq
   AND events.type = 'execution.failed';
WITH RECURSIVE chain (id, original_id) AS (
    SELECT id, rerun_of FROM executions e
     WHERE rerun_of IS NOT NULL
       AND NOT EXISTS (SELECT 1 FROM executions WHERE id = e.rerun_of AND rerun_of IS NOT NULL)
    UNION ALL
    SELECT e.id, chain.original_id FROM executions e JOIN chain ON e.rerun_of = chain.id
)
UPDATE executions SET original_id = chain.original_id FROM chain WHERE chain.id = executions.id;
ALTER TABLE executions ENABLE TRIGGER executions_change_usage;

CREATE INDEX executions_reruns ON executions (original_id, status, id) WHERE original_id IS NOT NULL;
DROP TRIGGER executions_reject_change_after_end ON executions;
CREATE TRIGGER executions_reject_change_after_end BEFORE UPDATE OF
    id, flow_id, revision_id, status, started_at, completed_at, error, is_idle, wake_at, waiting_for, epoch, last_seq,
    size, request_digest, parent_id, rerun_of, concurrency_key, concurrency_limit, queue_position, is_queued, is_active,
    queued_at, approval_at, error_type, failed_node, log_counts, trigger_id, original_id
ON executions FOR EACH ROW
WHEN (OLD.status IN ('completed', 'failed', 'cancelled'))
EXECUTE FUNCTION flowrunner_reject('the execution has ended');
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
