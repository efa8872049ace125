"""Accounts: the first one, and the effect of changes on sessions."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from flowrunner.domain.account import Account, Session
from flowrunner.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, TooManyRequests, Unauthorized
from flowrunner.domain.values import SessionId
from flowrunner.ports.page import Page
from flowrunner.services.accounts import Accounts, AccountUpdate
from flowrunner.services.setup import FirstAccount
from flowrunner.services.throttle import FAILURES
from support.databases import MARA_ACCOUNT, rows_of

from .account_services import OTHER_PASSWORD, PASSWORD, AccountServices, HeldHasher
from .callers import caller_of, token_caller_of

# The caller's own account.
NEW_PASSWORD: Final = AccountUpdate(password=OTHER_PASSWORD, current_password=PASSWORD)


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        ({"name": " "}, ["required"]),
        ({"email": "nobody"}, ["email"]),
        ({"password": "short"}, ["too_short"]),
        ({"name": "", "email": "", "password": ""}, ["required", "email", "too_short"]),
    ],
)
async def test_all_faults_of_an_account_are_reported_at_once(
    services: AccountServices, given: Any, codes: list[str]
) -> None:
    fields = {"name": "Omar", "email": "omar@example.com", "password": PASSWORD, **given}

    with pytest.raises(InvalidInput) as error:
        await services.accounts.create(**fields, role="user")

    assert [fault.code for fault in error.value.faults] == codes


async def test_a_new_password_ends_every_session(services: AccountServices) -> None:
    caller = await services.add("omar")
    token = (await services.login()).token
    await services.sessions.authenticate(token)

    await services.accounts.update(caller, caller.account_id, NEW_PASSWORD)

    with pytest.raises(Unauthorized):
        await services.sessions.authenticate(token)
    with pytest.raises(Unauthorized):
        await services.login()
    await services.login(password=OTHER_PASSWORD)


async def test_a_slow_change_of_the_own_password_keeps_no_role_that_was_taken_meanwhile(
    services: AccountServices,
) -> None:
    caller = await services.add("omar", role="admin")
    hashing = HeldHasher(services.hasher)
    services.accounts._hasher = hashing

    changing = asyncio.create_task(services.accounts.update(caller, caller.account_id, NEW_PASSWORD))
    await hashing.begun.wait()
    admin = caller_of(MARA_ACCOUNT, role="admin")
    await services.accounts.update(admin, caller.account_id, AccountUpdate(name="O", role="user"))
    hashing.held.set()
    await changing

    after = await services.accounts.get(admin, caller.account_id)
    assert (after.name, after.role) == ("O", "user")
    await services.login(password=OTHER_PASSWORD)


async def test_a_demoted_admin_does_not_take_the_role_back_with_a_request_that_was_under_way(
    services: AccountServices,
) -> None:
    caller = await services.add("omar", role="admin")
    hashing = HeldHasher(services.hasher)
    services.accounts._hasher = hashing

    change = replace(NEW_PASSWORD, role="admin")
    changing = asyncio.create_task(services.accounts.update(caller, caller.account_id, change))
    await hashing.begun.wait()
    admin = caller_of(MARA_ACCOUNT, role="admin")
    await services.accounts.update(admin, caller.account_id, AccountUpdate(role="user"))
    hashing.held.set()

    assert (await changing).role == "user"
    assert (await services.accounts.get(admin, caller.account_id)).role == "user"


async def test_a_login_with_the_old_password_opens_nothing_after_the_change(services: AccountServices) -> None:
    caller = await services.add("omar")
    hashing = HeldHasher(services.hasher)
    services.passwords._hasher = services.sessions._password_logins._hasher = hashing

    login = asyncio.create_task(services.login())
    await hashing.begun.wait()
    await services.accounts.update(caller_of(MARA_ACCOUNT, role="admin"), caller.account_id, NEW_PASSWORD)
    hashing.held.set()

    with pytest.raises(Unauthorized):
        await login
    assert rows_of(services.engine.path, "SELECT count(*) FROM sessions") == [(0,)]
    await services.login(password=OTHER_PASSWORD)


async def test_a_login_that_renews_an_outdated_hash_does_not_bring_the_old_password_back(
    services: AccountServices,
) -> None:
    caller = await services.add("omar")
    hashing = HeldHasher(services.hasher, finds_outdated=True)
    services.passwords._hasher = services.sessions._password_logins._hasher = hashing

    login = asyncio.create_task(services.login())
    await hashing.begun.wait()
    await services.accounts.update(caller_of(MARA_ACCOUNT, role="admin"), caller.account_id, NEW_PASSWORD)
    hashing.held.set()

    with pytest.raises(Unauthorized):
        await login
    services.passwords._hasher = services.sessions._password_logins._hasher = services.hasher
    await services.login(password=OTHER_PASSWORD)


async def test_a_login_renews_an_outdated_hash_and_opens_a_session(services: AccountServices) -> None:
    caller = await services.add("omar")
    hashing = HeldHasher(services.hasher, finds_outdated=True)
    hashing.held.set()
    services.passwords._hasher = services.sessions._password_logins._hasher = hashing
    stored = "SELECT password_hash FROM accounts WHERE email = 'omar@example.com'"
    before = rows_of(services.engine.path, stored)

    token = await services.login()

    assert (await services.sessions.authenticate(token.token)).account_id == caller.account_id
    assert rows_of(services.engine.path, stored) != before


@pytest.mark.parametrize(
    "asked",
    [
        AccountUpdate(password=OTHER_PASSWORD),
        AccountUpdate(email="new@example.com"),
        AccountUpdate(role="admin"),
        AccountUpdate(email="omar@example.com", is_email_confirmed=True),
    ],
)
async def test_a_program_of_an_admin_changes_nothing_that_logs_in(
    services: AccountServices, asked: AccountUpdate
) -> None:
    id = (await services.add("omar")).account_id
    program = token_caller_of(MARA_ACCOUNT, "admin", "write", role="admin")

    with pytest.raises(Forbidden):
        await services.accounts.update(program, id, asked)

    assert (await services.accounts.update(program, id, AccountUpdate(name="Other"))).name == "Other"
    await services.login()


# Own passwords and addresses


@pytest.mark.parametrize(("current", "code"), [(None, "required"), ("a wrong password", "wrong"), ("", "wrong")])
@pytest.mark.parametrize("role", ["user", "admin"])
async def test_s66_ones_own_password_takes_the_present_one(
    services: AccountServices, role: Any, current: str | None, code: str
) -> None:
    caller = await services.add("omar", role=role)

    with pytest.raises(InvalidInput) as error:
        await services.accounts.update(caller, caller.account_id, replace(NEW_PASSWORD, current_password=current))

    assert [(fault.path, fault.code) for fault in error.value.faults] == [("current_password", code)]
    await services.login()
    await services.accounts.update(caller, caller.account_id, NEW_PASSWORD)
    await services.login(password=OTHER_PASSWORD)


async def test_s66_guesses_of_the_present_password_count_as_failed_logins(services: AccountServices) -> None:
    caller = replace(await services.add("omar"), address="192.0.2.7")
    wrong = replace(NEW_PASSWORD, current_password="a wrong password")
    for _ in range(FAILURES // 2):
        with pytest.raises(InvalidInput):
            await services.accounts.update(caller, caller.account_id, wrong)
        with pytest.raises(Unauthorized):
            await services.login(password="a wrong password")

    for attempt in (services.accounts.update(caller, caller.account_id, NEW_PASSWORD), services.login()):
        with pytest.raises(TooManyRequests) as refused:
            await attempt
        assert refused.value.limit == "failed_logins"
    await services.accounts.update(replace(caller, address="192.0.2.8"), caller.account_id, NEW_PASSWORD)

    await services.audit.settle()
    failed = rows_of(services.engine.path, "SELECT object_id FROM audit WHERE action = 'login.failed'")
    assert failed == [(caller.account_id,)] * (FAILURES + 2)


async def test_s66_a_password_that_was_changed_meanwhile_is_not_changed_with_the_one_before(
    services: AccountServices,
) -> None:
    caller = await services.add("omar")
    hashing = HeldHasher(services.hasher)
    services.passwords._hasher = hashing

    changing = asyncio.create_task(
        services.accounts.update(caller, caller.account_id, replace(NEW_PASSWORD, password="a thief has chosen this"))
    )
    await hashing.begun.wait()
    await services.accounts.update(caller_of(MARA_ACCOUNT, role="admin"), caller.account_id, NEW_PASSWORD)
    hashing.held.set()

    with pytest.raises(Conflict, match="changed meanwhile"):
        await changing
    await services.login(password=OTHER_PASSWORD)


async def test_s66_ones_own_address_takes_a_login_of_the_last_quarter_of_an_hour(services: AccountServices) -> None:
    caller = await services.add("omar")

    services.clock.advance(minutes=14, seconds=59)
    change = AccountUpdate(email="new@example.com")
    assert (await services.accounts.update(caller, caller.account_id, change)).email == "new@example.com"
    services.clock.advance(seconds=1)
    with pytest.raises(Forbidden, match="log in again"):
        await services.accounts.update(caller, caller.account_id, AccountUpdate(email="newer@example.com"))
    same = AccountUpdate(name="O", email=" NEW@example.com", role="user")
    assert (await services.accounts.update(caller, caller.account_id, same)).name == "O"


async def test_s66_an_account_can_probe_only_five_addresses_an_hour(services: AccountServices) -> None:
    caller = await services.add("omar")
    await services.add("ada")
    begun = services.clock.now()
    answers: list[str] = []

    async def tried(email: str) -> str:
        by = replace(caller, credential=Session(SessionId("s"), logged_in_at=services.clock.now()))
        try:
            await services.accounts.update(by, by.account_id, AccountUpdate(email=email))
        except (InvalidInput, TooManyRequests) as error:
            return str(error)
        return "changed"

    for email in ("ada@example.com", "no address", "ada@example.com", "m\u0430ra@example.com", "ada@example.com"):
        answers.append(await tried(email))
        services.clock.advance(minutes=11)
    refused = await tried("free@example.com")
    services.clock.advance(seconds=(begun + timedelta(hours=1) - services.clock.now()).total_seconds())

    assert len(set(answers)) == 1
    assert "no other account has" in answers[0]
    assert "at most 5 times an hour" in refused
    assert await tried("omar@elsewhere.example") == "changed"
    admin = caller_of(MARA_ACCOUNT, role="admin")
    for n in range(10):
        change = AccountUpdate(email=f"omar-{n}@example.com")
        assert (await services.accounts.update(admin, caller.account_id, change)).email == change.email


async def test_an_address_of_before_a_rule_stays_until_it_is_changed(services: AccountServices) -> None:
    caller = await services.add("omar")
    with closing(sqlite3.connect(services.engine.path)) as connection, connection:
        connection.execute("UPDATE accounts SET email = 'om\u0430r@example.com' WHERE id = ?", (caller.account_id,))

    await services.login("om\u0430r@example.com")
    change = AccountUpdate(name="O", email="om\u0430r@example.com")
    assert (await services.accounts.update(caller, caller.account_id, change)).name == "O"


async def test_only_an_admin_changes_roles(services: AccountServices) -> None:
    caller = await services.add("omar")
    admin = caller_of(MARA_ACCOUNT, role="admin")

    with pytest.raises(Forbidden):
        await services.accounts.update(caller, caller.account_id, AccountUpdate(role="admin"))
    changed = await services.accounts.update(admin, caller.account_id, AccountUpdate(role="admin"))

    assert changed.role == "admin"


async def test_a_demoted_admin_is_one_no_longer_at_once(services: AccountServices) -> None:
    await services.add("omar", role="admin")
    token = (await services.login()).token
    caller = await services.sessions.authenticate(token)
    assert caller.is_admin

    await services.accounts.update(caller, caller.account_id, AccountUpdate(role="user"))

    with pytest.raises(Unauthorized):
        await services.sessions.authenticate(token)


async def test_others_accounts_do_not_exist_for_a_user(services: AccountServices) -> None:
    caller = await services.add("omar")

    with pytest.raises(NotFound):
        await services.accounts.get(caller, MARA_ACCOUNT)
    with pytest.raises(NotFound):
        await services.accounts.update(caller, MARA_ACCOUNT, AccountUpdate(name="x"))
    assert (await services.accounts.get(caller, caller.account_id)).name == "omar"


async def test_a_deleted_account_ends_with_all_it_has(services: AccountServices) -> None:
    caller = await services.add("omar")
    token = (await services.login()).token
    everybody = Page(limit=10, offset=0)
    _, total = await services.accounts.page(role=None, page=everybody)

    await services.accounts.delete(caller.account_id)

    with pytest.raises(Unauthorized):
        await services.sessions.authenticate(token)
    with pytest.raises(Unauthorized):
        await services.login()
    assert services.deleted == [caller.account_id]
    assert (await services.accounts.page(role=None, page=everybody))[1] == total - 1


async def test_the_last_admin_is_not_deleted_and_stays_logged_in(services: AccountServices) -> None:
    with pytest.raises(Conflict, match="last admin"):
        await services.accounts.delete(MARA_ACCOUNT)

    assert services.deleted == []


# The first account


async def test_a_server_with_an_account_cannot_be_set_up_again(services: AccountServices) -> None:
    setup = FirstAccount(services.accounts, services.clock, on_done=lambda: None)

    with pytest.raises(Conflict):
        await setup.run(token=setup.issue_token(), name="x", email="x@example.com", password=PASSWORD)


class _NobodyYet(Accounts):
    async def is_set_up(self) -> bool:
        return False

    async def create_first(self, *, name: str, email: str, password: str, address: str | None = None) -> Account:
        return await self.create(name=name, email=email, password=password, role="admin")


async def test_the_set_up_token_works_once_and_for_a_day(services: AccountServices) -> None:
    done: list[bool] = []
    services.accounts.__class__ = _NobodyYet
    setup = FirstAccount(services.accounts, services.clock, on_done=lambda: done.append(True))
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
    services.clock.advance(hours=25)
    with pytest.raises(Unauthorized, match="expired"):
        await setup.run(token=late, **given)

    assert done == [True]


@pytest.mark.parametrize(
    ("update", "given"),
    [
        (AccountUpdate(), []), (AccountUpdate(name="N", email="e"), ["name", "email"]),
        (AccountUpdate(role="user"), ["role"]),
        (AccountUpdate(is_disabled=False, is_email_confirmed=True), ["is_disabled", "email_confirmed"]),
        (AccountUpdate(password="p", current_password="c"), ["password"]),
    ],
)  # fmt: skip
def test_the_audit_log_names_what_was_given_and_never_the_present_password(
    update: AccountUpdate, given: list[str]
) -> None:
    assert update.given == given
