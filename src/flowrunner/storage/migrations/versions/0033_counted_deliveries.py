"""Deliveries of callbacks count as stored bytes of their workspace: each event may add one for every callback."""

from alembic import op

revision = "0033"
down_revision = "0032"

# A delivery counts 512 bytes, with its places in three indexes.
_COUNT = """
UPDATE usage SET stored = usage.stored + found.number * 512
  FROM (SELECT workspace_id, count(*) AS number FROM callback_deliveries GROUP BY workspace_id) AS found
 WHERE usage.workspace_id = found.workspace_id AND usage.part = 0
"""

SQLITE = (
    _COUNT,
    """
CREATE TRIGGER callback_deliveries_add_usage AFTER INSERT ON callback_deliveries
BEGIN
    UPDATE usage SET stored = stored + 512 WHERE workspace_id = NEW.workspace_id;
END
""",
    """
CREATE TRIGGER callback_deliveries_free_usage AFTER DELETE ON callback_deliveries
BEGIN
    UPDATE usage SET stored = stored - 512 WHERE workspace_id = OLD.workspace_id;
END
""",
)
# No delivery is added or deleted between the sums and the triggers. Commits that end executions, which may have changed
# sums before they add deliveries, are waited for first: otherwise each would wait for the other. The parts of `usage`
# are others than those of executions: each end of one adds to both, and processes that lock the same rows in different
# orders block each other.
_POSTGRES = """
LOCK TABLE executions, callback_deliveries IN SHARE ROW EXCLUSIVE MODE;
COUNT_DELIVERIES;
CREATE FUNCTION flowrunner_add_delivery_usage(workspace text, deliveries bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage (workspace_id, part, stored) VALUES (workspace, 16 + mod(pg_backend_pid(), 256), deliveries * 512)
    ON CONFLICT (workspace_id, part) DO UPDATE SET stored = usage.stored + excluded.stored;
END $$;
CREATE FUNCTION flowrunner_callback_deliveries_add_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_add_delivery_usage(workspace_id, number)
       FROM (SELECT workspace_id, count(*) AS number FROM added GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE FUNCTION flowrunner_callback_deliveries_free_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_add_delivery_usage(workspace_id, -number)
       FROM (SELECT workspace_id, count(*) AS number FROM gone GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE TRIGGER callback_deliveries_add_usage AFTER INSERT ON callback_deliveries REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_callback_deliveries_add_usage();
CREATE TRIGGER callback_deliveries_free_usage AFTER DELETE ON callback_deliveries REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_callback_deliveries_free_usage();
"""
POSTGRES = _POSTGRES.replace("COUNT_DELIVERIES", _COUNT.strip())


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
