"""What there is to say of a definition that nobody saves."""

import json
from typing import Any, Final

import pytest

from api.shapes import SMALLEST, assert_error
from support.client import PASSWORD, Client
from support.lazy import Lazy

VALIDATE: Final = "/api/v1/flows/validate"
ALWAYS: Final = {"pointer", "path", "code", "message", "line", "column"}

FAULTY: Final = """metadata:
  name: Faulty
  version: 2
nodes:
  a:
    type: http.reqest
    next: b
  b:
    type: http.request
    params: {url: "http://127.0.0.1/", urll: x, method: FETCH}
    next: c
  c: {type: transform, params: {value: "${nodes.nobody.result}"}, next: d}
  d: {type: transform, params: {script: "return 1 +"}, next: e}
  e: {type: delay, params: {duration: soon}, next: nowhere}
"""


def study(account: Client, definition: str) -> Any:
    reply = account.post(VALIDATE, {"definition": definition})
    assert reply.status == 200, reply
    assert reply.json.keys() == {"is_valid", "errors", "warnings"}
    for entry in (*reply.json["errors"], *reply.json["warnings"]):
        assert entry.keys() - {"hint", "fix"} == ALWAYS
        assert entry["pointer"] == "/definition"
        assert entry["line"] >= 1
        assert entry["column"] >= 1
        assert entry["message"]
    return reply.json


def test_a_definition_that_could_be_saved_is_valid_and_is_not_saved(account: Client) -> None:
    assert study(account, SMALLEST) == {"is_valid": True, "errors": [], "warnings": []}

    assert account.get("/api/v1/flows").json["total"] == 0


def test_a_definition_may_be_written_as_json(account: Client) -> None:
    definition = json.dumps({"nodes": {"only": {"type": "return"}}}, indent=2)

    assert study(account, definition)["is_valid"]


def test_a_fault_with_a_certain_remedy_has_the_edit_that_removes_it(account: Client) -> None:
    found = study(account, FAULTY)

    fixes = [fault["fix"] for fault in found["errors"] if "fix" in fault]
    assert {"line": 6, "column": 11, "end_column": 22, "text": "http.request"} in fixes
    assert {"line": 3, "column": 12, "end_column": 13, "text": '"2"'} in fixes
    assert {"line": 10, "column": 39, "end_column": 43, "text": "url"} not in fixes, "url is there already"


def test_every_fault_is_told_with_its_place_and_what_to_do(account: Client) -> None:
    found = study(account, FAULTY)

    assert not found["is_valid"]
    places = [(error["line"], error["column"]) for error in found["errors"]]
    assert places == sorted(places), "in the order of the document"
    told = {(e["path"], e["code"], e["line"], e["column"]) for e in found["errors"]}
    assert told == {
        ("metadata.version", "type", 3, 12),
        ("nodes.a.type", "node.type", 6, 11),
        ("nodes.b.params.urll", "unknown_key", 10, 40),
        ("nodes.b.params.method", "param", 10, 57),
        ("nodes.c.params.value", "expression.unknown_name", 12, 40),
        ("nodes.d.params.script", "expression.syntax", 13, 41),
        ("nodes.e.params.duration", "param", 14, 39),
        ("nodes.e.next", "edge.target", 14, 52),
    }
    hints = {error["path"]: error.get("hint") for error in found["errors"]}
    assert hints["nodes.a.type"] == "did you mean 'http.request'?"
    assert hints["nodes.b.params.urll"] == "did you mean 'url'?"
    assert hints["metadata.version"] == 'quote it: version: "2"'


def test_of_very_many_faults_the_first_thousand_are_listed(account: Client) -> None:
    many = "{nodes: {a: {type: return, params: {value: [" + ", ".join(["!a b"] * 3000) + "]}}}}"

    assert [len(study(account, many)[kind]) for kind in ("errors", "warnings")] == [1000, 0]
    refused = account.post("/api/v1/flows", {"name": "x", "definition": many})
    assert_error(refused, 422, "The flow definition has 3000 faults")
    assert len(refused.json["error"]["details"]["errors"]) == 1000


def test_the_same_faults_keep_it_from_being_saved(account: Client) -> None:
    details = assert_error(account.post("/api/v1/flows", {"name": "N", "definition": FAULTY}), 422)

    assert details["errors"] == study(account, FAULTY)["errors"]


@pytest.mark.parametrize(
    ("definition", "code"),
    [
        ("", "type"), ("- a", "type"), ("nodes: {}", "required"), ("nodes: [", "yaml.syntax"),
        ("nodes: {a: {type: return}}\n---\nnodes: {}", "yaml.documents"), ("nodes: \x07", "yaml.character"),
        (Lazy(lambda: "#" * (1024 * 1024 + 1)), "too_large"), ("[" * 51 + "]" * 51, "too_deep"),
    ],
)  # fmt: skip
def test_what_is_no_document_is_told_too(account: Client, definition: str, code: str) -> None:
    found = study(account, definition)

    assert not found["is_valid"]
    assert [error["code"] for error in found["errors"]] == [code]


SWITCH: Final = """nodes:
  a:
    type: switch
    params: {cases: [{when: "true", action: big}]}
    next: {default: b}
  b: {type: log, params: {message: "${secrets.API_KEY} ${secrets.OTHER}"}}
"""


def test_a_warning_does_not_keep_it_from_being_saved(account: Client) -> None:
    account.new_secret("OTHER", "a value to hide")

    found = study(account, SWITCH)

    assert found["is_valid"]
    assert found["errors"] == []
    told = [(w["path"], w["code"], w["line"]) for w in found["warnings"]]
    assert told == [("nodes.a.next", "edge.missing", 5), ("nodes.b.params.message", "secret.unknown", 6)]
    assert found["warnings"][1]["message"] == "there is no secret 'API_KEY'"
    assert all(warning["hint"] for warning in found["warnings"])
    assert account.post("/api/v1/flows", {"name": "N", "definition": SWITCH}).status == 201


def test_warnings_are_told_beside_faults(account: Client) -> None:
    found = study(account, SWITCH.replace("type: log", "type: lgo"))

    assert [error["code"] for error in found["errors"]] == ["node.type"]
    assert "edge.missing" in {warning["code"] for warning in found["warnings"]}


def test_a_webhook_without_its_secret_is_said_to_reject_requests(account: Client) -> None:
    hook = "triggers: {hook: {type: webhook, verify: {scheme: github, secret: '${secrets.HOOK_KEY}'}}}"
    hints = {
        warning["path"]: warning["hint"]
        for warning in study(account, f"{hook}\nnodes: {{a: {{type: log, params: {{message: '${{secrets.KEY}}'}}}}}}")[
            "warnings"
        ]
    }

    assert hints == {
        "triggers.hook.verify.secret": "the webhook rejects the requests that the secret should verify",
        "nodes.a.params.message": "the flow fails there if it runs without the secret",
    }


def test_the_secrets_of_another_account_are_not_known(account: Client, other: Client) -> None:
    other.new_secret("API_KEY", "a value to hide")
    other.new_secret("OTHER", "a value to hide")

    unknown = [w["message"] for w in study(account, SWITCH)["warnings"] if w["code"] == "secret.unknown"]

    assert unknown == ["there is no secret 'API_KEY'", "there is no secret 'OTHER'"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "definition"),
        ({"definition": None}, "definition"),
        ({"definition": {"nodes": {}}}, "definition"),
        ({"definition": SMALLEST, "name": "N"}, "name"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(account: Client, body: Any, field: str) -> None:
    assert assert_error(account.post(VALIDATE, body), 422)["field"] == field


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "yaml"])
def test_a_bare_document_is_no_request(account: Client, media_type: str) -> None:
    reply = account.request("POST", VALIDATE, SMALLEST.encode(), {"Content-Type": media_type})

    assert_error(reply, 415)
    assert reply.error["hint"]


def test_a_viewer_may_ask(admin: Client) -> None:
    assert study(admin.new_account("viewer"), SMALLEST)["is_valid"]


def test_nobody_may_not(account: Client) -> None:
    assert_error(Client(account.url).post(VALIDATE, {"definition": SMALLEST}), 401)


def test_a_token_that_only_reads_may_ask(account: Client) -> None:
    made = account.post("/api/v1/tokens", {"name": "N", "scopes": ["read"]}).json
    runner = account.post("/api/v1/tokens", {"name": "N", "scopes": ["run"]}).json

    assert study(Client(account.url, made["token"]), SMALLEST)["is_valid"]
    assert_error(Client(account.url, runner["token"]).post(VALIDATE, {"definition": SMALLEST}), 403)
    assert Client(account.url).login(account.email, PASSWORD).get("/api/v1/flows").json["total"] == 0


# Flows that are called


def calling(*names: str) -> str:
    lines = [f"  n{i}: {{type: flow, params: {{flow: '{name}'}}, next: n{i + 1}}}" for i, name in enumerate(names)]
    return "\n".join(["nodes:", *lines, f"  n{len(names)}: {{type: return}}", ""])


def test_a_flow_that_is_called_and_not_there_is_warned_of(account: Client) -> None:
    there = account.new_flow(SMALLEST, name="There")

    found = study(account, calling("There", there, "${input.which}", "Nowhere", "Nowhere"))

    assert found["is_valid"]
    assert [(w["code"], w["line"], w["path"], w["message"]) for w in found["warnings"]] == [
        ("flow.unknown", 5, "nodes.n3.params.flow", "there is no flow 'Nowhere'")
    ]


def test_a_flow_may_call_itself_before_it_is_saved(account: Client) -> None:
    found = study(account, f"metadata: {{name: Counts}}\n{calling('Counts')}")

    assert found["warnings"] == []


def test_a_flow_that_is_called_by_a_name_of_several_is_warned_of(account: Client) -> None:
    first = account.new_flow(SMALLEST, name="Twin")
    account.new_flow(SMALLEST, name="Twin")

    found = study(account, calling("Twin", first))

    assert [(w["code"], w["line"], w["message"]) for w in found["warnings"]] == [
        ("flow.ambiguous", 2, "several flows are called 'Twin'")
    ]


def test_another_account_s_flows_are_not_seen(account: Client, other: Client) -> None:
    other.new_flow(SMALLEST, name="Private")

    assert [w["code"] for w in study(account, calling("Private"))["warnings"]] == ["flow.unknown"]


def test_a_name_of_several_flows_fails_the_node_that_calls_it(account: Client) -> None:
    account.new_flow(SMALLEST, name="Double")
    second = account.new_flow(SMALLEST, name="Double")
    parent = "nodes: {call: {type: flow, params: {flow: '${input.which}'}}}"

    by_name, by_id = (account.run_to_end(parent, {"which": which}) for which in ("Double", second))

    assert (by_name["status"], by_name["failure"]["type"]) == ("failed", "flow.ambiguous")
    assert by_name["error"] == "Several flows are called 'Double': write the id of the flow to call"
    assert by_id["status"] == "completed"
