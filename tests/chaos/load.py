"""Clients that start executions while servers come and go, and subscribers that come back each time."""

import asyncio
import contextlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import asyncpg
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

CLIENTS: Final = 6
OBSERVED: Final = 15  # of a hundred executions
_COUNT_SECONDS: Final = 1.0
# The driver's own confusion is among them: a connection broke off at a bad moment.
DATABASE_AWAY: Final = (
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError
)  # fmt: skip
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
        seen: What subscribers of an execution were told.
    """

    accepted: dict[int, str] = field(default_factory=dict)
    unanswered: set[int] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))


class Load:
    """Starts executions all the time, and sees them to their ends.

    Args:
        find_url: Gives the address of a server that is ready; None if there is none.
        count_open: Gives how many executions have not ended; it may take its time.
        flows: What is run in turn, each with what somebody does for it.
        executions: How many have to be accepted before it is over.
        longest_pause: Seconds between two starts of one client at most; a pause is half as long on average.
        most_open: Nothing more is begun while so many executions are open: more than that says how fast the machine
            is, and no more.
        database_may_fail: An answer with 503 is none: nobody can tell whether a commit was done whose end was not
            heard of.
    """

    def __init__(
        self,
        find_url: Callable[[], str | None],
        count_open: Callable[[], int],
        token: str,
        flows: Sequence[tuple[str, Deed | None]],
        draw: random.Random,
        *,
        executions: int,
        longest_pause: float,
        most_open: int,
        database_may_fail: bool = False,
    ) -> None:
        self._longest_pause = longest_pause
        self._most_open = most_open
        self._database_may_fail = database_may_fail
        self.find_url = find_url
        self._count_open = count_open
        self._open = 0
        self._token = token
        self._flows = flows
        self._draw = draw
        self._executions = executions
        self._numbers = iter(range(1, 1_000_000))
        self._watchers: list[asyncio.Task[None]] = []
        # By the id of an execution, the address at which its subscriber waits.
        self.subscribed: dict[str, str] = {}
        self.ledger = Ledger()
        self.is_over = False
        # What is called at the next answer of a server at an address.
        self._at_answer: dict[str, Callable[[], None]] = {}

    async def at_next_answer(self, url: str, act: Callable[[], None], *, seconds: float) -> None:
        """Act the moment that the server there has answered a run, or after so many seconds: what it said must
        hold by then."""
        acted = asyncio.Event()

        def act_once() -> None:
            act()
            acted.set()

        self._at_answer[url] = act_once
        try:
            async with asyncio.timeout(seconds):
                await acted.wait()
        except TimeoutError:
            if self._at_answer.pop(url, None) is not None:
                act()

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=20)
        headers = {"Authorization": f"Bearer {self._token}"}
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            async with asyncio.TaskGroup() as helpers:
                counting = helpers.create_task(self._keep_counting())
                async with asyncio.TaskGroup() as clients:
                    for _ in range(CLIENTS):
                        clients.create_task(self._client(session))
                counting.cancel()
            await asyncio.gather(*self._watchers)

    async def _keep_counting(self) -> None:
        while True:
            with contextlib.suppress(*DATABASE_AWAY):
                self._open = await asyncio.to_thread(self._count_open)
            await asyncio.sleep(_COUNT_SECONDS)

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not (self.is_over and len(self.ledger.accepted) >= self._executions):
            if self._open >= self._most_open:
                await asyncio.sleep(_COUNT_SECONDS)
                continue
            number = next(self._numbers)
            # Half of the clients can repeat a request that was not answered, half cannot.
            await self._start(session, number, f"request-{number}" if self._may_repeat(number) else None)
            await asyncio.sleep(self._pace())

    def _may_repeat(self, number: int) -> bool:
        _, deed = self._flows[number % len(self._flows)]
        # One that somebody has to do something for must be known to them.
        return deed is not None or number // len(self._flows) % 2 == 1

    def _pace(self) -> float:
        """Spreads the load over all the kills, and hurries once they are done."""
        return 0.005 if self.is_over else self._draw.random() * self._longest_pause

    async def _start(self, session: aiohttp.ClientSession, number: int, key: str | None) -> None:
        flow_id, deed = self._flows[number % len(self._flows)]
        while True:
            url = self.find_url()
            if url is None:
                await asyncio.sleep(0.05)
                continue
            try:
                async with session.post(
                    f"{url}/api/v1/flows/{flow_id}/run",
                    json={"input": {"number": number}},
                    headers={} if key is None else {"Idempotency-Key": key},
                ) as response:
                    if response.status == 201 and url in self._at_answer:
                        self._at_answer.pop(url)()
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
            url = self.find_url()
            if url is None:
                await asyncio.sleep(0.05)
                continue
            after = seen[-1]["seq"] if seen else 0
            address = f"{url.replace('http', 'ws', 1)}/ws/executions/{id}?after={after}"
            bearer = {"Authorization": f"Bearer {self._token}"}
            try:
                async with connect(address, additional_headers=bearer, proxy=None, open_timeout=10) as socket:
                    self.subscribed[id] = f"{url} after {after}"
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
            finally:
                self.subscribed.pop(id, None)
            await asyncio.sleep(0.05)
