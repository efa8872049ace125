"""Jobs that one of all servers and workers runs, while these are killed and stopped."""

from pathlib import Path
from typing import Final

from support.fleet import Fleet, is_standby
from support.postgres import query
from support.server import Server
from support.waiting import wait_for

# The usual program, with a job that never ends by itself. Each run writes the id of its process.
PLANTED: Final = """
import asyncio, os
import flowrunner.serving as serving
from flowrunner.bootstrap import background
background.LEASE_SECONDS, background.RENEWAL_SECONDS = 3.0, 0.5
usual = serving.active_jobs

async def run():
    with open({path!r}, "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    await asyncio.sleep(3600)

def active_jobs(settings, program):
    planted = background.Background(name="planted", every=0.2, run=run, where="one", first_after=0.0)
    return (*usual(settings, program), planted)

serving.active_jobs = active_jobs
from flowrunner.cli.main import main
main()
"""


def planted(path: Path) -> tuple[str, str]:
    return "-c", PLANTED.format(path=str(path))


def runs(path: Path) -> list[int]:
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def holder(path: Path, fleet: Fleet, *, run: int) -> Server:
    """Wait for a run, and return its process."""
    wait_for(lambda: len(runs(path)) >= run)
    assert len(runs(path)) == run
    return next(process for process in fleet.all if process.pid == runs(path)[-1])


def test_a_job_moves_to_another_process_when_its_own_is_killed_or_stopped(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    for command in ("serve", "serve", "worker"):
        fleet.add(command, program=planted(path)).start()
    first = holder(path, fleet, run=1)

    first.kill()
    second = holder(path, fleet, run=2)
    second.terminate()
    assert second.wait() == 0
    third = holder(path, fleet, run=3)

    assert len({first, second, third}) == 3
    wait_for(lambda: sweeps(fleet) == [(0, None)])


def sweeps(fleet: Fleet) -> list[tuple[int, str | None]]:
    statement = "SELECT failures, last_error FROM background_jobs WHERE name = 'temporal.sweep' AND last_run_at > 0"
    return [tuple(row) for row in query(fleet.database, statement)]


def test_a_standby_runs_the_job_once_it_is_active(fleet: Fleet, tmp_path: Path) -> None:
    fleet.set(DISPATCH="local")
    path = tmp_path / "runs"
    active = fleet.add(program=planted(path)).start()
    standby = fleet.add(program=planted(path)).spawn()
    wait_for(lambda: is_standby(standby))
    assert holder(path, fleet, run=1) is active

    active.kill()

    assert holder(path, fleet, run=2) is standby
