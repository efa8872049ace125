"""Requests to webhook triggers, which count as stored bytes of their workspace, and the last refused ones."""

from alembic import op

revision = "0015"
down_revision = "0014"

SQLITE = (
    # `request` has no header that proves an identity, and no secret. It is stored before anything reads it, with the id
    # that its execution will have.
    """
CREATE TABLE hook_deliveries (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    trigger_id TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('received', 'started', 'skipped', 'repeated', 'failed')),
    execution_id TEXT,
    error TEXT,
    request TEXT NOT NULL,
    size INTEGER NOT NULL
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX hook_deliveries_list ON hook_deliveries (trigger_id, received_at, id)",
    "CREATE INDEX hook_deliveries_age ON hook_deliveries (received_at)",
    """
CREATE TABLE hook_refusals (
    trigger_id TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    -- The last few, as a JSON array of `{at, reason}`.
    last TEXT NOT NULL
) STRICT, WITHOUT ROWID
""",
    """
CREATE TRIGGER hook_deliveries_add_usage AFTER INSERT ON hook_deliveries
BEGIN
    UPDATE usage SET stored = stored + NEW.size WHERE workspace_id = NEW.workspace_id;
END
""",
    """
CREATE TRIGGER hook_deliveries_move_usage AFTER UPDATE OF workspace_id ON hook_deliveries
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE workspace_id = OLD.workspace_id;
    UPDATE usage SET stored = stored + NEW.size WHERE workspace_id = NEW.workspace_id;
END
""",
    """
CREATE TRIGGER hook_deliveries_free_usage AFTER DELETE ON hook_deliveries
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE workspace_id = OLD.workspace_id;
END
""",
)
POSTGRES = """
CREATE TABLE hook_deliveries (
    id text COLLATE "C" PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    trigger_id text COLLATE "C" NOT NULL,
    received_at bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('received', 'started', 'skipped', 'repeated', 'failed')),
    execution_id text COLLATE "C",
    error text,
    request text NOT NULL,
    size bigint NOT NULL
);
CREATE INDEX hook_deliveries_list ON hook_deliveries (trigger_id, received_at, id);
CREATE INDEX hook_deliveries_age ON hook_deliveries (received_at);

CREATE TABLE hook_refusals (
    trigger_id text COLLATE "C" PRIMARY KEY,
    count bigint NOT NULL,
    last text NOT NULL
);

CREATE FUNCTION flowrunner_hook_deliveries_add_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        PERFORM flowrunner_add_usage(NEW.workspace_id, NEW.size);
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM flowrunner_add_usage(OLD.workspace_id, -OLD.size);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hook_deliveries_add_usage AFTER INSERT OR UPDATE OF workspace_id OR DELETE ON hook_deliveries
FOR EACH ROW EXECUTE FUNCTION flowrunner_hook_deliveries_add_usage();
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
