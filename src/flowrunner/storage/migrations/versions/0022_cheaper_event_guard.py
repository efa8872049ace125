"""A check of inserted events that costs no copy of the pages that an insertion changes."""

from alembic import op

revision = "0022"
down_revision = "0021"

# A trigger that may abort makes SQLite copy each page that a statement changes before it changes it, so that it can
# undo the statement. One that fails leaves that to the transaction, which is rolled back anyway.
SQLITE = (
    "DROP TRIGGER events_follow_summary",
    """
CREATE TRIGGER events_follow_summary BEFORE INSERT ON events
WHEN NEW.seq > coalesce((SELECT last_seq FROM executions WHERE id = NEW.execution_id), 0)
BEGIN
    SELECT RAISE(FAIL, 'an event beyond its execution');
END
""",
)
# PostgreSQL checks all events of a statement together.
POSTGRES: tuple[str, ...] = ()


def upgrade() -> None:
    connection = op.get_bind()
    for statement in POSTGRES if op.get_context().dialect.name == "postgresql" else SQLITE:
        connection.exec_driver_sql(statement)
