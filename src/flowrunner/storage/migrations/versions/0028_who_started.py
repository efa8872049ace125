"""The account that has started an execution, for lists."""

from alembic import op

revision = "0028"
down_revision = "0027"

SQLITE = (
    # Null if no account asked for it. It is in the first event too, but so is the input, which may be long.
    "ALTER TABLE executions ADD COLUMN started_by TEXT",
    """
UPDATE executions
   SET started_by = (SELECT coalesce(data ->> '$.trigger.by', data ->> '$.by') FROM events
                      WHERE execution_id = executions.id AND seq = 1)
""",
    "DROP TRIGGER executions_reject_change_after_end",
    """
CREATE TRIGGER executions_reject_change_after_end BEFORE UPDATE OF
    id, flow_id, revision_id, status, started_at, completed_at, error, is_idle, wake_at, waiting_for, epoch, last_seq,
    size, request_digest, parent_id, rerun_of, concurrency_key, concurrency_limit, queue_position, is_queued, is_active,
    queued_at, approval_at, error_type, failed_node, log_counts, trigger_id, original_id, labels, started_by
ON executions
WHEN OLD.status IN ('completed', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'the execution has ended');
END;
""",
)
POSTGRES = """
ALTER TABLE executions ADD COLUMN started_by text COLLATE "C";

-- The sizes stay as they are.
ALTER TABLE executions DISABLE TRIGGER executions_change_usage;
WITH starts AS (
    SELECT execution_id, replace(data, '\\u0000', '\\ufffd')::json AS data FROM events WHERE seq = 1
)
UPDATE executions SET started_by = coalesce(starts.data #>> '{trigger,by}', starts.data ->> 'by')
  FROM starts
 WHERE starts.execution_id = executions.id
   AND coalesce(starts.data #>> '{trigger,by}', starts.data ->> 'by') IS NOT NULL;
ALTER TABLE executions ENABLE TRIGGER executions_change_usage;

DROP TRIGGER executions_reject_change_after_end ON executions;
CREATE TRIGGER executions_reject_change_after_end BEFORE UPDATE OF
    id, flow_id, revision_id, status, started_at, completed_at, error, is_idle, wake_at, waiting_for, epoch, last_seq,
    size, request_digest, parent_id, rerun_of, concurrency_key, concurrency_limit, queue_position, is_queued, is_active,
    queued_at, approval_at, error_type, failed_node, log_counts, trigger_id, original_id, labels, started_by
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
