"""Invitations to workspaces, and links that set a new password."""

from alembic import op

revision = "0020"
down_revision = "0019"

# Times are milliseconds since 1970. Of a link, only the SHA-256 digest of its token is stored.
SQLITE = (
    """
CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    email TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'editor', 'admin')),
    digest TEXT NOT NULL UNIQUE,
    invited_by TEXT NOT NULL REFERENCES accounts (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    UNIQUE (workspace_id, email)
) STRICT, WITHOUT ROWID
""",
    """
CREATE TABLE password_resets (
    digest TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX password_resets_of_account ON password_resets (account_id, created_at)",
)
POSTGRES = """
CREATE TABLE invitations (
    id text COLLATE "C" PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    email text COLLATE "C" NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'operator', 'editor', 'admin')),
    digest text COLLATE "C" NOT NULL UNIQUE,
    invited_by text COLLATE "C" NOT NULL REFERENCES accounts (id),
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    UNIQUE (workspace_id, email)
);
CREATE TABLE password_resets (
    digest text COLLATE "C" PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX password_resets_of_account ON password_resets (account_id, created_at);
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
