"""The steps of an execution, as a person looks at them."""

import json
from typing import Any, Final
from urllib.parse import quote

import msgspec
import pytest

from api.shapes import assert_error
from flowrunner.api.execution_answers import FailureAnswer
from flowrunner.domain.events import ErrorValue, Failed
from flowrunner.ports.event_codec import encode_event
from support.client import Client

LOOP: Final = """
nodes:
  first: {type: transform, params: {value: "${[1, 2, 3]}"}, next: each}
  each:
    type: foreach
    params: {items: "${input}", collect: "${nodes.double.result * 10}"}
    nodes:
      double: {type: transform, params: {value: "${input * 2}"}}
    next: last
  last: {type: transform, params: {value: "${input}"}}
"""


def steps_of(client: Client, id: str, **query: Any) -> list[Any]:
    reply = client.get(f"/api/v1/executions/{id}/steps", **query)
    assert reply.status == 200, reply
    return list(reply.json["steps"])


def finished(client: Client, definition: str, input: Any = None) -> str:
    id = client.run(client.new_flow(definition), input)
    client.ended(id)
    return id


def test_each_step_has_its_input_its_result_and_its_place(account: Client) -> None:
    id = finished(account, LOOP)

    steps = steps_of(account, id)

    assert [step["step"] for step in steps] == [
        "first.1", "each.1", "each.1[0]/double.1", "each.1[1]/double.1", "each.1[2]/double.1", "last.1",
    ]  # fmt: skip
    assert {step["status"] for step in steps} == {"completed"}
    first, each, double, *_, last = steps
    assert first["input"] == {"size": 2, "value": {}}
    assert first["result"] == each["input"] == {"size": 7, "value": [1, 2, 3]}
    assert each["scopes"] == {"total": 3, "completed": 3, "failed": 0, "cancelled": 0}
    assert each["result"] == last["input"] == {"size": 10, "value": [20, 40, 60]}
    assert (double["scope"], double["parent"]) == ("each.1[0]", each["id"])
    assert (double["input"]["value"], double["result"]["value"]) == (1, 2)
    assert "scope" not in each
    assert {step["action"] for step in steps} == {"default"}


def test_a_step_is_found_by_its_name_and_by_its_scope(account: Client) -> None:
    id = finished(account, LOOP)

    (double,) = steps_of(account, id, step="each.1[1]/double.1")
    assert double["input"]["value"] == 2
    assert [step["step"] for step in steps_of(account, id, scope="")] == ["first.1", "each.1", "last.1"]
    assert steps_of(account, id, scope="each.1[1]") == [double]
    assert steps_of(account, id, scope="each.1[2]", step="each.1[1]/double.1") == []
    assert steps_of(account, id, step="each.1[9]/double.1") == []
    detail = account.get(f"/api/v1/executions/{id}/steps/{double['id']}").json
    assert (detail["input"], detail["result"], detail["step"]) == (2, 4, "each.1[1]/double.1")


MIXED: Final = """
nodes:
  each:
    type: foreach
    params: {items: [1, 2, 3, 4], on_error: collect}
    nodes:
      pick: {type: transform, params: {value: "${item}"}, next: check}
      check: {type: fail, if: "item > 2", params: {error: too.much, message: "${item} is too much"}}
    next: last
  last: {type: transform, params: {value: 1}}
"""


def test_steps_are_found_by_their_node_and_their_status(account: Client) -> None:
    id = finished(account, MIXED)

    def found(**query: Any) -> list[str]:
        return [step["step"] for step in steps_of(account, id, **query)]

    assert found(status="failed") == ["each.1[2]/check.1", "each.1[3]/check.1"]
    assert found(node="check", status="failed,skipped") == [f"each.1[{n}]/check.1" for n in range(4)]
    assert found(node="check", scope="each.1[0]") == ["each.1[0]/check.1"]
    assert found(scope="", status="completed") == ["each.1", "last.1"]
    assert found(step="last.1", status="failed") == found(node="nothing") == []
    # A page goes on within the selection.
    first = account.get(f"/api/v1/executions/{id}/steps", node="pick", limit=3).json
    rest = steps_of(account, id, node="pick", cursor=first["next_cursor"])
    assert [step["step"] for step in [*first["steps"], *rest]] == [f"each.1[{n}]/pick.1" for n in range(4)]


@pytest.mark.parametrize("query", [{"status": "done"}, {"status": ""}, {"status": "failed,"}, {"node": ""}])
def test_a_status_that_no_step_has_is_refused(account: Client, query: dict[str, str]) -> None:
    id = finished(account, LOOP)

    assert_error(account.get(f"/api/v1/executions/{id}/steps", **query), 422)


def test_pages_join_without_a_gap(account: Client) -> None:
    id = finished(account, LOOP)
    path, found = f"/api/v1/executions/{id}/steps?limit=2&cursor=", []

    while True:
        reply = account.get(path)
        found += reply.json["steps"]
        if "next_cursor" not in reply.json:
            assert "link" not in reply.headers
            break
        path = reply.headers["link"].removeprefix("<").removesuffix('>; rel="next"')
        assert path.endswith(f"limit=2&cursor={reply.json['next_cursor']}")

    assert found == steps_of(account, id)
    assert account.get(f"/api/v1/executions/{id}/steps?cursor=x").error["details"]["field"] == "cursor"


def test_long_values_are_shown_by_their_beginning_and_read_whole(account: Client) -> None:
    id = finished(account, "nodes:\n  a: {type: transform, params: {value: \"${'x'.repeat(5000)}\"}}\n")

    (step,) = steps_of(account, id)
    assert step["result"] == {"size": 5002, "text": '"' + "x" * 1023}
    path = f"/api/v1/executions/{id}/steps/{step['id']}"
    assert account.get(path).json["result"] == "x" * 5000
    raw = account.get(f"{path}/result")
    assert raw.headers["content-type"] == "application/json"
    assert raw.json == "x" * 5000
    known = account.request("GET", f"{path}/result", headers={"If-None-Match": raw.headers["etag"]})
    assert (known.status, known.body) == (304, b"")


def test_a_collected_list_is_one_result(account: Client) -> None:
    definition = LOOP.replace("[1, 2, 3]", "Array.from({length: 300}, (_, n) => n)").replace("* 10", "+ 'abcdefg'")
    id = finished(account, definition)

    (each,) = steps_of(account, id, step="each.1")

    whole = [f"{2 * n}abcdefg" for n in range(300)]
    assert each["result"]["text"].startswith('["0abcdefg","2abcdefg"')
    assert len(each["result"]["text"]) == 1024
    raw = account.get(f"/api/v1/executions/{id}/steps/{each['id']}/result")
    assert raw.json == whole
    assert each["result"]["size"] == len(raw.body)
    assert account.get(f"/api/v1/executions/{id}/steps/{each['id']}").json["result"] == whole


def test_the_list_that_all_rounds_of_a_while_collect_is_one_result(account: Client) -> None:
    definition = """
vars: {n: 0}
nodes:
  count:
    type: while
    params: {when: "vars.n < 3", collect: "${vars.n}"}
    nodes: {add: {type: set, params: {n: "${vars.n + 1}"}}}
"""
    id = finished(account, definition)

    (count,) = steps_of(account, id, step="count.1")

    assert account.get(f"/api/v1/executions/{id}/steps/{count['id']}").json["result"] == [1, 2, 3]


def test_every_attempt_of_a_step_is_shown(account: Client) -> None:
    definition = """
nodes:
  a:
    type: fail
    params: {error: busy, message: no, data: [1]}
    retry: {max: 2, delay: 1ms, errors: [busy]}
    next: {error: b}
  b: {type: fail, params: {message: end}}
"""
    id = finished(account, definition)

    first, second = steps_of(account, id)

    assert (first["status"], first["attempts"]) == ("failed", 3)
    assert first["error"] == {"type": "busy", "message": "no", "data": [1]}
    assert "result" not in first
    assert second["input"]["value"] == {}
    detail = account.get(f"/api/v1/executions/{id}/steps/{first['id']}").json
    assert [(one["attempt"], one["status"], one["error"]["type"]) for one in detail["each_attempt"]] == [
        (1, "failed", "busy"), (2, "failed", "busy"), (3, "failed", "busy"),
    ]  # fmt: skip
    assert ["retry_at" in one for one in detail["each_attempt"]] == [True, True, False]
    assert_error(account.get(f"/api/v1/executions/{id}/steps/{first['id']}/result"), 409)


def test_a_step_that_succeeds_in_the_end_shows_the_errors_of_its_attempts_alone(account: Client) -> None:
    script = "if (nodes.a.attempts < 3) { throw new Error('again') } return 1"
    id = finished(
        account,
        "nodes:\n  a:\n    type: transform\n    retry: {max: 2, delay: 1ms, errors: [script]}\n"
        f"    params: {{script: {json.dumps(script)}}}\n    next: {{default: b, error: c}}\n"
        "  b: {type: return}\n  c: {type: return}\n",
    )

    first, second = steps_of(account, id)

    assert (first["status"], first["attempts"], first["result"]["value"]) == ("completed", 3, 1)
    assert "error" not in first
    assert second["step"] == "b.1"
    detail = account.get(f"/api/v1/executions/{id}/steps/{first['id']}").json
    assert "error" not in detail
    assert ["error" in one for one in detail["each_attempt"]] == [True, True, False]


def test_a_step_shows_what_it_waits_for_and_who_answered(account: Client) -> None:
    ask = "nodes:\n  ask: {type: approval, params: {prompt: Ship?, form: {type: object}}}\n"
    id = account.run(account.new_flow(ask))
    account.until_it_waits(id)

    (step,) = steps_of(account, id)
    assert step["status"] == "waiting"
    assert step["wait"]["waiting_for"] == {
        "type": "approval", "prompt": "Ship?", "form": {"type": "object"}, "until": None,
    }  # fmt: skip
    assert "received" not in step["wait"]

    account.post(f"/api/v1/executions/{id}/approvals/ask", {"approved": True, "data": {"note": "go"}})
    account.ended(id)
    (step,) = steps_of(account, id)
    assert step["status"] == "completed"
    received = step["wait"]["received"]
    assert received["by"] == account.account_id
    assert received["payload"]["value"]["data"] == {"note": "go"}
    assert account.get(f"/api/v1/executions/{id}/steps/{step['id']}").json["waits"] == [step["wait"]]


def test_open_steps_of_a_cancelled_execution_are_cancelled(account: Client) -> None:
    definition = """
nodes:
  both:
    type: parallel
    branches:
      left:
        nodes: {nap: {type: delay, params: {duration: 1h}}}
      right:
        nodes: {quick: {type: transform, params: {value: 1}}}
"""
    id = account.run(account.new_flow(definition))
    account.until_it_waits(id)
    before = {step["step"]: step["status"] for step in steps_of(account, id)}
    account.delete(f"/api/v1/executions/{id}")
    account.ended(id)

    assert before["both.1"] == "running"
    assert before["both.1[left]/nap.1"] == "waiting"
    after = {step["step"]: step["status"] for step in steps_of(account, id)}
    assert after == {"both.1": "cancelled", "both.1[left]/nap.1": "cancelled", "both.1[right]/quick.1": "completed"}


def test_the_graph_has_the_states_of_the_latest_runs_and_the_edges_that_were_taken(account: Client) -> None:
    definition = """
nodes:
  check: {type: switch, params: {cases: [{when: "true", action: "yes"}]}, next: {"yes": each, default: never}}
  each:
    type: foreach
    params: {items: "${[1, 2]}"}
    nodes:
      a: {type: transform, params: {value: 1}, next: b}
      b: {type: transform, params: {value: 2}}
    next: broken
  broken: {type: fail, params: {error: http.404, message: no}, next: {error.http: never, error.http.404: caught}}
  caught: {type: transform, params: {value: 1}}
  never: {type: transform, params: {value: 1}}
"""
    id = finished(account, definition)

    graph = account.get(f"/api/v1/executions/{id}/graph").json

    nodes = {node["id"]: node for node in graph["nodes"]}
    assert set(nodes) == {"check", "each", "each/a", "each/b", "broken", "caught", "never"}
    assert [name for name, node in nodes.items() if node["is_start"]] == ["check", "each/a"]
    assert (nodes["each/a"]["parent"], nodes["each/a"]["runs"]) == ("each", {"completed": 2})
    assert (nodes["broken"]["status"], nodes["caught"]["status"]) == ("failed", "completed")
    assert "status" not in nodes["never"]
    taken = {(edge["source"], edge["target"]): (edge["action"], edge["taken"]) for edge in graph["edges"]}
    assert taken == {
        ("check", "each"): ("yes", 1),
        ("check", "never"): ("default", 0),
        ("each/a", "each/b"): ("default", 2),
        ("each", "broken"): ("default", 1),
        # The most particular one.
        ("broken", "caught"): ("error.http.404", 1),
        ("broken", "never"): ("error.http", 0),
    }
    latest = account.get(f"/api/v1/executions/{id}/steps/{nodes['each/b']['step']}").json
    assert latest["step"] == "each.1[1]/b.1"


@pytest.mark.parametrize("part", ["steps", "steps/3", "steps/3/result", "graph"])
def test_steps_of_another_account_do_not_exist(account: Client, other: Client, part: str) -> None:
    id = finished(account, LOOP)

    assert_error(other.get(f"/api/v1/executions/{id}/{part}"), 404)
    assert_error(account.get(f"/api/v1/executions/exec-1/{part}"), 404)
    assert account.get(f"/api/v1/executions/{id}/{part}").status == 200


def test_a_step_that_does_not_exist_is_not_found(account: Client) -> None:
    id = finished(account, LOOP)

    for number in (1, 10**9):
        assert_error(account.get(f"/api/v1/executions/{id}/steps/{number}"), 404)
    assert_error(account.get(f"/api/v1/executions/{id}/steps/x"), 422)


def test_steps_in_handlers_and_rerun_steps_are_steps_too(account: Client) -> None:
    definition = """
on_finish: tidy
nodes:
  a: {type: transform, params: {value: 1}, next: b}
  b: {type: fail, params: {message: no}}
  tidy: {type: transform, params: {value: "${execution.status}"}}
"""
    id = finished(account, definition)
    again = account.post(f"/api/v1/executions/{id}/rerun", {"from": "b"}).json["execution_id"]
    account.ended(again)

    for one in (id, again):
        assert [(step["step"], step.get("scope"), step["status"]) for step in steps_of(account, one)] == [
            ("a.1", None, "completed"), ("b.1", None, "failed"), ("on_finish/tidy.1", "on_finish", "completed"),
        ]  # fmt: skip
    assert account.get(f"/api/v1/executions/{id}/steps?step={quote('on_finish/tidy.1')}").json["steps"]


def test_a_view_of_an_execution_shortens_its_values(account: Client) -> None:
    long = "nodes:\n  a: {type: transform, params: {value: \"${'x'.repeat(100000)}\"}}\n"
    path = f"/api/v1/executions/{finished(account, long)}"

    full = account.get(path).json
    assert account.get(path, view="full").json == full
    preview = account.get(path, view="preview").json
    assert preview == full | {
        "input": {"size": 2, "value": {}}, "result": {"size": 100_002, "text": '"' + "x" * (64 * 1024 - 1)},
    }  # fmt: skip
    summary = account.get(path, view="summary").json
    assert summary == full | {"input": {"size": 2}, "result": {"size": 100_002}}
    assert account.get(path, view="all").error["details"]["field"] == "view"


def test_a_view_shortens_the_values_of_a_failure(account: Client) -> None:
    id = finished(account, "nodes:\n  a: {type: fail, params: {message: no, data: [1]}}\n", {"n": 1})

    failure = account.get(f"/api/v1/executions/{id}", view="preview").json["failure"]

    assert (failure["input"], failure["data"]) == ({"size": 7, "value": {"n": 1}}, {"size": 3, "value": [1]})


def test_the_values_of_a_failure_are_sent_as_they_are_stored_without_decoding_them() -> None:
    error = ErrorValue(type="busy", message="no", node="a", data=[1.0])
    stored = encode_event(Failed(error=error, step="a.1", attempt=2, input={"n": None}))

    failure = FailureAnswer.of(stored)

    assert (bytes(failure.input), bytes(failure.data)) == (b'{"n":null}', b"[1.0]")
    without = FailureAnswer.of(encode_event(Failed(error=ErrorValue(type="internal", message="x"))))
    assert msgspec.to_builtins(without) == {"type": "internal", "message": "x"}
