"""Where sessions come from and when they were last used, and the preferences of accounts."""

from alembic import op

revision = "0016"
down_revision = "0015"

# Times are milliseconds since 1970; null where there is none. Earlier versions leave the columns of sessions null.
SQLITE = (
    "ALTER TABLE sessions ADD COLUMN last_used_at INTEGER",
    "ALTER TABLE sessions ADD COLUMN address TEXT",
    # What the client calls itself.
    "ALTER TABLE sessions ADD COLUMN agent TEXT",
    """
CREATE TABLE preferences (
    account_id TEXT PRIMARY KEY REFERENCES accounts (id),
    -- A JSON object, which the interface reads and writes as a whole.
    data TEXT NOT NULL CHECK (json_type(data) = 'object'),
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
""",
)
POSTGRES = """
ALTER TABLE sessions ADD COLUMN last_used_at bigint;
ALTER TABLE sessions ADD COLUMN address text COLLATE "C";
ALTER TABLE sessions ADD COLUMN agent text;
CREATE TABLE preferences (
    account_id text COLLATE "C" PRIMARY KEY REFERENCES accounts (id),
    data text NOT NULL CHECK (json_typeof(data::json) = 'object'),
    updated_at bigint NOT NULL
);
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
