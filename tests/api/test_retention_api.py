"""Rules of retention over REST."""

import pytest

from support.client import Client

FLOW = "nodes: {a: {type: return}}"
DAY = 86400


def test_a_flow_has_the_rule_of_its_workspace_until_it_has_one(account: Client) -> None:
    flow = f"/api/v1/flows/{account.new_flow(FLOW)}/retention"
    workspace = f"/api/v1/workspaces/{account.account_id}/retention"

    assert account.get(flow).json == {
        "max_age_seconds": None, "max_count": None, "in_force": {"max_age_seconds": 30 * DAY, "max_count": None}
    }  # fmt: skip
    of_workspace = account.put(workspace, {"max_age_seconds": 7 * DAY})
    of_flow = account.put(flow, {"max_count": 5})

    assert (of_workspace.status, of_flow.status) == (200, 200)
    assert of_workspace.json["in_force"] == {"max_age_seconds": 7 * DAY, "max_count": None}
    assert of_flow.json == account.get(flow).json
    assert of_flow.json == {
        "max_age_seconds": None, "max_count": 5, "in_force": {"max_age_seconds": 7 * DAY, "max_count": 5}
    }  # fmt: skip
    # Longer than the server keeps anything.
    assert account.put(flow, {"max_age_seconds": 300 * DAY}).json["in_force"] == {
        "max_age_seconds": 30 * DAY, "max_count": None
    }  # fmt: skip
    assert account.put(flow, {}).json["in_force"] == {"max_age_seconds": 7 * DAY, "max_count": None}


def test_a_dry_run_answers_what_would_hold(account: Client) -> None:
    flow = f"/api/v1/flows/{account.new_flow(FLOW)}/retention"
    workspace = f"/api/v1/workspaces/{account.account_id}/retention"
    for path in (flow, workspace):
        before = account.get(path).json

        planned = account.put(f"{path}?dry_run=true", {"max_age_seconds": 300 * DAY, "max_count": 5})

        assert planned.json == {
            "max_age_seconds": 300 * DAY, "max_count": 5, "in_force": {"max_age_seconds": 30 * DAY, "max_count": 5}
        }  # fmt: skip
        assert account.get(path).json == before
    assert account.put("/api/v1/flows/flow-1/retention?dry_run=true", {}).status == 404


def test_a_change_is_in_the_audit_log(admin: Client, account: Client) -> None:
    id = account.new_flow(FLOW)

    assert account.put(f"/api/v1/flows/{id}/retention", {"max_count": 5}).status == 200

    (entry,) = admin.get("/api/v1/audit", action="flow.retention.changed", object_id=id).json["entries"]
    assert entry["details"] == {"max_age_seconds": None, "max_count": 5}


@pytest.mark.parametrize(
    "body",
    [
        {"max_age_seconds": 1}, {"max_age_seconds": -1}, {"max_age_seconds": 10**12}, {"max_age_seconds": "7d"},
        {"max_age_seconds": 86400.5}, {"max_count": 0}, {"max_count": 10**9}, {"max_count": True}, {"days": 7}, [],
    ],
    ids=str,
)  # fmt: skip
def test_a_rule_out_of_bounds_is_rejected(account: Client, body: object) -> None:
    flow = f"/api/v1/flows/{account.new_flow(FLOW)}/retention"

    assert account.put(flow, body).status in (400, 422)
    assert account.get(flow).json["max_count"] is None
