"""Triggers over REST: the list, the pause, and what comes next."""

from typing import Any

import pytest

from api.shapes import assert_error
from support.client import Client
from support.waiting import wait_for

FLOW = """
nodes: {a: {type: return}}
triggers:
  yearly: {type: schedule, cron: "0 2 1 1 *", timezone: Europe/Berlin}
  pushed: {type: webhook, verify: none}
  after:  {type: execution, flow: other}
"""
FIELDS = {
    "id", "flow_id", "flow_name", "name", "type", "state", "schedule", "next_at", "last_at", "last_execution_id", "url",
    "error", "warning", "skipped", "missed",
}  # fmt: skip


def listed(account: Client, **query: Any) -> list[Any]:
    reply = account.get("/api/v1/triggers", **query)
    assert reply.status == 200, reply
    assert reply.json["total"] == len(reply.json["triggers"])
    return list(reply.json["triggers"])


def test_the_triggers_of_a_flow_are_listed(account: Client) -> None:
    flow = account.new_flow(FLOW)

    found = listed(account, flow_id=flow)

    assert all(trigger.keys() == FIELDS for trigger in found)
    assert [(trigger["name"], trigger["type"], trigger["state"]) for trigger in found] == [
        ("after", "execution", "armed"),
        ("pushed", "webhook", "armed"),
        ("yearly", "schedule", "armed"),
    ]
    # Two o'clock in Berlin.
    assert found[2]["next_at"].endswith("-01-01T01:00:00.000Z")
    assert (found[2]["schedule"]["missed"], found[2]["schedule"]["overlap"]) == ("latest", "skip")
    assert found[1]["url"].startswith("/hooks/")
    assert [trigger["flow_name"] for trigger in found] == ["A flow"] * 3
    assert [trigger["name"] for trigger in listed(account, flow_id=flow, type="webhook")] == ["pushed"]
    assert account.get(f"/api/v1/triggers/{found[0]['id']}").json == found[0]


@pytest.mark.parametrize("named_by", ["id", "name"])
def test_a_chain_whose_flow_was_deleted_warns_that_it_starts_nothing(account: Client, named_by: str) -> None:
    name = f"heard by {named_by}"
    other = account.new_flow("nodes: {a: {type: return}}", name=name)
    named = {"id": other, "name": name}[named_by]
    flow = account.new_flow(
        f"triggers: {{after: {{type: execution, flow: '{named}'}}}}\nnodes: {{a: {{type: return}}}}"
    )
    before = listed(account, flow_id=flow)[0]
    assert account.delete(f"/api/v1/flows/{other}").status == 200

    after = listed(account, flow_id=flow)[0]

    assert (before["state"], before["warning"]) == ("armed", None)
    assert (after["state"], after["warning"]) == (
        "armed",
        f"Starts nothing: the workspace has no flow '{named}' (any more). Name another one in the flow's document",
    )
    assert account.post(f"/api/v1/triggers/{after['id']}/pause").json["warning"] is None


def test_a_trigger_is_paused_and_resumed(account: Client) -> None:
    yearly = listed(account, flow_id=account.new_flow(FLOW), type="schedule")[0]
    address = f"/api/v1/triggers/{yearly['id']}"

    paused = account.post(f"{address}/pause")
    resumed = account.post(f"{address}/resume")

    assert (paused.status, paused.json) == (200, {**yearly, "state": "paused", "next_at": None})
    assert (resumed.status, resumed.json) == (200, yearly)


def test_a_removed_trigger_cannot_be_resumed(account: Client) -> None:
    flow = account.new_flow(FLOW)
    yearly = listed(account, flow_id=flow, type="schedule")[0]
    account.put(f"/api/v1/flows/{flow}", {"definition": "nodes: {a: {type: return}}"})

    assert listed(account, flow_id=flow)[0]["state"] == "ended"
    assert_error(account.post(f"/api/v1/triggers/{yearly['id']}/resume"), 409)


def test_the_next_due_times_are_shown(account: Client) -> None:
    _, pushed, yearly = listed(account, flow_id=account.new_flow(FLOW))

    reply = account.get(f"/api/v1/triggers/{yearly['id']}/next", count=3)

    years = [int(time[:4]) for time in reply.json["next"]]
    assert years == [years[0], years[0] + 1, years[0] + 2]
    assert_error(account.get(f"/api/v1/triggers/{pushed['id']}/next"), 422)


def test_pages_of_due_times_have_each_of_them_once(account: Client) -> None:
    document = """
triggers:
  jittered: {type: schedule, every: 1m, jitter: 59s}
  quarters: {type: schedule, cron: "*/15 * * * *", timezone: Europe/Berlin}
  crowded: {type: schedule, cron: "* * * * *", jitter: 10m}
  seldom: {type: schedule, cron: "0 0 29 2 *"}
nodes: {a: {type: return}}
"""
    found = {each["name"]: each["id"] for each in listed(account, flow_id=account.new_flow(document))}

    def times(name: str, **query: Any) -> Any:
        return account.get(f"/api/v1/triggers/{found[name]}/next", **query).json["next"]

    for name in ("jittered", "quarters", "crowded"):
        whole = times(name, count=1000)
        assert whole == sorted(set(whole))
        assert len(whole) == 1000
        pages = [times(name, count=300)]
        while len(pages) < 4:
            pages.append(times(name, count=300, after=pages[-1][-1], until=whole[-1]))
        assert [time for page in pages for time in page] == whole[:-1]
    assert times("quarters", until="2000-01-01") == []
    assert 900 < len(times("seldom", count=1000)) < 1000
    path = f"/api/v1/triggers/{found['quarters']}/next"
    for query in ({"count": 1001}, {"after": "8999-01-01"}, {"after": "soon"}, {"until": "2027-01-01T00:00"}):
        assert_error(account.get(path, **query), 422)


def test_a_schedule_is_run_by_hand_once_for_each_key(account: Client) -> None:
    flow = account.new_flow(FLOW)
    yearly = listed(account, flow_id=flow, type="schedule")[0]
    address = f"/api/v1/triggers/{yearly['id']}"

    started = account.post(f"{address}/run", Idempotency_Key="one")
    again = account.post(f"{address}/run", Idempotency_Key="one")

    assert (started.status, again.status) == (201, 200)
    assert started.json["execution_id"] == again.json["execution_id"]
    ended = account.ended(started.json["execution_id"])
    assert (ended["status"], ended["trigger"]) == ("completed", yearly["id"])
    after = account.get(address).json
    assert after == {**yearly, "last_at": after["last_at"], "last_execution_id": started.json["execution_id"]}
    pushed = listed(account, flow_id=flow, type="webhook")[0]
    assert_error(account.post(f"/api/v1/triggers/{pushed['id']}/run"), 409)


def warnings_of(account: Client, triggers: str) -> list[tuple[str, str, str | None]]:
    definition = f"nodes: {{a: {{type: return}}}}\ntriggers: {triggers}"
    reply = account.post("/api/v1/flows/validate", {"definition": definition})
    assert reply.json["is_valid"], reply
    return [(fault["code"], fault["path"], fault.get("hint")) for fault in reply.json["warnings"]]


def test_what_will_never_start_the_flow_is_said_before_it_is_saved(account: Client) -> None:
    assert warnings_of(account, "{t: {type: execution, flow: nobody}}") == [
        ("flow.unknown", "triggers.t.flow", "nothing starts this flow until a flow has that name or id")
    ]
    assert warnings_of(account, '{t: {type: schedule, at: "2020-01-01T00:00:00Z"}}') == [
        ("trigger.past", "triggers.t", "give it a later moment, or remove the trigger")
    ]
    account.new_flow("nodes: {a: {type: return}}", name="somebody")
    assert warnings_of(account, "{t: {type: execution, flow: somebody}, u: {type: schedule, every: 1h}}") == []


def test_a_chain_that_leads_back_to_its_flow_is_refused(account: Client) -> None:
    loop = "nodes: {a: {type: return}}\ntriggers: {t: {type: execution, flow: myself}}"

    details = assert_error(account.post("/api/v1/flows", {"name": "myself", "definition": loop}), 422)

    assert [(error["code"], error["path"]) for error in details["errors"]] == [("trigger.loop", "triggers.t.flow")]


def test_a_dry_run_refuses_a_loop_of_chains_as_the_change_would(account: Client) -> None:
    chain = "nodes: {a: {type: return}}\ntriggers: {t: {type: execution, flow: %s}}"
    first = account.new_flow(chain % "second", name="first")
    other = account.new_flow("nodes: {a: {type: return}}", name="other")
    loop = {"definition": chain % "first"}

    faults = [
        assert_error(reply, 422)["errors"][0]["code"]
        for reply in (
            account.post("/api/v1/flows?dry_run=true", {"name": "second", **loop}),
            account.put(f"/api/v1/flows/{other}?dry_run=true", {"name": "second", **loop}),
            account.post("/api/v1/flows:batch?dry_run=true", {"flows": [{"name": "second", **loop}]}),
        )
    ]

    assert faults == ["trigger.loop"] * 3
    assert {flow["name"] for flow in account.get("/api/v1/flows").json["flows"]} == {"other", "first"}
    # Without the loop nothing is saved either.
    planned = account.put(f"/api/v1/flows/{first}?dry_run=true", {"definition": chain % "third"})
    assert (planned.status, account.get(f"/api/v1/flows/{first}").json["revision"]) == (200, 1)


def test_a_backfill_starts_what_would_have_been_started(account: Client) -> None:
    flow = account.new_flow(
        'nodes: {a: {type: return, params: {value: "${flow.input.day}"}}}\n'
        "triggers: {daily: {type: schedule, cron: '@daily', input: {day: \"${trigger.due_at}\"}}}"
    )
    (daily,) = listed(account, flow_id=flow)
    address, days = f"/api/v1/triggers/{daily['id']}/backfill", {"from": "2026-02-27", "to": "2026-03-02"}

    planned = account.post(f"{address}?dry_run=true", days)
    # The second one is asked for while the first one may be running.
    jobs = [account.post(address, period) for period in (days, {**days, "from": "2026-02-26"})]
    for job in jobs:
        wait_for(lambda job=job: account.get(job.headers["location"]).json["status"] == "completed")  # type: ignore[misc] # a default
    more = [account.post(f"{address}?dry_run=true", {**days, "from": f"2026-02-{day}"}).json for day in (24, 26)]

    assert (planned.status, planned.json) == (
        200,
        {
            "type": "triggers.backfill",
            "total": 3,
            "times": [f"2026-{day}T00:00:00.000Z" for day in ("02-27", "02-28", "03-01")],
        },
    )
    assert [(job.status, job.json["failed"]) for job in jobs] == [(202, 0), (202, 0)]
    assert jobs[0].json["total"] == 3
    assert [(plan["total"], [time[:10] for time in plan["times"]]) for plan in more] == [
        (2, ["2026-02-24", "2026-02-25"]), (0, [])
    ]  # fmt: skip
    started = account.get("/api/v1/executions", flow_id=flow).json["executions"]
    results = [account.ended(execution["id"])["result"] for execution in started]
    by_job = [account.get("/api/v1/executions", job=job.json["id"]).json["executions"] for job in jobs]
    assert sorted(each["id"] for found in by_job for each in found) == sorted(each["id"] for each in started)
    # Each due time is started once, however often it is asked for.
    assert sorted(results) == [f"2026-{day}T00:00:00.000Z" for day in ("02-26", "02-27", "02-28", "03-01")]
    assert {execution["trigger"] for execution in started} == {daily["id"]}
    assert account.get(f"/api/v1/triggers/{daily['id']}").json == daily


def test_the_days_of_a_backfill_begin_in_the_time_zone_of_the_schedule(account: Client) -> None:
    flow = account.new_flow(
        "nodes: {a: {type: return}}\ntriggers: {t: {type: schedule, cron: '30 1 * * *', timezone: Europe/Berlin}}"
    )
    (trigger,) = listed(account, flow_id=flow)
    address = f"/api/v1/triggers/{trigger['id']}/backfill?dry_run=true"

    # Summer time ends on the 25th.
    month = account.post(address, {"from": "2020-10-01", "to": "2020-11-01"}).json
    mixed = account.post(address, {"from": "2020-10-31", "to": "2020-10-31T00:30:00.001Z"}).json

    assert (month["total"], month["times"][0]) == (31, "2020-09-30T23:30:00.000Z")
    assert (mixed["total"], mixed["times"]) == (1, ["2020-10-31T00:30:00.000Z"])


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_a_webhook_has_nothing_to_backfill(account: Client, query: str) -> None:
    flow = account.new_flow("nodes: {a: {type: return}}\ntriggers: {push: {type: webhook, verify: none}}")
    (push,) = listed(account, flow_id=flow)

    refused = account.post(f"/api/v1/triggers/{push['id']}/backfill{query}", {"from": "2026-02-27", "to": "2026-03-02"})

    assert_error(refused, 409, "A trigger of type webhook has no due times to start: run its flow instead")


def test_a_disabled_flow_has_no_backfill(account: Client) -> None:
    flow = account.new_flow("nodes: {a: {type: return}}\ntriggers: {daily: {type: schedule, cron: '@daily'}}")
    (daily,) = listed(account, flow_id=flow)
    address, days = f"/api/v1/triggers/{daily['id']}/backfill", {"from": "2026-02-27", "to": "2026-03-02"}
    account.put(f"/api/v1/flows/{flow}", {"disabled": True})

    for query in ("", "?dry_run=true"):
        assert_error(
            account.post(f"{address}{query}", days),
            409,
            "The flow 'A flow' is disabled and starts no executions: enable it first",
        )
    account.put(f"/api/v1/flows/{flow}", {"disabled": False})

    assert account.post(f"{address}?dry_run=true", days).json["total"] == 3


def test_a_backfill_is_of_a_period_that_is_over_and_bounded(account: Client) -> None:
    flow = account.new_flow("nodes: {a: {type: return}}\ntriggers: {t: {type: schedule, every: 1s}}")
    (often,) = listed(account, flow_id=flow)
    address = f"/api/v1/triggers/{often['id']}/backfill"

    for period, field in (
        ({"from": "2026-01-01", "to": "2026-02-01"}, "from"),
        ({"from": "2026-01-01", "to": "2026-01-01"}, "to"),
        ({"from": "2026-01-01", "to": "2100-01-01"}, "to"),
        ({"from": "yesterday", "to": "2026-01-01"}, "from"),
    ):
        assert assert_error(account.post(address, period), 422)["field"] == field
