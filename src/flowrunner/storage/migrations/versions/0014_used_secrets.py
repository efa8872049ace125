"""The use of secrets: by which flows, and when last."""

from alembic import op

revision = "0014"
down_revision = "0013"

# Times are milliseconds since 1970; null where there is none.
SQLITE = (
    "ALTER TABLE secrets ADD COLUMN last_used_at INTEGER",
    # The secrets that the flow's current revision names, with a space between two.
    "ALTER TABLE flows ADD COLUMN secret_names TEXT NOT NULL DEFAULT ''",
    # The revision that names them. It differs from the current one while a background job has not read that: of flows
    # that were there before, or that an earlier version has saved since.
    "ALTER TABLE flows ADD COLUMN secrets_of TEXT",
    "CREATE INDEX flows_with_secrets ON flows (workspace_id, id) WHERE deleted_at IS NULL AND secret_names <> ''",
    """
CREATE INDEX flows_unread ON flows (id)
 WHERE deleted_at IS NULL AND (secrets_of IS NULL OR secrets_of <> revision_id)
""",
)
POSTGRES = """
ALTER TABLE secrets ADD COLUMN last_used_at bigint;
ALTER TABLE flows ADD COLUMN secret_names text NOT NULL DEFAULT '';
ALTER TABLE flows ADD COLUMN secrets_of text COLLATE "C";
CREATE INDEX flows_with_secrets ON flows (workspace_id, id) WHERE deleted_at IS NULL AND secret_names <> '';
CREATE INDEX flows_unread ON flows (id)
 WHERE deleted_at IS NULL AND (secrets_of IS NULL OR secrets_of <> revision_id);
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
