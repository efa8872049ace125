"""Copying of a SQLite database to PostgreSQL, entirely or not at all."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.expression import Constant
from flowrunner.domain.jobs import JobStatus, RunningJob
from flowrunner.domain.prepared import prepared
from flowrunner.domain.request_keys import KeptAnswer, RequestKey
from flowrunner.domain.store import StoreChange, StoreKey
from flowrunner.domain.triggers import Schedule, Trigger, TriggerId
from flowrunner.domain.values import AccountId, ExecutionId, FlowId, JobId, RevisionId, SessionId, TokenId
from flowrunner.ports.callbacks import CallbackId, CallbackView
from flowrunner.ports.concurrency import ConcurrencySlot
from flowrunner.ports.executions import LogFilter
from flowrunner.ports.flows import SavedFlow
from flowrunner.ports.hooks import HookDelivery, HookDeliveryId, Refusals
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import SealedSecret, WrappedKey
from flowrunner.ports.sessions import NewSession
from flowrunner.ports.tokens import TokenView
from flowrunner.storage import copying
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.audit import SqlAudit
from flowrunner.storage.audit_chain import check_chain
from flowrunner.storage.callbacks import SqlCallbacks
from flowrunner.storage.config import SqlConfig
from flowrunner.storage.copying import COPIED, USAGE, NotCopied, copy_to_postgres
from flowrunner.storage.database import Database
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.hooks import SqlHooks
from flowrunner.storage.jobs import SqlJobs
from flowrunner.storage.journal import TOKENS_PER_EPOCH, SqlJournal
from flowrunner.storage.keys import SqlKeyRotations
from flowrunner.storage.postgres.transaction import storable
from flowrunner.storage.preferences import SqlPreferences
from flowrunner.storage.request_keys import SqlRequestKeys
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.sessions import SqlSessions
from flowrunner.storage.store import SqlStore
from flowrunner.storage.tokens import SqlTokens
from flowrunner.storage.workspaces import SqlWorkspaces
from storage.samples import add_rows_of_identity, sealing
from support.databases import (
    MARA,
    MARA_ACCOUNT,
    NOON,
    OMAR,
    OMAR_ACCOUNT,
    account,
    change,
    completion,
    contents_of,
    creation,
    new_database_file,
    new_postgres_database,
    open_database,
    rows_of,
)
from support.invariants import check_database
from support.postgres import PostgresServer


@pytest.fixture(autouse=True)
def _small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test copy and compare in more than one portion."""
    monkeypatch.setattr(copying, "_ROWS_AT_ONCE", 2)


async def add_entries_and_deletions(database: Database) -> None:
    for n in range(3):
        entry = StoreChange(operation="set", at=StoreKey("é", f"k{n}"), value='"\\u0000é"', ttl_ms=n or None)
        await SqlStore(database).change(MARA, entry, now=NOON)
    await database.write(lambda tx: tx.run("INSERT INTO store_results VALUES ('e55', 'd', '1')"))
    await database.write(lambda tx: tx.run("INSERT INTO deleted_executions (id) VALUES ('gone')"))


@pytest.fixture
async def source(tmp_path: Path) -> Path:
    """Create a file with rows in every table."""
    path = new_database_file(tmp_path / "flowrunner.db")
    database = open_database(path)
    accounts = SqlAccounts(database)
    await accounts.create(replace(account(MARA), name="Mára \0 😀"), password_hash="hash")
    await accounts.create(account(OMAR, role="user"), password_hash="hash")
    await accounts.create(account("gone", role="user"), password_hash="hash")
    await accounts.delete(AccountId("gone"), at=NOON)
    session = NewSession(
        id=SessionId("s"), account_id=MARA_ACCOUNT, role="admin", expires_at=NOON + timedelta(days=9999)
    )
    await SqlPreferences(database).put(AccountId(MARA), b'{"theme": "dark"}', at=NOON, check=lambda _: None)
    await SqlSessions(database).open(session, at=NOON, password_hash="hash")
    await SqlSessions(database).save_ticket("digest", session.id, expires_at=NOON)
    token = TokenView(id=TokenId("t"), account_id=AccountId(MARA), name="T", scopes=("read",), created_at=NOON)
    await SqlTokens(database).create(MARA_ACCOUNT, token, digest="d", by=session.id, most=5)
    await SqlKeyRotations(database).request("data", replaces=None, at=NOON)
    for n in range(3):
        data_key = WrappedKey(version=1, master_key_id="m", wrapped=b"\0\xff")
        sealed = SealedSecret(key=f"K{n}", key_version=1, sealed=bytes([n] * 20))

        def seal(
            newest: WrappedKey | None, sealed: SealedSecret = sealed, key: WrappedKey = data_key
        ) -> tuple[SealedSecret, WrappedKey]:
            return sealed, newest or key

        await SqlSecrets(database).save(MARA, seal, at=NOON)
        await SqlConfig(database).save(MARA, "A", ["é"], at=NOON, check=lambda _: None)
    await add_entries_and_deletions(database)
    flow = SavedFlow(
        id=FlowId("flow-1"), name="é", description="", version="1", tags=["a"], created_at=NOON, updated_at=NOON,
        definition="nodes: …", revision_id=RevisionId("rev-1"), saved_by=AccountId(MARA),
    )  # fmt: skip
    spec = Schedule(every_seconds=60.0)
    triggers = {TriggerId("trig-1"): Trigger(name="often", spec=spec, input=prepared(Constant({})))}
    await SqlFlows(database).create(MARA, replace(flow, triggers=triggers))
    await database.write(lambda tx: tx.run("INSERT INTO trigger_outbox VALUES ('trig-1', 'e00')"))
    await SqlWorkspaces(database).set_member(
        MARA, OMAR_ACCOUNT, "viewer", at=NOON, is_new=True, most_members=9, most_joined=9
    )
    callback = CallbackView(
        id=CallbackId("callback-1"), workspace_id=MARA, name="é", events=["execution.completed"], format="standard",
        address="https://example.com/", created_at=NOON, updated_at=NOON, template={"a": 1},
    )  # fmt: skip
    await SqlCallbacks(database).create(callback, sealing(b"\xff", "callback-1"), most=9)
    request = HookDelivery(
        id=HookDeliveryId("hook-1"), workspace_id=MARA, trigger_id=TriggerId("trigger-1"), received_at=NOON,
        state="received",
    )  # fmt: skip
    await SqlHooks(database).add(request, b'{"body": 1}')
    await SqlHooks(database).add_refusals({TriggerId("trigger-1"): Refusals(1, ())}, most=3)
    journal = SqlJournal(database)
    epoch = [await journal.claim() for _ in range(3)][-1]
    for n in range(60):
        new = creation(f"e{n:02}", epoch=epoch, key=f"k{n}", digest="d", labels={"team": f"t{n}"})
        assert new.create is not None
        slot = ConcurrencySlot("key", 100, is_queued=n > 50) if n >= 50 else None
        await journal.append(replace(new, create=replace(new.create, slot=slot)))
        if n < 50:
            await journal.append(completion(f"e{n:02}", epoch=epoch, result="x" * n))
    job = RunningJob(
        id=JobId("j"), workspace_id=MARA, account_id=AccountId(MARA), type="t", status=JobStatus.RUNNING, total=1,
        created_at=NOON, position="", work={"ids": ["e00"]},
    )  # fmt: skip
    await SqlJobs(database).create(job, most_running=1, most_kept=1)
    add_rows_of_identity(path, MARA)
    asked = RequestKey("key", "request", "digest")
    await SqlRequestKeys(database).keep(AccountId(MARA), MARA, asked, KeptAnswer(201, {}, "é"), at=NOON)
    change(
        path,
        "INSERT INTO audit_counts (account_id, workspace_id, action, outcome, since, count)"
        " VALUES ('account-mara', 'account-mara', 'execution.started', 'done', 1, 2)",
    )
    audit = SqlAudit(database)
    for n in range(20):
        await audit.add(
            AuditEntry(
                at=NOON - timedelta(days=3650 - n),
                actor=MARA_ACCOUNT,
                credential="session",
                address="::1",
                action="a.b",
                object=("flow", "f"),
                workspace_id=MARA,
                outcome="done",
                details={"n": n},
            )
        )
    assert await audit.purge(before=NOON - timedelta(days=3650 - 5), limit=100) == 5
    await database.close()
    return path


TRIGGERS: Final = "SELECT tgrelid::regclass::text, tgname, tgenabled::text FROM pg_trigger ORDER BY tgrelid, tgname"


@pytest.fixture
def target(postgres: PostgresServer) -> str:
    return new_postgres_database(postgres)


async def test_everything_arrives_and_goes_on_there(source: Path, target: str) -> None:
    before, enabled = contents_of(source), rows_of(target, TRIGGERS)

    counts = await copy_to_postgres(source, target)

    assert all(counts.values()), "something of every table"
    assert contents_of(source) == before
    assert rows_of(target, TRIGGERS) == enabled != []
    for compared in (*COPIED, USAGE):
        sent = [tuple(storable(value) for value in row) for row in rows_of(source, compared.read)]
        assert rows_of(target, compared.read) == sent, compared.table
    assert check_database(target, all_ended=False) == []
    database = open_database(target)
    report = await database.read_long(check_chain)
    journal = SqlJournal(database)
    epoch = await journal.claim()
    await journal.append(completion("e50", epoch=epoch))
    rotation, is_new = await SqlKeyRotations(database).request("master", replaces="m", at=NOON)
    listed = await SqlExecutions(database).logs(MARA, ExecutionId("e01"), LogFilter(), Page(limit=1), most=1)
    await database.close()

    assert (report.rows, report.broken) == (15, None)
    assert epoch == 4 * TOKENS_PER_EPOCH
    assert (rotation.id, is_new, listed.total) == (2, True, 0)


async def test_nothing_is_copied_over_something(source: Path, target: str) -> None:
    change(target, "INSERT INTO accounts (id, name, email, role, password_hash, created_at, updated_at)"
                   " VALUES ('a', 'a', 'a', 'admin', 'x', 0, 0)")  # fmt: skip
    before = contents_of(target)

    with pytest.raises(NotCopied, match="not empty"):
        await copy_to_postgres(source, target)

    assert contents_of(target) == before


@pytest.mark.parametrize("table", ["executions", "events", "secrets"])
async def test_what_arrives_otherwise_is_noticed_and_taken_back(source: Path, target: str, table: str) -> None:
    before = contents_of(target)
    spoil = {"executions": "request_digest = 'other'", "events": "data = '{}'", "secrets": "sealed = '\\x00'"}[table]
    change(
        target,
        f"CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.{spoil}; RETURN NEW; END $$",
    )
    change(target, f"CREATE TRIGGER spoil BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION spoil()")

    with pytest.raises(NotCopied, match=table):
        await copy_to_postgres(source, target)

    assert contents_of(target) == before


async def test_one_that_is_interrupted_leaves_nothing_and_says_what_to_do(source: Path, target: str) -> None:
    before = contents_of(target)
    end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'flowrunner'"

    with pytest.raises(NotCopied, match="Copy again once the database answers"):
        await copy_to_postgres(source, target, on_table=lambda table, rows: change(target, end_all))

    assert contents_of(target) == before
    assert await copy_to_postgres(source, target)


async def test_two_copies_at_once_are_one(source: Path, target: str) -> None:
    results = await asyncio.gather(*(copy_to_postgres(source, target) for _ in range(2)), return_exceptions=True)

    assert sum(isinstance(result, dict) for result in results) == 1
    assert check_database(target, all_ended=False) == []
