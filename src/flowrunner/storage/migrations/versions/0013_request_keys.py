"""Idempotency keys of requests that change something, with their answers."""

from alembic import op

revision = "0013"
down_revision = "0012"

SQLITE = (
    """
CREATE TABLE request_keys (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    key TEXT NOT NULL,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    -- The request that has claimed the key, and a digest of what it asks for.
    request_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    -- The answer, as JSON; null until it is known, and for one that is not kept.
    answer TEXT,
    PRIMARY KEY (account_id, key)
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX request_keys_age ON request_keys (created_at)",
)
POSTGRES = """
CREATE TABLE request_keys (
    account_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    key text COLLATE "C" NOT NULL,
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    -- The request that has claimed the key, and a digest of what it asks for.
    request_id text NOT NULL,
    digest text NOT NULL,
    created_at bigint NOT NULL,
    -- The answer, as JSON; null until it is known, and for one that is not kept.
    answer text,
    PRIMARY KEY (account_id, key)
);
CREATE INDEX request_keys_age ON request_keys (created_at);
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
