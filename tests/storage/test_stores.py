"""Accounts, sessions, tickets, secrets and flows, as the database keeps them."""

import asyncio
import itertools
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.domain.account import Account, Caller, Role, Session
from flowrunner.domain.errors import Conflict, Forbidden, NotFound
from flowrunner.domain.execution import Status
from flowrunner.domain.values import AccountId, ExecutionId, FlowId, RevisionId, SessionId
from flowrunner.ports import (
    DuplicateRequest,
    NewSession,
    Page,
    Renewal,
    RevisionView,
    SavedFlow,
    Seal,
    SealedSecret,
    WrappedKey,
)
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.database import Database
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flows import HAS_OPEN_EXECUTIONS, SqlFlows
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.sessions import SqlSessions
from flowrunner.storage.transaction import Refused
from support.databases import (
    MARA,
    NOON,
    OMAR,
    Place,
    account,
    change,
    completion,
    creation,
    following,
    log_line,
    rows_of,
)

ALL = Page(limit=1000, offset=0)


@pytest.fixture
async def accounts(database: Database) -> SqlAccounts:
    """Mara, an admin, and Omar, who is not."""
    store = SqlAccounts(database)
    await store.create(account(MARA), password_hash="hash-mara")
    await store.create(account(OMAR, role="user"), password_hash="hash-omar")
    return store


# Accounts


async def test_an_account_is_read_back(accounts: SqlAccounts) -> None:
    assert await accounts.get(MARA) == account(MARA)
    credential = await accounts.credential("account-omar@example.com")
    assert credential is not None
    assert (credential.account, credential.password_hash) == (account(OMAR, role="user"), "hash-omar")
    assert await accounts.credential("nobody@example.com") is None
    with pytest.raises(NotFound):
        await accounts.get(AccountId("nobody"))


async def test_accounts_are_listed_by_role_with_their_total(accounts: SqlAccounts) -> None:
    assert await accounts.page(role=None, page=Page(limit=1, offset=1)) == ([account(OMAR, role="user")], 2)
    assert await accounts.page(role="admin", page=ALL) == ([account(MARA)], 1)


async def test_an_address_belongs_to_one_account(accounts: SqlAccounts) -> None:
    with pytest.raises(Conflict, match="e-mail address"):
        await accounts.create(account("third", email="account-mara@example.com"), password_hash="x")
    with pytest.raises(Conflict, match="e-mail address"):
        await accounts.update(OMAR, by=OMAR, at=NOON, email="account-mara@example.com")

    assert (await accounts.get(OMAR)).email == "account-omar@example.com"


async def test_the_address_of_a_deleted_account_is_free(accounts: SqlAccounts) -> None:
    await accounts.delete(OMAR, at=NOON)

    await accounts.create(account("third", email="account-omar@example.com"), password_hash="x")


async def test_only_the_first_account_is_the_first(database: Database) -> None:
    store = SqlAccounts(database)
    results = await asyncio.gather(
        *(store.create(account(f"a{n}"), password_hash="x", only_if_first=True) for n in range(5)),
        return_exceptions=True,
    )

    assert [type(r) for r in results].count(Conflict) == 4
    assert (await store.page(role=None, page=ALL))[1] == 1


async def test_an_account_that_is_not_there_cannot_change(accounts: SqlAccounts) -> None:
    await accounts.delete(OMAR, at=NOON)

    with pytest.raises(NotFound):
        await accounts.update(OMAR, by=OMAR, at=NOON, password_hash="x")
    with pytest.raises(NotFound):
        await accounts.delete(OMAR, at=NOON)
    with pytest.raises(NotFound):
        await accounts.get(OMAR)


async def test_a_password_stays_when_none_is_given(accounts: SqlAccounts, path: Place) -> None:
    await accounts.update(OMAR, by=OMAR, at=NOON, name="Omar")

    assert rows_of(path, "SELECT name, password_hash FROM accounts WHERE id = ?", OMAR) == [("Omar", "hash-omar")]


async def test_changes_at_once_undo_nothing_of_each_other(accounts: SqlAccounts) -> None:
    await asyncio.gather(
        accounts.update(OMAR, by=MARA, at=NOON, role="admin"),
        accounts.update(OMAR, by=OMAR, at=NOON, password_hash="new"),
        accounts.update(OMAR, by=OMAR, at=NOON, name="Omar"),
        accounts.update(OMAR, by=OMAR, at=NOON, email="omar@example.com"),
    )

    credential = await accounts.credential("omar@example.com")
    assert credential is not None
    assert (credential.account.name, credential.account.role, credential.password_hash) == ("Omar", "admin", "new")


async def test_who_is_no_admin_any_more_changes_nobody_else_and_no_role(accounts: SqlAccounts) -> None:
    with pytest.raises(NotFound):
        await accounts.update(MARA, by=OMAR, at=NOON, name="x")
    with pytest.raises(Forbidden):
        await accounts.update(OMAR, by=OMAR, at=NOON, role="admin")

    assert [a.role for a in (await accounts.page(role=None, page=ALL))[0]] == ["admin", "user"]


async def test_an_admin_who_is_disabled_meanwhile_changes_nobody_else_and_enables_nobody(
    accounts: SqlAccounts,
) -> None:
    await accounts.update(OMAR, by=MARA, at=NOON, role="admin")
    await accounts.update(OMAR, by=MARA, at=NOON, is_disabled=True)

    with pytest.raises(NotFound):
        await accounts.update(MARA, by=OMAR, at=NOON, is_disabled=True)
    with pytest.raises(Forbidden):
        await accounts.update(OMAR, by=OMAR, at=NOON, is_disabled=False)

    assert (await accounts.get(OMAR)).is_disabled
    assert not (await accounts.get(MARA)).is_disabled


async def test_a_deleted_account_leaves_nothing_that_tells_whose_it_was(accounts: SqlAccounts, path: Place) -> None:
    await accounts.create(account("third", role="user"), password_hash="hash-third")

    await accounts.delete(OMAR, at=NOON)
    await accounts.delete(AccountId("third"), at=NOON)

    assert rows_of(path, "SELECT name, email, password_hash FROM accounts WHERE deleted_at IS NOT NULL") == [
        ("", "", ""),
        ("", "", ""),
    ]
    assert await accounts.credential("") is None


async def test_the_last_admin_stays(accounts: SqlAccounts) -> None:
    with pytest.raises(Conflict, match="last admin"):
        await accounts.delete(MARA, at=NOON)
    with pytest.raises(Conflict, match="last admin"):
        await accounts.update(MARA, by=MARA, at=NOON, role="user")

    await accounts.update(OMAR, by=MARA, at=NOON, role="admin")
    await accounts.delete(MARA, at=NOON)


@pytest.mark.parametrize("how", ["delete", "demote"])
async def test_of_two_last_admins_that_go_at_once_one_stays(accounts: SqlAccounts, how: str) -> None:
    await accounts.update(OMAR, by=MARA, at=NOON, role="admin")

    def go(id: AccountId) -> object:
        return accounts.delete(id, at=NOON) if how == "delete" else accounts.update(id, by=id, at=NOON, role="user")

    results = await asyncio.gather(go(MARA), go(OMAR), return_exceptions=True)  # type: ignore[arg-type]

    assert sorted(type(r).__name__ for r in results) == ["Conflict", "NoneType" if how == "delete" else "tuple"]
    assert (await accounts.page(role="admin", page=ALL))[1] == 1


async def test_the_database_itself_keeps_the_last_admin(accounts: SqlAccounts, path: Place) -> None:
    for what in ("role = 'user'", "deleted_at = 1"):
        with pytest.raises(Refused, match="last admin"):
            change(path, f"UPDATE accounts SET {what}")


async def test_a_deleted_account_leaves_nothing_that_opens_its_secrets(
    accounts: SqlAccounts, database: Database, path: Place
) -> None:
    sessions, secrets = SqlSessions(database), SqlSecrets(database)
    await log_in(sessions, session("s1", OMAR))
    await secrets.save(OMAR, sealing(b"s"), at=NOON)

    await accounts.delete(OMAR, at=NOON)

    assert await sessions.find(SessionId("s1")) is None
    for table in ("sessions", "secrets", "data_keys"):
        assert rows_of(path, f"SELECT count(*) FROM {table} WHERE account_id = ?", OMAR) == [(0,)]


# Sessions and tickets


def session(id: str, account_id: AccountId = MARA, *, seconds: float = 3600) -> NewSession:
    role: Role = "admin" if account_id == MARA else "user"
    return NewSession(id=SessionId(id), account_id=account_id, role=role, expires_at=NOON + timedelta(seconds=seconds))


def caller(id: str, account_id: AccountId = MARA, *, seconds: float = 3600) -> Caller:
    opened = session(id, account_id, seconds=seconds)
    return Caller(account_id=account_id, role=opened.role, credential=Session(opened.id), expires_at=opened.expires_at)


async def log_in(sessions: SqlSessions, session: NewSession) -> bool:
    return await sessions.open(session, password_hash=session.account_id.replace("account-", "hash-"))


async def renew(
    sessions: SqlSessions, old: str, new: str, *, after: float = 0, grace: float = 10, seconds: float = 3600
) -> Renewal:
    now = NOON + timedelta(seconds=after)
    return await sessions.replace(
        SessionId(old), session(new, seconds=seconds), now=now, old_ends_at=now + timedelta(seconds=grace)
    )


@pytest.fixture
def sessions(database: Database, accounts: SqlAccounts) -> SqlSessions:
    return SqlSessions(database)


async def test_an_opened_session_is_found(sessions: SqlSessions) -> None:
    assert await log_in(sessions, session("s1", OMAR))

    assert await sessions.find(SessionId("s1")) == caller("s1", OMAR)


@pytest.mark.parametrize("change", [{"role": "admin"}, {"password_hash": "hash-omar-2"}])
async def test_a_new_role_or_password_ends_the_sessions_together_with_its_own_commit(
    sessions: SqlSessions, accounts: SqlAccounts, path: Place, change: dict[str, Any]
) -> None:
    for id, owner in (("s1", OMAR), ("s2", OMAR), ("s3", MARA)):
        await log_in(sessions, session(id, owner))

    _, has_ended_sessions = await accounts.update(OMAR, by=MARA, at=NOON, **change)

    assert has_ended_sessions
    assert rows_of(path, "SELECT id FROM sessions") == [("s3",)]


async def test_another_change_leaves_the_sessions_alone(sessions: SqlSessions, accounts: SqlAccounts) -> None:
    await log_in(sessions, session("s1", OMAR))

    _, has_ended_sessions = await accounts.update(OMAR, by=MARA, at=NOON, name="O", email="o@example.com", role="user")

    assert not has_ended_sessions
    assert await sessions.find(SessionId("s1")) is not None


@pytest.mark.parametrize("change", [{"role": "admin"}, {"password_hash": "hash-omar-2"}, None])
async def test_no_session_opens_for_an_account_that_has_changed_since_the_proof(
    sessions: SqlSessions, accounts: SqlAccounts, change: dict[str, Any] | None
) -> None:
    if change is None:
        await accounts.delete(OMAR, at=NOON)
    else:
        await accounts.update(OMAR, by=MARA, at=NOON, **change)

    assert not await log_in(sessions, session("s1", OMAR))

    assert await sessions.find(SessionId("s1")) is None


async def test_a_hash_is_renewed_only_over_the_one_that_was_verified(accounts: SqlAccounts, path: Place) -> None:
    assert await accounts.rehash(OMAR, old="hash-omar", new="slower")
    assert not await accounts.rehash(OMAR, old="hash-omar", new="from the old password")

    assert rows_of(path, "SELECT password_hash FROM accounts WHERE id = ?", OMAR) == [("slower",)]


async def test_a_replaced_session_lives_on_for_a_moment(sessions: SqlSessions) -> None:
    await log_in(sessions, session("s1"))

    assert await renew(sessions, "s1", "s2") is Renewal.REPLACED

    assert await sessions.find(SessionId("s1")) == caller("s1", seconds=10)
    assert await sessions.find(SessionId("s2")) == caller("s2")


async def test_replacing_never_makes_a_session_live_longer(sessions: SqlSessions) -> None:
    await log_in(sessions, session("s1", seconds=5))

    await renew(sessions, "s1", "s2")

    assert await sessions.find(SessionId("s1")) == caller("s1", seconds=5)


async def test_a_session_is_replaced_once(sessions: SqlSessions) -> None:
    await log_in(sessions, session("s1"))

    renewals = await asyncio.gather(*(renew(sessions, "s1", f"n{n}") for n in range(20)))

    assert renewals.count(Renewal.REPLACED) == 1
    assert renewals.count(Renewal.REPEATED) == 19
    for n, renewal in enumerate(renewals):
        assert (await sessions.find(SessionId(f"n{n}")) is not None) == (renewal is Renewal.REPLACED)


async def test_a_session_that_is_gone_is_not_replaced(sessions: SqlSessions) -> None:
    assert await renew(sessions, "s1", "s2") is Renewal.ENDED
    assert await sessions.find(SessionId("s2")) is None


async def test_s08_a_session_replaced_twice_over_comes_back_from_a_thief(sessions: SqlSessions) -> None:
    await log_in(sessions, session("s1"))
    await log_in(sessions, session("other login"))
    await renew(sessions, "s1", "s2")
    await renew(sessions, "s2", "s3")

    assert await renew(sessions, "s1", "s4", after=1) is Renewal.REUSED

    assert [await sessions.find(SessionId(id)) for id in ("s1", "s2", "s3", "s4")] == [None] * 4
    assert await sessions.find(SessionId("other login")) is not None


async def test_s08_a_replaced_session_that_comes_back_late_ends_the_login(sessions: SqlSessions) -> None:
    await log_in(sessions, session("s1"))
    await renew(sessions, "s1", "s2")
    await sessions.purge(now=NOON + timedelta(minutes=30))

    assert await sessions.end_if_replaced(SessionId("s2")) is None
    assert await sessions.end_if_replaced(SessionId("s1")) == MARA

    assert await sessions.find(SessionId("s2")) is None


@pytest.mark.parametrize("ended", ["s1", "s2", "s3"])
async def test_ending_a_session_ends_what_it_was_refreshed_from_and_into(sessions: SqlSessions, ended: str) -> None:
    await log_in(sessions, session("s1"))
    await renew(sessions, "s1", "s2", grace=0)
    await renew(sessions, "s2", "s3", grace=0)
    await log_in(sessions, session("other login"))

    await sessions.end(SessionId(ended))

    assert [await sessions.find(SessionId(id)) for id in ("s1", "s2", "s3")] == [None] * 3
    assert await sessions.find(SessionId("other login")) is not None


async def test_a_ticket_is_used_once(sessions: SqlSessions) -> None:
    await sessions.save_ticket("digest", SessionId("s1"), expires_at=NOON)

    taken = await asyncio.gather(*(sessions.take_ticket("digest", now=NOON) for _ in range(5)))

    assert sorted(taken, key=str) == [None] * 4 + ["s1"]


async def test_a_ticket_expires(sessions: SqlSessions) -> None:
    await sessions.save_ticket("digest", SessionId("s1"), expires_at=NOON)

    assert await sessions.take_ticket("digest", now=NOON + timedelta(milliseconds=1)) is None
    assert await sessions.take_ticket("digest", now=NOON) is None


async def test_what_has_expired_is_purged(sessions: SqlSessions, path: Place) -> None:
    await log_in(sessions, session("old", seconds=1))
    await log_in(sessions, session("new"))
    await sessions.save_ticket("old", SessionId("old"), expires_at=NOON + timedelta(seconds=1))
    await sessions.save_ticket("new", SessionId("new"), expires_at=NOON + timedelta(hours=1))

    await sessions.purge(now=NOON + timedelta(seconds=2))

    assert rows_of(path, "SELECT id FROM sessions") == [("new",)]
    assert rows_of(path, "SELECT digest FROM tickets") == [("new",)]


# Secrets


@pytest.fixture
def secrets(database: Database, accounts: SqlAccounts) -> SqlSecrets:
    return SqlSecrets(database)


FIRST_KEY: Final = WrappedKey(version=1, master_key_id="m", wrapped=b"w")


def sealing(sealed: bytes, key: str = "K") -> Seal:
    """Seals under the newest data key, or a first one."""

    def seal(newest: WrappedKey | None) -> tuple[SealedSecret, WrappedKey]:
        data_key = newest or FIRST_KEY
        return SealedSecret(key=key, key_version=data_key.version, sealed=sealed), data_key

    return seal


async def test_a_secret_is_new_once_and_then_replaced(secrets: SqlSecrets) -> None:
    first, is_new = await secrets.save(MARA, sealing(b"1"), at=NOON)
    assert is_new
    later = NOON + timedelta(hours=1)

    second, is_new = await secrets.save(MARA, sealing(b"2"), at=later)

    assert not is_new
    assert (first.created_at, second.created_at, second.updated_at) == (NOON, NOON, later)
    assert await secrets.sealed(MARA) == [(SealedSecret(key="K", key_version=1, sealed=b"2"), FIRST_KEY)]
    assert await secrets.list(MARA) == [second]


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
    secrets: SqlSecrets, accounts: SqlAccounts, path: Place, id: AccountId
) -> None:
    await accounts.delete(OMAR, at=NOON)

    with pytest.raises(NotFound):
        await secrets.save(id, sealing(b"s"), at=NOON)
    assert rows_of(path, "SELECT count(*) FROM secrets") == [(0,)]
    assert await secrets.master_key_ids() == set()


async def test_no_secret_is_without_its_data_key(secrets: SqlSecrets, path: Place) -> None:
    await secrets.save(MARA, sealing(b"1"), at=NOON)

    with pytest.raises(Refused):
        change(path, "DELETE FROM data_keys")


# Flows


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
    )


@pytest.fixture
def flows(database: Database, accounts: SqlAccounts) -> SqlFlows:
    return SqlFlows(database)


async def test_a_flow_is_read_back_byte_for_byte(flows: SqlFlows) -> None:
    definition = "\ufeffnodes:\r\n  é😀: {}  # \t \n\n"
    await flows.create(MARA, flow(definition=definition))

    assert await flows.get(MARA, FlowId("flow-1")) == flow(definition=definition)
    assert await flows.definition(MARA, RevisionId("rev-1")) == definition


async def test_a_changed_definition_is_a_new_revision_and_the_old_one_stays(flows: SqlFlows, path: Place) -> None:
    await flows.create(MARA, flow())
    for _ in range(2):
        await flows.update(MARA, FlowId("flow-1"), lambda before: flow(revision="rev-2", definition="two"))

    assert (await flows.current(MARA, FlowId("flow-1"))).revision_id == "rev-2"
    assert await flows.definition(MARA, RevisionId("rev-1")) == "nodes: …"
    assert rows_of(path, "SELECT id, number FROM revisions ORDER BY number") == [("rev-1", 1), ("rev-2", 2)]


async def test_every_change_counts_and_a_new_definition_counts_twice(flows: SqlFlows) -> None:
    await flows.create(MARA, flow())
    states = [(await flows.get(MARA, FlowId("flow-1"))).state]

    # Whatever the change says of the numbers, the store counts.
    for revision, definition in (("rev-1", "one"), ("rev-2", "two"), ("rev-2", "two"), ("rev-3", "three")):
        changed = await flows.update(
            MARA, FlowId("flow-1"), lambda before, r=revision, d=definition: flow(revision=r, definition=d)
        )
        states.append(changed.state)
        assert (await flows.get(MARA, FlowId("flow-1"))).state == changed.state

    assert states == ["1.1", "1.2", "2.3", "2.4", "3.5"]
    assert [f.revision for f in (await flows.page(MARA, tag=None, page=ALL))[0]] == [3]


async def add_revised(flows: SqlFlows, id: str) -> None:
    """A flow with the revisions 1 to 4, an hour apart; and another flow."""
    await flows.create(MARA, flow(f"{id}-other", revision="rev-other"))
    await flows.create(MARA, flow(id))
    for n in range(2, 5):
        later = replace(flow(id, revision=f"rev-{n}", definition=f"é{n}"), version=f"v{n}")
        await flows.update(MARA, FlowId(id), lambda before, n=n, to=later: replace(to, updated_at=hours_after(n)))


def hours_after(hours: int) -> datetime:
    return NOON + timedelta(hours=hours)


@pytest.fixture
async def revised(flows: SqlFlows) -> SqlFlows:
    await add_revised(flows, "flow-1")
    return flows


async def test_revisions_are_listed_the_newest_first(revised: SqlFlows) -> None:
    page, total = await revised.revisions(MARA, FlowId("flow-1"), page=Page(limit=2, offset=1))

    assert total == 4
    third = RevisionView(number=3, version="v3", size=3, created_at=hours_after(3), created_by=MARA, is_current=False)
    assert page[0] == third
    assert [(r.number, r.is_current) for r in page] == [(3, False), (2, False)]
    page, _ = await revised.revisions(MARA, FlowId("flow-1"), page=Page(limit=1, offset=0))
    assert [(r.number, r.is_current) for r in page] == [(4, True)]
    assert await revised.revisions(MARA, FlowId("flow-1"), page=Page(limit=1, offset=9)) == ([], 4)


async def test_a_revision_is_read_with_its_definition_and_so_is_the_one_before(revised: SqlFlows) -> None:
    id = FlowId("flow-1")
    assert (await revised.revision(MARA, id, 2)).definition == "é2"
    before = await revised.revision_before(MARA, id, 2)
    assert before is not None
    assert (before.number, before.definition) == (1, "nodes: …")
    assert await revised.revision_before(MARA, id, 1) is None
    for number in (0, 5):
        with pytest.raises(NotFound, match="Revision"):
            await revised.revision(MARA, id, number)


async def test_revisions_belong_to_their_account_and_flow(revised: SqlFlows) -> None:
    for account_id, id in ((OMAR, FlowId("flow-1")), (MARA, FlowId("flow-9"))):
        for attempt in (
            revised.revisions(account_id, id, page=ALL),
            revised.revision(account_id, id, 1),
            revised.delete_revision(account_id, id, 1, at=NOON),
        ):
            with pytest.raises(NotFound, match="Flow"):
                await attempt
        assert await revised.revision_before(account_id, id, 2) is None
    assert (await revised.revisions(MARA, FlowId("flow-1-other"), page=ALL))[1] == 1


async def test_a_deleted_revision_is_gone_and_its_number_stays_taken(revised: SqlFlows, path: Place) -> None:
    id = FlowId("flow-1")
    await revised.delete_revision(MARA, id, 3, at=NOON)

    assert [r.number for r in (await revised.revisions(MARA, id, page=ALL))[0]] == [4, 2, 1]
    before = await revised.revision_before(MARA, id, 4)
    assert before is not None
    assert before.number == 2
    for attempt in (
        revised.revision(MARA, id, 3),
        revised.delete_revision(MARA, id, 3, at=NOON),
        revised.delete_revision(MARA, id, 9, at=NOON),
        revised.definition(MARA, RevisionId("rev-3")),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert rows_of(path, "SELECT number, definition FROM revisions WHERE id = 'rev-3'") == [(3, None)]
    assert (await revised.update(MARA, id, lambda before: flow(revision="rev-5"))).revision == 5


async def test_the_current_revision_cannot_be_deleted(revised: SqlFlows) -> None:
    with pytest.raises(Conflict, match="current"):
        await revised.delete_revision(MARA, FlowId("flow-1"), 4, at=NOON)

    assert await revised.definition(MARA, RevisionId("rev-4")) == "é4"


async def test_a_revision_stays_until_its_executions_have_ended(journal: SqlJournal, database: Database) -> None:
    flows, id, epoch = SqlFlows(database), FlowId("flow-9"), await journal.claim()
    await add_revised(flows, id)
    await journal.append(creation("e1", epoch=epoch, flow_id=id))

    with pytest.raises(Conflict, match="ended"):
        await flows.delete_revision(MARA, id, 1, at=NOON)
    await flows.delete_revision(MARA, id, 2, at=NOON)
    await journal.append(completion("e1", epoch=epoch))
    await flows.delete_revision(MARA, id, 1, at=NOON)

    assert [r.number for r in (await flows.revisions(MARA, id, page=ALL))[0]] == [4, 3]


async def test_nothing_is_started_with_a_revision_that_was_deleted(
    journal: SqlJournal, database: Database, path: Place
) -> None:
    flows, id, epoch = SqlFlows(database), FlowId("flow-9"), await journal.claim()
    await add_revised(flows, id)
    await journal.append(creation("e1", epoch=epoch, flow_id=id, key="k", digest="d"))
    await journal.append(completion("e1", epoch=epoch))
    await flows.delete_revision(MARA, id, 1, at=NOON)

    # As by somebody who had read the flow's revision just before.
    with pytest.raises(NotFound, match="Revision"):
        await journal.append(creation("e2", epoch=epoch, flow_id=id))
    with pytest.raises(DuplicateRequest):
        await journal.append(creation("e3", epoch=epoch, flow_id=id, key="k", digest="d"))

    assert rows_of(path, "SELECT id FROM executions") == [("e1",)]
    assert (await SqlExecutions(database).get(MARA, ExecutionId("e1"))).result == b"null"


@pytest.mark.only("sqlite")
def test_a_revision_is_known_to_be_needed_without_reading_executions(path: Path) -> None:
    values = {"id": "f", "number": 1, "account_id": "a"}
    with closing(sqlite3.connect(path)) as connection:
        plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + HAS_OPEN_EXECUTIONS, values)]

    assert any("COVERING INDEX executions_open" in step for step in plan), plan


async def test_a_change_that_fails_leaves_the_flow_as_it_was(flows: SqlFlows) -> None:
    def refuse(before: SavedFlow) -> SavedFlow:
        raise Conflict("no")

    await flows.create(MARA, flow())

    with pytest.raises(Conflict):
        await flows.update(MARA, FlowId("flow-1"), refuse)

    assert await flows.get(MARA, FlowId("flow-1")) == flow()


async def test_no_flow_is_made_for_an_account_that_is_gone(flows: SqlFlows, accounts: SqlAccounts) -> None:
    await accounts.delete(OMAR, at=NOON)

    with pytest.raises(NotFound):
        await flows.create(OMAR, flow())


async def test_flows_belong_to_their_account(flows: SqlFlows) -> None:
    await flows.create(MARA, flow())

    for attempt in (
        flows.get(OMAR, FlowId("flow-1")),
        flows.update(OMAR, FlowId("flow-1"), lambda before: before),
        flows.delete(OMAR, FlowId("flow-1"), at=NOON),
        flows.current(OMAR, FlowId("flow-1")),
        flows.definition(OMAR, RevisionId("rev-1")),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await flows.page(OMAR, tag=None, page=ALL) == ([], 0)


async def test_a_deleted_flow_is_gone_and_its_revisions_stay(flows: SqlFlows) -> None:
    await flows.create(MARA, flow())
    await flows.delete(MARA, FlowId("flow-1"), at=NOON)

    with pytest.raises(NotFound):
        await flows.get(MARA, FlowId("flow-1"))
    with pytest.raises(NotFound):
        await flows.current(MARA, FlowId("flow-1"))
    assert await flows.page(MARA, tag=None, page=ALL) == ([], 0)
    assert await flows.definition(MARA, RevisionId("rev-1")) == "nodes: …"


async def test_a_check_that_fails_keeps_the_flow(flows: SqlFlows) -> None:
    def refuse(before: SavedFlow) -> None:
        assert before == flow()
        raise Conflict("no")

    await flows.create(MARA, flow())

    with pytest.raises(Conflict):
        await flows.delete(MARA, FlowId("flow-1"), at=NOON, check=refuse)
    assert await flows.get(MARA, FlowId("flow-1")) == flow()
    for owner, id in ((OMAR, "flow-1"), (MARA, "flow-2")):
        with pytest.raises(NotFound):
            await flows.delete(owner, FlowId(id), at=NOON, check=refuse)


async def test_flows_are_listed_in_pages_and_by_tag(flows: SqlFlows) -> None:
    for n in range(5):
        await flows.create(MARA, flow(f"flow-{n}", revision=f"rev-{n}", tags=["all", f"'t{n % 2}'"]))

    page, total = await flows.page(MARA, tag=None, page=Page(limit=2, offset=1))
    assert ([f.id for f in page], total) == (["flow-1", "flow-2"], 5)
    page, total = await flows.page(MARA, tag="'t1'", page=ALL)
    assert ([f.id for f in page], total) == (["flow-1", "flow-3"], 2)
    assert page[0].tags == ["all", "'t1'"]
    assert await flows.page(MARA, tag="none", page=ALL) == ([], 0)
    assert await flows.page(MARA, tag=None, page=Page(limit=2, offset=9)) == ([], 5)


# Executions, as people see them


@pytest.fixture
async def executions(database: Database, journal: SqlJournal) -> SqlExecutions:
    """Ten of Mara's, the even ones completed, an hour apart; one of Omar's."""
    epoch = await journal.claim()
    for n in range(10):
        at = NOON + timedelta(hours=n)
        await journal.append(creation(f"e{n}", epoch=epoch, flow_id=f"flow-{n % 3}", at=at))
        if n % 2 == 0:
            await journal.append(completion(f"e{n}", epoch=epoch, result={"n": n}, at=at))
    await journal.append(creation("omars", epoch=epoch, account_id=OMAR, flow_id="flow-omar"))
    return SqlExecutions(database)


async def test_an_execution_shows_its_input_and_result(executions: SqlExecutions) -> None:
    ended, running = await executions.get(MARA, ExecutionId("e4")), await executions.get(MARA, ExecutionId("e5"))

    assert (ended.status, ended.input, ended.result) == (Status.COMPLETED, b'{"n":1}', b'{"n":4}')
    assert (running.status, running.input, running.result) == (Status.RUNNING, b'{"n":1}', None)
    for id in ("omars", "nobody"):
        with pytest.raises(NotFound):
            await executions.get(MARA, ExecutionId(id))
        with pytest.raises(NotFound):
            await executions.logs(MARA, ExecutionId(id), level=None, page=ALL)


async def test_executions_are_listed_the_newest_first(executions: SqlExecutions) -> None:
    page, total = await executions.page(MARA, flow_id=None, statuses=(), page=Page(limit=3, offset=1))
    assert ([e.id for e in page], total) == (["e8", "e7", "e6"], 10)
    page, total = await executions.page(MARA, flow_id=FlowId("flow-1"), statuses=(Status.COMPLETED,), page=ALL)
    assert ([e.id for e in page], total) == (["e4"], 1)
    page, total = await executions.page(MARA, flow_id=None, statuses=(Status.RUNNING, Status.FAILED), page=ALL)
    assert ([e.id for e in page], total) == (["e9", "e7", "e5", "e3", "e1"], 5)


async def test_logs_are_listed_by_level(executions: SqlExecutions, journal: SqlJournal) -> None:
    lines = [replace(log_line(str(n)), level="error" if n % 2 else "info", node="a") for n in range(6)]
    await journal.append(following("e1", *lines, epoch=1, after=2))

    page, total = await executions.logs(MARA, ExecutionId("e1"), level=None, page=Page(limit=2, offset=3))
    assert ([line.message for line in page], total) == (["3", "4"], 6)
    page, total = await executions.logs(MARA, ExecutionId("e1"), level="error", page=ALL)
    assert ([line.message for line in page], total) == (["1", "3", "5"], 3)
    assert page[0].node_id == "a"


async def test_old_executions_are_purged_with_their_events_and_open_ones_stay(
    executions: SqlExecutions, path: Place
) -> None:
    purged = []
    while (step := await executions.purge(ended_before=NOON + timedelta(hours=5), limit=2)) != (0, False):
        purged.append(step)

    assert sum(count for count, _ in purged) == 3
    assert max(count for count, _ in purged) <= 2
    ids = [row[0] for row in rows_of(path, "SELECT id FROM executions ORDER BY id")]
    assert ids == ["e1", "e3", "e5", "e6", "e7", "e8", "e9", "omars"]
    assert rows_of(path, "SELECT DISTINCT execution_id FROM events ORDER BY 1") == [(id,) for id in ids]


async def test_a_long_execution_is_purged_in_several_commits_and_not_shown_meanwhile(
    executions: SqlExecutions, database: Database, journal: SqlJournal, path: Place
) -> None:
    lines = [log_line(str(n)) for n in range(7000)]
    await journal.append(following("e1", *lines, epoch=1, after=2))
    await journal.append(completion("e1", epoch=1, after=7002))
    left = []
    has_more, purged = True, 0
    while has_more:
        gone, has_more = await executions.purge(ended_before=NOON + timedelta(minutes=10), limit=10)
        purged += gone
        left.append(rows_of(path, "SELECT count(*) FROM events WHERE execution_id = 'e1'")[0][0])
        with pytest.raises(NotFound):
            await executions.get(MARA, ExecutionId("e1"))
        with pytest.raises(NotFound):
            await executions.logs(MARA, ExecutionId("e1"), level=None, page=ALL)
        with pytest.raises(NotFound):
            await journal.load(ExecutionId("e1"))
        assert bool(rows_of(path, "SELECT 1 FROM executions WHERE id = 'e1'")) == (left[-1] > 0)

    assert purged == 2, "e0 and e1"
    assert left[-1] == 0
    assert max(before - after for before, after in itertools.pairwise([7004, *left])) <= 2000


@pytest.mark.only("sqlite")
async def test_a_purge_gives_space_back_to_the_disk(database: Database, journal: SqlJournal, path: Path) -> None:
    epoch = await journal.claim()
    for n in range(40):
        await journal.append(creation(f"e{n}", epoch=epoch))
        await journal.append(completion(f"e{n}", epoch=epoch, result="x" * 100_000))
    executions = SqlExecutions(database)
    pages = "PRAGMA page_count"
    full = rows_of(path, pages)[0][0]

    while (await executions.purge(ended_before=NOON + timedelta(days=1), limit=10))[1]:
        pass
    while await executions.give_space_back():
        pass

    assert rows_of(path, pages)[0][0] < full / 10
    await database.write(lambda tx: tx.row("SELECT 1"))
    assert rows_of(path, "PRAGMA integrity_check") == [("ok",)]
    await database.close()
    # The last connection to close has written everything into the file itself.
    assert await asyncio.to_thread(lambda: path.stat().st_size) < full * 4096 / 10


async def test_an_account_keeps_its_order_whatever_it_is_called(accounts: SqlAccounts, path: Place) -> None:
    names = ["'; DROP TABLE accounts; --", "é😀", "\x00", "%_"]
    made: list[Account] = []
    for n, name in enumerate(names):
        made.append(replace(account(f"b{n}", role="user"), name=name))
        await accounts.create(made[-1], password_hash="x")

    page, total = await accounts.page(role="user", page=Page(limit=10, offset=1))

    if isinstance(path, str):
        # PostgreSQL knows no text with a NUL in it.
        made = [replace(one, name=one.name.replace("\0", "\ufffd")) for one in made]
    assert (page, total) == (made, 5)
