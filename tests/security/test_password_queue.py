"""Passwords are checked few at a time; nobody's logins keep another's waiting."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final, NoReturn

import pytest

from api.shapes import assert_error
from flowrunner.domain.errors import QueueFull, Unavailable
from flowrunner.security.credentials import Argon2Hasher
from flowrunner.security.hashing_queue import HashingQueue
from flowrunner.storage.accounts import SqlAccounts
from security.test_sessions import LOGIN, login_from
from security.two_accounts import ApiClient, two_accounts_at
from support.client import PASSWORD, Client
from support.server import ADMIN_EMAIL, ADMIN_PASSWORD, Server

ADDRESSES: Final = 6
LOGINS: Final = 80


# Prints what becomes of a right password while there is no memory to hash it with.
WITHOUT_MEMORY: Final = """
import asyncio, resource
from pathlib import Path
from flowrunner.bootstrap.interpreter import unmap_large_blocks
from flowrunner.domain.errors import Unavailable
from flowrunner.security.credentials import Argon2Hasher

async def main():
    hasher = Argon2Hasher()
    known = await hasher.hash("right", source="a")
    assert await hasher.verify(known, "right", source="a")
    [used] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line]
    resource.setrlimit(resource.RLIMIT_AS, (int(used) * 1024 + 2**20,) * 2)
    for work in (hasher.verify(known, "right", source="a"), hasher.hash("right", source="a")):
        try:
            print(await work)
        except Unavailable as error:
            print(error)

unmap_large_blocks()
asyncio.run(main())
"""


def login_text(number: int) -> bytes:
    body = json.dumps({"username": f"name-{number}@example.com", "password": "a wrong password"}).encode()
    head = f"POST {LOGIN} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_right_password_is_not_called_wrong_for_lack_of_memory() -> None:
    # A thread that allocates in an arena of its own has memory in reserve there.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_MEMORY], env=environment, capture_output=True, text=True, check=True
    )

    assert ran.stdout.splitlines() == [
        "The password cannot be checked now: Memory allocation error",
        "The password cannot be hashed now: Memory allocation error",
    ]


@pytest.mark.parametrize("ending", ["closed", "reset", "closed behind another request"])
def test_s64_logins_that_nobody_waits_for_are_not_hashed_for(own_server: Server, ending: str) -> None:
    nobody = own_server.client()
    # What one login costs, with what it takes to hash once.
    login_from(nobody, ADMIN_EMAIL, ADMIN_PASSWORD, "127.0.0.2")
    before = cpu_seconds(own_server.pid)
    for number in range(15):
        assert login_from(nobody, f"n{number}@example.com", "a wrong password", "127.0.0.3").status == 401
    of_a_login = (cpu_seconds(own_server.pid) - before) / 15

    before = cpu_seconds(own_server.pid)
    for number in range(ADDRESSES * LOGINS):
        with closing(
            socket.create_connection(nobody.address, source_address=(f"127.0.1.{number % ADDRESSES}", 0))
        ) as s:
            if ending == "reset":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            s.sendall(login_text(number))
            if ending == "closed behind another request":
                s.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    owner = login_from(nobody, ADMIN_EMAIL, ADMIN_PASSWORD, "127.0.0.2")
    # One more behind whatever may still wait.
    login_from(nobody, "last@example.com", "a wrong password", "127.0.1.1")
    spent = cpu_seconds(own_server.pid) - before

    assert owner.status == 200
    # The queue's bound alone lets half of them through.
    assert spent < ADDRESSES * LOGINS * of_a_login / 8, f"{spent} s, of which one login takes {of_a_login} s"


def test_s64_s03_who_comes_from_elsewhere_waits_for_one_login_of_each_address(own_server: Server) -> None:
    nobody, answered, lock = own_server.client(), 0, threading.Lock()
    begun = threading.Barrier(ADDRESSES * 8 + 1)

    def guess(number: int) -> int:
        nonlocal answered
        begun.wait()
        status = login_from(
            nobody, f"n{number}@example.com", "a wrong password", f"127.0.1.{number % ADDRESSES}"
        ).status
        with lock:
            answered += 1
        return status

    with ThreadPoolExecutor(ADDRESSES * 8) as pool:
        guesses = [pool.submit(guess, number) for number in range(ADDRESSES * 8)]
        begun.wait()
        while answered < 5:
            time.sleep(0.001)
        before = answered
        owner = login_from(nobody, ADMIN_EMAIL, ADMIN_PASSWORD, "127.0.0.2")
        meanwhile = answered - before
        statuses = [each.result() for each in guesses]

    assert owner.status == 200
    assert meanwhile <= 5 * ADDRESSES
    assert set(statuses) == {401}


@pytest.mark.usefixtures("real_hashes")
async def test_s64_more_logins_than_may_wait_are_told_to_come_back(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data") as accounts:
        hasher = accounts.program.services.sessions._password_logins._hasher
        assert isinstance(hasher, Argon2Hasher)
        hasher._queue._most = most = 60
        clients = [ApiClient(accounts.app, address=f"198.51.100.{n % ADDRESSES}") for n in range(120)]
        wrong = {"username": "nobody@example.com", "password": "a wrong password"}
        async with asyncio.TaskGroup() as group:
            guesses = [
                group.create_task(each.request("POST", LOGIN, {**wrong, "username": f"n{number}@example.com"}))
                for number, each in enumerate(clients)
            ]
            await asyncio.sleep(0)
            owner = group.create_task(
                ApiClient(accounts.app).request("POST", LOGIN, {"username": "omar@example.com", "password": PASSWORD})
            )
        replies = [each.result() for each in guesses]
        rejected = [reply for reply in replies if reply.status != 401]
        details = [assert_error(reply, 503) for reply in rejected]

        assert owner.result().status == 200
        # Those that wait, and those under way.
        assert len(rejected) in (120 - most - 1, 120 - most, 120 - most + 1)
        assert all(detail == {"limit": "password_queue", "most": most} for detail in details)
        assert {reply.headers["retry-after"] for reply in rejected} == {"1"}
        assert (await accounts.refusals())["password_queue"] == len(rejected)


async def test_s64_s03_a_login_that_was_not_checked_is_no_failure(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data", anonymous_logins=400) as accounts:
        full = HashingQueue(1, most=1)
        hasher = accounts.program.services.sessions._password_logins._hasher
        assert isinstance(hasher, Argon2Hasher)
        usual, hasher._queue = hasher._queue, full
        release = threading.Event()
        held = [asyncio.create_task(full.run(release.wait, source="192.0.2.1")) for _ in range(2)]
        await asyncio.sleep(0)
        omar = {"username": "omar@example.com", "password": PASSWORD}

        statuses = [(await ApiClient(accounts.app).request("POST", LOGIN, omar)).status for _ in range(30)]
        release.set()
        await asyncio.gather(*held)
        hasher._queue = usual

        assert statuses == [503] * 30
        assert (await ApiClient(accounts.app).request("POST", LOGIN, omar)).status == 200


async def test_s03_logins_during_an_outage_of_the_database_are_no_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_accounts_at(tmp_path / "data", anonymous_logins=10) as accounts:
        omar = {"username": "omar@example.com", "password": PASSWORD}
        with monkeypatch.context() as outage:
            outage.setattr(SqlAccounts, "credential", is_away)
            statuses = [(await ApiClient(accounts.app).request("POST", LOGIN, omar)).status for _ in range(30)]

        assert statuses == [503] * 30
        assert (await ApiClient(accounts.app).request("POST", LOGIN, omar)).status == 200


async def is_away(*_: object) -> NoReturn:
    raise Unavailable("the database is away")


# The queue itself


class Order:
    """Calls on a queue, in the order in which they are made."""

    def __init__(self, *, most: int) -> None:
        self.queue = HashingQueue(1, most=most)
        self.made: list[str] = []
        self._release = threading.Event()
        self.held = asyncio.create_task(self.queue.run(self._release.wait, source="first"))

    def ask(self, source: str, name: str) -> "asyncio.Task[None]":
        return asyncio.create_task(self.queue.run(lambda: self.made.append(name), source=source))

    async def let_go(self) -> None:
        self._release.set()
        await self.held


async def test_s64_sources_are_served_round_robin() -> None:
    order = Order(most=10)
    await asyncio.sleep(0)
    asked = [order.ask(name[0], name) for name in ("a1", "a2", "a3", "b1", "c1", "b2")]
    await asyncio.sleep(0)
    await order.let_go()
    await asyncio.gather(*asked)

    assert order.made == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_s64_a_full_queue_rejects_the_source_with_the_longest_backlog() -> None:
    order = Order(most=4)
    await asyncio.sleep(0)
    asked = {name: order.ask(name[0], name) for name in ("a1", "a2", "a3", "b1", "c1", "a4", "b2")}
    await asyncio.sleep(0)
    await order.let_go()
    results = await asyncio.gather(*asked.values(), return_exceptions=True)

    rejected = {name for name, result in zip(asked, results, strict=True) if isinstance(result, QueueFull)}
    # There is no longest one when b asks for a second: it would be its own.
    assert rejected == {"a3", "a4", "b2"}
    assert order.made == ["a1", "b1", "c1", "a2"]


async def test_s64_a_call_for_which_there_is_no_thread_takes_nothing_from_later_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    queue, made = HashingQueue(1), list[str]()
    with closing(queue):
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fail)
            asked = [queue.run(lambda: made.append("too late"), source="a") for _ in range(3)]
            ends = await asyncio.gather(*asked, return_exceptions=True)
        later = await asyncio.wait_for(queue.run(lambda: "checked", source="a"), 10)

    assert [type(end) for end in ends] == [Unavailable] * 3
    assert (later, made) == ("checked", [])


async def test_s64_a_call_that_is_cancelled_leaves_the_queue_whenever_that_is() -> None:
    order = Order(most=3)
    await asyncio.sleep(0)
    asked = [order.ask(name[0], name) for name in ("a1", "a2", "b1")]
    await asyncio.sleep(0)
    for each in asked[:2]:
        each.cancel()
    # Two of three places are free at once, or in a moment.
    later = [order.ask("c", f"c{number}") for number in range(3)]
    order.held.cancel()
    await asyncio.sleep(0)
    assert order.made == [], "the thread is busy, although nobody awaits what it does"
    order._release.set()
    results = await asyncio.gather(*asked, *later, return_exceptions=True)

    assert [type(result) for result in results] == [asyncio.CancelledError] * 2 + [type(None)] * 3 + [QueueFull]
    assert order.made == ["b1", "c0", "c1"]
    await order.ask("d", "d1")
    assert order.made[-1] == "d1"


def test_a_login_is_answered_while_its_client_is_there(account: Client) -> None:
    assert login_from(account, account.email, PASSWORD, "127.0.0.9").status == 200
