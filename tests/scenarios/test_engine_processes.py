"""A server with engine processes: what they have, and what happens when one of them or the server is killed."""

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from flowrunner.bootstrap.ownership import is_shared
from flowrunner.settings import InvalidSettings, load_settings
from support.client import Client
from support.databases import rows_of
from support.engine_processes import engine_processes_of, is_engine_process
from support.invariants import check_database
from support.receiver import Receiver
from support.server import PROGRAM, Server
from support.waiting import wait_for

# The usual program, which soon notices that a process does not answer, and kills it somewhat later.
IMPATIENT = (
    "-c",
    """
from flowrunner.dispatch.processes import engine_processes as processes
processes._REPORT_SECONDS, processes._SILENCE_SECONDS, processes._LONGEST_SILENCE_SECONDS = 0.3, 0.5, 12.0
from flowrunner.cli.main import main
main()
""",
)
# The usual program, in which the first append of a signal takes four seconds.
SLOW_AT_A_SIGNAL = (
    "-c",
    """
import asyncio
from flowrunner.storage.journal import SqlJournal
append_at_once = SqlJournal.append
async def append(self, appended):
    if any(record.event.type == "signal.received" for record in appended.records):
        print("append.waits", flush=True)
        SqlJournal.append = append_at_once
        await asyncio.sleep(4)
    await append_at_once(self, appended)
SqlJournal.append = append
from flowrunner.cli.main import main
main()
""",
)
# The usual program, in which the creation of a sub-flow's execution is written for four seconds.
SLOW_AT_A_CHILD = (
    "-c",
    """
import time
from flowrunner.domain.causes import ChildOf
from flowrunner.storage import appends
assign_at_once = appends.assign_active_slots
async def assign(tx, created):
    if any(isinstance(new.cause, ChildOf) for new, _ in created):
        time.sleep(4)
    await assign_at_once(tx, created)
appends.assign_active_slots = assign
from flowrunner.cli.main import main
main()
""",
)
SECRET = "the-value-of-a-late-secret"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("processes"), {"PROCESSES": "3"})
    try:
        yield found.start()
    finally:
        found.stop()


@pytest.fixture(scope="module")
def admin(server: Server) -> Client:
    return server.admin()


def test_the_state_of_the_installation_has_the_engine_processes_that_run(admin: Client) -> None:
    details = admin.get("/api/v1/system").json["details"]

    assert (details["processes"], details["engine_processes"]) == (1, 2)


def test_an_engine_process_imports_nothing_from_the_directory_that_the_server_was_started_in(tmp_path: Path) -> None:
    # Both are imported by an engine process: one by its first lines, one by what it imports.
    for module in ("flowrunner", "uvloop"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('of somebody who may write here')")
    # Not by an interpreter with `-m`, for which the directory is a place of modules. It is that of the command.
    program = ("-P", *PROGRAM)
    server = Server(tmp_path, {"PROCESSES": "2"}, program=program, is_cold=True)
    try:
        assert server.start().admin().run_to_end("nodes: {a: {type: return, params: {value: 7}}}")["result"] == 7
    finally:
        server.stop()


def slow(receiver: Receiver, seconds: float, path: str) -> str:
    """A flow whose first node takes this long, and whose second leaves a mark."""
    return f"""nodes:
  slow:
    type: http.request
    params: {{url: "{receiver.url}/slow?seconds={seconds}"}}
    next: mark
  mark: {{type: webhook, params: {{url: "{receiver.url}/ok/{path}"}}}}
"""


def run_many(admin: Client, definition: str, count: int) -> Sequence[str]:
    flow_id = admin.new_flow(definition)
    return [admin.run(flow_id) for _ in range(count)]


def until_under_way(receiver: Receiver, ids: Sequence[str]) -> None:
    keys = {f"{id}.slow.1" for id in ids}
    wait_for(lambda: keys <= {effect.key for effect in receiver.effects("/slow")})


def metric(admin: Client, name: str) -> float:
    lines = admin.get("/metrics").body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_executions_advance_in_engine_processes_and_are_counted_by_the_server(
    server: Server, admin: Client, receiver: Receiver
) -> None:
    child = admin.new_flow("nodes: {a: {type: return, params: {value: 7}}}", name="counted child")
    before = metric(admin, "flowrunner_executions_ended_total{"), metric(admin, "flowrunner_steps_started_total{")

    ended = admin.run_to_end(f"""nodes:
  get: {{type: http.request, params: {{url: "{receiver.url}/ok/counted"}}, next: script}}
  script: {{type: transform, params: {{script: "return {{n: 1}}"}}, next: child}}
  child: {{type: flow, params: {{flow: "{child}", input: {{}}}}, next: wait}}
  wait: {{type: delay, params: {{duration: 1.2s}}}}
""")

    assert ended["status"] == "completed", ended
    after = metric(admin, "flowrunner_executions_ended_total{"), metric(admin, "flowrunner_steps_started_total{")
    assert (after[0] - before[0], after[1] - before[1]) == (2, 5)
    assert len(engine_processes_of(server.pid)) == 2
    assert metric(admin, "flowrunner_engine_processes ") == 2


def test_an_engine_process_has_neither_the_database_nor_keys_nor_the_port(server: Server, admin: Client) -> None:
    for pid in engine_processes_of(server.pid):
        files = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()]
        sockets = {name.removeprefix("socket:[").removesuffix("]") for name in files if name.startswith("socket:")}
        tcp = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
        listening = {fields[9] for fields in tcp if fields[3] == "0A"}

        assert not [name for name in files if name.startswith(str(server.data_dir))]
        assert not sockets & listening
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[4:-1]
        assert arguments[0].isdigit(), "the number of its socket"
        assert arguments[1:] == [str(server.pid).encode()]


def test_a_secret_set_meanwhile_is_hidden_in_executions_that_are_in_memory(admin: Client, receiver: Receiver) -> None:
    flow_id = admin.new_flow(f"""nodes:
  slow: {{type: http.request, params: {{url: "{receiver.url}/slow?seconds=1.5"}}, next: show}}
  show: {{type: transform, params: {{value: "${{flow.input.text}}"}}}}
""")
    ids = [admin.run(flow_id, {"text": SECRET}) for _ in range(4)]
    until_under_way(receiver, ids)

    admin.new_secret("LATE", SECRET)

    for id in ids:
        assert admin.ended(id)["status"] == "completed"
        results = [
            admin.get(f"/api/v1/executions/{id}/steps/{step['id']}/result").body.decode()
            for step in admin.get(f"/api/v1/executions/{id}/steps").json["steps"]
        ]
        assert SECRET not in str(results)
        assert "***" in str(results)


def test_executions_of_a_killed_engine_process_go_on_in_another(
    server: Server, admin: Client, receiver: Receiver
) -> None:
    ids = run_many(admin, slow(receiver, 1.0, "after-a-kill"), 12)
    until_under_way(receiver, ids)
    first, second = engine_processes_of(server.pid)
    restarts = metric(admin, "flowrunner_engine_process_restarts")

    os.kill(first, signal.SIGKILL)

    assert {admin.ended(id)["status"] for id in ids} == {"completed"}
    wait_for(lambda: len(engine_processes_of(server.pid)) == 2)
    assert second in engine_processes_of(server.pid)
    wait_for(lambda: metric(admin, "flowrunner_engine_process_restarts") == restarts + 1)
    marks = {str(effect.key) for effect in receiver.effects("/ok/after-a-kill")}
    assert sorted(marks) == sorted(f"{id}.mark.1" for id in ids)
    assert "engine_process.ended" in server.log
    assert "Traceback" not in server.log, "an end of a process is no fault of the server"


def test_an_append_of_a_killed_engine_process_that_takes_long_is_durable_before_its_execution_goes_on(
    tmp_path: Path, receiver: Receiver
) -> None:
    server = Server(tmp_path, {"PROCESSES": "2"}, program=SLOW_AT_A_SIGNAL)
    try:
        admin = server.start().admin()
        mark = f'{{type: webhook, params: {{url: "{receiver.url}/ok/late"}}}}'
        id = admin.run(
            admin.new_flow(f"nodes:\n  w: {{type: wait, params: {{key: go}}, next: mark}}\n  mark: {mark}\n")
        )
        admin.waiting_at(id, "w")
        with ThreadPoolExecutor(1) as sending:
            sent = sending.submit(admin.post, f"/api/v1/executions/{id}/signals/go", {"payload": 1})
            wait_for(lambda: "append.waits" in server.log)
            for pid in engine_processes_of(server.pid):
                os.kill(pid, signal.SIGKILL)
            assert sent.result().status == 503

        assert admin.ended(id)["status"] == "completed"
        assert [effect.key for effect in receiver.effects("/ok/late")] == [f"{id}.mark.1"]
    finally:
        server.stop()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_sub_flow_goes_on_although_the_step_that_starts_it_ends_before_it_is_durable(
    tmp_path: Path, processes: str
) -> None:
    server = Server(tmp_path, {"PROCESSES": processes}, program=SLOW_AT_A_CHILD)
    try:
        admin = server.start().admin()
        child = admin.new_flow("nodes: {a: {type: delay, params: {duration: 10ms}}}", name="late")

        ended = admin.run_to_end(
            "nodes: {call: {type: flow, timeout: 1s, params: {flow: late, input: {}, wait: false}}}"
        )

        assert ended["error_type"] == "timeout"
        found = admin.get(f"/api/v1/executions?flow_id={child}").json["executions"]
        assert [admin.ended(execution["id"])["status"] for execution in found] == ["completed"]
    finally:
        server.stop()


@pytest.mark.parametrize("processes", [2, 3])
def test_executions_that_are_held_back_go_on_although_engine_processes_are_killed(
    tmp_path: Path, receiver: Receiver, processes: int
) -> None:
    """They wait for active slots, concurrency slots and signals; their flows are disabled, and all is paused."""
    server = Server(tmp_path, {"PROCESSES": str(processes), "MAX_ACTIVE": "1"})
    mark = f'mark: {{type: webhook, params: {{url: "{receiver.url}/ok/held-{processes}"}}}}'
    try:
        admin = server.start().admin()
        signalled = admin.new_flow(f"nodes:\n  w: {{type: wait, params: {{key: go}}, next: mark}}\n  {mark}\n")
        limited = admin.new_flow("limits: {concurrency: {max: 2}}\n" + slow(receiver, 0.2, f"held-{processes}"))
        waiting = [admin.run(signalled) for _ in range(7)]
        for id in waiting:
            admin.waiting_at(id, "w")
        others = [
            *run_many(admin, slow(receiver, 0.6, f"held-{processes}"), 7),
            *(admin.run(limited) for _ in range(5)),
        ]
        for flow in (signalled, limited):
            assert admin.put(f"/api/v1/flows/{flow}", {"disabled": True}).status == 200
        assert admin.put("/api/v1/admin/pause", {"paused": True}).status == 200

        def is_taken(id: str) -> bool:
            signal_path = f"/api/v1/executions/{id}/signals/go"
            return admin.post(signal_path, {"payload": 1}, Idempotency_Key=id).status < 300

        for number, id in enumerate(waiting):
            # No active slot is free, so it is loaded for its signal alone.
            wait_for(partial(is_taken, id))
            if number in (1, 4):
                os.kill(engine_processes_of(server.pid)[0], signal.SIGKILL)
                wait_for(lambda: bool(engine_processes_of(server.pid)))

        assert {admin.ended(id, 60)["status"] for id in (*waiting, *others)} == {"completed"}
        server.terminate()
        assert server.wait() == 0
        assert check_database(server.database) == []
        marks = Counter(effect.key for effect in receiver.effects(f"/ok/held-{processes}"))
        assert set(marks) == {f"{id}.mark.1" for id in (*waiting, *others)}
    finally:
        server.stop()


def test_the_server_is_not_ready_without_an_engine_process_and_starts_wait_for_one(
    server: Server, admin: Client
) -> None:
    flow_id = admin.new_flow("nodes: {a: {type: transform, params: {value: 1}}}")

    pids, restarts = engine_processes_of(server.pid), metric(admin, "flowrunner_engine_process_restarts")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    # A busy machine may look only when there are others.
    wait_for(
        lambda: (
            admin.get("/readyz").status == 503
            or metric(admin, "flowrunner_engine_process_restarts") >= restarts + len(pids)
        )
    )
    problem = admin.get("/readyz")
    id = admin.run(flow_id)

    assert problem.status == 200 or "no engine process is running" in problem.error["message"]
    assert admin.ended(id)["status"] == "completed"
    wait_for(lambda: admin.get("/readyz").status == 200)


def test_engine_processes_end_with_a_killed_server(server: Server, receiver: Receiver) -> None:
    admin = server.admin()
    ids = run_many(admin, slow(receiver, 1.0, "after-the-server"), 6)
    until_under_way(receiver, ids)
    pids = engine_processes_of(server.pid)
    # One that cannot notice it either.
    os.kill(pids[0], signal.SIGSTOP)

    server.kill()
    wait_for(lambda: not any(map(is_engine_process, pids)))
    server.start()

    again = server.client(admin.token)
    assert {again.ended(id)["status"] for id in ids} == {"completed"}


def test_a_stop_of_all_processes_lets_running_nodes_end(server: Server, receiver: Receiver) -> None:
    admin = server.admin()
    log_before = len(server.log)
    ids = run_many(admin, slow(receiver, 1.0, "after-a-stop"), 6)
    until_under_way(receiver, ids)
    pids = engine_processes_of(server.pid)

    # As a service manager and a terminal signal the whole group.
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    server.terminate()

    assert server.wait() == 0
    assert not any(map(is_engine_process, pids))
    assert "Traceback" not in server.log[log_before:]
    assert check_database(server.database, all_ended=False) == []
    calls = [effect.key or "" for effect in receiver.effects("/slow")]
    assert {f"{id}.slow.1" for id in ids} <= set(calls)
    assert all(calls.count(f"{id}.slow.1") == 1 for id in ids), "no node was cut off"
    server.start()
    again = server.client(admin.token)
    assert {again.ended(id)["status"] for id in ids} == {"completed"}


def test_an_engine_process_that_hangs_gets_nothing_new_and_its_executions_go_on_in_another(
    tmp_path: Path, receiver: Receiver
) -> None:
    server = Server(tmp_path, {"PROCESSES": "3"}, program=IMPATIENT)
    try:
        admin = server.start().admin()
        ids = run_many(admin, slow(receiver, 4.0, "after-a-hang"), 8)
        until_under_way(receiver, ids)
        hanging, other = engine_processes_of(server.pid)

        os.kill(hanging, signal.SIGSTOP)
        # On a busy machine some are further by now, and the end of such a step may not have been recorded.
        in_flight = {effect.key for effect in receiver.effects("/ok/after-a-hang")}
        wait_for(lambda: "engine_process.silent" in server.log)
        flow_id = admin.new_flow("nodes: {a: {type: return, params: {value: 1}}}")
        later = {admin.ended(id)["status"] for id in [admin.run(flow_id) for _ in range(4)]}
        still_hung = is_engine_process(hanging)

        assert {admin.ended(id, 60)["status"] for id in ids} == {"completed"}
        wait_for(lambda: len(engine_processes_of(server.pid)) == 2)
        assert later == {"completed"}
        assert still_hung, "new executions did not wait for the end of the one that hangs"
        assert hanging not in engine_processes_of(server.pid)
        assert other in engine_processes_of(server.pid)
        marks = Counter(effect.key for effect in receiver.effects("/ok/after-a-hang"))
        assert marks.keys() == {f"{id}.mark.1" for id in ids}
        repeated = {key for key, count in marks.items() if count > 1}
        assert repeated <= in_flight, "no step that was recorded runs again"
        assert "Traceback" not in server.log
    finally:
        server.stop()


def test_a_server_of_one_process_starts_no_other(tmp_path: Path) -> None:
    alone = Server(tmp_path)
    try:
        alone.start()

        assert engine_processes_of(alone.pid) == []
        assert metric(alone.client(), "flowrunner_engine_processes ") == 0
    finally:
        alone.stop()


def test_workers_of_temporal_take_the_place_of_processes() -> None:
    settings = load_settings({"processes": "2", "dispatch": "temporal://localhost:7233/default"}, {})

    with pytest.raises(InvalidSettings, match="start more workers"):
        is_shared(settings)


def test_a_number_of_processes_that_no_machine_has_is_refused() -> None:
    assert load_settings({"processes": "64"}, {}).processes == 64
    with pytest.raises(InvalidSettings, match="at most 64"):
        load_settings({"processes": "1000"}, {})


def test_an_engine_process_ends_if_its_server_has_ended_before_it_begins() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = ["-m", "flowrunner.engine_process", str(theirs.fileno()), str(os.getppid())]
        ended = subprocess.run([sys.executable, *command], pass_fds=[theirs.fileno()], timeout=60, check=False)

    assert ended.returncode == 1


def test_a_short_wait_keeps_no_slot_that_other_executions_wait_for(tmp_path: Path) -> None:
    server = Server(tmp_path, {"PROCESSES": "1", "MAX_ACTIVE": "1"})
    try:
        admin = server.start().admin()
        flow_id = admin.new_flow("nodes: {a: {type: delay, params: {duration: 1s}}}")
        ids = [admin.run(flow_id) for _ in range(4)]
        for id in ids:
            admin.ended(id)

        def moment(id: str, event: str) -> int:
            rows = rows_of(
                server.database, f"SELECT at FROM readable_events WHERE execution_id = '{id}' AND type = '{event}'"
            )
            return int(rows[0][0])

        # The first one began to wait while no other did.
        assert moment(ids[2], "node.waiting") < moment(ids[1], "execution.completed")
    finally:
        server.stop()
