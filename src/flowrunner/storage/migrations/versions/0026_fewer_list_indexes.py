"""No index on the ids of a workspace's executions: the one by status holds them too."""

from alembic import op

revision = "0026"
down_revision = "0025"

SQLITE = POSTGRES = "DROP INDEX executions_workspace"


def upgrade() -> None:
    op.execute(SQLITE)
