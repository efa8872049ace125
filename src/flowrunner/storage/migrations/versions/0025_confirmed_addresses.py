"""Whether the owner of an account has shown that its e-mail address is theirs."""

from alembic import op

revision = "0025"
down_revision = "0024"

# Of the newest link that confirms the address, the SHA-256 digest of its token is stored.
# An account that a provider's login has made, and that nobody has changed since, has the address that the provider has
# verified. Of every other address nothing is known: an earlier version did not record whether a link was mailed.
POSTGRES = (
    "ALTER TABLE accounts ADD COLUMN email_confirmed_at BIGINT",
    "ALTER TABLE accounts ADD COLUMN confirmation_digest TEXT",
    "ALTER TABLE accounts ADD COLUMN confirmation_expires_at BIGINT",
    "UPDATE accounts SET email_confirmed_at = created_at"
    " WHERE password_hash = '!' AND updated_at = created_at AND deleted_at IS NULL",
)
SQLITE = tuple(statement.replace("BIGINT", "INTEGER") for statement in POSTGRES)


def upgrade() -> None:
    for statement in POSTGRES if op.get_context().dialect.name == "postgresql" else SQLITE:
        op.execute(statement)
