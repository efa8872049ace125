"""One attempt of a node of a definition that is not saved, over REST."""

from typing import Any, Final

import pytest

from api.shapes import assert_error
from support.client import Client
from support.receiver import Receiver

TRY: Final = "/api/v1/nodes/try"
FLOW: Final = """vars: {rate: 2}
nodes:
  fetch:
    type: http.request
    params: {url: 'URL/ok', headers: {X-Key: '${secrets.API_KEY}'}}
    next: {default: sum, error: sorry}
  sum:
    type: transform
    params: {value: {all: '${nodes.fetch.result.n * vars.rate + input.n}', order: '${flow.input.order}'}}
    output: ${result.all}
    next: each
  each:
    type: foreach
    params: {items: '${input}', as: order}
    nodes:
      line: {type: log, params: {message: '${index}: ${order.id} ${item.id}', level: warn}}
    next: both
  both:
    type: parallel
    branches:
      left: {nodes: {nap: {type: delay, params: {duration: 1h}}}}
    next: maybe
  maybe: {type: log, if: input.is_big, params: {message: big}, next: again}
  again: {type: log, params: {message: '${nodes.again.result}'}, next: {default: call, error: again}}
  call: {type: flow, params: {flow: Other}, next: ask}
  ask: {type: approval, params: {prompt: 'Ship ${input.id}?'}, next: {approved: crash, rejected: sorry}}
  crash: {type: transform, params: {script: 'console.log("on it"); throw new Error("oops")'}}
  sorry: {type: transform, params: {value: '${error.type} at ${error.node}'}}
"""


def definition(receiver: Receiver) -> str:
    return FLOW.replace("URL", receiver.url)


def trial(account: Client, node: str, **given: Any) -> Any:
    reply = account.post(TRY, {"definition": FLOW.replace("URL", "http://127.0.0.1:1"), "node": node, **given})
    assert reply.status == 200, reply
    return reply.json


@pytest.mark.parametrize(
    ("node", "hint"),
    [
        ("line", "did you mean 'each/line'?"),
        ("nap", "did you mean 'both[left]/nap'?"),
        ("fetsh", "did you mean 'fetch'?"),
        ("zzz", "name it by its path: push, each/push"),
    ],
)
def test_a_node_that_is_not_there_is_answered_with_the_path_that_may_be_meant(
    account: Client, node: str, hint: str
) -> None:
    reply = account.post(TRY, {"definition": FLOW.replace("URL", "http://127.0.0.1:1"), "node": node})

    assert assert_error(reply, 422)["errors"][0]["hint"] == hint


def test_a_node_runs_with_the_values_that_are_given(account: Client) -> None:
    found = trial(
        account, "sum", input={"n": 1}, results={"fetch": {"n": 5}}, vars={"rate": 8}, flow_input={"order": 7}
    )

    assert (found["status"], found["action"], found["result"]) == ("completed", "default", 41)
    assert found["params"] == {"value": {"all": 41, "order": 7}}
    assert found["has_effects"] is False
    assert found["duration"] >= 0


def test_a_request_is_sent_and_shows_no_secret(account: Client, receiver: Receiver) -> None:
    account.new_secret("API_KEY", "a-quite-secret-key")

    reply = account.post(TRY, {"definition": definition(receiver), "node": "fetch"})

    assert reply.json["status"] == "completed", reply
    assert reply.json["has_effects"] is True
    assert reply.json["params"]["headers"] == {"X-Key": "***"}
    assert b"a-quite-secret-key" not in reply.body


def test_an_error_is_the_result_of_a_trial(account: Client) -> None:
    missing = trial(account, "fetch")
    crashed = trial(account, "crash")

    assert missing["status"] == "failed"
    assert missing["error"]["type"] == "expression"
    assert "API_KEY" in missing["error"]["message"]
    assert missing["params"] is None
    assert (crashed["error"]["type"], crashed["error"]["node"]) == ("script", "crash")
    assert "oops" in crashed["error"]["message"]


def test_a_node_of_an_error_edge_reads_the_error(account: Client) -> None:
    found = trial(account, "sorry", error={"type": "http.503", "message": "busy", "node": "fetch"})

    assert found["result"] == "http.503 at fetch"


def test_a_node_in_a_loop_reads_the_element(account: Client) -> None:
    found = trial(account, "each/line", item={"id": "o-1"}, index=4)

    (line,) = found["logs"]
    assert (line["level"], line["message"]) == ("warn", "4: o-1 o-1")
    assert found["status"] == "completed"


def test_a_while_reads_the_number_of_its_round(account: Client) -> None:
    node = "{type: while, params: {when: index === 0}, nodes: {a: {type: log, params: {message: m}}}}"

    reply = account.post(TRY, {"definition": f"nodes: {{poll: {node}}}", "node": "poll"})

    assert (reply.status, reply.json["status"], reply.json.get("scopes")) == (200, "opened", ["0"]), reply


def test_a_node_reads_its_own_previous_result(account: Client) -> None:
    assert trial(account, "again", results={"again": "before"})["params"] == {"message": "before"}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("[before]", None),
        ("", None),
        ("a/b", None),
        ("each.1[0]", "did you mean 'each'?"),
        ("line", None),
        ("fetsh", "did you mean 'fetch'?"),
    ],
)
def test_a_result_of_what_is_no_node_is_a_fault_before_the_node_runs(
    account: Client, receiver: Receiver, name: str, hint: str | None
) -> None:
    body = {"definition": FLOW.replace("URL", receiver.url), "node": "fetch", "results": {name: 3, "sum": 1}}
    before = receiver.effects()

    reply = account.post(TRY, body)

    (fault,) = assert_error(reply, 422)["errors"]
    assert (fault["path"], fault["code"], fault.get("hint")) == ("results", "unknown_node", hint)
    assert receiver.effects() == before


def test_a_node_in_a_scope_reads_results_of_the_nodes_around_it(account: Client) -> None:
    found = trial(account, "each/line", item={"id": "o-1"}, index=4, results={"fetch": {"n": 5}, "line": 1})

    assert found["status"] == "completed"


@pytest.mark.parametrize(
    ("node", "given", "wanted"),
    [
        ("both[left]/nap", {}, {"status": "waiting"}),
        ("ask", {"input": {"id": 3}}, {"status": "waiting"}),
        ("each", {"input": [1, 2]}, {"status": "opened", "scopes": ["0", "1"]}),
        ("both", {}, {"status": "opened", "scopes": ["left"]}),
        ("maybe", {"input": {"is_big": False}}, {"status": "skipped", "action": "skipped"}),
    ],
)
def test_nothing_waits_and_no_inner_node_runs(
    account: Client, node: str, given: dict[str, Any], wanted: dict[str, Any]
) -> None:
    found = trial(account, node, **given)

    assert found | wanted == found
    if node == "ask":
        assert found["wait"]["waiting_for"]["prompt"] == "Ship 3?"


@pytest.mark.parametrize("node", ["nothing", "each", "line", "call", "each/", ""])
def test_what_cannot_be_tried_is_a_fault_of_the_request(account: Client, node: str) -> None:
    reply = account.post(TRY, {"definition": FLOW if node != "each" else "nodes: {each: {type: nope}}", "node": node})

    assert_error(reply, 422)


def test_trials_need_the_rights_to_change_and_to_run_flows(admin: Client, account: Client, receiver: Receiver) -> None:
    body = {"definition": definition(receiver), "node": "maybe", "input": {"is_big": True}}
    for scopes, status in ((["write"], 403), (["run"], 403), (["read"], 403), (["write", "run"], 200)):
        token = account.post("/api/v1/tokens", {"name": "N", "scopes": scopes}).json["token"]
        assert Client(account.url, token).post(TRY, body).status == status, scopes
    assert_error(admin.new_account("viewer").post(TRY, body), 403)


def test_a_trial_reads_the_secrets_of_the_workspace_where_it_acts(account: Client, other: Client) -> None:
    account.new_secret("SHARED", "only-of-the-first")
    text = "nodes: {a: {type: transform, params: {value: '${secrets.SHARED}'}}}"

    theirs = other.post(TRY, {"definition": text, "node": "a"}).json

    assert theirs["status"] == "failed"
    assert "no secret" in theirs["error"]["message"]


def test_a_trial_is_no_execution_and_is_in_the_audit_log(admin: Client, account: Client) -> None:
    trial(account, "maybe", input={"is_big": True})

    assert account.get("/api/v1/executions").json["total"] == 0
    (entry,) = admin.get("/api/v1/audit", action="node.tried", actor=account.account_id).json["entries"]
    assert entry["object"] == {"kind": "node_type", "id": "log"}


def test_a_node_in_a_branch_in_a_loop_reads_the_element_of_the_loop(account: Client) -> None:
    nested = """nodes:
  outer:
    type: foreach
    params: {items: [1]}
    nodes:
      each:
        type: foreach
        params: {items: [1], as: order}
        nodes:
          both:
            type: parallel
            branches:
              left: {nodes: {line: {type: log, params: {message: '${index}: ${order.id} ${item.id}'}}}}
"""
    reply = account.post(
        TRY, {"definition": nested, "node": "outer/each/both[left]/line", "item": {"id": "o-1"}, "index": 4}
    )

    assert reply.status == 200, reply
    assert [line["message"] for line in reply.json["logs"]] == ["4: o-1 o-1"]
