"""The overview of a workspace, and numbers of executions over time, over REST."""

from api.shapes import NAP, SMALLEST, assert_error, assert_recent
from support.client import Client

OVERVIEW = "/api/v1/overview"
HISTOGRAM = "/api/v1/executions/histogram"
FAILS = "nodes: {oops: {type: fail, params: {error: order.lost, message: 'It is lost'}}}"
ASKS = "nodes: {ask: {type: approval, params: {prompt: 'Ship it?'}, next: {approved: go}}, go: {type: return}}"


def test_an_overview_shows_what_runs_waits_and_fails(account: Client) -> None:
    good = account.new_flow(SMALLEST, name="good")
    bad = account.new_flow(FAILS, name="bad")
    fine = [account.run(good) for _ in range(3)]
    for id in fine:
        account.ended(id)
    failed = account.run(bad)
    account.ended(failed)
    napping = account.run(account.new_flow(NAP, name="nap"))
    account.waiting_at(napping, "nap")
    asking = account.run(account.new_flow(ASKS, name="ask"))
    account.waiting_at(asking, "ask")

    found = account.get(OVERVIEW).json

    assert_recent(found["at"])
    assert found["counts"] == {"running": 1, "waiting": 1, "completed": 3, "failed": 1, "cancelled": 0}
    assert [(one["id"], one["flow_name"]) for one in found["running"]] == [(napping, "nap")]
    (waiting,) = found["waiting"]
    assert (waiting["id"], waiting["waiting_for"][0]["prompt"]) == (asking, "Ship it?")
    flows = {flow["name"]: flow for flow in found["flows"]}
    assert list(flows) == ["ask", "nap", "bad", "good"]
    listed = account.get("/api/v1/executions", flow_id=flows["good"]["flow_id"]).json["executions"]
    assert [(one["id"], one["duration"]) for one in flows["good"]["executions"]] == [
        (one["id"], one["duration"]) for one in listed
    ]
    assert [one["id"] for one in listed] == fine[::-1]
    assert sum(one["duration"] for one in listed) > 0
    assert flows["good"]["durations"]["sample"] == 3
    assert "failing" not in flows["good"]
    # Failed executions have no part in how long the flow takes.
    assert "durations" not in flows["bad"]
    failing = flows["bad"]["failing"]
    assert (failing["execution_id"], failing["error"]) == (failed, "It is lost")
    assert (failing["error_type"], failing["failed_node"]) == ("order.lost", "oops")
    assert "duration" not in flows["nap"]["executions"][0]


def test_an_overview_has_the_flows_that_are_asked_for_and_counts_all_that_fail(account: Client, other: Client) -> None:
    schedules = "triggers: {a: {type: schedule, cron: '0 0 1 1 *'}, b: {type: schedule, cron: '0 0 1 * *'}}\n"
    ids = [account.new_flow(schedules + FAILS, name=f"flow {n}") for n in range(3)]
    for id in ids:
        account.ended(account.run(id))
    account.put(f"/api/v1/flows/{ids[1]}", {"definition": SMALLEST})
    account.ended(account.run(ids[1]))
    account.put(f"/api/v1/flows/{ids[2]}", {"disabled": True})
    foreign = other.new_flow(SMALLEST)

    found = account.get(
        f"{OVERVIEW}?" + "&".join(f"flow_id={id}" for id in (ids[0], ids[2], foreign, "flow-none"))
    ).json

    assert [flow["flow_id"] for flow in found["flows"]] == [ids[2], ids[0]]
    assert found["failing_flows"] == 2
    triggers = account.get("/api/v1/triggers", flow_id=ids[0]).json["triggers"]
    assert found["flows"][1]["next_start_at"] == min(trigger["next_at"] for trigger in triggers)
    assert "next_start_at" not in found["flows"][0]
    assert account.get(OVERVIEW, flows=1).json["failing_flows"] == 2
    assert_error(account.get(f"{OVERVIEW}?" + "&".join(["flow_id=flow"] * 101)), 422)


def test_an_overview_is_of_one_workspace_and_as_long_as_asked_for(account: Client, other: Client) -> None:
    for name in ("one", "two"):
        account.new_flow(SMALLEST, name=name)

    assert len(account.get(OVERVIEW, flows=1).json["flows"]) == 1
    theirs = other.get(OVERVIEW).json
    assert (theirs["flows"], theirs["running"], sum(theirs["counts"].values())) == ([], [], 0)
    header = {"Flowrunner-Workspace": account.account_id}
    assert_error(other.request("GET", OVERVIEW, headers=header), 404)


def test_a_histogram_counts_the_executions_of_the_last_day(account: Client, other: Client) -> None:
    flow = account.new_flow(SMALLEST)
    for _ in range(2):
        account.ended(account.run(flow))
    account.run_to_end(FAILS)

    found = account.get(HISTOGRAM, buckets=4).json
    of_flow = account.get(HISTOGRAM, buckets=1, flow_id=flow).json

    assert len(found["buckets"]) == 4
    last = found["buckets"][-1]
    assert last["counts"] == {"running": 0, "waiting": 0, "completed": 2, "failed": 1, "cancelled": 0}
    assert last["is_exact"] is True
    assert of_flow["buckets"][0]["counts"]["failed"] == 0
    assert of_flow["durations"]["sample"] == 2
    assert sum(one["count"] for one in of_flow["distribution"]) == 2
    assert "durations" not in other.get(HISTOGRAM).json


def test_a_histogram_without_time_is_rejected(account: Client) -> None:
    for query in ({"since": "2030-01-01", "until": "2020-01-01"}, {"buckets": 0}, {"buckets": 201}, {"since": "soon"}):
        assert_error(account.get(HISTOGRAM, **query), 422)
