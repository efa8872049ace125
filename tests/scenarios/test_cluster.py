"""Servers and workers share a database and the work."""

import json
import os
import signal
import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from typing import Final

import pytest

from support.client import Client
from support.fleet import Fleet, is_standby
from support.flows import SENDS_A_SECRET
from support.invariants import check_accepted, check_database, check_effects
from support.postgres import PostgresServer, query
from support.receiver import Receiver
from support.server import Server, clean_environment
from support.temporal import Temporal
from support.waiting import wait_for

FLOW: Final = """
metadata: {{name: Two calls, version: "1.0"}}
nodes:
  fetch: {{type: http.request, params: {{url: "{receiver}/wait/fetch?most=0.2"}}, next: rest}}
  rest: {{type: delay, params: {{duration: 1500ms}}, next: notify}}
  notify: {{type: webhook, params: {{url: "{receiver}/wait/notify?most=0.2"}}}}
"""


# The usual program, which looks for what is left of deleted workspaces every second.
LOOKS_SOON: Final = (
    "-c",
    """
import flowrunner.bootstrap.housekeeping
flowrunner.bootstrap.housekeeping._COMPLETION_SECONDS = 1.0
from flowrunner.cli.main import main
main()
""",
)
# The usual program, which is killed when it has deleted a workspace, before it cancels executions.
KILLED_AFTER_A_DELETION: Final = (
    "-c",
    """
import os, signal
from flowrunner.services.executions import Executions
async def cancel_all(self, workspace_id):
    os.kill(os.getpid(), signal.SIGKILL)
Executions.cancel_all = cancel_all
from flowrunner.cli.main import main
main()
""",
)


def none_are_open(fleet: Fleet) -> bool:
    ((count,),) = query(fleet.database, "SELECT count(*) FROM executions WHERE completed_at IS NULL")
    return bool(count == 0)


def start_some(admin: Client, flow_id: str, count: int) -> list[str]:
    return [admin.run(flow_id) for _ in range(count)]


def test_servers_are_alike_and_workers_do_the_work(fleet: Fleet, callee: Receiver) -> None:
    one, two = fleet.add().start(), fleet.add().start()
    worker = fleet.worker()
    admin, other = one.admin(), two.client()
    other.token = admin.token
    flow_id = admin.new_flow(FLOW.format(receiver=callee.url))
    id = other.run(flow_id)

    messages = admin.messages(id)

    assert messages[-1]["type"] == "execution_completed"
    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
    assert other.ended(id)["status"] == "completed"
    assert worker.client().get("/readyz").status == 200
    assert worker.client(admin.token).get("/api/v1/flows").status == 404


def test_what_one_server_ends_or_changes_the_others_know_within_seconds(fleet: Fleet, callee: Receiver) -> None:
    one, two = fleet.add().start(), fleet.add().start()
    fleet.worker()
    admin, other = one.admin(), two.client()
    other.token = admin.token
    flow_id = admin.new_flow(SENDS_A_SECRET.format(receiver=callee.url))
    admin.new_secret("KEY", "the-first-value-4711")
    first = other.ended(other.run(flow_id))
    admin.new_secret("KEY", "the-second-value-4712")
    second = other.ended(other.run(flow_id))
    assert other.get("/api/v1/flows").status == 200

    admin.post("/api/v1/auth/logout")

    took = wait_for(lambda: other.get("/api/v1/flows").status == 401)
    assert took <= 5.0
    assert "value-471" not in json.dumps([first, second])
    assert [e.body for e in callee.effects("/echo")] == ["the-first-value-4711", "the-second-value-4712"]
    assert not query(fleet.database, "SELECT 1 FROM events WHERE data LIKE '%value-471%'")


def test_a_signal_sent_to_any_server_reaches_the_execution(fleet: Fleet) -> None:
    one, two = fleet.add().start(), fleet.add().start()
    fleet.worker()
    admin, other = one.admin(), two.client()
    other.token = admin.token
    flow_id = admin.new_flow("nodes: {ask: {type: wait, params: {key: go}}}", name="Waits")
    id = admin.run(flow_id)
    admin.waiting_at(id, "ask")

    assert other.post(f"/api/v1/executions/{id}/signals/go", {"payload": {"n": 1}}).status < 300
    assert admin.ended(id)["status"] == "completed"


@pytest.mark.timeout(240)
def test_a_worker_that_hangs_is_replaced_and_its_late_writes_change_nothing(fleet: Fleet, callee: Receiver) -> None:
    server = fleet.add().start()
    admin = server.admin()
    flow_id = admin.new_flow(FLOW.format(receiver=callee.url))
    sleeper = fleet.worker()
    accepted = start_some(admin, flow_id, 20)
    wait_for(lambda: bool(callee.effects()))
    os.kill(sleeper.pid, signal.SIGSTOP)
    fleet.worker()
    wait_for(lambda: none_are_open(fleet), 120)
    events = query(fleet.database, "SELECT count(*) FROM events")
    os.kill(sleeper.pid, signal.SIGCONT)
    # It wakes up in the middle of what others have done meanwhile.
    more = start_some(admin, flow_id, 5)
    wait_for(lambda: none_are_open(fleet), 120)
    fleet.end()

    of_more = query(fleet.database, "SELECT count(*) FROM events WHERE execution_id = ANY($1)", more)
    assert query(fleet.database, "SELECT count(*) FROM events")[0][0] == events[0][0] + of_more[0][0]
    assert check_accepted(fleet.database, accepted + more) == []
    assert check_database(fleet.database) == []
    assert check_effects(fleet.database, [effect.key or "" for effect in callee.effects()]) == []


@pytest.mark.timeout(240)
def test_servers_and_workers_are_replaced_one_by_one_under_load(fleet: Fleet, callee: Receiver) -> None:
    servers = [fleet.add().start(), fleet.add().start()]
    workers = [fleet.worker(), fleet.worker()]
    admin = servers[0].admin()
    flow_id = admin.new_flow(FLOW.format(receiver=callee.url))
    accepted: list[str] = []
    for old in (*servers, *workers):
        accepted += start_some(admin, flow_id, 5)
        old.terminate()
        assert old.wait() == 0
        old.start()
        admin = servers[0].client(admin.token)
    wait_for(lambda: none_are_open(fleet), 120)
    for server in fleet.all:
        server.stop()

    assert check_accepted(fleet.database, accepted) == []
    assert check_database(fleet.database) == []
    keys = [effect.key for effect in callee.effects()]
    assert len(keys) == len(set(keys)), "a stop in good order repeats nothing"


@pytest.mark.timeout(240)
def test_a_killed_worker_keeps_no_place_of_its_account(fleet: Fleet, callee: Receiver) -> None:
    fleet.set(WORKSPACE_ACTIVE="2", WORKSPACE_QUEUED="6")
    server = fleet.add().start()
    admin = server.admin()
    url = f"{callee.url}/slow?seconds=0.3"
    flow_id = admin.new_flow(f"nodes: {{call: {{type: http.request, params: {{url: '{url}'}}}}}}", name="Calls")
    accepted = start_some(admin, flow_id, 8)
    refused = admin.post(f"/api/v1/flows/{flow_id}/run", {"input": {}})
    victim = fleet.worker()
    wait_for(lambda: bool(callee.effects()))
    victim.kill()
    fleet.worker()
    wait_for(lambda: none_are_open(fleet), 120)
    fleet.end()

    assert (refused.status, refused.json["error"]["details"]["limit"]) == (429, "workspace_queued")
    assert refused.headers["retry-after"] == "5"
    assert check_accepted(fleet.database, accepted) == []
    assert check_database(fleet.database) == []
    assert most_together(fleet) == 2


def test_a_deletion_whose_server_is_killed_ends_what_workers_have_in_memory(fleet: Fleet) -> None:
    killed, other = fleet.add(program=KILLED_AFTER_A_DELETION).start(), fleet.add().start()
    fleet.add("worker", program=LOOKS_SOON).start()
    owner = killed.admin().new_account()
    workspace = owner.post("/api/v1/workspaces", {"name": "Team"}).json["id"]
    begun = owner.post(
        "/api/v1/flows",
        {
            "name": "Never ends",
            "definition": "nodes: {w: {type: while, params: {when: 'true', max_iterations: 100000, delay: 300ms},"
            " nodes: {l: {type: log, params: {message: on}}}}}\nlimits: {max_steps: 100000}",
        },
        Flowrunner_Workspace=workspace,
    )
    ids = start_some(owner, begun.json["id"], 3)
    wait_for(lambda: all(len(owner.logs(id)) > 2 for id in ids))

    with pytest.raises(OSError, match=r"closed|reset"):
        owner.delete(f"/api/v1/workspaces/{workspace}?name=Team")
    assert killed.wait() == -signal.SIGKILL

    wait_for(lambda: none_are_open(fleet))
    ended = query(fleet.database, "SELECT id, status FROM executions ORDER BY id")
    assert ended == [(id, "cancelled") for id in sorted(ids)]
    assert other.client(owner.token).get(f"/api/v1/workspaces/{workspace}").status == 404
    assert check_database(fleet.database) == []


def most_together(fleet: Fleet) -> int:
    """How many executions were under way at most, from the start of their first node to their end."""
    spans = query(
        fleet.database,
        "SELECT (SELECT min(at) FROM readable_events WHERE execution_id = id AND type = 'node.started'), completed_at"
        "  FROM executions",
    )
    # What ends in the same millisecond ended first.
    moments = sorted([(began_at, 1) for began_at, _ in spans] + [(ended_at, -1) for _, ended_at in spans])
    return max(accumulate(change for _, change in moments))


def test_servers_without_temporal_are_never_active_beside_those_with_it(fleet: Fleet, callee: Receiver) -> None:
    alone = fleet.add(DISPATCH=None).start()
    admin = alone.admin()
    flow_id = admin.new_flow(FLOW.format(receiver=callee.url))
    first_id = admin.run(flow_id)
    shared, worker = fleet.add().spawn(), fleet.add("worker").spawn()
    wait_for(lambda: is_standby(shared))
    wait_for(lambda: is_standby(worker))
    assert shared.client(admin.token).get("/api/v1/flows").status == 200
    refused = shared.client(admin.token).post(f"/api/v1/flows/{flow_id}/run", {"input": {}})
    assert (refused.status, worker.client().get("/api/v1/flows").status) == (503, 503)

    # They go on with what it leaves behind, and then it is the one to wait.
    alone.kill()
    for process in (shared, worker):
        process.wait_until_ready()
    alone.spawn()
    wait_for(lambda: is_standby(alone))
    heir = shared.client(admin.token)
    assert [heir.ended(id)["status"] for id in (first_id, heir.run(flow_id))] == ["completed"] * 2

    assert check_database(fleet.database) == []


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_what_starts_before_temporal_waits_for_it(
    lasting_postgres: PostgresServer, tmp_path: Path, command: str
) -> None:
    (tmp_path / "temporal").mkdir()
    temporal = Temporal(tmp_path / "temporal")
    fleet = Fleet(tmp_path, lasting_postgres.new_database(), temporal.url("late"))
    try:
        process = fleet.add(command).spawn()
        wait_for(lambda: process.find_url() is not None)
        wait_for(lambda: "temporal.unavailable" in process.log)
        readiness = process.client().get("/readyz")
        assert (readiness.status, process.client().get("/healthz").status) == (503, 200)
        assert "Temporal does not answer" in readiness.error["message"]
        assert process.client().get("/api/v1/flows").status == 503
        assert "nothing listens there" in process.log
        temporal.start()
        process.wait_until_ready()
        assert process.log.count("temporal.unavailable") <= 2, "each reason is told once"
    finally:
        fleet.end()
        temporal.stop()


def test_the_metrics_of_each_process_tell_an_outage_of_temporal(
    lasting_postgres: PostgresServer, tmp_path: Path
) -> None:
    (tmp_path / "temporal").mkdir()
    temporal = Temporal(tmp_path / "temporal").start()
    fleet = Fleet(tmp_path, lasting_postgres.new_database(), temporal.url("outage"))
    try:
        processes = [fleet.add().start(), fleet.worker()]

        def until(value: float) -> None:
            """Temporal is asked at most every ten seconds."""
            line = f"flowrunner_temporal_reachable {value}\n"
            wait_for(lambda: all(line in each.client().get("/metrics").body.decode() for each in processes), 60)

        until(1.0)
        with temporal.paused():
            until(0.0)
        until(1.0)
        temporal.stop()
        until(0.0)
        assert all(process.client().get("/readyz").status == 200 for process in processes)
    finally:
        fleet.end()
        temporal.stop()


def test_an_api_key_is_in_no_message(lasting_postgres: PostgresServer, temporal: Temporal, tmp_path: Path) -> None:
    key = "an-api-key-4f7d2c"
    fleet = Fleet(tmp_path, lasting_postgres.new_database(), temporal.url("key"))
    fleet.set(TEMPORAL_API_KEY=key)
    server = fleet.add().spawn()
    assert server.wait() == 1
    assert "does not speak TLS: leave out tls, ca, cert, key and temporal_api_key" in server.log
    shown = subprocess.run(
        [sys.executable, "-m", "flowrunner", "config"], capture_output=True, text=True, timeout=60, check=True,
        env=clean_environment(FLOWRUNNER_TEMPORAL_API_KEY=key),
    )  # fmt: skip

    assert key not in server.log
    assert key not in shown.stdout + shown.stderr
    assert "temporal_api_key" in shown.stdout


def test_a_worker_without_temporal_says_what_it_needs(tmp_path: Path) -> None:
    worker = Server(tmp_path, command="worker").spawn()

    assert worker.wait() == 2
    assert "FLOWRUNNER_DISPATCH" in worker.log


def test_a_server_for_temporal_without_postgresql_says_what_it_needs(tmp_path: Path) -> None:
    server = Server(tmp_path, {"DISPATCH": "temporal://127.0.0.1:7233"}).spawn()

    assert server.wait() == 2
    assert "FLOWRUNNER_DATABASE_URL" in server.log


def test_an_address_of_temporal_that_cannot_be_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    server = Server(
        tmp_path, {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "DISPATCH": "temporal://h:99999/x"}
    ).spawn()

    assert server.wait() == 2
    assert "FLOWRUNNER_DISPATCH: must have a port between 1 and 65535" in server.log
