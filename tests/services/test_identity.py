import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthorized
from flowrunner.domain.values import AccountId
from flowrunner.ports import Page
from flowrunner.services.accounts import Accounts
from flowrunner.services.secrets import Secrets
from flowrunner.services.setup import FirstAccount
from flowrunner.storage.secrets import SqlSecrets
from support.databases import MARA, rows_of
from support.world import Machine, SteppingClock, machine

from .callers import caller_of
from .office import OTHER_PASSWORD, PASSWORD, HeldHasher, Office


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Machine]:
    # The signer of tokens looks at the machine's own clock, so this one begins where that is.
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=5)
    async with machine(tmp_path / "flowrunner.db", clock=SteppingClock(now)) as opened:
        yield opened


@pytest.fixture
def office(engine: Machine) -> Iterator[Office]:
    opened = Office(engine)
    yield opened
    opened.hasher.close()


# Sessions


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


# Accounts


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        ({"name": " "}, ["required"]),
        ({"email": "nobody"}, ["email"]),
        ({"password": "short"}, ["too_short"]),
        ({"name": "", "email": "", "password": ""}, ["required", "email", "too_short"]),
    ],
)
async def test_all_faults_of_an_account_are_told_at_once(office: Office, given: Any, codes: list[str]) -> None:
    fields = {"name": "Omar", "email": "omar@example.com", "password": PASSWORD, **given}

    with pytest.raises(InvalidInput) as error:
        await office.accounts.create(**fields, role="user")

    assert [fault.code for fault in error.value.faults] == codes


async def test_a_new_password_ends_every_session(office: Office) -> None:
    caller = await office.add("omar")
    token = (await office.login()).token
    await office.identity.authenticate(token)

    await office.accounts.update(caller, caller.account_id, name=None, email=None, role=None, password=OTHER_PASSWORD)

    with pytest.raises(Unauthorized):
        await office.identity.authenticate(token)
    with pytest.raises(Unauthorized):
        await office.login()
    await office.login(password=OTHER_PASSWORD)


async def test_a_slow_change_of_the_own_password_keeps_no_role_that_was_taken_meanwhile(office: Office) -> None:
    caller = await office.add("omar", role="admin")
    hashing = HeldHasher(office.hasher)
    office.accounts._hasher = hashing

    changing = asyncio.create_task(
        office.accounts.update(caller, caller.account_id, name=None, email=None, role=None, password=OTHER_PASSWORD)
    )
    await hashing.begun.wait()
    admin = caller_of(MARA, role="admin")
    await office.accounts.update(admin, caller.account_id, name="O", email=None, role="user", password=None)
    hashing.held.set()
    await changing

    after = await office.accounts.get(admin, caller.account_id)
    assert (after.name, after.role) == ("O", "user")
    await office.login(password=OTHER_PASSWORD)


async def test_a_demoted_admin_does_not_take_the_role_back_with_a_request_that_was_under_way(office: Office) -> None:
    caller = await office.add("omar", role="admin")
    hashing = HeldHasher(office.hasher)
    office.accounts._hasher = hashing

    changing = asyncio.create_task(
        office.accounts.update(caller, caller.account_id, name=None, email=None, role="admin", password=OTHER_PASSWORD)
    )
    await hashing.begun.wait()
    admin = caller_of(MARA, role="admin")
    await office.accounts.update(admin, caller.account_id, name=None, email=None, role="user", password=None)
    hashing.held.set()

    with pytest.raises(Forbidden):
        await changing
    assert (await office.accounts.get(admin, caller.account_id)).role == "user"


async def test_a_login_with_the_old_password_opens_nothing_after_the_change(office: Office) -> None:
    caller = await office.add("omar")
    hashing = HeldHasher(office.hasher)
    office.identity._hasher = hashing

    login = asyncio.create_task(office.login())
    await hashing.begun.wait()
    await office.accounts.update(caller, caller.account_id, name=None, email=None, role=None, password=OTHER_PASSWORD)
    hashing.held.set()

    with pytest.raises(Unauthorized):
        await login
    assert rows_of(office.engine.path, "SELECT count(*) FROM sessions") == [(0,)]
    await office.login(password=OTHER_PASSWORD)


async def test_a_login_that_renews_an_outdated_hash_does_not_bring_the_old_password_back(office: Office) -> None:
    caller = await office.add("omar")
    hashing = HeldHasher(office.hasher, finds_outdated=True)
    office.identity._hasher = hashing

    login = asyncio.create_task(office.login())
    await hashing.begun.wait()
    await office.accounts.update(caller, caller.account_id, name=None, email=None, role=None, password=OTHER_PASSWORD)
    hashing.held.set()

    with pytest.raises(Unauthorized):
        await login
    office.identity._hasher = office.hasher
    await office.login(password=OTHER_PASSWORD)


async def test_only_an_admin_changes_roles(office: Office) -> None:
    caller = await office.add("omar")
    admin = caller_of(MARA, role="admin")

    with pytest.raises(Forbidden):
        await office.accounts.update(caller, caller.account_id, name=None, email=None, role="admin", password=None)
    changed = await office.accounts.update(admin, caller.account_id, name=None, email=None, role="admin", password=None)

    assert changed.role == "admin"


async def test_a_demoted_admin_is_one_no_longer_at_once(office: Office) -> None:
    await office.add("omar", role="admin")
    token = (await office.login()).token
    caller = await office.identity.authenticate(token)
    assert caller.is_admin

    await office.accounts.update(caller, caller.account_id, name=None, email=None, role="user", password=None)

    with pytest.raises(Unauthorized):
        await office.identity.authenticate(token)


async def test_others_accounts_do_not_exist_for_a_user(office: Office) -> None:
    caller = await office.add("omar")

    with pytest.raises(NotFound):
        await office.accounts.get(caller, MARA)
    with pytest.raises(NotFound):
        await office.accounts.update(caller, MARA, name="x", email=None, role=None, password=None)
    assert (await office.accounts.get(caller, caller.account_id)).name == "omar"


async def test_a_deleted_account_ends_with_all_it_has(office: Office) -> None:
    caller = await office.add("omar")
    token = (await office.login()).token

    await office.accounts.delete(caller.account_id)

    with pytest.raises(Unauthorized):
        await office.identity.authenticate(token)
    with pytest.raises(Unauthorized):
        await office.login()
    assert office.deleted == [caller.account_id]
    assert (await office.accounts.page(role=None, page=Page(limit=10, offset=0)))[1] == 1


async def test_the_last_admin_is_not_deleted_and_stays_logged_in(office: Office) -> None:
    with pytest.raises(Conflict, match="last admin"):
        await office.accounts.delete(MARA)

    assert office.deleted == []


# The first account


async def test_a_server_with_an_account_cannot_be_set_up_again(office: Office) -> None:
    setup = FirstAccount(office.accounts, office.clock, on_done=lambda: None)

    with pytest.raises(Conflict):
        await setup.run(token=setup.issue_token(), name="x", email="x@example.com", password=PASSWORD)


class _NobodyYet(Accounts):
    async def is_set_up(self) -> bool:
        return False

    async def create_first(self, *, address: str, **given: Any) -> Any:
        return await self.create(**given, role="admin")


async def test_the_set_up_token_works_once_and_for_a_day(office: Office) -> None:
    done: list[bool] = []
    office.accounts.__class__ = _NobodyYet
    setup = FirstAccount(office.accounts, office.clock, on_done=lambda: done.append(True))
    given = {"name": "x", "email": "x@example.com", "password": PASSWORD}

    with pytest.raises(Unauthorized, match="wrong"):
        await setup.run(token="anything", **given)
    old, token = setup.issue_token(), setup.issue_token()
    with pytest.raises(Unauthorized, match="wrong"):
        await setup.run(token=old, **given)
    assert (await setup.run(token=token, **given)).role == "admin"
    with pytest.raises(Unauthorized, match="wrong"):
        await setup.run(token=token, **given)
    late = setup.issue_token()
    office.clock.advance(hours=25)
    with pytest.raises(Unauthorized, match="expired"):
        await setup.run(token=late, **given)

    assert done == [True]


# Secrets


@pytest.fixture
def secrets(engine: Machine) -> Secrets:
    return Secrets(SqlSecrets(engine.database), engine.vault, engine.clock)


async def test_a_secret_is_set_listed_and_deleted_by_name_alone(
    secrets: Secrets, engine: Machine, mara: Caller
) -> None:
    view, is_new = await secrets.set(mara, MARA, "KEY", "a long value")
    _, is_new_again = await secrets.set(mara, MARA, "KEY", "another value")

    assert (is_new, is_new_again) == (True, False)
    assert [v.key for v in await secrets.list(mara, MARA)] == ["KEY"]
    assert "value" not in repr(view)
    assert await engine.vault.reveal(MARA, ["KEY"]) == {"KEY": "another value"}
    await secrets.delete(mara, MARA, "KEY")
    assert await secrets.list(mara, MARA) == []
    with pytest.raises(NotFound):
        await secrets.delete(mara, MARA, "KEY")


@pytest.mark.parametrize(
    ("key", "value", "faults"),
    [
        ("", "a long value", ["key"]),
        ("1A", "a long value", ["key"]),
        ("A-B", "a long value", ["key"]),
        ("A" * 129, "a long value", ["key"]),
        ("A\n", "a long value", ["key"]),
        ("A", "short", ["too_short"]),
        ("A", "é" * 40_000, ["too_long"]),
        ("é", "", ["key", "too_short"]),
    ],
)
async def test_a_secret_of_odd_name_or_size_is_refused(
    secrets: Secrets, mara: Caller, key: str, value: str, faults: list[str]
) -> None:
    with pytest.raises(InvalidInput) as error:
        await secrets.set(mara, MARA, key, value)

    assert [fault.code for fault in error.value.faults] == faults
    assert not value or value not in str(error.value)


async def test_not_even_an_admin_has_business_with_others_secrets(secrets: Secrets, mara: Caller) -> None:
    other = AccountId("account-omar")

    for attempt in (
        secrets.set(mara, other, "KEY", "a long value"),
        secrets.list(mara, other),
        secrets.delete(mara, other, "KEY"),
    ):
        with pytest.raises(NotFound):
            await attempt
