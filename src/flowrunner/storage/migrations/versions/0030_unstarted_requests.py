"""An index on the requests to webhook triggers whose outcome is not known."""

from alembic import op

revision = "0030"
down_revision = "0029"

SQLITE = POSTGRES = (
    "CREATE INDEX hook_deliveries_received ON hook_deliveries (received_at, id) WHERE state = 'received'"
)


def upgrade() -> None:
    op.execute(SQLITE)
