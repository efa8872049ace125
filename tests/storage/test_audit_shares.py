"""The share of the audit log that one account takes, and the numbers of acts beyond it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.request_keys import RequestKey, RequestKeyTaken
from flowrunner.domain.values import AccountId
from flowrunner.ports.audit import AuditFilter
from flowrunner.ports.journal import Append
from flowrunner.storage import audit_shares
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.audit import SqlAudit
from flowrunner.storage.audit_chain import check_chain
from flowrunner.storage.database import Database
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.request_keys import SqlRequestKeys
from flowrunner.storage.rows import to_ms
from flowrunner.storage.transaction import Transaction
from security.two_accounts import RETURN, two_accounts_at
from storage.samples import ALL
from support.databases import MARA, MARA_ACCOUNT, NOON, OMAR, Place, creation, rows_of

MINUTE = timedelta(minutes=1)
COUNTS = "SELECT account_id, workspace_id, action, since, count FROM audit_counts ORDER BY action"


@pytest.fixture(autouse=True)
def a_small_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_shares, "MOST_ENTRIES", 3)


def entry(action: str, actor: str = MARA, *, after: timedelta = timedelta(), key: str | None = None) -> AuditEntry:
    return AuditEntry(
        at=NOON + after,
        action=action,
        object=("execution", "e"),
        actor=AccountId(actor),
        workspace_id=MARA,
        request=None if key is None else RequestKey(key, key, "digest"),
    )


async def change_nothing(tx: Transaction) -> None:
    """Do what only the audit log is about."""


async def write(database: Database, *entries: AuditEntry) -> None:
    await database.write(change_nothing, audit=lambda _: entries)


async def written(database: Database) -> Sequence[tuple[str, str | None]]:
    listed = await SqlAudit(database).page(AuditFilter(), ALL)
    return sorted((row.entry.action, row.entry.actor) for row in listed.items)


async def test_acts_beyond_the_share_of_an_account_are_counted(
    accounts: SqlAccounts, database: Database, path: Place
) -> None:
    starts = [entry("execution.started") for _ in range(5)]
    changes = [entry(action) for action in ("secret.replaced", "execution.deleted") for _ in range(5)]
    await write(database, *starts, entry("execution.cancelled"), *changes)
    await write(database, *starts[:2], entry("execution.started", OMAR))

    # Neither another account nor another action is counted because of these; changes and deletions never are.
    assert await written(database) == [
        ("execution.cancelled", MARA),
        *[("execution.deleted", MARA)] * 5,
        *[("execution.started", MARA)] * 3,
        ("execution.started", OMAR),
        *[("secret.replaced", MARA)] * 5,
    ]
    assert rows_of(path, COUNTS) == [(MARA, MARA, "execution.started", to_ms(NOON), 4)]


async def test_the_numbers_become_entries_of_the_log(accounts: SqlAccounts, database: Database, path: Place) -> None:
    audit, later = SqlAudit(database), NOON + 2 * MINUTE
    acts = ["execution.started"] * 5 + ["execution.cancelled"] * 4
    await write(database, *map(entry, acts))

    assert not await audit.write_counts(since_before=NOON, at=NOON, limit=9)
    assert len(await written(database)) == 6
    assert await audit.write_counts(since_before=later - MINUTE, at=later, limit=1)
    assert not await audit.write_counts(since_before=later - MINUTE, at=later, limit=9)

    last, *_ = (await audit.page(AuditFilter(), ALL)).items
    assert (last.entry.action, last.entry.actor, last.entry.object, last.entry.workspace_id, last.entry.details) == (
        "execution.started.more",
        MARA_ACCOUNT,
        ("account", MARA),
        MARA,
        {"count": 2, "since": "2027-01-01T12:00:00.000Z"},
    )
    assert ("execution.cancelled.more", MARA) in await written(database)
    assert rows_of(path, COUNTS) == []
    report = await database.read_long(check_chain)
    assert (report.rows, report.broken) == (8, None)


async def test_a_number_of_a_clock_that_was_set_back_is_written(
    accounts: SqlAccounts, database: Database, path: Place
) -> None:
    await write(database, *[entry("execution.started") for _ in range(4)])

    await SqlAudit(database).write_counts(since_before=NOON - 3 * MINUTE, at=NOON - 2 * MINUTE, limit=9)

    assert rows_of(path, COUNTS) == []


async def test_an_act_that_fails_is_not_counted(accounts: SqlAccounts, database: Database, path: Place) -> None:
    await write(database, *[entry("execution.started") for _ in range(3)])

    async def fail(tx: Transaction) -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 # it has no message
        await database.write(fail, audit=entry("execution.started"))

    assert rows_of(path, COUNTS) == []


async def test_each_hour_has_a_share_also_after_the_clock_was_set_back(
    accounts: SqlAccounts, database: Database
) -> None:
    for hours in (0, 1, -1):
        await write(database, *[entry("execution.started", after=timedelta(hours=hours)) for _ in range(4)])

    assert len(await written(database)) == 9


async def test_an_act_takes_one_place_of_its_share_if_its_commit_is_done_again(
    database: Database, journal: SqlJournal, path: Place
) -> None:
    epoch = await journal.epoch()
    await write(database, entry("secret.replaced", key="taken"))
    taken = RequestKey("taken", request_id="another", digest="digest")

    def start(id: str, request: RequestKey | None = None) -> Append:
        started, act = creation(id, epoch=epoch), replace(entry("execution.started"), request=request)
        assert started.create is not None
        return replace(started, create=replace(started.create, audit=act))

    for n in range(3):
        # The second one is refused, and undoes the commit that they share.
        both = (journal.append(start(f"exec-{n}")), journal.append(start(f"exec-{n}-again", taken)))
        assert [type(found) for found in await asyncio.gather(*both, return_exceptions=True)][1] is RequestKeyTaken

    assert [action for action, _ in await written(database)].count("execution.started") == 3
    assert rows_of(path, COUNTS) == []


async def test_an_act_that_is_only_counted_claims_its_key(accounts: SqlAccounts, database: Database) -> None:
    await write(database, *[entry("execution.started") for _ in range(3)], entry("execution.started", key="k"))

    assert await SqlRequestKeys(database).find(AccountId(MARA), "k") is not None


async def test_many_starts_of_an_account_fill_no_log_and_hide_no_change_of_a_secret(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as two:
        flow, of_omar = await two.mara.flow(RETURN), await two.omar.flow(RETURN)
        for _ in range(8):
            assert (await two.mara.run(flow)).status == 201
        assert (await two.omar.run(of_omar)).status == 201
        me = (await two.mara.request("GET", "/api/v1/accounts/me")).json["id"]
        secret = {"key": "KEY", "value": "a long value"}
        assert (await two.mara.request("POST", f"/api/v1/accounts/{me}/secrets", secret)).status == 201
        log = (await two.mara.request("GET", "/api/v1/audit?limit=100")).json["entries"]

    actions = [each["action"] for each in log]
    assert actions.count("execution.started") == 4
    assert rows_of(tmp_path / "flowrunner.db", "SELECT action, count FROM audit_counts") == [("execution.started", 5)]
    assert [action for action in actions if action.startswith("secret.")] == ["secret.created"]
