"""Flows by name, flows that are disabled, and an installation that starts nothing."""

from alembic import op

revision = "0007"
down_revision = "0006"

# Times are milliseconds since 1970; null where it is not so.
SQLITE = (
    "ALTER TABLE flows ADD COLUMN disabled_at INTEGER",
    "CREATE INDEX flows_name ON flows (workspace_id, name) WHERE deleted_at IS NULL",
    # Since then no execution starts.
    "ALTER TABLE engine ADD COLUMN paused_at INTEGER",
)
POSTGRES = """
ALTER TABLE flows ADD COLUMN disabled_at bigint;
-- The column has the collation of the database, which depends on where that was made.
CREATE INDEX flows_name ON flows (workspace_id, name COLLATE "C") WHERE deleted_at IS NULL;
ALTER TABLE engine ADD COLUMN paused_at bigint;
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
