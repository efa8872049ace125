"""Idempotency keys of a deleted workspace, and acts that the audit log counts in place of entries."""

from alembic import op

revision = "0029"
down_revision = "0028"

SQLITE = (
    "CREATE INDEX request_keys_workspace ON request_keys (workspace_id)",
    # Acts of an account beyond its share, until their number is in the log. Without a workspace its id is empty.
    """
CREATE TABLE audit_counts (
    account_id TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    since INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (account_id, workspace_id, action, outcome)
) STRICT, WITHOUT ROWID
""",
)
POSTGRES = """
CREATE INDEX request_keys_workspace ON request_keys (workspace_id);

CREATE TABLE audit_counts (
    account_id text COLLATE "C" NOT NULL,
    workspace_id text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    since bigint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (account_id, workspace_id, action, outcome)
);
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
