"""An installation moves from its file to PostgreSQL by `flowrunner copy`, and goes on there."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.invariants import check_database
from support.postgres import PostgresServer, query
from support.preloaded import run_forked
from support.server import Server, clean_environment

FLOW = """
metadata: {name: Waits, version: "1"}
nodes: {a: {type: wait, params: {key: go}, next: b}, b: {type: log, params: {message: on}}}
"""


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.stop()


def flowrunner(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = clean_environment(**{f"FLOWRUNNER_{name}": value for name, value in settings.items()})
    return run_forked(["-m", "flowrunner", *arguments], cwd=Path.cwd(), env=environment)


def test_an_installation_goes_on_in_postgresql(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.new_database()
    old = Server(tmp_path).start()
    admin = old.admin()
    admin.new_secret("KEPT", "a value that nobody else knows")
    flow_id = admin.new_flow(FLOW)
    id = admin.post(f"/api/v1/flows/{flow_id}/run", {"input": {}}).json["execution_id"]
    admin.waiting_at(id, "a")
    directory = str(old.data_dir)

    in_use = flowrunner("copy", "--to", url, DATA_DIR=directory)
    (tmp_path / "elsewhere.db").symlink_to(old.database)
    in_use_there = flowrunner("copy", "--from", f"sqlite:///{tmp_path / 'elsewhere.db'}", "--to", url)
    old.stop()
    behind = flowrunner("migrate", "--check", DATA_DIR=directory, DATABASE_URL=url)
    copied = flowrunner("copy", "--from", f"sqlite:///{old.database}", "--to", url, DATA_DIR=directory)
    again = flowrunner("copy", "--to", url, DATA_DIR=directory)
    newest = flowrunner("migrate", "--check", DATA_DIR=directory, DATABASE_URL=url)

    assert (in_use.returncode, behind.returncode, copied.returncode) == (1, 1, 0), copied.stderr
    assert "Another FlowRunner server is using" in in_use.stderr
    assert "Another FlowRunner server is using" in in_use_there.stderr
    assert "'flowrunner migrate' brings it there" in behind.stderr
    assert "executions: 1 row\n" in copied.stdout
    assert (again.returncode, newest.returncode) == (1, 0)
    assert "not empty" in again.stderr
    twin = flowrunner("serve", DATA_DIR=directory, PORT="0")
    assert twin.returncode != 0
    assert "was copied to PostgreSQL" in twin.stderr
    assert f"delete {old.database}.moved" in twin.stderr
    new = Server(tmp_path, {"DATABASE_URL": url}).start()
    try:
        # The session, the keys, the secrets and what waits are those of before.
        client = new.client(admin.token)
        kept = client.get(f"/api/v1/accounts/{admin.account_id}/secrets").json["secrets"]
        assert [secret["key"] for secret in kept] == ["KEPT"]
        assert client.post(f"/api/v1/executions/{id}/signals/go", {}).status in (200, 202)
        assert client.ended(id)["status"] == "completed"
    finally:
        new.stop()
    verified = flowrunner("audit", "verify", DATA_DIR=directory, DATABASE_URL=url)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert check_database(url) == []


def test_a_server_starts_on_its_file_after_a_copy_that_was_refused(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.new_database()
    server = Server(tmp_path).start()
    server.admin()
    server.stop()
    assert flowrunner("migrate", DATABASE_URL=url, DATA_DIR=str(server.data_dir)).returncode == 0
    query(url, "INSERT INTO accounts (id, name, email, role, password_hash, created_at, updated_at)"
               " VALUES ('a', 'A', 'a@example.com', 'admin', 'x', 0, 0)")  # fmt: skip

    refused = flowrunner("copy", "--from", f"sqlite:///{server.database}", "--to", url)

    assert (refused.returncode, "not empty" in refused.stderr) == (1, True), refused.stderr
    assert list(server.data_dir.glob("*.moved")) == []
    server.start()
    server.stop()


def test_migrate_makes_a_new_database_ready_and_tells_what_it_did(postgres: PostgresServer, tmp_path: Path) -> None:
    settings = {"DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": postgres.new_database()}

    first, second = flowrunner("migrate", **settings), flowrunner("migrate", **settings)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "before: none" in first.stdout
    assert "before" not in second.stdout
    assert not os.path.exists(settings["DATA_DIR"]), "it has nothing to do with the keys"


def test_a_database_of_a_newer_version_is_told_from_one_that_is_behind(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    settings = {"DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": postgres.new_database()}
    flowrunner("migrate", **settings)
    query(settings["DATABASE_URL"], "UPDATE alembic_version SET version_num = '9999'")
    query(settings["DATABASE_URL"], "UPDATE engine SET compatible_with = '9998'")

    checked = flowrunner("migrate", "--check", **settings)

    assert checked.returncode == 1
    assert "A newer version of FlowRunner wrote it" in checked.stderr


def test_what_cannot_be_moved_is_said_without_the_password(tmp_path: Path) -> None:
    url = "postgresql://me:a-very-secret-word@127.0.0.1:1/x"
    for arguments in (("copy", "--to", url), ("migrate", "--check"), ("migrate",), ("copy", "--from", url)):
        ran = flowrunner(*arguments, DATA_DIR=str(tmp_path / "data"), DATABASE_URL=url)

        assert ran.returncode == 1, arguments
        assert "flowrunner: " in ran.stderr
        assert "Traceback" not in ran.stderr
        assert "a-very-secret-word" not in ran.stdout + ran.stderr
