"""Lists of flows by their last change."""

from alembic import op

revision = "0027"
down_revision = "0026"

SQLITE = POSTGRES = "CREATE INDEX flows_changed ON flows (workspace_id, updated_at, id) WHERE deleted_at IS NULL"


def upgrade() -> None:
    op.execute(SQLITE)
