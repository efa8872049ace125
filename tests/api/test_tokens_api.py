"""API tokens over REST and WebSockets."""

from pathlib import Path
from typing import Any, Final

import pytest
from websockets.exceptions import InvalidStatus

from api.live import close_code, read, waiting
from api.shapes import SMALLEST, assert_error, assert_recent, moment
from support.client import PASSWORD, Client
from support.server import Server

TOKENS: Final = "/api/v1/tokens"
FIELDS: Final = {"id", "account_id", "workspace_id", "name", "scopes", "created_at"}


def program(account: Client, *scopes: str, **fields: Any) -> tuple[Client, str]:
    """A client that shows a new API token of the account, and the token's id."""
    reply = account.post(TOKENS, {"name": "CI", "scopes": scopes or ("read",), **fields})
    assert reply.status == 201, reply
    return Client(account.url, reply.json["token"]), reply.json["id"]


def test_a_token_is_made_shown_once_and_listed(account: Client) -> None:
    made = account.post(TOKENS, {"name": "CI", "scopes": ["run", "read"], "expires_in": "90d"}).json
    plain = account.post(TOKENS, {"name": "Second", "scopes": ["write"]}).json

    assert made.keys() == {*FIELDS, "expires_at", "token"}
    assert plain.keys() == {*FIELDS, "token"}
    assert made["account_id"] == made["workspace_id"] == account.account_id, "it reaches the personal workspace"
    assert made["token"].startswith("fr_pat_")
    assert_recent(made["created_at"])
    assert (moment(made["expires_at"]) - moment(made["created_at"])).days == 90
    listed = account.get(TOKENS).json
    assert listed == {
        "tokens": [{k: v for k, v in token.items() if k != "token"} for token in (made, plain)],
        "total": 2, "limit": 10, "offset": 0,
    }  # fmt: skip


@pytest.mark.parametrize("role", ["user", "admin"])
def test_s76_a_token_for_agents_is_good_for_nothing_but_the_mcp_server(admin: Client, role: str) -> None:
    agent, _ = program(admin.new_account(role), "mcp", "read", "run", "write")

    for reply in (
        agent.get("/api/v1/flows"),
        agent.post("/api/v1/flows", {"name": "N", "definition": SMALLEST}),
        agent.get("/api/v1/schemas/flow"),
        agent.get("/api/v1/system"),
        agent.get("/api/v1/accounts"),
        agent.post("/api/v1/auth/ws-ticket"),
    ):
        assert_error(reply, 403, "This API token has the scope 'mcp', and is good for /mcp only")
    with pytest.raises(InvalidStatus, match="403"), agent.watch("exec-1"):
        pass


def test_a_program_does_what_its_scopes_say_and_no_more(account: Client) -> None:
    flow = account.new_flow(SMALLEST)
    body = {"name": "N", "definition": SMALLEST}
    reading, _ = program(account, "read")
    running, _ = program(account, "run")
    writing, _ = program(account, "write")

    assert reading.get("/api/v1/flows").json["total"] == 1
    assert_error(running.get("/api/v1/flows"), 403, "This API token does not have the scope 'read'")
    assert running.post(f"/api/v1/flows/{flow}/run", {}).status == 201
    assert_error(reading.post(f"/api/v1/flows/{flow}/run", {}), 403, "This API token does not have the scope 'run'")
    assert writing.post("/api/v1/flows", body).status == 201
    assert_error(reading.post("/api/v1/flows", body), 403, "This API token does not have the scope 'write'")
    for client in (reading, running, writing):
        assert_error(client.get(TOKENS), 403)
        assert_error(client.post(TOKENS, {"name": "N", "scopes": ["read"]}), 403)
        message = "The installation role of this account is 'user', and this needs 'admin'"
        assert_error(client.get("/api/v1/accounts"), 403, message)
        assert_error(client.put(f"/api/v1/accounts/{account.account_id}", {"password": PASSWORD}), 403)
        for name in ("refresh", "logout", "ws-ticket"):
            assert_error(client.post(f"/api/v1/auth/{name}"), 403)


def test_an_admins_program_is_an_admin_only_with_the_scope(admin: Client, account: Client) -> None:
    boss = admin.new_account("admin")
    reading, _ = program(boss, "read")
    managing, _ = program(boss, "admin", "read")

    path = f"/api/v1/accounts/{account.account_id}"
    assert_error(reading.get(path), 404)
    assert_error(reading.get("/api/v1/accounts"), 403, "This API token does not have the scope 'admin'")
    assert managing.get(path).status == 200
    assert managing.put(path, {"name": "Renamed"}).json["name"] == "Renamed"
    assert_error(account.post(TOKENS, {"name": "N", "scopes": ["admin"]}), 403)


def test_the_last_use_is_shown(account: Client) -> None:
    reading, id = program(account, "read")
    assert "last_used_at" not in account.get(TOKENS).json["tokens"][0]

    reading.get("/api/v1/flows")

    (listed,) = account.get(TOKENS).json["tokens"]
    assert listed["id"] == id
    assert_recent(listed["last_used_at"])


def test_a_revoked_token_is_refused_at_once_and_its_sockets_close(account: Client) -> None:
    reading, id = program(account, "read")
    execution = waiting(account)
    with reading.watch(execution) as connection, account.watch(execution) as mine:
        read(connection, 1)
        read(mine, 1)

        assert account.delete(f"{TOKENS}/{id}").json == {"message": "Token revoked successfully"}

        assert close_code(connection, 5.0) == 4401
        assert_error(reading.get("/api/v1/flows"), 401)
        assert_error(account.delete(f"{TOKENS}/{id}"), 404, "Token not found")
        account.delete(f"/api/v1/executions/{execution}")
        assert close_code(mine) == 1000, "others are left alone"


def test_a_token_ends_at_its_time_and_so_do_its_sockets(account: Client) -> None:
    execution = waiting(account)
    reading, _ = program(account, "read", expires_in="2s")
    with reading.watch(execution) as connection:
        read(connection, 1)

        assert close_code(connection, 8.0) == 4401
    assert_error(reading.get("/api/v1/flows"), 401)


def test_a_socket_takes_the_right_to_read(account: Client) -> None:
    execution = waiting(account)
    running, _ = program(account, "run")

    reply = running.request(
        "GET", f"/ws/executions/{execution}",
        headers={"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                 "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="},
    )  # fmt: skip

    assert_error(reply, 403, "This API token does not have the scope 'read'")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["read"]}, "name"),
        ({"name": "", "scopes": ["read"]}, "name"),
        ({"name": " ", "scopes": ["read"]}, "name"),
        ({"name": "N", "scopes": []}, "scopes"),
        ({"name": "N", "scopes": ["everything"]}, "scopes.0"),
        ({"name": "N", "scopes": "read"}, "scopes"),
        ({"name": "N", "scopes": ["read"], "expires_in": "soon"}, "expires_in"),
        ({"name": "N", "scopes": ["read"], "expires_in": "0s"}, "expires_in"),
        ({"name": "N", "scopes": ["read"], "expires_in": "9999999d"}, "expires_in"),
        ({"name": "N", "scopes": ["read"], "expires_in": 30}, "expires_in"),
        ({"name": "N", "scopes": ["read"], "token": "fr_pat_mine"}, "token"),
    ],
)
def test_a_fault_is_told_by_its_field(account: Client, body: Any, field: str) -> None:
    assert assert_error(account.post(TOKENS, body), 422)["field"] == field


def test_a_token_is_neither_in_the_data_nor_in_the_log(tmp_path: Path) -> None:
    server = Server(tmp_path).start()
    try:
        admin = server.admin()
        reading, id = program(admin, "read")
        assert reading.token is not None
        for _ in range(3):
            reading.get("/api/v1/flows")
            reading.post("/api/v1/flows", {})
        Client(server.url, reading.token + "x").get("/api/v1/flows")
        server.terminate()
        assert server.wait() == 0
        needle = reading.token.removeprefix("fr_pat_").encode()
        files = [path for path in server.data_dir.rglob("*") if path.is_file()] + [server.log_path]

        assert [path.name for path in files if needle in path.read_bytes()] == []

        again = server.start().admin()
        (listed,) = again.get(TOKENS).json["tokens"]
        assert listed["id"] == id
        assert_recent(listed["last_used_at"])
        assert Client(server.url, reading.token).get("/api/v1/flows").status == 200
    finally:
        server.stop()


# Viewers, and accounts that are disabled


def test_a_viewer_reads_and_changes_nothing(admin: Client) -> None:
    viewer = admin.new_account()
    flow, secret = viewer.new_flow(SMALLEST), {"key": "KEY", "value": "a value to keep"}
    path = f"/api/v1/accounts/{viewer.account_id}"
    viewer.post(f"{path}/secrets", secret)
    execution = waiting(viewer)
    assert admin.put(path, {"role": "viewer"}).json["role"] == "viewer"
    viewer.login(viewer.email, PASSWORD)

    for address in (f"/api/v1/flows/{flow}", f"/api/v1/executions/{execution}", f"{path}/secrets", path, TOKENS):
        assert viewer.get(address).status == 200, address
    with viewer.watch(execution) as connection:
        read(connection, 1)
    for reply in (
        viewer.put(f"/api/v1/flows/{flow}", {"name": "M"}),
        viewer.post("/api/v1/flows", {"name": "N", "definition": SMALLEST}),
        viewer.delete(f"/api/v1/flows/{flow}"),
        viewer.post(f"/api/v1/flows/{flow}/run", {}),
        viewer.delete(f"/api/v1/executions/{execution}"),
        viewer.post(f"{path}/secrets", secret),
        viewer.delete(f"{path}/secrets/KEY"),
        viewer.put(path, {"name": "M"}),
        viewer.post(TOKENS, {"name": "N", "scopes": ["read"]}),
    ):
        assert_error(reply, 403, "The installation role of this account is 'viewer', and this needs 'user'")
    message = "The installation role of this account is 'viewer', and this needs 'admin'"
    assert_error(viewer.get("/api/v1/accounts"), 403, message)
    assert viewer.post("/api/v1/auth/ws-ticket").status == 201
    assert viewer.post("/api/v1/auth/logout").status == 200


def test_an_account_is_disabled_and_enabled(admin: Client, account: Client) -> None:
    path, login = f"/api/v1/accounts/{account.account_id}", {"username": account.email, "password": PASSWORD}
    reading, _ = program(account, "read")
    execution = waiting(account)

    assert admin.put(path, {"disabled": True}).json["disabled"] is True

    assert_error(account.get("/api/v1/flows"), 401)
    assert_error(reading.get("/api/v1/flows"), 401)
    assert_error(account.post("/api/v1/auth/login", login), 401, "The username or the password is wrong")
    assert admin.get(path).json["disabled"] is True
    assert admin.put(path, {"disabled": True, "name": "Still"}).json["disabled"] is True
    assert admin.put(path, {"name": "Still"}).json["disabled"] is True
    assert admin.put(path, {"disabled": False}).json["disabled"] is False
    account.login(account.email, PASSWORD)
    assert reading.get("/api/v1/flows").status == 200
    assert account.execution(execution)["status"] == "running", "what was under way goes on"


def test_only_an_admin_disables_an_account(account: Client, other: Client) -> None:
    for whose, status in ((account, 403), (other, 404)):
        reply = account.put(f"/api/v1/accounts/{whose.account_id}", {"disabled": True})
        assert_error(reply, status)
    assert account.put(f"/api/v1/accounts/{account.account_id}", {"disabled": False}).status == 200
    assert other.get("/api/v1/flows").status == 200
