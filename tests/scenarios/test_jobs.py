"""A job that re-runs many executions in processes that are killed: each of them is repeated once.

`make jobs` runs it with five thousand executions.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from support.client import Client
from support.databases import rows_of
from support.fleet import Fleet
from support.invariants import check_database
from support.postgres import PostgresServer
from support.server import Server
from support.temporal import Temporal
from support.waiting import wait_for

EXECUTIONS: Final = int(os.environ.get("JOB_EXECUTIONS", "60"))
KILLS: Final = 3
PATIENCE_SECONDS: Final = 240.0
# The usual program, in which another process continues a job soon, and a job takes long enough to be interrupted, with
# progress recorded often.
HASTY: Final = (
    "-c",
    f"""
import asyncio
from flowrunner.bootstrap import background
from flowrunner.services import jobs
background.LEASE_SECONDS, background.RENEWAL_SECONDS = 1.5, 0.3
jobs._ITEMS_AT_ONCE = {max(10, EXECUTIONS // 100)}
do = jobs._Page.do
async def do_later(page, items):
    await asyncio.sleep(0.5)
    return await do(page, items)
jobs._Page.do = do_later
from flowrunner.cli.main import main
main()
""",
)
BROKEN: Final = """
metadata: {name: Orders, version: "1"}
nodes: {check: {type: fail, params: {error: shop.closed, message: "No order ${input.n}"}}}
"""
REPAIRED: Final = """
metadata: {name: Orders, version: "2"}
nodes: {check: {type: return, params: {value: "${input.n}"}}}
"""


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
    dispatch = None
    if request.param == "temporal":
        temporal: Temporal = request.getfixturevalue("temporal")
        dispatch = temporal.url(database.rpartition("/")[2])
    fleet = Fleet(tmp_path, database, dispatch)
    try:
        fleet.add(program=HASTY).start()
        if dispatch is not None:
            fleet.add("worker", program=HASTY).start()
        yield fleet.all
    finally:
        fleet.end()


def progress(client: Client, path: str) -> Any:
    return client.get(path).json


@pytest.mark.timeout(1200)
def test_each_failed_execution_is_repeated_once_although_processes_are_killed(processes: list[Server]) -> None:
    server = processes[0]
    client = server.admin()
    flow = client.new_flow(BROKEN)
    failed = [client.run(flow, {"n": n}) for n in range(EXECUTIONS)]
    for id in failed:
        client.ended(id, PATIENCE_SECONDS)
    assert client.put(f"/api/v1/flows/{flow}", {"definition": REPAIRED}).status == 200

    asked = client.post("/api/v1/executions:batch", {"action": "rerun", "filter": {"flow_id": flow}})
    assert asked.status == 202, asked
    path = asked.headers["location"]
    seen = []
    for kill in range(1, KILLS + 1):
        wanted = EXECUTIONS * kill // (2 * KILLS)
        wait_for(lambda: progress(client, path)["done"] >= wanted, PATIENCE_SECONDS)  # noqa: B023 # it is called at once
        seen.append(progress(client, path)["done"])
        for process in processes:
            process.kill()
        for process in processes:
            process.spawn()
        for process in processes:
            process.wait_until_ready()
        client = server.admin()
    wait_for(lambda: progress(client, path)["status"] == "completed", PATIENCE_SECONDS)

    job = progress(client, path)
    assert (job["total"], job["done"], job["failed"], job["errors"]) == (EXECUTIONS, EXECUTIONS, 0, [])
    assert max(seen) < EXECUTIONS, "each kill was in the middle of the job"
    repeats = dict(rows_of(server.place, "SELECT rerun_of, count(*) FROM executions GROUP BY rerun_of"))
    assert repeats == dict.fromkeys(failed, 1) | {None: EXECUTIONS}
    for id, _ in rows_of(server.place, "SELECT id, rerun_of FROM executions WHERE rerun_of IS NOT NULL"):
        client.ended(id, PATIENCE_SECONDS)
    for process in processes:
        process.stop()
    completed = rows_of(server.place, "SELECT status, count(*) FROM executions WHERE rerun_of IS NOT NULL GROUP BY 1")
    assert completed == [("completed", EXECUTIONS)]
    assert check_database(server.place) == []
