"""The first schema: accounts, workspaces, sessions, secrets, flows, executions, their events and the audit log.

Frozen: databases exist that it made. Every further change is a new migration.
"""

from alembic import op

# 0001 was the schema of versions before the first release; no migration leads from it.
revision = "0002"
down_revision = None

# Times are whole milliseconds since 1970, UTC.
SQLITE = """
-- The process that may write executions: claiming ownership raises the epoch.
CREATE TABLE engine (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    epoch INTEGER NOT NULL,
    -- The oldest schema whose programs can still use this database. A migration that only adds leaves it unchanged.
    compatible_with TEXT NOT NULL DEFAULT '0002'
) STRICT;
INSERT INTO engine (only, epoch) VALUES (1, 0);

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('admin', 'user', 'viewer')),
    password_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    disabled_at INTEGER,
    deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX accounts_email ON accounts (email) WHERE deleted_at IS NULL;

CREATE TRIGGER accounts_keep_an_admin BEFORE UPDATE ON accounts
WHEN OLD.role = 'admin' AND OLD.disabled_at IS NULL AND OLD.deleted_at IS NULL
     AND (NEW.role <> 'admin' OR NEW.disabled_at IS NOT NULL OR NEW.deleted_at IS NOT NULL)
     AND NOT EXISTS (SELECT 1 FROM accounts
                      WHERE role = 'admin' AND disabled_at IS NULL AND deleted_at IS NULL AND id <> OLD.id)
BEGIN
    SELECT RAISE(ABORT, 'last admin');
END;

-- The tenants: everything stored belongs to a workspace. Each account has a personal one, with the account's id.
CREATE TABLE workspaces (
    id TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER accounts_create_workspace AFTER INSERT ON accounts
BEGIN
    INSERT INTO workspaces (id, created_at) VALUES (NEW.id, NEW.created_at) ON CONFLICT (id) DO NOTHING;
END;

-- Bytes that a workspace stores: the events of its executions, its flows with their definitions, and its sealed
-- secrets. Triggers update the sum in the transaction that changes one of these.
CREATE TABLE usage (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    -- Each of several writing processes updates a part of its own. A single part may be negative.
    part INTEGER NOT NULL DEFAULT 0,
    stored INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, part)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER workspaces_create_usage AFTER INSERT ON workspaces
BEGIN
    INSERT INTO usage (workspace_id, stored) VALUES (NEW.id, 0);
END;

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    -- The login that it descends from: a refresh replaces a session by another of the same family.
    family TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    expires_at INTEGER NOT NULL,
    -- When its token expires. The row is kept until then, so that reuse of a replaced token is detected.
    token_expires_at INTEGER NOT NULL,
    -- When the password was checked; a refresh keeps this value.
    logged_in_at INTEGER NOT NULL,
    replaced_by TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_account ON sessions (account_id);
CREATE INDEX sessions_family ON sessions (family);
CREATE INDEX sessions_expiry ON sessions (token_expires_at);

CREATE TABLE tickets (
    digest TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_tokens (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL,
    -- SHA-256. The token is long and random, so a slow hash is not needed.
    digest TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL CHECK (json_type(scopes) = 'array'),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_tokens_account ON api_tokens (account_id, id);
CREATE INDEX api_tokens_expiry ON api_tokens (expires_at) WHERE expires_at IS NOT NULL;

-- Key rotations. Each is open until nothing needs the replaced key.
CREATE TABLE key_rotations (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('master', 'data', 'signing')),
    -- The id of the replaced key in its key file; null for data keys, which are in no file.
    replaces TEXT,
    -- The new key, once it exists, and since when every process must use it.
    replaced_by TEXT,
    switched_at INTEGER,
    requested_at INTEGER NOT NULL,
    -- Until when tokens signed with the replaced key may still arrive.
    needed_until INTEGER,
    completed_at INTEGER,
    CHECK ((kind = 'data') = (replaces IS NULL)),
    CHECK (switched_at IS NULL OR replaced_by IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX key_rotations_open ON key_rotations (kind, coalesce(replaces, ''))
    WHERE completed_at IS NULL;

CREATE TABLE data_keys (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    version INTEGER NOT NULL,
    master_key_id TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    -- The latest rotation of data keys when this key was made; 0 before the first.
    rotation INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX data_keys_rotation ON data_keys (rotation);
CREATE INDEX data_keys_master ON data_keys (master_key_id);

CREATE TABLE secrets (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    key TEXT NOT NULL,
    key_version INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, key),
    -- Every secret has the key that opens it, even while keys are rotated.
    FOREIGN KEY (workspace_id, key_version) REFERENCES data_keys (workspace_id, version)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER secrets_add_usage AFTER INSERT ON secrets
BEGIN
    UPDATE usage SET stored = stored + length(NEW.sealed) WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER secrets_change_usage AFTER UPDATE OF sealed ON secrets
BEGIN
    UPDATE usage SET stored = stored + length(NEW.sealed) - length(OLD.sealed) WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER secrets_free_usage AFTER DELETE ON secrets
BEGIN
    UPDATE usage SET stored = stored - length(OLD.sealed) WHERE workspace_id = OLD.workspace_id;
END;

CREATE TABLE flows (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    version TEXT NOT NULL,
    tags TEXT NOT NULL CHECK (json_type(tags) = 'array'),
    revision_id TEXT NOT NULL,
    -- Raised by every change, including of the name alone, so that a client cannot overwrite a change it has not seen.
    edition INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    -- Bytes of what its author writes, except the definition.
    size INTEGER GENERATED ALWAYS AS
        (length(CAST(name AS BLOB)) + length(CAST(description AS BLOB)) + length(CAST(tags AS BLOB))) VIRTUAL
) STRICT, WITHOUT ROWID;
CREATE INDEX flows_workspace ON flows (workspace_id, id) WHERE deleted_at IS NULL;
CREATE INDEX flows_deleted ON flows (id) WHERE deleted_at IS NOT NULL;

CREATE TRIGGER flows_add_usage AFTER INSERT ON flows
BEGIN
    UPDATE usage SET stored = stored + NEW.size WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER flows_change_usage AFTER UPDATE OF name, description, tags ON flows
BEGIN
    UPDATE usage SET stored = stored + NEW.size - OLD.size WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER flows_free_usage AFTER DELETE ON flows
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE workspace_id = OLD.workspace_id;
END;

CREATE TABLE revisions (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    flow_id TEXT NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    version TEXT NOT NULL,
    -- Bytes of the definition.
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    -- A deleted revision keeps its number: executions show it, and no other revision may get it.
    deleted_at INTEGER,
    -- The last column, because SQLite reads columns after a long value slowly.
    definition TEXT,
    UNIQUE (flow_id, number),
    CHECK ((definition IS NULL) = (deleted_at IS NOT NULL))
) STRICT;
CREATE INDEX revisions_deleted ON revisions (id) WHERE deleted_at IS NOT NULL;

CREATE TRIGGER revisions_add_usage AFTER INSERT ON revisions WHEN NEW.deleted_at IS NULL
BEGIN
    UPDATE usage SET stored = stored + NEW.size WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER revisions_empty_usage AFTER UPDATE OF deleted_at ON revisions
WHEN OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE workspace_id = OLD.workspace_id;
END;
CREATE TRIGGER revisions_free_usage AFTER DELETE ON revisions WHEN OLD.deleted_at IS NULL
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE workspace_id = OLD.workspace_id;
END;

CREATE TABLE executions (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    flow_id TEXT NOT NULL,
    revision_id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'waiting', 'completed', 'failed', 'cancelled')),
    started_at INTEGER NOT NULL,
    completed_at INTEGER,
    error TEXT,
    -- True while nothing can happen in it before `wake_at` or an input from outside.
    is_idle INTEGER NOT NULL DEFAULT 0,
    wake_at INTEGER,
    -- What it waits for, as JSON.
    waiting_for TEXT,
    epoch INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    -- Bytes of its events.
    size INTEGER NOT NULL DEFAULT 0,
    idempotency_key TEXT,
    request_digest TEXT,
    -- The execution that waits for it to end.
    parent_id TEXT,
    rerun_of TEXT,
    -- Executions with the same key share a limit of how many may run at a time. The position orders those that have
    -- not ended; ids do not, because they follow the clocks of several servers.
    concurrency_key TEXT,
    concurrency_limit INTEGER,
    queue_position INTEGER,
    is_queued INTEGER NOT NULL DEFAULT 0,
    -- Only where several processes advance executions: whether it holds one of its workspace's active slots, and since
    -- when it waits for a slot, or for a process that takes it over.
    is_active INTEGER NOT NULL DEFAULT 0,
    queued_at INTEGER,
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)),
    CHECK ((status = 'failed') = (error IS NOT NULL)),
    CHECK (status <> 'waiting' OR is_idle),
    CHECK (NOT is_idle OR completed_at IS NULL),
    CHECK (wake_at IS NULL OR is_idle),
    CHECK (waiting_for IS NULL OR completed_at IS NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX executions_workspace ON executions (workspace_id, id);
CREATE INDEX executions_flow ON executions (workspace_id, flow_id, id);
-- Includes the revision, so that this index alone answers whether a revision is still needed.
CREATE INDEX executions_open ON executions (status, is_idle, id, revision_id) WHERE status IN ('running', 'waiting');
CREATE INDEX executions_parent ON executions (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX executions_concurrency ON executions (concurrency_key, is_queued, queue_position)
    WHERE concurrency_key IS NOT NULL AND completed_at IS NULL;
CREATE INDEX executions_queued ON executions (workspace_id) WHERE is_queued AND completed_at IS NULL;
CREATE INDEX executions_active ON executions (workspace_id) WHERE is_active AND completed_at IS NULL;
CREATE INDEX executions_waiting_for_slot ON executions (workspace_id, queued_at, id)
    WHERE queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL;
CREATE INDEX executions_wake ON executions (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX executions_ended ON executions (completed_at) WHERE completed_at IS NOT NULL;
CREATE UNIQUE INDEX executions_request ON executions (workspace_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TRIGGER executions_reject_change_after_end BEFORE UPDATE ON executions
WHEN OLD.status IN ('completed', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'the execution has ended');
END;

CREATE TRIGGER executions_add_usage AFTER INSERT ON executions
BEGIN
    UPDATE usage SET stored = stored + NEW.size WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER executions_change_usage AFTER UPDATE OF size ON executions
BEGIN
    UPDATE usage SET stored = stored + NEW.size - OLD.size WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER executions_free_usage AFTER DELETE ON executions
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE workspace_id = OLD.workspace_id;
END;

CREATE TABLE events (
    execution_id TEXT NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    at INTEGER NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (execution_id, seq)
) STRICT, WITHOUT ROWID;

-- The row in `executions` is updated first, so an event beyond its `last_seq` belongs to no valid append. The row of an
-- ended execution never changes, so no event can follow its last one.
CREATE TRIGGER events_follow_summary BEFORE INSERT ON events
WHEN NEW.seq > coalesce((SELECT last_seq FROM executions WHERE id = NEW.execution_id), 0)
BEGIN
    SELECT RAISE(ABORT, 'an event beyond its execution');
END;

-- Messages to executions from processes that do not have them in memory. A message that was taken is deleted.
CREATE TABLE execution_inbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    sent_at INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('signal', 'cancel')),
    content TEXT NOT NULL,
    is_rejected INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX inbox_execution ON execution_inbox (execution_id);
CREATE INDEX inbox_sent ON execution_inbox (sent_at) WHERE NOT is_rejected;

-- What people and programs did. Each row holds the SHA-256 of the previous hash and its own content.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT,
    credential TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id TEXT NOT NULL,
    -- The workspace that the act was in; for acts on an account its personal one.
    workspace_id TEXT,
    outcome TEXT NOT NULL CHECK (outcome IN ('done', 'failed', 'denied')),
    details TEXT NOT NULL,
    previous BLOB NOT NULL CHECK (length(previous) = 32),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX audit_at ON audit (at);

-- The last row that retention has deleted, which the first remaining row follows.
CREATE TABLE audit_anchor (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO audit_anchor (only, seq, hash) VALUES (1, 0, zeroblob(32));

-- Also prevents INSERT OR REPLACE, which fires no delete trigger.
CREATE TRIGGER audit_rejects_gap BEFORE INSERT ON audit
WHEN NEW.seq <> 1 + coalesce((SELECT max(seq) FROM audit), (SELECT seq FROM audit_anchor))
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_rejects_update BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_rejects_delete BEFORE DELETE ON audit
WHEN OLD.seq > (SELECT seq FROM audit_anchor)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

-- Retention deletes the oldest rows first, and never any of the last day.
CREATE TRIGGER audit_anchor_rejects_jump BEFORE UPDATE ON audit_anchor
WHEN NEW.seq <= OLD.seq OR NEW.hash IS NOT (SELECT hash FROM audit WHERE seq = NEW.seq)
     OR EXISTS (SELECT 1 FROM audit WHERE seq <= NEW.seq AND at > (unixepoch() - 86400) * 1000)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_anchor_rejects_delete BEFORE DELETE ON audit_anchor
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_anchor_rejects_insert BEFORE INSERT ON audit_anchor
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER events_reject_update BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;
"""

# COLLATE "C" compares text byte by byte, as SQLite does, whatever the locale of the database.
POSTGRES = """
CREATE FUNCTION flowrunner_reject() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = 'integrity_constraint_violation';
END $$;

-- The process that may write executions: claiming ownership raises the epoch.
CREATE TABLE engine (
    "only" bigint PRIMARY KEY CHECK ("only" = 1),
    epoch bigint NOT NULL,
    -- The oldest schema whose programs can still use this database. A migration that only adds leaves it unchanged.
    compatible_with text COLLATE "C" NOT NULL DEFAULT '0002'
);
INSERT INTO engine ("only", epoch) VALUES (1, 0);

-- Every writer holds a lock until its transaction ends: most writes hold it exclusively, while several writers may
-- advance executions at the same time. Both functions return the epoch as it is once the lock is held.
CREATE FUNCTION flowrunner_lock_exclusive() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('flowrunner writing'), hashtext(current_schema()));
    RETURN (SELECT epoch FROM engine);
END $$;
CREATE FUNCTION flowrunner_lock_shared() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('flowrunner writing'), hashtext(current_schema()));
    RETURN (SELECT epoch FROM engine);
END $$;

CREATE TABLE accounts (
    id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    email text COLLATE "C" NOT NULL,
    role text NOT NULL CHECK (role IN ('admin', 'user', 'viewer')),
    password_hash text NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    disabled_at bigint,
    deleted_at bigint
);
CREATE UNIQUE INDEX accounts_email ON accounts (email) WHERE deleted_at IS NULL;

CREATE FUNCTION flowrunner_keep_an_admin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM accounts
                    WHERE role = 'admin' AND disabled_at IS NULL AND deleted_at IS NULL AND id <> OLD.id) THEN
        RAISE EXCEPTION 'last admin' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER accounts_keep_an_admin BEFORE UPDATE ON accounts FOR EACH ROW
WHEN (OLD.role = 'admin' AND OLD.disabled_at IS NULL AND OLD.deleted_at IS NULL
      AND (NEW.role <> 'admin' OR NEW.disabled_at IS NOT NULL OR NEW.deleted_at IS NOT NULL))
EXECUTE FUNCTION flowrunner_keep_an_admin();

-- The tenants: everything stored belongs to a workspace. Each account has a personal one, with the account's id.
CREATE TABLE workspaces (
    id text COLLATE "C" PRIMARY KEY,
    created_at bigint NOT NULL
);

CREATE FUNCTION flowrunner_create_workspace() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO workspaces (id, created_at) VALUES (NEW.id, NEW.created_at) ON CONFLICT (id) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_create_workspace AFTER INSERT ON accounts FOR EACH ROW
EXECUTE FUNCTION flowrunner_create_workspace();

-- Bytes that a workspace stores: the events of its executions, its flows with their definitions, and its sealed
-- secrets. Triggers update the sum in the transaction that changes one of these.
CREATE TABLE usage (
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    -- Each of several writing processes updates a part of its own. A single part may be negative.
    part bigint NOT NULL DEFAULT 0,
    stored bigint NOT NULL,
    PRIMARY KEY (workspace_id, part)
);

CREATE FUNCTION flowrunner_create_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage (workspace_id, stored) VALUES (NEW.id, 0);
    RETURN NULL;
END $$;
CREATE TRIGGER workspaces_create_usage AFTER INSERT ON workspaces FOR EACH ROW
EXECUTE FUNCTION flowrunner_create_usage();

CREATE FUNCTION flowrunner_add_usage(workspace text, bytes bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF bytes <> 0 THEN
        INSERT INTO usage (workspace_id, part, stored) VALUES (workspace, mod(pg_backend_pid(), 16), bytes)
        ON CONFLICT (workspace_id, part) DO UPDATE SET stored = usage.stored + excluded.stored;
    END IF;
END $$;

CREATE TABLE sessions (
    id text COLLATE "C" PRIMARY KEY,
    -- The login that it descends from: a refresh replaces a session by another of the same family.
    family text COLLATE "C" NOT NULL,
    account_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    expires_at bigint NOT NULL,
    -- When its token expires. The row is kept until then, so that reuse of a replaced token is detected.
    token_expires_at bigint NOT NULL,
    -- When the password was checked; a refresh keeps this value.
    logged_in_at bigint NOT NULL,
    replaced_by text COLLATE "C"
);
CREATE INDEX sessions_account ON sessions (account_id);
CREATE INDEX sessions_family ON sessions (family);
CREATE INDEX sessions_expiry ON sessions (token_expires_at);

CREATE TABLE tickets (
    digest text COLLATE "C" PRIMARY KEY,
    session_id text COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL
);

CREATE TABLE api_tokens (
    id text COLLATE "C" PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    name text NOT NULL,
    -- SHA-256. The token is long and random, so a slow hash is not needed.
    digest text COLLATE "C" NOT NULL UNIQUE,
    scopes text NOT NULL CHECK (json_typeof(scopes::json) = 'array'),
    created_at bigint NOT NULL,
    expires_at bigint,
    last_used_at bigint
);
CREATE INDEX api_tokens_account ON api_tokens (account_id, id);
CREATE INDEX api_tokens_expiry ON api_tokens (expires_at) WHERE expires_at IS NOT NULL;

-- Key rotations. Each is open until nothing needs the replaced key.
CREATE TABLE key_rotations (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('master', 'data', 'signing')),
    -- The id of the replaced key in its key file; null for data keys, which are in no file.
    replaces text COLLATE "C",
    -- The new key, once it exists, and since when every process must use it.
    replaced_by text COLLATE "C",
    switched_at bigint,
    requested_at bigint NOT NULL,
    -- Until when tokens signed with the replaced key may still arrive.
    needed_until bigint,
    completed_at bigint,
    CHECK ((kind = 'data') = (replaces IS NULL)),
    CHECK (switched_at IS NULL OR replaced_by IS NOT NULL)
);
CREATE UNIQUE INDEX key_rotations_open ON key_rotations (kind, coalesce(replaces, ''))
    WHERE completed_at IS NULL;

CREATE TABLE data_keys (
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    version bigint NOT NULL,
    master_key_id text COLLATE "C" NOT NULL,
    wrapped bytea NOT NULL,
    -- The latest rotation of data keys when this key was made; 0 before the first.
    rotation bigint NOT NULL,
    PRIMARY KEY (workspace_id, version)
);
CREATE INDEX data_keys_rotation ON data_keys (rotation);
CREATE INDEX data_keys_master ON data_keys (master_key_id);

CREATE TABLE secrets (
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    key text COLLATE "C" NOT NULL,
    key_version bigint NOT NULL,
    sealed bytea NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (workspace_id, key),
    -- Every secret has the key that opens it, even while keys are rotated.
    FOREIGN KEY (workspace_id, key_version) REFERENCES data_keys (workspace_id, version)
);

CREATE FUNCTION flowrunner_secrets_add_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        PERFORM flowrunner_add_usage(NEW.workspace_id, length(NEW.sealed));
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM flowrunner_add_usage(OLD.workspace_id, -length(OLD.sealed));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER secrets_add_usage AFTER INSERT OR UPDATE OF sealed OR DELETE ON secrets FOR EACH ROW
EXECUTE FUNCTION flowrunner_secrets_add_usage();

CREATE TABLE flows (
    id text COLLATE "C" PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces (id),
    name text NOT NULL,
    description text NOT NULL,
    version text NOT NULL,
    tags text NOT NULL CHECK (json_typeof(tags::json) = 'array'),
    revision_id text COLLATE "C" NOT NULL,
    -- Raised by every change, including of the name alone, so that a client cannot overwrite a change it has not seen.
    edition bigint NOT NULL DEFAULT 1,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    deleted_at bigint,
    -- Bytes of what its author writes, except the definition.
    size bigint GENERATED ALWAYS AS (octet_length(name) + octet_length(description) + octet_length(tags)) STORED
);
CREATE INDEX flows_workspace ON flows (workspace_id, id) WHERE deleted_at IS NULL;
CREATE INDEX flows_deleted ON flows (id) WHERE deleted_at IS NOT NULL;

CREATE FUNCTION flowrunner_flows_add_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        PERFORM flowrunner_add_usage(NEW.workspace_id, NEW.size);
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM flowrunner_add_usage(OLD.workspace_id, -OLD.size);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER flows_add_usage AFTER INSERT OR UPDATE OR DELETE ON flows FOR EACH ROW
EXECUTE FUNCTION flowrunner_flows_add_usage();

CREATE TABLE revisions (
    id text COLLATE "C" PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL,
    flow_id text COLLATE "C" NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    version text NOT NULL,
    -- Bytes of the definition.
    size bigint NOT NULL,
    created_at bigint NOT NULL,
    -- A deleted revision keeps its number: executions show it, and no other revision may get it.
    deleted_at bigint,
    definition text,
    UNIQUE (flow_id, number),
    CHECK ((definition IS NULL) = (deleted_at IS NOT NULL))
);
CREATE INDEX revisions_deleted ON revisions (id) WHERE deleted_at IS NOT NULL;

-- A deleted revision is emptied and uses no space.
CREATE FUNCTION flowrunner_revisions_add_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' AND NEW.deleted_at IS NULL THEN
        PERFORM flowrunner_add_usage(NEW.workspace_id, NEW.size);
    END IF;
    IF TG_OP <> 'INSERT' AND OLD.deleted_at IS NULL THEN
        PERFORM flowrunner_add_usage(OLD.workspace_id, -OLD.size);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER revisions_add_usage AFTER INSERT OR UPDATE OF deleted_at OR DELETE ON revisions FOR EACH ROW
EXECUTE FUNCTION flowrunner_revisions_add_usage();

CREATE TABLE executions (
    id text COLLATE "C" PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL,
    flow_id text COLLATE "C" NOT NULL,
    revision_id text COLLATE "C" NOT NULL,
    status text NOT NULL CHECK (status IN ('running', 'waiting', 'completed', 'failed', 'cancelled')),
    started_at bigint NOT NULL,
    completed_at bigint,
    error text,
    -- True while nothing can happen in it before `wake_at` or an input from outside.
    is_idle boolean NOT NULL DEFAULT false,
    wake_at bigint,
    -- What it waits for, as JSON.
    waiting_for text,
    epoch bigint NOT NULL,
    last_seq bigint NOT NULL,
    -- Bytes of its events.
    size bigint NOT NULL DEFAULT 0,
    idempotency_key text COLLATE "C",
    request_digest text COLLATE "C",
    -- The execution that waits for it to end.
    parent_id text COLLATE "C",
    rerun_of text COLLATE "C",
    -- Executions with the same key share a limit of how many may run at a time. The position orders those that have
    -- not ended; ids do not, because they follow the clocks of several servers.
    concurrency_key text COLLATE "C",
    concurrency_limit bigint,
    queue_position bigint,
    is_queued boolean NOT NULL DEFAULT false,
    -- Only where several processes advance executions: whether it holds one of its workspace's active slots, and since
    -- when it waits for a slot, or for a process that takes it over.
    is_active boolean NOT NULL DEFAULT false,
    queued_at bigint,
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)),
    CHECK ((status = 'failed') = (error IS NOT NULL)),
    CHECK (status <> 'waiting' OR is_idle),
    CHECK (NOT is_idle OR completed_at IS NULL),
    CHECK (wake_at IS NULL OR is_idle),
    CHECK (waiting_for IS NULL OR completed_at IS NULL)
-- Rows are updated several times: free space in the page lets most updates leave the indexes alone.
) WITH (fillfactor = 70);
CREATE INDEX executions_workspace ON executions (workspace_id, id);
CREATE INDEX executions_flow ON executions (workspace_id, flow_id, id);
-- Includes the revision, so that this index alone answers whether a revision is still needed.
CREATE INDEX executions_open ON executions (status, is_idle, id, revision_id) WHERE status IN ('running', 'waiting');
CREATE INDEX executions_parent ON executions (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX executions_concurrency ON executions (concurrency_key, is_queued, queue_position)
    WHERE concurrency_key IS NOT NULL AND completed_at IS NULL;
CREATE INDEX executions_queued ON executions (workspace_id) WHERE is_queued AND completed_at IS NULL;
CREATE INDEX executions_active ON executions (workspace_id) WHERE is_active AND completed_at IS NULL;
CREATE INDEX executions_waiting_for_slot ON executions (workspace_id, queued_at, id)
    WHERE queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL;
CREATE INDEX executions_wake ON executions (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX executions_ended ON executions (completed_at) WHERE completed_at IS NOT NULL;
CREATE UNIQUE INDEX executions_request ON executions (workspace_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TRIGGER executions_reject_change_after_end BEFORE UPDATE ON executions FOR EACH ROW
WHEN (OLD.status IN ('completed', 'failed', 'cancelled'))
EXECUTE FUNCTION flowrunner_reject('the execution has ended');

-- One update of a sum for all rows of a statement, because a statement changes many executions. Processes that share a
-- part lock the sums in the same order.
CREATE FUNCTION flowrunner_executions_add_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_add_usage(workspace_id, bytes)
       FROM (SELECT workspace_id, sum(size)::bigint AS bytes FROM added
              GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE FUNCTION flowrunner_executions_change_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_add_usage(workspace_id, bytes)
       FROM (SELECT workspace_id, sum(size)::bigint AS bytes
               FROM (SELECT workspace_id, size FROM added UNION ALL SELECT workspace_id, -size FROM gone) AS changes
              GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE FUNCTION flowrunner_executions_free_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_add_usage(workspace_id, bytes)
       FROM (SELECT workspace_id, -sum(size)::bigint AS bytes FROM gone
              GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE TRIGGER executions_add_usage AFTER INSERT ON executions REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_executions_add_usage();
CREATE TRIGGER executions_change_usage AFTER UPDATE ON executions REFERENCING NEW TABLE AS added OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_executions_change_usage();
CREATE TRIGGER executions_free_usage AFTER DELETE ON executions REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_executions_free_usage();

CREATE TABLE events (
    execution_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    at bigint NOT NULL,
    type text NOT NULL,
    data text NOT NULL,
    PRIMARY KEY (execution_id, seq)
);

-- The row in `executions` is updated first, so an event beyond its `last_seq` belongs to no valid append. The row of an
-- ended execution never changes, so no event can follow its last one.
CREATE FUNCTION flowrunner_follow_summary() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM added LEFT JOIN executions ON executions.id = added.execution_id
                WHERE added.seq > coalesce(executions.last_seq, 0)) THEN
        RAISE EXCEPTION 'an event beyond its execution' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER events_follow_summary AFTER INSERT ON events REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_follow_summary();

CREATE TRIGGER events_reject_update BEFORE UPDATE ON events FOR EACH ROW
EXECUTE FUNCTION flowrunner_reject('events are append-only');

-- Messages to executions from processes that do not have them in memory. A message that was taken is deleted.
CREATE TABLE execution_inbox (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    execution_id text COLLATE "C" NOT NULL,
    workspace_id text COLLATE "C" NOT NULL,
    sent_at bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('signal', 'cancel')),
    content text NOT NULL,
    is_rejected boolean NOT NULL DEFAULT false
);
CREATE INDEX inbox_execution ON execution_inbox (execution_id);
CREATE INDEX inbox_sent ON execution_inbox (sent_at) WHERE NOT is_rejected;

-- What people and programs did. Each row holds the SHA-256 of the previous hash and its own content.
CREATE TABLE audit (
    seq bigint PRIMARY KEY,
    at bigint NOT NULL,
    actor text COLLATE "C",
    credential text NOT NULL,
    address text NOT NULL,
    action text NOT NULL,
    object_kind text NOT NULL,
    object_id text NOT NULL,
    -- The workspace that the act was in; for acts on an account its personal one.
    workspace_id text COLLATE "C",
    outcome text NOT NULL CHECK (outcome IN ('done', 'failed', 'denied')),
    details text NOT NULL,
    previous bytea NOT NULL CHECK (length(previous) = 32),
    hash bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX audit_at ON audit (at);

-- The last row that retention has deleted, which the first remaining row follows.
CREATE TABLE audit_anchor (
    "only" bigint PRIMARY KEY CHECK ("only" = 1),
    seq bigint NOT NULL,
    hash bytea NOT NULL
);
INSERT INTO audit_anchor ("only", seq, hash) VALUES (1, 0, decode(repeat('00', 32), 'hex'));

CREATE FUNCTION flowrunner_audit_rejects_gap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seq <> 1 + coalesce((SELECT max(seq) FROM audit), (SELECT seq FROM audit_anchor)) THEN
        RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_rejects_gap BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION flowrunner_audit_rejects_gap();

CREATE TRIGGER audit_rejects_update BEFORE UPDATE ON audit FOR EACH ROW
EXECUTE FUNCTION flowrunner_reject('the audit log is append-only');

CREATE FUNCTION flowrunner_audit_rejects_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.seq > (SELECT seq FROM audit_anchor) THEN
        RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER audit_rejects_delete BEFORE DELETE ON audit FOR EACH ROW
EXECUTE FUNCTION flowrunner_audit_rejects_delete();

-- Retention deletes the oldest rows first, and never any of the last day.
CREATE FUNCTION flowrunner_audit_anchor_rejects_jump() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seq <= OLD.seq OR NEW.hash IS DISTINCT FROM (SELECT hash FROM audit WHERE seq = NEW.seq)
       OR EXISTS (SELECT 1 FROM audit WHERE seq <= NEW.seq AND at > (extract(epoch FROM now()) - 86400) * 1000) THEN
        RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_anchor_rejects_jump BEFORE UPDATE ON audit_anchor FOR EACH ROW
EXECUTE FUNCTION flowrunner_audit_anchor_rejects_jump();

CREATE TRIGGER audit_anchor_rejects_delete BEFORE DELETE ON audit_anchor FOR EACH ROW
EXECUTE FUNCTION flowrunner_reject('the audit log is append-only');

CREATE TRIGGER audit_anchor_rejects_insert BEFORE INSERT ON audit_anchor FOR EACH ROW
EXECUTE FUNCTION flowrunner_reject('the audit log is append-only');

-- TRUNCATE fires no delete trigger.
CREATE TRIGGER events_reject_truncate BEFORE TRUNCATE ON events
EXECUTE FUNCTION flowrunner_reject('events are append-only');
CREATE TRIGGER audit_rejects_truncate BEFORE TRUNCATE ON audit
EXECUTE FUNCTION flowrunner_reject('the audit log is append-only');
CREATE TRIGGER audit_anchor_rejects_truncate BEFORE TRUNCATE ON audit_anchor
EXECUTE FUNCTION flowrunner_reject('the audit log is append-only');
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in _statements(SQLITE):
        connection.exec_driver_sql(statement)


def _statements(script: str) -> list[str]:
    """Split a script into statements, keeping each trigger's body together."""
    import sqlite3

    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending) and pending.strip():
            statements.append(pending)
            pending = ""
    return statements
