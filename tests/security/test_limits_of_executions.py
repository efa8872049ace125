"""No account has more executions waiting, or keeps more of them and of flows, than it may."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Final

from flowrunner.domain.retention import RetentionRule
from flowrunner.services.retention import Retention
from flowrunner.storage.retention import SqlRetention
from security.two_accounts import RETURN, TwoAccounts, assert_limited, two_accounts_at, until
from support.databases import rows_of
from support.receiver import Receiver

# What waits


def hanging(receiver: Receiver) -> str:
    url = f"{receiver.url}/slow?seconds=100"
    return f"nodes: {{a: {{type: http.request, timeout: 2m, params: {{url: '{url}'}}}}}}"


async def test_s56_an_account_has_no_more_executions_waiting_than_it_may(tmp_path: Path, receiver: Receiver) -> None:
    async with two_accounts_at(tmp_path / "data", workspace_active=2, workspace_queued=10) as accounts:
        flow, others = await accounts.mara.flow(hanging(receiver)), await accounts.omar.flow(RETURN)
        replies = await asyncio.gather(*(accounts.mara.run(flow, Idempotency_Key=f"k{n}") for n in range(14)))
        statuses = Counter(reply.status for reply in replies)

        # 2 are active, and 10 wait: the others would be 11 of each 10.
        assert statuses == {201: 12, 429: 2}
        assert_limited(next(reply for reply in replies if reply.status == 429), "workspace_queued", 10)
        assert (accounts.program.engine.dispatcher.active, accounts.program.engine.dispatcher.queued) == (2, 10)
        assert rows_of(tmp_path / "data/flowrunner.db", "SELECT count(*) FROM executions") == [(12,)]
        # Another account has its own room, and at once.
        accepted = await accounts.omar.run(others)
        assert (await accounts.omar.ended(accepted.json["execution_id"]))["status"] == "completed"
        # What was accepted keeps its answer.
        key, first = next((f"k{n}", reply) for n, reply in enumerate(replies) if reply.status == 201)
        again = await accounts.mara.run(flow, Idempotency_Key=key)
        assert (again.status, again.json["execution_id"]) == (200, first.json["execution_id"])
        # One that ends makes room for one.
        cancelled = await accounts.mara.request("DELETE", f"/api/v1/executions/{first.json['execution_id']}")
        assert cancelled.status == 200
        assert [(await accounts.mara.run(flow)).status for _ in range(2)] == [201, 429]


async def test_one_that_waits_for_room_is_running_and_says_so(tmp_path: Path, receiver: Receiver) -> None:
    async with two_accounts_at(tmp_path / "data", workspace_active=1, workspace_queued=10) as accounts:
        flow = await accounts.mara.flow(hanging(receiver))
        first, second = [(await accounts.mara.run(flow)).json["execution_id"] for _ in range(2)]

        begun, queued = [
            (await accounts.mara.request("GET", f"/api/v1/executions/{id}")).json for id in (first, second)
        ]
        assert (begun["status"], begun.get("waiting_for")) == ("running", None)
        assert (queued["status"], queued["waiting_for"]) == ("running", [{"type": "room", "until": None}])
        listed = (await accounts.mara.request("GET", "/api/v1/executions")).json["executions"]
        assert {one["id"]: one.get("waiting_at") for one in listed} == {first: None, second: {"type": "room"}}

        await accounts.mara.request("DELETE", f"/api/v1/executions/{first}")
        await accounts.mara.request("DELETE", f"/api/v1/executions/{second}")
        for id in (first, second):
            assert "waiting_for" not in (await accounts.mara.request("GET", f"/api/v1/executions/{id}")).json


async def test_s56_a_server_that_starts_again_counts_those_that_wait(tmp_path: Path, receiver: Receiver) -> None:
    limits = {"workspace_active": 1, "workspace_queued": 3}
    async with two_accounts_at(tmp_path / "data", **limits) as accounts:
        flow = await accounts.mara.flow(hanging(receiver))
        assert [(await accounts.mara.run(flow)).status for _ in range(5)] == [201] * 4 + [429]

    async with two_accounts_at(tmp_path / "data", **limits) as accounts:

        async def has_recovered() -> bool:
            return accounts.program.engine.dispatcher.queued == 3

        await until(has_recovered)
        assert_limited(await accounts.mara.run(flow), "workspace_queued", 3)
        assert (accounts.program.engine.dispatcher.active, accounts.program.engine.dispatcher.queued) == (1, 3)


async def test_s56_an_account_has_no_more_queued_executions_than_its_limit(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data", workspace_queued=3) as accounts:
        one_by_one = "limits: {concurrency: {max: 1}}\nnodes: {a: {type: wait, params: {key: s}}}"
        mine, others = await accounts.mara.flow(one_by_one), await accounts.omar.flow(one_by_one)
        replies = [await accounts.mara.run(mine) for _ in range(5)]

        assert [reply.status for reply in replies] == [201] * 4 + [429]
        assert_limited(replies[-1], "workspace_queued", 3)
        assert [(await accounts.omar.run(others)).status for _ in range(2)] == [201, 201]


# What is kept


async def test_s56_an_account_has_no_more_flows_than_it_may(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data", workspace_flows=10) as accounts:
        body = {"name": "F", "definition": RETURN}
        replies = await asyncio.gather(*(accounts.mara.request("POST", "/api/v1/flows", body) for _ in range(11)))

        (refused,) = [reply for reply in replies if reply.status != 201]
        assert_limited(refused, "workspace_flows", 10, status=409)
        await accounts.omar.flow(RETURN)
        listed = (await accounts.mara.request("GET", "/api/v1/flows")).json
        assert listed["total"] == 10
        await accounts.mara.request("DELETE", f"/api/v1/flows/{listed['flows'][0]['id']}")
        await accounts.mara.flow(RETURN)


KEEPS: Final = """
nodes:
  big: {type: transform, params: {script: "return 'x'.repeat(20000)"}}
"""
STARTS: Final = """
nodes:
  go: {type: wait, params: {key: go}, next: other}
  other: {type: flow, params: {flow: "${flow.input.other}"}}
"""


async def test_s56_an_account_that_keeps_too_much_starts_nothing_more_and_what_runs_ends_for_that(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data"
    async with two_accounts_at(path, workspace_stored=200_000) as accounts:
        flow, waits = await accounts.mara.flow(KEEPS), await accounts.mara.flow(STARTS)
        body = {"input": {"other": flow}}
        waiting = (await accounts.mara.request("POST", f"/api/v1/flows/{waits}/run", body)).json["execution_id"]
        first = await accounts.mara.run(flow, Idempotency_Key="first")
        accepted = 1
        while (reply := await accounts.mara.run(flow)).status == 201:
            accepted += 1
            await accounts.mara.ended(reply.json["execution_id"])

        assert_limited(reply, "workspace_stored", 200_000, status=409)
        # The ends of executions are stored in any case, and what a start takes, a block, may be more than is left.
        assert 195_000 < await stored(accounts) < 210_000
        definition = {"definition": RETURN}

        async def is_full() -> bool:
            return (await accounts.mara.request("POST", "/api/v1/flows", {"name": "F", **definition})).status == 409

        await until(is_full)
        for method, address in (("POST", "/api/v1/flows"), ("PUT", f"/api/v1/flows/{flow}")):
            refused = await accounts.mara.request(method, address, {"name": "F", **definition})
            assert_limited(refused, "workspace_stored", 200_000, status=409)
        again = await accounts.mara.run(flow, Idempotency_Key="first")
        assert (again.status, again.json["execution_id"]) == (200, first.json["execution_id"])
        # A name can be changed, what runs ends as soon as it records more, and others are not concerned.
        assert (await accounts.mara.request("PUT", f"/api/v1/flows/{flow}", {"name": "G"})).status == 200
        more = {"payload": "x" * 5_000}
        reply = await accounts.mara.request("POST", f"/api/v1/executions/{waiting}/signals/go", more)
        assert_limited(reply, "workspace_stored", 200_000, status=409)
        failed = await accounts.mara.ended(waiting)
        assert failed["failure"]["type"] == "limit.workspace_stored"
        others = await accounts.omar.flow(KEEPS)
        assert (await accounts.omar.run(others)).status == 201

    async with two_accounts_at(path, workspace_stored=200_000) as accounts:
        assert (await accounts.mara.run(flow)).status == 409, "a server that starts again knows it too"
        database, clock = accounts.program.database, accounts.program.clock
        nothing = RetentionRule(max_age=timedelta())
        assert await Retention(SqlRetention(database), clock, installation=nothing).purge() > accepted

        async def starts() -> bool:
            return (await accounts.mara.run(flow)).status == 201

        await until(starts)


async def stored(accounts: TwoAccounts) -> int:
    statement = "SELECT sum(stored) FROM usage JOIN accounts ON id = workspace_id WHERE email = 'mara@example.com'"
    ((size,),) = await accounts.program.database.read_long(lambda tx: tx.rows(statement))
    return int(size)
