"""Logins of the command line that a browser allows, and what others can do with their codes."""

import hashlib
import json
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from api.shapes import assert_error
from support.client import PASSWORD, Client
from support.codes import code_of
from support.server import Server

CODES = "/api/v1/auth/command-logins"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("commands")).start()
    yield server
    server.stop()


@pytest.fixture
def account(own: Server) -> Client:
    return own.admin().new_account()


def new_secret() -> tuple[str, str]:
    verifier = secrets.token_urlsafe(48)
    return verifier, hashlib.sha256(verifier.encode()).hexdigest()


def allowed(account: Client) -> tuple[str, str]:
    verifier, challenge = new_secret()
    reply = account.post(CODES, {"challenge": challenge})
    assert reply.status == 200
    return reply.json["code"], verifier


def exchange(url: str, code: str, verifier: str) -> tuple[int, str]:
    reply = Client(url).post(f"{CODES}/token", {"code": code, "verifier": verifier})
    if reply.status != 200:
        assert_error(reply, 401)
        return 401, ""
    return 200, reply.json["token"]


def age_logins(own: Server) -> None:
    """Let all logins be 16 minutes old; the cached ones are looked up again after another login has ended."""
    with closing(sqlite3.connect(own.data_dir / "flowrunner.db")) as database, database:
        database.execute("UPDATE sessions SET logged_in_at = logged_in_at - 960000")


def test_a_code_opens_a_login_of_its_own(account: Client) -> None:
    status, token = exchange(account.url, *allowed(account))

    assert status == 200
    command = Client(account.url, token)
    assert command.get("/api/v1/accounts/me").json["email"] == account.email
    assert len(command.get("/api/v1/sessions").json["sessions"]) == 2
    assert command.post("/api/v1/auth/logout").status == 200
    assert account.get("/api/v1/accounts/me").status == 200


def test_a_code_works_once(account: Client) -> None:
    code, verifier = allowed(account)

    assert [exchange(account.url, code, verifier)[0] for _ in range(3)] == [200, 401, 401]


def test_a_code_is_nothing_without_the_verifier_and_is_not_used_up_by_a_wrong_one(account: Client) -> None:
    code, verifier = allowed(account)
    challenge = hashlib.sha256(verifier.encode()).hexdigest()

    for wrong in (new_secret()[0], challenge, verifier[:-1] + "~", "x" * 200):
        assert exchange(account.url, code, wrong)[0] == 401
    for ticket in (code, f"{challenge}:{code}"):
        with pytest.raises(InvalidStatus, match="401"):
            connect(
                account.url.replace("http", "ws", 1) + "/ws/executions",
                subprotocols=[Subprotocol("flowrunner.v1"), Subprotocol(f"ticket.{ticket.replace(':', '.')}")],
                proxy=None,
            )
    assert exchange(account.url, code, verifier)[0] == 200


def test_a_ticket_for_a_socket_is_no_code(account: Client) -> None:
    ticket = account.post("/api/v1/auth/ws-ticket").json["ticket"]

    assert exchange(account.url, ticket, new_secret()[0])[0] == 401


def test_a_code_ends_with_the_login_that_allowed_it(account: Client) -> None:
    code = allowed(account)
    account.post("/api/v1/auth/logout")

    assert exchange(account.url, *code)[0] == 401


@pytest.mark.parametrize("challenge", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", None, 5])
def test_a_challenge_is_a_digest(challenge: object, account: Client) -> None:
    assert_error(account.post(CODES, {"challenge": challenge}), 422)


def test_neither_an_api_token_nor_a_page_of_another_origin_allows_a_login(account: Client) -> None:
    token = account.post("/api/v1/tokens", {"name": "t", "scopes": ["read", "write", "run"]}).json["token"]
    body = {"challenge": new_secret()[1]}

    assert_error(Client(account.url, token).post(CODES, body), 403)
    assert_error(Client(account.url).post(CODES, body), 401)
    login = {"username": account.email, "password": PASSWORD, "cookie": True}
    cookie = Client(account.url).post("/api/v1/auth/login", login).headers["set-cookie"].partition(";")[0]
    for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert_error(Client(account.url).post(CODES, body, Cookie=cookie, **headers), 403)
    assert Client(account.url).post(CODES, body, Cookie=cookie, Origin=account.url).status == 200


def test_an_account_allows_a_bounded_number_of_logins(account: Client) -> None:
    statuses = [account.post(CODES, {"challenge": new_secret()[1]}).status for _ in range(12)]

    assert statuses == [200] * 10 + [429] * 2


def test_a_login_shows_what_the_browser_has_shown(own: Server, account: Client) -> None:
    made = account.post("/api/v1/second-factors/totp", {"name": "app"}).json
    secret = made["secret"]
    confirmed = account.post(f"/api/v1/second-factors/{made['id']}/confirm", {"code": code_of(secret)})
    assert confirmed.status == 200, confirmed.json

    status, _ = exchange(account.url, *allowed(account))

    assert status == 200
    with closing(sqlite3.connect(own.data_dir / "flowrunner.db")) as database:
        id = account.get("/api/v1/accounts/me").json["id"]
        rows = database.execute("SELECT DISTINCT proof, count(*) FROM sessions WHERE account_id = ? GROUP BY 1", (id,))
        assert rows.fetchall() == [("second_factor", 2)]
        told = "SELECT details FROM audit WHERE action = 'login.succeeded' AND actor = ? ORDER BY seq"
        assert [json.loads(details) for (details,) in database.execute(told, (id,))] == [
            {}, {"proof": "second_factor"},
        ]  # fmt: skip


def test_an_old_login_must_log_in_again_before_it_allows_another(own: Server, account: Client) -> None:
    age_logins(own)
    # Callers are kept in memory until a session of theirs ends: that of a refresh has the time of its login.
    later = Client(account.url, account.post("/api/v1/auth/refresh").json["token"])

    reply = later.post(CODES, {"challenge": new_secret()[1]})

    assert (reply.status, reply.json["error"]["code"]) == (403, "recent_login_required")


def test_the_page_is_shown_in_no_frame(own: Server) -> None:
    reply = Client(own.url).get("/command-login?challenge=x")

    assert reply.status == 200
    assert re.search("frame-ancestors 'none'", reply.headers["content-security-policy"])


def test_a_chain_of_logins_is_no_more_recent_than_its_first_login(own: Server, account: Client) -> None:
    with closing(sqlite3.connect(own.data_dir / "flowrunner.db")) as database, database:
        database.execute("UPDATE sessions SET logged_in_at = logged_in_at - 840000")
    _, token = exchange(account.url, *allowed(account))
    with closing(sqlite3.connect(own.data_dir / "flowrunner.db")) as database, database:
        database.execute("UPDATE sessions SET logged_in_at = logged_in_at - 120000")

    refused = Client(account.url, token).post(CODES, {"challenge": new_secret()[1]})

    assert (refused.status, refused.json["error"]["code"]) == (403, "recent_login_required")


def test_every_login_of_the_command_line_is_on_a_page_of_the_list(account: Client) -> None:
    for _ in range(3):
        exchange(account.url, *allowed(account))
    page = account.get("/api/v1/sessions", limit=1).json
    seen = {page["sessions"][0]["id"]}
    while cursor := page.get("next_cursor"):
        page = account.get("/api/v1/sessions", limit=1, cursor=cursor).json
        seen.add(page["sessions"][0]["id"])

    assert len(seen) == 4
