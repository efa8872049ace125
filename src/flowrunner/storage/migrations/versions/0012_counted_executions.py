"""Counters of executions, and indexes for what lists of executions select."""

from alembic import op

revision = "0012"
down_revision = "0011"

SQLITE = (
    # The number of executions of a flow in each status. Triggers count in the transaction that changes the executions.
    """
CREATE TABLE execution_counts (
    workspace_id TEXT NOT NULL,
    flow_id TEXT NOT NULL,
    status TEXT NOT NULL,
    -- Each of several writing processes counts in a part of its own. A single part may be negative.
    part INTEGER NOT NULL DEFAULT 0,
    number INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, flow_id, status, part)
) STRICT, WITHOUT ROWID
""",
    """
INSERT INTO execution_counts (workspace_id, flow_id, status, number)
SELECT workspace_id, flow_id, status, count(*) FROM executions GROUP BY workspace_id, flow_id, status
""",
    """
CREATE TRIGGER executions_count_added AFTER INSERT ON executions
BEGIN
    INSERT INTO execution_counts (workspace_id, flow_id, status, number)
    VALUES (NEW.workspace_id, NEW.flow_id, NEW.status, 1)
    ON CONFLICT (workspace_id, flow_id, status, part) DO UPDATE SET number = number + 1;
END
""",
    """
CREATE TRIGGER executions_count_changed AFTER UPDATE OF status, workspace_id ON executions
WHEN OLD.status <> NEW.status OR OLD.workspace_id <> NEW.workspace_id
BEGIN
    UPDATE execution_counts SET number = number - 1
     WHERE workspace_id = OLD.workspace_id AND flow_id = OLD.flow_id AND status = OLD.status AND part = 0;
    INSERT INTO execution_counts (workspace_id, flow_id, status, number)
    VALUES (NEW.workspace_id, NEW.flow_id, NEW.status, 1)
    ON CONFLICT (workspace_id, flow_id, status, part) DO UPDATE SET number = number + 1;
END
""",
    """
CREATE TRIGGER executions_count_deleted AFTER DELETE ON executions
BEGIN
    UPDATE execution_counts SET number = number - 1
     WHERE workspace_id = OLD.workspace_id AND flow_id = OLD.flow_id AND status = OLD.status AND part = 0;
END
""",
    "CREATE INDEX executions_status ON executions (workspace_id, status, id)",
    "CREATE INDEX executions_flow_status ON executions (workspace_id, flow_id, status, id)",
    "CREATE INDEX executions_error ON executions (workspace_id, error_type, id) WHERE error_type IS NOT NULL",
    "CREATE INDEX executions_failed_node ON executions (workspace_id, failed_node, id) WHERE failed_node IS NOT NULL",
    "CREATE INDEX executions_trigger ON executions (workspace_id, trigger_id, id) WHERE trigger_id IS NOT NULL",
    "CREATE INDEX executions_rerun_of ON executions (workspace_id, rerun_of, id) WHERE rerun_of IS NOT NULL",
)
POSTGRES = """
CREATE TABLE execution_counts (
    workspace_id text COLLATE "C" NOT NULL,
    flow_id text COLLATE "C" NOT NULL,
    status text NOT NULL,
    part bigint NOT NULL DEFAULT 0,
    number bigint NOT NULL,
    PRIMARY KEY (workspace_id, flow_id, status, part)
-- Rows are updated often, and no index has their numbers.
) WITH (fillfactor = 50);
INSERT INTO execution_counts (workspace_id, flow_id, status, number)
SELECT workspace_id, flow_id, status, count(*) FROM executions GROUP BY workspace_id, flow_id, status;

-- Counts once for all rows of a statement. Processes that share a part lock the counters in the same order.
CREATE FUNCTION flowrunner_executions_count_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO execution_counts AS c (workspace_id, flow_id, status, part, number)
    SELECT workspace_id, flow_id, status, mod(pg_backend_pid(), 16), count(*)
      FROM added GROUP BY workspace_id, flow_id, status ORDER BY workspace_id, flow_id, status
    ON CONFLICT (workspace_id, flow_id, status, part) DO UPDATE SET number = c.number + excluded.number;
    RETURN NULL;
END $$;
CREATE FUNCTION flowrunner_executions_count_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO execution_counts AS c (workspace_id, flow_id, status, part, number)
    SELECT workspace_id, flow_id, status, mod(pg_backend_pid(), 16), sum(number)
      FROM (SELECT workspace_id, flow_id, status, 1 AS number FROM added
             UNION ALL
            SELECT workspace_id, flow_id, status, -1 FROM gone) AS changes
     GROUP BY workspace_id, flow_id, status HAVING sum(number) <> 0 ORDER BY workspace_id, flow_id, status
    ON CONFLICT (workspace_id, flow_id, status, part) DO UPDATE SET number = c.number + excluded.number;
    RETURN NULL;
END $$;
CREATE FUNCTION flowrunner_executions_count_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO execution_counts AS c (workspace_id, flow_id, status, part, number)
    SELECT workspace_id, flow_id, status, mod(pg_backend_pid(), 16), -count(*)
      FROM gone GROUP BY workspace_id, flow_id, status ORDER BY workspace_id, flow_id, status
    ON CONFLICT (workspace_id, flow_id, status, part) DO UPDATE SET number = c.number + excluded.number;
    RETURN NULL;
END $$;
CREATE TRIGGER executions_count_added AFTER INSERT ON executions REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_executions_count_added();
CREATE TRIGGER executions_count_changed AFTER UPDATE ON executions REFERENCING NEW TABLE AS added OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_executions_count_changed();
CREATE TRIGGER executions_count_deleted AFTER DELETE ON executions REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_executions_count_deleted();

CREATE INDEX executions_status ON executions (workspace_id, status, id);
CREATE INDEX executions_flow_status ON executions (workspace_id, flow_id, status, id);
CREATE INDEX executions_error ON executions (workspace_id, error_type, id) WHERE error_type IS NOT NULL;
CREATE INDEX executions_failed_node ON executions (workspace_id, failed_node, id) WHERE failed_node IS NOT NULL;
CREATE INDEX executions_trigger ON executions (workspace_id, trigger_id, id) WHERE trigger_id IS NOT NULL;
CREATE INDEX executions_rerun_of ON executions (workspace_id, rerun_of, id) WHERE rerun_of IS NOT NULL;
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
