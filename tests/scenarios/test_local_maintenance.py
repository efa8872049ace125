"""`flowrunner pause`, `unpause` and `prune` beside a running server."""

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cli import command
from cli.servers import User
from support.server import Server

FLOW = "nodes: {a: {type: transform, params: {value: 1}}}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("maintained")).start()
    yield server
    server.stop()


def flowrunner(*arguments: str | Path, at: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {f"FLOWRUNNER_{name}": value for name, value in settings.items()}
    return command.flowrunner(*arguments, at=at.parent, environment={"FLOWRUNNER_DATA_DIR": str(at), **environment})


def test_a_pause_from_the_machine_holds_in_a_running_server_and_is_in_its_audit_log(server: Server) -> None:
    admin = server.admin()
    flow = admin.new_flow(FLOW)

    paused = flowrunner("pause", at=server.data_dir)
    again = flowrunner("pause", at=server.data_dir)
    refused = admin.post(f"/api/v1/flows/{flow}/run", {"input": {}})
    told = command.flowrunner(
        "run", flow, at=server.data_dir.parent, environment=User(admin, server.data_dir).environment
    )
    measured = admin.get("/metrics").body.decode()
    resumed = flowrunner("unpause", at=server.data_dir)
    accepted = admin.post(f"/api/v1/flows/{flow}/run", {"input": {}})

    assert paused.returncode == again.returncode == resumed.returncode == 0, paused.stderr
    assert paused.stdout.startswith("Paused since ")
    assert again.stdout == paused.stdout
    assert resumed.stdout == "Executions start\n"
    assert (refused.status, accepted.status) == (503, 201)
    assert told.returncode == 7
    assert "hint: wait until an admin ends the pause; 'flowrunner unpause' on the server does" in told.stderr
    assert "\nflowrunner_paused 1.0\n" in measured
    entries = admin.get("/api/v1/audit", object_kind="installation").json["entries"]
    actions = [entry["action"] for entry in entries]
    assert actions[:2] == ["installation.resumed", "installation.paused"]
    assert actions[2:3] != ["installation.paused"], "a repeated pause changes nothing"
    verified = flowrunner("audit", "verify", at=server.data_dir)
    assert verified.returncode == 0, verified.stdout


def test_a_wait_for_a_job_that_a_pause_holds_says_so(server: Server) -> None:
    admin = server.admin()
    flow = admin.new_flow(FLOW)
    admin.ended(admin.run(flow))
    user = User(admin, server.data_dir.parent)
    flowrunner("pause", at=server.data_dir)
    try:
        process = command.start_flowrunner(
            "rerun", "--flow", flow, "--status", "completed", "--yes", at=user.home, environment=user.environment
        )
        assert process.stderr is not None
        warning = process.stderr.readline()
    finally:
        flowrunner("unpause", at=server.data_dir)
    output, _ = process.communicate(timeout=60)

    assert warning == (
        "flowrunner: warning: the installation is paused: a job that starts executions goes on when the pause ends\n"
    )
    assert process.returncode == 0
    assert "completed" in output


def test_prune_deletes_beside_a_running_server_what_its_dry_run_counts(server: Server) -> None:
    admin = server.admin()
    flow, other = admin.new_flow(FLOW), admin.new_flow(FLOW)
    assert admin.put(f"/api/v1/flows/{flow}/retention", {"max_count": 3}).status == 200
    ids = [admin.run(flow) for _ in range(10)]
    kept = admin.run(other)
    for id in (*ids, kept):
        admin.ended(id)
    # They have ended an hour ago, as far as the database knows: only a trigger of the schema would notice.
    with closing(sqlite3.connect(server.database)) as database, database:
        (trigger,) = database.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'executions_reject_change_after_end'"
        ).fetchone()
        database.execute("DROP TRIGGER executions_reject_change_after_end")
        database.execute("UPDATE executions SET completed_at = completed_at - 3600000")
        database.execute(trigger)

    dry = flowrunner("prune", "--dry-run", at=server.data_dir)
    assert (dry.returncode, admin.get("/api/v1/executions", flow_id=flow).json["total"]) == (0, 10)
    refused = flowrunner("prune", at=server.data_dir)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Delete 7 executions for good, by a retention of 30 days and the rules of flows?" in refused.stderr
    assert "give --yes" in refused.stderr
    assert admin.get("/api/v1/executions", flow_id=flow).json["total"] == 10
    done = flowrunner("prune", "--yes", at=server.data_dir)
    nothing = flowrunner("prune", at=server.data_dir)

    assert f"of the flow {flow}: 7 executions" in dry.stdout
    assert dry.stdout.endswith("Executions to delete: 7\n")
    assert done.stdout == "Executions deleted: 7\n"
    assert nothing.stdout == "Executions deleted: 0\n"
    listed = admin.get("/api/v1/executions", flow_id=flow).json
    assert [execution["id"] for execution in listed["executions"]] == ids[:6:-1]
    assert listed["total"] == 3
    assert admin.execution(kept)["status"] == "completed"
    assert admin.get(f"/api/v1/executions/{ids[0]}").status == 404
    # The server goes on writing.
    assert admin.ended(admin.run(flow))["status"] == "completed"


def test_without_a_database_the_commands_say_what_to_name(tmp_path: Path) -> None:
    for name in ("pause", "unpause", "prune"):
        refused = flowrunner(name, at=tmp_path / "none")

        assert refused.returncode == 1
        assert "--data-dir" in refused.stderr
        assert not (tmp_path / "none").exists()
