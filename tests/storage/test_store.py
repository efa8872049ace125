"""The stores of workspaces in the database: each change once, within the limits."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from flowrunner.domain.errors import LimitReached, NotFound, Unavailable
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.store import (
    LARGEST_NUMBER,
    NotChanged,
    StoreChange,
    StoreKey,
    StoreStep,
    end_of,
)
from flowrunner.domain.values import JSON
from flowrunner.ports.journal import Fenced
from flowrunner.ports.page import Page
from flowrunner.ports.store import EntryView
from flowrunner.storage import store as store_module
from flowrunner.storage.database import Database
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.store import SqlStore
from support.databases import MARA, NOON, OMAR, Place, change, completion, creation, open_database, rows_of
from support.invariants import check_database

A: Final = StoreKey("default", "a")
LATER: Final = NOON + timedelta(hours=1)


@pytest.fixture
def store(database: Database, journal: SqlJournal) -> SqlStore:
    """The journal's fixture makes the workspaces."""
    return SqlStore(database)


def setting(value: str, at: StoreKey = A, **more: Any) -> StoreChange:
    return StoreChange(operation="set", at=at, value=value, **more)


def adding(amount: int = 1, at: StoreKey = A, **more: Any) -> StoreChange:
    return StoreChange(operation="increment", at=at, amount=amount, **more)


DELETING: Final = StoreChange(operation="delete", at=A)


def of_step(change: StoreChange, digest: str = "d-1", execution_id: str = "exec-1") -> StoreChange:
    return replace(change, step=StoreStep(execution_id=execution_id, digest=digest))


async def did(store: SqlStore, change: StoreChange, *, now: datetime = NOON) -> JSON:
    return await store.change(MARA, change, now=now)


async def value_of(store: SqlStore, at: StoreKey = A, *, now: datetime = NOON) -> str | None:
    return await store.value(MARA, at, now=now)


async def keys_of(store: SqlStore, prefix: str = "", *, after: str = "", limit: int = 10) -> list[str]:
    return list(await store.keys(MARA, namespace="default", prefix=prefix, after=after, limit=limit, now=NOON))


async def begun(journal: SqlJournal, *ids: str) -> int:
    epoch = await journal.claim()
    for id in ids:
        await journal.append(creation(id, epoch=epoch))
    return epoch


async def test_a_value_is_read_as_it_was_written_until_it_is_deleted(store: SqlStore) -> None:
    text = '{"a":[1,"ü\\u0000"]}'
    assert await value_of(store) is None
    assert await did(store, setting(text)) == {"created": True}
    assert await did(store, setting("2")) == {"created": False}
    assert await did(store, setting(text)) == {"created": False}

    assert await value_of(store) == text
    assert await store.value(OMAR, A, now=NOON) is None
    assert await value_of(store, StoreKey("other", "a")) is None
    assert await did(store, DELETING) == {"deleted": True}
    assert await did(store, DELETING) == {"deleted": False}
    assert await value_of(store) is None


async def test_a_number_is_incremented_from_nothing_on(store: SqlStore) -> None:
    assert [await did(store, adding(n)) for n in (1, 5, -8)] == [1, 6, -2]
    assert await value_of(store) == "-2"


@pytest.mark.parametrize("value", ['"7"', "true", "1.5", "[1]", "null", "1" * 3000, "1e400"])
async def test_what_is_no_whole_number_is_not_incremented(store: SqlStore, value: str) -> None:
    await did(store, setting(value))

    with pytest.raises(NotChanged, match="is no whole number") as error:
        await did(store, adding())

    assert error.value.type == "store.not_a_number"
    assert await value_of(store) == value


@pytest.mark.parametrize("sign", [1, -1])
async def test_no_number_grows_beyond_what_javascript_counts_exactly(store: SqlStore, sign: int) -> None:
    await did(store, adding(sign * (LARGEST_NUMBER - 1)))
    assert await did(store, adding(sign)) == sign * LARGEST_NUMBER

    with pytest.raises(NotChanged, match=str(LARGEST_NUMBER)) as error:
        await did(store, adding(sign))

    assert error.value.type == "store.out_of_range"


async def test_increments_at_the_same_time_lose_nothing(store: SqlStore) -> None:
    results = await asyncio.gather(*(did(store, adding()) for _ in range(300)))

    assert sorted(results, key=str) == sorted(range(1, 301), key=str)
    assert await value_of(store) == "300"


async def test_a_commit_has_few_increments_of_one_key(database: Database, journal: SqlJournal, path: Place) -> None:
    sizes: list[int] = []
    counting = open_database(path, on_commit=sizes.append)
    try:
        store = SqlStore(counting)
        await asyncio.gather(*(did(store, adding()) for _ in range(300)))
    finally:
        await counting.close()

    assert sum(sizes) == 300
    # Each version of the row stays until the commit, and PostgreSQL reads all of them for each increment.
    assert max(sizes) <= 128


# Once, whoever repeats it


@pytest.mark.parametrize("first", [adding(), setting('"mine"'), DELETING])
async def test_a_repeated_change_changes_nothing_that_others_have_written_and_has_its_first_result(
    store: SqlStore, journal: SqlJournal, first: StoreChange
) -> None:
    await begun(journal, "exec-1")
    result = await did(store, of_step(first))
    await did(store, setting("100"))

    assert await did(store, of_step(first), now=LATER) == result
    assert await value_of(store) == "100"


async def test_the_same_step_of_another_execution_and_another_step_make_changes_of_their_own(
    store: SqlStore, journal: SqlJournal
) -> None:
    await begun(journal, "exec-1", "exec-2")

    changes = [of_step(adding()), of_step(adding(), "d-2"), of_step(adding(), execution_id="exec-2")]

    assert [await did(store, each) for each in changes] == [1, 2, 3]


async def test_a_change_that_two_processes_make_at_the_same_time_happens_once(
    store: SqlStore, journal: SqlJournal
) -> None:
    await begun(journal, "exec-1")

    assert set(await asyncio.gather(*(did(store, of_step(adding())) for _ in range(20)))) == {1}


@pytest.mark.parametrize(
    ("stored", "expected", "fits"),
    [
        (None, "null", True), (None, "1", False), ("null", "null", True), ("1", "null", False), ("1.0", "1", True),
        ("1", "true", False), ('{"b":1,"a":[2.0]}', '{"a":[2],"b":1}', True), ('{"a":1}', '{"a":1,"b":2}', False),
        ('"ü"', '"ü"', True),
    ],
)  # fmt: skip
async def test_a_change_that_expects_a_value_is_made_if_it_is_there(
    store: SqlStore, stored: str | None, expected: str, fits: bool
) -> None:
    for made in (setting("7", expected=expected), replace(DELETING, expected=expected)):
        await did(store, DELETING if stored is None else setting(stored))
        before = await value_of(store)
        if fits:
            key = "created" if made.operation == "set" else "deleted"
            assert await did(store, made) == {key: (stored is None) == (made.operation == "set")}
        else:
            with pytest.raises(NotChanged, match="is not the expected one") as error:
                await did(store, made)
            assert error.value.type == "store.changed"
            assert await value_of(store) == before


async def test_of_changes_that_expect_the_same_value_one_is_made_and_an_expired_one_is_none(store: SqlStore) -> None:
    results = await asyncio.gather(*(did(store, setting(str(n), expected="null", ttl_ms=1000)) for n in range(20)),
                                   return_exceptions=True)  # fmt: skip
    after = NOON + timedelta(seconds=1)

    assert [one for one in results if not isinstance(one, NotChanged)] == [{"created": True}]
    assert await did(store, setting("5", expected="null"), now=after) == {"created": True}


async def test_a_repeat_of_a_change_that_was_made_does_not_ask_for_the_value_again(
    store: SqlStore, journal: SqlJournal
) -> None:
    await begun(journal, "exec-1")
    made = of_step(setting("1", expected="null"))

    assert [await did(store, made) for _ in range(2)] == [{"created": True}] * 2
    assert await value_of(store) == "1"


async def test_a_change_that_failed_is_made_by_the_repeat(store: SqlStore, journal: SqlJournal) -> None:
    await begun(journal, "exec-1")
    await did(store, setting('"text"'))
    with pytest.raises(NotChanged):
        await did(store, of_step(adding()))
    await did(store, setting("1"))

    assert await did(store, of_step(adding())) == 2


async def test_results_are_kept_until_the_execution_has_ended_and_nothing_is_changed_after(
    store: SqlStore, journal: SqlJournal, path: Place
) -> None:
    epoch = await begun(journal, "exec-1", "exec-2")
    for id in ("exec-1", "exec-2"):
        await did(store, of_step(adding(), execution_id=id))
    await store.purge(now=NOON)
    assert await did(store, of_step(adding())) == 1
    await journal.append(completion("exec-1", epoch=epoch))

    assert not await store.purge(now=NOON)

    assert rows_of(path, "SELECT execution_id FROM store_results") == [("exec-2",)]
    for digest in ("d-1", "d-2"):
        with pytest.raises(Fenced, match="has ended"):
            await did(store, of_step(adding(), digest))
    assert await value_of(store) == "2"


async def test_results_of_very_many_executions_are_found_and_deleted(
    store: SqlStore, journal: SqlJournal, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_RESULTS_AT_ONCE", 2)
    await begun(journal, "exec-2", "exec-4")
    for id in ("exec-1", "exec-2", "exec-3", "exec-4", "exec-5", "exec-6", "exec-7"):
        for digest in "abc":
            change(path, "INSERT INTO store_results VALUES (?, ?, '1')", id, digest)

    purges = 1
    while await store.purge(now=NOON):
        purges += 1

    assert rows_of(path, "SELECT DISTINCT execution_id FROM store_results ORDER BY 1") == [("exec-2",), ("exec-4",)]
    assert purges == 8


# Expiry


async def test_an_entry_is_not_there_from_the_moment_of_its_expiry(store: SqlStore) -> None:
    await did(store, setting("1", ttl_ms=1000))
    before, after = NOON + timedelta(milliseconds=999), NOON + timedelta(seconds=1)

    assert await value_of(store, now=before) == "1"
    assert await keys_of(store) == ["a"]
    assert await value_of(store, now=after) is None
    assert await store.keys(MARA, namespace="default", prefix="", after="", limit=9, now=after) == []
    assert await store.page(MARA, namespace=None, prefix="", page=Page(limit=9), now=after) == ([], 0)
    with pytest.raises(NotFound):
        await store.get(MARA, A, now=after)
    with pytest.raises(NotFound):
        await store.delete(MARA, A, now=after, check=any_state)
    assert await did(store, adding(7), now=after) == 7


async def test_a_counter_expires_after_its_first_increment_and_a_written_value_anew(store: SqlStore) -> None:
    await did(store, adding(ttl_ms=1000))
    half = NOON + timedelta(milliseconds=500)
    assert await did(store, adding(ttl_ms=1000), now=half) == 2
    assert await value_of(store, now=NOON + timedelta(seconds=1)) is None

    await did(store, setting("5", ttl_ms=1000), now=half)
    assert await value_of(store, now=NOON + timedelta(seconds=1)) == "5"
    await did(store, setting("5"), now=half)
    assert await value_of(store, now=NOON + timedelta(days=9999)) == "5"


async def test_expired_entries_are_deleted_and_no_others(
    store: SqlStore, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_ENTRIES_AT_ONCE", 2)
    for name in "abcde":
        await did(store, setting("1", StoreKey("default", name), ttl_ms=1000))
    await did(store, setting("1", StoreKey("default", "kept")))
    await did(store, setting("2", StoreKey("default", "c"), ttl_ms=9_000_000))

    assert [await store.purge(now=LATER) for _ in range(3)] == [True, True, False]

    assert rows_of(path, "SELECT key FROM store_entries ORDER BY key") == [("c",), ("kept",)]
    assert check_database(path, all_ended=False) == []


async def test_an_expired_entry_that_is_written_again_before_its_deletion_stays(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it had expired when it was looked for.
    monkeypatch.setattr(store_module, "EXPIRED", store_module.EXPIRED.replace(":now", ":now + 9000000000"))
    await did(store, setting("2", ttl_ms=9_000_000))

    await store.purge(now=LATER)

    assert await value_of(store) == "2"


# Keys


async def test_keys_are_listed_by_prefix_in_pages_in_the_order_of_their_code_points(store: SqlStore) -> None:
    names = ["a", "ab", "ab\U0010ffff", "ac", "b", "ä", "\uffee", "\U0001f600", "\U0010ffff\U0010ffff"]
    for name in reversed(names):
        await did(store, setting("1", StoreKey("default", name)))
    await did(store, setting("1", StoreKey("other", "abc")))

    assert await keys_of(store) == names
    assert await keys_of(store, "ab") == ["ab", "ab\U0010ffff"]
    assert await keys_of(store, "\U0010ffff") == ["\U0010ffff\U0010ffff"]
    assert await keys_of(store, limit=2) == ["a", "ab"]
    assert await keys_of(store, after="ab", limit=2) == ["ab\U0010ffff", "ac"]
    assert await keys_of(store, "a", after="ab", limit=1) == ["ab\U0010ffff"]
    assert await keys_of(store, "b", after="a") == ["b"]
    assert await keys_of(store, "a", after="b") == []


@pytest.mark.parametrize(
    ("prefix", "end"), [("a", "b"), ("a\U0010ffff", "b"), ("\ud7ff", "\ue000"), ("\U0010ffff", None), ("", None)]
)
def test_the_end_of_a_prefix_is_the_first_text_without_it(prefix: str, end: str | None) -> None:
    assert end_of(prefix) == end


# Limits


async def test_a_workspace_has_at_most_so_many_keys_of_all_namespaces(
    store: SqlStore, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_KEYS", 2)
    await did(store, setting("1"))
    await did(store, setting("1", StoreKey("other", "a")))

    for each in (setting("1", StoreKey("default", "b")), adding(at=StoreKey("other", "b"))):
        with pytest.raises(LimitReached, match="at most 2 keys") as error:
            await did(store, each)
        assert error.value.limit == "store_keys"

    await did(store, setting("2"))
    await store.change(OMAR, setting("1"), now=NOON)
    await did(store, DELETING)
    await did(store, setting("1", StoreKey("default", "b")))
    assert rows_of(path, "SELECT workspace_id, number FROM store_counts ORDER BY 1") == [
        ("account-mara", 2),
        ("account-omar", 1),
    ]


async def test_stored_bytes_count_and_nothing_is_written_beyond_the_limit(
    database: Database, journal: SqlJournal, path: Place
) -> None:
    limited = SqlStore(database, WorkspaceLimits(stored=1000))
    await did(limited, setting('"é"' + " " * 900))
    await did(limited, setting("1", StoreKey("é", "ü")))
    assert check_database(path) == []

    with pytest.raises(LimitReached, match="would store") as error:
        await did(limited, setting('"x"' + " " * 998))
    with pytest.raises(LimitReached):
        await did(limited, setting('"x"' + " " * 100, StoreKey("default", "b")))

    assert error.value.limit == "workspace_stored"
    assert await value_of(limited) == '"é"' + " " * 900
    # What does not grow is always possible.
    await did(limited, setting('"é"' + " " * 899))
    await did(limited, DELETING)
    assert check_database(path) == []


# Workspaces


async def test_a_deleted_workspace_takes_no_change_and_its_entries_are_deleted(store: SqlStore, path: Place) -> None:
    await did(store, setting("1"))
    await store.change(OMAR, setting("1"), now=NOON)
    change(path, "UPDATE workspaces SET deleted_at = 1 WHERE id = ?", MARA)

    with pytest.raises(Unavailable, match="was deleted"):
        await did(store, adding())
    with pytest.raises(NotFound):
        await store.save(MARA, setting("1"), now=NOON, check=any_state)
    assert not await store.purge(now=NOON)

    assert rows_of(path, "SELECT workspace_id FROM store_entries") == [("account-omar",)]


# People


def any_state(before: EntryView | None) -> None:
    """Accept the entry, whatever it is."""


async def test_people_see_pages_of_entries_without_their_values(store: SqlStore) -> None:
    for namespace, key in (("a", "x:1"), ("a", "y"), ("b", "x:2"), ("b", "%")):
        await did(store, setting('"é"', StoreKey(namespace, key)))

    async def page(namespace: str | None = None, prefix: str = "", **more: Any) -> tuple[list[tuple[str, str]], int]:
        entries, total = await store.page(
            MARA, namespace=namespace, prefix=prefix, page=Page(limit=3, **more), now=NOON
        )
        assert {(each.value, each.size) for each in entries} <= {(None, 4)}
        return [(each.at.namespace, each.at.key) for each in entries], total

    assert await page() == ([("a", "x:1"), ("a", "y"), ("b", "%")], 4)
    assert await page(cursor="1:ay") == ([("b", "%"), ("b", "x:2")], 4)
    assert await page("b") == ([("b", "%"), ("b", "x:2")], 2)
    assert await page("b", cursor="1:b%") == ([("b", "x:2")], 2)
    assert await page(None, "x:") == ([("a", "x:1"), ("b", "x:2")], 2)
    assert await page("b", "%") == ([("b", "%")], 1)
    assert await page(offset=3) == ([("b", "x:2")], 4)


async def test_an_entry_of_people_is_new_once_and_then_replaced(store: SqlStore) -> None:
    first, is_new = await store.save(MARA, setting("1", ttl_ms=1000), now=NOON, check=any_state)
    assert is_new
    assert first.expires_at == NOON + timedelta(seconds=1)
    soon = NOON + timedelta(milliseconds=1)
    second, is_new = await store.save(MARA, setting("2"), now=soon, check=any_state)

    assert not is_new
    assert (second.value, second.size, second.created_at, second.updated_at) == ("2", 1, NOON, soon)
    assert (second.expires_at, second.edition) == (None, 2)
    assert await store.get(MARA, A, now=LATER) == second
    assert first.state != second.state


async def test_an_expired_entry_that_is_written_again_is_new_and_has_another_state(store: SqlStore) -> None:
    first, _ = await store.save(MARA, setting("1", ttl_ms=1), now=NOON, check=any_state)
    seen: list[EntryView | None] = []

    second, is_new = await store.save(MARA, setting("1", ttl_ms=1), now=LATER, check=seen.append)

    assert is_new
    assert seen == [None]
    assert second.created_at == LATER
    assert first.state != second.state


async def test_the_check_of_people_decides(store: SqlStore) -> None:
    def refuse(before: EntryView | None) -> None:
        raise KeyError("" if before is None else before.value)

    with pytest.raises(KeyError, match="''"):
        await store.save(MARA, setting("1"), now=NOON, check=refuse)
    await did(store, setting("2"))
    with pytest.raises(KeyError, match="2"):
        await store.save(MARA, setting("1"), now=NOON, check=refuse)
    with pytest.raises(KeyError, match="2"):
        await store.delete(MARA, A, now=NOON, check=refuse)

    assert await value_of(store) == "2"
