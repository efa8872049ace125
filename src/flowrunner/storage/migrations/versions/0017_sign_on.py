"""Second factors of logins, and the accounts of OpenID Connect providers that accounts are linked to."""

from alembic import op

revision = "0017"
down_revision = "0016"

# Times are milliseconds since 1970; null where there is none.
SQLITE = (
    # What a login has shown: null is a password alone.
    "ALTER TABLE sessions ADD COLUMN proof TEXT CHECK (proof IN ('second_factor', 'provider'))",
    "ALTER TABLE workspaces ADD COLUMN second_factor_required_at INTEGER",
    """
CREATE TABLE second_factors (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    type TEXT NOT NULL CHECK (type IN ('totp', 'passkey')),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    -- Until the first right code, a factor is not asked for.
    confirmed_at INTEGER,
    last_used_at INTEGER,
    -- The last time step whose code was accepted, or the last count of signatures: a code counts once.
    counter INTEGER NOT NULL DEFAULT 0,
    credential_id TEXT UNIQUE,
    key_version INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX second_factors_account ON second_factors (account_id, id)",
    """
CREATE TABLE recovery_codes (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    digest TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, digest)
) STRICT, WITHOUT ROWID
""",
    """
CREATE TABLE wrong_codes (
    account_id TEXT PRIMARY KEY REFERENCES accounts (id),
    -- Since the last right one.
    number INTEGER NOT NULL,
    not_before INTEGER NOT NULL
) STRICT, WITHOUT ROWID
""",
    """
CREATE TABLE login_challenges (
    digest TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    purpose TEXT NOT NULL CHECK (purpose IN ('login', 'passkey', 'sign_on')),
    attempts INTEGER NOT NULL DEFAULT 0,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX login_challenges_account ON login_challenges (account_id)",
    """
CREATE TABLE identities (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    provider TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER,
    UNIQUE (issuer, subject)
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX identities_account ON identities (account_id, id)",
)
POSTGRES = """
ALTER TABLE sessions ADD COLUMN proof text COLLATE "C" CHECK (proof IN ('second_factor', 'provider'));
ALTER TABLE workspaces ADD COLUMN second_factor_required_at bigint;
CREATE TABLE second_factors (
    id text COLLATE "C" PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    type text COLLATE "C" NOT NULL CHECK (type IN ('totp', 'passkey')),
    name text NOT NULL,
    created_at bigint NOT NULL,
    confirmed_at bigint,
    last_used_at bigint,
    counter bigint NOT NULL DEFAULT 0,
    credential_id text COLLATE "C" UNIQUE,
    key_version bigint NOT NULL,
    sealed bytea NOT NULL
);
CREATE INDEX second_factors_account ON second_factors (account_id, id);
CREATE TABLE recovery_codes (
    account_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    digest text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (account_id, digest)
);
CREATE TABLE wrong_codes (
    account_id text COLLATE "C" PRIMARY KEY REFERENCES accounts (id),
    number bigint NOT NULL,
    not_before bigint NOT NULL
);
CREATE TABLE login_challenges (
    digest text COLLATE "C" PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    purpose text COLLATE "C" NOT NULL CHECK (purpose IN ('login', 'passkey', 'sign_on')),
    attempts bigint NOT NULL DEFAULT 0,
    expires_at bigint NOT NULL
);
CREATE INDEX login_challenges_account ON login_challenges (account_id);
CREATE TABLE identities (
    id text COLLATE "C" PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL REFERENCES accounts (id),
    provider text NOT NULL,
    issuer text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    last_used_at bigint,
    UNIQUE (issuer, subject)
);
CREATE INDEX identities_account ON identities (account_id, id);
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRES)
        return
    connection = op.get_bind()
    for statement in SQLITE:
        connection.exec_driver_sql(statement)
