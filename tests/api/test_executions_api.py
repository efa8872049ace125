"""Executions and their logs over REST, as the reference has them."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final

import pytest

from api.shapes import NAP, SMALLEST, assert_error, assert_recent, moment
from support.client import Client
from support.receiver import Receiver
from support.waiting import wait_for

SUMMARY: Final = {"id", "flow_id", "flow_name", "revision", "status", "started_at", "started_by"}
ENDED: Final = SUMMARY | {"completed_at", "duration", "logs"}
FAILED: Final = ENDED | {"error", "error_type", "failed_node"}
# What the execution itself tells beyond its line in a list.
DETAIL: Final = {"input"}


def example(receiver: Receiver, *, path: str = "ok") -> str:
    """The flow of the reference, with addresses that exist here."""
    return f"""metadata:
  name: "My Flow"
  description: "A simple flow"
  version: "1.0.0"

nodes:
  start:
    type: "http.request"
    params:
      url: "{receiver.url}/{path}"
      method: "GET"
    next:
      default: "end"

  end:
    type: "webhook"
    params:
      url: "{receiver.url}/ok/callback"
      method: "POST"
"""


SLOW: Final = """nodes:
  hang:
    type: http.request
    params: {{url: "{url}/slow?seconds=60"}}
    timeout: 90s
"""
FAILING: Final = "nodes:\n  stop: {type: fail, params: {error: orders.none, message: There are no orders}}\n"


def test_a_run_is_accepted_as_running(account: Client, receiver: Receiver) -> None:
    flow_id = account.new_flow(example(receiver))

    reply = account.post(f"/api/v1/flows/{flow_id}/run", {"input": {"key": "value"}})

    assert reply.status == 201
    assert reply.json.keys() == {"execution_id", "flow_id", "status", "created_at"}
    assert reply.json["flow_id"] == flow_id
    assert reply.json["status"] == "running"
    assert_recent(reply.json["created_at"])
    account.ended(reply.json["execution_id"])


def test_the_flow_of_the_reference_runs_to_its_end(account: Client, receiver: Receiver) -> None:
    flow_id = account.new_flow(example(receiver, path="ok/of-the-reference"))
    id = account.run(flow_id, {"key": "value"})

    execution = account.ended(id)

    assert execution.keys() == ENDED | DETAIL | {"result"}
    assert (execution["id"], execution["flow_id"], execution["status"]) == (id, flow_id, "completed")
    assert execution["input"] == {"key": "value"}
    assert execution["result"]["status_code"] == 200
    assert execution["result"]["body"] == {"key": "value"}
    begun, ended = moment(execution["started_at"]), moment(execution["completed_at"])
    assert type(execution["duration"]) is int
    assert timedelta(milliseconds=execution["duration"]) == ended - begun
    (effect,) = receiver.effects("/ok/of-the-reference")
    assert effect.key == f"{id}.start.1"


def test_durations_are_milliseconds(account: Client) -> None:
    execution = account.run_to_end("nodes:\n  nap: {type: delay, params: {duration: 300ms}}\n")

    assert 300 <= execution["duration"] < 10_000


def test_a_failed_execution_says_why(account: Client, receiver: Receiver) -> None:
    execution = account.run_to_end(example(receiver, path="status/500"))

    assert execution.keys() == FAILED | DETAIL | {"failure"}
    assert execution["status"] == "failed"
    assert execution["error"] == "HTTP request failed with status 500"


def test_an_open_execution_has_no_end_no_duration_and_no_result(account: Client) -> None:
    id = account.run(account.new_flow(NAP))

    execution = account.until_it_waits(id)

    assert execution["status"] == "running"

    assert execution.keys() == SUMMARY | DETAIL | {"waiting_for"}
    (listed,) = account.get("/api/v1/executions").json["executions"]
    assert listed.keys() == SUMMARY
    account.delete(f"/api/v1/executions/{id}")


def test_a_list_shows_where_an_execution_waits_for_an_action_from_outside(account: Client) -> None:
    ids = {
        "ask": account.run(account.new_flow("nodes: {ask: {type: approval, params: {prompt: 'Ship it?'}}}")),
        "paid": account.run(account.new_flow("nodes: {paid: {type: wait, params: {key: k}}}")),
        "nap": account.run(account.new_flow(NAP)),
    }
    for node, id in ids.items():
        account.waiting_at(id, node)

    listed = {one["id"]: one for one in account.get("/api/v1/executions").json["executions"]}

    assert listed[ids["ask"]]["waiting_at"] == {"type": "approval", "node": "ask"}
    assert listed[ids["paid"]]["waiting_at"] == {"type": "signal", "node": "paid"}
    assert listed[ids["nap"]].keys() == SUMMARY
    # The execution itself has all of its waits.
    assert "waiting_at" not in account.execution(ids["ask"])
    account.post(f"/api/v1/executions/{ids['ask']}/approvals/ask", {"approved": True})
    account.ended(ids["ask"])
    listed = {one["id"]: one for one in account.get("/api/v1/executions").json["executions"]}
    assert "waiting_at" not in listed[ids["ask"]]


@pytest.mark.parametrize("body", [None, {}, {"input": {}}])
def test_the_input_may_be_left_out(account: Client, body: Any) -> None:
    flow_id = account.new_flow(SMALLEST)

    reply = account.post(f"/api/v1/flows/{flow_id}/run", body)

    assert reply.status == 201
    assert account.ended(reply.json["execution_id"])["input"] == {}


def test_an_input_comes_back_as_it_was(account: Client) -> None:
    given = {
        "text": "é 日本語 🙂 \u2028 ${secrets.X} </script>",
        "numbers": [0, -1, 2**63, -(2**63), 2**64 - 1, 1.5, 1e-300, 0.1],
        "nested": {"a": {"b": [[], {}, None, True, False, ""]}},
        "": "an empty key",
    }
    execution = account.run_to_end("nodes:\n  r: {type: return, params: {value: '${flow.input}'}}\n", given)

    assert execution["input"] == given
    assert execution["result"] == given


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, "text", [1, {"a": None}]])
def test_every_kind_of_result_is_told(account: Client, value: Any) -> None:
    definition = f"nodes:\n  r: {{type: return, params: {{value: {json.dumps(value)}}}}}\n"

    assert account.run_to_end(definition)["result"] == value


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": []}, "input"),
        ({"input": "text"}, "input"),
        ({"input": None}, "input"),
        ({"input": {}, "status": "completed"}, "status"),
        ({"inputs": {}}, "inputs"),
    ],
)
def test_an_input_is_an_object(account: Client, body: Any, field: str) -> None:
    flow_id = account.new_flow(SMALLEST)

    details = assert_error(account.post(f"/api/v1/flows/{flow_id}/run", body), 422)

    assert details["field"] == field
    assert account.get("/api/v1/executions").json["total"] == 0


def test_what_does_not_exist_is_not_found(account: Client) -> None:
    for reply in (
        account.get("/api/v1/executions/exec-1"),
        account.delete("/api/v1/executions/exec-1"),
        account.get("/api/v1/executions/exec-1/logs"),
    ):
        assert_error(reply, 404, "Execution not found")
    assert_error(account.post("/api/v1/flows/flow-1/run", {}), 404, "Flow not found")


def test_the_same_idempotency_key_starts_one_execution(account: Client) -> None:
    path = f"/api/v1/flows/{account.new_flow(SMALLEST)}/run"

    first = account.post(path, {"input": {"n": 1}}, Idempotency_Key="order-7")
    again = account.post(path, {"input": {"n": 1}}, Idempotency_Key="order-7")
    another = account.post(path, {"input": {"n": 2}}, Idempotency_Key="order-7")

    assert (first.status, again.status) == (201, 200)
    assert again.json["execution_id"] == first.json["execution_id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert assert_error(another, 422)["field"] == "Idempotency-Key"
    assert account.get("/api/v1/executions").json["total"] == 1


def test_idempotency_keys_of_accounts_are_apart(account: Client, other: Client) -> None:
    replies = [
        client.post(f"/api/v1/flows/{client.new_flow(SMALLEST)}/run", {}, Idempotency_Key="the-same")
        for client in (account, other)
    ]

    assert [reply.status for reply in replies] == [201, 201]


# Lists


ASKS: Final = "nodes:\n  ask: {type: wait, params: {key: go}}\n"


@pytest.fixture
def some(account: Client) -> dict[str, str]:
    """Two completed, one failed, one cancelled and one waiting execution of two flows, by a name."""
    good, bad, long = account.new_flow(SMALLEST), account.new_flow(FAILING), account.new_flow(ASKS)
    ids = {"good": good, "bad": bad, "long": long}
    for name, flow in (("c1", good), ("f1", bad), ("c2", good), ("x1", long), ("w1", long)):
        ids[name] = account.run(flow)
        time.sleep(0.002)
    for name in ("c1", "f1", "c2"):
        account.ended(ids[name])
    account.delete(f"/api/v1/executions/{ids['x1']}")
    account.until_it_waits(ids["w1"])
    return ids


def _listed(account: Client, **query: Any) -> tuple[list[str], int]:
    page = account.get("/api/v1/executions", **query).json
    assert page.keys() - {"next_cursor"} == {"executions", "total", "limit", "offset"}
    return [execution["id"] for execution in page["executions"]], page["total"]


def test_executions_are_listed_the_newest_first(account: Client, some: dict[str, str]) -> None:
    assert _listed(account) == ([some[name] for name in ("w1", "x1", "c2", "f1", "c1")], 5)

    page = account.get("/api/v1/executions").json
    assert (page["limit"], page["offset"]) == (10, 0)
    by_id = {execution["id"]: execution for execution in page["executions"]}
    assert by_id[some["c1"]].keys() == ENDED
    assert by_id[some["x1"]].keys() == ENDED
    assert by_id[some["w1"]].pop("waiting_at") == {"type": "signal", "node": "ask"}
    assert by_id[some["w1"]].keys() == SUMMARY
    assert by_id[some["f1"]].keys() == FAILED
    assert by_id[some["f1"]]["error"] == "There are no orders"
    for id, execution in by_id.items():
        whole = account.execution(id)
        assert {name: whole[name] for name in execution} == execution


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("yesterday", "must be a moment such as 2027-01-31T12:00:00Z, or a day such as 2027-01-31"),
        ("2027-01-31T12:00:00", "has no time zone: write Z behind it for UTC, as in 2027-01-31T12:00:00Z"),
        ("1969-12-31", "must be in a year from 1970 to 8999"),
        ("9999-12-31T23:59:59Z", "must be in a year from 1970 to 8999"),
        ("-1fortnight", "must be a duration such as -24h or -7d, a moment, or a day"),
    ],
)
def test_a_moment_that_cannot_be_meant_is_refused_with_what_is_wrong(account: Client, text: str, reason: str) -> None:
    reply = account.get(f"/api/v1/executions?since={text}")

    assert assert_error(reply, 422)["reason"] == reason


def test_a_moment_can_be_so_long_ago(account: Client, some: dict[str, str]) -> None:
    for query, found in (
        ("since=-1h", True),
        ("since=-1h30m&until=-1h", False),
        ("until=-1ms", True),
        ("since=-0s", False),
    ):
        assert bool(account.get(f"/api/v1/executions?{query}").json["total"]) is found, query
    assert account.get("/api/v1/executions/histogram?since=-2h&until=-1h&buckets=2").status == 200
    audit = f"/api/v1/workspaces/{account.account_id}/audit"
    assert account.get(f"{audit}?since=-1h&until=-0s").json["total"] > 0
    assert account.get(f"{audit}?until=-1h").json["total"] == 0
    body = {"action": "delete", "filter": {"since": "-1h", "until": "-30m"}}
    assert account.post("/api/v1/executions:batch?dry_run=true", body).json["total"] == 0


def test_a_plus_that_was_not_encoded_is_said_to_be_one(account: Client) -> None:
    reply = account.get("/api/v1/executions?since=2027-01-31T12:00:00+02:00")

    assert assert_error(reply, 422)["errors"][0]["hint"] == "write + as %2B in an address"


@pytest.mark.parametrize("name", ["flow_id", "flow", "error_type", "node", "trigger", "rerun_of", "parent_id"])
def test_an_empty_filter_does_not_select_all_executions(account: Client, some: dict[str, str], name: str) -> None:
    reply = account.get(f"/api/v1/executions?{name}=")

    assert_error(reply, 422)
    assert reply.json["error"]["details"]["field"] == name


def test_executions_are_filtered_by_flow_and_status(account: Client, some: dict[str, str]) -> None:
    def ids(*names: str) -> tuple[list[str], int]:
        return [some[name] for name in names], len(names)

    assert _listed(account, status="completed") == ids("c2", "c1")
    assert _listed(account, status="failed") == ids("f1")
    assert _listed(account, status="cancelled") == ids("x1")
    assert _listed(account, status="waiting") == ids("w1")
    assert _listed(account, status="running") == ids()
    assert _listed(account, status="failed,completed") == ids("c2", "f1", "c1")
    assert _listed(account, flow_id=some["good"]) == ids("c2", "c1")
    assert _listed(account, flow_id=some["long"], status="waiting") == ids("w1")
    assert _listed(account, flow_id=some["long"], status="completed") == ids()
    assert _listed(account, flow_id="flow-1") == ids()
    assert _listed(account, flow_id="%") == ids()
    assert _listed(account, status="completed", limit=1) == ([some["c2"]], 2)
    assert _listed(account, limit=2, offset=3) == ([some["f1"], some["c1"]], 5)
    assert _listed(account, offset=5) == ([], 5)


@pytest.mark.parametrize("status", ["", "done", "Completed", "running,", "failed;completed", "*", "null"])
def test_a_status_that_there_is_not_is_refused(account: Client, status: str) -> None:
    details = assert_error(account.get("/api/v1/executions", status=status), 422)

    assert details["field"] == "status"


def test_executions_of_a_deleted_flow_can_still_be_read(account: Client) -> None:
    flow_id = account.new_flow(SMALLEST)
    id = account.run(flow_id)
    account.ended(id)

    account.delete(f"/api/v1/flows/{flow_id}")

    assert account.execution(id)["flow_id"] == flow_id
    assert _listed(account, flow_id=flow_id) == ([id], 1)


def test_an_execution_goes_on_with_the_definition_that_it_began_with(account: Client) -> None:
    definition = (
        "nodes:\n  nap: {type: delay, params: {duration: 400ms}, next: r}\n  r: {type: return, params: {value: old}}\n"
    )
    flow_id = account.new_flow(definition)
    id = account.run(flow_id)

    account.put(f"/api/v1/flows/{flow_id}", {"definition": definition.replace("old", "new")})

    assert account.ended(id)["result"] == "old"
    assert account.ended(account.run(flow_id))["result"] == "new"


# Cancel


def test_a_cancelled_execution_ends_within_a_second_of_a_slow_call(account: Client, receiver: Receiver) -> None:
    id = account.run(account.new_flow(SLOW.format(url=receiver.url)))
    wait_for(lambda: any(effect.key == f"{id}.hang.1" for effect in receiver.effects("/slow")))
    begun = time.monotonic()

    reply = account.delete(f"/api/v1/executions/{id}")

    assert time.monotonic() - begun < 1.0
    assert reply.status == 200
    assert reply.json == {"message": "Execution cancelled successfully"}
    execution = account.execution(id)
    assert execution["status"] == "cancelled"
    assert execution.keys() == ENDED | DETAIL


def test_a_waiting_execution_can_be_cancelled(account: Client) -> None:
    id = account.run(account.new_flow(NAP))
    account.until_it_waits(id)

    assert account.delete(f"/api/v1/executions/{id}").status == 200
    assert account.execution(id)["status"] == "cancelled"


@pytest.mark.parametrize("kind", ["completed", "failed", "cancelled"])
def test_an_ended_execution_cannot_be_cancelled(account: Client, kind: str) -> None:
    definition = {"completed": SMALLEST, "failed": FAILING, "cancelled": NAP}[kind]
    id = account.run(account.new_flow(definition))
    if kind == "cancelled":
        account.delete(f"/api/v1/executions/{id}")
    before = account.ended(id)

    reply = account.delete(f"/api/v1/executions/{id}")

    assert_error(reply, 409, f"The execution has already ended: it is {kind}")
    assert account.execution(id) == before


TIDIES: Final = """on_finish: tidy
nodes:
  ask: {{type: wait, params: {{key: go}}}}
  tidy: {{type: webhook, params: {{url: "{url}/slow?seconds=1"}}, next: after}}
  after: {{type: wait, params: {{key: tidied}}}}
"""


def test_a_repeated_cancellation_is_answered_as_the_first_and_changes_nothing(
    account: Client, receiver: Receiver
) -> None:
    id = account.run(account.new_flow(TIDIES.format(url=receiver.url)))
    account.waiting_at(id, "ask")

    with ThreadPoolExecutor() as pool:
        first = pool.submit(account.delete, f"/api/v1/executions/{id}")
        wait_for(lambda: any(effect.key == f"{id}.on_finish/tidy.1" for effect in receiver.effects("/slow")))
        repeats = [pool.submit(account.delete, f"/api/v1/executions/{id}") for _ in range(3)]
    account.waiting_at(id, "after")
    late = account.delete(f"/api/v1/executions/{id}")

    for reply in (first.result(), *(repeat.result() for repeat in repeats), late):
        assert (reply.status, reply.json) == (200, {"message": "Execution cancelled successfully"})
    assert account.waiting_at(id, "after")["status"] == "waiting"
    assert account.post(f"/api/v1/executions/{id}/signals/tidied").status == 200
    assert account.ended(id)["status"] == "cancelled"
    assert_error(account.delete(f"/api/v1/executions/{id}"), 409, "The execution has already ended: it is cancelled")


def test_only_force_cuts_on_finish_off_and_the_audit_log_says_so(
    admin: Client, account: Client, receiver: Receiver
) -> None:
    id = account.run(account.new_flow(TIDIES.format(url=receiver.url)))
    account.waiting_at(id, "ask")
    account.delete(f"/api/v1/executions/{id}")
    account.waiting_at(id, "after")

    reply = account.delete(f"/api/v1/executions/{id}?force=true")

    assert (reply.status, reply.json) == (200, {"message": "Execution cancelled successfully"})
    assert account.execution(id)["status"] == "cancelled"
    logs = account.get(f"/api/v1/executions/{id}/logs", level="warn").json["logs"]
    assert [line["message"] for line in logs] == [
        "Execution cancelled",
        "The handlers of the end were cut off: the execution was cancelled with force=true",
    ]
    entries = admin.get("/api/v1/audit", action="execution.cancelled", object_id=id).json["entries"]
    assert [entry["details"] for entry in entries if entry["object"]["id"] == id] == [
        {"force": True, "handlers": "cut off", "status": "cancelled"},
        {},
    ]
    assert account.delete(f"/api/v1/executions/{id}?force=true").status == 409
    assert account.delete(f"/api/v1/executions/{id}?force=perhaps").status == 422


# Logs

LOGGING: Final = """nodes:
  a: {type: log, params: {level: debug, message: one}, next: b}
  b: {type: log, params: {level: info, message: two, data: {n: 2}}, next: c}
  c: {type: log, params: {level: warn, message: three}, next: d}
  d: {type: log, params: {level: error, message: four}}
"""


def test_the_log_tells_what_happened(account: Client, receiver: Receiver) -> None:
    id = account.run(account.new_flow(example(receiver)))
    account.ended(id)

    reply = account.get(f"/api/v1/executions/{id}/logs")

    assert reply.status == 200
    page = reply.json
    assert page.keys() == {"logs", "total", "limit", "offset"}
    assert (page["total"], page["limit"], page["offset"]) == (len(page["logs"]), 10, 0)
    for line in page["logs"]:
        assert line.keys() - {"data", "step"} == {"timestamp", "level", "message", "node_id", "node_type"}
        assert line["level"] in ("debug", "info", "warn", "error")
        moment(line["timestamp"])
    first, last = page["logs"][0], page["logs"][-1]
    assert (first["message"], first["node_id"], first["node_type"]) == ("Execution started", "start", "http.request")
    assert "data" not in first
    assert (last["message"], last["node_id"], last["node_type"]) == ("Execution completed", "end", "webhook")
    request = next(line for line in page["logs"] if line["message"] == "HTTP request successful")
    assert (request["level"], request["node_id"], request["step"]) == ("info", "start", "start.1")
    assert "step" not in first
    assert request["data"] == {"status_code": 200, "url": f"{receiver.url}/ok"}
    assert [line["timestamp"] for line in page["logs"]] == sorted(line["timestamp"] for line in page["logs"])


def test_a_line_tells_which_run_of_a_loop_it_is_of(account: Client) -> None:
    definition = """nodes:
  each:
    type: foreach
    params: {items: [a, b]}
    nodes: {say: {type: log, params: {message: "${item}"}, next: stop}, stop: {type: fail, params: {message: no}}}
"""
    id = account.run_to_end(definition.replace("[a, b]}", "[a, b], on_error: continue}"))["id"]

    told = [(line["message"], line.get("step")) for line in account.logs(id)]

    assert told == [
        ("Execution started", None), ("a", "each.1[0]/say.1"), ("no", "each.1[0]/stop.1"), ("b", "each.1[1]/say.1"),
        ("no", "each.1[1]/stop.1"), ("Execution completed", None),
    ]  # fmt: skip


def test_logs_are_filtered_by_level_and_paged(account: Client) -> None:
    id = account.run(account.new_flow(LOGGING))
    account.ended(id)

    def messages(**query: Any) -> tuple[list[str], int]:
        page = account.get(f"/api/v1/executions/{id}/logs", **query).json
        return [line["message"] for line in page["logs"]], page["total"]

    everything, total = messages()
    assert everything == ["Execution started", "one", "two", "three", "four", "Execution completed"]
    assert total == 6
    assert messages(level="debug") == (["one"], 1)
    assert messages(level="info") == (["Execution started", "two", "Execution completed"], 3)
    assert messages(level="warn") == (["three"], 1)
    assert messages(level="error") == (["four"], 1)
    assert messages(level="info", limit=1, offset=1) == (["two"], 3)
    assert messages(limit=2, offset=4) == (["four", "Execution completed"], 6)
    assert messages(offset=6) == ([], 6)


def test_lines_are_selected_by_the_attempt_that_wrote_them(account: Client, receiver: Receiver) -> None:
    script = "if (nodes.a.attempts < 3) { console.warn('no'); throw new Error('again') } console.log('yes')"
    id = account.run_to_end(
        "nodes:\n  a:\n    type: transform\n    retry: {max: 2, delay: 1ms, errors: [script]}\n"
        f"    params: {{script: {json.dumps(script)}}}\n"
    )["id"]

    def messages(**query: Any) -> list[Any]:
        found = account.get(f"/api/v1/executions/{id}/logs", **query).json["logs"]
        return [(line.get("attempt"), line["message"].rpartition(": ")[2]) for line in found]

    assert messages(attempt=1) == [(None, "no"), (None, "again")]
    assert messages(attempt=2, min_level="warn", node="a") == [(2, "no"), (2, "again")]
    assert messages(attempt=3) == [(3, "yes")]
    assert messages(attempt=4) == messages(attempt=2, level="debug") == []
    assert_error(account.get(f"/api/v1/executions/{id}/logs", attempt=0), 422)


def test_lines_are_selected_by_the_step_that_wrote_them(account: Client) -> None:
    id = account.run_to_end(
        "nodes:\n  each:\n    type: foreach\n    params: {items: [a, b, c, d, e, f, g, h, i, j, k], as: item}\n"
        '    nodes:\n      say: {type: log, params: {message: "say ${item}"}, next: end}\n'
        '      end: {type: log, params: {message: "end ${item}"}}\n'
        "    next: say\n"
        "  say: {type: log, params: {message: outside}}\n"
    )["id"]

    def messages(step: str, **query: Any) -> tuple[list[str], int]:
        page = account.get(f"/api/v1/executions/{id}/logs", step=step, **query).json
        return [line["message"] for line in page["logs"]], page["total"]

    assert messages("each.1[1]/say.1") == (["say b"], 1)
    assert messages("say.1") == (["outside"], 1)
    everything, total = messages("each.1", limit=50)
    assert sorted(everything) == sorted(f"{word} {item}" for word in ("say", "end") for item in "abcdefghijk")
    assert total == 22
    assert len(messages("each.1", offset=20)[0]) == 2
    # A text is no pattern.
    assert messages("each.%") == messages("each.1[1") == messages("each") == ([], 0)


def test_a_long_log_is_one_list_however_it_is_read(account: Client) -> None:
    flow = """nodes:
  each:
    type: foreach
    params: {items: "${Array.from({length: 130}, (_, n) => n)}"}
    nodes: {a: {type: log, params: {message: "${item}", data: {n: "${item}"}, level: "${item % 3 ? 'info' : 'warn'}"}}}
"""
    id = account.run_to_end(flow)["id"]

    def page(**query: Any) -> Any:
        reply = account.get(f"/api/v1/executions/{id}/logs", **query)
        assert reply.headers["content-type"] == "application/json"
        return reply.json

    everything = page(limit=1000)
    assert {name: everything[name] for name in ("total", "limit", "offset")} == {
        "total": 132, "limit": 1000, "offset": 0,
    }  # fmt: skip
    assert [line["data"]["n"] for line in everything["logs"][1:-1]] == list(range(130))
    for limit, offset in ((49, 0), (50, 0), (51, 0), (100, 32), (100, 33), (120, 7), (1000, 131), (1000, 132)):
        assert page(limit=limit, offset=offset)["logs"] == everything["logs"][offset : offset + limit]
    small = [line for offset in range(0, 132, 10) for line in page(offset=offset)["logs"]]
    assert small == everything["logs"]
    warnings = page(limit=1000, level="warn")
    assert warnings["total"] == 44
    assert [line["data"]["n"] for line in warnings["logs"]] == list(range(0, 130, 3))


@pytest.mark.parametrize("level", ["", "warning", "INFO", "trace", "error,warn", "%"])
def test_a_level_that_there_is_not_is_refused(account: Client, level: str) -> None:
    id = account.run(account.new_flow(SMALLEST))

    assert assert_error(account.get(f"/api/v1/executions/{id}/logs", level=level), 422)["field"] == "level"


@pytest.mark.parametrize(("name", "value"), [("limit", "0"), ("limit", "1001"), ("offset", "-1")])
def test_pages_of_logs_are_bounded(account: Client, name: str, value: str) -> None:
    id = account.run(account.new_flow(SMALLEST))

    assert assert_error(account.get(f"/api/v1/executions/{id}/logs", **{name: value}), 422)["field"] == name


def test_a_list_shows_the_beginning_of_a_long_error_and_the_execution_all_of_it(account: Client) -> None:
    long = "".join(f"{number:06}" for number in range(1000))
    definition = "nodes:\n  stop: {type: fail, params: {message: '${flow.input.message}'}}\n"
    id = account.run(account.new_flow(definition), {"message": long})
    account.ended(id)

    (listed,) = account.get("/api/v1/executions").json["executions"]

    assert listed["error"] == long[:1999] + "…"
    assert account.execution(id)["error"] == long


def test_expressions_read_the_name_that_the_flow_was_saved_under(account: Client) -> None:
    definition = (
        "metadata: {name: In the document}\n"
        'limits: {concurrency: {max: 5, key: "${flow.name}"}}\n'
        "nodes:\n"
        '  wait: {type: wait, params: {key: "${flow.name}"}, next: tell}\n'
        '  tell: {type: return, params: {value: ["${flow.name}", "${flow.name.length}"]}}\n'
    )
    flow_id = account.new_flow(definition, name="In the request")
    id = account.run(flow_id)
    account.waiting_at(id, "wait")
    # An execution keeps the name that it began with.
    account.put(f"/api/v1/flows/{flow_id}", {"name": "Renamed"})

    account.post(f"/api/v1/executions/{id}/signals/In%20the%20request", {"payload": None})

    assert account.ended(id)["result"] == ["In the request", 14]
    rerun = account.post(f"/api/v1/executions/{id}/rerun", {"from": "tell"}).json["execution_id"]
    assert account.ended(rerun)["result"] == ["Renamed", 7]


def test_a_list_shows_which_flow_node_and_error_it_was_and_how_much_was_logged(account: Client) -> None:
    flow_id = account.new_flow(
        "nodes:\n"
        "  note: {type: log, params: {message: careful, level: warn}, next: stop}\n"
        "  stop: {type: fail, params: {error: orders.none, message: There are no orders}}\n",
        name="Orders",
    )
    id = account.run(flow_id)
    account.ended(id)

    (listed,) = account.get("/api/v1/executions").json["executions"]

    assert (listed["flow_name"], listed["revision"]) == ("Orders", 1)
    assert (listed["error_type"], listed["failed_node"]) == ("orders.none", "stop")
    whole = account.get(f"/api/v1/executions/{id}/logs?limit=100").json["logs"]
    assert listed["logs"] == {level: sum(line["level"] == level for line in whole) for level in listed["logs"]}
    assert listed["logs"]["warn"] == 1
    assert listed["logs"]["error"] > 0
    account.put(f"/api/v1/flows/{flow_id}", {"name": "Other orders"})
    assert account.get(f"/api/v1/executions/{id}").json["flow_name"] == "Other orders"


def test_a_failed_execution_shows_the_completed_rerun_that_has_repaired_it(account: Client) -> None:
    flow_id = account.new_flow(
        "nodes:\n"
        "  check: {type: condition, params: {condition_script: return input.good}, next: {'true': done, 'false': no}}\n"
        "  done: {type: return, params: {value: 1}}\n"
        "  no: {type: fail, params: {error: bad, message: bad}}\n"
    )
    first = account.run(flow_id, {"good": False})
    account.ended(first)
    again = account.post(f"/api/v1/executions/{first}/rerun", {}).json["execution_id"]
    account.ended(again)
    assert "repaired_by" not in account.get(f"/api/v1/executions/{first}").json

    good = account.post(f"/api/v1/executions/{again}/rerun", {"input": {"good": True}}).json["execution_id"]
    account.ended(good)
    later = account.post(f"/api/v1/executions/{good}/rerun", {"input": {"good": False}}).json["execution_id"]
    account.ended(later)

    listed = {one["id"]: one for one in account.get("/api/v1/executions").json["executions"]}
    assert [listed[id].get("repaired_by") for id in (first, again, good, later)] == [good, good, None, None]
    assert [listed[id].get("rerun_of") for id in (first, again, good, later)] == [None, first, again, good]


def test_a_list_goes_on_with_its_cursor_while_executions_are_added(account: Client) -> None:
    flow_id = account.new_flow("nodes:\n  done: {type: return, params: {value: 1}}\n", name="Orders")
    ids = [account.run(flow_id) for _ in range(5)]

    first = account.get("/api/v1/executions?limit=2&cursor=")
    later = account.run(flow_id)
    second = account.get(f"/api/v1/executions?limit=2&cursor={first.json['next_cursor']}")
    last = account.get(f"/api/v1/executions?limit=2&cursor={second.json['next_cursor']}&count=true")

    assert first.json.keys() == {"executions", "limit", "next_cursor"}
    assert first.headers["link"] == f'</api/v1/executions?limit=2&cursor={first.json["next_cursor"]}>; rel="next"'
    shown = [one["id"] for reply in (first, second, last) for one in reply.json["executions"]]
    assert shown == ids[::-1]
    assert last.json["total"] == 6
    assert "next_cursor" not in last.json
    assert "link" not in last.headers
    by_offset = account.get("/api/v1/executions?limit=2&offset=2").json
    assert (by_offset["total"], by_offset["offset"]) == (6, 2)
    assert [one["id"] for one in by_offset["executions"]] == ids[::-1][1:3]
    oldest = account.get("/api/v1/executions?limit=2&sort=started_at").json["executions"]
    assert [one["id"] for one in oldest] == ids[:2]
    assert later not in shown
    assert_error(account.get("/api/v1/executions?cursor=&offset=1"), 422)


def test_awaited_sub_flows_have_a_parent_and_all_other_executions_have_none(account: Client, other: Client) -> None:
    part = account.new_flow(FAILING, name="Part")
    call = "{type: flow, params: {flow: Part%s}, next: {error: done, default: done}}"
    ids = [
        account.run(account.new_flow(f"nodes: {{call: {call % more}, done: {{type: return, params: {{value: 1}}}}}}"))
        for more in ("", ", wait: false")
    ]
    for id in ids:
        account.ended(id)
    awaited, started = account.get(f"/api/v1/executions?flow_id={part}&sort=started_at").json["executions"]

    found = account.get("/api/v1/executions?parent=none").json
    of_part = account.get(f"/api/v1/executions?parent=none&status=failed&flow_id={part}").json["executions"]
    plan = {"action": "rerun", "filter": {"parent": "none", "flow_id": part}}
    of_job = account.post("/api/v1/executions:batch?dry_run=true", plan).json
    of_parents = [account.get(f"/api/v1/executions?parent_id={id}").json for id in ids]
    of_both = account.get(f"/api/v1/executions?parent=none&parent_id={ids[0]}").json
    of_parent = {"action": "delete", "filter": {"parent_id": ids[0]}}
    deleted = account.post("/api/v1/executions:batch?dry_run=true", of_parent).json

    assert "parent_id" not in started
    assert [[one["id"] for one in found["executions"]] for found in (*of_parents, of_both)] == [[awaited["id"]], [], []]
    assert [found["total"] for found in (*of_parents, of_both)] == [1, 0, 0]
    assert other.get(f"/api/v1/executions?parent_id={ids[0]}").json["executions"] == []
    assert deleted["total"] == 1
    assert awaited["parent_id"] == ids[0]
    assert sorted(one["id"] for one in found["executions"]) == sorted([*ids, started["id"]])
    assert found["total"] == 3
    assert [one["id"] for one in of_part] == [started["id"]]
    assert of_job["total"] == 1
    assert_error(account.get(f"/api/v1/executions?parent={ids[0]}"), 422)


def test_executions_are_found_by_flow_status_error_time_and_rerun(account: Client) -> None:
    good = account.new_flow("nodes:\n  done: {type: return, params: {value: 1}}\n", name="Orders")
    bad = account.new_flow(FAILING, name="Returns")
    completed, failed, waiting = account.run(good), account.run(bad), account.run(account.new_flow(NAP))
    account.ended(completed), account.ended(failed)
    rerun = account.post(f"/api/v1/executions/{failed}/rerun", {}).json["execution_id"]
    account.ended(rerun)
    started_at = account.execution(failed)["started_at"]

    def found(query: str) -> set[str]:
        reply = account.get(f"/api/v1/executions?{query}")
        assert reply.status == 200, reply
        assert reply.json["total"] == len(reply.json["executions"])
        return {one["id"] for one in reply.json["executions"]}

    assert found("flow=Orders") == found(f"flow={good}") == found(f"flow_id={good}") == {completed}
    assert found("flow=nothing") == set()
    assert found("status=failed&status=completed") == found("status=failed,completed") == {completed, failed, rerun}
    assert found("error_type=orders.none") == found("node=stop") == found("unrepaired=true") == {failed, rerun}
    assert found("unrepaired=true&status=failed") == {failed, rerun}
    assert found("error_type=other") == found("trigger=none") == set()
    assert found(f"rerun_of={failed}") == {rerun}
    assert found(f"since={started_at}") == {failed, waiting, rerun}
    assert found(f"until={started_at}") == {completed}
    assert found("since=2020-01-01&until=2020-01-02") == set()
    account.new_flow(FAILING, name="Returns")
    assert_error(account.get("/api/v1/executions?flow=Returns"), 422)
    assert_error(account.get(f"/api/v1/executions?flow=Orders&flow_id={bad}"), 422)
    assert_error(account.get("/api/v1/executions?since=yesterday"), 422)
    assert_error(account.get("/api/v1/executions?unrepaired=true&status=failed,completed"), 422)
