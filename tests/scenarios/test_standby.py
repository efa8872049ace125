"""Two servers on one PostgreSQL database: one is active, the other waits and takes over."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from flowrunner.storage.journal import TOKENS_PER_EPOCH
from flowrunner.storage.postgres.ownership import SILENCE_SECONDS
from support.client import Client
from support.fleet import Fleet, is_standby
from support.invariants import check_accepted, check_database, check_effects
from support.postgres import PostgresServer, query
from support.receiver import Receiver
from support.server import Server
from support.slowness import slowness
from support.waiting import wait_for

TAKE_OVER_SECONDS: Final = 5.0
LATE_RUNS: Final = 17
STANDBY: Final = "standby: another server is active"
FLOW: Final = """
metadata: {{name: Two calls, version: "1.0"}}
nodes:
  fetch: {{type: http.request, params: {{url: "{receiver}/wait/fetch?most=0.2"}}, next: notify}}
  notify: {{type: webhook, params: {{url: "{receiver}/wait/notify?most=0.2"}}}}
"""
ECHO: Final = "metadata: {name: Echo, version: '1'}\nnodes: {a: {type: transform, params: {value: '${input}'}}}"


@pytest.fixture
def fleet(lasting_postgres: PostgresServer, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, lasting_postgres.new_database())
    try:
        yield fleet
    finally:
        fleet.end()


def start_both(fleet: Fleet) -> tuple[Server, Server, Client]:
    first = fleet.add().start()
    second = fleet.add().spawn()
    wait_for(lambda: is_standby(second))
    return first, second, first.admin()


@contextmanager
def paused(server: Server) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_a_second_server_waits_says_so_and_only_reads(fleet: Fleet) -> None:
    first, second, admin = start_both(fleet)
    flow_id = admin.new_flow(ECHO)
    standby = second.client(admin.token)

    assert first.client().get("/readyz").status == 200
    assert second.client().get("/healthz").status == 200
    assert STANDBY in second.client().get("/readyz").error["message"]
    log = second.log
    assert "stop that one, or name another database in FLOWRUNNER_DATABASE_URL" in log
    # Said before the program is opened, and once.
    assert log.index("server.standby") < log.index("server.started")
    assert log.count("server.standby") == 1
    for _ in range(3):
        second.client().get("/readyz")
    # It is probed all the time, and is never ready.
    assert (second.log.count("readiness.changed"), second.log.count("/readyz")) == (1, 0)
    assert "flowrunner_standby 0.0" in first.client().get("/metrics").body.decode()
    assert "flowrunner_standby 1.0" in second.client().get("/metrics").body.decode()
    assert standby.get(f"/api/v1/flows/{flow_id}").status == 200
    for refused in (
        standby.post(f"/api/v1/flows/{flow_id}/run", {"input": {}}),
        standby.post("/api/v1/auth/login", {"email": "a@example.com", "password": "x"}),
        standby.delete(f"/api/v1/flows/{flow_id}"),
    ):
        assert (refused.status, "standby" in refused.json["error"]["message"]) == (503, True)
    assert admin.get(f"/api/v1/flows/{flow_id}").status == 200


def test_a_standby_shows_live_events(fleet: Fleet) -> None:
    _, second, admin = start_both(fleet)
    flow_id = admin.new_flow(
        "metadata: {name: Slow, version: '1'}\n"
        "nodes: {a: {type: delay, params: {duration: 600ms}, next: b}, b: {type: log, params: {message: late}}}"
    )
    id = admin.post(f"/api/v1/flows/{flow_id}/run", {"input": {}}).json["execution_id"]

    messages = second.client(admin.token).messages(id)

    assert messages[-1]["type"] == "execution_completed"
    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_the_standby_takes_over_when_the_active_server_ends(fleet: Fleet, callee: Receiver, end: str) -> None:
    first, second, admin = start_both(fleet)
    flow_id = admin.new_flow(FLOW.format(receiver=callee.url))
    ids = [admin.post(f"/api/v1/flows/{flow_id}/run", {"input": {}}).json["execution_id"] for _ in range(20)]
    if end == "kill":
        first.kill()
    else:
        first.terminate()
        first.wait()
    took = wait_for(lambda: second.client().get("/readyz").status == 200)
    heir = second.client(admin.token)
    ids.append(heir.post(f"/api/v1/flows/{flow_id}/run", {"input": {}}).json["execution_id"])
    wait_for(lambda: heir.get("/api/v1/executions", status="running,waiting").json["total"] == 0)
    second.stop()

    assert took < TAKE_OVER_SECONDS or took <= TAKE_OVER_SECONDS * slowness()
    assert check_accepted(fleet.database, ids) == []
    assert check_database(fleet.database) == []
    assert check_effects(fleet.database, [effect.key or "" for effect in callee.effects()]) == []


def test_a_server_that_hangs_is_replaced_and_its_late_writes_change_nothing(fleet: Fleet, callee: Receiver) -> None:
    """It is stopped in the midst of its work, again and again, and finds itself a standby each time.

    The one that loses the role for the second time may be silent for twice as long.
    """
    accepted: list[str] = []
    asked = 0
    active, standby, admin = start_both(fleet)
    flow_id = admin.new_flow(FLOW.format(receiver=callee.url))
    secrets_path = f"/api/v1/accounts/{admin.account_id}/secrets"
    for silence in (SILENCE_SECONDS, SILENCE_SECONDS, 2 * SILENCE_SECONDS):
        client = active.client(admin.token)
        accepted += [client.post(f"/api/v1/flows/{flow_id}/run", {"input": {}}).json["execution_id"] for _ in range(10)]
        answers: list[int] = []
        with paused(active):
            # They are in its sockets when it wakes up: neither may be answered as if it had been done.
            late = [
                threading.Thread(target=send, args=(active.client(admin.token), path, body, answers))
                for path, body in (
                    *[(f"/api/v1/flows/{flow_id}/run", {"input": {}})] * LATE_RUNS,
                    (secrets_path, {"key": "LATE", "value": "a late secret"}),
                )
            ]
            for thread in late:
                thread.start()
            took = wait_for(lambda new=standby: new.client().get("/readyz").status == 200)  # type: ignore[misc]
            # The clock runs from before the pause was noticed.
            most = silence + TAKE_OVER_SECONDS - SILENCE_SECONDS
            assert took <= most + 1 or took <= most + slowness()
        for thread in late:
            thread.join(60)
        assert [answer for answer in answers if answer < 400] == []
        asked += len(answers)
        wait_for(lambda old=active: is_standby(old))  # type: ignore[misc]
        wait_for(lambda old=active: "leadership.lost" in old.log)  # type: ignore[misc] # a default
        active, standby = standby, active
    heir = active.client(admin.token)
    wait_for(lambda: heir.get("/api/v1/executions", status="running,waiting").json["total"] == 0)
    secrets = heir.get(secrets_path).json
    for server in (active, standby):
        server.stop()

    assert asked == 3 * (LATE_RUNS + 1)
    assert secrets["secrets"] == []
    # No more than was accepted: what was sent to the one that hung has left no trace.
    assert len(query(fleet.database, "SELECT id FROM executions")) == len(accepted) == 30
    assert check_accepted(fleet.database, accepted) == []
    assert check_database(fleet.database) == []
    assert check_effects(fleet.database, [effect.key or "" for effect in callee.effects()]) == []


def send(client: Client, path: str, body: object, answers: list[int]) -> None:
    try:
        answers.append(client.post(path, body).status)
    except OSError:
        # The connection was closed without an answer, which promises nothing.
        answers.append(599)


def test_two_servers_that_start_at_once_are_one_active_and_one_standby(fleet: Fleet) -> None:
    first = fleet.add().start()
    first.stop()
    second = fleet.add()
    (epoch,) = query(fleet.database, "SELECT epoch FROM engine")[0]
    first.spawn()
    second.spawn()
    both = (first, second)

    wait_for(lambda: all(server.find_url() is not None for server in both))
    wait_for(lambda: sum(server.client().get("/readyz").status == 200 for server in both) == 1)
    time.sleep(1.0)

    assert sorted(server.client().get("/readyz").status for server in both) == [200, 503]
    assert sum(is_standby(server) for server in both) == 1
    # If both had claimed it, one would have been overtaken.
    assert query(fleet.database, "SELECT epoch FROM engine") == [(epoch + TOKENS_PER_EPOCH,)]


def test_a_standby_without_the_keys_refuses_to_start(fleet: Fleet) -> None:
    fleet.add().start()
    stranger = fleet.add()
    shutil.rmtree(stranger.data_dir / "keys")
    stranger.spawn()

    assert stranger.wait() == 1
    assert "never creates a new key over existing data" in stranger.log


def test_the_server_is_unready_while_the_database_is_away_and_comes_back_by_itself(tmp_path: Path) -> None:
    postgres = PostgresServer()
    fleet = Fleet(tmp_path, postgres.start().new_database())
    try:
        server = fleet.add().start()
        admin = server.admin()
        flow_id = admin.new_flow(ECHO)
        before = admin.post(f"/api/v1/flows/{flow_id}/run", {"input": {}}).json["execution_id"]
        postgres.kill()
        away = wait_for(lambda: server.client().get("/readyz").status == 503)
        assert server.client().get("/healthz").status == 200
        assert admin.post(f"/api/v1/flows/{flow_id}/run", {"input": {}}).status == 503
        time.sleep(2.0)
        postgres.start()
        back = wait_for(lambda: server.client().get("/readyz").status == 200)
        after = admin.post(f"/api/v1/flows/{flow_id}/run", {"input": {}}).json["execution_id"]
        wait_for(lambda: admin.get("/api/v1/executions", status="running,waiting").json["total"] == 0)
        server.stop()
        assert "leadership.lost" not in server.log
        assert check_accepted(fleet.database, [before, after]) == []
    finally:
        fleet.end()
        postgres.stop()

    assert away <= 2.0
    assert back <= 5.0


@pytest.mark.parametrize("end", ["when it is there", "by a signal"])
def test_a_server_that_starts_before_its_database_waits_for_it(tmp_path: Path, end: str) -> None:
    postgres = PostgresServer()
    fleet = Fleet(tmp_path, postgres.start().new_database())
    try:
        postgres.kill()
        server = fleet.add()
        server.spawn()
        wait_for(lambda: server.find_url() is not None)
        readiness, run = server.client().get("/readyz"), server.client().get("/api/v1/flows")
        assert (readiness.status, run.status) == (503, 503)
        assert "the database does not answer" in readiness.error["message"]
        assert "the database does not answer" in run.error["message"]
        assert server.client().get("/healthz").status == 200
        assert server.log.count("database.unavailable") == 1
        assert f"at={fleet.database.rpartition('@')[2]}" in server.log
        if end == "by a signal":
            server.terminate()
            assert server.wait() == 0
        else:
            postgres.start()
            server.wait_until_ready().admin().new_flow(ECHO)
    finally:
        fleet.end()
        postgres.stop()


@pytest.mark.parametrize("wrong", ["database", "address"])
def test_a_server_that_its_database_will_never_let_in_says_why_and_ends(
    lasting_postgres: PostgresServer, tmp_path: Path, wrong: str
) -> None:
    url = lasting_postgres.url("missing") if wrong == "database" else "postgresql://127.0.0.1:x/y"
    server = Fleet(tmp_path, url).add()
    server.spawn()

    assert server.wait() == 1
    assert "Cannot connect to the database" in server.log
