"""What an author of flows tries against other accounts, and what somebody who may only give input tries."""

import json
import urllib.parse
from collections.abc import Callable
from typing import Any, Final

import pytest

from security.canaries import PLAIN
from support.client import Client
from support.scoreboard import Scoreboard
from support.server import Server

VALUE: Final = "A-value-of-somebody-else-5Zq8Wn"


def _one(type: str, /, **params: Any) -> dict[str, Any]:
    return {"nodes": {"a": {"type": type, "params": params}}}


def run(client: Client, definition: dict[str, Any], input: Any = None) -> Any:
    return client.run_to_end(json.dumps(definition), input)


# Secrets of another account

PLACES: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "a parameter": lambda e: _one("return", value=f"${{{e}}}"),
    "within text": lambda e: _one("log", message=f"x ${{{e}}}"),
    "a script": lambda e: _one("transform", script=f"return {e}"),
    "a mapping": lambda e: _one("transform", mapping={"a": e}),
    "a condition": lambda e: {"nodes": {"a": {"type": "log", "if": f"{e} || true", "params": {"message": "m"}}}},
    "a case": lambda e: _one("switch", cases=[{"when": f"{e} || true", "action": "x"}]),
    "an output": lambda e: {"nodes": {"a": {"type": "log", "params": {"message": "m"}, "output": f"${{{e}}}"}}},
    "outputs": lambda e: {"outputs": {"a": f"${{{e}}}"}, **_one("log", message="m")},
    "a hook": lambda e: {"nodes": {"a": {"type": "log", "params": {"message": "m"}, "hooks": {"post": f"return {e}"}}}},
    "a loop": lambda e: {"nodes": {"a": {
        "type": "foreach", "params": {"items": f"${{[{e}]}}"},
        "nodes": {"b": {"type": "return", "params": {"value": "${item}"}}}}}},
    "a node in a loop": lambda e: {"nodes": {"a": {
        "type": "foreach", "params": {"items": [1]},
        "nodes": {"b": {"type": "return", "params": {"value": f"${{{e}}}"}}}}}},
    "a branch": lambda e: {"nodes": {"a": {"type": "parallel", "branches": {
        "l": {"nodes": {"b": {"type": "return", "params": {"value": f"${{{e}}}"}}}},
        "r": {"nodes": {"b": {"type": "log", "params": {"message": "m"}}}}}}}},
    "a loop's condition": lambda e: {"nodes": {"a": {
        "type": "while", "params": {"when": f"!{e} && vars.x == 1"},
        "nodes": {"b": {"type": "log", "params": {"message": "m"}}}}}},
    "a handler": lambda e: {
        "on_failure": "b",
        "nodes": {"a": {"type": "fail"}, "b": {"type": "log", "params": {"message": f"${{{e}}}"}}}},
    "input of a sub-flow": lambda e: _one("flow", flow="Echoes", input={"a": f"${{{e}}}"}),
    "the name of a sub-flow": lambda e: _one("flow", flow=f"x${{{e}}}"),
    "the key of a signal": lambda e: _one("wait", key=f"x${{{e}}}", timeout="10ms"),
    "a prompt": lambda e: {"nodes": {"a": {"type": "approval", "params": {"prompt": f"x${{{e}}}"}, "timeout": "10ms"}}},
    "a header": lambda e: _one("http.request", url="http://127.0.0.1:1/", headers={"X": f"x${{{e}}}"}),
    "a signature": lambda e: _one("webhook", url="http://127.0.0.1:1/", secret=f"x${{{e}}}"),
}  # fmt: skip
EXPRESSIONS: Final = (
    "secrets.THEIRS", "secrets['THEIRS']", "secrets?.THEIRS", "secrets.{id}", "secrets['{id}.THEIRS']",
    "secrets['{id}/THEIRS']", "secrets['../{id}/THEIRS']",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_s28_no_place_in_a_flow_has_the_secret_of_another_account(
    account: Client, other: Client, scoreboard: Scoreboard, place: str
) -> None:
    other.new_secret("THEIRS", VALUE)
    account.new_flow("nodes: {r: {type: return, params: {value: '${flow.input}'}}}", name="Echoes")
    shown = []
    for expression in EXPRESSIONS:
        definition = PLACES[place](expression.replace("{id}", other.account_id))
        reply = account.post("/api/v1/flows", {"name": "N", "definition": json.dumps(definition)})
        seen = reply.body.decode()
        if reply.status == 201:
            id = account.run(reply.json["id"])
            ended = account.ended(id)
            seen += f"{ended} {account.logs(id)}"
            assert ended["status"] == "failed" or place in ("a case", "a condition", "a loop's condition"), ended
        if VALUE in seen:
            shown.append(expression)
    scoreboard.count("secrets of other accounts that a flow has read", cases=len(EXPRESSIONS), failures=len(shown))
    assert shown == []


@pytest.mark.parametrize(
    "script",
    [
        "return secrets", "return Object.keys(secrets)", "return JSON.stringify(secrets)", "return {...secrets}",
        "const name = 'TWO'; return secrets[name]", "return secrets[input.name]", "const {TWO} = secrets; return TWO",
        "const s = secrets; return s.TWO", "return (() => secrets)().TWO", "return eval('secrets.TWO')",
        "return new Function('return secrets.TWO')()", "return globalThis.secrets.TWO", "return this.secrets.TWO",
        "return secrets.ONE && globalThis['sec' + 'rets']['TWO']", "return [secrets][0].TWO",
        "with (secrets) { return TWO }",
    ],
)  # fmt: skip
def test_s28_a_script_has_only_the_secrets_that_it_names(account: Client, script: str) -> None:
    """What it is given is known from its text: whoever reads a flow sees which secrets it uses."""
    account.new_secret("ONE", "the first of two values")
    account.new_secret("TWO", VALUE)
    definition = {"nodes": {"a": {"type": "transform", "params": {"script": script}}}}
    reply = account.post("/api/v1/flows", {"name": "N", "definition": json.dumps(definition)})
    if reply.status == 201:
        id = account.run(reply.json["id"], {"name": "TWO"})
        # Without the value in what was evaluated there is nothing to hide.
        shown = f"{account.ended(id)} {account.logs(id)}"
        assert "***" not in shown
        assert VALUE not in shown
    else:
        assert reply.status == 422


def test_s28_a_sub_flow_of_another_account_is_not_there_by_name_nor_by_id(account: Client, other: Client) -> None:
    other.new_secret("THEIRS", VALUE)
    flow = other.new_flow("nodes: {r: {type: return, params: {value: '${secrets.THEIRS}'}}}", name="Theirs")
    revision = other.get(f"/api/v1/flows/{flow}/revisions").json["revisions"][0]
    messages = set()
    for version in (None, 1, "1", revision.get("id", revision["number"])):
        for name in (flow, "Theirs", "Nobody's", f"../{flow}", f"{flow}\u0020", "%", "_" * len(flow)):
            params = {"flow": name} if version is None else {"flow": name, "version": version}
            for computed in (params, {k: f"${{flow.input.{k}}}" for k in params}):
                ended = run(account, _one("flow", **computed), params)
                assert ended["status"] == "failed"
                assert ended["failure"]["type"] == "flow.not_found"
                messages.add(ended["failure"]["message"].replace(name, "?"))
    assert messages == {"There is no flow '?'"}, "theirs and nobody's look alike"
    assert other.get("/api/v1/executions").json["total"] == 0


def test_s28_a_name_is_looked_up_in_the_account_of_the_flow_alone(account: Client, other: Client) -> None:
    for client, value in ((account, "mine"), (other, "theirs")):
        client.new_flow(json.dumps(_one("return", value=value)), name="Common")

    assert run(account, _one("flow", flow="Common"))["result"] == "mine"
    assert run(other, _one("flow", flow="Common"))["result"] == "theirs"


# Executions of another account

OTHERS: Final[dict[str, tuple[str, Any]]] = {
    "signal": ("signals/go", {"payload": 1}),
    "signal with an odd key": ("signals/a%2Fb", {"payload": 1}),
    "signal of an end": ("signals/flow:x", {"payload": {"status": "completed", "result": 1}}),
    "approval": ("approvals/ask", {"approved": True}),
    "approval of a step": ("approvals/ask.1", {"approved": True}),
    "rerun": ("rerun", {}),
    "rerun from a step": ("rerun", {"from": "ask", "input": {}}),
    "rerun with a revision": ("rerun", {"revision": 1}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_s13_s14_executions_of_others_take_no_word(account: Client, other: Client, admin: Client, what: str) -> None:
    path, body = OTHERS[what]
    asking = {
        "nodes": {
            "ask": {"type": "approval", "next": {"approved": "go"}},
            "go": {"type": "wait", "params": {"key": "go"}},
        }
    }
    id = other.run(other.new_flow(json.dumps(asking)))
    before = other.until_it_waits(id)
    for client in (account, admin):
        foreign = client.post(f"/api/v1/executions/{id}/{path}", body)
        absent = client.post(f"/api/v1/executions/{'x' * len(id)}/{path}", body)

        assert (foreign.status, foreign.error["message"]) == (404, absent.error["message"])
    assert other.execution(id) == before
    assert other.get("/api/v1/executions").json["total"] == 1
    assert account.get("/api/v1/executions").json["total"] == 0


def test_s14_a_rerun_takes_no_revision_of_another_flow(account: Client, other: Client) -> None:
    theirs = other.new_flow(json.dumps(_one("return", value="theirs")))
    for number in range(2, 4):
        labelled = _one("return", value=number) | {"metadata": {"name": "Theirs", "version": "9.9.9"}}
        other.put(f"/api/v1/flows/{theirs}", {"definition": json.dumps(labelled)})
    mine = account.run(account.new_flow(json.dumps(_one("return", value="mine"))))
    account.ended(mine)

    for revision, status in ((2, 404), (3, 404), ("label:9.9.9", 404), (theirs, 422), ("3", 422)):
        reply = account.post(f"/api/v1/executions/{mine}/rerun", {"revision": revision})
        assert reply.status == status, reply


@pytest.mark.parametrize(
    "key", ["flow:{child}", "approval:a.1", "approval:a", "signal:go", "{child}", "a.1", "flow", "../approvals/a"]
)
def test_a_signal_pretends_to_be_nothing_else(account: Client, key: str) -> None:
    """The ends of sub-flows and the answers of approvals come by signals too; people's have keys of their own."""
    account.new_flow(json.dumps(_one("delay", duration="1h")), name="Slow")
    definition = {
        "nodes": {
            "a": {"type": "parallel", "branches": {
                "l": {"nodes": {"f": {"type": "flow", "params": {"flow": "Slow"}}}},
                "r": {"nodes": {"a": {"type": "approval"}}}}},
        },
    }  # fmt: skip
    id = account.run(account.new_flow(json.dumps(definition)))
    for _ in range(500):
        waiting = {found["type"]: found for found in account.execution(id).get("waiting_for", [])}
        if waiting.keys() >= {"flow", "approval"}:
            break
    key = urllib.parse.quote(key.format(child=waiting["flow"]["execution_id"]), safe="")

    account.post(f"/api/v1/executions/{id}/signals/{key}", {"payload": {"status": "completed", "approved": True}})

    assert {found["type"] for found in account.execution(id)["waiting_for"]} == {"flow", "approval"}
    account.delete(f"/api/v1/executions/{id}")


def test_an_approval_takes_no_answer_from_who_may_not_give_it(account: Client, admin: Client) -> None:
    team = account.post("/api/v1/workspaces", {"name": "A team"}).json["id"]
    members = {role: admin.new_account() for role in ("viewer", "operator", "editor")}
    for role, member in members.items():
        joined = account.post(f"/api/v1/workspaces/{team}/members", {"account": member.email, "role": role})
        assert joined.status == 201, joined
    flow = {"name": "A flow", "definition": json.dumps(_one("approval", roles=["admin"]))}
    id = account.run(account.post("/api/v1/flows", flow, Flowrunner_Workspace=team).json["id"])
    account.until_it_waits(id)
    answers = f"/api/v1/executions/{id}/approvals/a"

    assert [member.post(answers, {"approved": True}).status for member in members.values()] == [403, 403, 403]
    # Neither the admin of the installation nor an account without a workspace in common is a member.
    assert [somebody.post(answers, {"approved": True}).status for somebody in (admin, admin.new_account())] == [
        404,
        404,
    ]
    for extra in (
        {"by": account.account_id}, {"role": "admin"}, {"at": "2027-01-01T00:00:00Z"}, {"roles": ["editor"]},
    ):  # fmt: skip
        body = {"approved": True, **extra}
        assert [by.post(answers, body).status for by in (members["editor"], account)] == [422, 422]
    assert account.execution(id)["status"] == "waiting"

    assert account.post(answers, {"approved": True}).status == 200
    assert account.ended(id)["result"]["by"] == account.account_id


def test_an_answer_is_told_with_who_gave_it_whatever_its_data_says(account: Client) -> None:
    id = account.run(account.new_flow(json.dumps(_one("approval"))))
    account.until_it_waits(id)
    data = {"by": "somebody else", "approved": False, "at": "2000-01-01T00:00:00Z"}

    assert account.post(f"/api/v1/executions/{id}/approvals/a", {"approved": True, "data": data}).status == 200

    result = account.ended(id)["result"]
    assert (result["approved"], result["by"], result["data"]) == (True, account.account_id, data)


# What input can do

FORMS: Final[tuple[Any, ...]] = (
    {"type": "nonsense"}, {"type": ["string", 5]}, {"$ref": "http://127.0.0.1:1/schema.json"},
    {"$ref": "file:///etc/passwd"}, {"$ref": "#"}, {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    {"$id": "http://127.0.0.1:1/x", "$schema": "http://127.0.0.1:1/y"}, {"$dynamicRef": "#x"},
    {"pattern": "(a+)+$"}, {"pattern": "(?<=a)b"}, {"pattern": "["}, {"pattern": "a{99999}"}, {"pattern": 5},
    {"properties": {"__proto__": {"type": "string"}}}, {"properties": []}, {"required": "a"}, {"enum": []},
    {"allOf": [{"allOf": [{"allOf": [{}] * 50}] * 50}] * 20}, {"minimum": "x"}, {"multipleOf": 0}, {"const": {}},
    {"format": "nonsense"}, {"not": {}}, {"items": [{}]}, {"maxLength": -1}, {"default": {"a": 1}},
    {"additionalProperties": "x"}, {"if": 1}, {"dependentSchemas": {"a": 1}}, {"contentSchema": {"$ref": "x:y"}},
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(FORMS)))
def test_a_form_that_comes_with_the_input_is_checked_like_any_other(
    account: Client, server: Server, scoreboard: Scoreboard, number: int
) -> None:
    written = len(server.log)
    id = account.run(account.new_flow(json.dumps(_one("approval", form="${flow.input.form}"))), {"form": FORMS[number]})
    found = account.until_it_waits(id)
    answers = []
    if found["status"] == "waiting":
        answers = [
            account.post(f"/api/v1/executions/{id}/approvals/a", {"approved": True, "data": data})
            for data in (None, "a" * 50 + "!", {"__proto__": 5, "a": 1}, ["x"], 5)
        ]
    else:
        assert found["failure"]["type"] == "input.invalid"
    bad = [answer for answer in answers if answer.status not in (200, 409, 422)]

    scoreboard.count("forms made by whoever gives the input: answers of 500 and above", cases=5, failures=len(bad))
    assert bad == []
    assert "crashed" not in server.log[written:]
    account.delete(f"/api/v1/executions/{id}")


POLLUTION: Final = (
    "Object.prototype.isAdmin = true", "Array.prototype.map = () => ['taken']", "String.prototype.toString = () => 'x'",
    "({}).__proto__.isAdmin = true", "({}).constructor.prototype.isAdmin = true", "globalThis.input = 'taken'",
    "Object.defineProperty(Object.prototype, 'isAdmin', {value: 1})", "JSON.stringify = () => '\"taken\"'",
    "JSON.parse = () => 'taken'", "Promise.prototype.then = () => 'taken'", "Reflect.apply = () => 'taken'",
    "Object.assign(Object.prototype, JSON.parse('{\"isAdmin\": true}'))", "input.__proto__.isAdmin = true",
    "globalThis.secrets = {X: 'taken'}", "console.log = () => { throw 1 }", "Symbol.iterator = null",
    "Object.setPrototypeOf(input, {isAdmin: true})", "delete Object.prototype.toString", "nodes.a = {result: 'taken'}",
    "vars.kept = 'taken'", "flow.input.kept = 'taken'",
)  # fmt: skip


@pytest.mark.parametrize("script", POLLUTION)
def test_s41_a_script_changes_nothing_for_the_one_after_it(account: Client, script: str) -> None:
    look = (
        "return [({}).isAdmin ?? null, [1, 2].map(x => x * 2), 'a'.toString(), typeof globalThis.taken,"
        " JSON.parse(JSON.stringify({a: 1})), Object.keys(Object.prototype), input, vars, flow.input, [...'ab'],"
        " Object.prototype.toString.call([])]"
    )
    definition = {
        "vars": {"kept": 1},
        "nodes": {
            "a": {
                "type": "transform",
                "params": {"script": f"{script}; return {{a: 1}}"},
                "next": {"default": "b", "error": "b"},
            },
            "b": {"type": "transform", "params": {"script": "return {a: 1}"}, "next": "c"},
            "c": {"type": "transform", "params": {"script": look}},
        },
    }
    expected = [
        None, [2, 4], "a", "undefined", {"a": 1}, [], {"a": 1}, {"kept": 1}, {"kept": 1}, ["a", "b"], "[object Array]",
    ]  # fmt: skip

    for _ in range(2):
        assert run(account, definition, {"kept": 1})["result"] == expected


DATA: Final = (
    '{"__proto__": {"isAdmin": true}}', '{"constructor": {"prototype": {"isAdmin": true}}}',
    '{"toString": "x", "valueOf": 1}',
    '{"__proto__": null, "hasOwnProperty": 1}', '{"toJSON": "x"}', '{"then": "x"}', '{"length": -1}', '{"$where": "1"}',
    '{"nodes": 1, "secrets": 2, "input": 3}', '{"a": "${secrets.X}", "${secrets.X}": 1}', '{"a": "$${x}", "b": "${"}',
    '{"__defineGetter__": 1, "__lookupGetter__": 2}', '{"get x": 1}', '{"\\u005f_proto__": {"isAdmin": true}}',
)  # fmt: skip


@pytest.mark.parametrize("data", DATA)
def test_s39_s41_data_stays_data_on_its_way_through_every_node(account: Client, data: str) -> None:
    given = json.loads(data)
    definition = {
        "vars": {},
        "nodes": {
            "a": {"type": "transform", "params": {"script": "return flow.input.data"}, "next": "b"},
            "b": {"type": "set", "params": {"kept": "${input}"}, "next": "c"},
            "c": {"type": "foreach", "params": {"items": "${[vars.kept]}"}, "next": "d",
                  "nodes": {"n": {"type": "return", "params": {"value": "${item}"}}}},
            "d": {"type": "transform", "next": "e", "params": {
                "script": "return {same: input[0], admin: ({}).isAdmin ?? null, keys: Object.keys(input[0])}"}},
            "e": {"type": "return", "params": {"value": "${input}"}},
        },
    }  # fmt: skip
    result = run(account, definition, {"data": given})["result"]

    assert result["admin"] is None
    assert sorted(result["keys"]) == sorted(given)
    assert result["same"] == given


def test_s27_lines_and_faults_of_scripts_hide_what_they_hold(account: Client) -> None:
    account.new_secret("X", PLAIN)
    script = (
        "console.log(secrets.X, {[secrets.X]: [secrets.X]}); throw new Error('for ' + encodeURIComponent(secrets.X))"
    )
    id = account.run(account.new_flow(json.dumps(_one("transform", script=script))))

    assert account.ended(id)["failure"]["message"].endswith("Error: for ***")
    assert '*** {"***":["***"]}' in [line["message"] for line in account.logs(id)]
