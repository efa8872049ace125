"""The executions that wait for an approval, for the list of those that an account may answer."""

from alembic import op

revision = "0005"
down_revision = "0004"

SQLITE = (
    # When the last step began that waits for an approval; null if none does. Earlier versions that run beside this one
    # leave the column as it is, so a reader compares it with `waiting_for`.
    "ALTER TABLE executions ADD COLUMN approval_at INTEGER",
    # Within a value, the quotes of the text would be escaped.
    """
UPDATE executions
   SET approval_at = (SELECT max(at) FROM events WHERE execution_id = executions.id AND type = 'node.waiting')
 WHERE status IN ('running', 'waiting') AND instr(waiting_for, '"type":"approval"') > 0
""",
    """
CREATE INDEX executions_approvals ON executions (workspace_id, approval_at, id)
 WHERE approval_at IS NOT NULL AND completed_at IS NULL
""",
)
POSTGRES = """
ALTER TABLE executions ADD COLUMN approval_at bigint;
UPDATE executions
   SET approval_at = (SELECT max(at) FROM events WHERE execution_id = executions.id AND type = 'node.waiting')
 WHERE status IN ('running', 'waiting') AND strpos(waiting_for, '"type":"approval"') > 0;
CREATE INDEX executions_approvals ON executions (workspace_id, approval_at, id)
 WHERE approval_at IS NOT NULL AND completed_at IS NULL;
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
