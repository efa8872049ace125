"""Accounts, sessions, secrets, flows, executions and their events."""

from alembic import op

revision = "0001"
down_revision = None

# Times are whole milliseconds since 1970, UTC.
SQLITE = """
-- Which process may write executions. Whoever claims it raises the epoch.
CREATE TABLE engine (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    epoch INTEGER NOT NULL,
    -- The earliest schema whose programs can go on with this database. A migration that only adds leaves it as it is.
    compatible_with TEXT NOT NULL DEFAULT '0001'
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

-- Bytes that an account keeps here: the events of its executions, its flows with their definitions, and its
-- sealed secrets. Whatever changes one of these changes the sum, in the same transaction: see the triggers.
CREATE TABLE usage (
    workspace_id TEXT NOT NULL REFERENCES accounts (id),
    -- Where several processes write, each changes a part of its own. A part alone may be below zero.
    part INTEGER NOT NULL DEFAULT 0,
    stored INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, part)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER usage_begins AFTER INSERT ON accounts
BEGIN
    INSERT INTO usage (workspace_id, stored) VALUES (NEW.id, 0);
END;

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    -- The login it goes back to: a refresh replaces a session by another of the same family.
    family TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    expires_at INTEGER NOT NULL,
    -- What its token says. The row is kept until then, so that a token which comes back is known again.
    token_expires_at INTEGER NOT NULL,
    -- When the password was checked; a refresh keeps it.
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
    -- SHA-256. The token itself is long and random, so nothing slower is needed.
    digest TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL CHECK (json_type(scopes) = 'array'),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_tokens_account ON api_tokens (account_id, id);
CREATE INDEX api_tokens_expiry ON api_tokens (expires_at) WHERE expires_at IS NOT NULL;

-- Rotations of keys, each until nothing needs the earlier key any more.
CREATE TABLE key_rotations (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('master', 'data', 'signing')),
    -- Which key of a file is replaced; a data key is in no file.
    replaces TEXT,
    -- What replaces it, once that is made, and since when every process is to use it.
    replaced_by TEXT,
    switched_at INTEGER,
    requested_at INTEGER NOT NULL,
    -- Until when tokens may come that were signed with the earlier key.
    needed_until INTEGER,
    completed_at INTEGER,
    CHECK ((kind = 'data') = (replaces IS NULL)),
    CHECK (switched_at IS NULL OR replaced_by IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX key_rotations_open ON key_rotations (kind, coalesce(replaces, ''))
    WHERE completed_at IS NULL;

CREATE TABLE data_keys (
    workspace_id TEXT NOT NULL REFERENCES accounts (id),
    version INTEGER NOT NULL,
    master_key_id TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    -- The latest rotation of data keys when this one was made; 0 before the first.
    rotation INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX data_keys_rotation ON data_keys (rotation);
CREATE INDEX data_keys_master ON data_keys (master_key_id);

CREATE TABLE secrets (
    workspace_id TEXT NOT NULL REFERENCES accounts (id),
    key TEXT NOT NULL,
    key_version INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, key),
    -- No secret without the key that opens it, whoever rotates keys meanwhile.
    FOREIGN KEY (workspace_id, key_version) REFERENCES data_keys (workspace_id, version)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER secrets_are_used AFTER INSERT ON secrets
BEGIN
    UPDATE usage SET stored = stored + length(NEW.sealed) WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER secrets_are_replaced AFTER UPDATE OF sealed ON secrets
BEGIN
    UPDATE usage SET stored = stored + length(NEW.sealed) - length(OLD.sealed) WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER secrets_are_freed AFTER DELETE ON secrets
BEGIN
    UPDATE usage SET stored = stored - length(OLD.sealed) WHERE workspace_id = OLD.workspace_id;
END;

CREATE TABLE flows (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    version TEXT NOT NULL,
    tags TEXT NOT NULL CHECK (json_type(tags) = 'array'),
    revision_id TEXT NOT NULL,
    -- Raised by every change, also of the name alone, so that nobody changes what they have not seen.
    edition INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    -- Bytes of what its author writes, but for the definition.
    size INTEGER GENERATED ALWAYS AS
        (length(CAST(name AS BLOB)) + length(CAST(description AS BLOB)) + length(CAST(tags AS BLOB))) VIRTUAL
) STRICT, WITHOUT ROWID;
CREATE INDEX flows_account ON flows (workspace_id, id) WHERE deleted_at IS NULL;
CREATE INDEX flows_deleted ON flows (id) WHERE deleted_at IS NOT NULL;

CREATE TRIGGER flows_are_used AFTER INSERT ON flows
BEGIN
    UPDATE usage SET stored = stored + NEW.size WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER flows_are_changed AFTER UPDATE OF name, description, tags ON flows
BEGIN
    UPDATE usage SET stored = stored + NEW.size - OLD.size WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER flows_are_freed AFTER DELETE ON flows
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
    -- A deleted one keeps its number, which executions show and no other may get.
    deleted_at INTEGER,
    -- The last column, because what stands behind a long one is slow to reach.
    definition TEXT,
    UNIQUE (flow_id, number),
    CHECK ((definition IS NULL) = (deleted_at IS NOT NULL))
) STRICT;
CREATE INDEX revisions_deleted ON revisions (id) WHERE deleted_at IS NOT NULL;

CREATE TRIGGER revisions_are_used AFTER INSERT ON revisions WHEN NEW.deleted_at IS NULL
BEGIN
    UPDATE usage SET stored = stored + NEW.size WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER revisions_are_emptied AFTER UPDATE OF deleted_at ON revisions
WHEN OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE workspace_id = OLD.workspace_id;
END;
CREATE TRIGGER revisions_are_freed AFTER DELETE ON revisions WHEN OLD.deleted_at IS NULL
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
    -- Whether nothing goes on in it before its time to wake, or before something comes from outside.
    rests INTEGER NOT NULL DEFAULT 0,
    wake_at INTEGER,
    -- What it waits for, as JSON.
    waiting_for TEXT,
    epoch INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    -- Bytes of its events.
    size INTEGER NOT NULL DEFAULT 0,
    idempotency_key TEXT,
    request_digest TEXT,
    -- The execution that waits for its end.
    parent_id TEXT,
    rerun_of TEXT,
    -- What it shares a limit with, how many of them may be under way, and which of those that have not ended it is, in
    -- the order in which they came: their ids follow the clocks of servers.
    concurrency_key TEXT,
    concurrency_limit INTEGER,
    queue_position INTEGER,
    is_queued INTEGER NOT NULL DEFAULT 0,
    -- Where several processes advance executions: whether its account has room for it in their memory, and since when
    -- it waits for that, or for a process to take it up.
    is_active INTEGER NOT NULL DEFAULT 0,
    queued_at INTEGER,
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)),
    CHECK ((status = 'failed') = (error IS NOT NULL)),
    CHECK (status <> 'waiting' OR rests),
    CHECK (NOT rests OR completed_at IS NULL),
    CHECK (wake_at IS NULL OR rests),
    CHECK (waiting_for IS NULL OR completed_at IS NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX executions_account ON executions (workspace_id, id);
CREATE INDEX executions_flow ON executions (workspace_id, flow_id, id);
-- The revision as well, to see whether one is still needed.
CREATE INDEX executions_open ON executions (status, rests, id, revision_id) WHERE status IN ('running', 'waiting');
CREATE INDEX executions_parent ON executions (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX executions_concurrency ON executions (concurrency_key, is_queued, queue_position)
    WHERE concurrency_key IS NOT NULL AND completed_at IS NULL;
CREATE INDEX executions_queued ON executions (workspace_id) WHERE is_queued AND completed_at IS NULL;
CREATE INDEX executions_active ON executions (workspace_id) WHERE is_active AND completed_at IS NULL;
CREATE INDEX executions_waiting_for_room ON executions (workspace_id, queued_at, id)
    WHERE queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL;
CREATE INDEX executions_wake ON executions (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX executions_ended ON executions (completed_at) WHERE completed_at IS NOT NULL;
CREATE UNIQUE INDEX executions_request ON executions (workspace_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TRIGGER executions_final BEFORE UPDATE ON executions
WHEN OLD.status IN ('completed', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'the execution has ended');
END;

CREATE TRIGGER executions_are_used AFTER INSERT ON executions
BEGIN
    UPDATE usage SET stored = stored + NEW.size WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER executions_grow AFTER UPDATE OF size ON executions
BEGIN
    UPDATE usage SET stored = stored + NEW.size - OLD.size WHERE workspace_id = NEW.workspace_id;
END;
CREATE TRIGGER executions_are_freed AFTER DELETE ON executions
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

-- The summary is moved on first, so an event beyond it belongs to no legal append. Since an ended
-- execution's summary never moves, no event can follow its last one.
CREATE TRIGGER events_follow_the_summary BEFORE INSERT ON events
WHEN NEW.seq > coalesce((SELECT last_seq FROM executions WHERE id = NEW.execution_id), 0)
BEGIN
    SELECT RAISE(ABORT, 'an event beyond its execution');
END;

-- What executions are told by processes that do not have them in memory. One that was taken is gone.
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

-- What people and programs did. Each row holds the SHA-256 of the one before with itself.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT,
    credential TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id TEXT NOT NULL,
    account_id TEXT,
    outcome TEXT NOT NULL CHECK (outcome IN ('done', 'failed', 'denied')),
    details TEXT NOT NULL,
    previous BLOB NOT NULL CHECK (length(previous) = 32),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX audit_at ON audit (at);

-- The last row that retention has deleted: what the first one that is left follows.
CREATE TABLE audit_anchor (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO audit_anchor (only, seq, hash) VALUES (1, 0, zeroblob(32));

-- Also keeps a row from being replaced by an insert, which counts as no deletion.
CREATE TRIGGER audit_goes_on BEFORE INSERT ON audit
WHEN NEW.seq <> 1 + coalesce((SELECT max(seq) FROM audit), (SELECT seq FROM audit_anchor))
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
WHEN OLD.seq > (SELECT seq FROM audit_anchor)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

-- Retention goes on from the oldest end, and never as far as the last day.
CREATE TRIGGER audit_anchor_goes_on BEFORE UPDATE ON audit_anchor
WHEN NEW.seq <= OLD.seq OR NEW.hash IS NOT (SELECT hash FROM audit WHERE seq = NEW.seq)
     OR EXISTS (SELECT 1 FROM audit WHERE seq <= NEW.seq AND at > (unixepoch() - 86400) * 1000)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_anchor_is_kept BEFORE DELETE ON audit_anchor
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_anchor_is_one BEFORE INSERT ON audit_anchor
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER events_are_append_only BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;
"""

# Text is compared byte by byte, as SQLite does, whatever language the database was made for.
POSTGRES = """
CREATE FUNCTION flowrunner_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = 'integrity_constraint_violation';
END $$;

-- Which process may write executions. Whoever claims it raises the epoch.
CREATE TABLE engine (
    "only" bigint PRIMARY KEY CHECK ("only" = 1),
    epoch bigint NOT NULL,
    -- The earliest schema whose programs can go on with this database. A migration that only adds leaves it as it is.
    compatible_with text COLLATE "C" NOT NULL DEFAULT '0001'
);
INSERT INTO engine ("only", epoch) VALUES (1, 0);

-- Whoever writes holds a lock to the end of the transaction: for most, no one writes beside them; what only moves
-- executions on may be written by several at once. Both give the epoch as it is when they have the lock.
CREATE FUNCTION flowrunner_write_alone() RETURNS bigint LANGUAGE plpgsql AS $$
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

-- Bytes that an account keeps here: the events of its executions, its flows with their definitions, and its
-- sealed secrets. Whatever changes one of these changes the sum, in the same transaction: see the triggers.
CREATE TABLE usage (
    workspace_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    -- Where several processes write, each changes a part of its own. A part alone may be below zero.
    part bigint NOT NULL DEFAULT 0,
    stored bigint NOT NULL,
    PRIMARY KEY (workspace_id, part)
);

CREATE FUNCTION flowrunner_usage_begins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage (workspace_id, stored) VALUES (NEW.id, 0);
    RETURN NULL;
END $$;
CREATE TRIGGER usage_begins AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION flowrunner_usage_begins();

CREATE FUNCTION flowrunner_use(whose text, bytes bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF bytes <> 0 THEN
        INSERT INTO usage (workspace_id, part, stored) VALUES (whose, mod(pg_backend_pid(), 16), bytes)
        ON CONFLICT (workspace_id, part) DO UPDATE SET stored = usage.stored + excluded.stored;
    END IF;
END $$;

CREATE TABLE sessions (
    id text COLLATE "C" PRIMARY KEY,
    -- The login it goes back to: a refresh replaces a session by another of the same family.
    family text COLLATE "C" NOT NULL,
    account_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    expires_at bigint NOT NULL,
    -- What its token says. The row is kept until then, so that a token which comes back is known again.
    token_expires_at bigint NOT NULL,
    -- When the password was checked; a refresh keeps it.
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
    -- SHA-256. The token itself is long and random, so nothing slower is needed.
    digest text COLLATE "C" NOT NULL UNIQUE,
    scopes text NOT NULL CHECK (json_typeof(scopes::json) = 'array'),
    created_at bigint NOT NULL,
    expires_at bigint,
    last_used_at bigint
);
CREATE INDEX api_tokens_account ON api_tokens (account_id, id);
CREATE INDEX api_tokens_expiry ON api_tokens (expires_at) WHERE expires_at IS NOT NULL;

-- Rotations of keys, each until nothing needs the earlier key any more.
CREATE TABLE key_rotations (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('master', 'data', 'signing')),
    -- Which key of a file is replaced; a data key is in no file.
    replaces text COLLATE "C",
    -- What replaces it, once that is made, and since when every process is to use it.
    replaced_by text COLLATE "C",
    switched_at bigint,
    requested_at bigint NOT NULL,
    -- Until when tokens may come that were signed with the earlier key.
    needed_until bigint,
    completed_at bigint,
    CHECK ((kind = 'data') = (replaces IS NULL)),
    CHECK (switched_at IS NULL OR replaced_by IS NOT NULL)
);
CREATE UNIQUE INDEX key_rotations_open ON key_rotations (kind, coalesce(replaces, ''))
    WHERE completed_at IS NULL;

CREATE TABLE data_keys (
    workspace_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    version bigint NOT NULL,
    master_key_id text COLLATE "C" NOT NULL,
    wrapped bytea NOT NULL,
    -- The latest rotation of data keys when this one was made; 0 before the first.
    rotation bigint NOT NULL,
    PRIMARY KEY (workspace_id, version)
);
CREATE INDEX data_keys_rotation ON data_keys (rotation);
CREATE INDEX data_keys_master ON data_keys (master_key_id);

CREATE TABLE secrets (
    workspace_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    key text COLLATE "C" NOT NULL,
    key_version bigint NOT NULL,
    sealed bytea NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (workspace_id, key),
    -- No secret without the key that opens it, whoever rotates keys meanwhile.
    FOREIGN KEY (workspace_id, key_version) REFERENCES data_keys (workspace_id, version)
);

CREATE FUNCTION flowrunner_secrets_are_used() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        PERFORM flowrunner_use(NEW.workspace_id, length(NEW.sealed));
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM flowrunner_use(OLD.workspace_id, -length(OLD.sealed));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER secrets_are_used AFTER INSERT OR UPDATE OF sealed OR DELETE ON secrets FOR EACH ROW
EXECUTE FUNCTION flowrunner_secrets_are_used();

CREATE TABLE flows (
    id text COLLATE "C" PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    name text NOT NULL,
    description text NOT NULL,
    version text NOT NULL,
    tags text NOT NULL CHECK (json_typeof(tags::json) = 'array'),
    revision_id text COLLATE "C" NOT NULL,
    -- Raised by every change, also of the name alone, so that nobody changes what they have not seen.
    edition bigint NOT NULL DEFAULT 1,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    deleted_at bigint,
    -- Bytes of what its author writes, but for the definition.
    size bigint GENERATED ALWAYS AS (octet_length(name) + octet_length(description) + octet_length(tags)) STORED
);
CREATE INDEX flows_account ON flows (workspace_id, id) WHERE deleted_at IS NULL;
CREATE INDEX flows_deleted ON flows (id) WHERE deleted_at IS NOT NULL;

CREATE FUNCTION flowrunner_flows_are_used() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        PERFORM flowrunner_use(NEW.workspace_id, NEW.size);
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM flowrunner_use(OLD.workspace_id, -OLD.size);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER flows_are_used AFTER INSERT OR UPDATE OR DELETE ON flows FOR EACH ROW
EXECUTE FUNCTION flowrunner_flows_are_used();

CREATE TABLE revisions (
    id text COLLATE "C" PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL,
    flow_id text COLLATE "C" NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    version text NOT NULL,
    -- Bytes of the definition.
    size bigint NOT NULL,
    created_at bigint NOT NULL,
    -- A deleted one keeps its number, which executions show and no other may get.
    deleted_at bigint,
    definition text,
    UNIQUE (flow_id, number),
    CHECK ((definition IS NULL) = (deleted_at IS NOT NULL))
);
CREATE INDEX revisions_deleted ON revisions (id) WHERE deleted_at IS NOT NULL;

-- A deleted one is emptied, and takes nothing any more.
CREATE FUNCTION flowrunner_revisions_are_used() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' AND NEW.deleted_at IS NULL THEN
        PERFORM flowrunner_use(NEW.workspace_id, NEW.size);
    END IF;
    IF TG_OP <> 'INSERT' AND OLD.deleted_at IS NULL THEN
        PERFORM flowrunner_use(OLD.workspace_id, -OLD.size);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER revisions_are_used AFTER INSERT OR UPDATE OF deleted_at OR DELETE ON revisions FOR EACH ROW
EXECUTE FUNCTION flowrunner_revisions_are_used();

CREATE TABLE executions (
    id text COLLATE "C" PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL,
    flow_id text COLLATE "C" NOT NULL,
    revision_id text COLLATE "C" NOT NULL,
    status text NOT NULL CHECK (status IN ('running', 'waiting', 'completed', 'failed', 'cancelled')),
    started_at bigint NOT NULL,
    completed_at bigint,
    error text,
    -- Whether nothing goes on in it before its time to wake, or before something comes from outside.
    rests boolean NOT NULL DEFAULT false,
    wake_at bigint,
    -- What it waits for, as JSON.
    waiting_for text,
    epoch bigint NOT NULL,
    last_seq bigint NOT NULL,
    -- Bytes of its events.
    size bigint NOT NULL DEFAULT 0,
    idempotency_key text COLLATE "C",
    request_digest text COLLATE "C",
    -- The execution that waits for its end.
    parent_id text COLLATE "C",
    rerun_of text COLLATE "C",
    -- What it shares a limit with, how many of them may be under way, and which of those that have not ended it is, in
    -- the order in which they came: their ids follow the clocks of servers.
    concurrency_key text COLLATE "C",
    concurrency_limit bigint,
    queue_position bigint,
    is_queued boolean NOT NULL DEFAULT false,
    -- Where several processes advance executions: whether its account has room for it in their memory, and since when
    -- it waits for that, or for a process to take it up.
    is_active boolean NOT NULL DEFAULT false,
    queued_at bigint,
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)),
    CHECK ((status = 'failed') = (error IS NOT NULL)),
    CHECK (status <> 'waiting' OR rests),
    CHECK (NOT rests OR completed_at IS NULL),
    CHECK (wake_at IS NULL OR rests),
    CHECK (waiting_for IS NULL OR completed_at IS NULL)
-- A row is changed some times, and has a place for that beside it: most changes then concern no index.
) WITH (fillfactor = 70);
CREATE INDEX executions_account ON executions (workspace_id, id);
CREATE INDEX executions_flow ON executions (workspace_id, flow_id, id);
-- The revision as well, to see whether one is still needed.
CREATE INDEX executions_open ON executions (status, rests, id, revision_id) WHERE status IN ('running', 'waiting');
CREATE INDEX executions_parent ON executions (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX executions_concurrency ON executions (concurrency_key, is_queued, queue_position)
    WHERE concurrency_key IS NOT NULL AND completed_at IS NULL;
CREATE INDEX executions_queued ON executions (workspace_id) WHERE is_queued AND completed_at IS NULL;
CREATE INDEX executions_active ON executions (workspace_id) WHERE is_active AND completed_at IS NULL;
CREATE INDEX executions_waiting_for_room ON executions (workspace_id, queued_at, id)
    WHERE queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL;
CREATE INDEX executions_wake ON executions (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX executions_ended ON executions (completed_at) WHERE completed_at IS NOT NULL;
CREATE UNIQUE INDEX executions_request ON executions (workspace_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TRIGGER executions_final BEFORE UPDATE ON executions FOR EACH ROW
WHEN (OLD.status IN ('completed', 'failed', 'cancelled'))
EXECUTE FUNCTION flowrunner_refuse('the execution has ended');

-- One change of a sum for all rows of a statement: many executions grow in one. Processes that share a part lock the
-- sums in one order.
CREATE FUNCTION flowrunner_executions_are_used() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_use(workspace_id, bytes)
       FROM (SELECT workspace_id, sum(size)::bigint AS bytes FROM added
              GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE FUNCTION flowrunner_executions_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_use(workspace_id, bytes)
       FROM (SELECT workspace_id, sum(size)::bigint AS bytes
               FROM (SELECT workspace_id, size FROM added UNION ALL SELECT workspace_id, -size FROM gone) AS changes
              GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE FUNCTION flowrunner_executions_are_freed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM flowrunner_use(workspace_id, bytes)
       FROM (SELECT workspace_id, -sum(size)::bigint AS bytes FROM gone
              GROUP BY workspace_id ORDER BY workspace_id) AS sums;
    RETURN NULL;
END $$;
CREATE TRIGGER executions_are_used AFTER INSERT ON executions REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_executions_are_used();
CREATE TRIGGER executions_grow AFTER UPDATE ON executions REFERENCING NEW TABLE AS added OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_executions_grow();
CREATE TRIGGER executions_are_freed AFTER DELETE ON executions REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_executions_are_freed();

CREATE TABLE events (
    execution_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    at bigint NOT NULL,
    type text NOT NULL,
    data text NOT NULL,
    PRIMARY KEY (execution_id, seq)
);

-- The summary is moved on first, so an event beyond it belongs to no legal append. Since an ended
-- execution's summary never moves, no event can follow its last one.
CREATE FUNCTION flowrunner_follow_the_summary() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM added LEFT JOIN executions ON executions.id = added.execution_id
                WHERE added.seq > coalesce(executions.last_seq, 0)) THEN
        RAISE EXCEPTION 'an event beyond its execution' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER events_follow_the_summary AFTER INSERT ON events REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION flowrunner_follow_the_summary();

CREATE TRIGGER events_are_append_only BEFORE UPDATE ON events FOR EACH ROW
EXECUTE FUNCTION flowrunner_refuse('events are append-only');

-- What executions are told by processes that do not have them in memory. One that was taken is gone.
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

-- What people and programs did. Each row holds the SHA-256 of the one before with itself.
CREATE TABLE audit (
    seq bigint PRIMARY KEY,
    at bigint NOT NULL,
    actor text COLLATE "C",
    credential text NOT NULL,
    address text NOT NULL,
    action text NOT NULL,
    object_kind text NOT NULL,
    object_id text NOT NULL,
    account_id text COLLATE "C",
    outcome text NOT NULL CHECK (outcome IN ('done', 'failed', 'denied')),
    details text NOT NULL,
    previous bytea NOT NULL CHECK (length(previous) = 32),
    hash bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX audit_at ON audit (at);

-- The last row that retention has deleted: what the first one that is left follows.
CREATE TABLE audit_anchor (
    "only" bigint PRIMARY KEY CHECK ("only" = 1),
    seq bigint NOT NULL,
    hash bytea NOT NULL
);
INSERT INTO audit_anchor ("only", seq, hash) VALUES (1, 0, decode(repeat('00', 32), 'hex'));

CREATE FUNCTION flowrunner_audit_goes_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seq <> 1 + coalesce((SELECT max(seq) FROM audit), (SELECT seq FROM audit_anchor)) THEN
        RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_goes_on BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION flowrunner_audit_goes_on();

CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit FOR EACH ROW
EXECUTE FUNCTION flowrunner_refuse('the audit log is append-only');

CREATE FUNCTION flowrunner_audit_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.seq > (SELECT seq FROM audit_anchor) THEN
        RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION flowrunner_audit_is_kept();

-- Retention goes on from the oldest end, and never as far as the last day.
CREATE FUNCTION flowrunner_audit_anchor_goes_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seq <= OLD.seq OR NEW.hash IS DISTINCT FROM (SELECT hash FROM audit WHERE seq = NEW.seq)
       OR EXISTS (SELECT 1 FROM audit WHERE seq <= NEW.seq AND at > (extract(epoch FROM now()) - 86400) * 1000) THEN
        RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_anchor_goes_on BEFORE UPDATE ON audit_anchor FOR EACH ROW
EXECUTE FUNCTION flowrunner_audit_anchor_goes_on();

CREATE TRIGGER audit_anchor_is_kept BEFORE DELETE ON audit_anchor FOR EACH ROW
EXECUTE FUNCTION flowrunner_refuse('the audit log is append-only');

CREATE TRIGGER audit_anchor_is_one BEFORE INSERT ON audit_anchor FOR EACH ROW
EXECUTE FUNCTION flowrunner_refuse('the audit log is append-only');

-- To empty a table is no deletion of its rows, as triggers go.
CREATE TRIGGER events_are_not_emptied BEFORE TRUNCATE ON events
EXECUTE FUNCTION flowrunner_refuse('events are append-only');
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit
EXECUTE FUNCTION flowrunner_refuse('the audit log is append-only');
CREATE TRIGGER audit_anchor_is_not_emptied BEFORE TRUNCATE ON audit_anchor
EXECUTE FUNCTION flowrunner_refuse('the audit log is append-only');
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in _statements(SQLITE):
        connection.exec_driver_sql(statement)


def _statements(script: str) -> list[str]:
    """The statements of a script; the ones inside a trigger's body stay together."""
    import sqlite3

    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending) and pending.strip():
            statements.append(pending)
            pending = ""
    return statements
