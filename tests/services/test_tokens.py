"""API tokens: what they stand for, and everything that ends them."""

from datetime import timedelta
from typing import Any

import pytest

from flowrunner.domain.account import ApiToken, Caller, Scope
from flowrunner.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthorized
from flowrunner.domain.values import AccountId, TokenId
from flowrunner.ports import Page
from flowrunner.services.tokens import MAX_TOKENS, PREFIX
from support.databases import MARA, contents_of, rows_of

from .callers import caller_of, token_caller_of
from .office import OTHER_PASSWORD, PASSWORD, Office

ALL = Page(limit=1000, offset=0)


async def make(office: Office, by: Caller, *scopes: Scope, life: timedelta | None = None) -> tuple[TokenId, str]:
    view, token = await office.tokens.create(by, name="CI", scopes=scopes or ("read",), life=life)
    return view.id, token


async def change(office: Office, id: AccountId, **what: Any) -> None:
    fields: dict[str, Any] = {"name": None, "email": None, "role": None, "password": None, **what}
    await office.accounts.update(caller_of(MARA, role="admin"), id, **fields)


async def refused(office: Office, token: str) -> None:
    """Check that nobody takes the token: neither who has seen it before nor who has not."""
    for identity in (office.identity, office.new_identity()):
        with pytest.raises(Unauthorized):
            await identity.authenticate(token)


async def test_a_token_stands_for_its_account_also_after_a_restart(office: Office) -> None:
    omar = await office.add("omar")

    id, token = await make(office, omar, "read", "run")

    assert token.startswith(PREFIX)
    for identity in (office.identity, office.new_identity()):
        found = await identity.authenticate(token)
        assert (found.account_id, found.role) == (omar.account_id, "user")
        assert found.credential == ApiToken(id, frozenset({"read", "run"}))


async def test_a_token_is_stored_as_a_digest_alone(office: Office) -> None:
    omar = await office.add("omar")

    _, token = await make(office, omar)

    stored = "".join(contents_of(office.engine.path))
    assert token not in stored
    assert token.removeprefix(PREFIX) not in stored
    ((digest,),) = rows_of(office.engine.path, "SELECT digest FROM api_tokens")
    assert len(digest) == 64
    await refused(office, digest)


async def test_no_two_tokens_are_alike(office: Office) -> None:
    omar = await office.add("omar")

    tokens = {(await make(office, omar))[1] for _ in range(20)}

    assert len(tokens) == 20
    assert all(len(token) == len(PREFIX) + 43 for token in tokens), "32 random bytes"


async def test_a_token_makes_no_token_and_is_no_session(office: Office) -> None:
    omar = await office.add("omar", role="admin")
    _, token = await make(office, omar, "read", "write", "run", "admin")
    program = await office.identity.authenticate(token)

    for attempt in (
        office.tokens.create(program, name="N", scopes=["read"], life=None),
        office.identity.refresh(program),
        office.identity.issue_ticket(program),
        office.identity.logout(program),
    ):
        with pytest.raises(Forbidden, match="API token"):
            await attempt


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        ({"name": " "}, ["name"]),
        ({"scopes": []}, ["scopes"]),
        ({"life": timedelta(0)}, ["expires_in"]),
        ({"life": timedelta(days=3651)}, ["expires_in"]),
        ({"name": "", "scopes": [], "life": timedelta(-1)}, ["name", "scopes", "expires_in"]),
    ],
)
async def test_all_faults_of_a_token_are_told_at_once(office: Office, given: Any, faults: list[str]) -> None:
    omar = await office.add("omar")

    with pytest.raises(InvalidInput) as error:
        await office.tokens.create(omar, **{"name": "N", "scopes": ["read"], "life": None, **given})

    assert [fault.path for fault in error.value.faults] == faults


async def test_a_scope_beyond_the_role_is_refused(office: Office) -> None:
    omar = await office.add("omar")

    with pytest.raises(Forbidden, match="admin"):
        await make(office, omar, "read", "admin")
    assert (await office.tokens.page(omar, page=ALL))[1] == 0


async def test_an_account_has_a_bounded_number_of_tokens(office: Office) -> None:
    omar = await office.add("omar")
    ids = [(await make(office, omar))[0] for _ in range(MAX_TOKENS)]

    with pytest.raises(Conflict, match="at most"):
        await make(office, omar)
    await office.tokens.revoke(omar, ids[0])
    await make(office, omar)


# What ends them


async def test_a_revoked_token_ends_at_once_and_whoever_listens_is_told(office: Office) -> None:
    told: list[AccountId] = []

    async def listen(id: AccountId) -> None:
        told.append(id)

    omar = await office.add("omar")
    (id, token), (_, other) = await make(office, omar), await make(office, omar)
    family = await office.identity.family_of(await office.identity.authenticate(token))
    assert await office.identity.is_alive(family)
    office.identity.on_end(listen)

    await office.tokens.revoke(omar, id)

    await refused(office, token)
    assert not await office.identity.is_alive(family)
    assert told == [omar.account_id]
    await office.identity.authenticate(other)


async def test_a_token_ends_at_its_time(office: Office) -> None:
    omar = await office.add("omar")
    _, token = await make(office, omar, life=timedelta(minutes=1))
    caller = await office.identity.authenticate(token)
    family = await office.identity.family_of(caller)

    office.clock.advance(seconds=61)

    await refused(office, token)
    assert not await office.identity.is_alive(family)
    with pytest.raises(Unauthorized):
        await office.identity.family_of(caller)
    await office.identity.purge()
    assert rows_of(office.engine.path, "SELECT count(*) FROM api_tokens") == [(0,)]


async def test_a_token_without_an_end_outlives_its_login(office: Office) -> None:
    omar = await office.add("omar")
    _, token = await make(office, omar)

    office.clock.advance(days=3000)
    await office.identity.purge()

    for identity in (office.identity, office.new_identity()):
        await identity.authenticate(token)


async def test_s10_a_new_password_ends_every_token(office: Office) -> None:
    omar, other = await office.add("omar"), await office.add("ada")
    (_, token), (_, kept) = await make(office, omar), await make(office, other)
    await office.identity.authenticate(token)

    await change(office, omar.account_id, password=OTHER_PASSWORD)

    await refused(office, token)
    await change(office, omar.account_id, password=PASSWORD)
    await refused(office, token)
    await office.identity.authenticate(kept)


async def test_s10_a_new_role_holds_for_the_next_request_of_a_token(office: Office) -> None:
    omar = await office.add("omar", role="admin")
    _, token = await make(office, omar, "read", "write", "admin")
    assert (await office.identity.authenticate(token)).is_admin

    await change(office, omar.account_id, role="user")
    as_user = await office.identity.authenticate(token)
    await change(office, omar.account_id, role="viewer")
    as_viewer = await office.identity.authenticate(token)

    assert {right.value for right in as_user.rights} == {"read", "write"}
    assert {right.value for right in as_viewer.rights} == {"read"}


async def test_s10_a_disabled_account_has_neither_login_nor_token(office: Office) -> None:
    omar = await office.add("omar")
    session = (await office.login()).token
    _, token = await make(office, omar)
    for known in (session, token):
        await office.identity.authenticate(known)
    ticket = await office.identity.issue_ticket(omar)

    await change(office, omar.account_id, is_disabled=True)

    await refused(office, session)
    await refused(office, token)
    with pytest.raises(Unauthorized, match="The username or the password is wrong"):
        await office.login()
    with pytest.raises(Unauthorized):
        await office.identity.redeem_ticket(ticket.ticket)
    with pytest.raises(Unauthorized):
        await make(office, omar)
    await change(office, omar.account_id, is_disabled=False)
    await office.identity.authenticate(token)
    await refused(office, session)
    await office.login()


async def test_a_deleted_account_leaves_no_token(office: Office) -> None:
    omar = await office.add("omar")
    _, token = await make(office, omar)

    await office.accounts.delete(omar.account_id)

    await refused(office, token)
    assert rows_of(office.engine.path, "SELECT count(*) FROM api_tokens") == [(0,)]


async def test_a_login_that_has_ended_makes_no_token_any_more(office: Office) -> None:
    omar = await office.add("omar")
    await office.login()
    await office.identity.logout(omar)

    with pytest.raises(Unauthorized):
        await make(office, omar)

    assert rows_of(office.engine.path, "SELECT count(*) FROM api_tokens") == [(0,)]


async def test_tokens_of_others_do_not_exist(office: Office) -> None:
    omar, ada = await office.add("omar"), await office.add("ada", role="admin")
    id, token = await make(office, omar)

    with pytest.raises(NotFound):
        await office.tokens.revoke(ada, id)

    assert (await office.tokens.page(ada, page=ALL)) == ([], 0)
    await office.identity.authenticate(token)


# When they were used


async def test_the_last_use_is_written_now_and_then_and_not_with_each_request(office: Office) -> None:
    omar = await office.add("omar")
    _, token = await make(office, omar)
    used = "SELECT last_used_at FROM api_tokens"
    for _ in range(10):
        await office.identity.authenticate(token)
    assert rows_of(office.engine.path, used) == [(None,)]

    await office.uses.write()

    ((first,),) = rows_of(office.engine.path, used)
    assert abs(first / 1000 - office.clock.now().timestamp()) < 60
    office.clock.advance(minutes=5)
    await office.uses.write()
    assert rows_of(office.engine.path, used) == [(first,)], "it was not used since"


async def test_the_list_shows_the_last_use_of_before_a_moment(office: Office) -> None:
    omar = await office.add("omar")
    await make(office, omar)
    _, token = await make(office, omar, "run", "read", life=timedelta(days=1))
    await office.identity.authenticate(token)

    (unused, used), total = await office.tokens.page(omar, page=ALL)

    assert total == 2
    assert unused.last_used_at is None
    assert used.last_used_at is not None
    assert (used.name, list(used.scopes)) == ("CI", ["read", "run"])
    assert used.expires_at == used.created_at + timedelta(days=1)


def test_what_tests_call_a_program_shows_a_token() -> None:
    assert not token_caller_of(MARA, "read", role="admin").is_admin
