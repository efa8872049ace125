"""Moves of flows to another workspace, with their revisions and executions."""

from alembic import op

revision = "0006"
down_revision = "0005"

SQLITE = (
    # The workspace where the rest of its revisions and executions is; null once all have followed the flow.
    "ALTER TABLE flows ADD COLUMN moving_from TEXT REFERENCES workspaces (id)",
    "CREATE INDEX flows_moving ON flows (id) WHERE moving_from IS NOT NULL",
    "DROP TRIGGER executions_reject_change_after_end",
    # Lists every column but those that change when an execution moves.
    """
CREATE TRIGGER executions_reject_change_after_end BEFORE UPDATE OF
    id, flow_id, revision_id, status, started_at, completed_at, error, is_idle, wake_at, waiting_for, epoch, last_seq,
    size, request_digest, parent_id, rerun_of, concurrency_key, concurrency_limit, queue_position, is_queued, is_active,
    queued_at, approval_at
ON executions
WHEN OLD.status IN ('completed', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'the execution has ended');
END;
""",
    # Only to where its flow is, and only after its end. A key that the target has already is dropped.
    """
CREATE TRIGGER executions_move_with_flow BEFORE UPDATE OF workspace_id, idempotency_key ON executions
WHEN OLD.completed_at IS NULL OR NEW.workspace_id IS NOT (SELECT workspace_id FROM flows WHERE id = OLD.flow_id)
     OR (NEW.idempotency_key IS NOT NULL AND NEW.idempotency_key IS NOT OLD.idempotency_key)
BEGIN
    SELECT RAISE(ABORT, 'an execution moves with its flow, after its end');
END;
""",
    """
CREATE TRIGGER executions_move_usage AFTER UPDATE OF workspace_id ON executions
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE workspace_id = OLD.workspace_id;
    UPDATE usage SET stored = stored + NEW.size WHERE workspace_id = NEW.workspace_id;
END;
""",
    """
CREATE TRIGGER flows_move_usage AFTER UPDATE OF workspace_id ON flows
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE workspace_id = OLD.workspace_id;
    UPDATE usage SET stored = stored + NEW.size WHERE workspace_id = NEW.workspace_id;
END;
""",
    """
CREATE TRIGGER revisions_move_usage AFTER UPDATE OF workspace_id ON revisions WHEN OLD.deleted_at IS NULL
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE workspace_id = OLD.workspace_id;
    UPDATE usage SET stored = stored + NEW.size WHERE workspace_id = NEW.workspace_id;
END;
""",
)
# The triggers that count what an update of executions or flows moves exist already.
POSTGRES = """
ALTER TABLE flows ADD COLUMN moving_from text COLLATE "C" REFERENCES workspaces (id);
CREATE INDEX flows_moving ON flows (id) WHERE moving_from IS NOT NULL;

DROP TRIGGER executions_reject_change_after_end ON executions;
CREATE TRIGGER executions_reject_change_after_end BEFORE UPDATE OF
    id, flow_id, revision_id, status, started_at, completed_at, error, is_idle, wake_at, waiting_for, epoch, last_seq,
    size, request_digest, parent_id, rerun_of, concurrency_key, concurrency_limit, queue_position, is_queued, is_active,
    queued_at, approval_at
ON executions FOR EACH ROW
WHEN (OLD.status IN ('completed', 'failed', 'cancelled'))
EXECUTE FUNCTION flowrunner_reject('the execution has ended');

CREATE FUNCTION flowrunner_move_with_flow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.completed_at IS NULL
       OR NEW.workspace_id IS DISTINCT FROM (SELECT workspace_id FROM flows WHERE id = OLD.flow_id)
       OR (NEW.idempotency_key IS NOT NULL AND NEW.idempotency_key IS DISTINCT FROM OLD.idempotency_key) THEN
        RAISE EXCEPTION 'an execution moves with its flow, after its end'
              USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER executions_move_with_flow BEFORE UPDATE OF workspace_id, idempotency_key ON executions FOR EACH ROW
EXECUTE FUNCTION flowrunner_move_with_flow();

DROP TRIGGER revisions_add_usage ON revisions;
CREATE TRIGGER revisions_add_usage AFTER INSERT OR UPDATE OF deleted_at, workspace_id OR DELETE ON revisions
FOR EACH ROW EXECUTE FUNCTION flowrunner_revisions_add_usage();
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
