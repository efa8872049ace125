"""Purges in portions: other writes wait for a commit that deletes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import pytest

from flowrunner.storage.database import Database
from flowrunner.storage.invitations import SqlInvitations
from flowrunner.storage.outgoing_mails import SqlOutgoingMails
from flowrunner.storage.password_resets import SqlPasswordResets
from flowrunner.storage.rows import to_ms
from flowrunner.storage.tokens import SqlTokens
from support.databases import MARA, NOON, Place, change, rows_of


@dataclass(frozen=True)
class Purge:
    """Rows that expire: how to add one, with its id, a text of its own and its end, and how to delete some."""

    table: str
    key: str
    add: str
    run: Callable[[Database], Awaitable[bool | int]]


PURGES: Final = (
    Purge(
        "api_tokens",
        "id",
        "INSERT INTO api_tokens (id, account_id, name, digest, scopes, created_at, expires_at)"
        f" VALUES (?, '{MARA}', 'N', ?, '[]', 0, ?)",
        lambda database: SqlTokens(database).purge(now=NOON, limit=2),
    ),
    Purge(
        "invitations",
        "id",
        "INSERT INTO invitations (id, workspace_id, email, role, digest, invited_by, created_at, expires_at)"
        f" SELECT i.id, '{MARA}', i.id, 'viewer', i.digest, '{MARA}', 0, i.at"
        "  FROM (SELECT CAST(? AS text) AS id, CAST(? AS text) AS digest, CAST(? AS bigint) AS at) AS i",
        lambda database: SqlInvitations(database).purge(now=NOON, limit=2),
    ),
    Purge(
        "password_resets",
        "digest",
        "INSERT INTO password_resets (digest, account_id, created_at, expires_at)"
        f" SELECT i.id, '{MARA}', 0, i.at"
        "  FROM (SELECT CAST(? AS text) AS id, CAST(? AS text) AS other, CAST(? AS bigint) AS at) AS i",
        lambda database: SqlPasswordResets(database).purge(now=NOON, limit=2),
    ),
    Purge(
        "outgoing_mails",
        "id",
        "INSERT INTO outgoing_mails (id, account_id, recipient, subject, text, created_at, expires_at, failures,"
        f" next_at) SELECT i.id, '{MARA}', i.recipient, 'S', 'T', 0, i.at, 0, 0"
        "  FROM (SELECT CAST(? AS text) AS id, CAST(? AS text) AS recipient, CAST(? AS bigint) AS at) AS i",
        lambda database: SqlOutgoingMails(database).purge(now=NOON, limit=2),
    ),
)


@pytest.mark.parametrize("purge", PURGES, ids=lambda purge: purge.table)
@pytest.mark.usefixtures("accounts")
async def test_what_has_expired_is_deleted_a_few_rows_in_a_commit(
    database: Database, path: Place, purge: Purge
) -> None:
    for n in range(5):
        change(path, purge.add, f"old-{n}", f"digest-{n}", to_ms(NOON) - 1)
    change(path, purge.add, "new", "digest-new", to_ms(NOON) + 1)

    left = []
    for _ in range(4):
        await purge.run(database)
        left.append(rows_of(path, f"SELECT count(*) FROM {purge.table}")[0][0])

    assert left == [4, 2, 1, 1]
    assert rows_of(path, f"SELECT {purge.key} FROM {purge.table}") == [("new",)]
