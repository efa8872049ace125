"""Sample sessions, sealed secrets and flows for the stores."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from flowrunner.domain.account import Role
from flowrunner.domain.values import AccountId, FlowId, RevisionId, SessionId
from flowrunner.ports.flows import SavedFlow
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import Seal, SealedSecret, WrappedKey
from flowrunner.ports.sessions import NewSession
from flowrunner.storage.sessions import SqlSessions
from support.databases import MARA_ACCOUNT, NOON, Place, change


def session(id: str, account_id: AccountId = MARA_ACCOUNT, *, seconds: float = 3600) -> NewSession:
    role: Role = "admin" if account_id == MARA_ACCOUNT else "user"
    return NewSession(id=SessionId(id), account_id=account_id, role=role, expires_at=NOON + timedelta(seconds=seconds))


async def log_in(sessions: SqlSessions, session: NewSession) -> bool:
    return await sessions.open(session, at=NOON, password_hash=session.account_id.replace("account-", "hash-"))


ALL: Final = Page(limit=1000, offset=0)
FIRST_KEY: Final = WrappedKey(version=1, master_key_id="m", wrapped=b"w")


def sealing(sealed: bytes, key: str = "K") -> Seal:
    """Return a function that seals under the newest data key, or creates the first one."""

    def seal(newest: WrappedKey | None) -> tuple[SealedSecret, WrappedKey]:
        data_key = newest or FIRST_KEY
        return SealedSecret(key=key, key_version=data_key.version, sealed=sealed), data_key

    return seal


def flow(
    id: str = "flow-1", *, revision: str = "rev-1", definition: str = "nodes: …", tags: Sequence[str] = ("x",)
) -> SavedFlow:
    return SavedFlow(
        id=FlowId(id),
        name="é 'n'",
        description="d",
        version="1",
        tags=list(tags),
        created_at=NOON,
        updated_at=NOON,
        definition=definition,
        revision_id=RevisionId(revision),
        saved_by=MARA_ACCOUNT,
    )


OF_IDENTITY: Final = (
    "INSERT INTO invitations (id, workspace_id, email, role, digest, invited_by, created_at, expires_at)"
    " VALUES ('invitation-1', ?, 'kim@example.com', 'viewer', 'd', ?, 0, 1)",
    "INSERT INTO password_resets (digest, account_id, created_at, expires_at) VALUES ('d', ?, 0, 1)",
    "INSERT INTO outgoing_mails (id, account_id, recipient, subject, text, created_at, expires_at, failures, next_at)"
    " VALUES ('mail-1', ?, 'a@example.com', 'S', 'T', 0, 9, 1, 5)",
    "INSERT INTO second_factors (id, account_id, type, name, created_at, key_version, sealed)"
    " VALUES ('factor-1', ?, 'totp', 'N', 0, 1, CAST('s' AS {bytes}))",
    "INSERT INTO recovery_codes (account_id, digest, created_at) VALUES (?, 'd', 0)",
    "INSERT INTO wrong_codes (account_id, number, not_before) VALUES (?, 1, 0)",
    "INSERT INTO login_challenges (digest, account_id, purpose, expires_at) VALUES ('d', ?, 'login', 1)",
    "INSERT INTO identities (id, account_id, provider, issuer, subject, created_at)"
    " VALUES ('identity-1', ?, 'p', 'https://example.com', 's', 0)",
)


def add_rows_of_identity(place: Place, id: str) -> None:
    """Add a row to each table of invitations, new passwords, second factors and single sign-on, for an account."""
    bytes_type = "bytea" if isinstance(place, str) else "blob"
    for statement in OF_IDENTITY:
        change(place, statement.replace("{bytes}", bytes_type), *[id] * statement.count("?"))
