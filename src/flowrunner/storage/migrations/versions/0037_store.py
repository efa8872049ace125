"""The stores of workspaces, and what steps of open executions have changed in them."""

from alembic import op

revision = "0037"
down_revision = "0036"

# Times are milliseconds since 1970. `value` is JSON, `size` its bytes; `edition` counts the changes. The value stands
# last: lists read the other columns alone.
SQLITE = (
    """
CREATE TABLE store_entries (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    size INTEGER NOT NULL,
    edition INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    expires_at INTEGER,
    value TEXT NOT NULL,
    PRIMARY KEY (workspace_id, namespace, key)
) STRICT
""",
    "CREATE INDEX store_entries_expires ON store_entries (expires_at) WHERE expires_at IS NOT NULL",
    """
CREATE TABLE store_counts (
    workspace_id TEXT NOT NULL PRIMARY KEY REFERENCES workspaces (id),
    number INTEGER NOT NULL
) STRICT, WITHOUT ROWID
""",
    """
CREATE TRIGGER store_entries_add_usage AFTER INSERT ON store_entries
BEGIN
    INSERT INTO store_counts (workspace_id, number) VALUES (NEW.workspace_id, 1)
        ON CONFLICT (workspace_id) DO UPDATE SET number = number + 1;
    UPDATE usage SET stored = stored + NEW.size + length(CAST(NEW.namespace || NEW.key AS BLOB))
     WHERE workspace_id = NEW.workspace_id;
END
""",
    """
CREATE TRIGGER store_entries_change_usage AFTER UPDATE OF size ON store_entries WHEN NEW.size <> OLD.size
BEGIN
    UPDATE usage SET stored = stored + NEW.size - OLD.size WHERE workspace_id = NEW.workspace_id;
END
""",
    """
CREATE TRIGGER store_entries_free_usage AFTER DELETE ON store_entries
BEGIN
    UPDATE store_counts SET number = number - 1 WHERE workspace_id = OLD.workspace_id;
    UPDATE usage SET stored = stored - OLD.size - length(CAST(OLD.namespace || OLD.key AS BLOB))
     WHERE workspace_id = OLD.workspace_id;
END
""",
    # What a step has got, by a hash of the step: a repeat gets it again. `result` is JSON.
    """
CREATE TABLE store_results (
    execution_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    result TEXT NOT NULL,
    PRIMARY KEY (execution_id, digest)
) STRICT, WITHOUT ROWID
""",
)
POSTGRES = """
CREATE TABLE store_entries (
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    size bigint NOT NULL,
    edition bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    expires_at bigint,
    value text NOT NULL,
    PRIMARY KEY (workspace_id, namespace, key)
);
CREATE INDEX store_entries_expires ON store_entries (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE store_counts (
    workspace_id text COLLATE "C" NOT NULL PRIMARY KEY REFERENCES workspaces (id),
    number bigint NOT NULL
);
CREATE FUNCTION flowrunner_store_entries_change_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_add_usage(NEW.workspace_id, NEW.size - OLD.size);
    RETURN NULL;
END $$;
CREATE FUNCTION flowrunner_store_entries_add_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO store_counts (workspace_id, number)
    SELECT workspace_id, count(*) FROM added GROUP BY workspace_id ORDER BY workspace_id
        ON CONFLICT (workspace_id) DO UPDATE SET number = store_counts.number + excluded.number;
    PERFORM flowrunner_add_usage(workspace_id, bytes)
       FROM (SELECT workspace_id, sum(size + octet_length(namespace || key))::bigint AS bytes FROM added
              GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE FUNCTION flowrunner_store_entries_free_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE store_counts SET number = store_counts.number - gone_ones.number
      FROM (SELECT workspace_id, count(*) AS number FROM gone GROUP BY workspace_id) AS gone_ones
     WHERE store_counts.workspace_id = gone_ones.workspace_id;
    PERFORM flowrunner_add_usage(workspace_id, -bytes)
       FROM (SELECT workspace_id, sum(size + octet_length(namespace || key))::bigint AS bytes FROM gone
              GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE TRIGGER store_entries_add_usage AFTER INSERT ON store_entries REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_store_entries_add_usage();
CREATE TRIGGER store_entries_free_usage AFTER DELETE ON store_entries REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_store_entries_free_usage();
CREATE TRIGGER store_entries_change_usage AFTER UPDATE OF size ON store_entries
FOR EACH ROW EXECUTE FUNCTION flowrunner_store_entries_change_usage();
CREATE TABLE store_results (
    execution_id text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    result text NOT NULL,
    PRIMARY KEY (execution_id, digest)
);
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    for statement in SQLITE:
        op.execute(statement)
