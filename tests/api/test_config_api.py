"""Configuration values over REST."""

from typing import Any, Final

import pytest

from api.shapes import assert_error, assert_recent
from support.client import Client

PATH: Final = "/api/v1/config"
READS: Final = 'nodes: {a: {type: return, params: {value: "${config.CHANNEL}"}}}'


def put(client: Client, name: str, value: Any, **headers: str) -> Any:
    return client.put(f"{PATH}/{name}", {"value": value}, **headers)


def test_a_value_is_created_read_replaced_and_deleted(account: Client) -> None:
    created = put(account, "CHANNEL", "#ops")
    assert created.status == 201
    assert created.json.keys() == {"name", "value", "created_at", "updated_at"}
    assert (created.json["name"], created.json["value"]) == ("CHANNEL", "#ops")
    assert_recent(created.json["created_at"])
    assert created.headers["location"] == f"{PATH}/CHANNEL"

    replaced = put(account, "CHANNEL", {"core": ["#core"], "most": 3})
    assert (replaced.status, replaced.json["value"]) == (200, {"core": ["#core"], "most": 3})
    assert account.get(f"{PATH}/CHANNEL").json == replaced.json

    assert account.delete(f"{PATH}/CHANNEL").json == {"message": "Configuration value deleted successfully"}
    assert_error(account.get(f"{PATH}/CHANNEL"), 404)
    assert_error(account.delete(f"{PATH}/CHANNEL"), 404)


def test_values_are_listed_by_name_with_the_flows_that_read_them(account: Client) -> None:
    values = [put(account, name, 1).json for name in ("OTHER", "CHANNEL")]
    flow = account.post("/api/v1/flows", {"definition": READS, "name": "report"}).json["id"]

    reply = account.get(PATH)

    users: list[list[Any]] = [[], [{"id": flow, "name": "report"}]]
    listed = [{**value, "used_by": used_by} for value, used_by in zip(values, users, strict=True)]
    assert reply.json == {"config": listed[::-1], "total": 2, "limit": 1000, "offset": 0}
    account.put(f"/api/v1/flows/{flow}", {"definition": "nodes: {a: {type: return}}"})
    assert [value["used_by"] for value in account.get(PATH).json["config"]] == [[], []]


def test_a_value_is_replaced_only_in_the_state_that_was_read(account: Client) -> None:
    first = put(account, "A", 1, **{"If-None-Match": "*"})
    assert_error(put(account, "A", 2, **{"If-None-Match": "*"}), 412)
    second = put(account, "A", 2, **{"If-Match": first.headers["etag"]})
    assert second.status == 200

    for refused in (
        put(account, "A", 3, **{"If-Match": first.headers["etag"]}),
        account.request("DELETE", f"{PATH}/A", headers={"If-Match": first.headers["etag"]}),
        put(account, "B", 3, **{"If-Match": "*"}),
    ):
        assert_error(refused, 412)

    read = account.get(f"{PATH}/A")
    assert (read.json["value"], read.headers["etag"]) == (2, second.headers["etag"])
    assert account.request("GET", f"{PATH}/A", headers={"If-None-Match": read.headers["etag"]}).status == 304
    assert account.request("DELETE", f"{PATH}/A", headers={"If-Match": read.headers["etag"]}).status == 200


@pytest.mark.parametrize(
    ("name", "value", "field", "message"),
    [
        ("1A", 1, "name", "must be 1 to 128 letters"),
        ("a-b", 1, "name", "must be 1 to 128 letters"),
        ("A" * 129, 1, "name", "must be 1 to 128 letters"),
        ("A", None, "value", "delete the value instead"),
        ("A", "x" * 8191, "value", "must have at most 8192 characters of JSON, and has 8193"),
    ],
)
def test_what_no_flow_could_read_is_rejected(account: Client, name: str, value: Any, field: str, message: str) -> None:
    reply = put(account, name, value)

    details = assert_error(reply, 422)
    assert details["field"] == field
    assert message in reply.body.decode()
    assert account.get(PATH).json["total"] == 0


def test_the_limit_of_a_value_counts_characters_and_not_bytes(account: Client) -> None:
    assert put(account, "GREETING", "ü" * 8190).status == 201


def test_an_execution_shows_what_it_read_and_keeps_it(account: Client) -> None:
    put(account, "CHANNEL", "#old")
    put(account, "UNREAD", 1)
    flow = account.post("/api/v1/flows", {"definition": READS, "name": "report"}).json["id"]

    before = account.post(f"/api/v1/flows/{flow}/run", {"input": {}}, Prefer="wait=10").json
    put(account, "CHANNEL", "#new")
    after = account.post(f"/api/v1/flows/{flow}/run", {"input": {}}, Prefer="wait=10").json

    assert [one["result"] for one in (before, after)] == ["#old", "#new"]
    shown = [account.get(f"/api/v1/executions/{one['execution_id']}").json["config"] for one in (before, after)]
    assert shown == [{"CHANNEL": "#old"}, {"CHANNEL": "#new"}]


def test_a_preview_of_an_execution_shows_the_beginning_of_long_values_and_no_event_has_them(account: Client) -> None:
    put(account, "CHANNEL", "#old")
    flow = account.post("/api/v1/flows", {"definition": READS, "name": "report"}).json["id"]
    id = account.post(f"/api/v1/flows/{flow}/run", {"input": {}}, Prefer="wait=10").json["execution_id"]

    previews = [account.get(f"/api/v1/executions/{id}?view={view}").json["config"] for view in ("preview", "summary")]
    events = account.get(f"/api/v1/executions/{id}/events").json["events"]

    assert previews == [{"size": 18, "value": {"CHANNEL": "#old"}}, {"size": 18}]
    assert events
    assert not any("config" in event for event in events)


def test_an_execution_of_a_flow_that_names_no_value_records_none(account: Client) -> None:
    put(account, "CHANNEL", "#ops")
    flow = account.post("/api/v1/flows", {"definition": "nodes: {a: {type: return}}", "name": "plain"}).json["id"]

    started = account.post(f"/api/v1/flows/{flow}/run", {"input": {}}, Prefer="wait=10").json

    assert "config" not in account.get(f"/api/v1/executions/{started['execution_id']}").json


def test_a_value_that_equals_a_secret_is_hidden_in_executions(account: Client) -> None:
    account.new_secret("KEY", "an-address-of-ours")
    put(account, "CHANNEL", "an-address-of-ours")
    flow = account.post("/api/v1/flows", {"definition": READS, "name": "report"}).json["id"]

    started = account.post(f"/api/v1/flows/{flow}/run", {"input": {}}, Prefer="wait=10").json

    assert started["result"] == "***"
    assert account.get(f"/api/v1/executions/{started['execution_id']}").json["config"] == {"CHANNEL": "***"}


def test_a_flow_that_names_a_missing_value_is_reported_where_it_is_checked_and_deployed(account: Client) -> None:
    (fault,) = account.post("/api/v1/flows/validate", {"definition": READS}).json["warnings"]
    deployed = account.post("/api/v1/flows:batch", {"flows": [{"name": "report", "definition": READS}]})

    assert (fault["code"], fault["message"]) == ("config.unknown", "there is no configuration value 'CHANNEL'")
    assert deployed.json["flows"][0]["missing_config"] == ["CHANNEL"]


def test_an_expression_of_a_webhook_trigger_reads_values(account: Client) -> None:
    put(account, "BRANCH", "main")
    definition = """
triggers:
  push:
    type: webhook
    verify: none
    when: trigger.body.branch === config.BRANCH
    input: {on: "${config.BRANCH}"}
nodes: {a: {type: return, params: {value: "${flow.input.on}"}}}
"""
    account.post("/api/v1/flows", {"definition": definition, "name": "hooked"})
    (trigger,) = account.get("/api/v1/triggers").json["triggers"]

    ignored = account.post(trigger["url"], {"branch": "other"})
    started = account.post(trigger["url"], {"branch": "main"})

    assert "execution_id" not in ignored.json
    detail = account.get(f"/api/v1/executions/{started.json['execution_id']}").json
    assert (detail["input"], detail["config"]) == ({"on": "main"}, {"BRANCH": "main"})


def test_the_input_and_labels_of_a_schedule_read_values(account: Client) -> None:
    put(account, "SITE", "north")
    definition = """
triggers: {nightly: {type: schedule, every: 1h, input: {site: "${config.SITE}"}, labels: {site: "${config.SITE}"}}}
nodes: {a: {type: return, params: {value: "${flow.input.site}"}}}
"""
    account.post("/api/v1/flows", {"definition": definition, "name": "scheduled"})
    (trigger,) = account.get("/api/v1/triggers").json["triggers"]

    started = account.post(f"/api/v1/triggers/{trigger['id']}/run", {}).json
    account.delete(f"{PATH}/SITE")
    refused = account.post(f"/api/v1/triggers/{trigger['id']}/run", {})

    detail = account.get(f"/api/v1/executions/{started['execution_id']}").json
    assert (detail["input"], detail["labels"]) == ({"site": "north"}, {"site": "north"})
    assert_error(refused, 422)
    assert "there was no configuration value 'SITE' at the start" in refused.body.decode()


def test_a_node_that_is_tried_reads_the_present_values(account: Client) -> None:
    put(account, "CHANNEL", "#ops")

    found = account.post("/api/v1/nodes/try", {"definition": READS, "node": "a"}).json

    assert (found["status"], found["params"]) == ("completed", {"value": "#ops"})


def test_who_reads_flows_reads_values_and_who_writes_flows_writes_them(account: Client, admin: Client) -> None:
    put(account, "A", 1)
    reading, writing = (
        Client(account.url, account.post("/api/v1/tokens", body).json["token"])
        for body in ({"name": "r", "scopes": ["read"]}, {"name": "w", "scopes": ["read", "write"]})
    )

    assert reading.get(f"{PATH}/A").json["value"] == 1
    assert_error(put(reading, "A", 2), 403)
    assert_error(reading.delete(f"{PATH}/A"), 403)
    assert put(writing, "A", 2).status == 200
    assert_error(admin.get(f"{PATH}/A"), 404)


def test_each_change_is_in_the_audit_log(account: Client) -> None:
    put(account, "CHANNEL", 1)
    put(account, "CHANNEL", 2)
    account.delete(f"{PATH}/CHANNEL")

    entries = account.get(f"/api/v1/workspaces/{account.account_id}/audit?object_kind=config").json["entries"]

    found = [(entry["action"], entry["object"]["id"]) for entry in entries]
    assert found == [(f"config.{what}", "CHANNEL") for what in ("deleted", "replaced", "created")]


def test_a_name_that_is_a_secret_is_hidden_in_the_audit_log(account: Client) -> None:
    account.new_secret("KEY", "hunter_of_pearls")
    put(account, "hunter_of_pearls", 1)
    put(account, "hunter_of_pearls", 2)
    account.delete(f"{PATH}/hunter_of_pearls")
    flow = account.new_flow("nodes: {hunter_of_pearls: {type: approval, params: {prompt: Go on?}}}")
    id = account.run(flow)
    account.waiting_at(id, "hunter_of_pearls")
    assert account.post(f"/api/v1/executions/{id}/approvals/hunter_of_pearls", {"approved": True}).status == 200

    log = account.get(f"/api/v1/workspaces/{account.account_id}/audit").json["entries"]

    assert {entry["object"]["id"] for entry in log if entry["object"]["kind"] == "config"} == {"***"}
    (answered,) = [entry for entry in log if entry["action"] == "execution.approval.answered"]
    assert answered["details"] == {"node": "***", "approved": True}
    assert "hunter_of_pearls" not in str(log)


def test_a_workspace_with_values_is_deleted_only_by_its_name(account: Client) -> None:
    team = account.post("/api/v1/workspaces", {"name": "Team of values"}).json["id"]
    put(account, "A", 1, **{"FlowRunner-Workspace": team})

    refused = account.delete(f"/api/v1/workspaces/{team}")

    assert_error(
        refused,
        409,
        "The workspace has 0 flows, 0 secrets, 1 configuration value, 0 stored values and 0 open executions: "
        "send its name to delete it with all of them",
    )
    assert account.get(f"/api/v1/workspaces/{team}/usage").json["config_values"] == 1
    assert account.delete(f"/api/v1/workspaces/{team}?name=Team%20of%20values").status == 200


def test_a_limit_that_no_setting_has_is_not_said_to_be_raised_by_an_operator(account: Client) -> None:
    for number in range(8):
        assert put(account, f"V{number}", "x" * 8000).status == 201

    refused = put(account, "LAST", "x" * 8000)

    assert refused.status == 409
    assert refused.json["error"]["details"] == {"limit": "config_characters", "most": 65536}
    assert refused.json["error"]["hint"] == (
        "delete what is no longer needed; an operator can raise a limit that is a setting"
    )
