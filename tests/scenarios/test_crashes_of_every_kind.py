"""As `test_crashes`, with everything that the flow language has under way when the server is killed."""

import asyncio
import json
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from scenarios.load import GONE, Deed, Load, kill_again_and_again, wait_for_ends
from support.client import FINAL
from support.invariants import check_accepted, check_database, check_effects
from support.receiver import Receiver
from support.server import Server

KILLS: Final = int(os.environ.get("CAMPAIGN_KILLS", "12"))
SEED: Final = int(os.environ.get("CAMPAIGN_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
EXECUTIONS: Final = max(160, 10 * KILLS)

CHILD: Final = """
nodes:
  push: {type: webhook, params: {url: "RECEIVER/wait/child?most=0.05"}, next: rest}
  rest: {type: delay, params: {duration: 1100ms}, next: done}
  done: {type: return, params: {value: "${flow.input.number}"}}
"""


@dataclass(frozen=True)
class Kind:
    """A flow, what it gives for the number in its input, and what somebody has to do for it."""

    definition: str
    expected: Callable[[int], Any]
    deed: Deed | None = None


async def agree(load: Load, session: aiohttp.ClientSession, id: str) -> None:
    """Send the signal and answer the approval that an execution waits for, until it has ended."""
    is_signalled = False
    while True:
        await asyncio.sleep(0.15)
        base = load.server.find_url()
        if base is None:
            continue
        url = f"{base}/api/v1/executions/{id}"
        try:
            async with session.get(url) as response:
                execution = await response.json()
            if response.status != 200 or execution["status"] in FINAL:
                return
            if not is_signalled:
                async with session.post(f"{url}/signals/go", json={"payload": 7}) as response:
                    is_signalled = response.status < 300
            if any(waiting["type"] == "approval" for waiting in execution.get("waiting_for") or ()):
                async with session.post(f"{url}/approvals/ask", json={"approved": True}):
                    pass
        except GONE:
            continue


KINDS: Final = {
    "three nodes": Kind(
        """
        nodes:
          fetch: {type: http.request, params: {url: "RECEIVER/wait/fetch?most=0.05"}, next: shape}
          shape: {type: transform, params: {value: "${flow.input.number}"}, next: notify}
          notify: {type: webhook, params: {url: "RECEIVER/wait/notify?most=0.05"}, output: "${nodes.shape.result}"}
        """,
        lambda number: number,
    ),
    "a loop": Kind(
        """
        nodes:
          each:
            type: foreach
            params: {items: [1, 2, 3, 4, 5], concurrency: 3}
            nodes:
              push: {type: webhook, params: {url: "RECEIVER/wait/push?most=0.05"}, output: "${item}", next: add}
              add: {type: transform, params: {value: "${item + flow.input.number}"}}
        """,
        lambda number: [number + n for n in range(1, 6)],
    ),
    "branches": Kind(
        """
        nodes:
          race:
            type: parallel
            params: {join: any}
            branches:
              near: {nodes: {push: {type: webhook, params: {url: "RECEIVER/wait/near?most=0.05"}, output: near}}}
              far: {nodes: {push: {type: webhook, params: {url: "RECEIVER/slow?seconds=60"}, timeout: 5m}}}
              child: {nodes: {call: {type: flow, params: {flow: endless, input: {}}}}}
            next: both
          both:
            type: parallel
            branches:
              a: {nodes: {push: {type: webhook, params: {url: "RECEIVER/wait/a?most=0.05"}, output: a}}}
              b: {nodes: {push: {type: webhook, params: {url: "RECEIVER/wait/b?most=0.05"}, output: b}}}
        """,
        lambda number: {"a": "a", "b": "b"},
    ),
    "another flow": Kind(
        """
        nodes:
          call: {type: flow, params: {flow: child, input: {number: "${flow.input.number}"}}, next: send}
          send: {type: flow, params: {flow: child, input: {number: 0}, wait: false}, next: done}
          done: {type: return, params: {value: "${nodes.call.result}"}}
        """,
        lambda number: number,
    ),
    "another flow for each element": Kind(
        """
        nodes:
          each:
            type: foreach
            params: {items: [1, 2, 3], concurrency: 2}
            nodes: {call: {type: flow, params: {flow: child, input: {number: "${item}"}}}}
          """,
        lambda number: [1, 2, 3],
    ),
    "a signal and an approval": Kind(
        """
        nodes:
          both:
            type: parallel
            branches:
              paid: {nodes: {wait: {type: wait, params: {key: go}}}}
              agreed: {nodes: {ask: {type: approval, next: {approved: push}},
                               push: {type: webhook, params: {url: "RECEIVER/wait/agreed?most=0.05"}, output: "yes"}}}
        """,
        lambda number: {"paid": 7, "agreed": "yes"},
        agree,
    ),
    "turns": Kind(
        """
        limits: {concurrency: {max: 2}}
        nodes:
          push: {type: webhook, params: {url: "RECEIVER/wait/turn?most=0.03"}, output: "${flow.input.number}"}
        """,
        lambda number: number,
    ),
    "a wait and a handler of the end": Kind(
        """
        on_finish: tidy
        nodes:
          rest: {type: delay, params: {duration: 1200ms}, next: done}
          done: {type: return, params: {value: "${flow.input.number}"}}
          tidy: {type: webhook, params: {url: "RECEIVER/wait/tidy?most=0.05"}}
        """,
        lambda number: number,
    ),
}
ENDLESS: Final = "nodes: {hold: {type: wait, params: {key: never}}}"


@pytest.fixture
def places(tmp_path: Path) -> Iterator[tuple[Server, Receiver]]:
    server, receiver = Server(tmp_path), Receiver(tmp_path)
    try:
        yield server, receiver.start()
    finally:
        server.stop()
        receiver.stop()


@pytest.mark.timeout(180 + 8 * KILLS)
async def test_whatever_is_under_way_survives_kills_at_random_moments(places: tuple[Server, Receiver]) -> None:
    server, receiver = places
    print(f"\nCAMPAIGN_SEED={SEED} CAMPAIGN_KILLS={KILLS}")
    draw = random.Random(SEED)
    admin = await asyncio.to_thread(lambda: server.start().admin())
    for name, definition in (("child", CHILD), ("endless", ENDLESS)):
        admin.new_flow(definition.replace("RECEIVER", receiver.url), name=name)
    flows = [
        (admin.new_flow(kind.definition.replace("RECEIVER", receiver.url), name=name), kind.deed)
        for name, kind in KINDS.items()
    ]
    assert admin.token is not None
    load = Load(server, admin.token, flows, draw, executions=EXECUTIONS)
    running = asyncio.create_task(load.run())

    with_work = await kill_again_and_again(server, load, draw, kills=KILLS)
    load.is_over = True
    await asyncio.wait_for(running, 90 + 2 * KILLS)
    stuck = await asyncio.to_thread(wait_for_ends, server, admin.token)
    await asyncio.to_thread(server.stop)

    ledger = load.ledger
    keys = [effect.key for effect in receiver.effects()]
    repeats = sum(count - 1 for count in Counter(keys).values())
    print(
        f"{KILLS} kills, {with_work} of them with executions under way; {len(ledger.accepted)} accepted, "
        f"{len(ledger.unanswered)} sent without an answer, {len(keys)} effects, {repeats} of them repeats"
    )
    assert stuck == []
    assert ledger.refused == []
    assert with_work >= KILLS // 3, "the kills hit an idle server: this run shows nothing"
    assert check_accepted(server.database, ledger.accepted.values()) == []
    assert check_database(server.database) == []
    assert check_effects(server.database, [key for key in keys if key is not None]) == []
    assert None not in keys, "an effect without a key"
    assert _wrong_ends(server.database, ledger.accepted) == []
    assert _children(server.database) == [], "children of flows that nobody started, or more than one of a step"


def _wrong_ends(database: Path, accepted: dict[int, str]) -> list[str]:
    """Executions that clients know of and that did not give what they have to."""
    with closing(sqlite3.connect(database)) as connection:
        ends = {
            id: (type, json.loads(data).get("result"))
            for id, type, data in connection.execute(
                "SELECT id, type, data FROM executions JOIN events ON execution_id = id AND seq = last_seq"
            )
        }
    kinds = list(KINDS.values())
    return [
        f"{id} of {number}: {ends[id]}"
        for number, id in accepted.items()
        if ends[id] != ("execution.completed", kinds[number % len(kinds)].expected(number))
    ]


def _children(database: Path) -> list[tuple[Any, ...]]:
    """Steps of flows that have started another number of executions than one."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(
            """
            SELECT parent.execution_id, parent.data ->> '$.node', count(DISTINCT child.execution_id)
              FROM events parent
              LEFT JOIN events child
                ON child.seq = 1 AND child.data ->> '$.parent.execution_id' = parent.execution_id
               AND child.data ->> '$.parent.step'
                   = iif(parent.data ->> '$.scope' = '', '', parent.data ->> '$.scope' || '/')
                     || (parent.data ->> '$.node') || '.' || (parent.data ->> '$.iteration')
             WHERE parent.type = 'node.completed' AND parent.data ->> '$.node_type' = 'flow'
             GROUP BY 1, parent.seq HAVING count(DISTINCT child.execution_id) <> 1
            """
        ).fetchall()
