"""Approvals of a team over REST: who answers, how many, and the list of what waits for the caller."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from api.shapes import assert_error, assert_recent
from api.test_workspaces_api import team_at
from security.two_accounts import ApiClient, until
from support.client import PASSWORD, Reply
from support.postgres import PostgresServer

LIST = "/api/v1/approvals"


def asking(**params: Any) -> str:
    """A flow that asks for an approval, and returns the answer."""
    ask = {"type": "approval", "params": params, "next": {"approved": "end", "rejected": "end"}}
    return json.dumps({"nodes": {"ask": ask, "end": {"type": "return", "params": {"value": "${input}"}}}})


async def started(client: ApiClient, flow: str) -> str:
    """Run a flow, and return its execution once it waits."""
    reply = await client.run(flow)
    assert reply.status == 201, reply
    id = str(reply.json["execution_id"])

    async def waits() -> bool:
        return bool((await client.request("GET", f"/api/v1/executions/{id}")).json["status"] == "waiting")

    await until(waits)
    return id


async def answered(client: ApiClient, id: str, approved: bool = True, data: Any = None, **headers: str) -> Reply:
    body = {"approved": approved, "data": data}
    return await client.request("POST", f"/api/v1/executions/{id}/approvals/ask", body, **headers)


async def waits_of(client: ApiClient, id: str) -> Any:
    (wait,) = (await client.request("GET", f"/api/v1/executions/{id}")).json["waiting_for"]
    return wait


async def listed(client: ApiClient, query: str = "limit=100") -> Sequence[str]:
    reply = await client.request("GET", f"{LIST}?{query}")
    assert reply.status == 200, reply
    return [approval["execution_id"] for approval in reply.json["approvals"]]


async def test_two_of_a_team_approve_and_each_counts_once(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        omar = await team.join("operator")
        id = await started(team.omar, await team.flow(asking(prompt="Pay?", count=2)))
        before = await waits_of(team.mara, id)
        first = await answered(team.omar, id, data={"note": "fine"})
        between = await waits_of(team.mara, id)
        again = [await answered(team.omar, id, approved) for approved in (True, False)]
        last = await answered(team.mara, id)
        result = (await team.mara.ended(id))["result"]
        logs = (await team.mara.request("GET", f"/api/v1/executions/{id}/logs?limit=50")).json["logs"]

    assert (first.status, first.json, last.status) == (200, {"message": "Approved"}, 200)
    assert (before["count"], before["answers"], before["missing"]) == (2, [], 2)
    (given,) = between["answers"]
    assert (given["approved"], given["by"], between["missing"]) == (True, omar, 1)
    assert_recent(given["at"])
    for reply in again:
        assert_error(reply, 409, "You have answered this approval already")
    mara = result["by"]
    assert [(a["approved"], a["by"], a["data"]) for a in result["answers"]] == [
        (True, omar, {"note": "fine"}),
        (True, mara, None),
    ]
    assert {key: result[key] for key in ("approved", "by", "at", "data")} == result["answers"][1]
    lines = [(line["message"], line.get("step")) for line in logs if " by " in line["message"]]
    assert lines == [(f"Approved by {omar} (1 of 2)", "ask.1"), (f"Approved by {mara} (2 of 2)", "ask.1")]


async def test_a_step_shows_its_wait_until_the_last_answer_that_it_needs(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        omar = await team.join("operator")
        id = await started(team.mara, await team.flow(asking(count=2)))

        async def shown() -> tuple[str, str | None]:
            (step,) = (await team.mara.request("GET", f"/api/v1/executions/{id}/steps?step=ask.1")).json["steps"]
            return step["status"], step["wait"].get("received", {}).get("by")

        await answered(team.mara, id)
        between = await shown()
        await answered(team.omar, id)
        await team.mara.ended(id)
        after = await shown()

    assert between == ("waiting", None)
    assert after == ("completed", omar)


async def test_the_audit_log_names_everybody_who_answered(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        omar = await team.join("operator")
        id = await started(team.mara, await team.flow(asking(count=2)))
        await answered(team.omar, id)
        await answered(team.mara, id, approved=False)
        query = f"action=execution.approval.answered&object_id={id}"
        entries = (await team.mara.request("GET", f"/api/v1/audit?{query}")).json["entries"]
        mara = (await team.mara.ended(id))["result"]["by"]

    told = [(entry["actor"], entry["workspace_id"], entry["details"]["approved"]) for entry in entries]
    assert told == [(mara, team.id, False), (omar, team.id, True)]


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_answers_of_two_people_at_once_both_count(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    settings: dict[str, Any] = {}
    if database == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        settings["database_url"] = server.new_database()
    async with team_at(tmp_path, **settings) as team:
        await team.join("operator")
        flow = await team.flow(asking(count=2))
        for _ in range(8):
            id = await started(team.mara, flow)
            # Each of the two sends the answer several times, with a key that the other has chosen too.
            replies = await asyncio.gather(
                *(answered(client, id) for client in (team.mara, team.omar) for _ in range(3)),
                *(answered(client, id, Idempotency_Key="k") for client in (team.mara, team.omar) for _ in range(2)),
            )
            answers = (await team.mara.ended(id))["result"]["answers"]

            assert len({answer["by"] for answer in answers}) == len(answers) == 2
            assert {reply.status for reply in replies} == {200, 409}


async def test_two_people_may_choose_the_same_idempotency_key(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await team.join("operator")
        id = await started(team.mara, await team.flow(asking(count=2)))
        replies = [
            (await answered(client, id, Idempotency_Key="k")).status
            for client in (team.mara, team.mara, team.omar, team.omar)
        ]
        result = (await team.mara.ended(id))["result"]
        after = (await answered(team.mara, id, Idempotency_Key="k")).status

    assert [*replies, after] == [200] * 5
    assert len(result["answers"]) == 2


async def test_a_member_is_named_by_its_address_at_the_time_of_the_answer(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        id = await started(team.mara, await team.flow(asking(members=["OMAR@example.com", "new@example.com"])))
        before = await listed(team.mara)
        refused = await answered(team.mara, id)
        await team.join("operator")
        seen = await listed(team.omar)
        done = await answered(team.omar, id)

    assert before == []
    assert_error(refused, 403, "This approval is for other members of the workspace")
    assert (seen, done.status) == ([id], 200)


async def test_the_role_in_the_workspace_decides(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        omar = await team.join("viewer")
        flow = await team.flow(asking(roles=["editor"]))
        id = await started(team.mara, flow)
        seen = []
        for role in ("viewer", "operator", "editor"):
            await team.mara.request("PUT", f"{team.path}/members/{omar}", {"role": role})
            seen.append((await listed(team.omar), (await answered(team.omar, id)).status))

    assert seen == [([], 403), ([], 403), ([id], 200)]


async def test_the_list_says_what_is_asked_where_and_since_when(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await team.join("operator")
        form = {"type": "object", "properties": {"n": {"type": "integer"}}}
        flow = await team.flow(asking(prompt="Pay?", form=form, count=3))
        id = await started(team.mara, flow)
        await answered(team.mara, id, data={})
        reply = await team.omar.request("GET", LIST)
        started_at = (await team.mara.request("GET", f"/api/v1/executions/{id}")).json["started_at"]

    (approval,) = reply.json["approvals"]
    since = approval.pop("since")
    assert_recent(since)
    assert since >= started_at
    assert approval == {
        "execution_id": id, "flow_id": flow, "flow_name": "F", "workspace_id": team.id, "node": "ask", "step": "ask.1",
        "prompt": "Pay?", "form": form, "until": None, "needed": 3, "given": 1, "link": False,
    }  # fmt: skip
    assert (reply.json["limit"], reply.json["next"]) == (10, None)


async def test_the_list_has_what_the_caller_may_answer_and_has_not_in_all_workspaces(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await team.join("operator")
        alone, shared = await team.omar.flow(asking()), await team.flow(asking(count=2))
        own = await started(team.omar, alone)
        ours = await started(team.mara, shared)
        other = await started(team.mara, await team.flow(asking(roles=["admin"])))
        maras = await started(team.mara, await team.mara.flow(asking()))
        token = {"name": "N", "scopes": ["read"]}
        personal = (await team.omar.request("POST", "/api/v1/tokens", token)).json["token"]
        everywhere = await listed(team.omar), await listed(team.mara)
        by_token = await listed(ApiClient(team.accounts.app, personal))
        await answered(team.omar, ours)
        answered_one = await listed(team.omar), await listed(team.mara)
        await answered(team.omar, own)
        await team.mara.request("DELETE", f"/api/v1/executions/{other}")
        later = await listed(team.omar), await listed(team.mara)
        await team.mara.request("DELETE", f"{team.path}/members/{await team.omars_id()}")
        await started(team.mara, shared)
        removed = await listed(team.omar)

    assert everywhere == ([ours, own], [maras, other, ours])
    assert by_token == [own]
    assert answered_one == ([own], [maras, other, ours])
    assert later == ([], [maras, ours])
    assert removed == []


async def test_an_account_that_only_reads_has_nothing_to_answer(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        omar = await team.join("admin")
        id = await started(team.mara, await team.flow(asking()))
        before = await listed(team.omar)
        await team.mara.request("PUT", f"/api/v1/accounts/{omar}", {"role": "viewer"})
        omar_again = await team.omar.request(
            "POST", "/api/v1/auth/login", {"username": "omar@example.com", "password": PASSWORD}
        )
        after = await listed(ApiClient(team.accounts.app, omar_again.json["token"]))

    assert (before, after) == ([id], [])


async def test_the_list_is_read_in_pages_the_newest_first(tmp_path: Path) -> None:
    each = """nodes:
  each:
    type: foreach
    params: {items: [1, 2, 3], concurrency: 3}
    nodes: {ask: {type: approval}}
"""
    async with team_at(tmp_path) as team:
        flow = await team.flow(asking())
        ids = [await started(team.mara, flow) for _ in range(4)]
        loop = await started(team.mara, await team.flow(each))
        found: list[tuple[str, str]] = []
        query, pages = "limit=2", 0
        while True:
            page = (await team.mara.request("GET", f"{LIST}?{query}")).json
            assert len(page["approvals"]) <= 2
            found += [(approval["execution_id"], approval["step"]) for approval in page["approvals"]]
            pages += 1
            if page["next"] is None:
                break
            assert page["next_cursor"] == page["next"]
            query = f"limit=2&after={page['next']}"
        by_links: list[tuple[str, str]] = []
        address: str | None = f"{LIST}?limit=2&cursor="
        while address is not None:
            reply = await team.mara.request("GET", address)
            by_links += [(approval["execution_id"], approval["step"]) for approval in reply.json["approvals"]]
            link = reply.headers.get("link")
            address = None if link is None else link.removeprefix("<").removesuffix('>; rel="next"')
            assert (address is None) == ("next_cursor" not in reply.json)
        both = await team.mara.request("GET", f"{LIST}?cursor=&after=x")
        wrong = [
            await team.mara.request("GET", f"{LIST}?after={after}")
            for after in ("x", "", "W10=", "WyIyMDI3LTAxLTAxVDAwOjAwOjAwIiwiYSIsIjIwMjctMDEtMDFUMDA6MDA6MDAiLCJiIl0=")
        ]

    assert [id for id, _ in found] == [loop] * 3 + ids[::-1]
    assert {step for id, step in found if id == loop} == {f"each.1[{n}]/ask.1" for n in range(3)}
    assert pages == 4
    assert by_links == found
    for reply in (*wrong, both):
        assert_error(reply, 422)


async def test_what_an_approval_needs_is_checked_when_the_flow_is_saved(tmp_path: Path) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "count": {"count": 3, "members": ["account-a", "b@example.com", "B@Example.com"]},
        "members[0]": {"members": ["omar"]},
        "members": {"members": []},
        "roles[0]": {"roles": ["viewer"]},
    }
    async with team_at(tmp_path) as team:
        replies = {
            place: await team.mara.request("POST", "/api/v1/flows", {"name": "F", "definition": asking(**params)})
            for place, params in wrong.items()
        }
        later = await team.flow(asking(members="${flow.input.who}", count="${flow.input.count}"))

    for place, reply in replies.items():
        (fault,) = assert_error(reply, 422)["errors"]
        assert fault["path"] == f"nodes.ask.params.{place}"
    assert later
