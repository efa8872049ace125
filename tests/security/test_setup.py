"""The first start: no account that anybody could know, and a token that makes one."""

import asyncio
import errno
import json
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from api.shapes import SMALLEST, assert_error
from flowrunner.security.keys import UnsafeDataDir, explain_unwritable, open_data_dir
from flowrunner.settings import load_settings
from support.asgi import call, program_at
from support.client import PASSWORD, Client, Reply
from support.scoreboard import Scoreboard
from support.server import ADMIN_EMAIL, ADMIN_PASSWORD, Server

FORGET_ACCOUNTS: Final = "DELETE FROM accounts"
FORGET_COUNTS: Final = "DELETE FROM usage"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A server that was never set up, and is not told how."""
    server = Server(tmp_path, {"ADMIN_EMAIL": None, "ADMIN_PASSWORD": None})
    try:
        yield server.start()
    finally:
        server.stop()


def token_of(server: Server) -> str:
    return (server.data_dir / "setup-token").read_text().strip()


def set_up(server: Server, **fields: Any) -> Reply:
    body = {"token": token_of(server), "name": "Boss", "email": "boss@example.com", "password": PASSWORD}
    return server.client().post("/api/v1/setup", {**body, **fields})


def test_s58_the_token_is_printed_and_kept_for_the_owner_alone(fresh: Server) -> None:
    path = fresh.data_dir / "setup-token"

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token_of(fresh)) >= 32
    assert token_of(fresh) in fresh.log
    assert "/api/v1/setup" in fresh.log


def test_s58_the_token_makes_the_first_admin_once(fresh: Server) -> None:
    token = token_of(fresh)

    reply = set_up(fresh)

    assert reply.status == 201
    assert (reply.json["email"], reply.json["role"]) == ("boss@example.com", "admin")
    assert "password" not in reply.json
    assert Client(fresh.url).login("boss@example.com", PASSWORD).get("/api/v1/accounts").json["total"] == 1
    assert not (fresh.data_dir / "setup-token").exists()
    body = {"token": token, "name": "Again", "email": "again@example.com", "password": PASSWORD}
    assert_error(fresh.client().post("/api/v1/setup", body), 409)
    fresh.kill()
    fresh.start()
    assert_error(fresh.client().post("/api/v1/setup", body), 409)
    assert not (fresh.data_dir / "setup-token").exists()


def test_anyone_learns_whether_there_is_an_account_and_no_more(fresh: Server) -> None:
    before = fresh.client().get("/api/v1/setup")
    assert set_up(fresh).status == 201

    assert (before.status, before.json) == (200, {"is_set_up": False, "mails_resets": False})
    assert fresh.client().get("/api/v1/setup").json == {"is_set_up": True, "mails_resets": False}


def test_s58_another_token_makes_nothing(fresh: Server) -> None:
    for token in ("", "x", "' OR 1=1 --", "\u00e9", "0" * 32, token_of(fresh)[:-1]):
        assert_error(set_up(fresh, token=token), 401)
    assert set_up(fresh).status == 201, "the right one still works"


def test_s58_a_refused_body_leaves_the_token_good(fresh: Server) -> None:
    assert_error(set_up(fresh, password="short"), 422)
    assert_error(set_up(fresh, email="x"), 422)
    assert_error(set_up(fresh, role="admin"), 422)
    assert set_up(fresh).status == 201


def test_s58_of_many_set_ups_at_once_one_makes_an_admin(fresh: Server) -> None:
    token = token_of(fresh)

    def attempt(number: int) -> int:
        body = {"token": token, "name": "Boss", "email": f"boss{number}@example.com", "password": PASSWORD}
        return fresh.client().post("/api/v1/setup", body).status

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(attempt, range(12)))

    assert sorted(set(statuses)) in ([201, 409], [201, 401], [201, 401, 409])
    assert statuses.count(201) == 1
    winner = statuses.index(201)
    admin = Client(fresh.url).login(f"boss{winner}@example.com", PASSWORD)
    assert admin.get("/api/v1/accounts").json["total"] == 1


def test_s58_a_restart_makes_a_new_token_and_ends_the_old_one(fresh: Server) -> None:
    old = token_of(fresh)
    fresh.kill()
    fresh.start()

    assert token_of(fresh) != old
    assert_error(set_up(fresh, token=old), 401)
    assert set_up(fresh).status == 201


def test_s58_without_an_account_nobody_gets_in(fresh: Server) -> None:
    nobody = fresh.client()

    for name, password in (
        ("admin", "admin"),
        (ADMIN_EMAIL, ADMIN_PASSWORD),
        ("", ""),
        ("admin@flowrunner", "changeme"),
    ):
        assert_error(nobody.post("/api/v1/auth/login", {"username": name, "password": password}), 401)
    assert_error(nobody.get("/api/v1/flows"), 401)
    assert nobody.get("/readyz").status == 200


def test_s58_the_first_admin_of_the_environment_never_changes_an_account(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        server.start().admin()
        server.kill()
        other = Server(tmp_path, {"ADMIN_EMAIL": "evil@example.com", "ADMIN_PASSWORD": "another-quiet-heron"})
        try:
            other.start()
            body = {"username": "evil@example.com", "password": "another-quiet-heron"}
            assert_error(other.client().post("/api/v1/auth/login", body), 401)
            assert other.admin().get("/api/v1/accounts").json["total"] == 1
            other.kill()
            changed = Server(tmp_path, {"ADMIN_PASSWORD": "another-quiet-heron"})
            assert changed.start().admin().get("/api/v1/accounts").json["total"] == 1
            changed.stop()
        finally:
            other.stop()
    finally:
        server.stop()


def test_s58_a_first_admin_with_a_weak_password_is_refused(tmp_path: Path) -> None:
    server = Server(tmp_path, {"ADMIN_PASSWORD": "short"})
    server.spawn()

    # No restart mends it: systemd does not repeat a start that ends with 2.
    assert server.wait(20) == 2
    assert "Invalid settings:" in server.log
    assert "FLOWRUNNER_ADMIN_PASSWORD" in server.log
    assert "must have at least 12 characters" in server.log
    assert "short" not in re.sub(r"too_short", "", server.log)


def test_the_set_up_is_announced_as_a_request_that_works(fresh: Server) -> None:
    """The printed command has the address, the token and the fields that the API takes."""
    found = re.search(r"curl (\S+) -H '(Content-Type: application/json)' -d '(\{.*?\})'", fresh.log, re.DOTALL)

    assert found is not None
    assert found[1] == f"{fresh.url}/api/v1/setup"
    body = json.loads(found[3])
    assert body["token"] == token_of(fresh)
    reply = fresh.client().post("/api/v1/setup", {**body, "password": PASSWORD})
    assert reply.status == 201


def test_s58_nothing_of_a_fresh_start_is_open_to_others(fresh: Server) -> None:
    set_up(fresh)
    fresh.client().login("boss@example.com", PASSWORD).run_to_end(SMALLEST)

    found = [fresh.data_dir, *fresh.data_dir.rglob("*")]

    assert {path.name for path in found} >= {"flowrunner.db", "flowrunner.db-wal", "keys", "master.key", "signing.key"}
    assert {str(path): oct(path.stat().st_mode) for path in found if path.stat().st_mode & 0o077} == {}


def test_s58_whose_directory_it_is_is_told_where_that_is_the_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a volume belongs to root, and the server is nobody in particular."""
    tmp_path.chmod(0o755)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: 10001)

    with pytest.raises(UnsafeDataDir, match=f"run 'chown 10001 {tmp_path} && chmod 700 {tmp_path}'"):
        open_data_dir(tmp_path)
    with pytest.raises(UnsafeDataDir) as told, explain_unwritable(tmp_path / "lock"):
        raise PermissionError(errno.EACCES, "Permission denied")

    assert str(told.value) == (
        f"Cannot write to {tmp_path / 'lock'}: Permission denied; it belongs to user {owner}, and this is user 10001"
    )


def test_a_working_directory_that_may_not_be_looked_into_holds_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it is a volume that belongs to root."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "stat", refused)

    assert load_settings({}, {}).host == "127.0.0.1"


def test_s58_a_database_that_was_put_back_open_is_closed_at_the_start(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        server.start().kill()
        for path in server.data_dir.glob("flowrunner.db*"):
            path.chmod(0o644)

        server.start()

        modes = {stat.S_IMODE(path.stat().st_mode) for path in server.data_dir.glob("flowrunner.db*")}
        assert modes == {0o600}
    finally:
        server.stop()


def test_s58_it_listens_on_loopback_alone_unless_told_otherwise(fresh: Server) -> None:
    _, port = fresh.client().address

    assert fresh.url.startswith("http://127.0.0.1:")
    assert "server.exposed" not in fresh.log
    # Another address of this machine, which a socket on all addresses would answer at.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_s58_it_says_what_it_means_to_listen_for_others(tmp_path: Path, host: str) -> None:
    server = Server(tmp_path, flags=("--host", host))
    server.spawn()
    try:
        deadline = time.monotonic() + 20
        while "server.exposed" not in server.log:
            assert time.monotonic() < deadline, server.log
            assert not server.has_ended(), server.log
            time.sleep(0.02)
    finally:
        server.stop()
    for words in ("other machines can reach this server", "plain HTTP", "127.0.0.1", "proxy with TLS"):
        assert words in server.log


def test_s58_an_address_of_ipv6_is_announced_as_one(tmp_path: Path) -> None:
    server = Server(tmp_path, {"ADMIN_EMAIL": None, "ADMIN_PASSWORD": None}, flags=("--host", "::1"))
    try:
        assert server.start().url.startswith("http://[::1]:")
        assert f"curl {server.url}/api/v1/setup" in server.log
        assert "server.exposed" not in server.log
    finally:
        server.stop()


async def test_s58_of_a_hundred_races_each_makes_one_admin(tmp_path: Path, scoreboard: Scoreboard) -> None:
    wrong = []
    async with program_at(tmp_path) as program:

        async def attempt(token: str, number: int) -> int:
            fields = {"token": token, "name": "B", "email": f"b{number}@example.com", "password": PASSWORD}
            return (await call(program.app, "POST", "/api/v1/setup", body=json.dumps(fields).encode())).status

        for turn in range(100):
            token = program.setup.issue_token()
            statuses = sorted(await asyncio.gather(*(attempt(token, number) for number in range(2))))
            statuses.append(await attempt(token, 9))
            await program.database.write(lambda tx: tx.run(FORGET_COUNTS))
            made = await program.database.write(lambda tx: tx.run(FORGET_ACCOUNTS))
            if statuses != [201, 409, 409] or made != 1:
                wrong.append((turn, statuses, made))

    scoreboard.count("set-up races: more than one admin", cases=100, failures=len(wrong))
    assert wrong == []


def test_s19_the_last_admin_stays(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        admin = server.start().admin()
        path = f"/api/v1/accounts/{admin.account_id}"
        admin.new_account()

        assert_error(admin.delete(path), 409)
        assert_error(admin.put(path, {"role": "user"}), 409)
        assert admin.get(path).json["role"] == "admin"

        # Two admins who take each other's place at the same moment: one remains.
        for turn in range(15):
            second = admin.new_account("admin")
            mine, theirs = f"/api/v1/accounts/{admin.account_id}", f"/api/v1/accounts/{second.account_id}"

            def act(one: Client, target: str, delete: bool = bool(turn % 2)) -> int:
                return (one.delete(target) if delete else one.put(target, {"role": "user"})).status

            with ThreadPoolExecutor(2) as pool:
                first, other = pool.submit(act, admin, theirs), pool.submit(act, second, mine)
                statuses = sorted((first.result(), other.result()))
            assert statuses[0] == 200
            assert statuses[1] in (200, 401, 403, 404, 409)
            assert statuses != [200, 200]
            if first.result() != 200:
                admin = second
            elif turn % 2 == 0:
                assert admin.delete(theirs).status == 200
            admin = _logged_in(server, admin)
            assert admin.get("/api/v1/accounts", role="admin").json["total"] == 1
    finally:
        server.stop()


def _logged_in(server: Server, client: Client) -> Client:
    password = ADMIN_PASSWORD if client.email == ADMIN_EMAIL else PASSWORD
    return server.client().login(client.email, password)
