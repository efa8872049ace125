"""Sessions: login, refresh, logout and tickets."""

import asyncio

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Unauthorized
from flowrunner.domain.values import AccountId, SessionId
from flowrunner.storage.database import Database
from flowrunner.storage.sessions import SqlSessions
from support.databases import rows_of

from .account_services import AccountServices


async def test_a_login_gives_a_token_that_stands_for_its_account(services: AccountServices) -> None:
    caller = await services.add("omar")

    token = await services.login(" Omar@Example.com ")

    assert token.account_id == caller.account_id
    assert (await services.sessions.authenticate(token.token)).role == "user"
    assert (await services.new_sessions().authenticate(token.token)).account_id == caller.account_id


@pytest.mark.parametrize("username", ["omar@example.com", "nobody@example.com", "not an address", ""])
async def test_a_wrong_name_and_a_wrong_password_look_the_same(services: AccountServices, username: str) -> None:
    await services.add("omar")

    with pytest.raises(Unauthorized, match="The username or the password is wrong"):
        await services.login(username, "wrong")


async def test_a_token_expires(services: AccountServices) -> None:
    await services.add("omar")
    token = (await services.login()).token
    await services.sessions.authenticate(token)

    services.clock.advance(minutes=61)

    for sessions in (services.sessions, services.new_sessions()):
        with pytest.raises(Unauthorized):
            await sessions.authenticate(token)


async def test_a_logout_ends_the_token_at_once_and_after_a_restart(services: AccountServices) -> None:
    await services.add("omar")
    token = (await services.login()).token
    caller = await services.sessions.authenticate(token)

    family = await services.sessions.family_of(caller)

    await services.sessions.logout(caller)

    for sessions in (services.sessions, services.new_sessions()):
        with pytest.raises(Unauthorized):
            await sessions.authenticate(token)
    assert await services.sessions.present(family) is None


class SlowSessions(SqlSessions):
    """Sessions that are looked up at once and returned when the test allows it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.found, self.may_answer = asyncio.Event(), asyncio.Event()

    async def find(self, id: SessionId) -> Caller | None:
        caller = await super().find(id)
        self.found.set()
        await self.may_answer.wait()
        return caller


async def test_a_token_whose_session_ends_while_it_is_looked_up_is_not_kept(
    services: AccountServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    await services.add("omar")
    token = (await services.login()).token
    caller = await services.new_sessions().authenticate(token)
    monkeypatch.setattr(services.sessions, "_store", store := SlowSessions(services.engine.database))
    looking_up = asyncio.create_task(services.sessions.authenticate(token))
    await store.found.wait()

    await services.sessions.logout(caller)
    store.may_answer.set()
    await looking_up

    with pytest.raises(Unauthorized):
        await services.sessions.authenticate(token)


async def test_a_refresh_gives_a_new_token_and_the_old_one_lives_on_for_a_moment(services: AccountServices) -> None:
    await services.add("omar")
    old = (await services.login()).token
    new = (await services.sessions.refresh(await services.sessions.authenticate(old))).token

    await services.sessions.authenticate(old)
    await services.sessions.authenticate(new)
    services.clock.advance(seconds=11)

    with pytest.raises(Unauthorized):
        await services.sessions.authenticate(old)
    await services.sessions.authenticate(new)


async def test_a_request_under_way_goes_on_after_its_token_was_refreshed_but_not_after_the_logout(
    services: AccountServices,
) -> None:
    await services.add("omar")
    old = (await services.login()).token
    before = await services.sessions.authenticate(old, address="192.0.2.7")
    new = await services.sessions.authenticate((await services.sessions.refresh(before)).token)
    services.clock.advance(seconds=11)
    # It forgets the session of the old token.
    await services.sessions.refresh(new)

    now = await services.sessions.authenticate_again(old, before)
    await services.sessions.logout(new)

    assert (now.account_id, now.address) == (before.account_id, "192.0.2.7")
    with pytest.raises(Unauthorized):
        await services.sessions.authenticate_again(old, before)


async def test_a_token_is_refreshed_once(services: AccountServices) -> None:
    await services.add("omar")
    caller = await services.sessions.authenticate((await services.login()).token)
    await services.sessions.refresh(caller)

    with pytest.raises(Unauthorized, match="refreshed before"):
        await services.sessions.refresh(caller)


async def test_s08_a_token_ends_its_login_although_the_session_of_it_is_forgotten(services: AccountServices) -> None:
    await services.add("omar")
    others = rows_of(services.engine.path, "SELECT id FROM sessions")
    token = (await services.login()).token
    caller = await services.sessions.authenticate(token)
    for _ in range(3):
        reused, token = token, (await services.sessions.refresh(caller)).token
        caller = await services.sessions.authenticate(token)
    services.clock.advance(seconds=20)
    await services.sessions.refresh(caller)
    assert rows_of(services.engine.path, "SELECT count(*) FROM sessions") == [(len(others) + 2,)]

    await services.new_sessions().refuse_refresh(reused)

    assert rows_of(services.engine.path, "SELECT id FROM sessions") == others


async def test_a_logout_ends_the_token_that_was_refreshed_too(services: AccountServices) -> None:
    await services.add("omar")
    old = (await services.login()).token
    new = (await services.sessions.refresh(await services.sessions.authenticate(old))).token
    await services.sessions.authenticate(new)

    await services.sessions.logout(await services.sessions.authenticate(old))

    for token in (old, new):
        with pytest.raises(Unauthorized):
            await services.sessions.authenticate(token)


async def test_the_listener_is_called_when_sessions_end(services: AccountServices) -> None:
    told: list[AccountId] = []

    async def listen(id: AccountId) -> None:
        told.append(id)

    caller = await services.add("omar")
    services.known_callers.on_end(listen)
    await services.sessions.logout(caller)
    await services.known_callers.sessions_ended(caller.account_id)

    assert told == [caller.account_id] * 2


async def test_a_ticket_opens_once_within_half_a_minute(services: AccountServices) -> None:
    caller = await services.add("omar")
    first, second = await services.sessions.issue_ticket(caller), await services.sessions.issue_ticket(caller)

    assert (await services.sessions.redeem_ticket(first.ticket)).account_id == caller.account_id
    with pytest.raises(Unauthorized):
        await services.sessions.redeem_ticket(first.ticket)
    services.clock.advance(seconds=31)
    with pytest.raises(Unauthorized):
        await services.sessions.redeem_ticket(second.ticket)


async def test_a_ticket_is_worth_nothing_once_its_session_has_expired(services: AccountServices) -> None:
    caller = await services.add("omar")
    services.clock.advance(minutes=59, seconds=50)
    first, second = [await services.sessions.issue_ticket(caller) for _ in range(2)]
    assert (await services.sessions.redeem_ticket(first.ticket)).account_id == caller.account_id
    services.clock.advance(seconds=15)

    with pytest.raises(Unauthorized):
        await services.sessions.redeem_ticket(second.ticket)


async def test_a_ticket_ends_with_its_session(services: AccountServices) -> None:
    caller = await services.add("omar")
    ticket = await services.sessions.issue_ticket(caller)
    await services.sessions.logout(caller)

    with pytest.raises(Unauthorized):
        await services.sessions.redeem_ticket(ticket.ticket)


async def test_all_that_has_expired_is_purged_however_much_it_is(
    services: AccountServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    await services.add("omar")
    monkeypatch.setattr("flowrunner.services.sessions.PURGED_AT_ONCE", 1)
    for _ in range(3):
        await services.login()

    services.clock.advance(days=2)
    await services.sessions.purge()

    assert rows_of(services.engine.path, "SELECT count(*) FROM sessions") == [(0,)]
