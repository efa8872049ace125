"""Every version opens an installation of the first schema and finishes its open executions."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support.client import Client
from support.databases import rows_of
from support.invariants import check_database
from support.postgres import PostgresServer, connected
from support.server import Server, clean_environment
from support.steps import differing_steps
from upgrades.flows import FLOWS

FIXTURE: Final = Path(__file__).parent / "fixture"
EXECUTIONS: Final = (
    "SELECT f.name, x.id, x.status FROM executions x JOIN flows f ON f.id = x.flow_id ORDER BY f.name, x.queue_position"
)


@pytest.fixture(params=["sqlite", "postgres"])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    settings = {}
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("lasting_postgres")
        settings["DATABASE_URL"] = url = server.new_database()
        dump = (FIXTURE / "postgres.sql").read_text()
        connected(url, lambda connection: connection.execute(dump))
    running = Server(tmp_path, settings)
    running.data_dir.mkdir(mode=0o700)
    shutil.copytree(FIXTURE / "keys", running.data_dir / "keys")
    (running.data_dir / "keys").chmod(0o700)
    for key in (running.data_dir / "keys").iterdir():
        key.chmod(0o600)
    if not settings:
        shutil.copy(FIXTURE / "flowrunner.db", running.data_dir)
    yield running
    running.stop()


def test_all_open_executions_finish(installation: Server) -> None:
    stored = rows_of(installation.place, EXECUTIONS)
    assert {name for name, _, _ in stored} == FLOWS.keys()
    assert {status for _, _, status in stored} <= {"running", "waiting"}
    account = installation.start().admin()
    # Children before their parents, and the holder of a concurrency slot before the execution that waits for it.
    for name, id, _ in stored:
        finish(account, name, id)

    for name, id, _ in stored:
        ended = account.ended(id)
        assert ended["status"] == "completed", (name, ended)
        if FLOWS[name].result is not None:
            assert ended["result"] == FLOWS[name].result, name
    assert installation.log.count("database.migrated") == 1
    assert check_database(installation.place) == []
    assert differing_steps(installation.place) == []
    for _, id, _ in stored:
        assert account.get(f"/api/v1/executions/{id}/steps").status == 200
        assert account.get(f"/api/v1/executions/{id}/graph").status == 200


def test_an_approval_that_waits_already_is_listed(installation: Server) -> None:
    account = installation.start().admin()

    (listed,) = account.get("/api/v1/approvals").json["approvals"]

    assert (listed["flow_name"], listed["step"], listed["prompt"]) == ("approval", "a.1", "Well?")
    assert (listed["needed"], listed["given"]) == (1, 0)
    assert listed["since"] >= account.execution(listed["execution_id"])["started_at"]


def finish(account: Client, name: str, id: str) -> None:
    if FLOWS[name].approves:
        assert account.post(f"/api/v1/executions/{id}/approvals/a", {"approved": True}).status == 200
        return
    for node in FLOWS[name].waits_at:
        account.waiting_at(id, node)
    keys = {"foreach": ("go1", "go2")}.get(name, ("go",) if FLOWS[name].waits_at else ())
    for key in keys:
        assert account.post(f"/api/v1/executions/{id}/signals/{key}", {"payload": {"a": 1}}).status == 200


def test_this_version_rejects_nothing_of_it(installation: Server) -> None:
    environment = clean_environment()
    if isinstance(installation.place, str):
        environment["FLOWRUNNER_DATABASE_URL"] = installation.place
    ran = subprocess.run(
        [sys.executable, "-m", "flowrunner", "validate", "--stored", "--data-dir", str(installation.data_dir)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stdout + ran.stderr
