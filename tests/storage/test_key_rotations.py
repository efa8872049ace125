"""Rotations of keys in the database."""

from datetime import timedelta

import pytest

from flowrunner.domain.values import AccountId
from flowrunner.ports.keys import KeyKind, KeyRotation
from flowrunner.services.keys import KeyRotations
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.database import Database
from flowrunner.storage.keys import SqlKeyRotations
from flowrunner.storage.rows import to_ms
from flowrunner.storage.sessions import SqlSessions
from support.databases import MARA, NOON, OMAR
from support.dependencies import SteppingClock

from .samples import log_in, session

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(("lives", "until"), [((), 2), ((1,), 2), ((1, 5), 5), ((5, 1), 5)])
async def test_s24_a_replaced_signing_key_is_kept_until_the_last_token_has_expired(
    database: Database, accounts: SqlAccounts, lives: tuple[int, ...], until: int
) -> None:
    sessions, rotations = SqlSessions(database), SqlKeyRotations(database)
    for owner, hours in zip((MARA, OMAR), lives, strict=False):
        await log_in(sessions, session(f"s-{hours}", AccountId(owner), seconds=hours * HOUR.total_seconds()))
    rotation, is_new = await rotations.request("signing", replaces="k", at=NOON)

    assert is_new
    assert await rotations.keep_until(rotation.id, NOON + 2 * HOUR) == NOON + until * HOUR
    (found,) = await rotations.under_way()
    assert found.needed_until == NOON + until * HOUR


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO invitations (id, workspace_id, email, role, digest, invited_by, created_at, expires_at)"
        " VALUES ('invitation-1', :mara, 'kim@example.com', 'viewer', 'd', :mara, 0, :at)",
        "INSERT INTO password_resets (digest, account_id, created_at, expires_at) VALUES ('d', :mara, 0, :at)",
        "UPDATE accounts SET confirmation_digest = 'd', confirmation_expires_at = :at WHERE id = :mara",
    ],
    ids=["invitation", "password reset", "confirmation"],
)
async def test_a_replaced_signing_key_is_kept_until_the_last_link_in_an_e_mail_has_expired(
    database: Database, accounts: SqlAccounts, statement: str
) -> None:
    rotations, expires_at = SqlKeyRotations(database), NOON + 168 * HOUR
    await database.write(lambda tx: tx.run(statement, {"mara": MARA, "at": to_ms(expires_at)}))
    rotation, _ = await rotations.request("signing", replaces="k", at=NOON)

    assert await rotations.keep_until(rotation.id, NOON + 2 * HOUR) == expires_at


class Slow:
    """A rotator of keys that other processes have yet to load. Implements `ports.KeyRotator`."""

    is_waiting = False

    def present(self, kind: KeyKind) -> str | None:
        return "k"

    async def advance(self, rotation: KeyRotation) -> bool:
        self.is_waiting = True
        return False

    async def follow(self) -> None: ...


async def test_a_rotation_is_due_at_once_and_while_others_follow_every_few_seconds(
    database: Database, accounts: SqlAccounts
) -> None:
    clock = SteppingClock(NOON)
    keys = KeyRotations(SqlKeyRotations(database), Slow(), clock)

    async def seconds_left() -> int:
        # The clock steps by a millisecond each time.
        return round((await keys.next_due() - clock.now()).total_seconds())

    await keys.advance()
    assert await seconds_left() == 60

    await keys.request(None, ["signing"])

    assert keys.requested.is_set()
    assert await seconds_left() == 0
    keys.requested.clear()
    await keys.advance()
    assert await seconds_left() == 2


async def test_the_first_process_decides_by_which_key_another_one_is_replaced(
    database: Database, accounts: SqlAccounts
) -> None:
    rotations = SqlKeyRotations(database)
    rotation, _ = await rotations.request("signing", replaces="k", at=NOON)

    assert [await rotations.replace_by(rotation.id, key) for key in ("first", "second")] == ["first", "first"]

    assert [found.replaced_by for found in await rotations.replacements()] == ["first"]
