"""What an execution's events say over a WebSocket."""

import json
from typing import Any

from api.live import chain, waiting
from api.shapes import SMALLEST, moment
from support.client import Client
from support.receiver import Receiver


def test_a_completed_execution_is_told_in_the_messages_of_the_reference(account: Client, receiver: Receiver) -> None:
    definition = f"""nodes:
  start: {{type: http.request, params: {{url: "{receiver.url}/ok"}}, next: end}}
  end: {{type: return, params: {{value: {{output: value}}}}}}
"""
    id = account.run(account.new_flow(definition))

    messages = account.messages(id)

    for message in messages:
        assert message["execution_id"] == id
        moment(message["timestamp"])
    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
    update = next(m for m in messages if m["type"] == "execution_update")
    assert update.keys() == {"type", "execution_id", "seq", "status", "node_id", "node_type", "timestamp"}
    assert (update["status"], update["node_id"], update["node_type"]) == ("running", "start", "http.request")
    node = next(m for m in messages if m["type"] == "node_completed")
    assert node.keys() == {
        "type", "execution_id", "seq", "node_id", "node_type", "step", "action", "result", "timestamp"
    }  # fmt: skip
    assert (node["node_id"], node["node_type"], node["step"]) == ("start", "http.request", "start.1")
    assert node["result"]["status_code"] == 200
    assert node["result"]["body"] == {"key": "value"}
    log = next(m for m in messages if m["type"] == "log" and m["message"] == "HTTP request successful")
    assert log.keys() == {
        "type", "execution_id", "seq", "level", "message", "node_id", "node_type", "step", "data", "timestamp"
    }  # fmt: skip
    assert (log["level"], log["node_id"], log["node_type"]) == ("info", "start", "http.request")
    assert log["data"] == {"status_code": 200, "url": f"{receiver.url}/ok"}
    last = messages[-1]
    assert last.keys() == {"type", "execution_id", "seq", "status", "result", "timestamp"}
    assert (last["type"], last["status"], last["result"]) == ("execution_completed", "completed", {"output": "value"})


def test_a_loop_that_collects_tells_that_it_has_a_list(account: Client) -> None:
    definition = """nodes:
  each:
    type: foreach
    params: {items: [1, 2], collect: "${result}"}
    nodes: {a: {type: return, params: {value: "${item}"}}}
"""
    id = account.run(account.new_flow(definition))

    node, last = [m for m in account.messages(id) if m["type"] in ("node_completed", "execution_completed")][-2:]
    assert (node["node_id"], node["result"], node["collected"]) == ("each", None, True)
    assert last["result"] == [1, 2]


def test_a_skipped_node_is_told_as_such(account: Client) -> None:
    definition = """nodes:
  a: {type: transform, if: "${false}", params: {value: 1}, next: b}
  b: {type: transform, params: {value: 2}}
"""
    id = account.run(account.new_flow(definition))

    completed = [m for m in account.messages(id) if m["type"] == "node_completed"]

    assert [(m["node_id"], m.get("skipped")) for m in completed] == [("a", True), ("b", None)]


def test_a_failed_execution_is_told_as_in_the_reference(account: Client, receiver: Receiver) -> None:
    definition = f'nodes:\n  start: {{type: http.request, params: {{url: "{receiver.url}/status/500"}}}}\n'
    id = account.run(account.new_flow(definition))

    last = account.messages(id)[-1]

    assert last.keys() >= {"type", "execution_id", "seq", "status", "error", "node_id", "node_type", "timestamp"}
    assert (last["type"], last["status"]) == ("execution_failed", "failed")
    assert last["error"] == "HTTP request failed with status 500"
    assert (last["node_id"], last["node_type"]) == ("start", "http.request")


def test_a_cancelled_execution_is_told_and_the_socket_closed(account: Client) -> None:
    id = waiting(account)
    with account.watch(id) as connection:
        account.delete(f"/api/v1/executions/{id}")
        messages = [json.loads(text) for text in connection]

    assert messages[-1]["type"] == "execution_update"
    assert messages[-1]["status"] == "cancelled"
    assert connection.close_code == 1000


def test_an_ended_execution_is_replayed_and_the_socket_closed(account: Client) -> None:
    id = account.run(account.new_flow(SMALLEST))
    account.ended(id)

    first, second = account.messages(id), account.messages(id)

    assert first == second
    assert [message["seq"] for message in first] == list(range(1, len(first) + 1))
    assert first[-1]["type"] == "execution_completed"


def test_large_events_are_replayed_one_page_after_the_other(account: Client) -> None:
    large = "type: transform, params: {script: \"return 'x'.repeat(200_000)\"}"
    id = account.run(account.new_flow(chain(*[large] * 5, "type: return, params: {value: 1}")))
    account.ended(id)

    messages = account.messages(id)

    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
    results = [message["result"] for message in messages if message["type"] == "node_completed"]
    assert [len(str(result)) for result in results] == [200_000] * 5 + [1]
    assert messages[-1]["type"] == "execution_completed"


def test_live_messages_are_the_ones_that_are_replayed(account: Client) -> None:
    id = account.run(account.new_flow(chain("type: delay, params: {duration: 300ms}", "type: return")))

    live = account.messages(id)

    assert live == account.messages(id)
    assert any(message.get("waiting_for") == {"type": "delay"} for message in live)


def test_logs_are_the_same_over_rest_and_live(account: Client) -> None:
    id = account.run(account.new_flow(chain("type: log, params: {message: hello, data: [1]}", "type: return")))
    messages = [message for message in account.messages(id) if message["type"] == "log"]

    names = ("timestamp", "level", "message", "node_id", "node_type", "step", "data")
    assert account.logs(id) == [{name: message[name] for name in names if name in message} for message in messages]


# What has no message of its own in the reference is an update of the execution


def updates(account: Client, id: str) -> list[Any]:
    """What the messages of an execution tell, but for the logs and what is the same in each."""
    left_out = ("type", "execution_id", "seq", "timestamp", "node_type")
    return [
        {name: value for name, value in message.items() if name not in left_out}
        for message in account.messages(id)
        if message["type"] == "execution_update"
    ]


def test_a_wait_tells_what_for_and_the_signal_that_it_has_come(account: Client) -> None:
    id = account.run(account.new_flow("nodes:\n  paid: {type: wait, params: {key: a/b, timeout: 1h}}\n"))
    until = account.waiting_at(id, "paid")["waiting_for"][0]["until"]
    with account.watch(id) as connection:
        assert account.post(f"/api/v1/executions/{id}/signals/a/b", {"payload": 7}).status == 200
        live = [json.loads(text) for text in connection]

    assert live == account.messages(id)
    assert updates(account, id) == [
        {"status": "running", "node_id": "paid"},
        {"status": "running", "node_id": "paid", "step": "paid.1", "attempt": 1},
        {
            "status": "waiting", "node_id": "paid", "step": "paid.1", "until": until,
            "waiting_for": {"type": "signal", "key": "a/b"},
        },
        {"status": "running", "received": {"type": "signal", "key": "a/b", "by": account.account_id}},
    ]  # fmt: skip
    assert live[-3]["result"] == 7


def test_an_approval_tells_what_is_asked_and_who_has_answered(account: Client) -> None:
    id = account.run(account.new_flow("nodes:\n  ask: {type: approval, params: {prompt: Push?}}\n"))
    account.waiting_at(id, "ask")
    account.post(f"/api/v1/executions/{id}/approvals/ask", {"approved": True})
    account.ended(id)

    *_, waiting, received = updates(account, id)
    assert waiting == {
        "status": "waiting", "node_id": "ask", "step": "ask.1", "waiting_for": {"type": "approval", "prompt": "Push?"}
    }  # fmt: skip
    assert received["received"] == {"type": "approval", "step": "ask.1", "by": account.account_id}


def test_a_loop_tells_of_each_of_its_runs(account: Client) -> None:
    definition = """nodes:
  each:
    type: foreach
    params: {items: [1, 2], on_error: continue}
    nodes:
      check: {type: switch, params: {cases: [{when: "item == 2", action: bad}]}, next: {bad: stop}}
      stop: {type: fail, params: {message: not two}}
"""
    id = account.run_to_end(definition)["id"]

    told = [u for u in updates(account, id) if u.keys() & {"scopes", "scope_outcome"}]
    assert told == [
        {"status": "running", "node_id": "each", "step": "each.1", "scopes": 2},
        {"status": "running", "scope": "each.1[0]", "scope_outcome": "completed"},
        {"status": "running", "scope": "each.1[1]", "scope_outcome": "failed", "error": "not two"},
    ]
    steps = [(m["step"], m.get("scope")) for m in account.messages(id) if m["type"] == "node_completed"]
    assert steps == [("each.1[0]/check.1", "each.1[0]"), ("each.1[1]/check.1", "each.1[1]"), ("each.1", None)]


def test_a_step_that_runs_again_and_again_is_told_by_its_number(account: Client) -> None:
    definition = """vars: {n: 0}
nodes:
  count: {type: set, params: {n: "${vars.n + 1}"}, next: enough}
  enough: {type: switch, params: {cases: [{when: "vars.n < 3", action: again}]}, next: {again: count}}
"""
    id = account.run_to_end(definition)["id"]

    steps = [message["step"] for message in account.messages(id) if message["type"] == "node_completed"]
    assert steps == ["count.1", "enough.1", "count.2", "enough.2", "count.3", "enough.3"]


def test_a_try_that_failed_tells_why_and_when_the_next_one_is(account: Client, receiver: Receiver) -> None:
    definition = (
        f"nodes:\n  a: {{type: http.request, params: {{url: '{receiver.url}/status/503'}},"
        " retry: {max: 1, delay: 100ms, jitter: 0}}\n"
    )
    id = account.run_to_end(definition)["id"]

    _, first, failed, second, last = updates(account, id)
    assert (first["attempt"], second["attempt"]) == (1, 2)
    moment(failed.pop("retry_at"))
    message = "HTTP request failed with status 503"
    assert failed == {"status": "running", "node_id": "a", "step": "a.1", "attempt": 1, "error": message}
    assert last == {"status": "running", "node_id": "a", "step": "a.1", "attempt": 2, "error": message}


def test_a_sub_flow_tells_which_execution_it_is(account: Client) -> None:
    inner = account.new_flow("nodes:\n  r: {type: return, params: {value: 1}}\n")
    id = account.run_to_end(f"nodes:\n  call: {{type: flow, params: {{flow: {inner}}}}}\n")["id"]
    (child,) = account.get("/api/v1/executions", flow_id=inner).json["executions"]

    told = {
        name: update[name] for update in updates(account, id) for name in ("waiting_for", "received") if name in update
    }
    assert told == {
        "waiting_for": {"type": "flow", "execution_id": child["id"], "flow_id": inner},
        "received": {"type": "flow", "execution_id": child["id"]},
    }


def test_an_execution_that_waits_for_a_concurrency_slot_says_so(account: Client) -> None:
    definition = "limits: {concurrency: {max: 1}}\nnodes:\n  go: {type: wait, params: {key: go}}\n"
    flow_id = account.new_flow(definition)
    first, second = account.run(flow_id), account.run(flow_id)
    account.waiting_at(first, "go")
    assert account.execution(second)["waiting_for"] == [{"type": "concurrency", "until": None}]
    listed = {one["id"]: one for one in account.get("/api/v1/executions", flow_id=flow_id).json["executions"]}
    assert [(listed[id]["status"], listed[id]["waiting_at"]) for id in (first, second)] == [
        ("waiting", {"type": "signal", "node": "go"}),
        ("running", {"type": "concurrency"}),
    ]

    for id in (first, second):
        account.waiting_at(id, "go")
        account.post(f"/api/v1/executions/{id}/signals/go")
        account.ended(id)

    assert updates(account, second)[:2] == [{"status": "running", "node_id": "go"}, {"status": "running"}]
