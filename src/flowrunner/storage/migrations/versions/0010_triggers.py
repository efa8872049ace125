"""Triggers, which start executions by themselves, and the ends of executions that start others."""

from alembic import op

revision = "0010"
down_revision = "0009"

SQLITE = (
    # A trigger is one of a flow and a name: it survives its removal from the document, so that the same name revives it
    # with its pause and its URL. `due_at` and `next_at` are null unless a schedule is armed, `listens_to` unless ends
    # of the executions of that flow (an id or a name) start this one. `spec` says when to start, without the input.
    """
CREATE TABLE triggers (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    flow_id TEXT NOT NULL REFERENCES flows (id),
    name TEXT NOT NULL,
    type TEXT NOT NULL CHECK (type IN ('schedule', 'webhook', 'execution')),
    spec TEXT NOT NULL,
    url_token TEXT,
    created_at INTEGER NOT NULL,
    paused_at INTEGER,
    removed_at INTEGER,
    due_at INTEGER,
    next_at INTEGER,
    listens_to TEXT,
    listens_status TEXT,
    is_of_children INTEGER NOT NULL DEFAULT 0,
    last_at INTEGER,
    last_execution_id TEXT,
    failures INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    skipped INTEGER NOT NULL DEFAULT 0,
    missed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (flow_id, name)
) STRICT
""",
    "CREATE INDEX triggers_workspace ON triggers (workspace_id, flow_id, name)",
    "CREATE UNIQUE INDEX triggers_url ON triggers (url_token) WHERE url_token IS NOT NULL",
    "CREATE INDEX triggers_next ON triggers (next_at) WHERE next_at IS NOT NULL",
    "CREATE INDEX triggers_listening ON triggers (workspace_id, listens_to) WHERE listens_to IS NOT NULL",
    # Ends that have not started their executions yet. The schema adds them, so that no way of ending leaves one out,
    # and the end of an execution to which nothing listens costs one look into an index.
    """
CREATE TABLE trigger_outbox (
    trigger_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    PRIMARY KEY (trigger_id, execution_id)
) STRICT, WITHOUT ROWID
""",
    """
CREATE TRIGGER executions_end_update AFTER UPDATE OF completed_at ON executions
WHEN NEW.completed_at IS NOT NULL AND EXISTS (SELECT 1 FROM triggers WHERE listens_to IS NOT NULL
                                                AND workspace_id = NEW.workspace_id)
BEGIN
    INSERT INTO trigger_outbox (trigger_id, execution_id)
    SELECT id, NEW.id FROM triggers
     WHERE workspace_id = NEW.workspace_id
       AND listens_to IN (NEW.flow_id, (SELECT name FROM flows WHERE id = NEW.flow_id))
       AND instr(listens_status, NEW.status) > 0 AND (is_of_children OR NEW.parent_id IS NULL);
END
""",
    """
CREATE TRIGGER executions_end_insert AFTER INSERT ON executions
WHEN NEW.completed_at IS NOT NULL AND EXISTS (SELECT 1 FROM triggers WHERE listens_to IS NOT NULL
                                                AND workspace_id = NEW.workspace_id)
BEGIN
    INSERT INTO trigger_outbox (trigger_id, execution_id)
    SELECT id, NEW.id FROM triggers
     WHERE workspace_id = NEW.workspace_id
       AND listens_to IN (NEW.flow_id, (SELECT name FROM flows WHERE id = NEW.flow_id))
       AND instr(listens_status, NEW.status) > 0 AND (is_of_children OR NEW.parent_id IS NULL);
END
""",
)
POSTGRES = """
CREATE TABLE triggers (
    id text COLLATE "C" PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    flow_id text COLLATE "C" NOT NULL REFERENCES flows (id),
    name text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL CHECK (type IN ('schedule', 'webhook', 'execution')),
    spec text NOT NULL,
    url_token text COLLATE "C",
    created_at bigint NOT NULL,
    paused_at bigint,
    removed_at bigint,
    due_at bigint,
    next_at bigint,
    listens_to text COLLATE "C",
    listens_status text COLLATE "C",
    is_of_children boolean NOT NULL DEFAULT false,
    last_at bigint,
    last_execution_id text COLLATE "C",
    failures bigint NOT NULL DEFAULT 0,
    error text,
    skipped bigint NOT NULL DEFAULT 0,
    missed bigint NOT NULL DEFAULT 0,
    UNIQUE (flow_id, name)
);
CREATE INDEX triggers_workspace ON triggers (workspace_id, flow_id, name);
CREATE UNIQUE INDEX triggers_url ON triggers (url_token) WHERE url_token IS NOT NULL;
CREATE INDEX triggers_next ON triggers (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX triggers_listening ON triggers (workspace_id, listens_to) WHERE listens_to IS NOT NULL;

CREATE TABLE trigger_outbox (
    trigger_id text COLLATE "C" NOT NULL,
    execution_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (trigger_id, execution_id)
);
CREATE FUNCTION flowrunner_end_starts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM triggers WHERE listens_to IS NOT NULL AND workspace_id = NEW.workspace_id) THEN
        INSERT INTO trigger_outbox (trigger_id, execution_id)
        SELECT t.id, NEW.id FROM triggers t
         WHERE t.workspace_id = NEW.workspace_id
           AND t.listens_to IN (NEW.flow_id, (SELECT f.name COLLATE "C" FROM flows f WHERE f.id = NEW.flow_id))
           AND strpos(t.listens_status, NEW.status) > 0 AND (t.is_of_children OR NEW.parent_id IS NULL);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER executions_end_update AFTER UPDATE OF completed_at ON executions FOR EACH ROW
WHEN (NEW.completed_at IS NOT NULL)
EXECUTE FUNCTION flowrunner_end_starts();
CREATE TRIGGER executions_end_insert AFTER INSERT ON executions FOR EACH ROW
WHEN (NEW.completed_at IS NOT NULL)
EXECUTE FUNCTION flowrunner_end_starts();
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
