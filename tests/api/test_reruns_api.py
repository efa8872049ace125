"""Executions that repeat another one: whole, with other input, or from any of its steps on."""

from typing import Any, Final

import pytest

from api.shapes import SMALLEST, assert_error, assert_recent
from support.client import Client, Reply
from support.receiver import Receiver

CHAIN: Final = """nodes:
  first: {{type: http.request, params: {{url: "{url}"}}, output: "${{flow.input.n}}", next: second}}
  second: {{type: switch, params: {{cases: [{{when: "flow.input.ok", action: yes}}]}}, next: {{yes: done, default: stop}}}}
  done: {{type: return, params: {{value: [\"${{nodes.first.result}}\", \"${{flow.input.n}}\"]}}}}
  stop: {{type: fail, params: {{error: not.ok, message: It is not ok}}}}
"""  # noqa: E501


def rerun(account: Client, id: str, body: Any = None, **headers: str) -> Reply:
    return account.post(f"/api/v1/executions/{id}/rerun", body, **headers)


def rerun_to_end(account: Client, id: str, body: Any = None) -> Any:
    reply = rerun(account, id, body)
    assert reply.status == 201, reply
    return account.ended(reply.json["execution_id"])


def steps(account: Client, id: str) -> list[str]:
    """The steps that ran in an execution, in the order they were completed in."""
    return [message["step"] for message in account.messages(id) if message["type"] == "node_completed"]


# Whole


def test_an_execution_names_the_account_that_has_started_it(account: Client, admin: Client) -> None:
    member = admin.new_account()
    account.post(f"/api/v1/workspaces/{account.account_id}/members", {"account": member.email, "role": "operator"})
    flow_id = account.new_flow(
        "triggers: {daily: {type: schedule, cron: '0 6 * * *'}, asked: {type: webhook, verify: {scheme: none}}}\n"
        "nodes: {r: {type: return, params: {value: 1}}}\n"
    )
    first = account.ended(account.run(flow_id))["id"]
    path = f"/api/v1/executions/{first}/rerun"
    again = member.post(path, {}, Flowrunner_Workspace=account.account_id).json["execution_id"]
    triggers = {each["name"]: each for each in account.get("/api/v1/triggers", flow_id=flow_id).json["triggers"]}
    fired = account.post(f"/api/v1/triggers/{triggers['daily']['id']}/run").json["execution_id"]
    hooked = account.post(triggers["asked"]["url"], {}).json["execution_id"]

    started_by = {first: account.account_id, again: member.account_id, fired: account.account_id, hooked: None}
    assert {id: account.execution(id).get("started_by") for id in started_by} == started_by
    listed = account.get("/api/v1/executions", flow_id=flow_id).json["executions"]
    assert {each["id"]: each.get("started_by") for each in listed} == started_by


def test_a_rerun_is_an_execution_of_its_own_that_names_the_one_it_repeats(account: Client) -> None:
    flow_id = account.new_flow("nodes:\n  r: {type: return, params: {value: '${flow.input}'}}\n")
    first = account.ended(account.run(flow_id, {"a": [1, "2"]}))

    reply = rerun(account, first["id"])

    assert reply.status == 201
    assert reply.json.keys() == {"execution_id", "flow_id", "status", "created_at", "revision"}
    assert (reply.json["flow_id"], reply.json["status"]) == (flow_id, "running")
    assert_recent(reply.json["created_at"])
    second = account.ended(reply.json["execution_id"])
    assert second["id"] != first["id"]
    assert second["rerun_of"] == first["id"]
    assert {k: second[k] for k in ("input", "result", "revision")} == {
        k: first[k] for k in ("input", "result", "revision")
    }
    assert account.execution(first["id"]) == first, "the one it repeats stays as it is"
    assert "rerun_of" not in first


def test_a_rerun_takes_other_input(account: Client) -> None:
    first = account.run_to_end("nodes:\n  r: {type: return, params: {value: '${flow.input}'}}\n", {"a": 1, "b": 1})

    assert rerun_to_end(account, first["id"], {"input": {"a": 2}})["result"] == {"a": 2}
    assert rerun_to_end(account, first["id"], {"input": {}})["result"] == {}


def test_other_input_is_checked_like_any(account: Client) -> None:
    definition = (
        "inputs: {n: {type: integer, default: 7}}\nnodes:\n  r: {type: return, params: {value: '${flow.input.n}'}}\n"
    )
    first = account.run_to_end(definition)

    details = assert_error(rerun(account, first["id"], {"input": {"n": "x"}}), 422)
    assert details["field"] == "input.n"
    assert rerun_to_end(account, first["id"], {"input": {}})["result"] == 7


def test_a_failed_execution_tells_where_it_failed_and_with_what(account: Client, receiver: Receiver) -> None:
    id = account.run(account.new_flow(CHAIN.format(url=f"{receiver.url}/ok/f")), {"n": 5})

    execution = account.ended(id)

    assert execution["error"] == "It is not ok"
    assert execution["failure"] == {
        "type": "not.ok", "message": "It is not ok", "node": "stop", "step": "stop.1", "attempt": 1, "input": 5,
    }  # fmt: skip


# From a step


def test_what_came_before_the_step_is_kept_and_does_not_run_again(account: Client, receiver: Receiver) -> None:
    path = f"/ok/{account.account_id}"
    flow_id = account.new_flow(CHAIN.format(url=receiver.url + path))
    first = account.ended(account.run(flow_id, {"n": 1, "ok": False}))

    second = rerun_to_end(account, first["id"], {"from": "second", "input": {"n": 2, "ok": True}})

    assert second["result"] == [1, 2], "the first node's result is the one of then"
    assert len(receiver.effects(path)) == 1
    assert steps(account, second["id"]) == ["first.1", "second.1", "done.1"]


@pytest.mark.parametrize(
    ("step", "again"),
    [("a", ["a", "b", "c"]), ("b", ["b", "c"]), ("c", ["c"]), ("c.1", ["c"]), ("a.1", ["a", "b", "c"])],
)
def test_a_rerun_begins_at_any_node(account: Client, receiver: Receiver, step: str, again: list[str]) -> None:
    path = f"/ok/{account.account_id}"
    definition = "nodes:\n" + "".join(
        f'  {name}: {{type: webhook, params: {{url: "{receiver.url}{path}/{name}"}}{follows}}}\n'
        for name, follows in (("a", ", next: b"), ("b", ", next: c"), ("c", ""))
    )
    first = account.run_to_end(definition)

    second = rerun_to_end(account, first["id"], {"from": step})

    assert second["status"] == "completed"
    ran = {name: len(receiver.effects(f"{path}/{name}")) for name in "abc"}
    assert ran == {name: 1 + (name in again) for name in "abc"}


def test_of_a_node_that_ran_often_the_last_run_is_meant_or_the_one_that_is_named(account: Client) -> None:
    definition = """vars: {n: 0}
nodes:
  count: {type: set, params: {n: "${vars.n + 1}"}, next: enough}
  enough: {type: switch, params: {cases: [{when: "vars.n < 3", action: again}]}, next: {again: count, default: done}}
  done: {type: return, params: {value: "${vars.n}"}}
"""
    first = account.run_to_end(definition)
    assert first["result"] == 3

    for step, wanted in (
        ("count", ["count.1", "enough.1", "count.2", "enough.2", "count.3", "enough.3", "done.1"]),
        ("count.2", ["count.1", "enough.1", "count.2", "enough.2", "count.3", "enough.3", "done.1"]),
        ("count.1", ["count.1", "enough.1", "count.2", "enough.2", "count.3", "enough.3", "done.1"]),
    ):
        second = rerun_to_end(account, first["id"], {"from": step})
        assert second["result"] == 3, step
        assert steps(account, second["id"]) == wanted, step


EACH: Final = """nodes:
  each:
    type: foreach
    params: {{items: [0, 1, 2, 3], on_error: collect}}
    nodes:
      push: {{type: webhook, params: {{url: "{url}", body: "${{item}}"}}, next: check}}
      check: {{type: switch, params: {{cases: [{{when: "item == 2 && !flow.input.ok", action: bad}}]}}, next: {{bad: stop}}}}
      stop: {{type: fail, params: {{message: not this one}}}}
    output: "${{result.map(r => r?.error ? r.error.message : 'ok')}}"
"""  # noqa: E501


def test_in_a_loop_the_other_elements_keep_their_results(account: Client, receiver: Receiver) -> None:
    path = f"/ok/{account.account_id}"
    first = account.run_to_end(EACH.format(url=receiver.url + path))
    assert first["result"] == ["ok", "ok", "not this one", "ok"]
    assert len(receiver.effects(path)) == 4

    second = rerun_to_end(account, first["id"], {"from": "each.1[2]/check.1", "input": {"ok": True}})
    third = rerun_to_end(account, first["id"], {"from": "each.1[2]/push.1", "input": {"ok": True}})

    assert second["result"] == third["result"] == ["ok"] * 4
    assert len(receiver.effects(path)) == 5, "one push, of the third element alone"


def test_only_the_failed_elements_of_a_loop_run_again(account: Client, receiver: Receiver) -> None:
    path = f"/ok/{account.account_id}"
    first = account.run_to_end(EACH.format(url=receiver.url + path))

    second = rerun_to_end(account, first["id"], {"from": "each", "elements": "failed", "input": {"ok": True}})

    assert second["result"] == ["ok"] * 4
    assert second["rerun_of"] == first["id"]
    assert len(receiver.effects(path)) == 5, "one push, of the third element alone"
    for body, field in (
        ({"elements": "failed"}, "elements"),
        ({"from": "each", "elements": "all"}, "elements"),
        ({"from": "each", "elements": "failed", "node_input": 1}, "node_input"),
        ({"from": "each.1[0]/push.1", "elements": "failed"}, "elements"),
    ):
        assert assert_error(rerun(account, first["id"], body), 422)["field"] == field
    refused = rerun(account, second["id"], {"from": "each", "elements": "failed"})
    assert_error(refused, 422, "elements: All elements of 'each.1' have completed")


def test_the_same_key_reruns_all_elements_or_the_failed_ones(account: Client, receiver: Receiver) -> None:
    first = account.run_to_end(EACH.format(url=f"{receiver.url}/ok/{account.account_id}"))
    body = {"from": "each", "elements": "failed"}

    once = rerun(account, first["id"], body, Idempotency_Key="k")
    again = rerun(account, first["id"], body, Idempotency_Key="k")

    assert (once.status, again.status) == (201, 200)
    assert again.json["execution_id"] == once.json["execution_id"]
    assert_error(rerun(account, first["id"], {"from": "each"}, Idempotency_Key="k"), 422)


def test_a_loop_runs_again_as_a_whole_from_its_own_step(account: Client, receiver: Receiver) -> None:
    path = f"/ok/{account.account_id}"
    first = account.run_to_end(EACH.format(url=receiver.url + path))

    second = rerun_to_end(account, first["id"], {"from": "each", "input": {"ok": True}})

    assert second["result"] == ["ok"] * 4
    assert len(receiver.effects(path)) == 8


def test_in_a_branch_the_other_branches_keep_their_results(account: Client, receiver: Receiver) -> None:
    path = f"/ok/{account.account_id}"
    definition = f"""nodes:
  both:
    type: parallel
    branches:
      left: {{nodes: {{l: {{type: webhook, params: {{url: "{receiver.url}{path}/l"}}, output: "l"}}}}}}
      right: {{nodes: {{r: {{type: webhook, params: {{url: "{receiver.url}{path}/r"}}, output: "r"}}}}}}
"""
    first = account.run_to_end(definition)

    second = rerun_to_end(account, first["id"], {"from": "r"})

    assert second["result"] == first["result"] == {"left": "l", "right": "r"}
    assert (len(receiver.effects(f"{path}/l")), len(receiver.effects(f"{path}/r"))) == (1, 2)


def test_a_sub_flow_runs_again_where_the_rerun_begins_at_it_and_is_kept_where_it_came_before(
    account: Client, receiver: Receiver
) -> None:
    path = f"/ok/{account.account_id}"
    inner = account.new_flow(
        f'nodes:\n  push: {{type: webhook, params: {{url: "{receiver.url}{path}"}}, output: "pushed"}}\n'
    )
    first = account.run_to_end(
        f"nodes:\n  call: {{type: flow, params: {{flow: {inner}}}, next: end}}\n"
        "  end: {type: return, params: {value: '${nodes.call.result}'}}\n"
    )

    kept = rerun_to_end(account, first["id"], {"from": "end"})
    assert (kept["result"], len(receiver.effects(path))) == ("pushed", 1)
    again = rerun_to_end(account, first["id"], {"from": "call"})
    assert (again["result"], len(receiver.effects(path))) == ("pushed", 2)


def test_a_sub_flow_names_its_parent_and_is_rerun_without_it(account: Client) -> None:
    inner = account.new_flow("nodes:\n  r: {type: return, params: {value: '${flow.input.n}'}}\n")
    outer = account.run_to_end(f"nodes:\n  call: {{type: flow, params: {{flow: {inner}, input: {{n: 4}}}}}}\n")
    (child,) = account.get("/api/v1/executions", flow_id=inner).json["executions"]
    assert account.execution(child["id"])["parent_id"] == outer["id"]
    listed = account.get("/api/v1/executions", limit=100).json["executions"]
    assert {one["id"]: one.get("parent_id") for one in listed if one["id"] in (child["id"], outer["id"])} == {
        child["id"]: outer["id"], outer["id"]: None
    }  # fmt: skip

    again = rerun_to_end(account, child["id"])

    assert (again["result"], again["rerun_of"]) == (4, child["id"])
    assert "parent_id" not in again


def test_a_rerun_can_be_rerun(account: Client, receiver: Receiver) -> None:
    path = f"/ok/{account.account_id}"
    first = account.ended(account.run(account.new_flow(CHAIN.format(url=receiver.url + path)), {"n": 1}))
    second = rerun_to_end(account, first["id"], {"from": "second"})
    assert second["status"] == "failed"

    third = rerun_to_end(account, second["id"], {"from": "second", "input": {"n": 3, "ok": True}})

    assert (third["result"], third["rerun_of"]) == ([1, 3], second["id"])
    assert len(receiver.effects(path)) == 1


def test_many_are_rerun_by_a_filter_without_those_that_have_been_rerun_since(account: Client) -> None:
    flow_id = account.new_flow("nodes: {no: {type: fail, params: {error: bad, message: bad}}}")
    first, other = (account.run(flow_id) for _ in range(2))
    account.ended(first)
    account.ended(other)
    again = rerun_to_end(account, first)["id"]
    last = rerun_to_end(account, again)["id"]

    def selected(action: str, **selection: Any) -> list[str]:
        plan = account.post("/api/v1/executions:batch?dry_run=true", {"action": action, **selection}).json
        assert plan["total"] == len(plan["executions"])
        return [each["id"] for each in plan["executions"]]

    assert selected("rerun", filter={"flow_id": flow_id}) == [other, last]
    assert selected("rerun", filter={"unrepaired": True}) == [other, last]
    assert selected("rerun", filter={"rerun_of": first}) == []
    assert selected("rerun", ids=[first, again]) == [first, again]
    assert selected("delete", filter={"flow_id": flow_id}) == [first, other, again, last]


@pytest.mark.parametrize("step", ["nobody", "done", "second.2", "first.0", "each.1[0]/push.1", "' OR 1=1", "\u2028"])
def test_a_step_that_did_not_run_is_told(account: Client, receiver: Receiver, step: str) -> None:
    first = account.ended(account.run(account.new_flow(CHAIN.format(url=f"{receiver.url}/ok/s")), {"n": 1}))

    details = assert_error(rerun(account, first["id"], {"from": step}), 422)

    assert details["field"] == "from"
    assert details["reason"] == f"The execution has not reached a step '{step}'"
    assert account.get("/api/v1/executions").json["total"] == 1


# Of a running one


def test_a_running_execution_is_rerun_and_goes_on_itself(account: Client) -> None:
    definition = (
        "nodes:\n  a: {type: transform, params: {value: 1}, next: wait}\n  wait: {type: wait, params: {key: go}}\n"
    )
    first = account.run(account.new_flow(definition))
    account.waiting_at(first, "wait")

    for body in (None, {"from": "wait"}, {"from": "a"}):
        second = rerun(account, first, body).json["execution_id"]
        account.waiting_at(second, "wait")
        account.post(f"/api/v1/executions/{second}/signals/go", {"payload": "second"})
        assert account.ended(second)["result"] == "second"
    assert account.execution(first)["status"] == "waiting"
    account.post(f"/api/v1/executions/{first}/signals/go", {"payload": "first"})
    assert account.ended(first)["result"] == "first"


# With another input of the node that it begins at

EDITED: Final = """nodes:
  first: {type: transform, params: {value: {n: 1}}, next: second}
  second:
    type: transform
    params: {value: "${[input.n * 10, nodes.first.result.n]}"}
    next: last
  last: {type: return, params: {value: "${input}"}}
"""


def step_of(account: Client, id: str, step: str) -> Any:
    return account.get(f"/api/v1/executions/{id}/steps?step={step}").json["steps"][0]


def test_the_node_at_which_a_rerun_begins_takes_another_input(account: Client) -> None:
    first = account.run_to_end(EDITED)

    again = rerun_to_end(account, first["id"], {"from": "second", "node_input": {"n": 7}})

    assert again["result"] == [70, 1], "only what flows into the node is another"
    edited, last = (step_of(account, again["id"], name) for name in ("second.1", "last.1"))
    assert edited["input"]["value"] == {"n": 7}
    assert edited["input_edited_by"] == account.account_id
    assert "input_edited_by" not in last
    messages = account.messages(again["id"])
    [message] = [m for m in messages if "input_edited" in m]
    assert (message["step"], message["input_edited"]) == ("second.1", {"by": account.account_id})
    described = account.get("/api/v1/asyncapi.json").json["components"]["messages"]
    for message in messages:
        assert message.keys() <= described[message["type"]]["payload"]["properties"].keys()


def test_a_rerun_of_a_rerun_keeps_the_edited_input_until_it_is_edited_again(account: Client) -> None:
    first = account.run_to_end(EDITED)
    edited = rerun_to_end(account, first["id"], {"from": "second", "node_input": {"n": 7}})

    def result(**body: Any) -> Any:
        return rerun_to_end(account, edited["id"], body)["result"]

    assert result(**{"from": "second"}) == [70, 1]
    assert result(**{"from": "last"}) == [70, 1]
    assert result(**{"from": "second", "node_input": {"n": 8}}) == [80, 1]
    assert result(**{"from": "last", "node_input": None}) is None
    assert result(**{"from": "first"}) == [10, 1]


def test_the_input_of_a_loop_s_element_is_its_element(account: Client) -> None:
    definition = """nodes:
  each:
    type: foreach
    params: {items: [1, 2, 3]}
    nodes:
      a: {type: transform, params: {value: "${[input, item]}"}, next: b}
      b: {type: transform, params: {value: "${[...input, item]}"}}
"""
    first = account.run_to_end(definition)

    begun = rerun_to_end(account, first["id"], {"from": "each.1[1]/a.1", "node_input": 9})
    middle = rerun_to_end(account, first["id"], {"from": "each.1[1]/b.1", "node_input": [0]})
    whole = rerun_to_end(account, first["id"], {"from": "each", "node_input": 9})

    assert begun["result"] == [[1, 1, 1], [9, 9, 9], [3, 3, 3]]
    assert middle["result"] == [[1, 1, 1], [0, 2], [3, 3, 3]]
    assert whole["result"] == first["result"], "it reads no input"


def test_a_handler_takes_another_input(account: Client) -> None:
    definition = (
        "on_failure: tell\nnodes: {stop: {type: fail, params: {error: no, message: no}}, "
        "tell: {type: log, params: {message: 'It was ${input.n}'}}}\n"
    )
    first = account.run_to_end(definition, {"n": 1})

    again = rerun_to_end(account, first["id"], {"from": "on_failure/tell.1", "node_input": {"n": 2}})

    lines = [line["message"] for line in account.get(f"/api/v1/executions/{again['id']}/logs").json["logs"]]
    assert "It was 2" in lines


def test_an_input_without_a_node_to_take_it_is_refused(account: Client) -> None:
    first = account.run_to_end(EDITED)

    details = assert_error(rerun(account, first["id"], {"node_input": {"n": 7}}), 422)

    assert details["field"] == "node_input"
    assert "needs 'from'" in details["errors"][0]["message"]


def test_an_input_that_another_revision_would_not_read_is_refused(account: Client) -> None:
    first = account.run_to_end(EDITED)
    other = EDITED.replace("{value: {n: 1}}, next: second}", "{value: {n: 1}}, next: {default: last, error: second}}")
    assert account.put(f"/api/v1/flows/{first['flow_id']}", {"definition": other}).status == 200
    body = {"from": "second", "node_input": {"n": 7}}

    reply = rerun(account, first["id"], body)

    assert reply.status == 409
    assert "do not lead to its node 'second', whose input was edited" in reply.json["error"]["message"]
    assert rerun_to_end(account, first["id"], {**body, "revision": "same"})["result"] == [70, 1]


def test_the_same_key_with_another_input_of_the_node_is_refused(account: Client) -> None:
    first = account.run_to_end(EDITED)
    body = {"from": "second", "node_input": {"n": 7}}
    begun = rerun(account, first["id"], body, Idempotency_Key="edited")

    again = rerun(account, first["id"], body, Idempotency_Key="edited")
    other = rerun(account, first["id"], {**body, "node_input": None}, Idempotency_Key="edited")

    assert again.json["execution_id"] == begun.json["execution_id"]
    assert other.status == 422


def test_the_same_key_with_labels_that_read_as_the_other_input_is_refused(account: Client) -> None:
    first = account.run_to_end(EDITED)
    begun = rerun(account, first["id"], {"from": "second", "node_input": "x"}, Idempotency_Key="labels-or-input")

    other = rerun(account, first["id"], {"from": "second", "labels": {"node": "x"}}, Idempotency_Key="labels-or-input")

    assert begun.status == 201
    assert other.status == 422


def test_secrets_in_an_edited_input_are_hidden(account: Client) -> None:
    first = account.run_to_end(EDITED)
    account.new_secret("KEY", "s3cret-of-the-edit")

    again = rerun_to_end(account, first["id"], {"from": "last", "node_input": ["s3cret-of-the-edit"]})

    assert again["result"] == ["***"]
    assert step_of(account, again["id"], "last.1")["input"]["value"] == ["***"]


# Of another revision


def test_a_repaired_flow_goes_on_from_where_it_failed(account: Client, receiver: Receiver) -> None:
    path = f"/ok/{account.account_id}"
    broken = (
        f'nodes:\n  push: {{type: webhook, params: {{url: "{receiver.url}{path}"}}, output: "pushed", next: read}}\n'
        "  read: {type: transform, params: {value: '${input.no.such.thing}'}}\n"
    )
    flow_id = account.new_flow(broken)
    first = account.ended(account.run(flow_id))
    assert (first["status"], first["revision"], first["failure"]["node"]) == ("failed", 1, "read")
    repaired = broken.replace("${input.no.such.thing}", "${input}!")
    assert account.put(f"/api/v1/flows/{flow_id}", {"definition": repaired}).json["revision"] == 2

    second = rerun(account, first["id"], {"from": "read"})
    same = rerun(account, first["id"], {"from": "read", "revision": "same"})

    assert (second.status, second.json["revision"]) == (201, 2), "the current one, unless another is asked for"
    assert (same.status, same.json["revision"]) == (201, 1)
    assert account.ended(second.json["execution_id"])["result"] == "pushed!"
    assert account.ended(same.json["execution_id"])["status"] == "failed"
    assert len(receiver.effects(path)) == 1


def test_a_revision_may_be_named_by_its_label(account: Client) -> None:
    labelled = "metadata: {version: '%s'}\nnodes:\n  r: {type: return, params: {value: '%s'}}\n"
    flow_id = account.new_flow(labelled % ("one", "old"))
    account.put(f"/api/v1/flows/{flow_id}", {"definition": labelled % ("two", "new")})
    first = account.ended(account.run(flow_id))

    assert first["result"] == "new"
    assert rerun_to_end(account, first["id"], {"revision": "label:one"})["result"] == "old"
    assert rerun_to_end(account, first["id"], {"revision": 1})["revision"] == 1
    for unknown in (9, "label:three", "label:"):
        assert_error(rerun(account, first["id"], {"revision": unknown}), 404)
    details = assert_error(rerun(account, first["id"], {"revision": "one"}), 422)
    assert details["errors"][0]["hint"] == "write 'label:one' for the revision with that label"


def test_a_number_is_no_label_and_a_label_no_number(account: Client) -> None:
    labelled = "metadata: {version: '%s'}\nnodes:\n  r: {type: return, params: {value: %s}}\n"
    flow_id = account.new_flow(labelled % ("9", 1))
    account.put(f"/api/v1/flows/{flow_id}", {"definition": labelled % ("1", 2)})
    first = account.ended(account.run(flow_id))

    assert rerun_to_end(account, first["id"], {"revision": 1})["result"] == 1
    assert rerun_to_end(account, first["id"], {"revision": "label:1"})["result"] == 2
    assert rerun_to_end(account, first["id"], {"revision": "label:9"})["result"] == 1
    for unknown in (9, "label:2"):
        assert_error(rerun(account, first["id"], {"revision": unknown}), 404, "Revision not found")


def test_a_revision_that_lacks_what_would_be_kept_is_refused(account: Client) -> None:
    flow_id = account.new_flow("nodes:\n  a: {type: transform, params: {value: 1}, next: b}\n  b: {type: return}\n")
    first = account.ended(account.run(flow_id))
    other = "nodes:\n  x: {type: transform, params: {value: 1}, next: b}\n  b: {type: return}\n"
    account.put(f"/api/v1/flows/{flow_id}", {"definition": other})

    message = (
        "The current revision of the flow does not fit what the execution has done: it has no node 'a' of type"
        ' transform, whose result would be kept. Send "revision": "same" to run the revision that ran, '
        "or leave out 'from' to run the whole flow"
    )
    assert_error(rerun(account, first["id"], {"from": "b"}), 409, message)
    numbered = message.replace("The current revision", "The revision 2")
    assert_error(rerun(account, first["id"], {"from": "b", "revision": 2}), 409, numbered)
    assert rerun(account, first["id"], {"from": "b", "revision": "same"}).status == 201
    assert rerun(account, first["id"], {"from": "a"}).status == 409, "there is no such node to begin at"
    assert rerun(account, first["id"]).status == 201, "it keeps nothing"


BRANCHES: Final = """nodes:
  both:
    type: %s
    %s
    next: end
  end: {type: return}
"""
LEFT: Final = "left: {nodes: {ask: {type: log, params: {message: hi}}}}"
RIGHT: Final = "right: {nodes: {ask: {type: log, params: {message: hi}}}}"


@pytest.mark.parametrize(
    ("type", "inner", "misfit"),
    [
        ("parallel", f"branches: {{{LEFT}}}", "its node 'both' has no branch 'right'"),
        (
            "parallel",
            f"branches: {{{LEFT}, {RIGHT.replace('ask', 'tell')}}}",
            "it has no node 'ask' in both.1[right] of type log",
        ),
        ("log", "params: {message: hi}", "it has no node 'both' of type parallel"),
        ("foreach", "params: {items: [1]}\n    nodes: {ask: {type: log, params: {message: hi}}}",
         "it has no node 'both' of type parallel"),
    ],
)  # fmt: skip
def test_a_revision_that_lacks_a_branch_or_what_is_in_it_is_refused(
    account: Client, type: str, inner: str, misfit: str
) -> None:
    first = account.run_to_end(BRANCHES % ("parallel", f"branches: {{{LEFT}, {RIGHT}}}"))
    account.put(f"/api/v1/flows/{first['flow_id']}", {"definition": BRANCHES % (type, inner)})

    for start in ("end", "both.1[left]/ask.1") if type == "parallel" else ("end",):
        reply = rerun(account, first["id"], {"from": start})

        assert reply.status == 409
        assert misfit in reply.error["message"]
        assert 'Send "revision": "same"' in reply.error["message"]


def test_a_revision_without_the_node_to_begin_at_is_refused(account: Client) -> None:
    first = account.run_to_end("nodes:\n  a: {type: log, params: {message: hi}, next: b}\n  b: {type: return}\n")
    definition = "nodes:\n  a: {type: log, params: {message: hi}, next: c}\n  c: {type: return}\n"
    account.put(f"/api/v1/flows/{first['flow_id']}", {"definition": definition})

    reply = rerun(account, first["id"], {"from": "b"})

    assert reply.status == 409
    assert "it has no node 'b' to start at" in reply.error["message"]


def test_the_idempotency_keys_of_a_rerun_are_new_or_the_same(account: Client, receiver: Receiver) -> None:
    path = f"/ok/keys-{account.account_id}"
    url = f"{receiver.url}{path}"
    first = account.run_to_end(
        f"nodes: {{a: {{type: webhook, params: {{url: {url}}}, next: b}}, "
        f"b: {{type: webhook, params: {{url: {url}}}}}}}"
    )
    same = rerun_to_end(account, first["id"], {"idempotency": "same"})
    from_b = rerun_to_end(account, same["id"], {"idempotency": "same", "from": "b"})
    new = rerun_to_end(account, from_b["id"], {"idempotency": "new", "from": "b"})

    a, b = f"{first['id']}.a.1", f"{first['id']}.b.1"
    assert [effect.key for effect in receiver.effects(path)] == [a, b, a, b, b, f"{new['id']}.b.1"]
    assert rerun(account, first["id"], {"idempotency": "none"}).status == 422


def test_nodes_of_one_name_in_different_branches_are_kept_in_another_revision(account: Client) -> None:
    definition = """nodes:
  both:
    type: parallel
    branches:
      left: {nodes: {ask: {type: transform, params: {value: 1}}}}
      right: {nodes: {ask: {type: log, params: {message: hi}}}}
    next: end
  end: {type: return, params: {value: old}}
"""
    first = account.run_to_end(definition)
    account.put(f"/api/v1/flows/{first['flow_id']}", {"definition": definition.replace("old", "new")})

    assert rerun_to_end(account, first["id"], {"from": "end", "revision": 2})["result"] == "new"


def test_an_execution_of_a_deleted_flow_is_not_rerun(account: Client) -> None:
    flow_id = account.new_flow(SMALLEST)
    first = account.ended(account.run(flow_id))
    account.delete(f"/api/v1/flows/{flow_id}")

    assert_error(rerun(account, first["id"]), 404, "Flow not found")


# Whose, and what is asked


def test_an_execution_of_another_account_is_not_rerun(account: Client, other: Client) -> None:
    first = account.run_to_end(SMALLEST)

    assert_error(rerun(other, first["id"]), 404, "Execution not found")
    assert_error(rerun(account, "exec-1"), 404, "Execution not found")
    assert other.get("/api/v1/executions").json["total"] == 0


def test_who_only_reads_reruns_nothing(admin: Client) -> None:
    assert_error(rerun(admin.new_account("viewer"), "exec-1"), 403)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"from": ""}, "from"), ({"from": 1}, "from"), ({"from": "x" * 2001}, "from"), ({"from_": "a"}, "from_"),
        ({"input": []}, "input"), ({"input": "x"}, "input"), ({"revision": 0}, None), ({"revision": True}, None),
        ({"revision": 2**53 + 1}, None), ({"flow_id": "x"}, "flow_id"),
    ],
)  # fmt: skip
def test_a_wish_that_makes_no_sense_is_refused(account: Client, body: Any, field: str | None) -> None:
    first = account.run_to_end(SMALLEST)

    details = assert_error(rerun(account, first["id"], body), 422)

    assert field is None or details["field"] == field
    assert account.get("/api/v1/executions").json["total"] == 1


def test_the_same_key_reruns_once(account: Client) -> None:
    first = account.run_to_end("nodes:\n  a: {type: log, params: {message: hi}, next: b}\n  b: {type: return}\n")

    once = rerun(account, first["id"], {"from": "b"}, Idempotency_Key="k")
    again = rerun(account, first["id"], {"from": "b"}, Idempotency_Key="k")

    assert (once.status, again.status) == (201, 200)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json["execution_id"] == once.json["execution_id"]
    assert account.get("/api/v1/executions").json["total"] == 2


def test_the_same_key_for_another_wish_is_refused(account: Client) -> None:
    first = account.run_to_end("nodes:\n  a: {type: log, params: {message: hi}, next: b}\n  b: {type: return}\n")
    other = account.ended(account.run(first["flow_id"]))
    rerun(account, first["id"], {"from": "b"}, Idempotency_Key="k")

    for reply in (
        rerun(account, first["id"], {"from": "a"}, Idempotency_Key="k"),
        rerun(account, first["id"], {"from": "b", "input": {"n": 1}}, Idempotency_Key="k"),
        rerun(account, first["id"], {"from": "b", "revision": 1}, Idempotency_Key="k"),
        rerun(account, first["id"], {"from": "b", "labels": {"a": "b"}}, Idempotency_Key="k"),
        rerun(account, first["id"], None, Idempotency_Key="k"),
        rerun(account, other["id"], {"from": "b"}, Idempotency_Key="k"),
        account.post(f"/api/v1/flows/{first['flow_id']}/run", {"input": {}}, Idempotency_Key="k"),
    ):
        details = assert_error(reply, 422, "Idempotency-Key: was used before, with another request")
        assert details["errors"][0]["code"] == "reused"


def test_a_key_keeps_its_answer_when_the_flow_is_gone(account: Client) -> None:
    first = account.run_to_end(SMALLEST)
    once = rerun(account, first["id"], {"revision": 1}, Idempotency_Key="k")
    account.delete(f"/api/v1/flows/{first['flow_id']}")

    again = rerun(account, first["id"], {"revision": 1}, Idempotency_Key="k")

    assert (again.status, again.json["execution_id"]) == (200, once.json["execution_id"])
