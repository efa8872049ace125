"""The configuration values of workspaces, and which flows name them."""

from alembic import op

revision = "0036"
down_revision = "0035"

# Times are milliseconds since 1970. `value` is JSON; `edition` counts the changes.
SQLITE = (
    """
CREATE TABLE config_values (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    edition INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, name)
) STRICT, WITHOUT ROWID
""",
    """
CREATE TRIGGER config_values_add_usage AFTER INSERT ON config_values
BEGIN
    UPDATE usage SET stored = stored + length(CAST(NEW.value AS BLOB)) WHERE workspace_id = NEW.workspace_id;
END
""",
    """
CREATE TRIGGER config_values_change_usage AFTER UPDATE OF value ON config_values
BEGIN
    UPDATE usage SET stored = stored + length(CAST(NEW.value AS BLOB)) - length(CAST(OLD.value AS BLOB))
     WHERE workspace_id = NEW.workspace_id;
END
""",
    """
CREATE TRIGGER config_values_free_usage AFTER DELETE ON config_values
BEGIN
    UPDATE usage SET stored = stored - length(CAST(OLD.value AS BLOB)) WHERE workspace_id = OLD.workspace_id;
END
""",
    # The values that the flow's current revision names, with a space between two. No earlier version knows them, so
    # that no flow has to be read again.
    "ALTER TABLE flows ADD COLUMN config_names TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX flows_with_config ON flows (workspace_id, id) WHERE deleted_at IS NULL AND config_names <> ''",
)
POSTGRES = """
CREATE TABLE config_values (
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    name text COLLATE "C" NOT NULL,
    value text NOT NULL,
    edition bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (workspace_id, name)
);
CREATE FUNCTION flowrunner_config_values_change_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_add_usage(NEW.workspace_id, octet_length(NEW.value) - octet_length(OLD.value));
    RETURN NULL;
END $$;
CREATE FUNCTION flowrunner_config_values_add_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_add_usage(workspace_id, bytes)
       FROM (SELECT workspace_id, sum(octet_length(value))::bigint AS bytes FROM added
              GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE FUNCTION flowrunner_config_values_free_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_add_usage(workspace_id, -bytes)
       FROM (SELECT workspace_id, sum(octet_length(value))::bigint AS bytes FROM gone
              GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE TRIGGER config_values_add_usage AFTER INSERT ON config_values REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_config_values_add_usage();
CREATE TRIGGER config_values_free_usage AFTER DELETE ON config_values REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_config_values_free_usage();
CREATE TRIGGER config_values_change_usage AFTER UPDATE OF value ON config_values
FOR EACH ROW EXECUTE FUNCTION flowrunner_config_values_change_usage();
ALTER TABLE flows ADD COLUMN config_names text NOT NULL DEFAULT '';
CREATE INDEX flows_with_config ON flows (workspace_id, id) WHERE deleted_at IS NULL AND config_names <> '';
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    for statement in SQLITE:
        op.execute(statement)
