"""Accounts: the first one, and what changes of an account mean for its sessions."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from flowrunner.domain.account import Session
from flowrunner.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, TooManyRequests, Unauthorized
from flowrunner.domain.values import SessionId
from flowrunner.ports import Page
from flowrunner.services.accounts import Accounts
from flowrunner.services.setup import FirstAccount
from flowrunner.services.throttle import FAILURES
from support.databases import MARA, rows_of

from .callers import caller_of
from .office import OTHER_PASSWORD, PASSWORD, HeldHasher, Office

NOTHING: Final[dict[str, Any]] = {"name": None, "email": None, "role": None, "password": None}
# By its owner.
NEW_PASSWORD: Final = {**NOTHING, "password": OTHER_PASSWORD, "current_password": PASSWORD}


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

    await office.accounts.update(caller, caller.account_id, **NEW_PASSWORD)

    with pytest.raises(Unauthorized):
        await office.identity.authenticate(token)
    with pytest.raises(Unauthorized):
        await office.login()
    await office.login(password=OTHER_PASSWORD)


async def test_a_slow_change_of_the_own_password_keeps_no_role_that_was_taken_meanwhile(office: Office) -> None:
    caller = await office.add("omar", role="admin")
    hashing = HeldHasher(office.hasher)
    office.accounts._hasher = hashing

    changing = asyncio.create_task(office.accounts.update(caller, caller.account_id, **NEW_PASSWORD))
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

    change = {**NEW_PASSWORD, "role": "admin"}
    changing = asyncio.create_task(office.accounts.update(caller, caller.account_id, **change))
    await hashing.begun.wait()
    admin = caller_of(MARA, role="admin")
    await office.accounts.update(admin, caller.account_id, name=None, email=None, role="user", password=None)
    hashing.held.set()

    assert (await changing).role == "user"
    assert (await office.accounts.get(admin, caller.account_id)).role == "user"


async def test_a_login_with_the_old_password_opens_nothing_after_the_change(office: Office) -> None:
    caller = await office.add("omar")
    hashing = HeldHasher(office.hasher)
    office.passwords._hasher = office.identity._hasher = hashing

    login = asyncio.create_task(office.login())
    await hashing.begun.wait()
    await office.accounts.update(caller_of(MARA, role="admin"), caller.account_id, **NEW_PASSWORD)
    hashing.held.set()

    with pytest.raises(Unauthorized):
        await login
    assert rows_of(office.engine.path, "SELECT count(*) FROM sessions") == [(0,)]
    await office.login(password=OTHER_PASSWORD)


async def test_a_login_that_renews_an_outdated_hash_does_not_bring_the_old_password_back(office: Office) -> None:
    caller = await office.add("omar")
    hashing = HeldHasher(office.hasher, finds_outdated=True)
    office.passwords._hasher = office.identity._hasher = hashing

    login = asyncio.create_task(office.login())
    await hashing.begun.wait()
    await office.accounts.update(caller_of(MARA, role="admin"), caller.account_id, **NEW_PASSWORD)
    hashing.held.set()

    with pytest.raises(Unauthorized):
        await login
    office.passwords._hasher = office.identity._hasher = office.hasher
    await office.login(password=OTHER_PASSWORD)


# Own passwords and addresses


@pytest.mark.parametrize(("current", "code"), [(None, "required"), ("a wrong password", "wrong"), ("", "wrong")])
@pytest.mark.parametrize("role", ["user", "admin"])
async def test_s66_ones_own_password_takes_the_present_one(
    office: Office, role: Any, current: str | None, code: str
) -> None:
    caller = await office.add("omar", role=role)

    with pytest.raises(InvalidInput) as error:
        await office.accounts.update(caller, caller.account_id, **{**NEW_PASSWORD, "current_password": current})

    assert [(fault.path, fault.code) for fault in error.value.faults] == [("current_password", code)]
    await office.login()
    await office.accounts.update(caller, caller.account_id, **NEW_PASSWORD)
    await office.login(password=OTHER_PASSWORD)


async def test_s66_guesses_of_the_present_password_count_as_failed_logins(office: Office) -> None:
    caller = replace(await office.add("omar"), address="192.0.2.7")
    wrong = {**NEW_PASSWORD, "current_password": "a wrong password"}
    for _ in range(FAILURES // 2):
        with pytest.raises(InvalidInput):
            await office.accounts.update(caller, caller.account_id, **wrong)
        with pytest.raises(Unauthorized):
            await office.login(password="a wrong password")

    for attempt in (office.accounts.update(caller, caller.account_id, **NEW_PASSWORD), office.login()):
        with pytest.raises(TooManyRequests) as refused:
            await attempt
        assert refused.value.limit == "failed_logins"
    await office.accounts.update(replace(caller, address="192.0.2.8"), caller.account_id, **NEW_PASSWORD)

    await office.audit.settle()
    failed = rows_of(office.engine.path, "SELECT object_id FROM audit WHERE action = 'login.failed'")
    assert failed == [(caller.account_id,)] * (FAILURES + 2)


async def test_s66_a_password_that_was_changed_meanwhile_is_not_changed_with_the_one_before(office: Office) -> None:
    caller = await office.add("omar")
    hashing = HeldHasher(office.hasher)
    office.passwords._hasher = hashing

    changing = asyncio.create_task(
        office.accounts.update(caller, caller.account_id, **{**NEW_PASSWORD, "password": "a thief has chosen this"})
    )
    await hashing.begun.wait()
    await office.accounts.update(caller_of(MARA, role="admin"), caller.account_id, **NEW_PASSWORD)
    hashing.held.set()

    with pytest.raises(Conflict, match="changed meanwhile"):
        await changing
    await office.login(password=OTHER_PASSWORD)


async def test_s66_ones_own_address_takes_a_login_of_the_last_quarter_of_an_hour(office: Office) -> None:
    caller = await office.add("omar")

    office.clock.advance(minutes=14, seconds=59)
    change = {**NOTHING, "email": "new@example.com"}
    assert (await office.accounts.update(caller, caller.account_id, **change)).email == "new@example.com"
    office.clock.advance(seconds=1)
    with pytest.raises(Forbidden, match="log in again"):
        await office.accounts.update(caller, caller.account_id, **{**change, "email": "newer@example.com"})
    same = {**NOTHING, "name": "O", "email": " NEW@example.com", "role": "user"}
    assert (await office.accounts.update(caller, caller.account_id, **same)).name == "O"


async def test_s66_an_owner_learns_of_five_addresses_an_hour_who_has_them(office: Office) -> None:
    caller = await office.add("omar")
    await office.add("ada")
    begun = office.clock.now()
    answers: list[str] = []

    async def tried(email: str) -> str:
        by = replace(caller, credential=Session(SessionId("s"), logged_in_at=office.clock.now()))
        try:
            await office.accounts.update(by, by.account_id, **{**NOTHING, "email": email})
        except (InvalidInput, TooManyRequests) as error:
            return str(error)
        return "changed"

    for email in ("ada@example.com", "no address", "ada@example.com", "m\u0430ra@example.com", "ada@example.com"):
        answers.append(await tried(email))
        office.clock.advance(minutes=11)
    refused = await tried("free@example.com")
    office.clock.advance(seconds=(begun + timedelta(hours=1) - office.clock.now()).total_seconds())

    assert len(set(answers)) == 1
    assert "no other account has" in answers[0]
    assert "at most 5 times an hour" in refused
    assert await tried("omar@elsewhere.example") == "changed"
    admin = caller_of(MARA, role="admin")
    for n in range(10):
        change = {**NOTHING, "email": f"omar-{n}@example.com"}
        assert (await office.accounts.update(admin, caller.account_id, **change)).email == change["email"]


async def test_an_address_of_before_a_rule_stays_until_it_is_changed(office: Office) -> None:
    caller = await office.add("omar")
    with closing(sqlite3.connect(office.engine.path)) as connection, connection:
        connection.execute("UPDATE accounts SET email = 'om\u0430r@example.com' WHERE id = ?", (caller.account_id,))

    await office.login("om\u0430r@example.com")
    change = {**NOTHING, "name": "O", "email": "om\u0430r@example.com"}
    assert (await office.accounts.update(caller, caller.account_id, **change)).name == "O"


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
