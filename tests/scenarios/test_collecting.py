"""Loops that are cut off while they evaluate what they collect of a round."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Final

import pytest

from support.client import Client
from support.engine_processes import engine_processes_of
from support.invariants import check_database
from support.receiver import Receiver
from support.server import Server
from support.waiting import wait_for

LOOPS: Final = {
    "elements one by one": 'foreach\n    params: {items: "${[...Array(ROUNDS).keys()]}", concurrency: 1',
    "elements side by side": 'foreach\n    params: {items: "${[...Array(ROUNDS).keys()]}", concurrency: 3',
    "rounds": 'while\n    params: {when: "index < ROUNDS"',
}
# Seconds that what is collected of a round takes to evaluate, which is nearly all of the time of a round. It is well
# below what the sandbox allows, as a busy machine makes it longer.
COLLECTING: Final = 0.3
BUSY: Final = (
    f"(() => {{ const end = Date.now() + {COLLECTING * 1000:g}; while (Date.now() < end); return result.n }})()"
)
LOOP: Final = """%s
nodes:
  each:
    type: %s, collect: "${%s}"}
    nodes:
      ask: {type: http.request, params: {method: POST, url: "%s/ok/%s"}, next: number}
      number: {type: transform, params: {value: {n: "${index}"}}}
"""
# Minutes of rounds: a loop that ends before was ended.
ENDLESS: Final = 1000


@pytest.fixture(scope="module", params=["1", "2"], ids=lambda count: f"{count} processes")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("collecting"), {"PROCESSES": request.param})
    try:
        yield found.start()
    finally:
        found.stop()


def run_all(admin: Client, receiver: Receiver, name: str, *, rounds: int, limits: str = "") -> dict[str, str]:
    """Start an execution of each loop; return them by its name when each collects its first part, or all have ended."""
    before = len(receiver.effects(f"/ok/{name}"))
    texts = {loop: text.replace("ROUNDS", str(rounds)) for loop, text in LOOPS.items()}
    flows = {loop: admin.new_flow(LOOP % (limits, text, BUSY, receiver.url, name)) for loop, text in texts.items()}
    ids = {loop: admin.run(flow) for loop, flow in flows.items()}
    wait_for(
        lambda: (
            len(receiver.effects(f"/ok/{name}")) >= before + 5
            or all("completed_at" in admin.execution(id) for id in ids.values())
        )
    )
    time.sleep(COLLECTING / 2)
    return ids


def test_a_kill_repeats_no_step_that_was_recorded(server: Server, receiver: Receiver) -> None:
    admin = server.admin()
    ids = run_all(admin, receiver, "kill", rounds=3)

    for pid in engine_processes_of(server.pid):
        os.kill(pid, signal.SIGKILL)
    time.sleep(1.0)
    server.kill()
    admin = server.start().client(admin.token)

    ended = {loop: admin.ended(id) for loop, id in ids.items()}
    assert {loop: (e["status"], e["result"]) for loop, e in ended.items()} == dict.fromkeys(
        LOOPS, ("completed", [0, 1, 2])
    )
    server.terminate()
    server.wait()
    wrong = check_database(server.database, all_ended=False)
    server.start()
    assert wrong == []


def test_a_cancellation_ends_it_at_once(server: Server, receiver: Receiver) -> None:
    admin = server.admin()
    ids = run_all(admin, receiver, "cancel", rounds=ENDLESS)

    replies = [admin.delete(f"/api/v1/executions/{id}").status for id in ids.values()]
    ended = [admin.ended(id)["status"] for id in ids.values()]

    assert (replies, ended) == ([200] * 3, ["cancelled"] * 3)
    # A request that was sent before may still arrive.
    time.sleep(1.0)
    requests = len(receiver.effects("/ok/cancel"))
    time.sleep(3 * COLLECTING)
    assert len(receiver.effects("/ok/cancel")) == requests, "no step starts after a cancellation"


def test_a_time_limit_ends_it(server: Server, receiver: Receiver) -> None:
    admin = server.admin()
    # A machine that has made no request until then has a slow start, and the limit ends that.
    ids = run_all(admin, receiver, "limit", rounds=ENDLESS, limits="limits: {timeout: 4s}")

    ended = [admin.ended(id) for id in ids.values()]

    assert {(e["status"], e["failure"]["type"]) for e in ended} == {("failed", "timeout")}
