"""Accounts: the first one, and what changes of an account mean for its sessions."""

import asyncio
from typing import Any

import pytest

from flowrunner.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthorized
from flowrunner.ports import Page
from flowrunner.services.accounts import Accounts
from flowrunner.services.setup import FirstAccount
from support.databases import MARA, rows_of

from .callers import caller_of
from .office import OTHER_PASSWORD, PASSWORD, HeldHasher, Office


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
