"""The index of sub-flows by their parent has the order of lists, for `parent_id`."""

from alembic import op

revision = "0038"
down_revision = "0037"

# The parent stands first: a flow, with its executions, may have moved to another workspace than its parent's. The name
# stays, because statements of this and earlier versions use it.
SQLITE = POSTGRES = (
    "DROP INDEX executions_parent",
    "CREATE INDEX executions_parent ON executions (parent_id, workspace_id, id) WHERE parent_id IS NOT NULL",
)


def upgrade() -> None:
    for statement in SQLITE:
        op.execute(statement)
