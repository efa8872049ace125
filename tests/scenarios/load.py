"""Clients that start executions while the server is killed, and subscribers that come back after each crash."""

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

from support.databases import Place, rows_of
from support.postgres import PostgresServer
from support.server import Server

CLIENTS: Final = 6
OBSERVED: Final = 15  # of a hundred executions
ENDING_SECONDS: Final = 60.0
GONE: Final = (aiohttp.ClientError, OSError, TimeoutError)

# What somebody does for an execution once it was accepted, until it has ended.
Deed = Callable[["Load", aiohttp.ClientSession, str], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Ledger:
    """What clients know: the answers to their requests.

    Attributes:
        accepted: Execution id by the number in its input.
        unanswered: Numbers that were sent, perhaps more than once, without an answer to any.
        refused: Answers that no client should ever get.
    """

    accepted: dict[int, str] = field(default_factory=dict)
    unanswered: set[int] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))


class Load:
    """Starts executions all the time, and sees them to their ends.

    Args:
        flows: What is run in turn, each with what somebody does for it.
        executions: How many have to be accepted before it is over.
        database_may_fail: An answer with 503 is none: nobody can tell whether a commit was done whose end was not
            heard of.
    """

    def __init__(
        self,
        server: Server,
        token: str,
        flows: Sequence[tuple[str, Deed | None]],
        draw: random.Random,
        *,
        executions: int,
        database_may_fail: bool = False,
    ) -> None:
        self._database_may_fail = database_may_fail
        self.server = server
        self._token = token
        self._flows = flows
        self._draw = draw
        self._executions = executions
        self._numbers = iter(range(1, 1_000_000))
        self._watchers: list[asyncio.Task[None]] = []
        self.ledger = Ledger()
        self.is_over = False
        self._kill_at_answer: asyncio.Event | None = None

    async def kill_at_next_answer(self) -> None:
        """Kill the server the moment it has answered a run: what it said must hold by then."""
        self._kill_at_answer = asyncio.Event()
        await self._kill_at_answer.wait()

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=20)
        headers = {"Authorization": f"Bearer {self._token}"}
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            async with asyncio.TaskGroup() as clients:
                for _ in range(CLIENTS):
                    clients.create_task(self._client(session))
            await asyncio.gather(*self._watchers)

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not (self.is_over and len(self.ledger.accepted) >= self._executions):
            number = next(self._numbers)
            # Half of the clients can repeat a request that was not answered, half cannot.
            await self._start(session, number, f"request-{number}" if number % 2 else None)
            await asyncio.sleep(self._pace())

    def _pace(self) -> float:
        """Spreads the load over all the kills, and hurries once they are done."""
        return 0.005 if self.is_over else self._draw.random() * 0.6

    async def _start(self, session: aiohttp.ClientSession, number: int, key: str | None) -> None:
        flow_id, deed = self._flows[number % len(self._flows)]
        while True:
            url = self.server.find_url()
            if url is None:
                await asyncio.sleep(0.05)
                continue
            try:
                async with session.post(
                    f"{url}/api/v1/flows/{flow_id}/run",
                    json={"input": {"number": number}},
                    headers={} if key is None else {"Idempotency-Key": key},
                ) as response:
                    if self._kill_at_answer is not None and response.status == 201:
                        self.server.kill()
                        self._kill_at_answer.set()
                        self._kill_at_answer = None
                    answer = await response.json()
            except aiohttp.ClientConnectorError:
                # Nothing was sent, so this may be said again by anybody.
                await asyncio.sleep(0.05)
                continue
            except GONE:
                self.ledger.unanswered.add(number)
                if key is None:
                    return
                await asyncio.sleep(0.05)
                continue
            if response.status == 503 and self._database_may_fail:
                self.ledger.unanswered.add(number)
                if key is None:
                    return
                await asyncio.sleep(0.05)
                continue
            if response.status not in (200, 201):
                self.ledger.refused.append(f"{response.status} {answer}")
                return
            self.ledger.unanswered.discard(number)
            self.ledger.accepted[number] = answer["execution_id"]
            if number % 100 < OBSERVED:
                self._watchers.append(asyncio.create_task(self._watch(answer["execution_id"])))
            if deed is not None:
                self._watchers.append(asyncio.create_task(deed(self, session, answer["execution_id"])))
            return

    async def _watch(self, id: str) -> None:
        """Read an execution's events until the last, going on where the last connection broke."""
        seen = self.ledger.seen[id]
        while True:
            url = self.server.find_url()
            if url is None:
                await asyncio.sleep(0.05)
                continue
            after = seen[-1]["seq"] if seen else 0
            address = f"{url.replace('http', 'ws', 1)}/ws/executions/{id}?after={after}"
            bearer = {"Authorization": f"Bearer {self._token}"}
            try:
                async with connect(address, additional_headers=bearer, proxy=None, open_timeout=10) as socket:
                    async for text in socket:
                        seen.append(json.loads(text))
                    if socket.close_code == 1000:
                        return
            except InvalidStatus as error:
                # Anything but a server on its way down: this execution was accepted.
                if error.response.status_code != 503:
                    self.ledger.refused.append(f"{error.response.status_code} for a subscriber of {id}")
                    return
            except (ConnectionClosed, InvalidHandshake, InvalidMessage, OSError, TimeoutError, EOFError):
                pass
            await asyncio.sleep(0.05)


async def kill_again_and_again(
    server: Server, load: Load, draw: random.Random, *, kills: int, postgres: PostgresServer | None = None
) -> int:
    """Gives how many of the kills hit executions under way.

    Args:
        postgres: Where the server stores; every other kill hits it instead.
    """
    hits = 0
    for kill in range(kills):
        if postgres is not None and kill % 2:
            hits += await _kill_postgres(postgres, server, draw, during_recovery=kill % 4 == 3)
            continue
        # Some hit a start or its recovery, some an answer, most the work that follows.
        match kill % 5:
            case 4:
                await asyncio.sleep(0.1 + draw.random() * 0.9)
                server.kill()
            case 3 | 1:
                await asyncio.to_thread(server.wait_until_ready)
                await asyncio.sleep(draw.random() * 0.3)
                await load.kill_at_next_answer()
            case _:
                await asyncio.to_thread(server.wait_until_ready)
                await asyncio.sleep(draw.random() * 0.8)
                server.kill()
        hits += _open_executions(server.place) > 0
        await asyncio.to_thread(server.spawn)
    await asyncio.to_thread(server.wait_until_ready)
    return hits


async def _kill_postgres(
    postgres: PostgresServer, server: Server, draw: random.Random, *, during_recovery: bool
) -> bool:
    """Whether it hit executions under way. The server lives on, and goes on by itself."""
    await asyncio.to_thread(server.wait_until_ready)
    if during_recovery:
        server.kill()
        server.spawn()
    await asyncio.sleep(draw.random() * 0.8)
    await asyncio.to_thread(postgres.kill)
    await asyncio.sleep(draw.random() * 0.3)
    await asyncio.to_thread(postgres.start)
    was_hit = _open_executions(server.place) > 0
    if during_recovery and server.has_ended():
        # It found no database when it began, and leaves it to others to start it again.
        server.spawn()
    return was_hit


def _open_executions(place: Place) -> int:
    found: int = rows_of(place, "SELECT count(*) FROM executions WHERE status IN ('running', 'waiting')")[0][0]
    return found


def wait_for_ends(server: Server, token: str) -> list[Any]:
    """Executions that have not ended although nothing disturbs them any more."""
    client = server.client(token)
    deadline = time.monotonic() + ENDING_SECONDS
    while True:
        still: list[Any] = client.get("/api/v1/executions", status="running,waiting", limit=100).json["executions"]
        if not still or time.monotonic() > deadline:
            return still
        time.sleep(0.05)
