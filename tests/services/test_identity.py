"""Who is calling: what a login opens, what a refresh and a logout end, and what a ticket is good for."""

import asyncio

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Unauthorized
from flowrunner.domain.values import AccountId, SessionId
from flowrunner.storage.database import Database
from flowrunner.storage.sessions import SqlSessions

from .office import Office


async def test_a_login_gives_a_token_that_stands_for_its_account(office: Office) -> None:
    caller = await office.add("omar")

    token = await office.login(" Omar@Example.com ")

    assert token.account_id == caller.account_id
    assert (await office.identity.authenticate(token.token)).role == "user"
    assert (await office.new_identity().authenticate(token.token)).account_id == caller.account_id


@pytest.mark.parametrize("username", ["omar@example.com", "nobody@example.com", "not an address", ""])
async def test_a_wrong_name_and_a_wrong_password_look_the_same(office: Office, username: str) -> None:
    await office.add("omar")

    with pytest.raises(Unauthorized, match="The username or the password is wrong"):
        await office.login(username, "wrong")


async def test_a_token_expires(office: Office) -> None:
    await office.add("omar")
    token = (await office.login()).token
    await office.identity.authenticate(token)

    office.clock.advance(minutes=61)

    for identity in (office.identity, office.new_identity()):
        with pytest.raises(Unauthorized):
            await identity.authenticate(token)


async def test_a_logout_ends_the_token_at_once_and_after_a_restart(office: Office) -> None:
    await office.add("omar")
    token = (await office.login()).token
    caller = await office.identity.authenticate(token)

    family = await office.identity.family_of(caller)

    await office.identity.logout(caller)

    for identity in (office.identity, office.new_identity()):
        with pytest.raises(Unauthorized):
            await identity.authenticate(token)
    assert not await office.identity.is_alive(family)


class SlowSessions(SqlSessions):
    """Sessions that are found at once, and answered when they may be."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.found, self.may_answer = asyncio.Event(), asyncio.Event()

    async def find(self, id: SessionId) -> Caller | None:
        caller = await super().find(id)
        self.found.set()
        await self.may_answer.wait()
        return caller


async def test_a_token_whose_session_ends_while_it_is_looked_up_is_not_kept(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.add("omar")
    token = (await office.login()).token
    caller = await office.new_identity().authenticate(token)
    monkeypatch.setattr(office.identity, "_sessions", sessions := SlowSessions(office.engine.database))
    looking_up = asyncio.create_task(office.identity.authenticate(token))
    await sessions.found.wait()

    await office.identity.logout(caller)
    sessions.may_answer.set()
    await looking_up

    with pytest.raises(Unauthorized):
        await office.identity.authenticate(token)


async def test_a_refresh_gives_a_new_token_and_the_old_one_lives_on_for_a_moment(office: Office) -> None:
    await office.add("omar")
    old = (await office.login()).token
    new = (await office.identity.refresh(await office.identity.authenticate(old))).token

    await office.identity.authenticate(old)
    await office.identity.authenticate(new)
    office.clock.advance(seconds=11)

    with pytest.raises(Unauthorized):
        await office.identity.authenticate(old)
    await office.identity.authenticate(new)


async def test_a_token_is_refreshed_once(office: Office) -> None:
    await office.add("omar")
    caller = await office.identity.authenticate((await office.login()).token)
    await office.identity.refresh(caller)

    with pytest.raises(Unauthorized, match="refreshed before"):
        await office.identity.refresh(caller)


async def test_a_logout_ends_the_token_that_was_refreshed_too(office: Office) -> None:
    await office.add("omar")
    old = (await office.login()).token
    new = (await office.identity.refresh(await office.identity.authenticate(old))).token
    await office.identity.authenticate(new)

    await office.identity.logout(await office.identity.authenticate(old))

    for token in (old, new):
        with pytest.raises(Unauthorized):
            await office.identity.authenticate(token)


async def test_whoever_listens_is_told_of_ended_sessions(office: Office) -> None:
    told: list[AccountId] = []

    async def listen(id: AccountId) -> None:
        told.append(id)

    caller = await office.add("omar")
    office.identity.on_end(listen)
    await office.identity.logout(caller)
    await office.identity.sessions_ended(caller.account_id)

    assert told == [caller.account_id] * 2


async def test_a_ticket_opens_once_within_half_a_minute(office: Office) -> None:
    caller = await office.add("omar")
    first, second = await office.identity.issue_ticket(caller), await office.identity.issue_ticket(caller)

    assert (await office.identity.redeem_ticket(first.ticket)).account_id == caller.account_id
    with pytest.raises(Unauthorized):
        await office.identity.redeem_ticket(first.ticket)
    office.clock.advance(seconds=31)
    with pytest.raises(Unauthorized):
        await office.identity.redeem_ticket(second.ticket)


async def test_a_ticket_ends_with_its_session(office: Office) -> None:
    caller = await office.add("omar")
    ticket = await office.identity.issue_ticket(caller)
    await office.identity.logout(caller)

    with pytest.raises(Unauthorized):
        await office.identity.redeem_ticket(ticket.ticket)
