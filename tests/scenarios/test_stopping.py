"""A stop is announced, finishes what is under way, and loses nothing."""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.exceptions import ConnectionClosedError

from support.client import Client
from support.invariants import check_database, check_effects
from support.receiver import Receiver
from support.server import Server
from support.waiting import wait_for

# Seconds for running nodes: far more than a stop that waits for none takes on a machine with other work.
DRAIN_SECONDS: Final = 120


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path, {"DRAIN_TIME": f"{DRAIN_SECONDS}s"})
    try:
        yield found.start()
    finally:
        found.stop()


def calling(receiver: Receiver, seconds: float, path: str, *, timeout: str = "60s") -> str:
    """A flow whose first node takes this long, and whose second leaves a mark."""
    return f"""nodes:
  slow:
    type: http.request
    params: {{url: "{receiver.url}/slow?seconds={seconds}"}}
    timeout: {timeout}
    next: mark
  mark: {{type: webhook, params: {{url: "{receiver.url}/ok/{path}"}}}}
"""


def until_under_way(receiver: Receiver, id: str) -> None:
    wait_for(lambda: any(effect.key == f"{id}.slow.1" for effect in receiver.effects("/slow")))


def readiness(address: tuple[str, int]) -> int:
    try:
        return Client(f"http://{address[0]}:{address[1]}").get("/readyz").status
    except OSError:
        return 0


def test_a_stop_lets_the_running_node_end_and_the_next_start_goes_on(server: Server, receiver: Receiver) -> None:
    admin = server.admin()
    id = admin.run(admin.new_flow(calling(receiver, 6, "after-stop")))
    until_under_way(receiver, id)

    server.terminate()
    wait_for(lambda: readiness(admin.address) == 503)
    assert not server.has_ended(), "it waits for the node"
    refused = admin.post("/api/v1/flows", {"name": "N", "definition": "nodes: {a: {type: return}}"})
    assert refused.status in (201, 503)
    assert server.wait() == 0

    assert "Traceback" not in server.log
    assert check_database(server.database, all_ended=False) == []
    assert receiver.effects("/ok/after-stop") == [], "no further node begins"
    server.start()
    execution = server.client(admin.token).ended(id)
    assert execution["status"] == "completed"
    assert [effect.key for effect in receiver.effects("/slow") if str(effect.key).startswith(id)] == [f"{id}.slow.1"]
    (mark,) = receiver.effects("/ok/after-stop")
    assert mark.key == f"{id}.mark.1"


def test_no_execution_is_accepted_while_the_server_stops(server: Server, receiver: Receiver) -> None:
    admin = server.admin()
    flow = admin.new_flow("nodes: {a: {type: return}}")
    slow = admin.run(admin.new_flow(calling(receiver, 50, "busy")))
    until_under_way(receiver, slow)
    server.terminate()
    wait_for(lambda: readiness(admin.address) == 503)

    reply = admin.post(f"/api/v1/flows/{flow}/run", {})

    assert reply.status == 503
    assert reply.error["code"] == "unavailable"
    assert reply.headers["retry-after"]
    # Without the wait for the node.
    server.terminate()
    assert server.wait() == 0


def test_a_request_that_outlasts_a_stop_is_told_to_come_again(server: Server, receiver: Receiver) -> None:
    admin, path = server.admin(), "/api/v1/callbacks"
    id = admin.post(path, {"url": f"{receiver.url}/slow?seconds=60", "events": ["execution.failed"]}).json["id"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(admin.post, f"{path}/{id}/test")
        wait_for(lambda: bool(receiver.effects("/slow")))
        server.terminate()
        reply = waiting.result()

    assert reply.status == 503
    assert reply.error["code"] == "unavailable"
    assert reply.headers["retry-after"]
    assert server.wait() == 0
    finished = [line for line in server.log.splitlines() if reply.headers["x-request-id"] in line]
    assert len(finished) == 1, "one line is enough for what the operator has asked for"
    assert "status=503" in finished[0]
    assert "Traceback" not in server.log


def test_subscribers_are_told_that_the_server_goes_away(server: Server) -> None:
    admin = server.admin()
    id = admin.run(admin.new_flow("nodes:\n  a: {type: delay, params: {duration: 1h}}\n"))
    admin.until_it_waits(id)
    with admin.watch(id) as connection:
        first = json.loads(connection.recv(timeout=60))
        server.terminate()
        with pytest.raises(ConnectionClosedError):
            list(connection)
        assert connection.close_code == 1012
    assert server.wait() == 0
    server.start()
    again = server.client(admin.token)
    with again.watch(id, query=f"?after={first['seq']}") as connection:
        assert json.loads(connection.recv(timeout=60))["seq"] == first["seq"] + 1


def test_an_idle_server_stops_at_once(server: Server) -> None:
    server.terminate()

    assert server.wait(DRAIN_SECONDS / 4) == 0


def test_a_server_that_waits_for_timers_stops_at_once(server: Server) -> None:
    admin = server.admin()
    flow = admin.new_flow("nodes:\n  a: {type: delay, params: {duration: 900ms}, next: b}\n  b: {type: return}\n")
    ids = [admin.run(flow) for _ in range(10)]
    server.terminate()

    assert server.wait(DRAIN_SECONDS / 4) == 0
    server.start()
    assert {server.client(admin.token).ended(id)["status"] for id in ids} == {"completed"}


def test_a_second_signal_does_not_wait_any_longer(server: Server, receiver: Receiver) -> None:
    admin = server.admin()
    id = admin.run(admin.new_flow(calling(receiver, 50, "hurried")))
    until_under_way(receiver, id)
    server.terminate()
    wait_for(lambda: readiness(admin.address) == 503)
    assert not server.has_ended()

    server.terminate()

    assert server.wait(DRAIN_SECONDS / 4) == 0
    assert "Traceback" not in server.log
    assert check_database(server.database, all_ended=False) == []


def test_the_drain_time_is_bounded(tmp_path: Path, receiver: Receiver) -> None:
    server = Server(tmp_path, {"DRAIN_TIME": "1s"})
    try:
        admin = server.start().admin()
        id = admin.run(admin.new_flow(calling(receiver, 10, "drained")))
        until_under_way(receiver, id)
        begun = time.monotonic()
        server.terminate()
        assert server.wait() == 0
        assert time.monotonic() - begun > 0.9
        assert "dispatcher.drain_timed_out" in server.log

        # What was cut off runs again with the same key, and says that it was.
        server.start()
        assert server.client(admin.token).ended(id)["status"] == "completed"
        keys = [str(effect.key) for effect in receiver.effects() if str(effect.key).startswith(id)]
        assert keys == [f"{id}.slow.1", f"{id}.slow.1", f"{id}.mark.1"]
    finally:
        server.stop()
    assert check_database(server.database) == []
    assert check_effects(server.database, keys) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupt_from_the_keyboard_and_the_end_of_the_terminal_are_stops_too(
    server: Server, number: signal.Signals
) -> None:
    server._running().send_signal(number)

    assert server.wait() == 0
    assert "Traceback" not in server.log


def test_a_stop_under_load_loses_and_repeats_nothing(server: Server, receiver: Receiver) -> None:
    admin = server.admin()
    flow = admin.new_flow(calling(receiver, 0.05, "load"))
    accepted: list[str] = []
    over = threading.Event()

    def load() -> None:
        client = Client(server.url, admin.token)
        while not over.is_set():
            try:
                reply = client.post(f"/api/v1/flows/{flow}/run", {})
            except (OSError, EOFError):
                time.sleep(0.02)
                client.url = server.find_url() or client.url
                continue
            if reply.status == 201:
                accepted.append(reply.json["execution_id"])
            else:
                assert reply.status == 503
                time.sleep(0.02)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(4):
        time.sleep(0.7)
        wait_for(lambda count=10 * (n + 1): len(accepted) > count)  # type: ignore[misc] # a default
        server.terminate()
        assert server.wait() == 0
        server.start()
    over.set()
    for thread in threads:
        thread.join(60)
    client = server.client(admin.token)
    statuses = {client.ended(id)["status"] for id in accepted}
    server.stop()

    assert statuses == {"completed"}
    assert len(accepted) > 40
    assert check_database(server.database) == []
    keys = [str(effect.key) for effect in receiver.effects() if str(effect.key).partition(".")[0] in set(accepted)]
    assert len(keys) == len(set(keys)) == 2 * len(accepted), "a graceful stop repeats nothing"


def test_clients_that_keep_connections_open_do_not_keep_the_server(server: Server) -> None:
    idle: list[Any] = []
    for data in (
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\n",
    ):
        connection = socket.create_connection(server.client().address)
        connection.sendall(data)
        idle.append(connection)
    time.sleep(0.2)
    server.terminate()
    try:
        assert server.wait(DRAIN_SECONDS / 4) == 0
    finally:
        for connection in idle:
            connection.close()
