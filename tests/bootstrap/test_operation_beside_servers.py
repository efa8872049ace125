"""Commands of the operator on a database that a server may be using, each called in the test's own process."""

import contextlib
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowrunner.bootstrap import online_maintenance
from flowrunner.bootstrap.location import DATABASE_FILE, make_private, own_servers
from flowrunner.bootstrap.ownership import is_shared, locked
from flowrunner.domain.account import Account
from flowrunner.domain.errors import FlowRunnerError, UnknownEmail
from flowrunner.ids import new_id
from flowrunner.settings import InvalidSettings, Settings
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.sqlite import quick_check
from flowrunner.storage.sqlite.quick_check import faults_of, last_written_at
from support.databases import (
    account,
    add_flows,
    change,
    completion,
    creation,
    new_database_file,
    open_database,
    rows_of,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    new_database_file(tmp_path / DATABASE_FILE)
    return Settings(data_dir=tmp_path)


async def add(settings: Settings, *accounts: Account) -> Path:
    path = settings.data_dir / DATABASE_FILE
    database = open_database(path)
    for each in accounts:
        await SqlAccounts(database).create(each, password_hash="old")
    await database.close()
    return path


async def test_without_a_database_there_is_nothing_to_operate_on(tmp_path: Path) -> None:
    with pytest.raises(FlowRunnerError, match="There is no database in"):
        await online_maintenance.set_pause(Settings(data_dir=tmp_path), paused=True)

    assert os.listdir(tmp_path) == []


async def test_a_database_of_another_version_is_left_to_its_own(settings: Settings) -> None:
    path = settings.data_dir / DATABASE_FILE
    change(path, "UPDATE alembic_version SET version_num = '9999'")
    change(path, "UPDATE engine SET compatible_with = '9999'")

    with pytest.raises(FlowRunnerError, match="use the flowrunner of its server"):
        await online_maintenance.set_pause(settings, paused=True)


async def test_a_pause_begins_once_and_ends(settings: Settings) -> None:
    (settings.data_dir / DATABASE_FILE).chmod(0o644)

    first = await online_maintenance.set_pause(settings, paused=True)
    again = await online_maintenance.set_pause(settings, paused=True)

    assert first is not None
    assert again == first
    assert await online_maintenance.set_pause(settings, paused=False) is None
    assert stat.S_IMODE((settings.data_dir / DATABASE_FILE).stat().st_mode) == 0o600


async def test_executions_beyond_their_number_or_age_are_counted_and_deleted(settings: Settings) -> None:
    path = add_flows(settings.data_dir / DATABASE_FILE)
    database = open_database(path)
    journal = SqlJournal(database)
    epoch = await journal.claim()
    ids = []
    for number in range(4):
        at = datetime.now(UTC) - timedelta(days=5 - number)
        ids.append(new_id("exec", at))
        await journal.append(creation(ids[-1], epoch=epoch, at=at))
        await journal.append(completion(ids[-1], epoch=epoch, at=at))
    await database.close()
    few = replace(settings, retention_count=3)

    old = replace(settings, retention=timedelta(days=3.5).total_seconds())

    assert await online_maintenance.outlived(settings) == []
    assert [(found.flow_id, found.count) for found in await online_maintenance.outlived(old)] == [(None, 2)]
    assert [(found.flow_id, found.count) for found in await online_maintenance.outlived(few)] == [("flow-1", 1)]
    assert await online_maintenance.prune(settings) == 0
    assert await online_maintenance.prune(few) == 1
    assert rows_of(path, "SELECT id FROM executions ORDER BY id") == [(id,) for id in ids[1:]]


async def test_addresses_are_confirmed_together_or_not_at_all(settings: Settings) -> None:
    new = [replace(account(id), is_email_confirmed=False) for id in ("a", "b")]
    path = await add(settings, *new)
    confirmed = "SELECT id FROM accounts WHERE email_confirmed_at IS NOT NULL ORDER BY id"

    with pytest.raises(UnknownEmail):
        await online_maintenance.confirm_emails(settings, ["a@example.com", "nobody@example.com"])
    assert rows_of(path, confirmed) == []

    await online_maintenance.confirm_emails(settings, ["A@example.com", "b@example.com"])
    assert rows_of(path, confirmed) == [("a",), ("b",)]
    entries = rows_of(path, "SELECT object_id, credential FROM audit WHERE action LIKE '%confirm%' ORDER BY seq")
    assert entries == [("a", "server"), ("b", "server")]


async def test_a_password_is_set_and_a_link_made_for_the_account_with_an_address(settings: Settings) -> None:
    path = await add(settings, account("a"), account("b"))
    public = replace(settings, public_url="https://flows.example.com")

    await online_maintenance.set_password(settings, "a@example.com", "a long enough new one")
    made = await online_maintenance.create_password_reset(public, "b@example.com")

    assert rows_of(path, "SELECT id FROM accounts WHERE password_hash = 'old'") == [("b",)]
    assert made.link.startswith("https://flows.example.com/")
    assert rows_of(path, "SELECT account_id FROM password_resets") == [("b",)]
    for call in (
        online_maintenance.set_password(settings, "c@example.com", "a long enough new one"),
        online_maintenance.create_password_reset(settings, "c@example.com"),
    ):
        with pytest.raises(UnknownEmail):
            await call


# Files


def test_files_of_a_database_become_private_also_its_log(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make_private(path)
    files = [path, tmp_path / "a.db-wal", tmp_path / "a.db-shm"]
    for file in (*files, tmp_path / "other"):
        file.touch()
        file.chmod(0o640)

    make_private(path)

    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o640


def open_below(directory: Path) -> list[str]:
    """Return the paths of the directory and of the files below it that this process has open, also deleted ones."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        # The descriptor of the listing itself is closed by now, and other threads may close theirs.
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sorted(each for each in found if Path(each).is_relative_to(directory))


def test_a_data_directory_is_locked_until_the_end_of_its_use(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(FlowRunnerError, match="Another FlowRunner server is using"), locked(tmp_path):
            pass
        # Somebody deletes the lock, taking it for an old one.
        (tmp_path / "lock").unlink()
        with pytest.raises(FlowRunnerError, match="Another FlowRunner server is using"), locked(tmp_path):
            pass

    with locked(tmp_path):
        assert open_below(tmp_path) == [str(tmp_path), str(tmp_path / "lock")]
    assert open_below(tmp_path) == []


@pytest.mark.parametrize(
    ("given", "servers"),
    [
        ({}, set()),
        ({"database_url": "postgresql://u@db.example.com/x"}, {("db.example.com", 5432)}),
        ({"database_url": "postgresql://u@db.example.com:6000/x"}, {("db.example.com", 6000)}),
        ({"dispatch": "temporal://[::1]:7000/default"}, {("::1", 7000)}),
        ({"dispatch": "temporal://t.example.com/default"}, {("t.example.com", 7233)}),
        (
            {"dispatch": "temporal://t:1/default", "database_url": "postgresql://u@d:2/x"},
            {("t", 1), ("d", 2)},
        ),
    ],
)
def test_flows_reach_none_of_the_servers_in_the_settings(given: dict[str, str], servers: set[tuple[str, int]]) -> None:
    assert own_servers(replace(Settings(), **given)) == servers  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"dispatch": "temporal://t/default"}, "share a PostgreSQL database"),
        (
            {"dispatch": "temporal://t/default", "database_url": "postgresql://d/x", "processes": 2},
            "start more workers",
        ),
        (
            {"dispatch": "http://t/default", "database_url": "postgresql://d/x"},
            "FLOWRUNNER_DISPATCH: must be an address",
        ),
    ],
)
def test_settings_of_the_assignment_that_contradict_each_other_are_told(given: dict[str, object], fault: str) -> None:
    with pytest.raises(InvalidSettings, match=fault):
        is_shared(replace(Settings(), **given))  # type: ignore[arg-type]


def test_workers_of_temporal_share_a_database_and_processes_of_a_server_do_not() -> None:
    temporal = replace(Settings(), dispatch="temporal://t/default", database_url="postgresql://d/x")

    assert [is_shared(each) for each in (temporal, replace(Settings(), processes=3))] == [True, False]


# The check of a file


def test_a_file_is_checked_in_the_time_that_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = add_flows(new_database_file(tmp_path / "a.db"))
    assert isinstance(path, Path)

    assert faults_of(path, seconds=60.0) == []
    # Of a file as small as this one, the time is not looked at between so many instructions.
    monkeypatch.setattr(quick_check, "_INSTRUCTIONS_A_LOOK", 10)
    assert faults_of(path, seconds=-1.0) is None
    content = path.read_bytes()
    path.write_bytes(b"no database" + content[11:])
    assert len(faults_of(path, seconds=60.0) or []) == 1
    page = 4096 * 3
    path.write_bytes(content[:page] + b"\xff" * 4096 + content[page + 4096 :])
    assert faults_of(path, seconds=60.0) not in ([], None)


def test_the_last_entry_of_the_audit_log_tells_when_a_file_was_used(tmp_path: Path) -> None:
    path = new_database_file(tmp_path / "a.db")

    assert last_written_at(path) is None
    assert last_written_at(tmp_path / "none.db") is None
