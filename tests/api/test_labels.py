"""Labels and searchable inputs: where they come from, where they are shown, and the lists that select by them."""

import json
from typing import Any, Final
from urllib.parse import quote

import pytest

from api.shapes import SMALLEST, assert_error
from support.client import Client, Reply

FLOW: Final = """
inputs:
  order_id: {type: [integer, string], default: 0, searchable: true}
  is_urgent: {type: boolean, default: false, searchable: true}
  note: {type: string, default: ""}
nodes: {a: {type: log, params: {message: "${flow.input.order_id}"}}}
"""
RUN: Final = "/api/v1/flows/{}/run"


def started(client: Client, flow: str, **body: Any) -> str:
    reply = client.post(RUN.format(flow), body)
    assert reply.status == 201, reply
    client.ended(reply.json["execution_id"])
    return str(reply.json["execution_id"])


@pytest.fixture
def flow(account: Client) -> str:
    return account.new_flow(FLOW)


def listed(client: Client, query: str) -> list[str]:
    reply = client.get(f"/api/v1/executions?limit=1000&{query}")
    assert reply.status == 200, reply
    return [execution["id"] for execution in reply.json["executions"]]


def test_a_number_is_found_as_javascript_writes_it(account: Client, flow: str) -> None:
    ids = [started(account, flow, input={"order_id": number}) for number in (41, 41.0, 42)]

    assert listed(account, f"flow={flow}&input.order_id=41") == [ids[1], ids[0]]


def test_labels_are_shown_wherever_an_execution_is_and_a_rerun_keeps_them(account: Client) -> None:
    labels = {"team": "core", "env/stage": "prod: 1"}
    id = started(account, account.new_flow(FLOW), labels=labels)

    again = account.post(f"/api/v1/executions/{id}/rerun").json["execution_id"]
    account.ended(again)

    for each in (id, again):
        assert account.get(f"/api/v1/executions/{each}").json["labels"] == labels
    shown = account.get("/api/v1/executions?label=team:core").json["executions"]
    assert [(one["id"], one["labels"]) for one in shown] == [(again, labels), (id, labels)]
    first = account.get(f"/api/v1/executions/{id}/events").json["events"][0]
    assert (first["type"], first["labels"]) == ("execution_update", labels)
    assert "labels" not in account.get(f"/api/v1/executions/{started(account, account.new_flow(FLOW))}").json


def test_a_rerun_has_the_labels_of_its_own_request_instead(account: Client) -> None:
    id = started(account, account.new_flow(FLOW), labels={"team": "before", "env": "x"})

    def again(body: dict[str, Any]) -> Any:
        reply = account.post(f"/api/v1/executions/{id}/rerun", body)
        assert reply.status == 201, reply
        return account.ended(reply.json["execution_id"]).get("labels")

    assert again({"labels": {"team": "after"}}) == {"team": "after"}
    assert again({"labels": {}}) is None
    assert again({"labels": None}) == {"team": "before", "env": "x"}
    assert len(listed(account, "label=team:before")) == 2
    assert_error(account.post(f"/api/v1/executions/{id}/rerun", {"labels": {"a b": "c"}}), 422)
    assert_error(account.post(f"/api/v1/executions/{id}/rerun", {"labels": {f"a{n}": "b" for n in range(21)}}), 422)


def test_a_list_has_the_executions_with_all_labels_and_inputs_that_are_asked_for(account: Client) -> None:
    flow = account.new_flow(FLOW)
    a = started(account, flow, labels={"team": "a", "env": "x"}, input={"order_id": 41})
    b = started(account, flow, labels={"team": "b", "env": "x"}, input={"order_id": "41", "is_urgent": True})
    c = started(account, flow, labels={"team": "a", "env": "y"}, input={"order_id": 42, "note": "n"})

    assert listed(account, f"flow={flow}&label=team:a") == [c, a]
    assert listed(account, "label=team:a&label=env:x") == [a]
    assert listed(account, "label=team:a&label=team:b") == []
    assert listed(account, f"flow={flow}&input.order_id=41") == [b, a]
    assert listed(account, f"flow={flow}&input.order_id=41&input.is_urgent=true&label=env:x") == [b]
    # Not declared as searchable.
    assert listed(account, f"flow={flow}&input.note=n") == []
    assert listed(account, "label=team:a&status=failed") == []
    page = account.get(f"/api/v1/executions?label=env:x&flow={flow}&limit=1&cursor=&count=true")
    assert (page.json["executions"][0]["id"], page.json["total"]) == (b, 2)
    assert "label=env%3Ax" in page.headers["link"]
    plan = account.post(
        "/api/v1/executions:batch?dry_run=true",
        {"action": "delete", "filter": {"label": ["team:a"], "input": {"order_id": "42"}}},
    )
    assert (plan.json["total"], plan.json["executions"][0]["id"]) == (1, c)


def test_no_secret_is_stored_or_found_as_a_label_or_input(account: Client) -> None:
    account.new_secret("PIN", "hunter-2-of-nobody")
    labels = {"pin": "hunter-2-of-nobody", "team": "secretive"}
    id = started(account, account.new_flow(FLOW), labels=labels, input={"order_id": "hunter-2-of-nobody"})

    shown = account.get(f"/api/v1/executions/{id}")

    assert shown.json["labels"] == {"pin": "***", "team": "secretive"}
    assert "hunter-2" not in shown.body.decode()
    assert listed(account, "label=pin:hunter-2-of-nobody") == []
    assert listed(account, "input.order_id=hunter-2-of-nobody") == []
    assert listed(account, "label=team:secretive") == [id]


def test_a_deleted_execution_is_not_found_by_its_labels(account: Client) -> None:
    id = started(account, account.new_flow(FLOW), labels={"short": "lived"})
    assert listed(account, "label=short:lived") == [id]

    assert account.delete(f"/api/v1/executions/{id}/record").status == 200

    assert listed(account, "label=short:lived") == []


@pytest.mark.parametrize(
    "labels",
    [
        {"": "a"},
        {"-a": "a"},
        {"a b": "a"},
        {"a:b": "a"},
        {"a" * 64: "a"},
        {"a": ""},
        {"a": "a" * 201},
        {"a": "a\nb"},
        {"a": 1},
        {"a": None},
        {f"a{n}": "a" for n in range(21)},
        ["a"],
        "a",
    ],
)
def test_other_names_and_values_are_rejected(account: Client, flow: str, labels: Any) -> None:
    assert_error(account.post(RUN.format(flow), {"labels": labels}), 422)


@pytest.mark.parametrize(
    "query",
    [
        "label=team",
        "label=",
        "label=team:",
        "label=:core",
        "labels=a:b",
        "inputs.a=1",
        "input=1",
        "&".join(["label=a:b"] * 6 + [f"input.a{n}=1" for n in range(5)]),
    ],
)
def test_other_filters_are_rejected(account: Client, query: str) -> None:
    assert_error(account.get(f"/api/v1/executions?{query}"), 422)


@pytest.mark.parametrize("name", ["input.", "input.a%00b", "input." + quote("ü" * 300)])
def test_an_input_that_no_flow_has_finds_nothing(account: Client, name: str) -> None:
    assert listed(account, f"{name}=%00") == []


def test_a_key_with_other_labels_is_another_request(account: Client, flow: str) -> None:
    key = {"Idempotency-Key": "labelled", "Content-Type": "application/json"}

    def run(value: str) -> Reply:
        return account.request("POST", RUN.format(flow), json.dumps({"labels": {"a": value}}).encode(), key)

    first = run("1")
    assert run("1").json["execution_id"] == first.json["execution_id"]
    assert_error(run("2"), 422)


HOOK: Final = """
triggers:
  in:
    type: webhook
    verify: none
    labels: {source: shop, order: "${trigger.body.order}", priority: 1, nothing: "${trigger.body.absent}"}
nodes: {a: {type: log, params: {message: hello}}}
"""


def test_a_trigger_labels_what_it_starts(account: Client) -> None:
    account.new_flow(HOOK)
    url = account.get("/api/v1/triggers?type=webhook").json["triggers"][0]["url"]

    reply = Client(account.url).request(
        "POST", url, b'{"order": 7, "absent": null}', {"Content-Type": "application/json"}
    )

    assert reply.status == 202, reply
    labels = account.get(f"/api/v1/executions/{reply.json['execution_id']}").json["labels"]
    assert labels == {"order": "7", "priority": "1", "source": "shop"}
    bad = Client(account.url).request(
        "POST", url, b'{"order": {}, "absent": null}', {"Content-Type": "application/json"}
    )
    assert_error(bad, 422)


@pytest.mark.parametrize(
    "labels", ["{-a: b}", "{a: [b]}", '{a: ""}', "b", "{" + ", ".join(f"a{n}: b" for n in range(21)) + "}"]
)
def test_a_document_with_other_labels_has_a_fault(account: Client, labels: str) -> None:
    document = SMALLEST + f"triggers: {{t: {{type: schedule, every: 1h, labels: {labels}}}}}\n"

    faults = account.post("/api/v1/flows/validate", {"definition": document}).json["errors"]

    assert "labels" in faults[0]["path"]


def test_a_document_with_too_many_searchable_inputs_has_a_fault(account: Client) -> None:
    inputs = "".join(f"  i{n}: {{type: string, searchable: true}}\n" for n in range(11))

    reply = account.post(
        "/api/v1/flows/validate",
        {"definition": f"{SMALLEST}inputs:\n{inputs}"},
    )

    assert [fault["code"] for fault in reply.json["errors"]] == ["too_long"]
