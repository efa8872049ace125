"""Idempotency keys of a deleted workspace."""

from alembic import op

revision = "0029"
down_revision = "0028"

SQLITE = POSTGRES = "CREATE INDEX request_keys_workspace ON request_keys (workspace_id)"


def upgrade() -> None:
    op.execute(SQLITE)
