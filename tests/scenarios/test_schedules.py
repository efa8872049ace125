"""Schedules and chains in processes that are killed: each due time and each end starts one execution.

`make schedules` kills forty times.
"""

import os
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from support.databases import rows_of
from support.fleet import Fleet
from support.invariants import check_database
from support.postgres import PostgresServer
from support.server import Server
from support.temporal import Temporal
from support.waiting import wait_for

KILLS: Final = int(os.environ.get("SCHEDULE_KILLS", "2"))
TRIGGERS: Final = 3
# The usual program, in which another process continues a job soon.
HASTY: Final = (
    "-c",
    """
from flowrunner.bootstrap import background
background.LEASE_SECONDS, background.RENEWAL_SECONDS = 1.5, 0.3
from flowrunner.cli.main import main
main()
""",
)
SCHEDULES: Final = "\n".join(
    f"  t{n}: {{type: schedule, every: 1s, missed: all, overlap: allow, jitter: {n * 100}ms}}" for n in range(TRIGGERS)
)
FLOW: Final = f"""
metadata: {{name: Ticks}}
nodes: {{tick: {{type: return}}}}
triggers:
{SCHEDULES}
"""
LISTENER: Final = """
metadata: {name: Listener}
nodes: {hear: {type: return}}
triggers: {after: {type: execution, flow: Ticks}}
"""
# Each execution continues where the last one has ended.
CURSOR: Final = """
metadata: {name: Cursor}
nodes:
  read: {type: transform, params: {value: {from: "${flow.input.from}", to: "${flow.input.from + 1}"}}, next: pause}
  pause: {type: delay, params: {duration: 200ms}, next: done}
  done: {type: return, params: {value: "${nodes.read.result}"}}
triggers: {t: {type: schedule, every: 1s, input: {from: "${trigger.last?.result.to ?? 0}"}}}
"""
SECOND: Final = timedelta(seconds=1)


@pytest.fixture(params=["sqlite", "postgres", "temporal"])
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Server]]:
    """The processes of an installation, of which the first answers requests."""
    if request.param == "sqlite":
        server = Server(tmp_path, program=HASTY).start()
        yield [server]
        server.stop()
        return
    postgres: PostgresServer = request.getfixturevalue("lasting_postgres")
    database = postgres.new_database()
    if request.param == "temporal":
        temporal: Temporal = request.getfixturevalue("temporal")
        fleet = Fleet(tmp_path, database, temporal.url(database.rpartition("/")[2]))
    else:
        fleet = Fleet(tmp_path, database, None)
    try:
        fleet.add(program=HASTY).start()
        if request.param == "temporal":
            # Each of them starts what is due.
            fleet.add("worker", program=HASTY).start()
        yield fleet.all
    finally:
        fleet.end()


@pytest.mark.timeout(600 + 45 * KILLS)
def test_each_due_time_is_started_once_although_processes_are_killed(processes: list[Server]) -> None:
    server, rng = processes[0], random.Random(KILLS)
    client = server.admin()
    listener = client.new_flow(LISTENER, name="Listener")
    flow = client.new_flow(FLOW, name="Ticks")

    def starts() -> list[tuple[str, datetime, datetime]]:
        """Return the trigger, the due time and the start of each execution."""
        rows = rows_of(
            server.place, f"SELECT trigger_id, idempotency_key, started_at FROM executions WHERE flow_id = '{flow}'"
        )
        return [
            (id, datetime.fromisoformat(key.partition(" ")[2]), datetime.fromtimestamp(started_at / 1000, UTC))
            for id, key, started_at in rows
        ]

    def has_started(count: int) -> bool:
        return len(starts()) >= count

    for kill in range(1, KILLS + 1):
        count = len(starts())
        wait_for(lambda wanted=count + TRIGGERS: has_started(wanted), seconds=60.0)  # type: ignore[misc] # a default
        time.sleep(rng.random())
        victim = processes[kill % len(processes)]
        victim.kill()
        time.sleep(rng.random())
        victim.start()
    count = len(starts())
    wait_for(lambda: has_started(count + 2 * TRIGGERS), seconds=60.0)
    assert server.admin().put(f"/api/v1/flows/{flow}", {"disabled": True}).status == 200

    found = starts()
    assert [(id, due) for id, due, at in found if at < due] == [], "early"
    for trigger in {id for id, _, _ in found}:
        due = sorted(due for id, due, _ in found if id == trigger)
        assert [later - earlier for earlier, later in pairwise(due)] == [SECOND] * (len(due) - 1), "double or missed"
    assert len({id for id, _, _ in found}) == TRIGGERS
    count_ends = f"SELECT count(*) FROM executions WHERE flow_id = '{flow}' AND completed_at IS NOT NULL"
    count_heard = f"SELECT count(*), count(DISTINCT idempotency_key) FROM executions WHERE flow_id = '{listener}'"

    def is_heard() -> bool:
        (ended,) = rows_of(server.place, count_ends)[0]
        return bool(ended == len(found)) and rows_of(server.place, count_heard) == [(ended, ended)]

    # Workers of Temporal that were killed have left a backlog.
    wait_for(is_heard, seconds=240.0 + 15.0 * KILLS)
    for process in processes:
        process.stop()
    assert check_database(server.place, all_ended=False) == []


@pytest.mark.timeout(600 + 45 * KILLS)
def test_each_execution_begins_where_the_last_one_has_ended_although_processes_are_killed(
    processes: list[Server],
) -> None:
    server, rng = processes[0], random.Random(KILLS)
    flow = server.admin().new_flow(CURSOR, name="Cursor")
    count_completed = f"SELECT count(*) FROM executions WHERE flow_id = '{flow}' AND status = 'completed'"

    def completed() -> int:
        return int(rows_of(server.place, count_completed)[0][0])

    def wait_for_more() -> None:
        before = completed()
        wait_for(lambda: completed() >= before + 2, seconds=60.0)

    for kill in range(1, KILLS + 1):
        wait_for_more()
        time.sleep(rng.random())
        victim = processes[kill % len(processes)]
        victim.kill()
        time.sleep(rng.random())
        victim.start()
    wait_for_more()
    client = server.admin()
    assert client.put(f"/api/v1/flows/{flow}", {"disabled": True}).status == 200

    def has_ended() -> bool:
        return not rows_of(server.place, f"SELECT 1 FROM executions WHERE flow_id = '{flow}' AND completed_at IS NULL")

    wait_for(has_ended, seconds=60.0)
    ids = [id for (id,) in rows_of(server.place, f"SELECT id FROM executions WHERE flow_id = '{flow}' ORDER BY id")]
    results = [client.get(f"/api/v1/executions/{id}").json["result"] for id in ids]
    assert results == [{"from": number, "to": number + 1} for number in range(len(ids))], "repeated or left out"
