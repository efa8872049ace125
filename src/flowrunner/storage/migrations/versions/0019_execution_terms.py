"""Labels of executions, and the index of labels and searchable inputs."""

from alembic import op

revision = "0019"
down_revision = "0018"

SQLITE = (
    # The labels of its start, as a JSON object; null if there are none.
    "ALTER TABLE executions ADD COLUMN labels TEXT",
    # A label (`label.team`) or a searchable input (`input.order_id`) of an execution, for lists that select by it.
    """
CREATE TABLE execution_terms (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    PRIMARY KEY (workspace_id, name, value, execution_id)
) STRICT, WITHOUT ROWID
""",
    # Finds the terms of an execution that is deleted or moved.
    "CREATE INDEX execution_terms_execution ON execution_terms (execution_id)",
    """
CREATE TRIGGER executions_move_terms AFTER UPDATE OF workspace_id ON executions
WHEN OLD.workspace_id <> NEW.workspace_id
BEGIN
    UPDATE execution_terms SET workspace_id = NEW.workspace_id WHERE execution_id = NEW.id;
END
""",
    """
CREATE TRIGGER executions_delete_terms AFTER DELETE ON executions
BEGIN
    DELETE FROM execution_terms WHERE execution_id = OLD.id;
END
""",
    "DROP TRIGGER executions_reject_change_after_end",
    """
CREATE TRIGGER executions_reject_change_after_end BEFORE UPDATE OF
    id, flow_id, revision_id, status, started_at, completed_at, error, is_idle, wake_at, waiting_for, epoch, last_seq,
    size, request_digest, parent_id, rerun_of, concurrency_key, concurrency_limit, queue_position, is_queued, is_active,
    queued_at, approval_at, error_type, failed_node, log_counts, trigger_id, original_id, labels
ON executions
WHEN OLD.status IN ('completed', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'the execution has ended');
END;
""",
)
POSTGRES = """
ALTER TABLE executions ADD COLUMN labels text;
CREATE TABLE execution_terms (
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    name text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    execution_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace_id, name, value, execution_id)
);
CREATE INDEX execution_terms_execution ON execution_terms (execution_id);

CREATE FUNCTION flowrunner_move_terms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE execution_terms SET workspace_id = NEW.workspace_id WHERE execution_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER executions_move_terms AFTER UPDATE OF workspace_id ON executions FOR EACH ROW
WHEN (OLD.workspace_id IS DISTINCT FROM NEW.workspace_id)
EXECUTE FUNCTION flowrunner_move_terms();
CREATE FUNCTION flowrunner_delete_terms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM execution_terms WHERE execution_id IN (SELECT id FROM gone);
    RETURN NULL;
END $$;
CREATE TRIGGER executions_delete_terms AFTER DELETE ON executions REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_delete_terms();

DROP TRIGGER executions_reject_change_after_end ON executions;
CREATE TRIGGER executions_reject_change_after_end BEFORE UPDATE OF
    id, flow_id, revision_id, status, started_at, completed_at, error, is_idle, wake_at, waiting_for, epoch, last_seq,
    size, request_digest, parent_id, rerun_of, concurrency_key, concurrency_limit, queue_position, is_queued, is_active,
    queued_at, approval_at, error_type, failed_node, log_counts, trigger_id, original_id, labels
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
