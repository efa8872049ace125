"""Callbacks and their deliveries, which are added by the commit that they tell of."""

from alembic import op

revision = "0011"
down_revision = "0010"

# Times are milliseconds since 1970.
SQLITE = (
    """
CREATE TABLE callbacks (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    events TEXT NOT NULL CHECK (json_type(events) = 'array'),
    format TEXT NOT NULL CHECK (format IN ('standard', 'slack', 'discord', 'teams', 'email', 'template')),
    -- The URL without what could be a credential; the whole one is sealed, with the signing secret.
    address TEXT NOT NULL,
    flow_id TEXT,
    tag TEXT,
    is_for_children INTEGER NOT NULL DEFAULT 0,
    template TEXT,
    key_version INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    disabled_at INTEGER,
    disabled_reason TEXT,
    failures INTEGER NOT NULL DEFAULT 0,
    failing_since INTEGER,
    -- After failures: until when nothing is sent.
    paused_until INTEGER
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX callbacks_workspace ON callbacks (workspace_id, id)",
    """
CREATE TABLE callback_deliveries (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    callback_id TEXT NOT NULL REFERENCES callbacks (id),
    event TEXT NOT NULL,
    -- The event of an execution, or else the trigger or callback that it is about, with details.
    execution_id TEXT,
    seq INTEGER,
    subject TEXT,
    details TEXT,
    noted_at INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    retry_until INTEGER,
    next_at INTEGER,
    last_at INTEGER,
    status_code INTEGER,
    error TEXT,
    CHECK ((state = 'pending') = (next_at IS NOT NULL))
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX callback_deliveries_list ON callback_deliveries (callback_id, noted_at, id)",
    "CREATE INDEX callback_deliveries_due ON callback_deliveries (callback_id, next_at, id) WHERE next_at IS NOT NULL",
    "CREATE INDEX callback_deliveries_ended ON callback_deliveries (last_at) WHERE next_at IS NULL",
    # For each execution that ends, begins to wait, or asks for another approval.
    """
CREATE TRIGGER executions_tell_callbacks AFTER UPDATE OF status, approval_at ON executions
WHEN (NEW.status <> OLD.status AND NEW.status <> 'running')
     OR (NEW.approval_at IS NOT NULL AND NEW.approval_at IS NOT OLD.approval_at)
BEGIN
    INSERT INTO callback_deliveries (id, workspace_id, callback_id, event, execution_id, seq, noted_at, next_at)
    SELECT 'delivery-' || lower(hex(randomblob(16))), c.workspace_id, c.id, told.event, NEW.id, NEW.last_seq,
           CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), 0
      FROM callbacks c
      JOIN (SELECT 'execution.' || NEW.status AS event WHERE NEW.status <> OLD.status AND NEW.status <> 'running'
            UNION ALL
            SELECT 'approval.requested'
             WHERE NEW.approval_at IS NOT NULL AND NEW.approval_at IS NOT OLD.approval_at) told
     WHERE c.workspace_id = NEW.workspace_id AND c.disabled_at IS NULL
       AND (c.flow_id IS NULL OR c.flow_id = NEW.flow_id)
       AND (c.is_for_children OR NEW.parent_id IS NULL)
       AND EXISTS (SELECT 1 FROM json_each(c.events) WHERE value = told.event)
       AND (c.tag IS NULL OR EXISTS (SELECT 1 FROM flows f, json_each(f.tags) t
                                      WHERE f.id = NEW.flow_id AND t.value = c.tag));
END
""",
    # An execution may end or wait in its first commit.
    """
CREATE TRIGGER executions_tell_callbacks_at_once AFTER INSERT ON executions
WHEN NEW.status <> 'running' OR NEW.approval_at IS NOT NULL
BEGIN
    INSERT INTO callback_deliveries (id, workspace_id, callback_id, event, execution_id, seq, noted_at, next_at)
    SELECT 'delivery-' || lower(hex(randomblob(16))), c.workspace_id, c.id, told.event, NEW.id, NEW.last_seq,
           CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), 0
      FROM callbacks c
      JOIN (SELECT 'execution.' || NEW.status AS event WHERE NEW.status <> 'running'
            UNION ALL SELECT 'approval.requested' WHERE NEW.approval_at IS NOT NULL) told
     WHERE c.workspace_id = NEW.workspace_id AND c.disabled_at IS NULL
       AND (c.flow_id IS NULL OR c.flow_id = NEW.flow_id)
       AND (c.is_for_children OR NEW.parent_id IS NULL)
       AND EXISTS (SELECT 1 FROM json_each(c.events) WHERE value = told.event)
       AND (c.tag IS NULL OR EXISTS (SELECT 1 FROM flows f, json_each(f.tags) t
                                      WHERE f.id = NEW.flow_id AND t.value = c.tag));
END
""",
)
POSTGRES = """
CREATE TABLE callbacks (
    id text COLLATE "C" PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    name text NOT NULL,
    events text NOT NULL CHECK (json_typeof(events::json) = 'array'),
    format text NOT NULL CHECK (format IN ('standard', 'slack', 'discord', 'teams', 'email', 'template')),
    address text NOT NULL,
    flow_id text COLLATE "C",
    tag text,
    is_for_children boolean NOT NULL DEFAULT false,
    template text,
    key_version bigint NOT NULL,
    sealed bytea NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    disabled_at bigint,
    disabled_reason text,
    failures bigint NOT NULL DEFAULT 0,
    failing_since bigint,
    paused_until bigint
);
CREATE INDEX callbacks_workspace ON callbacks (workspace_id, id);

CREATE TABLE callback_deliveries (
    id text COLLATE "C" PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    callback_id text COLLATE "C" NOT NULL REFERENCES callbacks (id),
    event text NOT NULL,
    execution_id text COLLATE "C",
    seq bigint,
    subject text,
    details text,
    noted_at bigint NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts bigint NOT NULL DEFAULT 0,
    retry_until bigint,
    next_at bigint,
    last_at bigint,
    status_code bigint,
    error text,
    CHECK ((state = 'pending') = (next_at IS NOT NULL))
);
CREATE INDEX callback_deliveries_list ON callback_deliveries (callback_id, noted_at, id);
CREATE INDEX callback_deliveries_due ON callback_deliveries (callback_id, next_at, id) WHERE next_at IS NOT NULL;
CREATE INDEX callback_deliveries_ended ON callback_deliveries (last_at) WHERE next_at IS NULL;

CREATE FUNCTION flowrunner_tell_callbacks() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told text[] := '{}';
BEGIN
    IF NEW.status <> 'running' AND (TG_OP = 'INSERT' OR NEW.status <> OLD.status) THEN
        told := told || ('execution.' || NEW.status);
    END IF;
    IF NEW.approval_at IS NOT NULL AND (TG_OP = 'INSERT' OR NEW.approval_at IS DISTINCT FROM OLD.approval_at) THEN
        told := told || 'approval.requested'::text;
    END IF;
    INSERT INTO callback_deliveries (id, workspace_id, callback_id, event, execution_id, seq, noted_at, next_at)
    SELECT 'delivery-' || replace(gen_random_uuid()::text, '-', ''), c.workspace_id, c.id, event, NEW.id, NEW.last_seq,
           (extract(epoch FROM clock_timestamp()) * 1000)::bigint, 0
      FROM callbacks c CROSS JOIN unnest(told) AS event
     WHERE c.workspace_id = NEW.workspace_id AND c.disabled_at IS NULL
       AND (c.flow_id IS NULL OR c.flow_id = NEW.flow_id)
       AND (c.is_for_children OR NEW.parent_id IS NULL)
       AND event IN (SELECT json_array_elements_text(c.events::json))
       AND (c.tag IS NULL
            OR c.tag IN (SELECT json_array_elements_text(replace(f.tags, '\\u0000', '\\ufffd')::json)
                           FROM flows f WHERE f.id = NEW.flow_id));
    RETURN NULL;
END $$;
CREATE TRIGGER executions_tell_callbacks AFTER UPDATE OF status, approval_at ON executions FOR EACH ROW
WHEN ((NEW.status <> OLD.status AND NEW.status <> 'running')
      OR (NEW.approval_at IS NOT NULL AND NEW.approval_at IS DISTINCT FROM OLD.approval_at))
EXECUTE FUNCTION flowrunner_tell_callbacks();
CREATE TRIGGER executions_tell_callbacks_at_once AFTER INSERT ON executions FOR EACH ROW
WHEN (NEW.status <> 'running' OR NEW.approval_at IS NOT NULL)
EXECUTE FUNCTION flowrunner_tell_callbacks();
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
