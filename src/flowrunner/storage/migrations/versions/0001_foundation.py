"""Accounts, sessions, secrets, flows, executions and their events."""

from alembic import op

revision = "0001"
down_revision = None

# Times are whole milliseconds since 1970, UTC.
SQLITE = """
-- Which process may write executions. Whoever claims it raises the epoch.
CREATE TABLE engine (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    epoch INTEGER NOT NULL
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
    account_id TEXT PRIMARY KEY REFERENCES accounts (id),
    stored INTEGER NOT NULL CHECK (stored >= 0)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER usage_begins AFTER INSERT ON accounts
BEGIN
    INSERT INTO usage (account_id, stored) VALUES (NEW.id, 0);
END;

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    -- The login it goes back to: a refresh replaces a session by another of the same family.
    family TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    expires_at INTEGER NOT NULL,
    -- What its token says. The row is kept until then, so that a token which comes back is known again.
    token_expires_at INTEGER NOT NULL,
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
    requested_at INTEGER NOT NULL,
    -- Until when tokens may come that were signed with the earlier key.
    needed_until INTEGER,
    completed_at INTEGER,
    CHECK ((kind = 'data') = (replaces IS NULL))
) STRICT;
CREATE UNIQUE INDEX key_rotations_open ON key_rotations (kind, coalesce(replaces, ''))
    WHERE completed_at IS NULL;

CREATE TABLE data_keys (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    version INTEGER NOT NULL,
    master_key_id TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    -- The latest rotation of data keys when this one was made; 0 before the first.
    rotation INTEGER NOT NULL,
    PRIMARY KEY (account_id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX data_keys_rotation ON data_keys (rotation);
CREATE INDEX data_keys_master ON data_keys (master_key_id);

CREATE TABLE secrets (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    key TEXT NOT NULL,
    key_version INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, key),
    -- No secret without the key that opens it, whoever rotates keys meanwhile.
    FOREIGN KEY (account_id, key_version) REFERENCES data_keys (account_id, version)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER secrets_are_used AFTER INSERT ON secrets
BEGIN
    UPDATE usage SET stored = stored + length(NEW.sealed) WHERE account_id = NEW.account_id;
END;
CREATE TRIGGER secrets_are_replaced AFTER UPDATE OF sealed ON secrets
BEGIN
    UPDATE usage SET stored = stored + length(NEW.sealed) - length(OLD.sealed) WHERE account_id = NEW.account_id;
END;
CREATE TRIGGER secrets_are_freed AFTER DELETE ON secrets
BEGIN
    UPDATE usage SET stored = stored - length(OLD.sealed) WHERE account_id = OLD.account_id;
END;

CREATE TABLE flows (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
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
CREATE INDEX flows_account ON flows (account_id, id) WHERE deleted_at IS NULL;
CREATE INDEX flows_deleted ON flows (id) WHERE deleted_at IS NOT NULL;

CREATE TRIGGER flows_are_used AFTER INSERT ON flows
BEGIN
    UPDATE usage SET stored = stored + NEW.size WHERE account_id = NEW.account_id;
END;
CREATE TRIGGER flows_are_changed AFTER UPDATE OF name, description, tags ON flows
BEGIN
    UPDATE usage SET stored = stored + NEW.size - OLD.size WHERE account_id = NEW.account_id;
END;
CREATE TRIGGER flows_are_freed AFTER DELETE ON flows
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE account_id = OLD.account_id;
END;

CREATE TABLE revisions (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL,
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
    UPDATE usage SET stored = stored + NEW.size WHERE account_id = NEW.account_id;
END;
CREATE TRIGGER revisions_are_emptied AFTER UPDATE OF deleted_at ON revisions
WHEN OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE account_id = OLD.account_id;
END;
CREATE TRIGGER revisions_are_freed AFTER DELETE ON revisions WHEN OLD.deleted_at IS NULL
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE account_id = OLD.account_id;
END;

CREATE TABLE executions (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL,
    flow_id TEXT NOT NULL,
    revision_id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'waiting', 'completed', 'failed', 'cancelled')),
    started_at INTEGER NOT NULL,
    completed_at INTEGER,
    error TEXT,
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
    -- What it shares a limit with, and how many of them may be under way.
    turn_key TEXT,
    turn_most INTEGER,
    is_queued INTEGER NOT NULL DEFAULT 0,
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)),
    CHECK ((status = 'failed') = (error IS NOT NULL)),
    CHECK (wake_at IS NULL OR status = 'waiting'),
    CHECK (waiting_for IS NULL OR status = 'waiting')
) STRICT, WITHOUT ROWID;
CREATE INDEX executions_account ON executions (account_id, id);
CREATE INDEX executions_flow ON executions (account_id, flow_id, id);
-- The revision as well, to see whether one is still needed.
CREATE INDEX executions_open ON executions (status, id, revision_id) WHERE status IN ('running', 'waiting');
CREATE INDEX executions_parent ON executions (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX executions_turn ON executions (turn_key, is_queued, id)
    WHERE turn_key IS NOT NULL AND completed_at IS NULL;
CREATE INDEX executions_queued ON executions (account_id) WHERE is_queued AND completed_at IS NULL;
CREATE INDEX executions_wake ON executions (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX executions_ended ON executions (completed_at) WHERE completed_at IS NOT NULL;
CREATE UNIQUE INDEX executions_request ON executions (account_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TRIGGER executions_final BEFORE UPDATE ON executions
WHEN OLD.status IN ('completed', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'the execution has ended');
END;

CREATE TRIGGER executions_are_used AFTER INSERT ON executions
BEGIN
    UPDATE usage SET stored = stored + NEW.size WHERE account_id = NEW.account_id;
END;
CREATE TRIGGER executions_grow AFTER UPDATE OF size ON executions
BEGIN
    UPDATE usage SET stored = stored + NEW.size - OLD.size WHERE account_id = NEW.account_id;
END;
CREATE TRIGGER executions_are_freed AFTER DELETE ON executions
BEGIN
    UPDATE usage SET stored = stored - OLD.size WHERE account_id = OLD.account_id;
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
CREATE TABLE letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    posted_at INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('signal', 'cancel')),
    content TEXT NOT NULL,
    is_refused INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX letters_execution ON letters (execution_id);
CREATE INDEX letters_posted ON letters (posted_at) WHERE NOT is_refused;

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


def upgrade() -> None:
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
