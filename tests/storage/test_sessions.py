"""Sessions and tickets in the database: opening, replacement and end."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from flowrunner.domain.account import Caller, Session
from flowrunner.domain.values import AccountId, SessionId
from flowrunner.ports.accounts import AccountChanges
from flowrunner.ports.page import Page
from flowrunner.ports.sessions import NewSession, Renewal
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.database import Database
from flowrunner.storage.sessions import SqlSessions
from support.databases import MARA, MARA_ACCOUNT, NOON, OMAR, OMAR_ACCOUNT, Place, change, rows_of

from .samples import log_in, session


def caller(id: str, account_id: AccountId = MARA_ACCOUNT, *, seconds: float = 3600) -> Caller:
    opened = session(id, account_id, seconds=seconds)
    credential = Session(opened.id, logged_in_at=NOON)
    return Caller(account_id=account_id, role=opened.role, credential=credential, expires_at=opened.expires_at)


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
    assert await log_in(sessions, session("s1", OMAR_ACCOUNT))

    assert await sessions.find(SessionId("s1")) == caller("s1", OMAR_ACCOUNT)


async def test_logins_of_one_millisecond_are_all_on_the_pages_of_logins(sessions: SqlSessions) -> None:
    for id in "abc":
        await log_in(sessions, session(id))
    await log_in(sessions, session("other", OMAR_ACCOUNT))

    listed: list[str] = []
    cursor = ""
    for _ in range(3):
        page, total = await sessions.logins(MARA_ACCOUNT, now=NOON, page=Page(limit=1, cursor=cursor))
        assert total == 3
        listed += [login.family for login in page]
        cursor = str(round(page[-1].logged_in_at.timestamp() * 1000))

    assert listed == ["c", "b", "a"]
    found = await sessions.find(SessionId("other"))
    assert found is not None
    assert found.credential == Session(SessionId("other"), logged_in_at=NOON)


@pytest.mark.parametrize("change", [{"role": "admin"}, {"password_hash": "hash-omar-2"}])
async def test_a_new_role_or_password_ends_the_sessions_together_with_its_own_commit(
    sessions: SqlSessions, accounts: SqlAccounts, path: Place, change: dict[str, Any]
) -> None:
    for id, owner in (("s1", OMAR), ("s2", OMAR), ("s3", MARA)):
        await log_in(sessions, session(id, AccountId(owner)))

    _, has_ended_sessions = await accounts.update(OMAR_ACCOUNT, AccountChanges(**change), by=MARA_ACCOUNT, at=NOON)

    assert has_ended_sessions
    assert rows_of(path, "SELECT id FROM sessions") == [("s3",)]


async def test_another_change_leaves_the_sessions_alone(sessions: SqlSessions, accounts: SqlAccounts) -> None:
    await log_in(sessions, session("s1", OMAR_ACCOUNT))

    _, has_ended_sessions = await accounts.update(
        OMAR_ACCOUNT, AccountChanges(name="O", email="o@example.com", role="user"), by=MARA_ACCOUNT, at=NOON
    )

    assert not has_ended_sessions
    assert await sessions.find(SessionId("s1")) is not None


@pytest.mark.parametrize("change", [{"role": "admin"}, {"password_hash": "hash-omar-2"}, None])
async def test_no_session_opens_for_an_account_that_has_changed_since_the_proof(
    sessions: SqlSessions, accounts: SqlAccounts, change: dict[str, Any] | None
) -> None:
    if change is None:
        await accounts.delete(OMAR_ACCOUNT, at=NOON)
    else:
        await accounts.update(OMAR_ACCOUNT, AccountChanges(**change), by=MARA_ACCOUNT, at=NOON)

    assert not await log_in(sessions, session("s1", OMAR_ACCOUNT))

    assert await sessions.find(SessionId("s1")) is None


# Replaced ones


async def test_a_replaced_session_lives_on_for_a_moment(sessions: SqlSessions) -> None:
    await log_in(sessions, session("s1"))

    assert await renew(sessions, "s1", "s2") is Renewal.REPLACED

    assert await sessions.find(SessionId("s1")) == caller("s1", seconds=10)
    assert await sessions.find(SessionId("s2")) == caller("s2")


async def test_s66_a_session_is_as_old_as_its_login_however_often_it_is_replaced(sessions: SqlSessions) -> None:
    await log_in(sessions, session("s1"))
    await renew(sessions, "s1", "s2", after=6)
    await renew(sessions, "s2", "s3", after=12)

    found = [await sessions.find(SessionId(id)) for id in ("s1", "s2", "s3")]

    assert [each and each.credential for each in found] == [
        Session(SessionId(id), logged_in_at=NOON) for id in ("s1", "s2", "s3")
    ]


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
    await sessions.purge(now=NOON + timedelta(minutes=30), limit=10)

    assert await sessions.end_if_replaced(SessionId("s2")) is None
    assert await sessions.end_if_replaced(SessionId("s1")) == MARA_ACCOUNT

    assert await sessions.find(SessionId("s2")) is None


async def test_s08_a_replaced_session_ends_its_login_long_after_it_was_forgotten(
    sessions: SqlSessions, path: Place
) -> None:
    for login in ("s1", "t1"):
        await log_in(sessions, session(login))
        await renew(sessions, login, f"{login}.2", after=0)
        await renew(sessions, f"{login}.2", f"{login}.3", after=100)
        await renew(sessions, f"{login}.3", f"{login}.4", after=200)
    assert rows_of(path, "SELECT id FROM sessions WHERE id IN ('s1', 't1', 's1.2', 't1.2')") == []

    assert await sessions.end_if_replaced(SessionId("s1.4")) is None
    assert await sessions.end_if_replaced(SessionId("s1.2")) == MARA_ACCOUNT
    assert await renew(sessions, "t1", "t1.5", after=300) is Renewal.REUSED

    assert rows_of(path, "SELECT id FROM sessions") == []


async def test_s08_a_session_of_an_earlier_version_is_remembered_until_its_token_expires(
    sessions: SqlSessions, path: Place
) -> None:
    await log_in(sessions, session("s1"))
    await renew(sessions, "s1", "of an earlier version")
    await renew(sessions, "of an earlier version", "s1.3", after=100)
    await renew(sessions, "s1.3", "s1.4", after=200)
    await sessions.purge(now=NOON + timedelta(minutes=30), limit=10)

    assert await sessions.end_if_replaced(SessionId("of an earlier version")) == MARA_ACCOUNT

    assert rows_of(path, "SELECT id FROM sessions") == []


async def test_an_account_that_refreshes_without_end_has_few_sessions(sessions: SqlSessions, path: Place) -> None:
    counts = set()
    for login in ("s", "t"):
        await log_in(sessions, session(login))
        await renew(sessions, login, f"{login}.0")
        for second in range(100):
            await renew(sessions, f"{login}.{second}", f"{login}.{second + 1}", after=second)
            counts.add(rows_of(path, "SELECT count(*) FROM sessions")[0][0])

    # The live one, and those of the seconds of grace, of two logins.
    assert max(counts) <= 2 * 13


async def test_a_login_ends_those_that_would_expire_first_beyond_the_limit(
    sessions: SqlSessions, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.storage.sessions.MOST_LOGINS", 3)
    for n, seconds in enumerate((20, 10, 40, 30)):
        await log_in(sessions, session(f"s{n}", seconds=seconds))
    await log_in(sessions, session("other", OMAR_ACCOUNT, seconds=1))
    await renew(sessions, "s0", "s0.1", seconds=50)
    assert {id for (id,) in rows_of(path, "SELECT id FROM sessions")} == {"s0", "s0.1", "s2", "s3", "other"}

    await log_in(sessions, session("s4", seconds=60))

    assert {id for (id,) in rows_of(path, "SELECT id FROM sessions")} == {"s0", "s0.1", "s2", "s4", "other"}


async def test_a_login_stays_that_expires_before_all_others(
    sessions: SqlSessions, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.storage.sessions.MOST_LOGINS", 2)
    await log_in(sessions, session("s0", seconds=40))
    await log_in(sessions, session("s1", seconds=50))

    await log_in(sessions, session("s2", seconds=1))

    assert {id for (id,) in rows_of(path, "SELECT id FROM sessions")} == {"s1", "s2"}


@pytest.mark.parametrize("ended", ["s1", "s2", "s3"])
async def test_ending_a_session_ends_what_it_was_refreshed_from_and_into(sessions: SqlSessions, ended: str) -> None:
    await log_in(sessions, session("s1"))
    await renew(sessions, "s1", "s2", grace=0)
    await renew(sessions, "s2", "s3", grace=0)
    await log_in(sessions, session("other login"))

    await sessions.end(SessionId(ended))

    assert [await sessions.find(SessionId(id)) for id in ("s1", "s2", "s3")] == [None] * 3
    assert await sessions.find(SessionId("other login")) is not None


# Tickets


async def test_a_ticket_is_used_once(sessions: SqlSessions) -> None:
    await sessions.save_ticket("digest", SessionId("s1"), expires_at=NOON)

    taken = await asyncio.gather(*(sessions.take_ticket("digest", now=NOON) for _ in range(5)))

    assert sorted(taken, key=str) == [None] * 4 + ["s1"]


async def test_a_ticket_expires(sessions: SqlSessions) -> None:
    await sessions.save_ticket("digest", SessionId("s1"), expires_at=NOON)

    assert await sessions.take_ticket("digest", now=NOON + timedelta(milliseconds=1)) is None
    assert await sessions.take_ticket("digest", now=NOON) is None


async def test_a_ticket_that_has_expired_opens_no_session(sessions: SqlSessions) -> None:
    await log_in(sessions, session("s1"))
    await sessions.save_ticket("digest", SessionId("s1"), expires_at=NOON)
    late = NOON + timedelta(milliseconds=1)

    assert await sessions.open_by_ticket("digest", lambda _: session("s2"), now=late) is None
    assert await sessions.find(SessionId("s2")) is None
    # It was used all the same.
    assert await sessions.open_by_ticket("digest", lambda _: session("s2"), now=NOON) is None


async def test_a_ticket_opens_one_session_which_is_as_old_as_its_login(sessions: SqlSessions) -> None:
    await log_in(sessions, session("s1"))
    await sessions.save_ticket("digest", SessionId("s1"), expires_at=NOON)
    made = iter("abcde")

    def new(parent: Caller) -> NewSession:
        assert parent.account_id == MARA_ACCOUNT
        return session(next(made))

    opened = await asyncio.gather(*(sessions.open_by_ticket("digest", new, now=NOON) for _ in range(5)))

    assert sorted(each is None for each in opened) == [False] + [True] * 4
    found = await sessions.find(SessionId("a"))
    assert found is not None
    assert isinstance(found.credential, Session)
    assert found.credential.logged_in_at == NOON - timedelta(milliseconds=1)


@pytest.mark.parametrize("ending", ["logout", "expiry", "account"])
async def test_a_ticket_opens_no_session_after_its_login_has_ended(
    sessions: SqlSessions, path: Place, ending: str
) -> None:
    await log_in(sessions, session("s1", OMAR_ACCOUNT, seconds=30))
    await sessions.save_ticket("digest", SessionId("s1"), expires_at=NOON + timedelta(hours=1))
    if ending == "logout":
        await sessions.end(SessionId("s1"))
    elif ending == "account":
        change(path, "UPDATE accounts SET disabled_at = 1 WHERE id = ?", OMAR)
    now = NOON + timedelta(seconds=30 if ending == "expiry" else 1)

    assert await sessions.open_by_ticket("digest", lambda parent: session("a", OMAR_ACCOUNT), now=now) is None
    assert rows_of(path, "SELECT id FROM sessions WHERE id = 'a'") == []


async def test_what_has_expired_is_purged_in_portions(sessions: SqlSessions, path: Place) -> None:
    for number in range(3):
        await log_in(sessions, session(f"old {number}", seconds=1))
    await log_in(sessions, session("new"))
    await sessions.save_ticket("old", SessionId("old 0"), expires_at=NOON + timedelta(seconds=1))
    await sessions.save_ticket("new", SessionId("new"), expires_at=NOON + timedelta(hours=1))

    now = NOON + timedelta(seconds=2)
    assert await sessions.purge(now=now, limit=2)
    assert rows_of(path, "SELECT count(*) FROM sessions") == [(2,)]
    assert not await sessions.purge(now=now, limit=2)

    assert rows_of(path, "SELECT id FROM sessions") == [("new",)]
    assert rows_of(path, "SELECT digest FROM tickets") == [("new",)]
