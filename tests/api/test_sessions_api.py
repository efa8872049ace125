"""The logins of an account, and what it prefers, over REST."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from api.shapes import assert_error, assert_recent, moment
from support.asgi import call, program_at
from support.client import PASSWORD, Client
from support.databases import rows_of

SESSIONS: Final = "/api/v1/sessions"
PREFERENCES: Final = "/api/v1/accounts/me/preferences"


def logged_in(account: Client, agent: str) -> Client:
    body = json.dumps({"username": account.email, "password": PASSWORD}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": agent}
    token = Client(account.url).request("POST", "/api/v1/auth/login", body, headers).json["token"]
    return Client(account.url, token)


def sessions(client: Client) -> list[Any]:
    reply = client.get(SESSIONS, limit=100)
    assert reply.status == 200, reply
    assert reply.json["total"] == len(reply.json["sessions"])
    return list(reply.json["sessions"])


def test_each_login_says_since_when_and_from_where(account: Client) -> None:
    phone = logged_in(account, "Phone/1.0")

    newest, first = sessions(phone)

    assert (newest["agent"], newest["address"], newest["is_current"]) == ("Phone/1.0", "127.0.0.1", True)
    assert first["is_current"] is False
    assert_recent(newest["created_at"])
    assert_recent(newest["last_used_at"])
    assert moment(newest["expires_at"]) > moment(newest["created_at"])
    assert newest["id"] != first["id"]


def test_logins_are_listed_in_pages_the_newest_first(account: Client) -> None:
    for number in range(3):
        logged_in(account, f"device {number}")
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        page = account.get(SESSIONS, limit=2, cursor=cursor).json
        found += [one["agent"] for one in page["sessions"] if "agent" in one]
        cursor = page.get("next_cursor")

    assert found == ["device 2", "device 1", "device 0"]


def test_a_refreshed_login_is_still_one(account: Client) -> None:
    before = sessions(account)
    account.token = account.post("/api/v1/auth/refresh").json["token"]

    after = sessions(account)

    assert [one["id"] for one in after] == [one["id"] for one in before]
    assert after[0]["is_current"] is True


def test_one_login_is_ended_and_the_others_stay(account: Client) -> None:
    phone, laptop = logged_in(account, "phone"), logged_in(account, "laptop")
    (id,) = [one["id"] for one in sessions(account) if one.get("agent") == "phone"]

    assert account.delete(f"{SESSIONS}/{id}").status == 200

    assert_error(phone.get(SESSIONS), 401)
    assert "phone" not in {one.get("agent") for one in sessions(laptop)}
    assert_error(account.delete(f"{SESSIONS}/{id}"), 404)


def test_all_other_logins_are_ended_at_once(account: Client) -> None:
    others = [logged_in(account, f"device {number}") for number in range(3)]

    assert account.delete(SESSIONS).status == 200

    assert [one["is_current"] for one in sessions(account)] == [True]
    for other in others:
        assert_error(other.get(SESSIONS), 401)


def test_nobody_sees_or_ends_a_login_of_another_account(account: Client, other: Client) -> None:
    (mine,) = sessions(account)

    assert_error(other.delete(f"{SESSIONS}/{mine['id']}"), 404)
    assert other.delete(SESSIONS).status == 200
    assert sessions(account)[0]["id"] == mine["id"]


def test_a_name_of_a_login_is_no_way_in(account: Client) -> None:
    (mine,) = sessions(account)

    assert_error(Client(account.url, mine["id"]).get(SESSIONS), 401)
    token = account.post("/api/v1/tokens", {"name": "N", "scopes": ["read", "write"]}).json["token"]
    assert_error(Client(account.url, token).get(SESSIONS), 403)
    assert_error(Client(account.url, token).get(PREFERENCES), 403)


def test_preferences_that_have_changed_since_are_not_overwritten(account: Client) -> None:
    read = account.get(PREFERENCES)
    assert read.headers["etag"] != account.put(PREFERENCES, {"preferences": {"columns": ["flow"]}}).headers["etag"]

    late = account.put(PREFERENCES, {"preferences": {"theme": "dark"}}, **{"If-Match": read.headers["etag"]})

    assert (late.status, late.error["code"]) == (412, "precondition_failed")
    present = account.get(PREFERENCES)
    assert present.json == {"preferences": {"columns": ["flow"]}}
    assert late.headers["etag"] == present.headers["etag"]
    assert account.put(PREFERENCES, {"preferences": {}}, **{"If-Match": present.headers["etag"]}).status == 200


def test_preferences_are_kept_as_they_were_sent(account: Client, other: Client) -> None:
    wanted = {"theme": "dark", "views": [{"name": "Failed <b>", "query": "status=failed", "columns": ["id", 1, None]}]}
    assert account.get(PREFERENCES).json == {"preferences": {}}

    assert account.put(PREFERENCES, {"preferences": wanted}).json == {"preferences": wanted}

    assert account.get(PREFERENCES).json == {"preferences": wanted}
    assert other.get(PREFERENCES).json == {"preferences": {}}
    assert account.put(PREFERENCES, {"preferences": {}}).status == 200
    assert account.get(PREFERENCES).json == {"preferences": {}}


def test_a_viewer_has_preferences_too(admin: Client) -> None:
    assert admin.new_account("viewer").put(PREFERENCES, {"preferences": {"theme": "light"}}).status == 200


@pytest.mark.parametrize(
    "wrong", [{}, {"preferences": []}, {"preferences": {"x": "y" * 65_536}}, {"preferences": None}]
)
def test_preferences_are_a_bounded_object(account: Client, wrong: Any) -> None:
    assert_error(account.put(PREFERENCES, wrong), 422)

    assert account.get(PREFERENCES).json == {"preferences": {}}


async def test_what_was_used_since_the_last_look_is_written_at_a_stop(tmp_path: Path) -> None:
    uses = "SELECT address, (SELECT count(last_used_at) FROM api_tokens) FROM sessions"
    async with program_at(tmp_path) as program:
        await program.services.accounts.create(name="R", email="root@example.com", password=PASSWORD, role="admin")
        login = (await program.services.sessions.login("root@example.com", PASSWORD, address="192.0.2.1")).token
        body = json.dumps({"name": "CI", "scopes": ["read"]}).encode()
        token = (await call(program.app, "POST", "/api/v1/tokens", token=login, body=body)).json["token"]
        for used in (login, token):
            assert (await call(program.app, "GET", "/api/v1/flows", token=used, address="192.0.2.2")).status == 200
        before = rows_of(tmp_path / "flowrunner.db", uses)

    assert before == [("192.0.2.1", 0)]
    assert rows_of(tmp_path / "flowrunner.db", uses) == [("192.0.2.2", 1)]
