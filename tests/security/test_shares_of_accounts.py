"""What accounts share of the way out: no account uses up lookups of names, connections or time for the others."""

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.domain.values import AccountId, ExecutionId, WorkspaceId, personal_workspace
from flowrunner.fair_slots import FairSlots
from flowrunner.plugin import HttpClient, NodeFailure
from flowrunner.security import name_lookups
from flowrunner.security.egress import EgressClients
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.security.memory_room import FairMemory
from flowrunner.security.parsing_budget import ParsingBudget
from support.client import Client
from support.databases import MARA, MARA_ACCOUNT, OMAR, OMAR_ACCOUNT
from support.networks import LOOPBACK
from support.receiver import Receiver
from support.server import Server
from support.waiting import PATIENCE_SECONDS

LOOKUP_THREAD: Final = "name lookup"


@dataclass
class SilentNames:
    """Name servers: names under `silent` get no answer until the end, `peer.example` is this machine."""

    asked: list[str] = field(default_factory=list)
    has_ended: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentNames]:
    found, real = SilentNames(), socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        found.asked.append(host)
        if host.endswith(".silent"):
            found.has_ended.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real("127.0.0.1" if host.endswith(".example") else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield found
    found.has_ended.set()
    end_lookups()


def end_lookups() -> None:
    for thread in threading.enumerate():
        if thread.name == LOOKUP_THREAD:
            thread.join(10)


@dataclass
class Peer:
    """A called server: `/slow` is answered at the end, anything else at once and with a cookie."""

    port: int = 0
    heads: list[str] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                if " /slow " in head:
                    await self.has_ended.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: session=of-one; Path=/\r\nContent-Length: 0\r\n\r\n")
        self.open -= 1
        writer.close()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    found = Peer()
    server = await asyncio.start_server(found.answer, "127.0.0.1", 0, backlog=2000)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    found.has_ended.set()
    server.close()


@pytest.fixture
async def clients(names: SilentNames) -> AsyncIterator[EgressClients]:
    """Closed before the silent names end: a lookup that waits would begin when those before it end."""
    found = EgressClients(EgressPolicy([LOOPBACK]))
    yield found
    await found.close()


async def ending(client: HttpClient, url: str) -> str:
    try:
        return str((await client.request("GET", url, headers={})).status)
    except NodeFailure as failure:
        return f"{failure.type}: {failure.message}"


def lookups_under_way() -> int:
    return sum(thread.name == LOOKUP_THREAD for thread in threading.enumerate())


async def begun(count: int, *coroutines: Any) -> list["asyncio.Task[str]"]:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while lookups_under_way() < count:  # noqa: ASYNC110 # threads begin in their own time
            await asyncio.sleep(0.01)
    return tasks


async def ended(tasks: list["asyncio.Task[str]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_s63_long_bodies_of_one_account_leave_requests_to_it_and_to_others(clients: EgressClients) -> None:
    async def hold(account: AccountId, *, is_long: bool) -> None:
        async with clients.of(personal_workspace(account)).hold(is_long=is_long):
            held[account, is_long] += 1
            await asyncio.Event().wait()

    held: Counter[tuple[AccountId, bool]] = Counter()
    ways = [(MARA, True)] * 100 + [(MARA, False), (OMAR, True)]
    tasks = [asyncio.create_task(hold(AccountId(account), is_long=is_long)) for account, is_long in ways]
    for _ in range(10):
        await asyncio.sleep(0)

    assert held == {(MARA, True): 48, (MARA, False): 1, (OMAR, True): 1}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# Names


async def test_s63_silent_names_of_one_account_leave_lookups_to_others(
    clients: EgressClients, peer: Peer, names: SilentNames
) -> None:
    silent = [ending(clients.of(MARA), f"http://n{n}.silent/") for n in range(200)]
    tasks = await begun(8, *silent)

    assert await ending(clients.of(OMAR), f"http://peer.example:{peer.port}/") == "200"
    assert await ending(clients.of(OMAR), f"http://127.0.0.1:{peer.port}/") == "200"
    assert await ending(clients.of(MARA), f"http://127.0.0.1:{peer.port}/") == "200"
    assert sorted(names.asked) == [*(f"n{n}.silent" for n in range(8)), "peer.example"]
    assert not any(task.done() for task in tasks)
    await ended(tasks)


async def test_s63_a_silent_name_fails_in_time_and_says_why(
    clients: EgressClients, peer: Peer, names: SilentNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_lookups, "LOOKUP_SECONDS", 0.2)

    endings = await asyncio.gather(*(ending(clients.of(MARA), f"http://n{n}.silent/") for n in range(20)))
    names.has_ended.set()
    end_lookups()
    later = await ending(clients.of(MARA), f"http://peer.example:{peer.port}/")

    assert sum(end.startswith("connection.dns") and "no answer within 0.2 s" in end for end in endings) == 8
    assert sum(end.startswith("connection.dns") and "8 lookups of other names" in end for end in endings) == 12
    assert later == "200"


async def test_s63_lookups_that_could_not_begin_take_nothing_from_later_ones(
    clients: EgressClients, peer: Peer, names: SilentNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        endings = [await ending(clients.of(MARA), f"http://n{n}.example:{peer.port}/") for n in range(20)]

    assert sum(end.startswith("connection.dns") and "cannot start a lookup" in end for end in endings) == 20
    assert await ending(clients.of(MARA), f"http://peer.example:{peer.port}/") == "200"


async def test_s63_no_number_of_accounts_uses_up_the_lookups_of_another(
    clients: EgressClients, peer: Peer, names: SilentNames
) -> None:
    silent = [
        ending(clients.of(WorkspaceId(f"account {account}")), f"http://n{n}.silent/")
        for account in range(12)
        for n in range(10)
    ]
    tasks = await begun(32, *silent)

    assert await ending(clients.of(OMAR), f"http://peer.example:{peer.port}/") == "200"
    assert len(names.asked) <= 32 + 2 * 12 + 1
    await ended(tasks)


async def test_s63_an_address_is_never_looked_up(clients: EgressClients, peer: Peer, names: SilentNames) -> None:
    for host in ("127.0.0.1", "[::ffff:127.0.0.1]", "127.0.0.2", "[::1]"):
        await ending(clients.of(MARA), f"http://{host}:{peer.port}/")

    assert names.asked == []


async def test_s63_a_lookup_that_nobody_waits_for_keeps_its_place(
    clients: EgressClients, peer: Peer, names: SilentNames
) -> None:
    for _ in range(5):
        await ended(await begun(8, *(ending(clients.of(MARA), f"http://n{n}.silent/") for n in range(20))))

    assert len(names.asked) == 8
    names.has_ended.set()
    assert await ending(clients.of(MARA), f"http://peer.example:{peer.port}/") == "200"


async def test_a_name_is_looked_up_once_for_many_requests_of_an_account(
    clients: EgressClients, peer: Peer, names: SilentNames
) -> None:
    await asyncio.gather(*(ending(clients.of(MARA), f"http://peer.example:{peer.port}/") for _ in range(50)))

    assert names.asked == ["peer.example"]


# Connections


async def test_s63_slow_servers_of_one_account_leave_connections_to_others(clients: EgressClients, peer: Peer) -> None:
    slow = [asyncio.create_task(ending(clients.of(MARA), f"http://127.0.0.1:{peer.port}/slow")) for _ in range(400)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while peer.open < 256:  # noqa: ASYNC110 # the peer counts
            await asyncio.sleep(0.01)

    assert await ending(clients.of(OMAR), f"http://127.0.0.1:{peer.port}/") == "200"

    assert peer.most_open == 257
    peer.has_ended.set()
    assert {await task for task in slow} == {"200"}


async def test_s63_no_number_of_accounts_uses_up_the_connections_of_another() -> None:
    slots = FairSlots(total=1024, share=256, sure=16)
    for account in range(20):
        for _ in range(256):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await slots.take(WorkspaceId(f"{account}"))

    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in range(16):
            await slots.take(OMAR)
    assert sum(slots.held(WorkspaceId(f"{account}")) for account in range(20)) <= 1024 + 16 * 20


async def test_idle_connections_of_an_account_are_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr("flowrunner.security.egress._REQUESTS_OF_A_WORKSPACE", 3)
    clients = EgressClients(EgressPolicy([LOOPBACK]))
    peers, servers = [], []
    for _ in range(10):
        peers.append(Peer())
        servers.append(await asyncio.start_server(peers[-1].answer, "127.0.0.1", 0))
        await ending(clients.of(MARA), f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}/")
    await asyncio.sleep(0.1)

    assert sum(peer.open for peer in peers) == 3
    await clients.close()
    for server in servers:
        server.close()


async def test_a_connection_is_kept_for_the_next_request_of_the_account_and_for_no_other(
    clients: EgressClients, peer: Peer
) -> None:
    for account in (MARA, OMAR, MARA, OMAR, MARA):
        await ending(clients.of(account), f"http://127.0.0.1:{peer.port}/")

    assert (peer.open, len(peer.heads)) == (2, 5)


async def test_a_cookie_goes_out_with_no_other_request(clients: EgressClients, peer: Peer, names: SilentNames) -> None:
    """By name: no client keeps cookies for an address."""
    for account in (MARA, MARA, OMAR, MARA):
        assert await ending(clients.of(account), f"http://peer.example:{peer.port}/") == "200"

    assert [head for head in peer.heads if "cookie" in head.lower()] == []
    assert len(peer.heads) == 4


async def test_accounts_that_have_no_requests_are_forgotten(
    clients: EgressClients, monkeypatch: Any, peer: Peer
) -> None:
    monkeypatch.setattr("flowrunner.security.egress._KEPT_CLIENTS", 2)
    slow = asyncio.create_task(ending(clients.of(MARA), f"http://127.0.0.1:{peer.port}/slow"))
    for number in range(10):
        assert await ending(clients.of(WorkspaceId(f"{number}")), f"http://127.0.0.1:{peer.port}/") == "200"
    await asyncio.sleep(0.1)

    assert peer.open <= 3
    peer.has_ended.set()
    assert await slow == "200"


# Slots


async def test_accounts_that_wait_are_served_round_robin() -> None:
    slots, order = FairSlots(total=1, share=1, sure=0), []

    async def use(account_id: AccountId) -> None:
        async with slots.hold(personal_workspace(account_id)):
            order.append(account_id)
            await asyncio.sleep(0)

    await asyncio.gather(*(use(MARA_ACCOUNT) for _ in range(5)), *(use(OMAR_ACCOUNT) for _ in range(3)))

    assert order == [
        MARA_ACCOUNT,
        MARA_ACCOUNT,
        OMAR_ACCOUNT,
        MARA_ACCOUNT,
        OMAR_ACCOUNT,
        MARA_ACCOUNT,
        OMAR_ACCOUNT,
        MARA_ACCOUNT,
    ]


async def test_who_waits_no_longer_leaves_no_slot_taken() -> None:
    slots = FairSlots(total=2, share=2, sure=0)
    for _ in range(50):
        tasks = [asyncio.create_task(slots.take(MARA)) for _ in range(4)]
        await asyncio.sleep(0)
        # One has got its slot in this moment, the other waits.
        slots.give_back(MARA)
        tasks[2].cancel()
        tasks[3].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        slots.give_back(MARA)

    assert slots.held(MARA) == 0


async def test_slots_that_are_taken_together_are_counted_together() -> None:
    slots, order = FairSlots(total=10, share=6, sure=0), []

    async def use(account_id: AccountId, count: int) -> None:
        await slots.take(personal_workspace(account_id), count)
        order.append((account_id, count, slots.held(personal_workspace(account_id))))
        await asyncio.sleep(0)
        slots.give_back(personal_workspace(account_id), count)

    mara, omar = MARA_ACCOUNT, OMAR_ACCOUNT
    await asyncio.gather(use(mara, 4), use(mara, 3), use(omar, 6), use(omar, 1), use(mara, 100))

    # What is more than a share is all of it.
    assert order == [
        (MARA_ACCOUNT, 4, 4),
        (OMAR_ACCOUNT, 6, 6),
        (MARA_ACCOUNT, 3, 3),
        (OMAR_ACCOUNT, 1, 1),
        (MARA_ACCOUNT, 100, 6),
    ]
    assert slots.held(MARA) == slots.held(OMAR) == 0


async def test_who_waits_for_many_slots_no_longer_lets_those_behind_it_in() -> None:
    slots = FairSlots(total=2, share=2, sure=0)
    await slots.take(MARA)
    many = asyncio.create_task(slots.take(MARA, 2))
    one = asyncio.create_task(slots.take(MARA))
    await asyncio.sleep(0)
    assert not one.done()

    many.cancel()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await one
    assert slots.held(MARA) == 2


# The whole server


SILENT_PROGRAM: Final = (
    "-c",
    """
import socket, sys, time
real = socket.getaddrinfo
def getaddrinfo(host, *args, **options):
    if str(host).endswith(".silent"):
        # As the system's resolver waits for name servers that are silent.
        time.sleep(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return real(host, *args, **options)
socket.getaddrinfo = getaddrinfo
from flowrunner.cli.main import main
sys.exit(main())
""",
)
SILENT_FLOW: Final = """
nodes:
  each:
    type: foreach
    params: {items: "${Array.from({length: 400}, (_, n) => n)}", concurrency: 100, on_error: continue}
    nodes:
      ask: {type: http.request, params: {url: "http://n${item}.silent/"}}
"""


def test_s63_flows_of_others_go_on_while_one_account_asks_for_silent_names(tmp_path: Path, receiver: Receiver) -> None:
    server = Server(tmp_path, program=SILENT_PROGRAM)
    try:
        admin = server.start().admin()
        noisy, quiet = admin.new_account(), admin.new_account()
        execution = noisy.run(noisy.new_flow(SILENT_FLOW))
        for _ in range(5):
            for host in ("localhost", "127.0.0.1"):
                url = receiver.url.replace("127.0.0.1", host) + "/ok"
                assert call(quiet, url)["status"] == "completed", host
        noisy.delete(f"/api/v1/executions/{execution}")
    finally:
        server.stop()


def call(client: Client, url: str) -> Any:
    return client.run_to_end(f'nodes:\n  a: {{type: http.request, params: {{url: "{url}"}}}}\n')


async def test_an_execution_gives_back_the_memory_that_it_has_kept() -> None:
    memory, workspace = FairMemory(), WorkspaceId("a")
    loading = memory.loading()

    held = []
    await loading.take(workspace, 20 * 1024 * 1024)
    held.append(memory.memory.held(workspace))
    loading.keep(ExecutionId("exec-1"), 3 * 1024 * 1024)
    held.append(memory.memory.held(workspace))
    loading.give_back()
    held.append(memory.memory.held(workspace))

    assert held == [21, 4, 0]


async def test_an_execution_gives_back_no_memory_that_it_has_not_taken() -> None:
    memory, workspace = FairMemory(), WorkspaceId("a")
    mebibyte = 1024 * 1024
    first, refused, late = memory.loading(), memory.loading(), memory.loading()
    assert first.take_at_once(workspace, 63 * mebibyte), "the share of a workspace"

    assert not refused.take_at_once(workspace, mebibyte)
    refused.give_back()
    waiting = asyncio.create_task(late.take(workspace, mebibyte))
    await asyncio.sleep(0)
    # It has left before its turn comes.
    late.give_back()
    assert memory.memory.held(workspace) == 64
    first.give_back()
    await waiting

    assert memory.memory.held(workspace) == 0


async def test_answers_that_are_parsed_later_are_served_round_robin() -> None:
    budget, parsed = ParsingBudget(), list[str]()
    for workspace in ("a", "a", "a", "b"):
        budget.defer(WorkspaceId(workspace), partial(parsed.append, workspace))

    await asyncio.sleep(0)

    assert parsed == ["a", "b", "a", "a"]
