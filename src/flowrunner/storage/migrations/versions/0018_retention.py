"""How long the ended executions of a flow, or of all flows of a workspace, are kept."""

from alembic import op

revision = "0018"
down_revision = "0017"

# Milliseconds, and executions of each flow; null is what holds otherwise: of a flow that of its workspace, of a
# workspace that of the settings. Earlier versions keep to the settings.
SQLITE = (
    "ALTER TABLE workspaces ADD COLUMN retention_age INTEGER CHECK (retention_age > 0)",
    "ALTER TABLE workspaces ADD COLUMN retention_count INTEGER CHECK (retention_count > 0)",
    "ALTER TABLE flows ADD COLUMN retention_age INTEGER CHECK (retention_age > 0)",
    "ALTER TABLE flows ADD COLUMN retention_count INTEGER CHECK (retention_count > 0)",
)
POSTGRES = """
ALTER TABLE workspaces ADD COLUMN retention_age bigint CHECK (retention_age > 0),
                       ADD COLUMN retention_count bigint CHECK (retention_count > 0);
ALTER TABLE flows ADD COLUMN retention_age bigint CHECK (retention_age > 0),
                  ADD COLUMN retention_count bigint CHECK (retention_count > 0);
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
