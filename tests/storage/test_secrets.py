"""Sealed secrets and their data keys in the database."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from flowrunner.domain.errors import NotFound
from flowrunner.domain.values import WorkspaceId
from flowrunner.ports.secrets import SealedSecret
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.database import Database
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.transaction import Refused
from support.databases import MARA, NOON, OMAR, OMAR_ACCOUNT, Place, change, completion, creation, rows_of

from .samples import FIRST_KEY, sealing


@pytest.fixture
def secrets(database: Database, accounts: SqlAccounts) -> SqlSecrets:
    return SqlSecrets(database)


async def test_a_secret_is_new_once_and_then_replaced(secrets: SqlSecrets) -> None:
    first, is_new = await secrets.save(MARA, sealing(b"1"), at=NOON)
    assert is_new
    later = NOON + timedelta(hours=1)

    second, is_new = await secrets.save(MARA, sealing(b"2"), at=later)

    assert not is_new
    assert (first.created_at, second.created_at, second.updated_at) == (NOON, NOON, later)
    assert await secrets.sealed(MARA) == [(SealedSecret(key="K", key_version=1, sealed=b"2"), FIRST_KEY)]
    assert await secrets.list(MARA) == [second]


async def test_a_secret_that_is_replaced_under_a_newer_data_key_opens_with_that(secrets: SqlSecrets) -> None:
    newer = replace(FIRST_KEY, version=2)
    await secrets.save(MARA, sealing(b"1"), at=NOON)

    await secrets.save(MARA, lambda _: (SealedSecret(key="K", key_version=2, sealed=b"2"), newer), at=NOON)

    assert await secrets.sealed(MARA) == [(SealedSecret(key="K", key_version=2, sealed=b"2"), newer)]


async def test_only_the_secrets_that_are_asked_for_are_read(secrets: SqlSecrets) -> None:
    for key in ("A", "B", "C"):
        await secrets.save(MARA, sealing(b"1", key), at=NOON)

    assert {secret.key for secret, _ in await secrets.sealed(MARA, {"A", "C", "X"})} == {"A", "C"}
    assert await secrets.sealed(MARA, ()) == []
    assert await secrets.sealed(OMAR, {"A"}) == []


async def test_secrets_belong_to_their_account(secrets: SqlSecrets) -> None:
    await secrets.save(MARA, sealing(b"1"), at=NOON)

    assert await secrets.list(OMAR) == []
    assert await secrets.sealed(OMAR) == []
    with pytest.raises(NotFound):
        await secrets.delete(OMAR, "K")
    await secrets.delete(MARA, "K")
    with pytest.raises(NotFound):
        await secrets.delete(MARA, "K")


async def test_an_account_has_one_data_key_however_many_secrets_are_saved_at_once(
    secrets: SqlSecrets, path: Place
) -> None:
    await asyncio.gather(*(secrets.save(MARA, sealing(bytes([n]), f"K{n}"), at=NOON) for n in range(5)))

    assert rows_of(path, "SELECT version, master_key_id, wrapped FROM data_keys") == [(1, "m", b"w")]
    assert await secrets.master_key_ids() == {"m"}


@pytest.mark.parametrize("id", ["nobody", OMAR])
async def test_no_secret_is_saved_for_an_account_that_is_not_there(
    secrets: SqlSecrets, accounts: SqlAccounts, path: Place, id: WorkspaceId
) -> None:
    await accounts.delete(OMAR_ACCOUNT, at=NOON)

    with pytest.raises(NotFound):
        await secrets.save(id, sealing(b"s"), at=NOON)
    assert rows_of(path, "SELECT count(*) FROM secrets") == [(0,)]
    assert await secrets.master_key_ids() == set()


async def test_no_secret_is_without_its_data_key(secrets: SqlSecrets, path: Place) -> None:
    await secrets.save(MARA, sealing(b"1"), at=NOON)

    with pytest.raises(Refused):
        change(path, "DELETE FROM data_keys")


async def test_an_account_has_open_executions_since_the_first_that_has_not_ended(
    database: Database, journal: SqlJournal
) -> None:
    secrets = SqlSecrets(database)
    assert await secrets.open_since(MARA) is None
    epoch = await journal.epoch()
    await journal.append(creation("exec-0", epoch=epoch, at=NOON, workspace_id=OMAR, flow_id="flow-omar"))
    for n in (1, 2, 3):
        await journal.append(creation(f"exec-{n}", epoch=epoch, at=NOON + timedelta(hours=n)))

    found = [await secrets.open_since(MARA)]
    for ended in ("exec-1", "exec-3", "exec-2"):
        await journal.append(completion(ended, epoch=epoch))
        found.append(await secrets.open_since(MARA))

    assert found == [NOON + timedelta(hours=1), NOON + timedelta(hours=2), NOON + timedelta(hours=2), None]
