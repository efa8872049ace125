"""The storage of an open execution counts in whole blocks: most of its appends leave the sum of its workspace alone."""

from alembic import op

revision = "0032"
down_revision = "0031"

# Bytes of an execution that has ended, and blocks of 4 KiB of an open one.
_COUNTED = "CASE WHEN ROW.completed_at IS NULL THEN (ROW.size + 4095) / 4096 * 4096 ELSE ROW.size END"
_COUNT_OPEN = """
UPDATE usage SET stored = usage.stored + open.rest
  FROM (SELECT workspace_id, CAST(sum((size + 4095) / 4096 * 4096 - size) AS bigint) AS rest
          FROM executions WHERE status IN ('running', 'waiting') GROUP BY workspace_id) AS open
 WHERE usage.workspace_id = open.workspace_id AND usage.part = 0
"""

_SQLITE = (
    "DROP TRIGGER executions_add_usage",
    "DROP TRIGGER executions_change_usage",
    "DROP TRIGGER executions_free_usage",
    "DROP TRIGGER executions_move_usage",
    _COUNT_OPEN,
    """
CREATE TRIGGER executions_add_usage AFTER INSERT ON executions
BEGIN
    UPDATE usage SET stored = stored + COUNTED(NEW) WHERE workspace_id = NEW.workspace_id;
END
""",
    """
CREATE TRIGGER executions_change_usage AFTER UPDATE OF size, completed_at ON executions
WHEN COUNTED(NEW) <> COUNTED(OLD)
BEGIN
    UPDATE usage SET stored = stored + COUNTED(NEW) - COUNTED(OLD)
     WHERE workspace_id = NEW.workspace_id;
END
""",
    """
CREATE TRIGGER executions_free_usage AFTER DELETE ON executions
BEGIN
    UPDATE usage SET stored = stored - COUNTED(OLD) WHERE workspace_id = OLD.workspace_id;
END
""",
    """
CREATE TRIGGER executions_move_usage AFTER UPDATE OF workspace_id ON executions
BEGIN
    UPDATE usage SET stored = stored - COUNTED(OLD) WHERE workspace_id = OLD.workspace_id;
    UPDATE usage SET stored = stored + COUNTED(NEW) WHERE workspace_id = NEW.workspace_id;
END
""",
)
# No execution changes between the functions and the sums.
_POSTGRES = """
LOCK TABLE executions IN SHARE ROW EXCLUSIVE MODE;
COUNT_OPEN;
CREATE OR REPLACE FUNCTION flowrunner_executions_add_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_add_usage(workspace_id, bytes)
       FROM (SELECT workspace_id, sum(COUNTED(ROW))::bigint AS bytes
               FROM added GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION flowrunner_executions_change_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_add_usage(workspace_id, bytes)
       FROM (SELECT workspace_id, sum(bytes)::bigint AS bytes
               FROM (SELECT workspace_id, COUNTED(ROW) AS bytes FROM added
                      UNION ALL
                     SELECT workspace_id, -(COUNTED(ROW)) FROM gone) AS changes
              GROUP BY workspace_id HAVING sum(bytes) <> 0 ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION flowrunner_executions_free_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_add_usage(workspace_id, bytes)
       FROM (SELECT workspace_id, -sum(COUNTED(ROW))::bigint AS bytes
               FROM gone GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
"""


def _counting(text: str) -> str:
    for row, prefix in (("NEW", "NEW."), ("OLD", "OLD."), ("ROW", "")):
        text = text.replace(f"COUNTED({row})", _COUNTED.replace("ROW.", prefix))
    return text


SQLITE = tuple(map(_counting, _SQLITE))
POSTGRES = _counting(_POSTGRES).replace("COUNT_OPEN", _COUNT_OPEN.strip())


def upgrade() -> None:
    connection = op.get_bind()
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
