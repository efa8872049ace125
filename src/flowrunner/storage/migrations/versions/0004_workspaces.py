"""Workspaces that several accounts share: their names, members and API tokens."""

from alembic import op

revision = "0004"
down_revision = "0003"

# Who has which role where: the owner of each personal workspace, and the members of all.
MEMBERSHIPS = """
CREATE VIEW memberships AS
SELECT w.id AS workspace_id, a.id AS account_id, 'admin' AS role, w.created_at AS added_at, true AS is_owner
  FROM workspaces w JOIN accounts a ON a.id = w.id
 WHERE w.deleted_at IS NULL AND a.deleted_at IS NULL
 UNION ALL
SELECT m.workspace_id, m.account_id, m.role, m.added_at, false
  FROM members m JOIN workspaces w ON w.id = m.workspace_id JOIN accounts a ON a.id = m.account_id
 WHERE w.deleted_at IS NULL AND a.deleted_at IS NULL
"""
SQLITE = (
    # Null for a personal workspace, which is called after its account.
    "ALTER TABLE workspaces ADD COLUMN name TEXT",
    "ALTER TABLE workspaces ADD COLUMN slug TEXT",
    "ALTER TABLE workspaces ADD COLUMN deleted_at INTEGER",
    # The slug of a deleted workspace is free.
    "CREATE UNIQUE INDEX workspaces_slug ON workspaces (slug) WHERE slug IS NOT NULL AND deleted_at IS NULL",
    # The owner of a personal workspace is no row: it is the account with the workspace's id.
    """
CREATE TABLE members (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    account_id TEXT NOT NULL REFERENCES accounts (id),
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'editor', 'admin')),
    added_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, account_id)
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX members_account ON members (account_id, workspace_id)",
    MEMBERSHIPS,
    # The only workspace that the token reaches; null for the account's personal one.
    "ALTER TABLE api_tokens ADD COLUMN workspace_id TEXT REFERENCES workspaces (id)",
    "CREATE INDEX api_tokens_workspace ON api_tokens (coalesce(workspace_id, account_id), id)",
    "CREATE INDEX audit_workspace ON audit (workspace_id, seq)",
    # Null for those of the owner of a personal workspace.
    "ALTER TABLE revisions ADD COLUMN created_by TEXT",
    "UPDATE workspaces SET deleted_at = (SELECT deleted_at FROM accounts WHERE accounts.id = workspaces.id)",
    # A personal workspace ends with its account unless it has members.
    """
CREATE TRIGGER accounts_delete_workspace AFTER UPDATE OF deleted_at ON accounts
WHEN OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM members WHERE workspace_id = NEW.id)
BEGIN
    UPDATE workspaces SET deleted_at = NEW.deleted_at WHERE id = NEW.id;
END
""",
)
POSTGRES = """
ALTER TABLE workspaces
    ADD COLUMN name text,
    ADD COLUMN slug text COLLATE "C",
    ADD COLUMN deleted_at bigint;
CREATE UNIQUE INDEX workspaces_slug ON workspaces (slug) WHERE slug IS NOT NULL AND deleted_at IS NULL;

CREATE TABLE members (
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    account_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    role text COLLATE "C" NOT NULL CHECK (role IN ('viewer', 'operator', 'editor', 'admin')),
    added_at bigint NOT NULL,
    PRIMARY KEY (workspace_id, account_id)
);
CREATE INDEX members_account ON members (account_id, workspace_id);

ALTER TABLE api_tokens ADD COLUMN workspace_id text COLLATE "C" REFERENCES workspaces (id);
CREATE INDEX api_tokens_workspace ON api_tokens (coalesce(workspace_id, account_id), id);
CREATE INDEX audit_workspace ON audit (workspace_id, seq);
ALTER TABLE revisions ADD COLUMN created_by text COLLATE "C";
UPDATE workspaces SET deleted_at = a.deleted_at FROM accounts a WHERE a.id = workspaces.id;

CREATE FUNCTION flowrunner_delete_workspace() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE workspaces SET deleted_at = NEW.deleted_at
     WHERE id = NEW.id AND NOT EXISTS (SELECT 1 FROM members WHERE workspace_id = NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_delete_workspace AFTER UPDATE OF deleted_at ON accounts FOR EACH ROW
WHEN (OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL)
EXECUTE FUNCTION flowrunner_delete_workspace();
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        op.execute(MEMBERSHIPS)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
