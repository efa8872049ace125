"""The parameters that the attempts of a step were given, evaluated again over REST."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.shapes import assert_error
from support.client import Client, Reply
from support.receiver import Receiver
from support.server import Server
from support.waiting import wait_for

SECRET = "a-key-that-nobody-may-see"


def asked(account: Client, id: str, step: str, **query: Any) -> Reply:
    (one,) = account.get(f"/api/v1/executions/{id}/steps", step=step).json["steps"]
    return account.get(f"/api/v1/executions/{id}/steps/{one['id']}/params", **query)


def params_of(account: Client, id: str, step: str, **query: Any) -> Any:
    reply = asked(account, id, step, **query)
    assert reply.status == 200, reply
    return reply.json


def finished(account: Client, definition: str, input: Any = None) -> str:
    id = account.run(account.new_flow(definition), input)
    account.ended(id)
    return id


def test_a_request_that_was_refused_shows_what_was_sent_with_the_name_of_the_secret(
    account: Client, receiver: Receiver
) -> None:
    account.new_secret("API_KEY", SECRET)
    definition = f"""
vars: {{base: "{receiver.url}"}}
nodes:
  make: {{type: transform, params: {{value: {{id: 7, tags: [a, b]}}}}, next: send}}
  send:
    type: http.request
    params:
      url: "${{vars.base}}/status/400?of=${{flow.input.customer}}"
      method: POST
      headers: {{Authorization: "Bearer ${{secrets.API_KEY}}"}}
      body: {{order: "${{input.id}}", tags: "${{nodes.make.result.tags.join('+')}}"}}
"""
    id = finished(account, definition, {"customer": "acme"})

    reply = asked(account, id, "send.1")

    assert reply.json == {
        "step": "send.1",
        "attempt": 1,
        "exact": True,
        "reasons": [],
        "errors": [],
        "params": {
            "size": len(json.dumps(reply.json["params"]["value"], separators=(",", ":"))),
            "value": {
                "url": f"{receiver.url}/status/400?of=acme",
                "method": "POST",
                "headers": {"Authorization": "Bearer ${secrets.API_KEY}"},
                "body": {"order": 7, "tags": "a+b"},
            },
        },
    }
    assert SECRET.encode() not in reply.body
    (sent,) = receiver.effects("/status/400")
    assert sent.json == {"order": 7, "tags": "a+b"}, "it is not sent again"


def test_each_visit_and_each_attempt_has_its_own(account: Client) -> None:
    definition = """
nodes:
  tick: {type: set, params: {n: "${(vars.n ?? 0) + 1}"}, next: fail}
  fail:
    type: fail
    params: {error: busy, message: "visit ${vars.n}, attempt ${nodes.fail.attempts}"}
    retry: {max: 1, delay: 1ms, errors: [busy]}
    next: {error: again}
  again: {type: switch, params: {cases: [{when: "vars.n < 2", action: more}]}, next: {more: tick, default: end}}
  end: {type: return}
"""
    id = finished(account, definition)

    found = [params_of(account, id, f"fail.{visit}", attempt=attempt) for visit in (1, 2) for attempt in (1, 2)]

    steps = account.get(f"/api/v1/executions/{id}/steps").json["steps"]
    ends = [account.get(f"/api/v1/executions/{id}/steps/{one['id']}").json for one in steps if one["node_id"] == "fail"]
    sent = [attempt["error"]["message"] for end in ends for attempt in end["each_attempt"]]
    assert sent[:2] == ["visit 1, attempt 1", "visit 1, attempt 2"]
    assert [one["params"]["value"]["message"] for one in found] == sent
    assert {one["exact"] for one in found} == {True}
    latest = params_of(account, id, "fail.1")
    assert (latest["attempt"], latest["params"]["value"]["message"]) == (2, "visit 1, attempt 2")
    assert params_of(account, id, "tick.2")["params"]["value"] == {"n": 2}
    assert params_of(account, id, "again.2")["params"]["value"] == {"cases": [{"when": False, "action": "more"}]}
    assert assert_error(asked(account, id, "fail.1", attempt=3), 422)["field"] == "attempt"


def test_the_elements_of_loops_have_their_own(account: Client) -> None:
    definition = """
nodes:
  each:
    type: foreach
    params: {items: "${flow.input.orders}", as: order}
    nodes: {say: {type: log, params: {message: "${index}: ${order.id}"}}}
    next: count
  count:
    type: while
    params: {when: "index < 2"}
    nodes: {round: {type: transform, params: {value: "${index * 10}"}}}
"""
    id = finished(account, definition, {"orders": [{"id": "a"}, {"id": "b"}]})

    assert params_of(account, id, "each.1[1]/say.1")["params"]["value"] == {"message": "1: b"}
    assert params_of(account, id, "each.1")["params"]["value"]["items"] == [{"id": "a"}, {"id": "b"}]
    assert params_of(account, id, "count.1[1]/round.1")["params"]["value"] == {"value": 10}
    loop = params_of(account, id, "count.1")
    assert (loop["params"]["value"]["when"], loop["exact"]) == (True, False)
    assert "those of the first" in loop["reasons"][0]


def test_an_expression_that_failed_is_shown_with_what_it_read_beside_the_others(account: Client) -> None:
    definition = """
nodes:
  make: {type: transform, params: {value: {user: null}}, next: send}
  send:
    type: webhook
    params:
      url: "http://127.0.0.1:1/${flow.input.region}"
      body: {names: ["ok", "${nodes.make.result.user.name}"]}
"""
    id = finished(account, definition, {"region": "eu"})
    (step,) = account.get(f"/api/v1/executions/{id}/steps", step="send.1").json["steps"]

    found = params_of(account, id, "send.1")

    assert found["exact"]
    assert found["params"]["value"] == {"url": "http://127.0.0.1:1/eu", "body": {"names": ["ok", None]}}
    (error,) = found["errors"]
    assert (error["path"], error["message"]) == ("body.names[1]", step["error"]["message"])
    assert error["reads"]["nodes"]["value"]["make"]["result"] == {"user": None}


@pytest.mark.parametrize(
    ("expression", "is_exact"),
    [
        ("${Date.now()}", False),
        ("${new Date().toISOString().slice(0, 10)}", False),
        ("${Math.random()}", False),
        ("${Math.random() < 2 ? 'heads' : 'tails'}", False),
        ("${new Date(flow.input.at).getTime()}", True),
        ("${Math['ran' + 'dom']() < 2 ? 'heads' : 'tails'}", False),
        ("${[Math].map(({random: r}) => r() < 2)[0]}", False),
        ("${(() => { try { return Math.random() < 0 || null.x } catch { return 7 } })()}", False),
        ("${Promise.resolve(0).then(() => Math.random() < 2)}", False),
        ("${Math.max(1, 2)}", True),
        ("${'random'}", True),
        ("${(Math.random = () => 4) && Math.random()}", True),
    ],
)
def test_an_expression_that_reads_the_clock_or_chance_is_not_exact(
    account: Client, expression: str, is_exact: bool
) -> None:
    definition = f"nodes: {{a: {{type: log, params: {{message: {json.dumps(expression)}}}}}}}"
    id = finished(account, definition, {"at": "2026-01-02T03:04:05Z"})

    found = params_of(account, id, "a.1")

    assert found["exact"] is is_exact
    assert ("clock" in " ".join(found["reasons"])) is not is_exact


def test_an_expression_that_computes_with_a_secret_is_not_exact(account: Client) -> None:
    account.new_secret("API_KEY", SECRET)
    id = finished(account, 'nodes: {a: {type: log, params: {message: "${btoa(secrets.API_KEY)}"}}}')

    found = params_of(account, id, "a.1")

    assert not found["exact"]
    assert "secrets.API_KEY" in found["reasons"][0]


def test_a_prep_hook_that_may_compute_with_a_secret_is_not_exact(account: Client) -> None:
    account.new_secret("API_KEY", SECRET)
    definition = """
nodes:
  a:
    type: log
    params: {message: "${secrets.API_KEY}"}
    hooks: {prep: "return {message: `${context.message.length} characters`}"}
"""
    id = finished(account, definition)

    found = params_of(account, id, "a.1")

    assert not found["exact"]
    assert "'prep' may compute with secrets.API_KEY" in found["reasons"][0]


def test_an_expression_that_takes_the_link_of_an_approval_apart_gets_no_token(tmp_path: Path) -> None:
    definition = """
nodes:
  ok: {type: approval, params: {prompt: "Go?", link: true, notify: tell}}
  tell: {type: log, params: {message: "${approval.url} ${approval.url.split('approve_')[1] ?? 'no token'}"}}
"""
    server = Server(tmp_path, {"PUBLIC_URL": "https://flows.example.com", "ALLOWED_HOSTS": "localhost"}).start()
    try:
        account = server.admin()
        id = account.run(account.new_flow(definition))
        told: list[Any] = []

        def has_told() -> bool:
            steps = account.get(f"/api/v1/executions/{id}/steps").json["steps"]
            told[:] = [one for one in steps if one["node_id"] == "tell" and one["status"] == "completed"]
            return bool(told)

        wait_for(has_told)
        found = account.get(f"/api/v1/executions/{id}/steps/{told[0]['id']}/params").json
    finally:
        server.stop()

    assert found["params"]["value"]["message"].endswith("/approve/*** no token")
    assert found["reasons"] == ["An expression computes with the link of an approval, whose token is hidden here"]


def test_an_expression_that_failed_shows_no_large_values_that_it_read(account: Client) -> None:
    definition = """
nodes:
  large: {type: transform, params: {value: "${'x'.repeat(20000)}"}, next: small}
  small: {type: transform, params: {value: 7}, next: fail}
  fail: {type: log, params: {message: "${nodes.large.result.a.b + nodes.small.result + input}"}}
"""
    id = finished(account, definition)

    (error,) = params_of(account, id, "fail.1")["errors"]

    assert set(error["reads"]["nodes"]["value"]) == {"small"}
    assert error["reads"]["input"]["value"] == 7


def test_a_secret_that_did_not_exist_is_what_the_attempt_failed_with_and_hides_itself_alone(account: Client) -> None:
    account.new_secret("OTHER", SECRET)
    definition = """
nodes:
  a:
    type: log
    params:
      message: "to ${flow.input.to}"
      data: {key: "${secrets.MISSING}", code: "${secrets.MISSING + '!'}", other: "${secrets.OTHER}"}
"""
    id = finished(account, definition, {"to": "acme"})
    account.new_secret("MISSING", SECRET)

    found = params_of(account, id, "a.1")

    message = "${secrets.MISSING}: there is no secret 'MISSING'"
    assert found["params"]["value"] == {
        "message": "to acme",
        "data": {"key": None, "code": None, "other": "${secrets.OTHER}"},
    }
    assert [(error["path"], error["message"]) for error in found["errors"]] == [
        ("data.key", message),
        ("data.code", message),
    ]


def test_a_configuration_value_that_did_not_exist_hides_itself_alone(account: Client) -> None:
    id = finished(account, 'nodes: {a: {type: log, params: {message: "${config.none}", data: "${1 + 1}"}}}')

    found = params_of(account, id, "a.1")

    assert (found["exact"], found["params"]["value"]) == (True, {"message": None, "data": 2})
    assert [error["path"] for error in found["errors"]] == ["message"]


def test_an_output_that_failed_makes_no_difference_to_what_was_given(account: Client) -> None:
    id = finished(account, """nodes: {a: {type: log, params: {message: hi}, output: "${JSON.parse('{')}"}}""")

    assert params_of(account, id, "a.1")["exact"]


def test_values_of_the_configuration_and_secrets_are_those_of_then_and_those_of_now(account: Client) -> None:
    account.put("/api/v1/config/shop", {"value": "first"})
    id = finished(
        account, 'nodes: {a: {type: log, params: {message: "${config.shop} ${flow.input.word}"}}}', {"word": SECRET}
    )
    account.put("/api/v1/config/shop", {"value": "second"})

    assert params_of(account, id, "a.1")["params"]["value"] == {"message": f"first {SECRET}"}
    account.new_secret("LATER", SECRET)
    assert params_of(account, id, "a.1")["params"]["value"] == {"message": "first ***"}


def test_variables_that_another_branch_sets_meanwhile_are_not_exact(account: Client, receiver: Receiver) -> None:
    definition = """
vars: {n: 1}
nodes:
  both:
    type: parallel
    branches:
      left: {nodes: {slow: {type: http.request, params: {url: "URL/slow?seconds=0.5&n=${vars.n}"}}}}
      other: {nodes: {slow: {type: http.request, params: {url: "URL/slow?seconds=0.5"}}}}
      right: {nodes: {set: {type: set, params: {n: 2}}}}
    next: end
  end: {type: return, params: {value: "${vars.n}"}}
"""
    id = finished(account, definition.replace("URL", receiver.url))

    assert "set variables" in params_of(account, id, "both.1[left]/slow.1")["reasons"][0]
    assert params_of(account, id, "both.1[other]/slow.1")["exact"]
    assert params_of(account, id, "both.1[right]/set.1")["exact"]
    assert params_of(account, id, "end.1")["params"]["value"] == {"value": 2}


def test_a_step_that_a_rerun_has_kept_names_the_execution_in_which_it_ran(account: Client) -> None:
    definition = """
nodes:
  a: {type: transform, params: {value: "${execution.id}"}, next: b}
  b: {type: return, params: {value: "${input}"}}
"""
    first = finished(account, definition)
    second = account.post(f"/api/v1/executions/{first}/rerun", {"from": "b"}).json["execution_id"]
    account.ended(second)

    kept, ran = params_of(account, second, "a.1"), params_of(account, second, "b.1")

    assert not kept["exact"]
    assert first in kept["reasons"][0]
    assert (ran["exact"], ran["params"]["value"]) == (True, {"value": first})


def test_a_skipped_step_was_given_none_and_a_prep_hook_has_changed_them(account: Client) -> None:
    definition = """
nodes:
  a: {type: log, if: "flow.input.loud", params: {message: "${nothing.here}"}, next: b}
  b:
    type: transform
    params: {value: 1}
    hooks: {prep: "return {value: context.value + 41}"}
"""
    id = finished(account, definition.replace("nothing", "input"), {"loud": False})

    skipped = params_of(account, id, "a.1")
    assert (skipped["exact"], skipped["errors"], "params" in skipped) == (True, [], False)
    assert params_of(account, id, "b.1")["params"]["value"] == {"value": 42}


def test_a_case_of_a_switch_that_fails_after_a_true_one_fails_nothing(account: Client) -> None:
    cases = "[{when: 'true', action: x}, {when: 'input.a.b.c', action: y}]"
    switch = f"{{type: switch, params: {{cases: {cases}}}, next: {{x: b, y: b, default: b}}}}"
    id = finished(account, f"nodes: {{a: {switch}, b: {{type: return}}}}")

    found = params_of(account, id, "a.1")

    assert found["exact"]
    assert [error["path"] for error in found["errors"]] == ["cases[1].when"]


def test_long_parameters_are_shown_by_their_beginning(account: Client) -> None:
    id = finished(account, "nodes: {a: {type: transform, params: {value: \"${'x'.repeat(300000)}\"}}}")

    params = params_of(account, id, "a.1")["params"]

    assert (params["size"], len(params["text"]), "value" in params) == (300_012, 256 * 1024, False)


def test_parameters_of_a_step_of_others_or_of_none_are_not_found(account: Client, other: Client) -> None:
    id = finished(account, "nodes: {a: {type: return}}")
    (step,) = account.get(f"/api/v1/executions/{id}/steps").json["steps"]

    assert_error(other.get(f"/api/v1/executions/{id}/steps/{step['id']}/params"), 404)
    assert_error(account.get(f"/api/v1/executions/{id}/steps/{step['id'] + 1}/params"), 404)
