"""The server is killed at random moments under load, and keeps its promises. So is PostgreSQL, where that is used.

Three ledgers are kept outside the server: what clients were answered, what a receiver got (on disk
before it answered), and what subscribers saw. Together with the database they must tell one story.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

from support.databases import Place, rows_of
from support.invariants import check_accepted, check_database, check_effects
from support.postgres import PostgresServer
from support.receiver import Receiver
from support.server import Server

# A campaign kills more often than a test run has time for.
KILLS: Final = int(os.environ.get("CAMPAIGN_KILLS", "20"))
SEED: Final = int(os.environ.get("CAMPAIGN_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
EXECUTIONS: Final = max(200, 10 * KILLS)
CLIENTS: Final = 6
OBSERVED: Final = 15  # of a hundred executions
ENDING_SECONDS: Final = 60.0
_GONE: Final = (aiohttp.ClientError, OSError, TimeoutError)

FLOW: Final = """
metadata: {{name: Three nodes, version: "1.0"}}
nodes:
  fetch:
    type: http.request
    params: {{url: "{receiver}/wait/fetch?most=0.08"}}
    next: shape
  shape:
    type: transform
    params: {{value: {{number: "${{flow.input.number}}", key: "${{input.body.key}}"}}}}
    next: notify
  notify:
    type: webhook
    params: {{url: "{receiver}/wait/notify?most=0.08"}}
"""


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
    """Clients that start executions all the time, and subscribers that come back after each crash."""

    def __init__(
        self, server: Server, token: str, flow_id: str, draw: random.Random, *, database_may_fail: bool
    ) -> None:
        self._server = server
        self._database_may_fail = database_may_fail
        self._token = token
        self._flow_id = flow_id
        self._draw = draw
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
        while not (self.is_over and len(self.ledger.accepted) >= EXECUTIONS):
            number = next(self._numbers)
            # Half of the clients can repeat a request that was not answered, half cannot.
            await self._start(session, number, f"request-{number}" if number % 2 else None)
            await asyncio.sleep(self._pace())

    def _pace(self) -> float:
        """Spreads the load over all the kills, and hurries once they are done."""
        return 0.005 if self.is_over else self._draw.random() * 0.6

    async def _start(self, session: aiohttp.ClientSession, number: int, key: str | None) -> None:
        while True:
            url = self._server.find_url()
            if url is None:
                await asyncio.sleep(0.05)
                continue
            try:
                async with session.post(
                    f"{url}/api/v1/flows/{self._flow_id}/run",
                    json={"input": {"number": number}},
                    headers={} if key is None else {"Idempotency-Key": key},
                ) as response:
                    if self._kill_at_answer is not None and response.status == 201:
                        self._server.kill()
                        self._kill_at_answer.set()
                        self._kill_at_answer = None
                    answer = await response.json()
            except aiohttp.ClientConnectorError:
                # Nothing was sent, so this may be said again by anybody.
                await asyncio.sleep(0.05)
                continue
            except _GONE:
                self.ledger.unanswered.add(number)
                if key is None:
                    return
                await asyncio.sleep(0.05)
                continue
            if response.status == 503 and self._database_may_fail:
                # Nobody can tell any more whether a commit was done whose end was not heard of.
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
            return

    async def _watch(self, id: str) -> None:
        """Read an execution's events until the last, going on where the last connection broke."""
        seen = self.ledger.seen[id]
        while True:
            url = self._server.find_url()
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


@dataclass(slots=True)
class Places:
    """What runs, each as a process of its own."""

    server: Server
    receiver: Receiver
    postgres: PostgresServer | None = None


@pytest.fixture(params=["sqlite", "postgres"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    # With all that it takes to lose nothing.
    postgres = PostgresServer() if request.param == "postgres" else None
    receiver = Receiver(tmp_path)
    server = Server(tmp_path)
    try:
        if postgres is not None:
            server = Server(tmp_path, {"DATABASE_URL": postgres.start().new_database()})
        yield Places(server, receiver.start(), postgres)
    finally:
        server.stop()
        receiver.stop()
        if postgres is not None:
            postgres.stop()


@pytest.mark.timeout(120 + 6 * KILLS)
async def test_whatever_was_accepted_survives_kills_at_random_moments(places: Places) -> None:
    server, receiver = places.server, places.receiver
    print(f"\nCAMPAIGN_SEED={SEED} CAMPAIGN_KILLS={KILLS}")
    draw = random.Random(SEED)
    admin = await asyncio.to_thread(lambda: server.start().admin())
    flow_id = admin.new_flow(FLOW.format(receiver=receiver.url))
    assert admin.token is not None
    load = Load(server, admin.token, flow_id, draw, database_may_fail=places.postgres is not None)
    running = asyncio.create_task(load.run())

    with_work = await _kill_again_and_again(places, load, draw)
    load.is_over = True
    await asyncio.wait_for(running, 60 + 2 * KILLS)
    stuck = await asyncio.to_thread(_wait_for_ends, server, admin.token)
    told = await asyncio.to_thread(_what_the_server_tells, server, admin.token, load.ledger)
    await asyncio.to_thread(server.stop)

    ledger = load.ledger
    effects = receiver.effects()
    keys = [effect.key for effect in effects]
    repeated = sum(count - 1 for count in Counter(keys).values())
    print(
        f"{KILLS} kills, {with_work} of them with executions under way; {len(ledger.accepted)} accepted, "
        f"{len(ledger.unanswered)} sent without an answer, {len(effects)} effects, {repeated} of them repeats"
    )
    assert stuck == []
    assert check_accepted(server.place, ledger.accepted.values()) == []
    assert ledger.refused == []
    assert with_work >= KILLS // 3, "the kills hit an idle server: this run shows nothing"
    assert check_database(server.place) == []
    assert None not in keys, "an effect without a key"
    assert check_effects(server.place, [key for key in keys if key is not None]) == []
    assert _violations(server.place, ledger, Counter(keys)) == []
    assert _other_stories(server.place, told, ledger) == []


async def _kill_again_and_again(places: Places, load: Load, draw: random.Random) -> int:
    """Gives how many of the kills hit executions under way."""
    hits, server = 0, places.server
    for kill in range(KILLS):
        if places.postgres is not None and kill % 2:
            hits += await _kill_postgres(places.postgres, server, draw, during_recovery=kill % 4 == 3)
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


def _wait_for_ends(server: Server, token: str) -> list[Any]:
    """Executions that have not ended although nothing disturbs them any more."""
    client = server.client(token)
    deadline = time.monotonic() + ENDING_SECONDS
    while True:
        still: list[Any] = client.get("/api/v1/executions", status="running,waiting", limit=100).json["executions"]
        if not still or time.monotonic() > deadline:
            return still
        time.sleep(0.05)


@dataclass(slots=True)
class Told:
    """What the server says of itself once all is over."""

    executions: dict[str, Any]
    logs: dict[str, list[Any]]
    messages: dict[str, list[Any]]


def _what_the_server_tells(server: Server, token: str, ledger: Ledger) -> Told:
    client = server.client(token)
    listed: dict[str, Any] = {}
    while True:
        page = client.get("/api/v1/executions", limit=1000, offset=len(listed)).json
        listed |= {execution["id"]: execution for execution in page["executions"]}
        if not page["executions"]:
            assert len(listed) == page["total"]
            break
    some = sorted(listed)[:: max(1, len(listed) // 60)]
    return Told(
        executions=listed,
        logs={id: client.logs(id) for id in some},
        messages={id: client.messages(id) for id in some},
    )


def _violations(place: Place, ledger: Ledger, effects: Counter[str | None]) -> list[str]:
    """What is wrong between the database, the clients' ledger and the receiver's."""
    found: list[str] = []
    numbers: dict[int, list[str]] = defaultdict(list)
    for (id, status), started in (
        ((id, status), json.loads(data))
        for id, status, data in rows_of(
            place,
            "SELECT e.id, e.status, v.data FROM executions e JOIN events v ON v.execution_id = e.id AND v.seq = 1",
        )
    ):
        numbers[started["input"]["number"]].append(id)
        if status != "completed":
            found.append(f"{id} is {status}")
    for number, ids in numbers.items():
        if len(ids) > 1:
            found.append(f"request {number} made {ids}")
        if number in ledger.accepted and ledger.accepted[number] not in ids:
            found.append(f"request {number} was answered {ledger.accepted[number]} and made {ids}")
        if number not in ledger.accepted and number not in ledger.unanswered:
            found.append(f"{ids} of request {number}: nobody asked for it")
    tries: Counter[str] = Counter()
    interrupted: Counter[str] = Counter()
    completed: set[str] = set()
    for id, type, data in rows_of(
        place, "SELECT execution_id, type, data FROM events WHERE type IN ('node.started', 'node.completed')"
    ):
        event = json.loads(data)
        key = f"{id}.{event['node']}.{event['iteration']}"
        if type == "node.completed":
            completed.add(key)
        else:
            tries[key] += 1
            interrupted[key] += event["interrupted"]
    for key in tries:
        if key not in completed:
            found.append(f"{key} was begun and has no result")
        if tries[key] > 1 + interrupted[key]:
            found.append(f"{key}: {tries[key]} tries, of which {interrupted[key]} were interrupted")
    for key in completed:
        sends = key.split(".")[1] in ("fetch", "notify")
        if sends and not 1 <= effects[key] <= 1 + interrupted[key]:
            found.append(f"{key}: {effects[key]} effects, {interrupted[key]} interrupted tries")
    return found


def _other_stories(place: Place, told: Told, ledger: Ledger) -> list[str]:
    """Where REST, WebSockets and subscribers during the crashes differ from the database."""
    found: list[str] = []
    stored = dict(rows_of(place, "SELECT id, status FROM executions"))
    if {id: execution["status"] for id, execution in told.executions.items()} != stored:
        found.append("the list of executions is not what is stored")
    events: dict[str, list[tuple[int, str, Any]]] = defaultdict(list)
    for id, seq, type, data in rows_of(
        place, "SELECT execution_id, seq, type, data FROM events ORDER BY execution_id, seq"
    ):
        events[id].append((seq, type, json.loads(data)))
    for id, messages in [*told.messages.items(), *ledger.seen.items()]:
        if [message["seq"] for message in messages] != [seq for seq, _, _ in events[id]]:
            found.append(f"{id}: subscribers saw {[message['seq'] for message in messages]}")
        for message, (seq, type, event) in zip(messages, events[id], strict=False):
            if not _is_told_by(message, type, event):
                found.append(f"{id}: event {seq}, {type}, was told as {message}")
    for id, lines in told.logs.items():
        written = [event["message"] for _, type, event in events[id] if type == "log"]
        if [line["message"] for line in lines] != written:
            found.append(f"{id}: the log says {lines}")
    if not ledger.seen:
        found.append("nobody watched")
    # Those that subscribed while it ran and those that read it later saw the same, byte for byte.
    for id, messages in ledger.seen.items():
        if id in told.messages and told.messages[id] != messages:
            found.append(f"{id}: live and replayed messages differ")
    return found


def _is_told_by(message: dict[str, Any], type: str, event: Any) -> bool:
    match type:
        case "execution.started" | "node.started":
            return message["type"] == "execution_update" and message["node_id"] == event["node"]
        case "node.completed":
            return message["type"] == "node_completed" and message["result"] == event["result"]
        case "log":
            return message["type"] == "log" and message["message"] == event["message"]
        case "execution.completed":
            return message["type"] == "execution_completed" and message["result"] == event["result"]
        case _:
            return False
