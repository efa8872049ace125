"""No index on the times of the audit log, which is nearly in their order: each entry writes a page less."""

from alembic import op

revision = "0031"
down_revision = "0030"

SQLITE = POSTGRES = "DROP INDEX audit_at"


def upgrade() -> None:
    op.execute(SQLITE)
