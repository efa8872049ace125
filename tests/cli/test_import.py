"""Documents of other programs, made into flows by `import`."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.command import flowrunner
from flowrunner.cli.common import CommandFailed
from flowrunner.cli.importing import openapi
from flowrunner.cli.importing.documents import as_yaml, read_spec
from flowrunner.cli.importing.n8n import flow_of
from flowrunner.cli.importing.openapi import flows_of, operations_of

DOCUMENTS = Path(__file__).parent / "imports"


def imported(kind: str, file: Path, at: Path) -> tuple[list[str], str]:
    """Import a document into `flows/`, whose flows must have no faults; return their names and the report."""
    done = flowrunner("import", kind, file, "-o", "flows", at=at)
    assert done.returncode == 0, done.stderr
    checked = flowrunner("validate", "flows", at=at)
    assert checked.returncode == 0, checked.stdout
    return done.stdout.splitlines(), done.stderr


def document(name: str, at: Path) -> Any:
    return yaml.safe_load((at / "flows" / f"{name}.yaml").read_text())


def run(name: str, at: Path, *more: str) -> Any:
    done = flowrunner("run", "--local", f"flows/{name}.yaml", "-q", *more, at=at)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_operation_of_an_api_becomes_a_flow(tmp_path: Path) -> None:
    names, report = imported("openapi", DOCUMENTS / "shop.yaml", tmp_path)

    assert names == ["list_orders", "create_order", "get_order", "delete_orders_order_id", "login"]
    assert report == "5 flows in flows, 0 places need review\n"
    listed = document("list_orders", tmp_path)
    assert listed["metadata"] == {"name": "list_orders", "description": "List orders", "tags": ["orders"]}
    assert listed["inputs"]["state"] == {"type": "string", "enum": ["open", "paid", "no", "010"]}
    assert listed["inputs"]["page_size"]["required"] is False
    assert listed["nodes"]["call"]["params"] == {
        "url": "https://eu.shop.example.com/v1/orders",
        "query": {"page-size": "${flow.input.page_size ?? null}", "state": "${flow.input.state ?? null}"},
        "headers": {"X-Trace-Id": "${flow.input.x_trace_id ?? null}"},
        "auth": {"token": "${secrets.BEARER}"},
    }


def test_operations_are_listed_and_chosen_by_name_path_or_tag(tmp_path: Path) -> None:
    shop = DOCUMENTS / "shop.yaml"
    listed = flowrunner("import", "openapi", shop, "--list", "--only", "GET *", at=tmp_path)

    assert listed.stdout == "list_orders  get /orders  List orders\nget_order  get /orders/{order id}\n"
    assert not (tmp_path / "flows").exists()
    for chosen, names in (
        (["--only", "getOrder", "--only", "post /lo*"], ["get_order", "login"]),
        (["--only", "delete_orders_order_id"], ["delete_orders_order_id"]),
        (["--tag", "orders", "--only", "*"], ["list_orders"]),
    ):
        done = flowrunner("import", "openapi", shop, "-o", "some", *chosen, at=tmp_path)
        assert done.stdout.splitlines() == names, done.stderr
    for wrong in (["--only", "getOrders"], ["--tag", "nothing"]):
        assert flowrunner("import", "openapi", shop, "-o", "none", *wrong, at=tmp_path).returncode == 5
    assert not (tmp_path / "none").exists()
    assert "Missing option '-o'" in flowrunner("import", "openapi", shop, at=tmp_path).stderr


def test_bodies_paths_and_authentication_are_those_of_the_operation(tmp_path: Path) -> None:
    imported("openapi", DOCUMENTS / "shop.yaml", tmp_path)

    created = document("create_order", tmp_path)
    order = created["inputs"]["body"]
    assert order["required"] == ["lines"]
    assert order["properties"]["note"] == {"type": ["string", "null"]}
    assert order["properties"]["lines"]["items"]["properties"]["sku"] == {"type": "string", "maxLength": 40}
    assert created["nodes"]["call"]["params"]["body"] == "${flow.input.body ?? null}"
    one = document("get_order", tmp_path)["nodes"]["call"]["params"]
    assert one["url"] == "https://eu.shop.example.com/v1/orders/${encodeURIComponent(flow.input.order_id)}"
    assert one["auth"] == {"api_key": "${secrets.KEY}", "key_name": "X-Shop-Key"}
    gone = document("delete_orders_order_id", tmp_path)["nodes"]["call"]["params"]
    assert (gone["method"], gone["auth"]["username"]) == ("DELETE", "${secrets.BASIC_USERNAME}")
    login = document("login", tmp_path)["nodes"]["call"]["params"]
    assert login["form"] == "${flow.input.body ?? null}"
    assert "auth" not in login


def test_what_an_operation_says_goes_before_its_path_and_that_before_the_document() -> None:
    size = {"name": "size", "in": "query", "required": True, "schema": {"type": "integer"}}
    spec = {
        "openapi": "3.1.0",
        "servers": [{"url": "https://all.example.com"}],
        "paths": {
            "/a": {
                "servers": [{"url": "https://path.example.com"}],
                "parameters": [size],
                "get": {
                    "operationId": "own",
                    "servers": [{"url": "https://own.example.com"}],
                    "parameters": [{**size, "required": False, "schema": {"type": "string"}}],
                },
                "delete": {"operationId": "path"},
            },
            "/b": {"get": {"operationId": "all"}},
        },
    }

    flows = {flow.name: flow.document for flow in flows_of(spec, operations_of(spec))}

    assert {name: flow["nodes"]["call"]["params"]["url"] for name, flow in flows.items()} == {
        "own": "https://own.example.com/a", "path": "https://path.example.com/a", "all": "https://all.example.com/b",
    }  # fmt: skip
    assert {name: flow.get("inputs") for name, flow in flows.items()} == {
        "own": {"size": {"type": "string", "required": False}}, "path": {"size": {"type": "integer"}}, "all": None,
    }  # fmt: skip


def test_more_operations_than_become_flows_are_chosen_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi, "MOST_OPERATIONS", 2)
    monkeypatch.setattr(openapi, "MOST_LISTED", 3)
    spec: dict[str, Any] = {"openapi": "3.0.0", "paths": {f"/{name}": {"get": {"tags": [name]}} for name in "abc"}}

    assert [flow.name for flow in flows_of(spec, operations_of(spec, ["get_a", "get_b"]))] == ["get_a", "get_b"]
    assert [one.path for one in operations_of(spec, (), ["c", "a"])] == ["/a", "/c"]
    with pytest.raises(CommandFailed, match=r"has 3 operations, and at most 2 become flows"):
        flows_of(spec, operations_of(spec))
    with pytest.raises(CommandFailed, match="more than 3 operations"):
        operations_of({**spec, "paths": {**spec["paths"], "/d": {"get": {}}}})
    with pytest.raises(CommandFailed, match="has a, b, c"):
        operations_of(spec, (), ["a", "d"])


def test_what_an_api_has_and_a_flow_has_not_is_reported(tmp_path: Path) -> None:
    spec = {
        "openapi": "3.1.0",
        "paths": {
            "/${secrets.STOLEN}": {
                "put": {
                    "operationId": "../../put",
                    "security": [{"gone": []}],
                    "parameters": [{"name": "c", "in": "cookie"}, {"$ref": "https://evil.example/x"}, 7, None],
                    "requestBody": {"content": {"text/csv": {"schema": {"$ref": "other.yaml#/x"}}}},
                }
            }
        },
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))

    (name,), report = imported("openapi", tmp_path / "spec.json", tmp_path)
    assert name == "put"
    for part in (
        "names no server", "parameters in cookies are left out", "https://evil.example/x leads to another document",
        "other.yaml#/x leads to another", "'gone' is not described", "text/csv: it is sent as text",
    ):  # fmt: skip
        assert part in report
    assert document("put", tmp_path)["nodes"]["call"]["params"]["url"] == "https://example.com/$${secrets.STOLEN}"


def test_references_lead_into_lists_and_to_names_of_any_characters(tmp_path: Path) -> None:
    page = {"name": "page", "in": "query", "schema": {"$ref": "#/components/schemas/Page%3Cint%3E"}}
    spec = {
        "openapi": "3.0.0",
        "servers": [{"url": "https://shop.example.com"}],
        "components": {"schemas": {"Page<int>": {"type": "integer"}}},
        "paths": {
            "/a/{b}": {"get": {"operationId": "first", "parameters": [page]}},
            "/c": {
                "get": {
                    "operationId": "second",
                    "parameters": [
                        {"$ref": "#/paths/~1a~1%7Bb%7D/get/parameters/0"},
                        {"$ref": "#/paths/~1c/get/parameters/7"},
                        {"$ref": "#/components/parameters/Gone"},
                    ],
                }
            },
        },
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))

    names, report = imported("openapi", tmp_path / "spec.json", tmp_path)

    assert names == ["first", "second"]
    for name in names:
        assert document(name, tmp_path)["inputs"] == {"page": {"type": "integer", "required": False}}
    for gone in ("#/paths/~1c/get/parameters/7", "#/components/parameters/Gone"):
        assert f"second: the reference {gone} leads nowhere, and is left out" in report


def test_schemas_that_would_grow_without_end_are_cut(tmp_path: Path) -> None:
    wide = {f"p{number}": {"$ref": "#/components/schemas/A"} for number in range(20)}
    spec = {
        "openapi": "3.0.0",
        "components": {
            "schemas": {"A": {"type": "object", "properties": wide}, "B": {"$ref": "#/components/schemas/B"}}
        },
        "paths": {
            f"/{name}": {"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": reference}}}}}}
            for name, reference in (("a", "#/components/schemas/A"), ("b", "#/components/schemas/B"))
        },
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))

    done = flowrunner("import", "openapi", "spec.json", "-o", "flows", at=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "flows" / "post_a.yaml").stat().st_size < 1_000_000
    assert document("post_b", tmp_path)["inputs"]["body"] == {"required": False}


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("openapi", "swagger: '2.0'", "convert it to OpenAPI 3 first"),
        ("openapi", "openapi: 3.0.0\npaths: []", "has no operations"),
        ("openapi", "[" * 100_000, "neither JSON nor YAML"),
        ("openapi", "a: [", "neither JSON nor YAML"),
        ("openapi", "", "not an OpenAPI 3 document"),
        ("openapi", "[{openapi: 3.0.0}]", "not an OpenAPI 3 document"),
        ("openapi", "openapi: 2.9.9", "not an OpenAPI 3 document"),
        ("n8n", "{}", "not an n8n workflow"),
        ("n8n", '{"nodes": [7, null]}', "no nodes that do anything"),
        ("n8n", '{"nodes": [{"type": "n8n-nodes-base.manualTrigger"}]}', "no nodes that do anything"),
    ],
)
def test_what_is_no_such_document_is_rejected(kind: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)

    done = flowrunner("import", kind, "file", "-o", "flows", at=tmp_path)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert "Usage:" not in done.stderr
    assert not (tmp_path / "flows").exists()


def test_a_workflow_of_n8n_becomes_a_flow_with_triggers_and_edges(tmp_path: Path) -> None:
    names, report = imported("n8n", DOCUMENTS / "orders.n8n.json", tmp_path)

    assert names == ["Order alarm"]
    flow = document("Order alarm", tmp_path)
    assert flow["triggers"]["every_morning"] == {"type": "schedule", "cron": "0 7 * * 1-5"}
    assert flow["triggers"]["hook"]["type"] == "webhook"
    assert flow["start"] == "get_orders"
    nodes = flow["nodes"]
    assert list(nodes) == [
        "get_orders", "large", "keep", "pause", "count", "by_length", "tell_slack", "done",
    ]  # fmt: skip
    assert nodes["get_orders"]["params"] == {
        "url": "https://shop.example.com/orders/${input.region}",
        "query": {"state": "open"},
        "headers": {"Accept": "application/json"},
        "auth": {"token": "${secrets.GET_ORDERS}"},
    }
    assert nodes["large"]["params"]["cases"] == [
        {"when": 'input.total > 100 && input.state !== "paid"', "action": "yes"}
    ]
    assert nodes["large"]["next"] == {"yes": "keep", "no": "done"}
    assert nodes["keep"]["params"]["value"] == {
        "text": "Order ${input.id} costs $${money} ${nodes.get_orders.result.total}",
        "urgent": True,
    }
    assert nodes["pause"]["params"] == {"duration": "2m"}
    assert nodes["by_length"]["next"] == {"case_1": "tell_slack", "case_2": "done"}
    assert nodes["done"]["params"]["value"] == {"length": "${input.length}"}
    assert "slack" in nodes["tell_slack"]["x-n8n"]
    for part in (
        "'Tell Slack' is a placeholder: the type slack has no counterpart; 'http.request' calls an API",
        "set the secret GET_ORDERS",
        "'Large?' leads to several nodes: only 'keep' follows", "the webhook was protected", "'Count' gets one item",
    ):  # fmt: skip
        assert part in report


def test_what_a_node_of_n8n_lacks_or_has_of_another_kind_is_left_out() -> None:
    node = {
        "name": "Call", "type": "n8n-nodes-base.httpRequest", "typeVersion": "x", "notes": 7, "retryOnFail": True,
        "maxTries": 1, "parameters": {"url": "https://a.example", "headerParameters": {}},
    }  # fmt: skip

    flow = flow_of({"nodes": [node]})

    assert (flow.name, flow.notes) == ("imported", [])
    assert flow.document["nodes"]["call"] == {
        "type": "http.request", "params": {"url": "https://a.example"}, "output": "${result.body}",
        "retry": {"max": 1, "delay": "1000ms", "backoff": 1, "jitter": 0},
    }  # fmt: skip


def test_queries_of_n8n_keep_their_values_apart_from_their_text(tmp_path: Path) -> None:
    queries: dict[str, dict[str, Any]] = {
        "Find": {
            "query": "SELECT * FROM orders WHERE id = $1 AND note = $2",
            "options": {"queryReplacement": "={{ $json.id }}, new"},
        },
        "Pay": {
            "query": "UPDATE orders SET paid = true WHERE id = $1",
            "options": {"queryReplacement": "={{ [$json.id] }}"},
        },
        "Move": {"query": "WITH gone AS (DELETE FROM a RETURNING *) SELECT * FROM gone"},
        "Mix": {"query": "=SELECT * FROM orders WHERE id = {{ $json.id }}"},
    }  # fmt: skip
    nodes: list[dict[str, Any]] = [
        {"name": name, "type": "n8n-nodes-base.postgres", "typeVersion": 2.5, "credentials": {"postgres": {"id": "1"}},
         "parameters": {"operation": "executeQuery", **query}} for name, query in queries.items()
    ]  # fmt: skip
    nodes.append({"name": "Insert", "type": "n8n-nodes-base.postgres", "parameters": {"table": "orders"}})
    names = [*queries, "Insert"]
    connections = {one: {"main": [[{"node": other}]]} for one, other in pairwise(names)}
    (tmp_path / "db.json").write_text(json.dumps({"name": "Db", "nodes": nodes, "connections": connections}))

    _, report = imported("n8n", tmp_path / "db.json", tmp_path)

    made = document("Db", tmp_path)["nodes"]
    assert made["find"] == {
        "type": "sql", "output": "${result.rows}", "next": {"default": "pay"},
        "params": {"url": "${secrets.FIND}", "query": queries["Find"]["query"], "args": ["${input.id}", "new"]},
    }  # fmt: skip
    assert made["pay"]["params"] == {
        "url": "${secrets.PAY}", "operation": "execute", "query": queries["Pay"]["query"], "args": "${[input.id]}",
    }  # fmt: skip
    assert made["move"]["params"]["operation"] == "execute"
    assert made["mix"]["params"]["query"] == "SELECT * FROM orders WHERE id = ${input.id}"
    for part in (
        "'Find' uses credentials: set the secret FIND to postgresql://",
        "the query of 'Mix' has expressions: write $1, $2",
        "'Insert' writes its own SQL",
    ):
        assert part in report


def test_the_report_says_what_does_the_work_of_a_placeholder(tmp_path: Path) -> None:
    types = ["n8n-nodes-base.formTrigger", "n8n-nodes-base.removeDuplicates", "@n8n/n8n-nodes-langchain.textClassifier"]
    nodes = [{"name": name, "type": kind} for name, kind in zip(("Form", "New ones", "Sort"), types, strict=True)]
    connections = {one: {"main": [[{"node": other}]]} for one, other in (("Form", "New ones"), ("New ones", "Sort"))}
    (tmp_path / "form.json").write_text(json.dumps({"name": "Form", "nodes": nodes, "connections": connections}))

    _, report = imported("n8n", tmp_path / "form.json", tmp_path)

    assert list(document("Form", tmp_path)["nodes"]) == ["new_ones", "sort"]
    for part in (
        "write its fields as 'inputs'", "'New ones' is a placeholder: use a 'flow' with 'dedupe', or 'store'",
        "'Sort' is a placeholder: use 'llm' or 'agent'",
    ):  # fmt: skip
        assert part in report


def test_an_email_trigger_of_n8n_reads_a_mailbox_by_a_schedule(tmp_path: Path) -> None:
    nodes = [
        {"name": "New mail", "type": "n8n-nodes-base.emailReadImap", "credentials": {"imap": {"id": "1"}},
         "parameters": {"mailbox": "Orders", "downloadAttachments": True, "postProcessAction": "nothing"}},
        {"name": "Done", "type": "n8n-nodes-base.noOp", "parameters": {}},
    ]  # fmt: skip
    connections = {"New mail": {"main": [[{"node": "Done"}]]}}
    (tmp_path / "mail.json").write_text(json.dumps({"name": "Mail", "nodes": nodes, "connections": connections}))

    _, report = imported("n8n", tmp_path / "mail.json", tmp_path)

    made = document("Mail", tmp_path)
    assert (made["start"], made["triggers"]) == ("new_mail", {"new_mail": {"type": "schedule", "every": "5m"}})
    assert made["nodes"]["new_mail"] == {
        "type": "email.receive", "next": {"default": "done"},
        "params": {
            "host": "imap.example.com", "username": "user@example.com", "password": "${secrets.NEW_MAIL}",
            "folder": "Orders", "with_attachments": True, "unseen": True,
        },
    }  # fmt: skip
    assert "set the secret NEW_MAIL" in report
    assert "put what follows into a 'foreach'" in report


def test_send_email_of_n8n_sends_through_a_server_that_is_to_be_written(tmp_path: Path) -> None:
    written = {"fromEmail": "Shop <shop@example.com>", "subject": "=Order {{ $json.id }}"}
    written |= {"text": "Paid", "html": "<p>Paid"}
    nodes: list[dict[str, Any]] = [
        {"name": "First", "type": "n8n-nodes-base.emailSend", "typeVersion": 1, "parameters": {
            **written, "toEmail": "a@example.com, b@example.com", "ccEmail": "c@example.com"}},
        {"name": "Second", "type": "n8n-nodes-base.emailSend", "typeVersion": 2, "parameters": {
            **written, "toEmail": "={{ $json.to }}", "options": {"replyTo": "help@example.com"}}},
        {"name": "Later", "type": "n8n-nodes-base.emailSend", "typeVersion": 2.1, "retryOnFail": True, "parameters": {
            **written, "toEmail": "a@example.com", "options": {"attachments": "data"}}},
    ]  # fmt: skip
    lead = [("First", "Second"), ("Second", "Later")]
    workflow = {
        "name": "Mails", "nodes": [{**node, "credentials": {"smtp": {"id": "1"}}} for node in nodes],
        "connections": {source: {"main": [[{"node": target}]]} for source, target in lead},
    }  # fmt: skip
    (tmp_path / "mails.json").write_text(json.dumps(workflow))

    _, report = imported("n8n", tmp_path / "mails.json", tmp_path)

    made = document("Mails", tmp_path)["nodes"]
    server = {"host": "smtp.example.com", "username": "user@example.com", "from": "Shop <shop@example.com>"}
    assert made["first"]["params"] == {
        **server, "password": "${secrets.FIRST}", "to": ["a@example.com", "b@example.com"], "cc": "c@example.com",
        "subject": "Order ${input.id}", "body": "Paid", "html": "<p>Paid",
    }  # fmt: skip
    assert made["second"]["params"] == {
        **server, "password": "${secrets.SECOND}", "to": "${input.to}", "reply_to": "help@example.com",
        "subject": "Order ${input.id}", "body": "Paid",
    }  # fmt: skip
    assert {"body", "html"} & made["later"]["params"].keys() == {"html"}
    assert made["later"]["retry"] == {"max": 2, "delay": "1000ms", "backoff": 1, "jitter": 0}
    for part in (
        "'First' uses credentials: write its 'host' and 'username', and set the secret FIRST",
        "'Second' may compute several addresses for 'to'",
        "'Later' sends attachments",
    ):
        assert part in report


def test_all_rules_of_a_schedule_are_triggers_in_the_time_zone_of_the_workflow(tmp_path: Path) -> None:
    rules = [{"field": "days", "triggerAtHour": 7}, {"field": "minutes", "minutesInterval": 10}]
    workflow = {
        "name": "Zoned",
        "settings": {"timezone": "Europe/Berlin"},
        "nodes": [
            {"name": "When", "type": "n8n-nodes-base.scheduleTrigger", "parameters": {"rule": {"interval": rules}}},
            {"name": "In", "type": "n8n-nodes-base.webhook", "parameters": {"responseMode": "lastNode"}},
            {"name": "Do", "type": "n8n-nodes-base.noOp", "parameters": {}},
        ],
        "connections": {"When": {"main": [[{"node": "Do"}]]}, "In": {"main": [[{"node": "Do"}]]}},
    }
    (tmp_path / "zoned.json").write_text(json.dumps(workflow))

    imported("n8n", tmp_path / "zoned.json", tmp_path)

    triggers = document("Zoned", tmp_path)["triggers"]
    assert triggers["when"] == {"type": "schedule", "cron": "0 7 */1 * *", "timezone": "Europe/Berlin"}
    assert triggers["when_2"] == {"type": "schedule", "every": "10m"}
    assert triggers["in"]["respond"] == {"mode": "result"}


@pytest.mark.parametrize(
    ("targets", "notes"),
    [(("A", "A"), []), (("A", "B"), ["triggers lead to several nodes; the flow starts at 'a'"])],
)
def test_triggers_that_lead_to_several_nodes_are_reported(targets: tuple[str, str], notes: list[str]) -> None:
    nodes = [{"name": name, "type": "n8n-nodes-base.manualTrigger"} for name in ("First", "Second")]
    nodes += [{"name": name, "type": "n8n-nodes-base.noOp"} for name in ("A", "B")]
    connections = {
        name: {"main": [[{"node": target}]]} for name, target in zip(("First", "Second"), targets, strict=True)
    }

    flow = flow_of({"name": "F", "nodes": nodes, "connections": connections})

    assert flow.document["start"] == "a"
    assert flow.notes == notes


def test_fields_that_are_added_to_others_have_the_values_that_they_had(tmp_path: Path) -> None:
    values = [
        ("={{ $json.a }}", 3), ("={{ $json.a }} of {x}", "3 of {x}"), ("=${a}", "${a}"), (7, 7), (None, None),
        ("=C:\\new `${a}` {{ $json.a }}", "C:\\new `${a}` 3"), ("{{ $json.a }} ${a}", "{{ $json.a }} ${a}"),
        (["={{ $json.a }}", {"b": "=x"}], [3, {"b": "x"}]),
    ]  # fmt: skip
    fields = [{"name": f"f{number}", "value": given} for number, (given, _) in enumerate(values)]
    parameters = {"includeOtherFields": True, "assignments": {"assignments": fields}}
    nodes = [{"name": "Set", "type": "n8n-nodes-base.set", "parameters": parameters}]
    (tmp_path / "set.json").write_text(json.dumps({"name": "Set", "nodes": nodes, "connections": {}}))

    imported("n8n", tmp_path / "set.json", tmp_path)

    made = run("Set", tmp_path, "--input", '{"a": 3}')
    assert made == {"a": 3} | {f"f{number}": value for number, (_, value) in enumerate(values)}


@pytest.mark.parametrize(
    ("rule", "schedule"),
    [
        # What is not given is what n8n shows at first: midnight of each day, half a minute, five minutes, an hour.
        ({}, {"cron": "0 0 */1 * *"}), ({"field": "seconds"}, {"every": "30s"}),
        ({"field": "minutes"}, {"every": "5m"}), ({"field": "hours"}, {"cron": "0 */1 * * *"}),
        ({"field": "seconds", "secondsInterval": 10}, {"every": "10s"}),
        ({"field": "hours", "hoursInterval": 6, "triggerAtMinute": 5}, {"cron": "5 */6 * * *"}),
        ({"field": "days", "daysInterval": 3, "triggerAtHour": 7, "triggerAtMinute": 9}, {"cron": "9 7 */3 * *"}),
        ({"field": "weeks", "triggerAtDay": [1, 5], "triggerAtHour": 8}, {"cron": "0 8 * * 1,5"}),
        ({"field": "weeks"}, {"cron": "0 0 * * 0"}), ({"field": "weeks", "triggerAtDay": []}, {"cron": "0 0 * * 0"}),
        ({"field": "months", "triggerAtDayOfMonth": 31}, {"cron": "0 0 31 * *"}),
        ({"field": "months", "monthsInterval": 3}, {"cron": "0 0 1 */3 *"}),
        ({"field": "cronExpression", "expression": "=30 0 9 * * 1-5"}, {"cron": "0 9 * * 1-5"}),
    ],
)  # fmt: skip
def test_a_rule_of_a_schedule_means_what_it_did(rule: dict[str, Any], schedule: dict[str, str]) -> None:
    found, is_told = schedules_of("scheduleTrigger", {"rule": {"interval": [rule]}})
    partly, is_told_of_one = schedules_of("scheduleTrigger", {"rule": {"interval": [rule, {"field": "never"}]}})

    assert found == partly == [{"type": "schedule", **schedule}]
    assert (is_told, is_told_of_one) == (False, True)


@pytest.mark.parametrize(
    ("time", "schedule"),
    [
        ({}, {"cron": "0 14 * * *"}), ({"hour": 9, "minute": 30}, {"cron": "30 9 * * *"}),
        ({"mode": "everyMinute"}, {"every": "1m"}), ({"mode": "everyHour", "minute": 20}, {"cron": "20 * * * *"}),
        ({"mode": "everyX"}, {"every": "2h"}), ({"mode": "everyX", "value": 15, "unit": "minutes"}, {"every": "15m"}),
        ({"mode": "everyWeek"}, {"cron": "0 14 * * 1"}),
        ({"mode": "everyWeek", "weekday": "0", "hour": 6}, {"cron": "0 6 * * 0"}),
        ({"mode": "everyMonth", "dayOfMonth": 15, "hour": 0}, {"cron": "0 0 15 * *"}),
        ({"mode": "custom", "cronExpression": "0 */10 * * * *"}, {"cron": "*/10 * * * *"}),
    ],
)  # fmt: skip
def test_a_time_of_the_older_cron_node_means_what_it_did(time: dict[str, Any], schedule: dict[str, str]) -> None:
    found, is_told = schedules_of("cron", {"triggerTimes": {"item": [time]}})
    partly, is_told_of_one = schedules_of("cron", {"triggerTimes": {"item": [time, {"mode": "new"}]}})

    assert found == partly == [{"type": "schedule", **schedule}]
    assert (is_told, is_told_of_one) == (False, True)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [("webhook", {}), ("scheduleTrigger", {"rule": {"interval": [{}]}}), ("cron", {"triggerTimes": {"item": [{}]}})],
)
def test_a_disabled_trigger_starts_nothing_and_is_told(kind: str, parameters: dict[str, Any]) -> None:
    nodes: list[dict[str, Any]] = [
        {"name": "When", "type": f"n8n-nodes-base.{kind}", "parameters": parameters, "disabled": True},
        {"name": "Before", "type": "n8n-nodes-base.noOp"},
        {"name": "First", "type": "n8n-nodes-base.noOp"},
    ]

    flow = flow_of({"name": "F", "nodes": nodes, "connections": {"When": {"main": [[{"node": "First"}]]}}})

    assert "triggers" not in flow.document
    assert flow.document["start"] == "first"
    assert flow.notes == ["the trigger 'When' was disabled, and is left out"]


@pytest.mark.parametrize(
    ("kind", "node", "note"),
    [
        ("webhook", {}, "the webhook has another address than in n8n: 'flowrunner trigger list' shows it"),
        ("webhook", {}, "the webhook accepts any request, as it did: 'verify' can ask for a signature"),
        (
            "webhook",
            {"parameters": {"authentication": "headerAuth"}},
            "the webhook was protected: say in 'verify' how, and set the secret WEBHOOK",
        ),
        (
            "scheduleTrigger",
            {"parameters": {"rule": {"interval": [{"field": "minutes"}, {"field": "days"}]}}},
            "the schedule follows UTC: write the 'timezone' of your n8n",
        ),
        ("noOp", {"credentials": {"shopApi": {}}}, "'When' uses credentials, which are left out: name a secret"),
    ],
)
def test_what_needs_a_look_is_told(kind: str, node: dict[str, Any], note: str) -> None:
    nodes = [
        {"name": "When", "type": f"n8n-nodes-base.{kind}", **node},
        {"name": "Do", "type": "n8n-nodes-base.noOp"},
    ]
    connections = {"When": {"main": [[{"node": "Do"}]]}}

    assert note in flow_of({"name": "F", "nodes": nodes, "connections": connections}).notes


@pytest.mark.parametrize(
    ("rule", "schedule"),
    [
        ({"field": "seconds", "secondsInterval": "10"}, {"every": "10s"}),
        ({"field": "minutes", "minutesInterval": 15.0}, {"every": "15m"}),
        ({"field": "hours", "hoursInterval": "6", "triggerAtMinute": " 5 "}, {"cron": "5 */6 * * *"}),
        ({"field": "weeks", "weeksInterval": "1", "triggerAtDay": ["1", 5]}, {"cron": "0 0 * * 1,5"}),
        ({"field": "weeks", "triggerAtDay": "3"}, {"cron": "0 0 * * 3"}),
    ],
)
def test_numbers_of_a_schedule_may_be_written_as_text(rule: dict[str, Any], schedule: dict[str, str]) -> None:
    found, is_told = schedules_of("scheduleTrigger", {"rule": {"interval": [rule]}})

    assert (found, is_told) == ([{"type": "schedule", **schedule}], False)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"field": "seconds", "secondsInterval": "={{ $json.x }}"}, 'secondsInterval is "={{ $json.x }}"'),
        ({"field": "minutes", "minutesInterval": 1.5}, "minutesInterval is 1.5"),
        ({"field": "hours", "hoursInterval": True}, "hoursInterval is true"),
        ({"field": "hours", "triggerAtMinute": "9" * 5000}, 'triggerAtMinute is "' + "9" * 79),
        ({"field": "weeks", "triggerAtDay": ["monday"]}, 'triggerAtDay is "monday"'),
    ],
)
def test_what_is_no_number_in_a_schedule_is_told_and_is_not_the_default(rule: dict[str, Any], said: str) -> None:
    nodes = [
        {"name": "When", "type": "n8n-nodes-base.scheduleTrigger", "parameters": {"rule": {"interval": [rule]}}},
        {"name": "Do", "type": "n8n-nodes-base.noOp"},
    ]

    flow = flow_of({"name": "F", "nodes": nodes, "connections": {"When": {"main": [[{"node": "Do"}]]}}})

    assert "triggers" not in flow.document
    assert flow.notes == [f"a schedule could not be read, because its {said}: add a trigger"]


@pytest.mark.parametrize(
    ("version", "parameters", "duration"),
    [
        (None, {}, "1h"), (1, {}, "1h"), (1, {"amount": 2}, "2h"), (1.1, {}, "5s"), (1.1, {"amount": 30}, "30s"),
        (1.1, {"amount": "15", "unit": "minutes"}, "15m"), (1.1, {"amount": " 1.5 ", "unit": "days"}, "1.5d"),
        (1.1, {"amount": "={{ $json.x }}", "unit": "hours"}, "${input.x}h"),
    ],
)  # fmt: skip
def test_a_wait_takes_as_long_as_it_did(version: float | None, parameters: dict[str, Any], duration: str) -> None:
    node = {"name": "Rest", "type": "n8n-nodes-base.wait", "parameters": parameters}
    versioned = node if version is None else {**node, "typeVersion": version}

    flow = flow_of({"name": "F", "nodes": [versioned], "connections": {}})

    assert flow.document["nodes"]["rest"] == {"type": "delay", "params": {"duration": duration}}
    assert flow.notes == []


@pytest.mark.parametrize(
    ("moment", "timezone", "notes"),
    [
        ("2027-01-31T08:00:00Z", None, []),
        ("={{ $json.until }}", None, []),
        ("2027-01-31T08:00:00", None, ["'Rest' waits until a time without a time zone: add Z or an offset"]),
        (
            "2027-01-31T08:00:00", "Europe/Berlin",
            ["'Rest' waits until a time without a time zone: add Z or an offset of Europe/Berlin"],
        ),
    ],
)  # fmt: skip
def test_a_wait_until_a_time_without_a_zone_is_reported(moment: str, timezone: str | None, notes: list[str]) -> None:
    parameters = {"resume": "specificTime", "dateTime": moment}
    nodes = [{"name": "Rest", "type": "n8n-nodes-base.wait", "parameters": parameters}]

    flow = flow_of({"name": "F", "nodes": nodes, "connections": {}, "settings": {"timezone": timezone}})

    assert flow.document["nodes"]["rest"]["type"] == "delay"
    assert flow.notes == notes


@pytest.mark.parametrize("parameters", [{"amount": "soon"}, {"amount": None}, {"amount": -1}, {"unit": "weeks"}])
def test_a_wait_of_an_unknown_time_is_a_placeholder(parameters: dict[str, Any]) -> None:
    nodes = [{"name": "Rest", "type": "n8n-nodes-base.wait", "parameters": parameters}]

    flow = flow_of({"name": "F", "nodes": nodes, "connections": {}})

    assert flow.document["nodes"]["rest"]["type"] == "transform"
    assert "the time that 'Rest' waits could not be read" in flow.notes


def test_outputs_of_a_switch_may_be_written_as_text() -> None:
    rules = {"rules": [{"operation": "equal", "value2": "a", "output": "1"}]}
    parameters = {"dataType": "string", "value1": "={{ $json.x }}", "rules": rules, "fallbackOutput": "0"}
    nodes = [
        {"name": "Pick", "type": "n8n-nodes-base.switch", "parameters": parameters},
        {"name": "Zero", "type": "n8n-nodes-base.noOp"},
        {"name": "One", "type": "n8n-nodes-base.noOp"},
    ]
    connections = {"Pick": {"main": [[{"node": "Zero"}], [{"node": "One"}]]}}

    flow = flow_of({"name": "F", "nodes": nodes, "connections": connections})

    assert flow.document["nodes"]["pick"]["next"] == {"case_1": "one", "default": "zero"}


def nodes_of(*nodes: dict[str, Any], **connections: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the nodes of a flow, and the notes of the report."""
    listed = [{**node, "type": f"n8n-nodes-base.{node['type']}"} for node in nodes]
    flow = flow_of({"name": "F", "nodes": listed, "connections": connections})
    return flow.document["nodes"], flow.notes


@pytest.mark.parametrize(
    ("parameters", "method"),
    [
        ({"method": "POST"}, "POST"), ({"requestMethod": "PUT"}, "PUT"), ({}, None), ({"method": "GET"}, None),
        ({"method": "DELETE", "requestMethod": "PUT"}, "DELETE"),
    ],
)  # fmt: skip
def test_a_request_has_the_method_that_it_had(parameters: dict[str, Any], method: str | None) -> None:
    nodes, _ = nodes_of({"name": "Ask", "type": "httpRequest", "parameters": {"url": "https://x", **parameters}})

    assert nodes["ask"]["params"].get("method") == method


@pytest.mark.parametrize("version", [{"typeVersion": 4.2}, {"typeVersion": 2}, {}])
def test_what_a_request_does_not_send_is_left_out(version: dict[str, Any]) -> None:
    pairs = {"parameters": [{"name": "a", "value": "1"}]}
    parameters: dict[str, Any] = {"url": "https://x.example.com", "queryParameters": pairs, "headerParameters": pairs}
    flags: dict[str, Any] = {"bodyParameters": pairs, "sendQuery": True, "sendBody": False}

    nodes, _ = nodes_of({"name": "Ask", "type": "httpRequest", "parameters": parameters | flags, **version})

    sent = nodes["ask"]["params"].keys() - {"url"}
    assert sent == ({"query"} if version.get("typeVersion", 1) >= 3 else {"query", "headers", "body"})


@pytest.mark.parametrize(
    ("fields", "retry", "note"),
    [
        ({"retryOnFail": True}, {"max": 2, "delay": "1000ms", "backoff": 1, "jitter": 0}, None),
        (
            {"retryOnFail": True, "maxTries": "5", "waitBetweenTries": 3000},
            {"max": 4, "delay": "3000ms", "backoff": 1, "jitter": 0},
            None,
        ),
        ({"retryOnFail": True, "maxTries": "={{ 3 }}"}, None, "'Ask' was tried several times: add a 'retry'"),
        ({"retryOnFail": False, "maxTries": 5}, None, None),
    ],
)
def test_a_request_is_repeated_as_it_was(fields: dict[str, Any], retry: Any, note: str | None) -> None:
    node = {"name": "Ask", "type": "httpRequest", "parameters": {"url": "https://x.example.com"}, **fields}

    nodes, notes = nodes_of(node)

    assert (nodes["ask"].get("retry"), notes) == (retry, [] if note is None else [note])


@pytest.mark.parametrize(
    ("fields", "edges"),
    [
        ({"onError": "continueErrorOutput"}, {"default": "next", "error": "failed"}),
        ({"onError": "continueRegularOutput"}, {"default": "next", "error": "next"}),
        ({"continueOnFail": True}, {"default": "next", "error": "next"}),
        ({"onError": "stopWorkflow"}, {"default": "next"}),
        ({"onError": "continueErrorOutput", "disabled": True}, {"default": "next"}),
    ],
)
def test_a_workflow_goes_on_after_an_error_where_it_did(fields: dict[str, Any], edges: dict[str, str]) -> None:
    ask = {"name": "Ask", "type": "httpRequest", "parameters": {"url": "https://x.example.com"}, **fields}
    others = [{"name": name, "type": "noOp"} for name in ("Next", "Failed")]

    nodes, notes = nodes_of(ask, *others, Ask={"main": [[{"node": "Next"}], [{"node": "Failed"}]]})

    said = "what follows an error of 'Ask' reads it as 'error', and not as $json.error"
    assert (nodes["ask"]["next"], said in notes) == (edges, "error" in edges)


def test_an_error_that_led_nowhere_is_told() -> None:
    ask = {"name": "Ask", "type": "httpRequest", "parameters": {"url": "https://x.example.com"}, "continueOnFail": True}

    nodes, notes = nodes_of(ask)

    assert "next" not in nodes["ask"]
    assert notes == ["'Ask' fails the flow, which ended without an error: add an 'error' edge"]


@pytest.mark.parametrize(
    ("kind", "written", "compared"),
    [
        ("number", "100", "input.a === 100"), ("number", "-1.5", "input.a === -1.5"),
        ("boolean", "true", "input.a === true"), ("string", "100", 'input.a === "100"'),
        ("number", "many", 'input.a === "many"'),
    ],
)  # fmt: skip
def test_numbers_and_booleans_that_are_compared_may_be_written_as_text(kind: str, written: str, compared: str) -> None:
    modern = {"leftValue": "={{ $json.a }}", "rightValue": written, "operator": {"type": kind, "operation": "equals"}}
    older = {"value1": "={{ $json.a }}", "operation": "equal", "value2": written}

    for conditions in ({"conditions": [modern]}, {kind: [older]}):
        nodes, _ = nodes_of({"name": "Is", "type": "if", "parameters": {"conditions": conditions}})
        assert nodes["is"]["params"]["cases"] == [{"when": compared, "action": "yes"}]


@pytest.mark.parametrize(
    ("kind", "one", "compared"),
    [
        ("number", {"value1": "={{ $json.a }}"}, "input.a < 0"),
        ("number", {"value1": "={{ $json.a }}", "value2": 3}, "input.a < 3"),
        ("boolean", {"value1": "={{ $json.a }}"}, "input.a === false"),
        ("string", {"value1": "={{ $json.a }}"}, 'input.a === ""'),
        ("dateTime", {"value1": "={{ $json.a }}", "value2": "2027-01-31"}, 'input.a > "2027-01-31"'),
    ],
)
def test_a_condition_that_was_left_as_it_is_at_first_is_that(kind: str, one: dict[str, Any], compared: str) -> None:
    nodes, _ = nodes_of({"name": "Is", "type": "if", "parameters": {"conditions": {kind: [one]}}})

    assert nodes["is"]["params"]["cases"] == [{"when": compared, "action": "yes"}]


@pytest.mark.parametrize(
    ("version", "compared", "edges"),
    [
        ({}, "input.a < 5", {"case_1": "zero", "case_2": "zero"}),
        ({"typeVersion": 2}, 'input.a === "5"', {"case_1": "zero", "case_2": "one"}),
    ],
)
def test_rules_of_a_switch_lead_where_they_did(version: dict[str, Any], compared: str, edges: dict[str, str]) -> None:
    parameters = {"value1": "={{ $json.a }}", "rules": {"rules": [{"value2": "5"}, {"value2": "6"}]}}
    pick = {"name": "Pick", "type": "switch", "parameters": parameters, **version}
    others = [{"name": name, "type": "noOp"} for name in ("Zero", "One")]

    nodes, _ = nodes_of(pick, *others, Pick={"main": [[{"node": "Zero"}], [{"node": "One"}]]})

    assert nodes["pick"]["params"]["cases"][0]["when"] == compared
    assert nodes["pick"]["next"] == edges


@pytest.mark.parametrize(
    ("fallback", "target"),
    [
        ({}, None), ({"fallbackOutput": -1}, None), ({"fallbackOutput": "none"}, None), ({"fallbackOutput": 0}, "zero"),
        ({"options": {"fallbackOutput": "extra"}}, "extra"),
    ],
)  # fmt: skip
def test_what_no_rule_fits_leads_where_it_did(fallback: dict[str, Any], target: str | None) -> None:
    rules = {"rules": [{"operation": "equal", "value2": 5}]}
    pick = {"name": "Pick", "type": "switch", "parameters": {"value1": "={{ $json.a }}", "rules": rules, **fallback}}
    others = [{"name": name, "type": "noOp"} for name in ("Zero", "Extra")]

    nodes, _ = nodes_of(pick, *others, Pick={"main": [[{"node": "Zero"}], [{"node": "Extra"}]]})

    assert nodes["pick"]["next"].get("default") == target


def test_fields_have_the_type_that_they_had() -> None:
    written = [("number", "5"), ("boolean", "false"), ("string", "5"), ("number", "x")]
    entries = [{"name": f"f{n}", "type": kind, "value": text} for n, (kind, text) in enumerate(written)]
    older = {kind: [{"name": kind, "value": text}] for kind, text in written[:3]}

    modern, _ = nodes_of({"name": "Set", "type": "set", "parameters": {"assignments": {"assignments": entries}}})
    before, _ = nodes_of({"name": "Set", "type": "set", "parameters": {"values": older, "keepOnlySet": True}})

    assert modern["set"]["params"]["value"] == {"f0": 5, "f1": False, "f2": "5", "f3": "x"}
    assert before["set"]["params"]["value"] == {"number": 5, "boolean": False, "string": "5"}


@pytest.mark.parametrize(("code", "is_told"), [("$now.toISO()", True), ("$today.plus(1)", True), ("$now", False)])
def test_methods_of_moments_are_told(code: str, is_told: bool) -> None:
    entries = [{"name": "at", "type": "string", "value": f"={{{{ {code} }}}}"}]

    _, notes = nodes_of({"name": "Set", "type": "set", "parameters": {"assignments": {"assignments": entries}}})

    said = [f"the expression '{code}' calls a method of {code.partition('.')[0]}, which is a Date here"]
    assert notes == (said if is_told else [])


def test_variables_are_configuration_values() -> None:
    entries = [{"name": "to", "type": "string", "value": "={{ $vars.SHOP_URL }}/{{ $vars['x'] }}"}]
    code = {"name": "Code", "type": "code", "parameters": {"jsCode": "return {n: $vars.MOST + 1}"}}

    made, notes = nodes_of({"name": "Set", "type": "set", "parameters": {"assignments": {"assignments": entries}}})
    scripted, _ = nodes_of(code)

    assert made["set"]["params"]["value"] == {"to": "${config.SHOP_URL}/${$vars['x']}"}
    assert notes == ["the expression '$vars['x']' has $vars, which flows do not know"]
    assert "return {n: config.MOST + 1}" in scripted["code"]["params"]["script"]


def test_code_with_a_variable_called_config_keeps_the_variables_of_n8n() -> None:
    code = "const config = {url: $vars.URL}; return {url: config.url}"

    made, notes = nodes_of({"name": "Code", "type": "code", "parameters": {"jsCode": code}})

    assert code in made["code"]["params"]["script"]
    reason = "which flows do not know: write config.NAME, and rename a variable 'config' of its own"
    assert f"'Code' has $vars, {reason}" in notes


def schedules_of(kind: str, parameters: dict[str, Any]) -> tuple[list[Any], bool]:
    """Return the triggers, and whether the report says that something could not be read."""
    nodes = [
        {"name": "When", "type": f"n8n-nodes-base.{kind}", "parameters": parameters},
        {"name": "Do", "type": "n8n-nodes-base.noOp", "parameters": {}},
    ]
    connections = {"When": {"main": [[{"node": "Do"}]]}}
    flow = flow_of({"name": "F", "nodes": nodes, "connections": connections})
    return list(flow.document["triggers"].values()), "a schedule could not be read: add a trigger" in flow.notes


def test_an_imported_workflow_does_what_it_did(tmp_path: Path) -> None:
    imported("n8n", DOCUMENTS / "orders.n8n.json", tmp_path)
    flow = document("Order alarm", tmp_path)
    body = {"id": 7, "total": 200, "state": "open"}
    path = ["get_orders", "large", "keep", "pause", "count", "by_length", "done"]
    flow["tests"] = {
        "a large order": {
            "input": {"region": "eu"},
            "mocks": {"get_orders": {"result": {"body": body}}},
            "expect": {"result": {"length": len("Order 7 costs ${money} 200")}, "path": path},
        },
        "a small one": {
            "input": {"region": "eu"},
            "mocks": {"get_orders": {"result": {"body": {"total": 1, "length": 4}}}},
            "expect": {"result": {"length": 4}, "path": ["get_orders", "large", "done"]},
        },
    }
    (tmp_path / "flows" / "Order alarm.yaml").write_text(as_yaml(flow))

    done = flowrunner("test", "flows", at=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_older_forms_of_nodes_are_known_too(tmp_path: Path) -> None:
    imported("n8n", DOCUMENTS / "old.n8n.json", tmp_path)

    flow = document("Old forms", tmp_path)
    assert flow["triggers"] == {"cron": {"type": "schedule", "cron": "30 6 * * *"}}
    assert flow["nodes"]["route"]["next"] == {"case_1": "low", "case_2": "three", "default": "skipped"}
    assert run("Old forms", tmp_path) == {"who": "Ada", "n": 3, "found": "three"}


def test_a_placeholder_fails_and_says_what_is_missing(tmp_path: Path) -> None:
    node = {"name": 'A "strange" one\n${x}', "type": "someone.else", "parameters": {"a": [1]}}
    (tmp_path / "w.json").write_text(json.dumps({"name": "w", "nodes": [node], "connections": {"x": 7}}))
    imported("n8n", tmp_path / "w.json", tmp_path)

    done = flowrunner("run", "--local", "flows/w.yaml", "-q", at=tmp_path)
    assert done.returncode == 3
    assert "was not imported: replace this node" in done.stderr


TEXTS = [
    "no", "010", "1e3", "0x1F", "~", "null", "a: b", "- a", "#x", "${input}", "'", '"', "a\nb\n", "  x", "\t", "\x07",
    "é", "",
]  # fmt: skip


def test_text_is_written_so_that_it_is_read_as_the_same(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(as_yaml({"nodes": {"a": {"type": "return", "x-texts": TEXTS, "params": {}}}}))

    assert yaml.safe_load((tmp_path / "flow.yaml").read_text())["nodes"]["a"]["x-texts"] == TEXTS
    assert flowrunner("validate", "flow.yaml", at=tmp_path).returncode == 0


@pytest.mark.parametrize("options", [{}, {"indent": "\t"}, {"ensure_ascii": False}])
def test_json_is_read_that_is_no_yaml(options: dict[str, Any], tmp_path: Path) -> None:
    value = {"paths": {"/a/b": "Say \N{GRINNING FACE}\x7f"}}
    file = tmp_path / "spec.json"
    for begin, text in (("", json.dumps(value, **options)), ("\ufeff", json.dumps(value).replace("/", "\\/"))):
        file.write_text(begin + text)

        assert read_spec(str(file)) == value


@pytest.mark.parametrize("odd", [None, True, 7, "=", "x", [], [[]], ["x"], {}, {"a": None}, {"": 1.5}])
def test_a_workflow_of_any_shape_is_imported_or_rejected(odd: Any) -> None:
    """Each part of a workflow is replaced by something else."""
    workflow = json.loads((DOCUMENTS / "old.n8n.json").read_text())
    tried = 0
    for node in workflow["nodes"]:
        parameters = node["parameters"] = dict(node.get("parameters", {}))
        for key, value in [*parameters.items(), *((key, {}) for key in ("options", "values", "assignments"))]:
            parts = dict.fromkeys(value, odd) if isinstance(value, dict) else odd
            for changed in (odd, parts, {key: odd}):
                node["parameters"] = {**parameters, key: changed}
                tried += 1
                try:
                    as_yaml(flow_of(workflow).document)
                except CommandFailed:
                    continue
        node["parameters"] = parameters

    assert tried > 20


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    done = flowrunner("import", "openapi", DOCUMENTS / "shop.yaml", "-o", "file/flows", at=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be written: Not a directory" in done.stderr


@pytest.mark.parametrize("kind", ["n8n", "openapi"])
def test_aliases_that_stand_for_more_than_a_file_may_have_are_rejected(kind: str, tmp_path: Path) -> None:
    lines = ["a: &a [xxxxxxxxxx, xxxxxxxxxx]"]
    lines += [f"{name}: &{name} [{', '.join([f'*{chr(ord(name) - 1)}'] * 10)}]" for name in "bcdefghi"]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    (tmp_path / "circle.yaml").write_text("a: &a [*a, *a]")
    maps = ["a: &a {xxxxxxxxxx: 1}"]
    maps += [f"{name}: &{name} {{<<: [{', '.join([f'*{chr(ord(name) - 1)}'] * 10)}]}}" for name in "bcdefghi"]
    (tmp_path / "merged.yaml").write_text("\n".join(maps))

    for file in ("bomb.yaml", "circle.yaml", "merged.yaml"):
        done = flowrunner("import", kind, file, "-o", "flows", at=tmp_path)

        assert (done.returncode, done.stdout) == (2, "")
        assert "characters, aliases written out" in done.stderr
