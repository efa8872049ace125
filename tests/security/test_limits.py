"""No account, and nobody without one, takes what the others need."""

import asyncio
import ipaddress
import json
import os
import re
import resource
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi.routing import APIRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.shapes import assert_error
from api.test_routes import OPEN
from flowrunner.api.routing import PublicRoute
from flowrunner.bootstrap.program import Program
from flowrunner.services.audit import MOST
from support.asgi import call, connect, program_at
from support.client import FINAL, PASSWORD, Client, Reply
from support.databases import rows_of
from support.receiver import Receiver
from support.scoreboard import Scoreboard
from support.server import LOOPBACK, Server

RETURN: Final = "nodes: {a: {type: return}}"
EGRESS: Final = tuple(ipaddress.ip_network(network) for network in LOOPBACK.split(","))
CALLS: Final = int(os.environ.get("ANONYMOUS_CALLS", "20000"))
SOCKETS: Final = 10_000


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(2000):
        if await holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come to hold")


@dataclass
class Person:
    """Calls the program as an account, or as nobody, from an address."""

    app: Any
    token: str | None = None
    address: str = "192.0.2.1"

    async def go(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        data = b"" if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return await call(self.app, method, path, token=self.token, body=data, headers=named, address=self.address)

    async def flow(self, definition: str) -> str:
        reply = await self.go("POST", "/api/v1/flows", {"name": "F", "definition": definition})
        assert reply.status == 201, reply
        return str(reply.json["id"])

    async def run(self, flow: str, **headers: str) -> Reply:
        return await self.go("POST", f"/api/v1/flows/{flow}/run", **headers)

    async def ended(self, id: str) -> Any:
        async def has_ended() -> bool:
            return (await self.go("GET", f"/api/v1/executions/{id}")).json["status"] in FINAL

        await until(has_ended)
        return (await self.go("GET", f"/api/v1/executions/{id}")).json


@dataclass
class Town:
    program: Program
    mara: Person
    omar: Person

    @property
    def app(self) -> Any:
        return self.program.app

    async def refusals(self) -> dict[str, int]:
        """What the metrics say, by limit."""
        text = (await Person(self.app).go("GET", "/metrics")).body.decode()
        found = re.findall(r'flowrunner_requests_refused_total\{limit="(\w+)"\} ([\d.]+)', text)
        return {limit: int(float(count)) for limit, count in found}


@asynccontextmanager
async def town_at(data_dir: Path, **settings: Any) -> AsyncIterator[Town]:
    """A program with two accounts, which are there already where it is opened once more."""
    async with program_at(data_dir, egress_allow=EGRESS, **settings) as program:
        people = []
        for name in ("mara", "omar"):
            email = f"{name}@example.com"
            if not people and not await program.services.accounts.is_set_up():
                await program.services.accounts.create_first(name=name, email=email, password=PASSWORD)
            body = {"username": email, "password": PASSWORD}
            login = await Person(program.app).go("POST", "/api/v1/auth/login", body)
            if login.status == 401:
                made = {"name": name, "email": email, "password": PASSWORD, "role": "user"}
                assert (await people[0].go("POST", "/api/v1/accounts", made)).status == 201
                login = await Person(program.app).go("POST", "/api/v1/auth/login", body)
            people.append(Person(program.app, login.json["token"]))
        yield Town(program, *people)


def assert_limited(reply: Reply, limit: str, most: int, *, status: int = 429, longest: int = 60) -> None:
    details = assert_error(reply, status)
    assert (details["limit"], details["most"]) == (limit, most)
    assert ("retry-after" in reply.headers) == (status == 429)
    if status == 429:
        assert 1 <= int(reply.headers["retry-after"]) <= longest


# Requests


async def test_s56_an_account_that_asks_too_often_waits_and_another_does_not(
    tmp_path: Path, scoreboard: Scoreboard
) -> None:
    async with town_at(tmp_path / "data", account_requests=1000) as town:
        begun = time.monotonic()
        replies = [await town.mara.go("GET", "/api/v1/flows/none") for _ in range(1100)]
        refilled = int((time.monotonic() - begun) * 1000 / 60) + 1
        others = [await town.omar.go("GET", "/api/v1/flows/none") for _ in range(100)]

        statuses = Counter(reply.status for reply in replies)
        scoreboard.count("an account beyond its requests: answers to another", cases=100, failures=0)
        # Mara has made the other account, and asked for its address.
        assert 995 <= statuses[404] <= 1000 + refilled
        assert statuses[404] + statuses[429] == 1100
        assert_limited(replies[-1], "account_requests", 1000)
        assert {reply.status for reply in others} == {404}
        assert (await town.refusals())["account_requests"] == statuses[429]


async def test_s56_an_account_that_changes_things_without_end_does_not_fill_the_audit_log(tmp_path: Path) -> None:
    async with town_at(tmp_path / "data", account_changes=50) as town:
        flow = await town.mara.flow(RETURN)
        replies = [await town.mara.go("PUT", f"/api/v1/flows/{flow}", {"name": f"F{n}"}) for n in range(30)]
        replies += [await town.mara.go("DELETE", "/api/v1/tokens/none") for _ in range(40)]

        statuses = Counter(reply.status for reply in replies)
        # Mara has made the other account, which only an admin can.
        assert statuses[429] >= 70 - 50
        assert statuses[200] == 30
        assert_limited(replies[-1], "account_changes", 50, longest=72)
        assert (await town.mara.go("GET", f"/api/v1/flows/{flow}")).json["name"] == "F29"
        assert (await town.mara.run(flow)).status == 201
        assert (await town.mara.go("POST", "/api/v1/flows/validate", {"definition": RETURN})).status == 200
        assert (await town.omar.go("DELETE", "/api/v1/tokens/none")).status == 404
        assert (await town.refusals())["account_changes"] == statuses[429]


async def test_s56_documents_of_one_account_without_end_let_those_of_another_through(tmp_path: Path) -> None:
    # Long enough to be read on the one thread for such, and with scripts for the workers that all share.
    long = "nodes: {a: {type: transform, params: {value: '" + "${input.a + 1} " * 3000 + "'}}}"
    async with town_at(tmp_path / "data") as town:
        order: list[str] = []
        first = asyncio.Event()

        async def check(person: Person, name: str) -> None:
            reply = await person.go("POST", "/api/v1/flows/validate", {"definition": long})
            assert reply.status == 200, reply
            order.append(name)
            first.set()

        async with asyncio.TaskGroup() as group:
            for _ in range(12):
                group.create_task(check(town.mara, "mara"))
            await first.wait()
            group.create_task(check(town.omar, "omar"))

        # Those that had begun before, and not the ten that wait.
        assert order.index("omar") <= 4


async def test_s56_long_bodies_of_one_account_leave_threads_to_another(tmp_path: Path) -> None:
    long = {"definition": "x", "y": [{"a": 0}] * 30_000}
    async with town_at(tmp_path / "data") as town:
        order: list[Person] = []

        async def send(person: Person) -> None:
            assert (await person.go("POST", "/api/v1/flows/validate", long)).status == 422
            order.append(person)

        async with asyncio.TaskGroup() as group:
            for person in [town.mara] * 30 + [town.omar]:
                group.create_task(send(person))

        assert order.index(town.omar) < 10


async def test_s56_flows_of_one_account_that_are_long_to_read_leave_threads_to_another(tmp_path: Path) -> None:
    long = "nodes: {a: {type: transform, params: {value: '" + "${input.a} " * 5000 + "'}}}"
    async with town_at(tmp_path / "data") as town:
        flows = [(town.mara, await town.mara.flow(f"{long} # {n}")) for n in range(30)]
        flows.append((town.omar, await town.omar.flow(long)))
        order: list[Person] = []

        async def run(person: Person, flow: str) -> None:
            assert (await person.run(flow)).status == 201
            order.append(person)

        # None of them has been run, so each is read now.
        async with asyncio.TaskGroup() as group:
            for person, flow in flows:
                group.create_task(run(person, flow))

        assert order.index(town.omar) < 10


async def test_s56_who_asks_too_often_without_a_token_waits_and_accounts_behind_the_same_address_do_not(
    tmp_path: Path,
) -> None:
    async with town_at(tmp_path / "data", anonymous_requests=100) as town:
        nobody, forger = Person(town.app, address="198.51.100.1"), Person(town.app, "x.y.z", "198.51.100.1")
        half = [await nobody.go("GET", "/api/v1/openapi.json") for _ in range(50)]
        rest = [await forger.go("GET", "/api/v1/flows") for _ in range(60)]
        statuses = Counter(reply.status for reply in rest)

        assert {reply.status for reply in half} == {200}
        assert 50 <= statuses[401] <= 53
        assert statuses[401] + statuses[429] == 60
        assert_limited(rest[-1], "anonymous_requests", 100)
        assert_limited(await nobody.go("POST", "/api/v1/auth/login", {}), "anonymous_requests", 100)
        assert (await connect(town.app, "/ws/executions/x")).status == 401
        # Whoever watches the server is never refused, and neither is somebody else, or an account.
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await nobody.go("GET", path)).status == 200
        assert (await Person(town.app, address="198.51.100.2").go("GET", "/api/v1/openapi.json")).status == 200
        town.mara.address = "198.51.100.1"
        assert (await town.mara.go("GET", "/api/v1/flows")).status == 200


async def test_s43_s56_nobody_has_a_long_body_read_and_everybody_the_longest_that_a_login_can_be(
    tmp_path: Path,
) -> None:
    async with town_at(tmp_path / "data") as town:
        nobody = Person(town.app)
        # Six bytes for each half of a character.
        longest = {"username": "🦦" * 320, "password": "🦦" * 1024, "cookie": False}
        assert len(json.dumps(longest)) > 16_000
        routes = [route for route in town.app.routes if isinstance(route, APIRoute) and route.body_field is not None]
        opened = [route.path for route in routes if type(route) is PublicRoute]

        assert opened == ["/api/v1/auth/login", "/api/v1/setup"]
        assert (await nobody.go("POST", "/api/v1/auth/login", longest)).status == 401
        for path in opened:
            assert_error(await nobody.go("POST", path, {"x": ["y"] * 10_000}), 413)


async def test_s56_a_socket_that_nobody_proves_counts_too(tmp_path: Path) -> None:
    async with town_at(tmp_path / "data", anonymous_requests=20) as town:
        replies = [await connect(town.app, "/ws/executions/x", token="x.y.z") for _ in range(22)]

        assert {reply.status for reply in replies[:18]} == {401}
        assert_limited(replies[-1], "anonymous_requests", 20)


async def test_s56_an_invented_forwarded_for_gains_nothing(tmp_path: Path) -> None:
    async with town_at(tmp_path / "data", anonymous_requests=20) as town:
        nobody = Person(town.app, address="198.51.100.1")
        replies = [
            await nobody.go("GET", "/api/v1/openapi.json", X_Forwarded_For=f"203.0.113.{n}", Forwarded=f"for=1.1.1.{n}")
            for n in range(22)
        ]

        assert replies[-1].status == 429


async def test_s56_behind_a_listed_proxy_each_client_counts_by_itself_whatever_it_claims(tmp_path: Path) -> None:
    proxies = (ipaddress.ip_network("10.0.0.0/8"),)
    async with town_at(tmp_path / "data", anonymous_requests=20, trusted_proxies=proxies) as town:
        proxy = Person(town.app, address="10.0.0.1")

        async def ask(forwarded: str) -> int:
            return (await proxy.go("GET", "/api/v1/openapi.json", X_Forwarded_For=forwarded)).status

        # The proxy adds who has asked it to what that one claims.
        claimed = [await ask(f"203.0.113.{n}, 198.51.100.1") for n in range(22)]
        through_two = [await ask("198.51.100.2, 10.9.9.9") for _ in range(10)]

        assert claimed[-1] == 429
        assert set(through_two) == {200}


# Executions


def hanging(receiver: Receiver) -> str:
    url = f"{receiver.url}/slow?seconds=100"
    return f"nodes: {{a: {{type: http.request, timeout: 2m, params: {{url: '{url}'}}}}}}"


async def test_s56_an_account_has_no_more_executions_waiting_than_it_may(tmp_path: Path, receiver: Receiver) -> None:
    async with town_at(tmp_path / "data", account_active=2, account_queued=10) as town:
        flow, others = await town.mara.flow(hanging(receiver)), await town.omar.flow(RETURN)
        replies = await asyncio.gather(*(town.mara.run(flow, Idempotency_Key=f"k{n}") for n in range(14)))
        statuses = Counter(reply.status for reply in replies)

        # 2 are active, and 10 wait: the others would be 11 of each 10.
        assert statuses == {201: 12, 429: 2}
        assert_limited(next(reply for reply in replies if reply.status == 429), "account_queued", 10)
        assert (town.program.dispatcher.active, town.program.dispatcher.queued) == (2, 10)
        assert rows_of(tmp_path / "data/flowrunner.db", "SELECT count(*) FROM executions") == [(12,)]
        # Another account has its own room, and at once.
        accepted = await town.omar.run(others)
        assert (await town.omar.ended(accepted.json["execution_id"]))["status"] == "completed"
        # What was accepted keeps its answer.
        key, first = next((f"k{n}", reply) for n, reply in enumerate(replies) if reply.status == 201)
        again = await town.mara.run(flow, Idempotency_Key=key)
        assert (again.status, again.json["execution_id"]) == (200, first.json["execution_id"])
        # One that ends makes room for one.
        cancelled = await town.mara.go("DELETE", f"/api/v1/executions/{first.json['execution_id']}")
        assert cancelled.status == 200
        assert [(await town.mara.run(flow)).status for _ in range(2)] == [201, 429]


async def test_s56_a_server_that_starts_again_counts_those_that_wait(tmp_path: Path, receiver: Receiver) -> None:
    limits = {"account_active": 1, "account_queued": 3}
    async with town_at(tmp_path / "data", **limits) as town:
        flow = await town.mara.flow(hanging(receiver))
        assert [(await town.mara.run(flow)).status for _ in range(5)] == [201] * 4 + [429]

    async with town_at(tmp_path / "data", **limits) as town:

        async def has_recovered() -> bool:
            return town.program.dispatcher.queued == 3

        await until(has_recovered)
        assert_limited(await town.mara.run(flow), "account_queued", 3)
        assert (town.program.dispatcher.active, town.program.dispatcher.queued) == (1, 3)


async def test_s56_an_account_has_no_more_executions_waiting_for_a_turn_than_it_may(tmp_path: Path) -> None:
    async with town_at(tmp_path / "data", account_queued=3) as town:
        one_by_one = "limits: {concurrency: {max: 1}}\nnodes: {a: {type: wait, params: {key: s}}}"
        mine, others = await town.mara.flow(one_by_one), await town.omar.flow(one_by_one)
        replies = [await town.mara.run(mine) for _ in range(5)]

        assert [reply.status for reply in replies] == [201] * 4 + [429]
        assert_limited(replies[-1], "account_queued", 3)
        assert [(await town.omar.run(others)).status for _ in range(2)] == [201, 201]


# What is kept


async def test_s56_an_account_has_no_more_flows_than_it_may(tmp_path: Path) -> None:
    async with town_at(tmp_path / "data", account_flows=10) as town:
        body = {"name": "F", "definition": RETURN}
        replies = await asyncio.gather(*(town.mara.go("POST", "/api/v1/flows", body) for _ in range(11)))

        (refused,) = [reply for reply in replies if reply.status != 201]
        assert_limited(refused, "account_flows", 10, status=409)
        await town.omar.flow(RETURN)
        listed = (await town.mara.go("GET", "/api/v1/flows")).json
        assert listed["total"] == 10
        await town.mara.go("DELETE", f"/api/v1/flows/{listed['flows'][0]['id']}")
        await town.mara.flow(RETURN)


KEEPS: Final = """
nodes:
  big: {type: transform, params: {script: "return 'x'.repeat(20000)"}}
"""
STARTS: Final = """
nodes:
  go: {type: wait, params: {key: go}, next: other}
  other: {type: flow, params: {flow: "${flow.input.other}"}}
"""


async def test_s56_an_account_that_keeps_too_much_starts_nothing_more_and_what_runs_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "data"
    async with town_at(path, account_stored=200_000) as town:
        flow, waits = await town.mara.flow(KEEPS), await town.mara.flow(STARTS)
        body = {"input": {"other": flow}}
        waiting = (await town.mara.go("POST", f"/api/v1/flows/{waits}/run", body)).json["execution_id"]
        first = await town.mara.run(flow, Idempotency_Key="first")
        accepted = 1
        while (reply := await town.mara.run(flow)).status == 201:
            accepted += 1
            await town.mara.ended(reply.json["execution_id"])

        assert_limited(reply, "account_stored", 200_000, status=409)
        kept = await stored(town)
        # What a second brings comes on top.
        assert kept >= 200_000
        definition = {"definition": RETURN}
        for method, address in (("POST", "/api/v1/flows"), ("PUT", f"/api/v1/flows/{flow}")):
            body = {"name": "F", **definition}
            assert_limited(await town.mara.go(method, address, body), "account_stored", 200_000, status=409)
        again = await town.mara.run(flow, Idempotency_Key="first")
        assert (again.status, again.json["execution_id"]) == (200, first.json["execution_id"])
        # A name can be changed, what runs goes on, and starts nothing new; others are not concerned.
        assert (await town.mara.go("PUT", f"/api/v1/flows/{flow}", {"name": "G"})).status == 200
        assert (await town.mara.go("POST", f"/api/v1/executions/{waiting}/signals/go")).status == 200
        failed = await town.mara.ended(waiting)
        assert failed["failure"]["type"] == "limit.account_stored"
        others = await town.omar.flow(KEEPS)
        assert (await town.omar.run(others)).status == 201

    async with town_at(path, account_stored=200_000) as town:
        assert (await town.mara.run(flow)).status == 409, "a server that starts again knows it too"
        assert await town.program.services.executions.purge(older_than=timedelta()) > accepted

        async def starts() -> bool:
            return (await town.mara.run(flow)).status == 201

        await until(starts)


async def stored(town: Town) -> int:
    statement = "SELECT sum(stored) FROM usage JOIN accounts ON id = account_id WHERE email = 'mara@example.com'"
    ((size,),) = await town.program.database.read_long(lambda tx: tx.rows(statement))
    return int(size)


# Nobody


# Acts that leave an entry in the audit log, which is bounded by itself.
TOLD: Final = ("audit",)


def row_counts(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT count(*) FROM [{name}]").fetchone()[0] for name in tables}


def anonymous_calls(app: Any) -> list[tuple[str, str, bytes, dict[str, str]]]:
    """Calls of every route in some of the ways in which nobody may call them."""
    tokens = [{}, {"authorization": "Bearer x"}, {"authorization": "Bearer fr_pat_" + "A" * 43}]
    tokens += [{"cookie": "flowrunner_session=x"}, {"authorization": "Basic eDp5"}, {"x-forwarded-for": "1.2.3.4"}]
    bodies = [b"", b"{}", b'{"username": "mara@example.com", "password": "wrong-horse-battery"}']
    bodies += [b'{"token": "x", "name": "n", "email": "e@example.com", "password": "five-blue-otters-swim"}', b"[1]"]
    found = []
    for route in app.routes:
        if isinstance(route, APIRoute):
            path = re.sub(r"\{[^}]*\}", "x", route.path_format)
            methods = sorted(route.methods)
            found += [(method, path, body, token) for method in methods for body in bodies for token in tokens]
    return found


async def test_s56_tens_of_thousands_of_calls_by_nobody_leave_no_row(tmp_path: Path, scoreboard: Scoreboard) -> None:
    # Without the limit of their number, so that each gets as far as it can.
    async with town_at(tmp_path / "data", anonymous_requests=None) as town:
        await town.mara.ended((await town.mara.run(await town.mara.flow(RETURN))).json["execution_id"])
        calls = anonymous_calls(town.app)
        called = {(method, path) for method, path, *_ in calls}
        before = row_counts(town.program.database._path)
        statuses: Counter[int] = Counter()

        begun, made = time.monotonic(), 0
        while made < CALLS:
            for method, path, body, headers in calls:
                reply = await call(town.app, method, path, body=body, headers=headers, address="198.51.100.1")
                statuses[reply.status] += 1
            made += len(calls)
        for n in range(200):
            await connect(town.app, "/ws/executions/x", token="x", subprotocols=[f"ticket.{n}"])
        after = row_counts(town.program.database._path)
        minutes = int((time.monotonic() - begun) / 60) + 1

    grown = {name for name in before if after[name] != before[name]} - {*TOLD}
    scoreboard.count("calls by nobody: tables that have grown", cases=made, failures=len(grown))
    assert grown == set()
    assert after.keys() == before.keys()
    # Failed logins and denied requests are told, in bounds.
    assert after["audit"] - before["audit"] <= (MOST + 2) * minutes
    assert len(called) >= 30
    assert len(OPEN) >= 6
    assert set(statuses) <= {200, 400, 401, 403, 409, 413, 415, 422, 429}, statuses
    assert made >= CALLS


# WebSockets


LIMITED: Final = {"ACCOUNT_SOCKETS": "10", "MAX_SOCKETS": "15"}
WAITS: Final = "nodes: {a: {type: wait, params: {key: s}}}"


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("limited"), LIMITED)
    try:
        yield running.start()
    finally:
        running.stop()


@contextmanager
def watching(account: Client, execution: str, count: int) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(account.watch(execution))
        yield stack


def refusal(account: Client, execution: str) -> Reply:
    with pytest.raises(InvalidStatus) as refused, account.watch(execution):
        pass
    response = refused.value.response
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    return Reply(response.status_code, headers, bytes(response.body or b""))


def test_s53_s56_sockets_of_an_account_and_of_all_are_counted_while_they_are_open(limited: Server) -> None:
    admin = limited.admin()
    mara, omar = admin.new_account(), admin.new_account()
    hers, his = (person.run(person.new_flow(WAITS)) for person in (mara, omar))

    with watching(mara, hers, 10):
        assert_limited(refusal(mara, hers), "account_sockets", 10)
        with watching(omar, his, 5):
            assert_limited(refusal(omar, his), "max_sockets", 15)
    deadline = time.monotonic() + 20
    while "flowrunner_sockets_open 0.0" not in admin.get("/metrics").body.decode():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with watching(mara, hers, 10):
        pass


def test_s53_a_message_of_more_than_64_kib_ends_its_socket(account: Client) -> None:
    execution = account.run(account.new_flow(WAITS))
    with account.watch(execution) as socket:
        socket.recv()
        socket.send("x" * 65_536)
        socket.send("x" * 65_537)
        with suppress(ConnectionClosed):
            while True:
                socket.recv(timeout=20)
    assert socket.close_code == 1009


def upgrade(url: str, execution: str, *headers: str) -> bytes:
    lines = [f"GET /ws/executions/{execution} HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


HURRIED: Final = """
import flowrunner.serving
flowrunner.serving.PING_SECONDS = 1.0
from flowrunner.cli.main import main
main()
"""


def test_s53_a_socket_whose_other_side_is_not_there_any_more_is_closed(tmp_path: Path) -> None:
    server = Server(tmp_path, program=("-c", HURRIED))
    try:
        account = server.start().admin().new_account()
        execution = account.run(account.new_flow(WAITS))
        with (
            account.watch(execution, ping_interval=None) as alive,
            closing(socket.create_connection(account.address, timeout=20)) as dead,
        ):
            dead.sendall(upgrade(account.url, execution, f"Authorization: Bearer {account.token}"))
            received = b""
            with suppress(ConnectionResetError):
                # It reads, and never answers a ping.
                while chunk := dead.recv(65536):
                    received += chunk
            assert received.startswith(b"HTTP/1.1 101")
            account.post(f"/api/v1/executions/{execution}/signals/s")
            messages = [json.loads(text) for text in alive]
        assert messages[-1]["type"] == "execution_completed"
    finally:
        server.stop()


def test_s53_who_does_not_say_who_they_are_in_time_is_let_go(server: Server) -> None:
    begun = time.monotonic()
    with closing(socket.create_connection(server.client().address, timeout=20)) as connection:
        connection.sendall(upgrade(server.url, "x").removesuffix(b"\r\n"))
        with suppress(ConnectionResetError):
            assert connection.recv(65536) == b""
    assert 4 < time.monotonic() - begun < 20


# Connections


@contextmanager
def crowd(server: Server, count: int) -> Iterator[list[socket.socket]]:
    """Connections that say nothing, or not all they should: a third each has begun a request, or a body."""
    said = (
        b"",
        b"GET /ws/executions/x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n",
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    )
    opened: list[socket.socket] = []
    try:
        for n in range(count):
            connection = socket.create_connection(server.client().address, timeout=20)
            opened.append(connection)
            with suppress(ConnectionError):
                connection.sendall(said[n % len(said)])
        yield opened
    finally:
        for connection in opened:
            connection.close()


def assert_served(account: Client, execution: str) -> None:
    """Somebody new, somebody known, and a subscriber."""
    assert Client(account.url).get("/healthz").status == 200
    assert Client(account.url).login(account.email, PASSWORD).token
    with account.watch(execution) as watched:
        assert json.loads(watched.recv(timeout=20))["type"] == "execution_update"
        assert account.run_to_end(RETURN)["status"] == "completed"


def test_s53_ten_thousand_sockets_that_nobody_proves_keep_no_others_out(tmp_path: Path, scoreboard: Scoreboard) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SOCKETS + 1000
    files = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), hard))
    count = min(SOCKETS, max(soft, files) - 500)
    server = Server(tmp_path)
    try:
        account = server.start().admin().new_account()
        execution = account.run(account.new_flow(WAITS))
        with account.watch(execution) as early, crowd(server, count):
            assert_served(account, execution)
            account.post(f"/api/v1/executions/{execution}/signals/s")
            assert [json.loads(text) for text in early][-1]["type"] == "execution_completed"
        scoreboard.count("silent connections: others that were not served", cases=count, failures=0)
    finally:
        server.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


FEW_FILES: Final = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
from flowrunner.cli.main import main
main()
"""


def test_s53_with_more_connections_than_files_the_slowest_make_room(tmp_path: Path) -> None:
    server = Server(tmp_path, program=("-c", FEW_FILES))
    try:
        account = server.start().admin().new_account()
        execution = account.run(account.new_flow(WAITS))
        with account.watch(execution) as early, crowd(server, 1000):
            assert len(list(Path(f"/proc/{server.pid}/fd").iterdir())) < 300
            assert_served(account, execution)
            account.post(f"/api/v1/executions/{execution}/signals/s")
            assert [json.loads(text) for text in early][-1]["type"] == "execution_completed"
        metrics = account.get("/metrics").body.decode()
        (dropped,) = re.findall(r'flowrunner_requests_refused_total\{limit="connections"\} ([\d.]+)', metrics)
        assert 100 < float(dropped) < 1000
        assert "out of system resource" not in server.log
    finally:
        server.stop()
