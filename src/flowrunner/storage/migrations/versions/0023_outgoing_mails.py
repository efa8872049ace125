"""E-mails that are stored with their cause until they are sent."""

from alembic import op

revision = "0023"
down_revision = "0022"

# Times are milliseconds since 1970. The token of a link is not here, only what it is derived from with a key.
SQLITE = (
    """
CREATE TABLE outgoing_mails (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    text TEXT NOT NULL,
    page TEXT,
    seed TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    CHECK ((page IS NULL) = (seed IS NULL))
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX outgoing_mails_by_time ON outgoing_mails (next_at)",
    "CREATE INDEX outgoing_mails_of_account ON outgoing_mails (account_id)",
)
POSTGRES = """
CREATE TABLE outgoing_mails (
    id text COLLATE "C" PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    recipient text NOT NULL,
    subject text NOT NULL,
    text text NOT NULL,
    page text,
    seed text,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    failures bigint NOT NULL,
    next_at bigint NOT NULL,
    CHECK ((page IS NULL) = (seed IS NULL))
);
CREATE INDEX outgoing_mails_by_time ON outgoing_mails (next_at);
CREATE INDEX outgoing_mails_of_account ON outgoing_mails (account_id);
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
