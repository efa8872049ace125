"""Indexes for what one account may have: its sessions in the order in which they expire, its triggers that are left."""

from alembic import op

revision = "0034"
down_revision = "0033"

SQLITE = POSTGRES = (
    # Also finds the sessions of an account.
    "DROP INDEX sessions_account",
    "CREATE INDEX sessions_account ON sessions (account_id, token_expires_at)",
    "CREATE INDEX triggers_present ON triggers (workspace_id) WHERE removed_at IS NULL",
)


def upgrade() -> None:
    for statement in SQLITE:
        op.execute(statement)
