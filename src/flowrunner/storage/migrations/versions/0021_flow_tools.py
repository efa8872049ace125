"""Flows that agents find as tools of the MCP server."""

from alembic import op

revision = "0021"
down_revision = "0020"

# Both are null for a flow that is no tool, as all flows of earlier versions are.
SQLITE = (
    "ALTER TABLE flows ADD COLUMN tool_name TEXT",
    "ALTER TABLE flows ADD COLUMN tool_inputs TEXT CHECK ((tool_inputs IS NULL) = (tool_name IS NULL))",
    "CREATE UNIQUE INDEX flows_by_tool ON flows (workspace_id, tool_name) "
    "WHERE tool_name IS NOT NULL AND deleted_at IS NULL",
)
POSTGRES = """
ALTER TABLE flows ADD COLUMN tool_name text COLLATE "C",
                  ADD COLUMN tool_inputs text CHECK ((tool_inputs IS NULL) = (tool_name IS NULL));
CREATE UNIQUE INDEX flows_by_tool ON flows (workspace_id, tool_name)
 WHERE tool_name IS NOT NULL AND deleted_at IS NULL;
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
