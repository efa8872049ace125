"""Rotations of keys in the database."""

from datetime import timedelta

import pytest

from flowrunner.domain.values import AccountId
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.database import Database
from flowrunner.storage.keys import SqlKeyRotations
from flowrunner.storage.sessions import SqlSessions
from support.databases import MARA, NOON, OMAR

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


async def test_the_first_process_decides_by_which_key_another_one_is_replaced(
    database: Database, accounts: SqlAccounts
) -> None:
    rotations = SqlKeyRotations(database)
    rotation, _ = await rotations.request("signing", replaces="k", at=NOON)

    assert [await rotations.replace_by(rotation.id, key) for key in ("first", "second")] == ["first", "first"]

    assert [found.replaced_by for found in await rotations.replacements()] == ["first"]
