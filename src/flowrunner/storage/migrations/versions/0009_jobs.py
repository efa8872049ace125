"""Jobs, which do many things in the background, and records of executions that are deleted one by one."""

from alembic import op

revision = "0009"
down_revision = "0008"

# Times are milliseconds since 1970; null where it is not so.
SQLITE = (
    """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    -- With whose rights it runs.
    created_by TEXT NOT NULL REFERENCES accounts (id),
    type TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed', 'cancelled')),
    total INTEGER NOT NULL,
    done INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    -- The last item that is done; empty before the first one.
    position TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    completed_at INTEGER,
    -- The first errors, as JSON.
    errors TEXT NOT NULL DEFAULT '[]',
    -- What to do, as JSON that its type reads; null after its end.
    work TEXT,
    CHECK ((status = 'running') = (completed_at IS NULL)),
    CHECK (status <> 'running' OR work IS NOT NULL)
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX jobs_workspace ON jobs (workspace_id, id)",
    "CREATE INDEX jobs_running ON jobs (workspace_id) WHERE completed_at IS NULL",
    "CREATE INDEX jobs_ended ON jobs (completed_at) WHERE completed_at IS NOT NULL",
    # Executions that are gone, and whose events are not yet.
    "CREATE TABLE deleted_executions (id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
)
POSTGRES = """
CREATE TABLE jobs (
    id text COLLATE "C" PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    -- With whose rights it runs.
    created_by text COLLATE "C" NOT NULL REFERENCES accounts (id),
    type text NOT NULL,
    status text NOT NULL CHECK (status IN ('running', 'completed', 'failed', 'cancelled')),
    total bigint NOT NULL,
    done bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    -- The last item that is done; empty before the first one.
    position text NOT NULL DEFAULT '',
    created_at bigint NOT NULL,
    completed_at bigint,
    -- The first errors, as JSON.
    errors text NOT NULL DEFAULT '[]',
    -- What to do, as JSON that its type reads; null after its end.
    work text,
    CHECK ((status = 'running') = (completed_at IS NULL)),
    CHECK (status <> 'running' OR work IS NOT NULL)
);
CREATE INDEX jobs_workspace ON jobs (workspace_id, id);
CREATE INDEX jobs_running ON jobs (workspace_id) WHERE completed_at IS NULL;
CREATE INDEX jobs_ended ON jobs (completed_at) WHERE completed_at IS NOT NULL;
-- Executions that are gone, and whose events are not yet.
CREATE TABLE deleted_executions (id text COLLATE "C" PRIMARY KEY);
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
