"""Traces, metrics and logs, as a collector gets them from a real server."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import StatusCode
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from flowrunner.bootstrap.telemetry import exporting_metrics
from flowrunner.bootstrap.telemetry import open_exporters as open_if_on
from flowrunner.domain.errors import FlowRunnerError, RedactionLimit, Unavailable
from flowrunner.domain.events import Step
from flowrunner.domain.traces import TraceContext, span_id_of, trace_id_of
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.metrics import Metrics
from flowrunner.otel.export import Exporters, _record, open_exporters
from flowrunner.otel.metrics import MetricThread
from flowrunner.otel.spans import ExecutionSpans, RequestSpans
from flowrunner.ports.http import SentRequest
from flowrunner.ports.secrets import Redactor
from flowrunner.ports.telemetry import TRACEPARENT
from flowrunner.settings import Settings
from otel.collector import Collector, attributes, collecting, exporting_to
from support.client import Client
from support.receiver import Receiver
from support.server import Server
from support.waiting import wait_for

CANARY: Final = "canary-4711-of-the-vault"
TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT: Final = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Server]:
    """A server that exports to the collector."""
    server = Server(tmp_path_factory.mktemp("otel"), {"OTEL": "on"})
    with exporting_to(collector.url):
        server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def user(traced: Server) -> Client:
    """An account that nobody else uses."""
    return traced.admin().new_account()


def found(collector: Collector, name: str, execution_id: str) -> Any:
    """The span, once it has arrived."""
    wait_for(lambda: collector.span(name, execution_id) is not None)
    return collector.span(name, execution_id)


def ids(span: Any) -> tuple[str, str, str]:
    """Its trace, its parent, and itself."""
    return span.trace_id.hex(), span.parent_span_id.hex(), span.span_id.hex()


def start(user: Client, flow: str, traceparent: str | None = None) -> str:
    headers = {} if traceparent is None else {"traceparent": traceparent}
    reply = user.post(f"/api/v1/flows/{flow}/run", {"input": {}}, **headers)
    assert reply.status < 300, reply
    id: str = reply.json["execution_id"]
    user.ended(id)
    return id


def test_an_execution_its_steps_and_their_requests_are_one_trace_with_that_of_the_client(
    collector: Collector, user: Client, receiver: Receiver
) -> None:
    flow = user.new_flow(
        f"nodes: {{call: {{type: http.request, params: {{url: '{receiver.url}/ok/traced', method: POST}}}}}}",
        name="Calls",
    )

    id = start(user, flow, f"00-{TRACE}-{PARENT}-01")

    whole, step = found(collector, "flow Calls", id), found(collector, "step call", id)
    (request,) = [span for span in collector.spans if span.name == "POST" and span.parent_span_id == step.span_id]
    (effect,) = receiver.effects("/ok/traced")
    assert ids(whole)[:2] == (TRACE, PARENT)
    assert ids(step)[:2] == (TRACE, ids(whole)[2])
    assert effect.headers["traceparent"] == f"00-{TRACE}-{ids(request)[2]}-01"
    assert attributes(request)["http.response.status_code"] == 200
    assert attributes(step)["flowrunner.node.type"] == "http.request"
    assert whole.start_time_unix_nano <= step.start_time_unix_nano <= step.end_time_unix_nano
    assert step.end_time_unix_nano <= whole.end_time_unix_nano
    assert collector.services == {"flowrunner"}


def test_a_request_to_a_webhook_trigger_brings_its_trace(collector: Collector, traced: Server, user: Client) -> None:
    user.new_flow("triggers: {in: {type: webhook, verify: none}}\nnodes: {a: {type: return}}", name="Hooked")
    (url,) = [trigger["url"] for trigger in user.get("/api/v1/triggers").json["triggers"] if trigger.get("url")]

    reply = traced.client().post(urlsplit(url).path, {}, traceparent=f"00-{TRACE}-{PARENT}-01")
    assert reply.status < 300, reply

    assert ids(found(collector, "flow Hooked", reply.json["execution_id"]))[:2] == (TRACE, PARENT)


@pytest.mark.parametrize(
    "sent",
    [
        None, "", "x", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-more", f"00-{TRACE}-{PARENT}-01" * 400,
    ],
)  # fmt: skip
def test_without_a_valid_context_an_execution_begins_a_trace(
    collector: Collector, user: Client, sent: str | None
) -> None:
    id = start(user, user.new_flow("nodes: {a: {type: transform, params: {value: 1}}}", name="Alone"), sent)

    assert ids(found(collector, "flow Alone", id)) == (trace_id_of(ExecutionId(id)), "", span_id_of(ExecutionId(id)))


def test_what_the_client_does_not_sample_is_not_exported_and_says_so_further_on(
    collector: Collector, user: Client, receiver: Receiver
) -> None:
    trace = "1" * 32
    flow = user.new_flow(f"nodes: {{a: {{type: http.request, params: {{url: '{receiver.url}/ok/unsampled'}}}}}}")
    start(user, flow, f"00-{trace}-{PARENT}-00")
    found(collector, "flow A flow", start(user, flow))

    first, _ = receiver.effects("/ok/unsampled")
    assert first.headers["traceparent"].startswith(f"00-{trace}-")
    assert first.headers["traceparent"].endswith("-00")
    assert [span for span in collector.spans if span.trace_id.hex() == trace] == []


def test_a_flow_that_sends_a_context_of_its_own_sends_that(user: Client, receiver: Receiver) -> None:
    own = f"00-{'2' * 32}-{PARENT}-01"
    params = f"{{url: '{receiver.url}/ok/own', headers: {{Traceparent: '{own}'}}}}"
    start(user, user.new_flow(f"nodes: {{a: {{type: http.request, params: {params}}}}}"))

    (effect,) = receiver.effects("/ok/own")
    assert effect.headers["traceparent"] == own


def test_a_child_is_in_the_trace_of_the_step_that_calls_it_and_linked_with_its_execution(
    collector: Collector, user: Client
) -> None:
    child = user.new_flow("nodes: {a: {type: transform, params: {value: 1}}}", name="Child")
    id = start(user, user.new_flow(f"nodes: {{call: {{type: flow, params: {{flow: {child}}}}}}}", name="Parent"))

    whole, step = found(collector, "flow Parent", id), found(collector, "step call", id)

    def calls() -> list[Any]:
        return [each for each in collector.spans if each.name == "flow Child" and each.parent_span_id == step.span_id]

    wait_for(lambda: bool(calls()))
    (called,) = calls()
    (link,) = called.links
    assert ids(called)[:2] == (ids(whole)[0], ids(step)[2])
    assert (link.trace_id.hex(), link.span_id.hex()) == (ids(whole)[0], ids(whole)[2])


def test_an_execution_that_an_end_has_started_begins_a_trace_that_is_linked_with_it(
    collector: Collector, user: Client
) -> None:
    first = user.new_flow("nodes: {a: {type: transform, params: {value: 1}}}", name="First")
    user.new_flow("triggers: {after: {type: execution, flow: First}}\nnodes: {a: {type: return}}", name="Second")

    id = start(user, first, f"00-{TRACE}-{PARENT}-01")

    whole = found(collector, "flow First", id)

    def followers() -> list[Any]:
        linked = [span for span in collector.spans if span.name == "flow Second"]
        return [span for span in linked if whole.span_id in {link.span_id for link in span.links}]

    wait_for(lambda: bool(followers()))
    (second,) = followers()
    (link,) = second.links
    assert second.trace_id != whole.trace_id
    assert second.parent_span_id == b""
    assert (link.trace_id, link.span_id) == (whole.trace_id, whole.span_id)


def test_a_delivery_of_a_callback_is_a_span_in_the_execution_that_it_tells_of(
    collector: Collector, user: Client, receiver: Receiver
) -> None:
    body = {"url": f"{receiver.url}/ok/told", "events": ["execution.completed"], "name": "Tells"}
    assert user.post("/api/v1/callbacks", body).status == 201
    id = start(user, user.new_flow("nodes: {a: {type: return}}", name="Told"), f"00-{TRACE}-{PARENT}-01")

    whole = found(collector, "flow Told", id)

    def delivered() -> list[Any]:
        return [span for span in collector.spans if span.name == "POST" and span.parent_span_id == whole.span_id]

    wait_for(lambda: len(delivered()) == 1)
    (effect,) = receiver.effects("/ok/told")
    assert effect.headers["traceparent"] == f"00-{TRACE}-{ids(delivered()[0])[2]}-01"
    assert attributes(delivered()[0])["http.response.status_code"] == 200


def test_each_failed_attempt_is_a_span_in_that_of_its_step(
    collector: Collector, user: Client, receiver: Receiver
) -> None:
    flow = f"""
nodes:
  often:
    type: http.request
    params: {{url: '{receiver.url}/status/503'}}
    retry: {{max: 2, delay: 10ms}}
"""
    id = start(user, user.new_flow(flow, name="Fails"))

    step, whole = found(collector, "step often", id), found(collector, "flow Fails", id)
    attempts = [span for span in collector.spans if span.name == "attempt often" and span.trace_id == step.trace_id]
    assert [span.parent_span_id for span in attempts] == [step.span_id] * 2
    assert [attributes(span)["flowrunner.attempt"] for span in attempts] == [1, 2]
    assert (attributes(step)["flowrunner.attempt"], attributes(step)["error.type"]) == (3, "http.503")
    within = {span.span_id for span in (*attempts, step)}
    requests = [span for span in collector.spans if span.name == "GET" and span.parent_span_id in within]
    assert [attributes(span)["http.response.status_code"] for span in requests] == [503] * 3
    assert {span.status.code for span in (*requests, *attempts, step, whole)} == {2}


def test_flows_cannot_send_anything_to_the_collector(collector: Collector, user: Client) -> None:
    flow = user.new_flow(
        f"nodes: {{a: {{type: http.request, params: {{url: '{collector.url}/v1/traces', method: POST}}}}}}"
    )
    id = user.run(flow)

    assert user.ended(id)["failure"]["type"] == "egress.forbidden"


def test_metrics_arrive_with_their_labels(collector: Collector, user: Client) -> None:
    start(user, user.new_flow("nodes: {a: {type: transform, params: {value: 1}}}"))

    def arrived() -> bool:
        names = {metric.name for metric in collector.metrics}
        return {"flowrunner_executions_ended", "flowrunner_step_seconds", "flowrunner_callbacks_pending"} <= names

    wait_for(arrived)
    ended = [metric for metric in collector.metrics if metric.name == "flowrunner_executions_ended"][-1]
    steps = [metric for metric in collector.metrics if metric.name == "flowrunner_step_seconds"][-1]
    assert ended.sum.is_monotonic
    assert "completed" in {attributes(point)["status"] for point in ended.sum.data_points}
    point = steps.histogram.data_points[0]
    assert point.count == sum(point.bucket_counts)
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1


def test_events_of_the_log_arrive_with_their_fields_and_their_trace(collector: Collector, user: Client) -> None:
    id = start(user, user.new_flow("nodes: {a: {type: transform, params: {value: 1}}}"), f"00-{TRACE}-{PARENT}-01")

    def lines() -> list[Any]:
        return [record for record in collector.logs if attributes(record).get("execution_id") == id]

    wait_for(lambda: bool(lines()))
    (line,) = lines()
    assert line.body.string_value == "execution.completed"
    assert line.severity_text == "INFO"
    assert line.trace_id.hex() == TRACE


def test_histograms_of_durations_have_traces_as_examples(traced: Server, user: Client) -> None:
    trace = "3" * 32
    start(user, user.new_flow("nodes: {a: {type: delay, params: {duration: 1.2s}}}"), f"00-{trace}-{PARENT}-01")
    text = traced.client().request("GET", "/metrics", headers={"Accept": "application/openmetrics-text"}).body.decode()

    examples = {
        (family.name, sample.exemplar.labels["trace_id"])
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert {("flowrunner_step_seconds", trace), ("flowrunner_execution_seconds", trace)} <= examples


def test_no_secret_leaves_the_server(collector: Collector, user: Client, receiver: Receiver) -> None:
    user.new_secret("KEY", CANARY)
    flow = f"""
nodes:
  a:
    type: http.request
    params: {{url: '{receiver.url}/ok/${{secrets.KEY}}?k=${{secrets.KEY}}', headers: {{X-Key: '${{secrets.KEY}}'}}}}
    next: {{default: b}}
  b:
    type: http.request
    params: {{url: 'http://${{secrets.KEY}}.example.invalid/'}}
    next: {{error: c}}
  c: {{type: fail, params: {{message: '${{secrets.KEY}}', error: 'e.${{secrets.KEY}}'}}}}
"""
    reply = user.post("/api/v1/flows", {"name": "Leaks", "definition": flow})
    assert reply.status == 201, reply
    id = start(user, reply.json["id"])

    found(collector, "flow Leaks", id)
    wait_for(lambda: any(attributes(record).get("execution_id") == id for record in collector.logs))
    assert any(attributes(span).get("server.address") == "***.example.invalid" for span in collector.spans)
    assert not any(CANARY.encode() in raw for raw in collector.raw)


def test_an_execution_that_survives_a_kill_keeps_its_trace(tmp_path: Any, collector: Collector) -> None:
    flow = """
nodes:
  before: {type: transform, params: {value: 1}, next: {default: wait}}
  wait: {type: wait, params: {key: go}, next: {default: after}}
  after: {type: transform, params: {value: 2}}
"""
    server = Server(tmp_path, {"OTEL": "on"})
    with exporting_to(collector.url):
        try:
            user = server.start().admin().new_account()
            flow_id = user.new_flow(flow, name="Survives")
            reply = user.post(f"/api/v1/flows/{flow_id}/run", {"input": {}}, traceparent=f"00-{TRACE}-{PARENT}-01")
            id = reply.json["execution_id"]
            user.until_it_waits(id)
            found(collector, "step before", id)
            server.kill()
            again = Client(server.start().url, user.token)
            assert again.post(f"/api/v1/executions/{id}/signals/go", {}).status < 300
            again.ended(id)
            whole = found(collector, "flow Survives", id)
        finally:
            server.stop()

    steps = {name: found(collector, f"step {name}", id) for name in ("before", "wait", "after")}
    assert ids(whole)[:2] == (TRACE, PARENT)
    assert {ids(step)[:2] for step in steps.values()} == {(TRACE, ids(whole)[2])}
    assert ids(steps["after"])[2] == span_id_of(ExecutionId(id), Step("after", 1))


@pytest.mark.parametrize("answers", [False, True], ids=["is gone", "never answers"])
def test_a_collector_that_does_not_work_holds_up_nothing(tmp_path: Any, answers: bool) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if not answers:
            listener.close()
        server = Server(tmp_path, {"OTEL": "on"})
        with exporting_to(url, OTEL_BSP_MAX_QUEUE_SIZE="64", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="16"):
            try:
                user = server.start().admin().new_account()
                flow = user.new_flow("nodes: {a: {type: transform, params: {value: 1}}}")
                # More spans than fit into the queue.
                executions = [user.run(flow) for _ in range(100)]
                assert {user.ended(id)["status"] for id in executions} == {"completed"}
                server.terminate()
                assert server.wait(20) == 0
            finally:
                server.stop()


def test_metrics_are_exported_after_some_that_could_not_be() -> None:
    exported = threading.Event()
    failed: list[object] = []

    def export(data: object) -> None:
        if not failed:
            failed.append(data)
            raise OSError("the collector has answered something else")
        exported.set()

    exporter: Any = SimpleNamespace(export=export)
    thread = MetricThread(exporter, Resource({}))

    def is_exported() -> bool:
        thread.put([])
        return exported.wait(0.01)

    wait_for(is_exported)
    thread.close(10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "console"),
    ],
)  # fmt: skip
def test_what_would_have_no_effect_is_an_error(name: str, value: str) -> None:
    with pytest.raises(FlowRunnerError, match=name):
        open_exporters({name: value})


def test_without_the_packages_the_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(sys.modules, "flowrunner.otel.export")

    with pytest.raises(FlowRunnerError, match=r"requirements/otel\.txt"):
        open_if_on(Settings(otel="on"))


def test_nothing_of_it_is_imported_unless_it_is_switched_on() -> None:
    program = (
        "import sys, flowrunner.serving\n"
        "from flowrunner.bootstrap.telemetry import open_exporters\n"
        "from flowrunner.settings import Settings\n"
        "assert open_exporters(Settings()) is None\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "[]\n"


@pytest.mark.parametrize("failure", [Unavailable("the database"), RedactionLimit(5)])
async def test_a_request_whose_secrets_cannot_be_read_succeeds_and_its_span_hides_the_host(failure: Exception) -> None:
    emitted: list[str] = []
    spans: Any = SimpleNamespace(end_request=lambda request, parent, context, host: emitted.append(host))

    async def redactor_of(workspace_id: WorkspaceId) -> Redactor:
        raise failure

    requests = RequestSpans(spans, redactor_of, propagates=True)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    request = SentRequest(
        workspace_id=WorkspaceId("w"), method="GET", host=CANARY, port=443, began_at=at, ended_at=at, status=200
    )
    inside = TRACEPARENT.set(f"00-{TRACE}-{PARENT}-01")
    try:
        requests.begin(request)
        await requests.end(request)
    finally:
        TRACEPARENT.reset(inside)

    assert len(emitted) == 1
    assert CANARY not in emitted[0]


@pytest.mark.parametrize(
    ("context", "begins", "has_span"),
    [
        (f"00-{TRACE}-{PARENT}-01", True, True),
        # The client does not sample it.
        (f"00-{TRACE}-{PARENT}-00", True, False),
        ("", True, False),
        # It was refused before it began.
        (f"00-{TRACE}-{PARENT}-01", False, False),
    ],
)
async def test_only_a_request_within_a_sampled_trace_has_a_span(context: str, begins: bool, has_span: bool) -> None:
    emitted: list[Any] = []
    spans: Any = SimpleNamespace(end_request=lambda request, parent, own, host: emitted.append((parent, own, host)))

    async def redactor_of(workspace_id: WorkspaceId) -> Any:
        return SimpleNamespace(redact=lambda host: host)

    requests = RequestSpans(spans, redactor_of, propagates=True)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    request = SentRequest(
        workspace_id=WorkspaceId("w"), method="GET", host="h", port=443, began_at=at, ended_at=at, status=200
    )
    inside = TRACEPARENT.set(context)
    try:
        sent = requests.begin(request) if begins else None
        await requests.end(request)
    finally:
        TRACEPARENT.reset(inside)

    assert (sent is not None) == (context != "" and begins)
    if sent is not None:
        # As a span of its own in the same trace, sampled as that is.
        assert (sent[:36], sent[-3:]) == (f"00-{TRACE}-", context[-3:])
        assert PARENT not in sent
    assert [(parent.span_id, str(own), host) for parent, own, host in emitted] == (
        [(PARENT, sent, "h")] if has_span else []
    )


def test_at_the_end_everything_that_waits_is_exported() -> None:
    ended: list[object] = []
    metrics: Any = SimpleNamespace(close=ended.append)
    parts: Any = [SimpleNamespace(shutdown=lambda name=name: ended.append(name)) for name in ("spans", "logs")]
    common: Any = {"spans": None, "metric_seconds": 1.0, "propagates": True, "servers": frozenset()}

    Exporters(**common, metrics=metrics, _processor=parts[0], _logs=parts[1]).close()
    assert sorted(map(str, ended)) == ["1.5", "logs", "spans"]
    Exporters(**common, metrics=None, _processor=None, _logs=None).close()


def test_the_time_between_two_exports_is_in_milliseconds() -> None:
    off = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}

    found = {
        given: open_exporters({**off, "OTEL_METRIC_EXPORT_INTERVAL": given}).metric_seconds
        for given in ("10000", "500", "0", "-1", "soon")
    }

    assert found == {"10000": 10.0, "500": 0.5, "0": 60.0, "-1": 60.0, "soon": 60.0}


async def test_what_was_counted_since_the_last_export_is_exported_at_the_end() -> None:
    metrics, sets = Metrics(), list[Any]()
    exporters: Any = SimpleNamespace(metrics=SimpleNamespace(put=sets.append), metric_seconds=3600.0)

    async with exporting_metrics(exporters, metrics):
        metrics.hook_requested("started")

    ((*families,),) = sets
    (hooks,) = [family for family in families if family.name == "flowrunner_hook_requests"]
    assert 1.0 in {sample.value for sample in hooks.samples if sample.labels == {"outcome": "started"}}


def test_requests_carry_their_trace_unless_its_propagation_is_left_out() -> None:
    off = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    given = ("", "tracecontext", "baggage,tracecontext", "baggage, tracecontext ", "baggage", "none")

    found = {text: open_exporters({**off, "OTEL_PROPAGATORS": text}).propagates for text in given}

    assert open_exporters(off).propagates
    assert found == {text: text == "" or "tracecontext" in text for text in given}


def test_what_is_switched_off_is_not_exported() -> None:
    off = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}

    for environ in (off, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_SDK_DISABLED": "TRUE"}):
        found = open_exporters(environ)
        assert (found.spans, found.metrics, found.has_logs) == (None, None, False), environ


@pytest.mark.parametrize(
    ("endpoints", "servers"),
    [
        ({}, {("localhost", 4318)}),
        ({"": "http://one.example"}, {("one.example", 80)}),
        ({"": "https://one.example/otlp"}, {("one.example", 443)}),
        ({"": "", "TRACES_": "http://two.example:4318/v1/traces"}, {("two.example", 4318)}),
        (
            {"TRACES_": "http://a.example", "METRICS_": "https://b.example", "LOGS_": "http://c.example:9"},
            {("a.example", 80), ("b.example", 443), ("c.example", 9)},
        ),
    ],
)
def test_the_servers_of_all_signals_are_known(endpoints: dict[str, str], servers: set[tuple[str, int]]) -> None:
    given = {f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT": url for signal, url in endpoints.items()}

    assert open_exporters({"OTEL_SDK_DISABLED": "true", **given}).servers == servers


@pytest.mark.parametrize("is_sampled", [False, True])
@pytest.mark.parametrize(
    ("level", "severity"),
    [("debug", "DEBUG"), ("info", "INFO"), ("warning", "WARN"), ("error", "ERROR"), ("critical", "FATAL")],
)
def test_a_line_of_the_log_has_its_severity_and_its_trace(level: str, severity: str, is_sampled: bool) -> None:
    inside = TRACEPARENT.set(f"00-{TRACE}-{PARENT}-0{int(is_sampled)}")
    try:
        record = _record({"event": "a.b", "level": level})
    finally:
        TRACEPARENT.reset(inside)

    assert record.severity_number is not None
    assert (record.body, record.severity_number.name) == ("a.b", severity)
    assert (record.trace_id, record.span_id) == (int(TRACE, 16), int(PARENT, 16))
    assert record.trace_flags == int(is_sampled)


def test_the_attributes_of_a_line_are_its_fields_as_plain_values_and_those_that_are_empty_are_left_out() -> None:
    error = ValueError("no")
    record = _record(
        {
            "event": "a.b",
            "level": "error",
            "timestamp": "t",
            "none": None,
            "n": 1,
            "list": [1],
            "b": False,
            "exc_info": error,
        }
    )

    assert record.attributes is not None
    assert dict(record.attributes) == {
        "n": 1, "list": "[1]", "b": False, "exception.type": "ValueError", "exception.stacktrace": "ValueError: no\n"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "error_type", "has_failed"),
    [
        (100, None, False), (200, None, False), (302, None, False), (399, None, False), (400, None, True),
        (404, None, True), (499, None, True), (500, None, True), (599, None, True), (None, "network", True),
        (200, "http.invalid_json", True), (None, None, False),
    ],
)  # fmt: skip
def test_the_span_of_a_request_has_failed_by_its_status_or_its_error(
    status: int | None, error_type: str | None, has_failed: bool
) -> None:
    ended = list[ReadableSpan]()
    processor: Any = SimpleNamespace(on_end=ended.append)
    spans = ExecutionSpans(processor, ALWAYS_ON, Resource({}))
    began = datetime(2026, 1, 1, tzinfo=UTC)
    request = SentRequest(
        workspace_id=WorkspaceId("w"), method="GET", host="a.example", port=443, began_at=began,
        ended_at=began + timedelta(seconds=1.5), status=status, error_type=error_type,
    )  # fmt: skip
    step, own = (TraceContext(TRACE, id, True) for id in (PARENT, "11f067aa0ba902b7"))

    spans.end_request(request, step, own, "a.example")

    (span,) = ended
    assert span.status.status_code is (StatusCode.ERROR if has_failed else StatusCode.UNSET)
    assert span.parent is not None
    assert span.context is not None
    assert (f"{span.parent.span_id:016x}", f"{span.context.span_id:016x}") == (PARENT, own.span_id)
    assert (span.end_time or 0) - (span.start_time or 0) == 1_500_000_000
    assert span.attributes == {
        "http.request.method": "GET", "server.address": "a.example", "server.port": 443,
        **({} if status is None else {"http.response.status_code": status}),
        **({} if error_type is None else {"error.type": error_type}),
    }  # fmt: skip
