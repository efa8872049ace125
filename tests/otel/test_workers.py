"""Traces of executions that other processes advance: workers of Temporal, and engine processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from flowrunner.domain.traces import span_id_of
from flowrunner.domain.values import ExecutionId
from otel.collector import Collector, attributes, collecting, exporting_to
from support.fleet import Fleet
from support.receiver import Receiver
from support.server import Server
from support.waiting import wait_for

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT: Final = "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def test_a_server_and_a_worker_export_one_trace_of_an_execution(
    fleet: Fleet, collector: Collector, callee: Receiver
) -> None:
    fleet.set(OTEL="on")
    with exporting_to(collector.url):
        server = fleet.add().start()
        fleet.worker()
    assert_one_trace(server, collector, callee)


def test_engine_processes_export_one_trace_of_an_execution(
    tmp_path: Path, collector: Collector, receiver: Receiver
) -> None:
    server = Server(tmp_path, {"OTEL": "on"}, flags=("--processes", "2"))
    try:
        with exporting_to(collector.url):
            server.start()
        assert_one_trace(server, collector, receiver)
    finally:
        server.stop()


def assert_one_trace(server: Server, collector: Collector, callee: Receiver) -> None:
    user = server.admin().new_account()
    child = user.new_flow("nodes: {a: {type: transform, params: {value: 1}}}", name="Child")
    flow = user.new_flow(
        f"""
nodes:
  call: {{type: http.request, params: {{url: '{callee.url}/ok/worker'}}, next: sub}}
  sub: {{type: flow, params: {{flow: {child}}}}}
""",
        name="Parent",
    )

    reply = user.post(f"/api/v1/flows/{flow}/run", {"input": {}}, traceparent=f"00-{TRACE}-{PARENT}-01")
    id = reply.json["execution_id"]
    user.ended(id)

    names = ["GET", "flow Child", "flow Parent", "step a", "step call", "step sub"]
    wait_for(lambda: sorted(span.name for span in collector.spans) == names)
    by_name = {span.name: span for span in collector.spans}
    parents = {"step call": "flow Parent", "step sub": "flow Parent", "GET": "step call", "flow Child": "step sub"}
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert by_name["flow Parent"].parent_span_id.hex() == PARENT
    assert by_name["flow Parent"].span_id.hex() == span_id_of(ExecutionId(id))
    for name, parent in parents.items():
        assert by_name[name].parent_span_id == by_name[parent].span_id
    assert attributes(by_name["flow Parent"])["flowrunner.status"] == "completed"
