"""Configuration values in the database."""

from datetime import timedelta
from typing import Any, Final, cast

import pytest

from flowrunner.domain.config import MAX_CHARACTERS, MAX_VALUES
from flowrunner.domain.errors import LimitReached, NotFound
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.ports.config import ConfigView
from flowrunner.ports.page import Page
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.config import SqlConfig
from flowrunner.storage.database import Database
from flowrunner.storage.journal import SqlJournal
from support.databases import MARA, NOON, OMAR, OMAR_ACCOUNT, Place, change, rows_of

STORED: Final = "SELECT sum(stored) FROM usage WHERE workspace_id = 'account-mara'"


def any_state(before: ConfigView | None) -> None:
    """Accept the stored value, whatever it is."""


@pytest.fixture
def config(database: Database, accounts: SqlAccounts) -> SqlConfig:
    return SqlConfig(database)


async def save(config: SqlConfig, name: str, value: JSON, workspace_id: WorkspaceId = MARA) -> ConfigView:
    saved, _ = await config.save(workspace_id, name, value, at=NOON, check=any_state)
    return saved


@pytest.mark.parametrize("value", ["text", "", 7, -1.5, True, [1, "ü\u0000\\"], {"a": {"b": None}}])
async def test_a_value_is_read_as_it_was_written(config: SqlConfig, value: JSON) -> None:
    saved = await save(config, "A", value)

    assert saved.value == value
    assert await config.get(MARA, "A") == saved
    assert await config.values(MARA, ["A", "B"]) == {"A": value}


async def test_nothing_is_read_for_a_flow_that_names_no_value() -> None:
    without_a_database = SqlConfig(cast("Database", None))

    assert await without_a_database.values(MARA, ()) == {}


async def test_a_value_is_new_once_and_then_replaced(config: SqlConfig) -> None:
    first, is_new = await config.save(MARA, "A", 1, at=NOON, check=any_state)
    assert is_new
    later = NOON + timedelta(hours=1)

    second, is_new = await config.save(MARA, "A", 2, at=later, check=any_state)

    assert not is_new
    assert (second.value, second.created_at, second.updated_at, second.edition) == (2, NOON, later, 2)
    assert first.state != second.state


async def test_a_value_that_is_created_again_at_the_same_time_has_another_state(config: SqlConfig) -> None:
    before = await save(config, "A", 1)
    await config.delete(MARA, "A", check=any_state)

    assert (await save(config, "A", 2)).state != before.state


async def test_the_check_sees_the_stored_value_and_decides(config: SqlConfig) -> None:
    seen: list[Any] = []

    def refuse(before: ConfigView | None) -> None:
        seen.append(None if before is None else before.value)
        raise KeyError

    with pytest.raises(KeyError):
        await config.save(MARA, "A", 1, at=NOON, check=refuse)
    await save(config, "A", 2)
    with pytest.raises(KeyError):
        await config.save(MARA, "A", 3, at=NOON, check=refuse)
    with pytest.raises(KeyError):
        await config.delete(MARA, "A", check=refuse)

    assert seen == [None, 2, 2]
    assert (await config.get(MARA, "A")).value == 2


async def test_values_belong_to_their_workspace(config: SqlConfig) -> None:
    await save(config, "A", 1)

    assert await config.values(OMAR, ["A"]) == {}
    assert await config.names(OMAR) == set()
    assert await config.page(OMAR, page=Page(limit=10)) == ([], 0)
    with pytest.raises(NotFound):
        await config.get(OMAR, "A")
    with pytest.raises(NotFound):
        await config.delete(OMAR, "A", check=any_state)
    assert await config.names(MARA) == {"A"}


async def test_a_page_is_sorted_by_name_and_tells_the_total(config: SqlConfig) -> None:
    for name in ("B", "C", "A"):
        await save(config, name, name)

    found, total = await config.page(MARA, page=Page(limit=2))

    assert ([one.name for one in found], total) == (["A", "B"], 3)


async def test_a_workspace_has_a_limited_number_of_values(config: SqlConfig) -> None:
    for number in range(MAX_VALUES):
        await save(config, f"A{number}", number)

    with pytest.raises(LimitReached):
        await save(config, "B", 1)
    assert (await save(config, "A0", "changed")).value == "changed"


async def test_the_values_of_a_workspace_are_limited_together(config: SqlConfig) -> None:
    half = "x" * (MAX_CHARACTERS // 2 - 2)
    await save(config, "A", half)
    await save(config, "B", half)

    with pytest.raises(LimitReached, match="65536 characters"):
        await save(config, "C", 1)
    with pytest.raises(LimitReached):
        await save(config, "A", half + "x")
    assert (await save(config, "A", half[:-1])).value == half[:-1]


async def test_values_count_as_stored(config: SqlConfig, path: Place) -> None:
    ((before,),) = rows_of(path, STORED)
    await save(config, "A", "é2345678")
    assert rows_of(path, STORED) == [(before + 11,)]
    await save(config, "A", "1234")
    assert rows_of(path, STORED) == [(before + 6,)]

    await config.delete(MARA, "A", check=any_state)

    assert rows_of(path, STORED) == [(before,)]


@pytest.mark.parametrize("id", ["nobody", OMAR])
async def test_no_value_is_saved_in_a_workspace_that_is_not_there(
    config: SqlConfig, accounts: SqlAccounts, path: Place, id: WorkspaceId
) -> None:
    await save(config, "A", 1, OMAR)
    await accounts.delete(OMAR_ACCOUNT, at=NOON)

    with pytest.raises(NotFound):
        await save(config, "A", 1, id)
    assert rows_of(path, "SELECT count(*) FROM config_values") == [(0,)]


async def test_a_flow_is_listed_with_the_values_that_it_names(
    database: Database, journal: SqlJournal, path: Place
) -> None:
    config = SqlConfig(database)
    await save(config, "A", 1)
    await save(config, "AB", 1)
    change(path, "UPDATE flows SET config_names = 'AB C' WHERE id = 'flow-1'")

    (a, ab), _ = await config.page(MARA, page=Page(limit=10))

    assert (list(a.used_by), [flow.id for flow in ab.used_by]) == ([], ["flow-1"])
