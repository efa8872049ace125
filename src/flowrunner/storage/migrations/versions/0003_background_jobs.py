"""Background jobs that one of all servers runs."""

from alembic import op

revision = "0003"
down_revision = "0002"

# Times are whole milliseconds since 1970, by the clock of the database.
SQLITE = """
-- A job gets its row with its first run.
CREATE TABLE background_jobs (
    name TEXT PRIMARY KEY,
    -- Rises with each claim, so that a process whose claim was taken over records nothing.
    fencing_token INTEGER NOT NULL,
    -- Until then one process runs the job; null while none does.
    claimed_until INTEGER,
    -- The earliest time of the next run.
    not_before INTEGER NOT NULL DEFAULT 0,
    last_run_at INTEGER,
    -- Failed runs since the last one that succeeded, and the error of the last run.
    failures INTEGER NOT NULL DEFAULT 0,
    last_error TEXT
) STRICT, WITHOUT ROWID;
"""

POSTGRES = """
-- A job gets its row with its first run.
CREATE TABLE background_jobs (
    name text COLLATE "C" PRIMARY KEY,
    -- Rises with each claim, so that a process whose claim was taken over records nothing.
    fencing_token bigint NOT NULL,
    -- Until then one process runs the job; null while none does.
    claimed_until bigint,
    -- The earliest time of the next run.
    not_before bigint NOT NULL DEFAULT 0,
    last_run_at bigint,
    -- Failed runs since the last one that succeeded, and the error of the last run.
    failures bigint NOT NULL DEFAULT 0,
    last_error text
);
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
    else:
        op.get_bind().exec_driver_sql(SQLITE)
