"""Jobs that re-run, cancel or delete many executions, over REST."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.shapes import NAP, assert_error, assert_recent
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.services import jobs as job_service
from flowrunner.services import selections
from flowrunner.storage import execution_search
from flowrunner.storage.execution_records import SqlExecutionRecords
from security.two_accounts import ApiClient, TwoAccounts, two_accounts_at, until
from support.client import Client, Reply
from support.receiver import Receiver

from .test_workspaces_api import HEADER, team_at

FAIL = "nodes: {a: {type: fail, params: {error: not.now, message: Not now}}}"
BATCH = "/api/v1/executions:batch"


@dataclass
class Many:
    """A program with executions of Mara that have failed."""

    accounts: TwoAccounts
    flow: str
    failed: list[str]

    @property
    def mara(self) -> ApiClient:
        return self.accounts.mara

    async def batch(self, action: str, *, query: str = "", **fields: Any) -> Reply:
        return await self.mara.request("POST", f"{BATCH}{query}", {"action": action, **fields})

    async def done(self, reply: Reply) -> Any:
        """Do the jobs, and return the one of this answer."""
        assert reply.status == 202, reply
        await self.accounts.program.services.jobs.advance()
        return (await self.mara.request("GET", reply.headers["location"])).json

    async def executions(self, **filters: str) -> list[Any]:
        query = "&".join(f"{name}={text}" for name, text in {"limit": "1000", **filters}.items())
        found = await self.mara.request("GET", f"/api/v1/executions?{query}")
        return list(found.json["executions"])


@asynccontextmanager
async def many_at(path: Path, count: int = 3, **settings: Any) -> AsyncIterator[Many]:
    async with two_accounts_at(path, **settings) as accounts:
        flow = await accounts.mara.flow(FAIL)
        failed = [(await accounts.mara.run(flow)).json["execution_id"] for _ in range(count)]
        for id in failed:
            await accounts.mara.ended(id)
        yield Many(accounts, flow, failed)


async def test_a_job_reruns_each_failed_execution_of_a_flow_once(tmp_path: Path) -> None:
    async with many_at(tmp_path) as many:
        await many.mara.run(await many.mara.flow(FAIL))
        reply = await many.batch("rerun", filter={"flow_id": many.flow, "status": "failed"})
        job = await many.done(reply)
        repeats = [
            (await many.mara.ended(each["id"])).get("rerun_of") for each in await many.executions(flow_id=many.flow)
        ]
        audit = await many.mara.request("GET", "/api/v1/audit?action=execution.rerun")

    assert reply.json.keys() == {"id", "type", "status", "total", "done", "failed", "errors", "created_at"}
    assert (reply.json["type"], reply.json["status"], reply.json["total"]) == ("executions.rerun", "running", 3)
    assert_recent(reply.json["created_at"])
    assert (job["status"], job["done"], job["failed"], job["errors"]) == ("completed", 3, 0, [])
    assert_recent(job["completed_at"])
    assert sorted(id for id in repeats if id) == sorted(many.failed)
    assert {entry["credential"] for entry in audit.json["entries"]} == {f"job:{job['id']}"}


# What fails while the configuration value N is 1; the results show with which value a step has run.
UNTIL_TWO = """
nodes:
  first: {type: transform, params: {value: "${config.N}"}, next: each}
  each:
    type: foreach
    params: {items: [1, 2], on_error: continue}
    nodes:
      push: {type: switch, params: {cases: [{when: "item > config.N", action: bad}]}, next: {bad: stop, default: say}}
      stop: {type: fail, params: {message: not yet}}
      say: {type: transform, params: {value: "${config.N}"}}
    next: check
  check: {type: switch, params: {cases: [{when: "config.N == 1", action: bad}]}, next: {bad: lost, default: end}}
  lost: {type: fail, params: {message: not yet}}
  end: {type: return, params: {value: ["${nodes.first.result}", "${nodes.each.result}"]}}
"""


async def of_two(many: Many) -> str:
    """Return a flow with an execution that failed with N = 1, which is 2 by now."""
    path = "/api/v1/config/N"
    assert (await many.mara.request("PUT", path, {"value": 1})).status == 201
    flow = await many.mara.flow(UNTIL_TWO)
    await many.mara.ended((await many.mara.run(flow)).json["execution_id"])
    assert (await many.mara.request("PUT", path, {"value": 2})).status == 200
    return flow


@pytest.mark.parametrize(
    ("options", "result"),
    [
        ({}, [2, [2, 2]]),
        ({"from": "each"}, [1, [2, 2]]),
        ({"from": "each", "elements": "failed"}, [1, [1, 2]]),
    ],
)
async def test_a_job_reruns_each_from_a_node_or_its_failed_elements(tmp_path: Path, options: Any, result: Any) -> None:
    async with many_at(tmp_path, 0) as many:
        flow = await of_two(many)
        job = await many.done(await many.batch("rerun", filter={"flow_id": flow}, **options))
        (again,) = await many.executions(job=job["id"])
        ended = await many.mara.ended(again["id"])

    assert (job["done"], job["errors"]) == (1, [])
    assert ended["result"] == result


@pytest.mark.parametrize(
    ("options", "revision", "has_same_keys"),
    [
        ({}, 2, False),
        ({"revision": "same"}, 1, False),
        ({"idempotency": "same"}, 2, True),
        ({"revision": 1, "idempotency": "same"}, 1, True),
    ],
)
async def test_a_job_reruns_the_revision_and_repeats_the_keys_that_it_names(
    tmp_path: Path, receiver: Receiver, options: Any, revision: int, has_same_keys: bool
) -> None:
    path = f"/ok/job-{secrets.token_hex(8)}"
    send = f"{{type: webhook, params: {{url: {receiver.url}{path}}}, next: b}}"
    sends = f"nodes: {{a: {send}, b: {{type: fail, params: {{message: %s}}}}}}"
    async with many_at(tmp_path, 0) as many:
        flow = await many.mara.flow(sends % "old")
        first = (await many.mara.run(flow)).json["execution_id"]
        await many.mara.ended(first)
        saved = await many.mara.request("PUT", f"/api/v1/flows/{flow}", {"definition": sends % "new"})
        assert saved.status == 200, saved
        job = await many.done(await many.batch("rerun", filter={"flow_id": flow}, **options))
        (again,) = await many.executions(job=job["id"])
        ended = await many.mara.ended(again["id"])

    assert ended["revision"] == revision
    assert [effect.key for effect in receiver.effects(path)] == [
        f"{id}.a.1" for id in (first, first if has_same_keys else again["id"])
    ]


async def test_a_job_reports_each_execution_that_cannot_be_rerun_from_the_node(tmp_path: Path) -> None:
    async with many_at(tmp_path, 2) as many:
        absent = await many.done(await many.batch("rerun", filter={"flow_id": many.flow}, **{"from": "b"}))
        loop = await many.done(await many.batch("rerun", ids=many.failed[:1], **{"from": "a"}, elements="failed"))

    assert [error["message"] for error in absent["errors"]] == ["from: The execution has not reached a step 'b'"] * 2
    assert [error["message"] for error in loop["errors"]] == [
        "elements: 'a.1' is no loop whose elements run again one by one"
    ]


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
@pytest.mark.parametrize(
    ("action", "fields", "field"),
    [
        ("cancel", {"from": "a"}, "from"),
        ("delete", {"revision": "same"}, "revision"),
        ("rerun", {"elements": "failed"}, "elements"),
        ("rerun", {"from": "a", "elements": "all"}, "elements"),
        ("rerun", {"revision": "newest"}, "revision"),
        ("rerun", {"from": "a", "node_input": 1}, "node_input"),
    ],
)
async def test_options_of_reruns_that_make_no_sense_create_no_job(
    tmp_path: Path, query: str, action: str, fields: Any, field: str
) -> None:
    async with many_at(tmp_path, 0) as many:
        refused = await many.batch(action, query=query, filter={"flow_id": many.flow}, **fields)

    assert assert_error(refused, 422)["field"] == field


@pytest.mark.parametrize("fields", [{"from": None, "elements": None}, {"revision": "current"}, {"idempotency": "new"}])
async def test_an_option_of_reruns_that_has_its_default_is_as_if_left_out(tmp_path: Path, fields: Any) -> None:
    async with many_at(tmp_path, 1) as many:
        job = await many.done(await many.batch("delete", ids=many.failed, **fields))

    assert (job["done"], job["errors"]) == (1, [])


async def test_a_dry_run_leaves_out_what_is_deleted_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    existing = SqlExecutionRecords.existing
    async with many_at(tmp_path) as many:
        first, *others = sorted(many.failed)

        async def delete_after(self: SqlExecutionRecords, *args: Any) -> Any:
            found = await existing(self, *args)
            await many.mara.request("DELETE", f"/api/v1/executions/{first}/record")
            return found

        monkeypatch.setattr(SqlExecutionRecords, "existing", delete_after)
        reply = await many.batch("delete", query="?dry_run=true", ids=many.failed)

    assert reply.status == 200, reply
    assert [execution["id"] for execution in reply.json["executions"]] == others


async def test_a_list_has_what_a_job_has_started_and_nothing_else(tmp_path: Path) -> None:
    async with many_at(tmp_path) as many:
        first = await many.done(await many.batch("rerun", ids=many.failed[:2]))
        second = await many.done(await many.batch("rerun", ids=many.failed[2:]))
        await many.mara.run(many.flow)
        repeats = [await many.executions(job=job["id"]) for job in (first, second)]
        of_a_rerun = await many.executions(job=first["id"], rerun_of=many.failed[0])
        for each in repeats[0]:
            await many.mara.ended(each["id"])
        # The next job takes what the first one has started; a repeat is not the first one's.
        again = await many.batch("rerun", query="?dry_run=true", filter={"job": first["id"], "status": "failed"})
        await many.done(await many.batch("rerun", filter={"job": first["id"]}))
        after = await many.executions(job=first["id"])
        stranger = await many.accounts.omar.request("GET", f"/api/v1/executions?job={first['id']}")

    assert [sorted(each["rerun_of"] for each in found) for found in repeats] == [
        sorted(many.failed[:2]),
        many.failed[2:],
    ]
    assert [each["rerun_of"] for each in of_a_rerun] == [many.failed[0]]
    assert again.json["total"] == 2
    assert [each["id"] for each in after] == [each["id"] for each in repeats[0]]
    assert stranger.json["executions"] == []


async def test_a_dry_run_counts_and_shows_the_first_ones(tmp_path: Path) -> None:
    async with many_at(tmp_path, 12) as many:
        reply = await many.batch("rerun", query="?dry_run=true", filter={"flow_id": many.flow})
        by_ids = await many.batch("delete", query="?dry_run=true", ids=many.failed[:2])
        jobs = await many.mara.request("GET", "/api/v1/jobs")

    assert reply.status == 200
    assert (reply.json["type"], reply.json["total"]) == ("executions.rerun", 12)
    assert [each["id"] for each in reply.json["executions"]] == sorted(many.failed)[:10]
    assert (by_ids.json["total"], len(by_ids.json["executions"])) == (2, 2)
    assert jobs.json["jobs"] == []


async def test_a_job_cancels_open_executions_and_reports_what_has_ended(tmp_path: Path) -> None:
    async with many_at(tmp_path, 1) as many:
        open_one = (await many.mara.run(await many.mara.flow(NAP))).json["execution_id"]
        job = await many.done(await many.batch("cancel", ids=[many.failed[0], open_one]))
        again = await many.done(await many.batch("cancel", filter={"status": "running,waiting"}))
        ended = await many.mara.ended(open_one)

    assert (job["status"], job["done"], job["failed"]) == ("completed", 1, 1)
    (error,) = job["errors"]
    assert (error["item"], "already ended" in error["message"]) == (many.failed[0], True)
    assert ended["status"] == "cancelled"
    assert (again["status"], again["total"]) == ("completed", 0)


async def test_a_job_deletes_executions_that_have_ended(tmp_path: Path) -> None:
    async with many_at(tmp_path) as many:
        open_one = (await many.mara.run(await many.mara.flow(NAP))).json["execution_id"]
        first = await many.done(await many.batch("delete", ids=[many.failed[0], open_one]))
        second = await many.done(await many.batch("delete", filter={"flow_id": many.flow}))
        left = [each["id"] for each in await many.executions()]
        audit = await many.mara.request("GET", "/api/v1/audit?action=execution.deleted")

    assert (first["done"], first["failed"]) == (1, 1)
    assert (second["total"], second["done"]) == (2, 2)
    assert left == [open_one]
    assert sorted(entry["object"]["id"] for entry in audit.json["entries"]) == sorted(many.failed)


async def test_a_filter_selects_as_the_list_of_executions_does(tmp_path: Path) -> None:
    async with many_at(tmp_path) as many:
        (rerun,) = [
            (await many.mara.request("POST", f"/api/v1/executions/{many.failed[0]}/rerun")).json["execution_id"]
        ]
        await many.mara.ended(rerun)
        filters: list[dict[str, Any]] = [
            {"flow": "F"}, {"flow": "F", "since": "2999-01-01"}, {"until": "2020-01-01"}, {"since": "2020-01-01"},
            {"error_type": "not.now"}, {"error_type": "other"}, {"node": "a"}, {"rerun_of": many.failed[0]},
            {"parent_id": many.failed[0]},
            {"unrepaired": True}, {"trigger": "none"}, {"status": "completed,cancelled", "flow": "F"},
        ]  # fmt: skip
        totals = [(await many.batch("rerun", query="?dry_run=true", filter=each)).json["total"] for each in filters]
        listed = []
        for each in filters:
            usual = {} if each.keys() & {"status", "unrepaired"} else {"status": "failed"}
            values = {name: "true" if value is True else value for name, value in each.items()}
            # The first has been rerun since.
            listed.append(sum(one["id"] != many.failed[0] for one in await many.executions(**usual, **values)))

    assert totals == [3, 0, 0, 3, 3, 0, 3, 1, 0, 3, 0, 0]
    assert listed == totals


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "filter"),
        ({"ids": ["x"], "filter": {"status": "failed"}}, "filter"),
        ({"filter": {}}, "filter"),
        ({"filter": {"flow_id": None, "unrepaired": False}}, "filter"),
        ({"filter": {"flow_id": "", "status": "failed"}}, "filter.flow_id"),
        ({"filter": {"flow": "", "status": "failed"}}, "filter.flow"),
        ({"filter": {"rerun_of": ""}}, "filter.rerun_of"),
        ({"filter": {"parent_id": ""}}, "filter.parent_id"),
        ({"filter": {"status": "lost"}}, "filter.status"),
        ({"filter": {"colour": "red"}}, "filter.colour"),
        ({"filter": {"unrepaired": True, "status": "completed"}}, "filter.status"),
        ({"filter": {"since": "yesterday"}}, "filter.since"),
        ({"ids": ["exec-none"]}, "ids[0]"),
        ({"ids": []}, "ids"),
    ],
)
async def test_a_selection_that_makes_no_sense_is_rejected(tmp_path: Path, fields: Any, field: str) -> None:
    async with many_at(tmp_path, 0) as many:
        details = assert_error(await many.batch("rerun", **fields), 422)

    assert details["field"] == field


async def test_a_list_of_statuses_is_answered_with_the_form_that_is_taken(tmp_path: Path) -> None:
    async with many_at(tmp_path, 0) as many:
        details = assert_error(await many.batch("rerun", filter={"status": ["failed", "cancelled"]}), 422)

    assert details["reason"] == "must be one text, with commas between several statuses: 'failed,cancelled'"


async def test_a_job_has_a_limited_number_of_executions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_service, "MAX_ITEMS", 2)
    async with many_at(tmp_path) as many:
        reply = await many.batch("rerun", filter={"flow_id": many.flow})

    assert_error(reply, 422, "filter: selects 3, and a job may have 2")


async def test_a_workspace_has_a_limited_number_of_running_jobs(tmp_path: Path) -> None:
    async with many_at(tmp_path, 1) as many:
        for _ in range(job_service.MAX_RUNNING):
            assert (await many.batch("rerun", ids=many.failed)).status == 202
        details = assert_error(await many.batch("rerun", ids=many.failed), 429)
        jobs = (await many.mara.request("GET", "/api/v1/jobs?limit=2")).json
        stopped = await many.mara.request("DELETE", f"/api/v1/jobs/{jobs['jobs'][0]['id']}")
        again = await many.batch("rerun", ids=many.failed)

    assert (details["limit"], details["most"]) == ("workspace_jobs", job_service.MAX_RUNNING)
    assert (jobs["total"], len(jobs["jobs"])) == (job_service.MAX_RUNNING, 2)
    assert stopped.status == 200
    assert again.status == 202


async def test_a_job_that_was_stopped_does_nothing_more(tmp_path: Path) -> None:
    async with many_at(tmp_path) as many:
        reply = await many.batch("rerun", ids=many.failed)
        stopped = await many.mara.request("DELETE", reply.headers["location"])
        job = await many.done(reply)
        repeated = await many.mara.request("DELETE", reply.headers["location"])
        count = len(await many.executions())
        audit = await many.mara.request("GET", "/api/v1/audit?object_kind=job")

    assert stopped.status == 200
    assert (job["status"], job["done"]) == ("cancelled", 0)
    assert_recent(job["completed_at"])
    assert_error(repeated, 409)
    assert count == 3
    assert [entry["action"] for entry in audit.json["entries"]] == ["job.cancelled", "job.created"]


async def test_a_job_waits_while_the_installation_is_paused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_service, "_WAIT_SECONDS", 0.0)
    async with many_at(tmp_path) as many:
        await many.mara.request("PUT", "/api/v1/admin/pause", {"paused": True})
        reply = await many.batch("rerun", ids=many.failed)
        services = many.accounts.program.services
        (id,) = [job["id"] for job in (await many.mara.request("GET", "/api/v1/jobs")).json["jobs"]]
        moved = [await services.jobs._advance(id) for _ in range(3)]
        waiting = (await many.mara.request("GET", reply.headers["location"])).json
        await many.mara.request("PUT", "/api/v1/admin/pause", {"paused": False})
        job = await many.done(reply)

    assert moved == [job_service._Step.WAITING] * 3
    assert (waiting["status"], waiting["done"], waiting["failed"]) == ("running", 0, 0)
    assert (job["status"], job["done"], job["failed"]) == ("completed", 3, 0)


async def test_a_job_keeps_to_the_limits_of_active_and_queued_executions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_service, "_WAIT_SECONDS", 0.01)
    slow = "nodes: {a: {type: delay, params: {duration: 50ms}}}"
    async with two_accounts_at(tmp_path, workspace_active=1, workspace_queued=1) as accounts:
        many = Many(accounts, await accounts.mara.flow(slow), [])
        for _ in range(4):
            id = (await many.mara.run(many.flow)).json["execution_id"]
            await many.mara.ended(id)
        refused = 0
        check = WorkspaceLimits.check_queued

        def counted(limits: WorkspaceLimits, count: int) -> None:
            nonlocal refused
            try:
                check(limits, count)
            except Exception:
                refused += 1
                raise

        monkeypatch.setattr(WorkspaceLimits, "check_queued", counted)
        job = await many.done(await many.batch("rerun", filter={"flow_id": many.flow, "status": "completed"}))
        count = len(await many.executions())

    assert (job["status"], job["done"], job["failed"], count) == ("completed", 4, 0, 8)
    assert refused > 0


async def test_a_job_ends_when_its_account_loses_the_right(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("operator")
        flow = await team.flow(FAIL)
        execution = (await team.mara.run(flow)).json["execution_id"]
        await team.mara.ended(execution)
        jobs = []
        for role in ("viewer", None):
            body = {"action": "rerun", "ids": [execution]}
            reply = await team.omar.request("POST", BATCH, body, **{HEADER: team.id})
            assert reply.status == 202, reply
            if role is None:
                await team.mara.request("DELETE", f"{team.path}/members/{id}")
            else:
                await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": role})
            await team.accounts.program.services.jobs.advance()
            jobs.append((await team.mara.request("GET", reply.headers["location"])).json)
            await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": "operator"})
        executions = await team.mara.request("GET", "/api/v1/executions", **{HEADER: team.id})

    assert [job["status"] for job in jobs] == ["failed", "failed"]
    assert [[error.keys() for error in job["errors"]] for job in jobs] == [[{"message"}]] * 2
    assert executions.json["total"] == 1


async def test_an_operator_deletes_nothing(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await team.join("operator")
        execution = (await team.mara.run(await team.flow())).json["execution_id"]
        await team.mara.ended(execution)
        body = {"action": "delete", "ids": [execution]}
        job = await team.omar.request("POST", BATCH, body, **{HEADER: team.id})
        plan = await team.omar.request("POST", f"{BATCH}?dry_run=true", body, **{HEADER: team.id})
        record = await team.omar.request("DELETE", f"/api/v1/executions/{execution}/record")

    for reply in (job, plan, record):
        assert_error(reply, 403)


def test_a_dry_run_shows_executions_to_those_who_may_read_them_alone(account: Client) -> None:
    flow = account.new_flow(FAIL)
    account.ended(account.run(flow))
    running, reading = (
        Client(account.url, account.post("/api/v1/tokens", {"name": "t", "scopes": scopes}).json["token"])
        for scopes in (["run"], ["run", "read"])
    )
    body = {"action": "rerun", "filter": {"flow_id": flow}}

    assert_error(running.post(f"{BATCH}?dry_run=true", body), 403)
    assert reading.post(f"{BATCH}?dry_run=true", body).json["executions"][0]["error"] == "Not now"
    assert running.post(BATCH, body).status == 202


async def test_ids_of_another_workspace_are_those_of_nothing(tmp_path: Path) -> None:
    async with many_at(tmp_path, 1) as many:
        theirs, nothing = [
            await many.accounts.omar.request("POST", BATCH, {"action": "rerun", "ids": [id]})
            for id in (many.failed[0], "x" * len(many.failed[0]))
        ]

    assert_error(theirs, 422)
    assert json.dumps(theirs.error["details"]).replace(many.failed[0], "ID") == json.dumps(
        nothing.error["details"]
    ).replace("x" * len(many.failed[0]), "ID")


# Records


async def test_the_record_of_an_execution_is_deleted_after_its_end(tmp_path: Path) -> None:
    async with many_at(tmp_path, 1) as many:
        open_one = (await many.mara.run(await many.mara.flow(NAP))).json["execution_id"]
        path = f"/api/v1/executions/{many.failed[0]}"
        await many.mara.request("GET", f"{path}/steps")
        too_early = await many.mara.request("DELETE", f"/api/v1/executions/{open_one}/record")
        deleted = await many.mara.request("DELETE", f"{path}/record")
        gone = [
            (await many.mara.request(method, f"{path}{rest}")).status
            for method, rest in (
                ("GET", ""), ("GET", "/steps"), ("GET", "/logs"), ("GET", "/events"), ("GET", "/graph"),
                ("POST", "/rerun"), ("DELETE", ""), ("DELETE", "/record"),
            )
        ]  # fmt: skip
        audit = await many.mara.request("GET", f"/api/v1/audit?object_id={many.failed[0]}")

    assert_error(too_early, 409)
    assert deleted.status == 200
    assert gone == [404] * 8
    assert audit.json["entries"][0]["action"] == "execution.deleted"


async def test_a_key_of_a_job_is_none_that_a_client_can_send(tmp_path: Path) -> None:
    async with many_at(tmp_path, 1) as many:
        job = await many.done(await many.batch("rerun", ids=many.failed))
        reply = await many.mara.run(many.flow, Idempotency_Key=f"{job['id']} {many.failed[0]}")

    assert_error(reply, 422)


async def test_the_background_job_is_woken_by_a_request(tmp_path: Path) -> None:
    async with many_at(tmp_path, 1) as many:
        jobs = many.accounts.program.services.jobs
        before = (jobs.requested.is_set(), await jobs.next_due())
        await many.batch("rerun", ids=many.failed)

        async def is_due() -> bool:
            return jobs.requested.is_set() and await jobs.next_due() is not None

        await until(is_due)
        await jobs.advance()
        after = await jobs.next_due()

    assert before == (False, None)
    assert after is None


async def test_a_filter_is_searched_for_in_bounded_pages_between_which_other_tasks_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_search, "MOST_EXAMINED", 1)
    monkeypatch.setattr(selections, "MOST_PAGES", 3)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with many_at(tmp_path) as many:
        others = asyncio.create_task(take_turns())
        before = turns
        plan = await many.batch("delete", query="?dry_run=true", filter={"error_type": "not.now", "node": "a"})
        others.cancel()

        assert_error(plan, 422)
        assert plan.json["error"]["details"]["errors"][0]["code"] == "too_long"
        assert turns - before >= 3


async def test_a_filter_that_finds_nothing_at_first_looks_as_far_as_one_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_search, "MOST_EXAMINED", 4)
    monkeypatch.setattr(execution_search, "MOST_EXAMINED_TO_COUNT", 1)
    monkeypatch.setattr(selections, "MOST_PAGES", 3)
    async with many_at(tmp_path, 8) as many:
        plan = await many.batch("delete", query="?dry_run=true", filter={"error_type": "not.now", "node": "a"})
        far = await many.batch("delete", query="?dry_run=true", filter={"error_type": "not.now", "node": "b"})

    assert (plan.status, plan.json["total"]) == (200, 8)
    assert (far.status, far.json["total"]) == (200, 0)
