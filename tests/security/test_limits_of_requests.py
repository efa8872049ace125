"""No account, and no address, asks so often or sends so much that others have to wait."""

import asyncio
import ipaddress
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route

from api.shapes import assert_error
from flowrunner.api.http.routing import ProbeRoute, PublicRoute
from flowrunner.domain.account import Caller
from flowrunner.domain.values import memory_of_json
from flowrunner.services.executions import StartedExecution
from security.two_accounts import RETURN, ApiClient, assert_limited, two_accounts_at
from support.asgi import connect
from support.scoreboard import Scoreboard


async def test_s56_an_account_that_asks_too_often_waits_and_another_does_not(
    tmp_path: Path, scoreboard: Scoreboard
) -> None:
    async with two_accounts_at(tmp_path / "data", account_requests=1000) as accounts:
        begun = time.monotonic()
        replies = [await accounts.mara.request("GET", "/api/v1/flows/none") for _ in range(1100)]
        refilled = int((time.monotonic() - begun) * 1000 / 60) + 1
        others = [await accounts.omar.request("GET", "/api/v1/flows/none") for _ in range(100)]

        statuses = Counter(reply.status for reply in replies)
        failures = sum(reply.status != 404 for reply in others)
        scoreboard.count("an account beyond its requests: refusals of another", cases=100, failures=failures)
        # Mara has made the other account, and asked for its address.
        assert 995 <= statuses[404] <= 1000 + refilled
        assert statuses[404] + statuses[429] == 1100
        assert_limited(replies[-1], "account_requests", 1000)
        assert {reply.status for reply in others} == {404}
        assert (await accounts.refusals())["account_requests"] == statuses[429]


async def test_s56_an_account_that_changes_things_without_end_does_not_fill_the_audit_log(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data", account_changes=50) as accounts:
        flow = await accounts.mara.flow(RETURN)
        replies = [await accounts.mara.request("PUT", f"/api/v1/flows/{flow}", {"name": f"F{n}"}) for n in range(30)]
        replies += [await accounts.mara.request("DELETE", "/api/v1/tokens/none") for _ in range(40)]

        statuses = Counter(reply.status for reply in replies)
        # Mara has made the other account, which only an admin can.
        assert statuses[429] >= 70 - 50
        assert statuses[200] == 30
        assert_limited(replies[-1], "account_changes", 50, longest=72)
        assert (await accounts.mara.request("GET", f"/api/v1/flows/{flow}")).json["name"] == "F29"
        assert (await accounts.mara.run(flow)).status == 201
        assert (await accounts.mara.request("POST", "/api/v1/flows/validate", {"definition": RETURN})).status == 200
        assert (await accounts.omar.request("DELETE", "/api/v1/tokens/none")).status == 404
        assert (await accounts.refusals())["account_changes"] == statuses[429]


async def test_s56_each_kind_of_request_that_adds_an_audit_entry_counts_as_a_change(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data", account_changes=20) as accounts:
        mara = accounts.mara
        me = (await mara.request("GET", "/api/v1/workspaces")).json["workspaces"][0]["id"]
        flow = await mara.flow("triggers: {daily: {type: schedule, cron: '0 9 * * *'}}\nnodes: {a: {type: return}}")
        (trigger,) = (await mara.request("GET", "/api/v1/triggers")).json["triggers"]
        at = f"/api/v1/triggers/{trigger['id']}"
        period = {"from": "2027-01-01T10:00:00Z", "to": "2027-01-01T11:00:00Z"}
        requests = [
            ("POST", "/api/v1/executions:batch", {"action": "cancel", "filter": {"flow_id": flow}}),
            ("POST", f"{at}/pause", None),
            ("POST", f"{at}/resume", None),
            ("POST", f"{at}/backfill", period),
            ("DELETE", "/api/v1/sessions", None),
            ("HEAD", f"/api/v1/workspaces/{me}/export", None),
        ]

        replies = [await mara.request(*request) for request in requests for _ in range(4)]
        again = [await mara.request(*request) for request in requests]

    assert {reply.status for reply in again} == {429}
    assert sum(reply.status == 429 for reply in replies) >= 4


async def test_s56_documents_of_one_account_without_end_let_those_of_another_through(tmp_path: Path) -> None:
    # Long enough to be read on the one thread for such, and with scripts for the workers that all share.
    long = "nodes: {a: {type: transform, params: {value: '" + "${input.a + 1} " * 3000 + "'}}}"
    async with two_accounts_at(tmp_path / "data") as accounts:
        order: list[str] = []
        first = asyncio.Event()

        async def check(client: ApiClient, name: str) -> None:
            reply = await client.request("POST", "/api/v1/flows/validate", {"definition": long})
            assert reply.status == 200, reply
            order.append(name)
            first.set()

        async with asyncio.TaskGroup() as group:
            for _ in range(12):
                group.create_task(check(accounts.mara, "mara"))
            await first.wait()
            group.create_task(check(accounts.omar, "omar"))

        # Those that had begun before, and not the ten that wait.
        assert order.index("omar") <= 4


async def test_s56_long_bodies_of_one_account_leave_threads_to_another(tmp_path: Path) -> None:
    long = {"definition": "x", "y": [{"a": 0}] * 30_000}
    async with two_accounts_at(tmp_path / "data") as accounts:
        order: list[ApiClient] = []

        async def send(client: ApiClient) -> None:
            assert (await client.request("POST", "/api/v1/flows/validate", long)).status == 422
            order.append(client)

        async with asyncio.TaskGroup() as group:
            for client in [accounts.mara] * 30 + [accounts.omar]:
                group.create_task(send(client))

        assert order.index(accounts.omar) < 10


@pytest.mark.parametrize(
    ("values", "requests", "most"),
    [
        # Each takes at least half of what an account may.
        (200_000, 4, 1),
        # Bodies that are short, and take fifty times as much when they are decoded.
        (15_000, 40, 16),
    ],
)
async def test_s56_bodies_of_one_account_come_into_memory_as_there_is_room(
    tmp_path: Path, values: int, requests: int, most: int
) -> None:
    """Hold the memory of a body until its request is answered."""
    body: dict[str, Any] = {"input": {"x": [{}] * values}}
    async with two_accounts_at(tmp_path / "data") as accounts:
        flows = [await client.flow(RETURN) for client in (accounts.mara, accounts.omar)]
        executions, together = accounts.program.services.executions, Counter[str]()
        found, run = Counter[str](), executions.run

        async def watched(caller: Caller, *args: Any, **options: Any) -> StartedExecution:
            together[caller.account_id] += 1
            found[caller.account_id] = max(found[caller.account_id], together[caller.account_id])
            # Long enough for others to be read meanwhile, if they are.
            await asyncio.sleep(0.3)
            try:
                return await run(caller, *args, **options)
            finally:
                together[caller.account_id] -= 1

        executions.run = watched  # type: ignore[method-assign] # goes on to the real one
        async with asyncio.TaskGroup() as group:
            sent = [
                group.create_task(client.request("POST", f"/api/v1/flows/{flow}/run", body))
                for client, flow in zip((accounts.mara, accounts.omar), flows, strict=True)
                for _ in range(requests)
            ]

        assert [task.result().status for task in sent] == [201] * 2 * requests
        assert max(found.values()) <= most


async def test_s56_flows_of_one_account_that_are_long_to_read_leave_threads_to_another(tmp_path: Path) -> None:
    long = "nodes: {a: {type: transform, params: {value: '" + "${input.a} " * 5000 + "'}}}"
    async with two_accounts_at(tmp_path / "data") as accounts:
        flows = [(accounts.mara, await accounts.mara.flow(f"{long} # {n}")) for n in range(30)]
        flows.append((accounts.omar, await accounts.omar.flow(long)))
        order: list[ApiClient] = []

        async def run(client: ApiClient, flow: str) -> None:
            assert (await client.run(flow)).status == 201
            order.append(client)

        # None of them has been run, so each is read now.
        async with asyncio.TaskGroup() as group:
            for client, flow in flows:
                group.create_task(run(client, flow))

        assert order.index(accounts.omar) < 10


async def test_s56_who_asks_too_often_without_a_token_waits_and_accounts_behind_the_same_address_do_not(
    tmp_path: Path,
) -> None:
    async with two_accounts_at(tmp_path / "data", anonymous_requests=100) as accounts:
        nobody, forger = (
            ApiClient(accounts.app, address="198.51.100.1"),
            ApiClient(accounts.app, "x.y.z", "198.51.100.1"),
        )
        half = [await nobody.request("GET", "/api/v1/openapi.json") for _ in range(50)]
        rest = [await forger.request("GET", "/api/v1/flows") for _ in range(60)]
        statuses = Counter(reply.status for reply in rest)

        assert {reply.status for reply in half} == {200}
        assert 50 <= statuses[401] <= 53
        assert statuses[401] + statuses[429] == 60
        assert_limited(rest[-1], "anonymous_requests", 100)
        assert_limited(await nobody.request("POST", "/api/v1/auth/login", {}), "anonymous_requests", 100)
        assert (await connect(accounts.app, "/ws/executions/x")).status == 401
        # Whoever watches the server is never refused, and neither is somebody else, or an account.
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await nobody.request("GET", path)).status == 200
        assert (
            await ApiClient(accounts.app, address="198.51.100.2").request("GET", "/api/v1/openapi.json")
        ).status == 200
        accounts.mara.address = "198.51.100.1"
        assert (await accounts.mara.request("GET", "/api/v1/flows")).status == 200


async def test_s56_each_request_of_somebody_unknown_counts_for_its_address_whatever_refuses_it(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data", anonymous_requests=100_000) as accounts:
        nobody, foreign = ApiClient(accounts.app), {"Origin": "https://elsewhere.example"}
        uncounted = set()
        for route in accounts.app.routes:
            # A webhook's sender learns nothing but whether its request is accepted.
            if not isinstance(route, Route) or isinstance(route, ProbeRoute) or route.path.startswith("/hooks/"):
                continue
            path = re.sub(r"{[^}]+}", "x", route.path)
            for headers, method in product(({}, foreign), route.methods or ()):
                reply = await nobody.request(method, path, None if method == "GET" else {}, **headers)
                if "anonymous_requests" not in reply.headers.get("ratelimit", ""):
                    uncounted.add((method, route.path, reply.status))

        assert uncounted == set()


async def test_s43_s56_nobody_has_a_long_body_read_and_everybody_the_longest_that_a_login_can_be(
    tmp_path: Path,
) -> None:
    async with two_accounts_at(tmp_path / "data") as accounts:
        nobody = ApiClient(accounts.app)
        # Six bytes for each half of a character.
        longest = {"username": "🦦" * 320, "password": "🦦" * 1024, "cookie": False}
        assert len(json.dumps(longest)) > 16_000
        routes = [
            route for route in accounts.app.routes if isinstance(route, APIRoute) and route.body_field is not None
        ]
        opened = [route.path for route in routes if type(route) is PublicRoute]

        assert sorted(opened) == [
            "/api/v1/auth/command-logins/token",
            "/api/v1/auth/login",
            "/api/v1/auth/new-password",
            "/api/v1/auth/password-reset",
            "/api/v1/auth/second-factor",
            "/api/v1/invitations/lookup",
            "/api/v1/invitations/sign-up",
            "/api/v1/setup",
        ]
        assert (await nobody.request("POST", "/api/v1/auth/login", longest)).status == 401
        for path in opened:
            assert_error(await nobody.request("POST", path, {"x": ["y"] * 10_000}), 413)


@pytest.mark.parametrize(("headers", "status"), [({}, 401), ({"origin": "https://evil.example"}, 403)])
async def test_s56_a_socket_that_nobody_proves_counts_too(
    tmp_path: Path, headers: Mapping[str, str], status: int
) -> None:
    async with two_accounts_at(tmp_path / "data", anonymous_requests=20) as accounts:
        replies = [await connect(accounts.app, "/ws/executions/x", token="x.y.z", headers=headers) for _ in range(22)]

        assert {reply.status for reply in replies[:18]} == {status}
        assert_limited(replies[-1], "anonymous_requests", 20)


async def test_s56_an_invented_forwarded_for_gains_nothing(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data", anonymous_requests=20) as accounts:
        nobody = ApiClient(accounts.app, address="198.51.100.1")
        replies = [
            await nobody.request(
                "GET", "/api/v1/openapi.json", X_Forwarded_For=f"203.0.113.{n}", Forwarded=f"for=1.1.1.{n}"
            )
            for n in range(22)
        ]

        assert replies[-1].status == 429


async def test_s56_behind_a_listed_proxy_each_client_counts_by_itself_whatever_it_claims(tmp_path: Path) -> None:
    proxies = (ipaddress.ip_network("10.0.0.0/8"),)
    async with two_accounts_at(tmp_path / "data", anonymous_requests=20, trusted_proxies=proxies) as accounts:
        proxy = ApiClient(accounts.app, address="10.0.0.1")

        async def ask(forwarded: str) -> int:
            return (await proxy.request("GET", "/api/v1/openapi.json", X_Forwarded_For=forwarded)).status

        # The proxy adds who has asked it to what that one claims.
        claimed = [await ask(f"203.0.113.{n}, 198.51.100.1") for n in range(22)]
        through_two = [await ask("198.51.100.2, 10.9.9.9") for _ in range(10)]

        assert claimed[-1] == 429
        assert set(through_two) == {200}


async def test_s61_the_memory_of_a_long_body_is_estimated_on_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = list[tuple[int, bool]]()

    def estimate(text: bytes) -> int:
        threads.append((len(text), threading.current_thread() is threading.main_thread()))
        return memory_of_json(text)

    async with two_accounts_at(tmp_path / "data") as accounts:
        monkeypatch.setattr("flowrunner.api.http.bodies.memory_of_json", estimate)
        reply = await accounts.mara.request("POST", "/api/v1/flows:batch", {"flows": [], "delete": ["x" * 2**21]})

    assert reply.status == 422
    assert [(size > 2**21, is_on_loop) for size, is_on_loop in threads] == [(True, False)]
