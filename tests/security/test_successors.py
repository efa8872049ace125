"""What has leaked leaves no successors: neither an API token nor a session takes an account over."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import combinations, product
from pathlib import Path
from typing import Any, Final

import pytest

from api.shapes import assert_error
from flowrunner.domain.account import SCOPES, SCOPES_AT_MCP
from security.two_accounts import ApiClient, TwoAccounts, assert_limited, two_accounts_at
from support.client import PASSWORD, Reply
from support.databases import rows_of
from support.scoreboard import Scoreboard

ACCOUNTS: Final = "/api/v1/accounts"
NEW: Final = "kestrel over the long grey fjord"
MINUTES: Final = 60_000


def whole(path: Path) -> list[Any]:
    """All accounts, and all that lets anybody in."""
    tables = ("accounts", "sessions", "api_tokens")
    return [rows_of(path / "flowrunner.db", f"SELECT * FROM {table} ORDER BY id") for table in tables]


def is_made(scopes: Sequence[str]) -> bool:
    """Return whether a token can have these scopes: `mcp` goes with those of tools, and with at least one."""
    others = set(scopes) - {"mcp"}
    return "mcp" not in scopes or bool(others and others <= SCOPES_AT_MCP)


async def program_of(client: ApiClient, *scopes: str) -> ApiClient:
    reply = await client.request("POST", "/api/v1/tokens", {"name": "N", "scopes": scopes})
    assert reply.status == 201, reply
    return ApiClient(client.app, reply.json["token"])


async def account_of(accounts: TwoAccounts, client: ApiClient) -> Any:
    caller = await accounts.program.services.sessions.authenticate(client.token or "")
    return (await client.request("GET", f"{ACCOUNTS}/{caller.account_id}")).json


async def log_in(accounts: TwoAccounts, email: str, password: str = PASSWORD) -> ApiClient:
    reply = await ApiClient(accounts.app).request(
        "POST", "/api/v1/auth/login", {"username": email, "password": password}
    )
    assert reply.status == 200, reply
    return ApiClient(accounts.app, reply.json["token"])


def told(reply: Reply) -> tuple[Any, ...]:
    """An answer but for what differs between any two requests."""
    of_each = ("x-request-id", "content-length", "ratelimit")
    headers = {name: text for name, text in reply.headers.items() if name not in of_each}
    return reply.status, headers, {**reply.error, "request_id": ""}


async def test_s66_no_api_token_changes_a_password_an_address_or_a_role_or_makes_an_account(
    tmp_path: Path, scoreboard: Scoreboard
) -> None:
    async with two_accounts_at(tmp_path / "data") as accounts:
        mara, omar = await account_of(accounts, accounts.mara), await account_of(accounts, accounts.omar)
        programs = []
        for client, most in ((accounts.mara, SCOPES), (accounts.omar, SCOPES[:3])):
            for count in range(1, len(most) + 1):
                programs += [
                    (scopes, await program_of(client, *scopes))
                    for scopes in combinations(most, count)
                    if is_made(scopes)
                ]
        before, tried, done = whole(tmp_path / "data"), 0, []

        for (scopes, program), account in product(programs, (mara, omar)):
            new = {"name": account["name"], "email": f"new-{account['email']}", "password": NEW}
            new |= {"role": "user" if account["role"] == "admin" else "admin", "current_password": PASSWORD}
            bodies = [
                {field: new[field] for field in fields}
                for fields in (
                    ["password"], ["password", "current_password"], ["email"], ["role"], ["name", "email"],
                    ["name", "email", "role"], list(new), ["name", "password"],
                )
            ] + [{"email": "no address"}, {"password": "short"}]  # fmt: skip
            requests = [("PUT", f"{ACCOUNTS}/{account['id']}", body) for body in bodies]
            made = {"name": "N", "email": f"{tried}@example.com", "password": PASSWORD}
            requests += [("POST", ACCOUNTS, made), ("POST", ACCOUNTS, {**made, "role": "admin"})]
            requests += [("POST", "/api/v1/tokens", {"name": "N", "scopes": ["read"]})]
            for method, path, body in requests:
                tried += 1
                reply = await program.request(method, path, body)
                if reply.status != 403:
                    done.append((scopes, method, body, reply.status))

        scoreboard.count("API tokens: took an account over, or left another", cases=tried, failures=len(done))
        assert done == []
        assert tried > 500
        assert whole(tmp_path / "data") == before


async def test_s66_the_body_of_the_reference_is_enough_for_the_rest(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data") as accounts:
        managing = await program_of(accounts.mara, "admin")
        omar = await account_of(accounts, accounts.omar)
        path = f"{ACCOUNTS}/{omar['id']}"
        same = {"email": omar["email"].upper(), "role": "user"}
        age_logins(tmp_path)
        accounts.program.services.known_callers.drop_all()

        for number, client in enumerate((managing, accounts.mara, accounts.omar)):
            assert (await client.request("PUT", path, {"name": f"O{number}", **same})).json["name"] == f"O{number}"
        changed = await accounts.mara.request("PUT", path, {"name": "O", "email": "new@example.com", "role": "admin"})

        assert changed.status == 200
        assert (changed.json["email"], changed.json["role"]) == ("new@example.com", "admin")
        assert (await accounts.mara.request("PUT", path, {"password": NEW})).status == 200
        await log_in(accounts, "new@example.com", NEW)


@pytest.mark.parametrize("name", ["mara", "omar"])
async def test_s66_a_session_alone_sets_no_password(tmp_path: Path, name: str) -> None:
    async with two_accounts_at(tmp_path / "data") as accounts:
        thief = {"mara": accounts.mara, "omar": accounts.omar}[name]
        path = f"{ACCOUNTS}/{(await account_of(accounts, thief))['id']}"
        before = whole(tmp_path / "data")

        absent = await thief.request("PUT", path, {"password": NEW})
        wrong = await thief.request("PUT", path, {"password": NEW, "current_password": "a wrong password"})

        details = assert_error(absent, 422, "Current password is required")
        assert (details["field"], details["errors"][0]["code"]) == ("current_password", "required")
        details = assert_error(wrong, 422)
        assert (details["field"], details["errors"][0]["code"]) == ("current_password", "wrong")
        assert whole(tmp_path / "data") == before
        assert (await thief.request("PUT", path, {"password": NEW, "current_password": PASSWORD})).status == 200
        await log_in(accounts, f"{name}@example.com", NEW)


async def test_s66_guesses_through_a_session_are_as_few_as_at_the_login(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data") as accounts:
        path = f"{ACCOUNTS}/{(await account_of(accounts, accounts.omar))['id']}"

        replies = [
            await accounts.omar.request("PUT", path, {"password": NEW, "current_password": f"a wrong password {n}"})
            for n in range(25)
        ]

        assert [reply.status for reply in replies] == [422] * 20 + [429] * 5
        assert_limited(replies[-1], "failed_logins", 20, longest=900)
        assert (await accounts.refusals())["failed_logins"] == 5
        right = await accounts.omar.request("PUT", path, {"password": NEW, "current_password": PASSWORD})
        assert_limited(right, "failed_logins", 20, longest=900)
        rows = (await accounts.mara.request("GET", "/api/v1/audit?action=login.failed&limit=100")).json["entries"]
        assert len(rows) > 20


def age_logins(tmp_path: Path, minutes: int = 16) -> None:
    with closing(sqlite3.connect(tmp_path / "data" / "flowrunner.db")) as connection, connection:
        connection.execute("UPDATE sessions SET logged_in_at = logged_in_at - ?", (minutes * MINUTES,))


async def test_s66_a_session_of_an_earlier_login_does_not_take_the_address_over(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data") as accounts:
        path = f"{ACCOUNTS}/{(await account_of(accounts, accounts.omar))['id']}"
        age_logins(tmp_path)
        accounts.program.services.known_callers.drop_all()
        renewed = (await accounts.omar.request("POST", "/api/v1/auth/refresh")).json["token"]

        for thief in (accounts.omar, ApiClient(accounts.app, renewed)):
            reply = await thief.request("PUT", path, {"email": "thief@example.com"})
            assert (reply.status, reply.error["code"]) == (403, "recent_login_required")
            assert "log in again" in reply.error["message"]
        recent = await log_in(accounts, "omar@example.com")
        assert (await recent.request("PUT", path, {"email": "new@example.com"})).json["email"] == "new@example.com"


async def test_s66_an_address_that_is_taken_is_answered_like_one_that_is_none(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data") as accounts:
        path = f"{ACCOUNTS}/{(await account_of(accounts, accounts.omar))['id']}"

        taken = await accounts.omar.request("PUT", path, {"email": "Mara@Example.com"})
        invalid = await accounts.omar.request("PUT", path, {"email": "no address"})
        mixed = await accounts.omar.request("PUT", path, {"email": "m\u0430ra@example.com"})

        assert told(taken) == told(invalid) == told(mixed)
        assert taken.status == 422
        assert (await accounts.omar.request("PUT", path, {"email": "o@example.com"})).status == 200
        assert (await accounts.omar.request("PUT", path, {"email": "omar@example.com"})).status == 200
        refused = [
            await accounts.omar.request("PUT", path, {"email": email}) for email in ("mara@example.com", "x", "y@x.y")
        ]
        for reply in refused:
            assert_limited(reply, "account_emails", 5, longest=3600)
        assert (await accounts.omar.request("PUT", path, {"name": "O", "email": "omar@example.com"})).status == 200
        other = await accounts.mara.request("PUT", path, {"email": "mara@example.com"})
        assert_error(other, 409, "An account with this e-mail address already exists")
