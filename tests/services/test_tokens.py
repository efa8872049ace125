"""API tokens: their rights, and everything that ends them."""

import json
from datetime import timedelta
from typing import Any

import pytest

from flowrunner.domain.account import ApiToken, Caller, Scope
from flowrunner.domain.errors import Forbidden, InvalidInput, LimitReached, NotFound, Unauthorized
from flowrunner.domain.values import AccountId, TokenId
from flowrunner.ports.page import Page
from flowrunner.services.accounts import AccountUpdate
from flowrunner.services.tokens import LONGEST_LIFE, MAX_TOKENS, PREFIX, digest
from support.databases import MARA_ACCOUNT, contents_of, rows_of

from .account_services import OTHER_PASSWORD, PASSWORD, AccountServices
from .callers import caller_of, token_caller_of

ALL = Page(limit=1000, offset=0)


async def make(
    services: AccountServices, by: Caller, *scopes: Scope, life: timedelta | None = None
) -> tuple[TokenId, str]:
    view, token = await services.tokens.create(by, name="CI", scopes=scopes or ("read",), life=life)
    return view.id, token


async def change(services: AccountServices, id: AccountId, **what: Any) -> None:
    await services.accounts.update(caller_of(MARA_ACCOUNT, role="admin"), id, AccountUpdate(**what))


async def refused(services: AccountServices, token: str) -> None:
    """Check that the token is rejected by a server that has cached it and by one that has not."""
    for sessions in (services.sessions, services.new_sessions()):
        with pytest.raises(Unauthorized):
            await sessions.authenticate(token)


async def test_a_token_stands_for_its_account_also_after_a_restart(services: AccountServices) -> None:
    omar = await services.add("omar")

    id, token = await make(services, omar, "read", "run")

    assert token.startswith(PREFIX)
    for sessions in (services.sessions, services.new_sessions()):
        found = await sessions.authenticate(token)
        assert (found.account_id, found.role) == (omar.account_id, "user")
        assert found.credential == ApiToken(id, frozenset({"read", "run"}))


async def test_a_token_is_stored_as_a_digest_alone(services: AccountServices) -> None:
    omar = await services.add("omar")

    _, token = await make(services, omar)

    stored = "".join(contents_of(services.engine.path))
    assert token not in stored
    assert token.removeprefix(PREFIX) not in stored
    ((digest,),) = rows_of(services.engine.path, "SELECT digest FROM api_tokens")
    assert len(digest) == 64
    await refused(services, digest)


async def test_each_request_of_a_token_has_the_address_that_it_comes_from(services: AccountServices) -> None:
    _, token = await make(services, await services.add("omar"))
    addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.1"]

    assert [(await services.sessions.authenticate(token, address=each)).address for each in addresses] == addresses


async def test_no_two_tokens_are_alike(services: AccountServices) -> None:
    omar = await services.add("omar")

    tokens = {(await make(services, omar))[1] for _ in range(20)}

    assert len(tokens) == 20
    assert all(len(token) == len(PREFIX) + 43 for token in tokens), "32 random bytes"


async def test_a_token_makes_no_token_and_is_no_session(services: AccountServices) -> None:
    omar = await services.add("omar", role="admin")
    _, token = await make(services, omar, "read", "write", "run", "admin")
    program = await services.sessions.authenticate(token)

    for attempt in (
        services.tokens.create(program, name="N", scopes=["read"], life=None),
        services.sessions.refresh(program),
        services.sessions.issue_ticket(program),
        services.sessions.logout(program),
    ):
        with pytest.raises(Forbidden, match="API token"):
            await attempt


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        ({"name": " "}, ["name"]),
        ({"scopes": []}, ["scopes"]),
        ({"scopes": ["mcp"]}, ["scopes"]),
        ({"scopes": ["mcp", "read", "members"]}, ["scopes"]),
        ({"life": timedelta(0)}, ["expires_in"]),
        ({"life": timedelta(milliseconds=999)}, ["expires_in"]),
        ({"life": LONGEST_LIFE + timedelta(milliseconds=1)}, ["expires_in"]),
        ({"life": timedelta(days=3651)}, ["expires_in"]),
        ({"name": "", "scopes": [], "life": timedelta(-1)}, ["name", "scopes", "expires_in"]),
    ],
)
async def test_all_faults_of_a_token_are_reported_at_once(
    services: AccountServices, given: Any, faults: list[str]
) -> None:
    omar = await services.add("omar")

    with pytest.raises(InvalidInput) as error:
        await services.tokens.create(omar, **{"name": "N", "scopes": ["read"], "life": None, **given})

    assert [fault.path for fault in error.value.faults] == faults


async def test_a_scope_beyond_the_role_is_rejected(services: AccountServices) -> None:
    omar = await services.add("omar")

    with pytest.raises(Forbidden, match="admin"):
        await make(services, omar, "read", "admin")
    assert (await services.tokens.page(omar, page=ALL))[1] == 0


async def test_an_account_has_a_bounded_number_of_tokens(services: AccountServices) -> None:
    omar = await services.add("omar")
    ids = [(await make(services, omar))[0] for _ in range(MAX_TOKENS)]

    with pytest.raises(LimitReached, match="at most") as refused:
        await make(services, omar)
    assert (refused.value.limit, refused.value.most) == ("tokens", MAX_TOKENS)
    await services.tokens.revoke(omar, ids[0])
    await make(services, omar)


# End of tokens


async def test_a_revoked_token_ends_at_once_and_the_listener_is_called(services: AccountServices) -> None:
    told: list[AccountId] = []

    async def listen(id: AccountId) -> None:
        told.append(id)

    omar = await services.add("omar")
    (id, token), (_, other) = await make(services, omar), await make(services, omar)
    family = await services.sessions.family_of(await services.sessions.authenticate(token))
    assert await services.sessions.present(family) is not None
    services.known_callers.on_end(listen)

    await services.tokens.revoke(omar, id)

    await refused(services, token)
    assert await services.sessions.present(family) is None
    assert told == [omar.account_id]
    await services.sessions.authenticate(other)


async def test_a_token_ends_at_its_time(services: AccountServices) -> None:
    omar = await services.add("omar")
    _, token = await make(services, omar, life=timedelta(minutes=1))
    caller = await services.sessions.authenticate(token)
    family = await services.sessions.family_of(caller)

    services.clock.advance(seconds=61)

    await refused(services, token)
    assert await services.sessions.present(family) is None
    with pytest.raises(Unauthorized):
        await services.sessions.family_of(caller)
    await services.sessions.purge()
    assert rows_of(services.engine.path, "SELECT count(*) FROM api_tokens") == [(0,)]


async def test_a_token_without_an_end_outlives_its_login(services: AccountServices) -> None:
    omar = await services.add("omar")
    _, token = await make(services, omar)

    services.clock.advance(days=3000)
    await services.sessions.purge()

    for sessions in (services.sessions, services.new_sessions()):
        await sessions.authenticate(token)


async def test_s10_a_new_password_ends_every_token(services: AccountServices) -> None:
    omar, other = await services.add("omar"), await services.add("ada")
    (_, token), (_, kept) = await make(services, omar), await make(services, other)
    await services.sessions.authenticate(token)

    await change(services, omar.account_id, password=OTHER_PASSWORD)

    await refused(services, token)
    await change(services, omar.account_id, password=PASSWORD)
    await refused(services, token)
    await services.sessions.authenticate(kept)


async def test_s10_a_new_role_holds_for_the_next_request_of_a_token(services: AccountServices) -> None:
    omar = await services.add("omar", role="admin")
    _, token = await make(services, omar, "read", "write", "admin")
    assert (await services.sessions.authenticate(token)).is_admin

    await change(services, omar.account_id, role="user")
    as_user = await services.sessions.authenticate(token)
    await change(services, omar.account_id, role="viewer")
    as_viewer = await services.sessions.authenticate(token)

    assert {right.value for right in as_user.rights} == {"read", "write"}
    assert {right.value for right in as_viewer.rights} == {"read"}


async def test_s10_a_disabled_account_has_neither_login_nor_token(services: AccountServices) -> None:
    omar = await services.add("omar")
    session = (await services.login()).token
    _, token = await make(services, omar)
    for known in (session, token):
        await services.sessions.authenticate(known)
    ticket = await services.sessions.issue_ticket(omar)

    await change(services, omar.account_id, is_disabled=True)

    await refused(services, session)
    await refused(services, token)
    with pytest.raises(Unauthorized, match="The username or the password is wrong"):
        await services.login()
    with pytest.raises(Unauthorized):
        await services.sessions.redeem_ticket(ticket.ticket)
    with pytest.raises(Unauthorized):
        await make(services, omar)
    await change(services, omar.account_id, is_disabled=False)
    await services.sessions.authenticate(token)
    await refused(services, session)
    await services.login()


async def test_a_deleted_account_leaves_no_token(services: AccountServices) -> None:
    omar = await services.add("omar")
    _, token = await make(services, omar)

    await services.accounts.delete(omar.account_id)

    await refused(services, token)
    assert rows_of(services.engine.path, "SELECT count(*) FROM api_tokens") == [(0,)]


async def test_a_login_that_has_ended_makes_no_token_any_more(services: AccountServices) -> None:
    omar = await services.add("omar")
    await services.login()
    await services.sessions.logout(omar)

    with pytest.raises(Unauthorized):
        await make(services, omar)

    assert rows_of(services.engine.path, "SELECT count(*) FROM api_tokens") == [(0,)]


async def test_tokens_of_others_do_not_exist(services: AccountServices) -> None:
    omar, ada = await services.add("omar"), await services.add("ada", role="admin")
    id, token = await make(services, omar)

    with pytest.raises(NotFound):
        await services.tokens.revoke(ada, id)

    assert (await services.tokens.page(ada, page=ALL)) == ([], 0)
    await services.sessions.authenticate(token)


# Last use


async def test_the_last_use_is_written_now_and_then_and_not_with_each_request(services: AccountServices) -> None:
    omar = await services.add("omar")
    _, token = await make(services, omar)
    used = "SELECT last_used_at FROM api_tokens"
    for _ in range(10):
        await services.sessions.authenticate(token)
    assert rows_of(services.engine.path, used) == [(None,)]

    await services.uses.write()

    ((first,),) = rows_of(services.engine.path, used)
    assert abs(first / 1000 - services.clock.now().timestamp()) < 60
    services.clock.advance(minutes=5)
    await services.uses.write()
    assert rows_of(services.engine.path, used) == [(first,)], "it was not used since"


async def test_the_list_shows_the_last_use_of_before_a_moment(services: AccountServices) -> None:
    omar = await services.add("omar")
    await make(services, omar)
    _, token = await make(services, omar, "run", "read", life=timedelta(days=1))
    await services.sessions.authenticate(token)

    (unused, used), total = await services.tokens.page(omar, page=ALL)

    assert total == 2
    assert unused.last_used_at is None
    assert used.last_used_at is not None
    assert (used.name, list(used.scopes)) == ("CI", ["read", "run"])
    assert used.expires_at == used.created_at + timedelta(days=1)


def test_a_program_in_tests_authenticates_with_a_token() -> None:
    assert not token_caller_of(MARA_ACCOUNT, "read", role="admin").is_admin


@pytest.mark.parametrize("life", [timedelta(seconds=1), LONGEST_LIFE, None])
async def test_a_token_lives_from_a_second_to_ten_years_and_its_entry_says_whether_it_ends(
    services: AccountServices, life: timedelta | None
) -> None:
    omar = await services.add("omar")

    view, _ = await services.tokens.create(omar, name="CI", scopes=["run", "read", "run"], life=life)

    assert (view.scopes, view.expires_at) == (("read", "run"), None if life is None else view.created_at + life)
    ((details,),) = rows_of(services.engine.path, "SELECT details FROM audit WHERE action = 'token.created'")
    assert json.loads(details) == {"scopes": ["read", "run"], "has_end": life is not None}


@pytest.mark.parametrize(
    ("text", "is_token"),
    [
        (PREFIX + "a" * 43, True),
        (PREFIX + "a" * 42, False),
        (PREFIX + "a" * 44, False),
        (PREFIX + "ä" * 43, False),
        ("", False),
    ],
)
def test_only_a_text_with_the_form_of_a_token_is_looked_up(text: str, is_token: bool) -> None:
    assert (digest(text) is not None) is is_token
