"""A process is stopped, others take over what it had, and nothing that it writes when it goes on is accepted."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import Append, Fenced
from flowrunner.storage.journal import SqlJournal
from support.databases import (
    add_flows,
    completion,
    contents_of,
    creation,
    following,
    log_line,
    new_postgres_database,
    open_database,
)
from support.postgres import PostgresServer

EXECUTIONS: Final = 50
PATIENCE_SECONDS: Final = 60.0


async def outcomes(writes: Sequence[Awaitable[None]]) -> dict[str, int]:
    """How many were accepted, and how many refused."""
    results = await asyncio.gather(*writes, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Fenced):
            raise result
    accepted = sum(result is None for result in results)
    return {"accepted": accepted, "refused": len(results) - accepted}


async def write_late(url: str, *, is_shared: bool) -> None:
    """What the process does that is stopped: it begins executions, waits to be told, and ends them."""
    database = open_database(url)
    journal = SqlJournal(database)
    epoch = await journal.epoch() if is_shared else await journal.claim()
    ids = [ExecutionId(f"execution-{n}") for n in range(EXECUTIONS)]
    for id in ids:
        await journal.append(creation(id, epoch=epoch))
    marks = [await journal.acquire(id, epoch) if is_shared else epoch for id in ids]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    late: list[Append] = [completion(id, epoch=mark) for id, mark in zip(ids, marks, strict=True)]
    if not is_shared:
        # Where processes share what there is, all of them may begin executions.
        late += [creation(f"late-{n}", epoch=epoch) for n in range(EXECUTIONS)]
    print(json.dumps(await outcomes([journal.append(append) for append in late])), flush=True)
    await database.close()


@pytest.mark.parametrize(
    ("is_shared", "late"),
    [
        pytest.param(False, 2 * EXECUTIONS, id="of a server that was replaced"),
        pytest.param(True, EXECUTIONS, id="of a worker whose executions others have"),
    ],
)
async def test_no_write_of_a_process_that_was_stopped_is_accepted(
    postgres: PostgresServer, is_shared: bool, late: int
) -> None:
    url = new_postgres_database(postgres)
    add_flows(url)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scenarios.test_late_writes", url, "shared" if is_shared else "alone"),
        cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.stdout.readline() == b"ready\n"
            os.kill(process.pid, signal.SIGSTOP)
            await take_over(url, is_shared=is_shared)
            before = contents_of(url)
            process.stdin.write(b"go on\n")
            os.kill(process.pid, signal.SIGCONT)
            told: dict[str, Any] = json.loads(await process.stdout.readline())
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert told == {"accepted": 0, "refused": late}
    assert contents_of(url) == before


async def take_over(url: str, *, is_shared: bool) -> None:
    """Every execution, and go on with every other one: the rest stands where the other process knows it."""
    database = open_database(url)
    journal = SqlJournal(database)
    epoch = await journal.epoch() if is_shared else await journal.claim()
    for n in range(EXECUTIONS):
        id = ExecutionId(f"execution-{n}")
        mark = await journal.acquire(id, epoch) if is_shared else epoch
        if n % 2:
            await journal.append(following(id, log_line(), epoch=mark, after=2))
    await database.close()


if __name__ == "__main__":
    asyncio.run(write_late(sys.argv[1], is_shared=sys.argv[2] == "shared"))
