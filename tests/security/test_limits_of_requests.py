"""No account, and no address, asks so often or sends so much that others have to wait."""

import asyncio
import ipaddress
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute

from api.shapes import assert_error
from flowrunner.api.http.routing import PublicRoute
from flowrunner.domain.account import Caller
from flowrunner.services.executions import StartedExecution
from security.street import RETURN, Person, assert_limited, street_at
from support.asgi import connect
from support.scoreboard import Scoreboard


async def test_s56_an_account_that_asks_too_often_waits_and_another_does_not(
    tmp_path: Path, scoreboard: Scoreboard
) -> None:
    async with street_at(tmp_path / "data", account_requests=1000) as street:
        begun = time.monotonic()
        replies = [await street.mara.go("GET", "/api/v1/flows/none") for _ in range(1100)]
        refilled = int((time.monotonic() - begun) * 1000 / 60) + 1
        others = [await street.omar.go("GET", "/api/v1/flows/none") for _ in range(100)]

        statuses = Counter(reply.status for reply in replies)
        failures = sum(reply.status != 404 for reply in others)
        scoreboard.count("an account beyond its requests: refusals of another", cases=100, failures=failures)
        # Mara has made the other account, and asked for its address.
        assert 995 <= statuses[404] <= 1000 + refilled
        assert statuses[404] + statuses[429] == 1100
        assert_limited(replies[-1], "account_requests", 1000)
        assert {reply.status for reply in others} == {404}
        assert (await street.refusals())["account_requests"] == statuses[429]


async def test_s56_an_account_that_changes_things_without_end_does_not_fill_the_audit_log(tmp_path: Path) -> None:
    async with street_at(tmp_path / "data", account_changes=50) as street:
        flow = await street.mara.flow(RETURN)
        replies = [await street.mara.go("PUT", f"/api/v1/flows/{flow}", {"name": f"F{n}"}) for n in range(30)]
        replies += [await street.mara.go("DELETE", "/api/v1/tokens/none") for _ in range(40)]

        statuses = Counter(reply.status for reply in replies)
        # Mara has made the other account, which only an admin can.
        assert statuses[429] >= 70 - 50
        assert statuses[200] == 30
        assert_limited(replies[-1], "account_changes", 50, longest=72)
        assert (await street.mara.go("GET", f"/api/v1/flows/{flow}")).json["name"] == "F29"
        assert (await street.mara.run(flow)).status == 201
        assert (await street.mara.go("POST", "/api/v1/flows/validate", {"definition": RETURN})).status == 200
        assert (await street.omar.go("DELETE", "/api/v1/tokens/none")).status == 404
        assert (await street.refusals())["account_changes"] == statuses[429]


async def test_s56_documents_of_one_account_without_end_let_those_of_another_through(tmp_path: Path) -> None:
    # Long enough to be read on the one thread for such, and with scripts for the workers that all share.
    long = "nodes: {a: {type: transform, params: {value: '" + "${input.a + 1} " * 3000 + "'}}}"
    async with street_at(tmp_path / "data") as street:
        order: list[str] = []
        first = asyncio.Event()

        async def check(person: Person, name: str) -> None:
            reply = await person.go("POST", "/api/v1/flows/validate", {"definition": long})
            assert reply.status == 200, reply
            order.append(name)
            first.set()

        async with asyncio.TaskGroup() as group:
            for _ in range(12):
                group.create_task(check(street.mara, "mara"))
            await first.wait()
            group.create_task(check(street.omar, "omar"))

        # Those that had begun before, and not the ten that wait.
        assert order.index("omar") <= 4


async def test_s56_long_bodies_of_one_account_leave_threads_to_another(tmp_path: Path) -> None:
    long = {"definition": "x", "y": [{"a": 0}] * 30_000}
    async with street_at(tmp_path / "data") as street:
        order: list[Person] = []

        async def send(person: Person) -> None:
            assert (await person.go("POST", "/api/v1/flows/validate", long)).status == 422
            order.append(person)

        async with asyncio.TaskGroup() as group:
            for person in [street.mara] * 30 + [street.omar]:
                group.create_task(send(person))

        assert order.index(street.omar) < 10


async def test_s56_long_bodies_of_one_account_come_into_memory_as_there_is_room(tmp_path: Path) -> None:
    """What a body takes is held until it was worked on: half as many bytes as the account has, or more."""
    long = {"input": {"x": [{}] * 200_000}}
    async with street_at(tmp_path / "data") as street:
        flows = [await person.flow(RETURN) for person in (street.mara, street.omar)]
        executions, together = street.program.services.executions, Counter[str]()
        most, run = Counter[str](), executions.run

        async def watched(caller: Caller, *args: Any, **options: Any) -> StartedExecution:
            together[caller.account_id] += 1
            most[caller.account_id] = max(most[caller.account_id], together[caller.account_id])
            # Long enough for others to be read meanwhile, if they are.
            await asyncio.sleep(0.3)
            try:
                return await run(caller, *args, **options)
            finally:
                together[caller.account_id] -= 1

        executions.run = watched  # type: ignore[method-assign] # goes on to the real one
        async with asyncio.TaskGroup() as group:
            sent = [
                group.create_task(person.go("POST", f"/api/v1/flows/{flow}/run", long))
                for person, flow in zip((street.mara, street.omar), flows, strict=True)
                for _ in range(4)
            ]

        assert [task.result().status for task in sent] == [201] * 8
        assert list(most.values()) == [1, 1]


async def test_s56_flows_of_one_account_that_are_long_to_read_leave_threads_to_another(tmp_path: Path) -> None:
    long = "nodes: {a: {type: transform, params: {value: '" + "${input.a} " * 5000 + "'}}}"
    async with street_at(tmp_path / "data") as street:
        flows = [(street.mara, await street.mara.flow(f"{long} # {n}")) for n in range(30)]
        flows.append((street.omar, await street.omar.flow(long)))
        order: list[Person] = []

        async def run(person: Person, flow: str) -> None:
            assert (await person.run(flow)).status == 201
            order.append(person)

        # None of them has been run, so each is read now.
        async with asyncio.TaskGroup() as group:
            for person, flow in flows:
                group.create_task(run(person, flow))

        assert order.index(street.omar) < 10


async def test_s56_who_asks_too_often_without_a_token_waits_and_accounts_behind_the_same_address_do_not(
    tmp_path: Path,
) -> None:
    async with street_at(tmp_path / "data", anonymous_requests=100) as street:
        nobody, forger = Person(street.app, address="198.51.100.1"), Person(street.app, "x.y.z", "198.51.100.1")
        half = [await nobody.go("GET", "/api/v1/openapi.json") for _ in range(50)]
        rest = [await forger.go("GET", "/api/v1/flows") for _ in range(60)]
        statuses = Counter(reply.status for reply in rest)

        assert {reply.status for reply in half} == {200}
        assert 50 <= statuses[401] <= 53
        assert statuses[401] + statuses[429] == 60
        assert_limited(rest[-1], "anonymous_requests", 100)
        assert_limited(await nobody.go("POST", "/api/v1/auth/login", {}), "anonymous_requests", 100)
        assert (await connect(street.app, "/ws/executions/x")).status == 401
        # Whoever watches the server is never refused, and neither is somebody else, or an account.
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await nobody.go("GET", path)).status == 200
        assert (await Person(street.app, address="198.51.100.2").go("GET", "/api/v1/openapi.json")).status == 200
        street.mara.address = "198.51.100.1"
        assert (await street.mara.go("GET", "/api/v1/flows")).status == 200


async def test_s43_s56_nobody_has_a_long_body_read_and_everybody_the_longest_that_a_login_can_be(
    tmp_path: Path,
) -> None:
    async with street_at(tmp_path / "data") as street:
        nobody = Person(street.app)
        # Six bytes for each half of a character.
        longest = {"username": "🦦" * 320, "password": "🦦" * 1024, "cookie": False}
        assert len(json.dumps(longest)) > 16_000
        routes = [route for route in street.app.routes if isinstance(route, APIRoute) and route.body_field is not None]
        opened = [route.path for route in routes if type(route) is PublicRoute]

        assert opened == ["/api/v1/auth/login", "/api/v1/setup"]
        assert (await nobody.go("POST", "/api/v1/auth/login", longest)).status == 401
        for path in opened:
            assert_error(await nobody.go("POST", path, {"x": ["y"] * 10_000}), 413)


async def test_s56_a_socket_that_nobody_proves_counts_too(tmp_path: Path) -> None:
    async with street_at(tmp_path / "data", anonymous_requests=20) as street:
        replies = [await connect(street.app, "/ws/executions/x", token="x.y.z") for _ in range(22)]

        assert {reply.status for reply in replies[:18]} == {401}
        assert_limited(replies[-1], "anonymous_requests", 20)


async def test_s56_an_invented_forwarded_for_gains_nothing(tmp_path: Path) -> None:
    async with street_at(tmp_path / "data", anonymous_requests=20) as street:
        nobody = Person(street.app, address="198.51.100.1")
        replies = [
            await nobody.go("GET", "/api/v1/openapi.json", X_Forwarded_For=f"203.0.113.{n}", Forwarded=f"for=1.1.1.{n}")
            for n in range(22)
        ]

        assert replies[-1].status == 429


async def test_s56_behind_a_listed_proxy_each_client_counts_by_itself_whatever_it_claims(tmp_path: Path) -> None:
    proxies = (ipaddress.ip_network("10.0.0.0/8"),)
    async with street_at(tmp_path / "data", anonymous_requests=20, trusted_proxies=proxies) as street:
        proxy = Person(street.app, address="10.0.0.1")

        async def ask(forwarded: str) -> int:
            return (await proxy.go("GET", "/api/v1/openapi.json", X_Forwarded_For=forwarded)).status

        # The proxy adds who has asked it to what that one claims.
        claimed = [await ask(f"203.0.113.{n}, 198.51.100.1") for n in range(22)]
        through_two = [await ask("198.51.100.2, 10.9.9.9") for _ in range(10)]

        assert claimed[-1] == 429
        assert set(through_two) == {200}
