"""The server is killed at random moments under load, and keeps its promises. So is PostgreSQL, where that is used.

Three ledgers are kept outside the server: what clients were answered, what a receiver got (on disk
before it answered), and what subscribers saw. Together with the database they must tell one story.
"""

import asyncio
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from scenarios.load import Ledger, Load, kill_again_and_again, wait_for_ends
from support.databases import Place, rows_of
from support.invariants import check_accepted, check_database, check_effects
from support.postgres import PostgresServer
from support.receiver import Receiver
from support.server import Server

# A campaign kills more often than a test run has time for.
KILLS: Final = int(os.environ.get("CAMPAIGN_KILLS", "20"))
SEED: Final = int(os.environ.get("CAMPAIGN_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
EXECUTIONS: Final = max(200, 10 * KILLS)

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
class Places:
    """What runs, each as a process of its own."""

    server: Server
    receiver: Receiver
    postgres: PostgresServer | None = None


@pytest.fixture(params=["sqlite", "postgres"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    # With all that it takes to lose nothing.
    postgres = PostgresServer() if request.param == "postgres" else None
    server, receiver = Server(tmp_path), Receiver(tmp_path)
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
    server, receiver, postgres = places.server, places.receiver, places.postgres
    print(f"\nCAMPAIGN_SEED={SEED} CAMPAIGN_KILLS={KILLS}")
    draw = random.Random(SEED)
    admin = await asyncio.to_thread(lambda: server.start().admin())
    flow_id = admin.new_flow(FLOW.format(receiver=receiver.url))
    assert admin.token is not None
    load = Load(
        server, admin.token, [(flow_id, None)], draw,
        executions=EXECUTIONS, database_may_fail=postgres is not None,
    )  # fmt: skip
    running = asyncio.create_task(load.run())

    with_work = await kill_again_and_again(server, load, draw, kills=KILLS, postgres=postgres)
    load.is_over = True
    await asyncio.wait_for(running, 60 + 2 * KILLS)
    stuck = await asyncio.to_thread(wait_for_ends, server, admin.token)
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
