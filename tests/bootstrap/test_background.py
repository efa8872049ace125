"""Background jobs of one process: when they run, what an error does, and how they end."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from flowrunner.bootstrap import background
from flowrunner.bootstrap.background import Background, running
from flowrunner.clock import SystemClock
from flowrunner.domain.errors import Unavailable
from flowrunner.storage.background import SqlJobClaims
from flowrunner.storage.database import Database
from support.databases import Place, change, open_database, rows_of
from support.waiting import PATIENCE_SECONDS

ROW = "SELECT claimed_until, fencing_token, failures, last_error FROM background_jobs WHERE name = 'job'"


class Work:
    """A job that counts its runs.

    Attributes:
        errors: Raised by the next runs, one by one.
        is_open: Each run waits until this is set.
    """

    def __init__(self, *errors: BaseException) -> None:
        self.runs = self.cancelled = 0
        self.errors = list(errors)
        self.is_open = asyncio.Event()
        self.is_open.set()
        self._began = asyncio.Condition()

    async def run(self) -> None:
        async with self._began:
            self.runs += 1
            self._began.notify_all()
        try:
            await self.is_open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.errors:
            raise self.errors.pop(0)

    async def ran(self, times: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self._began:
            await self._began.wait_for(lambda: self.runs >= times)


def job(work: Work, **settings: Any) -> Background:
    return Background(**{"name": "job", "every": 0.01, "run": work.run, **settings})


@asynccontextmanager
async def running_one(work: Work, database: Database, **settings: Any) -> AsyncIterator[None]:
    claims = SqlJobClaims(database)
    async with running([job(work, where="one", **settings)], clock=SystemClock(), claims=claims):
        yield


async def test_a_job_runs_again_and_again() -> None:
    work = Work()

    async with running([job(work)], clock=SystemClock()):
        await work.ran(5)


async def test_a_job_waits_before_its_first_run() -> None:
    soon, late = Work(), Work()

    async with running([job(soon, every=60.0, first_after=0.0), job(late, first_after=60.0)], clock=SystemClock()):
        await soon.ran(1)
        await asyncio.sleep(0.05)

    assert (soon.runs, late.runs) == (1, 0)


async def test_a_failed_run_is_logged_with_its_name_counted_and_repeated() -> None:
    work, failures = Work(OSError("planted"), Unavailable("away")), Counter[str]()

    with capture_logs() as logs:
        async with running([job(work)], clock=SystemClock(), on_failure=lambda name: failures.update([name])):
            await work.ran(3)

    failed = [entry for entry in logs if entry["event"] == "background.failed"]
    assert [(entry["job"], entry["log_level"], entry["failures"]) for entry in failed] == [
        ("job", "error", 1),
        ("job", "warning", 2),
    ]
    assert isinstance(failed[0]["exc_info"], OSError)
    assert failed[1]["reason"] == "away"
    assert failures == {"job": 2}


async def test_a_failed_job_leaves_the_others_running() -> None:
    failing, other = Work(*[OSError("planted")] * 1000), Work()

    async with running([job(failing, name="failing"), job(other)], clock=SystemClock()):
        await other.ran(3)
        await failing.ran(3)


async def test_delays_after_failures_grow_up_to_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    enough = asyncio.Event()

    async def note(seconds: float, sleep: Any = asyncio.sleep) -> None:
        delays.append(seconds)
        if len(delays) == 7:
            enough.set()
        await sleep(0)

    work = Work(*[OSError("planted")] * 5)
    monkeypatch.setattr(asyncio, "sleep", note)
    async with running([job(work, every=7.0, first_after=0.0)], clock=SystemClock()), asyncio.timeout(PATIENCE_SECONDS):
        await enough.wait()

    assert delays[:7] == [0.0, 1.0, 2.0, 4.0, 7.0, 7.0, 7.0]


async def test_a_run_that_succeeds_ends_the_delays_after_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    enough = asyncio.Event()
    fails = [True, True, False, True, True, False]

    async def note(seconds: float, sleep: Any = asyncio.sleep) -> None:
        delays.append(seconds)
        if len(delays) == 7:
            enough.set()
        await sleep(0)

    async def run() -> None:
        if fails and fails.pop(0):
            raise OSError("planted")

    monkeypatch.setattr(asyncio, "sleep", note)
    flaky = Background(name="job", every=7.0, run=run, first_after=0.0)
    async with running([flaky], clock=SystemClock()), asyncio.timeout(PATIENCE_SECONDS):
        await enough.wait()

    assert delays[:7] == [0.0, 1.0, 2.0, 7.0, 1.0, 2.0, 7.0]


async def test_a_run_that_is_cancelled_from_inside_is_a_failed_one() -> None:
    work = Work(asyncio.CancelledError())

    with capture_logs() as logs:
        async with running([job(work)], clock=SystemClock()):
            await work.ran(2)

    assert [entry["job"] for entry in logs if entry["event"] == "background.failed"] == ["job"]


async def test_the_end_cancels_a_run_and_waits_for_it() -> None:
    work = Work()
    work.is_open.clear()

    async with running([job(work)], clock=SystemClock()):
        await work.ran(1)

    assert work.cancelled == 1


async def test_the_end_does_not_wait_for_a_run_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_STOP_SECONDS", 0.01)
    may_end, has_begun = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        has_begun.set()
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    with capture_logs() as logs:
        async with running([Background(name="job", every=0.01, run=stubborn)], clock=SystemClock()):
            await has_begun.wait()

    assert [entry["tasks"] for entry in logs if entry["event"] == "background.still_running"] == [["background job"]]
    tasks = [task for task in asyncio.all_tasks() if "job" in task.get_name()]
    may_end.set()
    await asyncio.gather(*tasks, return_exceptions=True)


# Moments


async def test_a_job_runs_at_the_moment_that_a_function_returns() -> None:
    work, ran_at = Work(), list[datetime]()
    moments = [datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (0.2, 0.4)]

    async def next_due() -> datetime | None:
        return moments[work.runs] if work.runs < 2 else None

    async def run() -> None:
        ran_at.append(datetime.now(UTC))
        await work.run()

    async with running([Background(name="job", every=next_due, run=run)], clock=SystemClock()):
        await work.ran(2)
        await asyncio.sleep(0.1)

    assert len(ran_at) == 2
    # The clock of the program has whole milliseconds.
    assert all(at >= due - timedelta(milliseconds=2) for at, due in zip(ran_at, moments, strict=True))


async def test_a_run_that_is_planned_earlier_wakes_the_job() -> None:
    work, wake = Work(), asyncio.Event()
    due_at: datetime | None = None

    async def next_due() -> datetime | None:
        return due_at if work.runs == 0 else None

    async with running([job(work, every=next_due, wake=wake)], clock=SystemClock()):
        await asyncio.sleep(0.1)
        assert work.runs == 0
        due_at = datetime.now(UTC)
        wake.set()
        await work.ran(1)


async def test_a_run_that_is_planned_during_a_look_is_not_left_to_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_LONGEST_NAP_SECONDS", 3600.0)
    work, wake = Work(), asyncio.Event()
    due_at: datetime | None = None

    async def next_due() -> datetime | None:
        nonlocal due_at
        found = due_at
        # It is planned after the rows were read.
        due_at = datetime.now(UTC)
        wake.set()
        return found

    async with running([job(work, every=next_due, wake=wake)], clock=SystemClock()):
        await work.ran(1)


async def test_a_run_that_another_process_has_planned_is_noticed_without_a_wake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "_LONGEST_NAP_SECONDS", 0.05)
    work, due_at = Work(), datetime.now(UTC) + timedelta(hours=1)

    async def next_due() -> datetime | None:
        return due_at if work.runs == 0 else None

    async with running([job(work, every=next_due)], clock=SystemClock()):
        await asyncio.sleep(0.1)
        due_at = datetime.now(UTC)
        await work.ran(1)


async def test_a_function_that_fails_is_asked_again() -> None:
    work, is_first = Work(), True

    async def next_due() -> datetime | None:
        nonlocal is_first
        if is_first:
            is_first = False
            raise Unavailable("away")
        return datetime.now(UTC)

    with capture_logs() as logs:
        async with running([job(work, every=next_due)], clock=SystemClock()):
            await work.ran(1)

    assert [entry["reason"] for entry in logs if entry["event"] == "background.failed"] == ["away"]


# One of all processes


async def test_a_job_of_one_process_runs_repeatedly_and_leaves_its_row_free(path: Place, database: Database) -> None:
    work = Work()

    async with running_one(work, database):
        await work.ran(3)

    ((claimed_until, fencing_token, failures, error),) = rows_of(path, ROW)
    assert (claimed_until, failures, error) == (None, 0, None)
    assert fencing_token >= 3


async def test_a_job_of_one_process_never_runs_twice_at_once(path: Place) -> None:
    databases = [open_database(path) for _ in range(3)]
    now_running, most, runs = 0, 0, 0
    has_run = asyncio.Event()

    async def run() -> None:
        nonlocal now_running, most, runs
        now_running += 1
        most, runs = max(most, now_running), runs + 1
        await asyncio.sleep(0.01)
        now_running -= 1
        if runs == 20:
            has_run.set()

    one = Background(name="job", every=0.001, run=run, where="one")
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:

        async def take_part(database: Database) -> None:
            async with running([one], clock=SystemClock(), claims=SqlJobClaims(database)):
                await has_run.wait()

        for database in databases:
            tasks.create_task(take_part(database))
    for database in databases:
        await database.close()

    assert most == 1


async def test_the_pause_counts_for_all_processes_and_for_those_that_start_later(
    path: Place, database: Database
) -> None:
    first, second = Work(), Work()

    async with running_one(first, database, every=60.0, first_after=0.0), asyncio.timeout(PATIENCE_SECONDS):
        while not rows_of(path, f"{ROW} AND last_run_at > 0"):  # noqa: ASYNC110 # the job writes it
            await asyncio.sleep(0.01)
    async with running_one(second, database, every=60.0, first_after=0.0):
        await asyncio.sleep(0.2)

    assert (first.runs, second.runs) == (1, 0)


async def test_an_error_is_recorded_in_the_row_and_cleared_by_the_next_run(path: Place, database: Database) -> None:
    work = Work(OSError("planted"))

    async with running_one(work, database):
        await work.ran(1)
        work.is_open.clear()
        await work.ran(2)
        assert [row[2:] for row in rows_of(path, ROW)] == [(1, "OSError: planted")]
        work.is_open.set()
        await work.ran(3)

    assert [row[2:] for row in rows_of(path, ROW)] == [(0, None)]


async def test_a_long_run_renews_its_claim(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(background, "RENEWAL_SECONDS", 0.05)
    work, other = Work(), Work()
    work.is_open.clear()

    async with running_one(work, database):
        await work.ran(1)
        async with running_one(other, database):
            await asyncio.sleep(1.5)
        assert work.cancelled == 0

    assert (work.runs, other.runs) == (1, 0)


async def test_a_run_whose_claim_was_lost_is_cancelled_and_another_process_runs_the_job(
    path: Place, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "RENEWAL_SECONDS", 0.1)
    work = Work()
    work.is_open.clear()

    with capture_logs() as logs:
        async with running_one(work, database):
            await work.ran(1)
            change(path, "UPDATE background_jobs SET claimed_until = 1")
            await work.ran(2)

    assert work.cancelled == 2
    assert [entry["job"] for entry in logs if entry["event"] == "background.claim_lost"] == ["job"]
    failed = [entry for entry in logs if entry["event"] == "background.failed"]
    reason = "The run was cancelled: the claim has lapsed, or another process holds it"
    assert [(entry["log_level"], entry["reason"]) for entry in failed] == [("warning", reason)]


async def test_a_run_ends_before_a_claim_that_cannot_be_renewed_has_lapsed_elsewhere(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "LEASE_SECONDS", 0.4)
    monkeypatch.setattr(background, "RENEWAL_SECONDS", 0.1)
    work = Work()
    work.is_open.clear()

    async def fail(*args: object, **more: object) -> bool:
        raise Unavailable("away")

    monkeypatch.setattr(SqlJobClaims, "renew", fail)
    with capture_logs() as logs:
        async with running_one(work, database):
            await work.ran(2)

    assert work.cancelled == 2
    lost = [entry for entry in logs if entry["event"] == "background.claim_lost"]
    assert [entry["reason"] for entry in lost] == ["the claim could not be renewed: away"]


async def test_the_loss_of_a_claim_is_not_put_down_to_a_renewal_that_failed_before_others_succeeded(
    path: Place, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "RENEWAL_SECONDS", 0.01)
    work, renewals = Work(), iter(("fails", "succeeds", "comes too late"))
    work.is_open.clear()

    async def renew(*args: object, **more: object) -> bool:
        match next(renewals, "succeeds"):
            case "fails":
                raise Unavailable("away")
            case "comes too late":
                change(path, "UPDATE background_jobs SET claimed_until = 1")
                return False
        return True

    monkeypatch.setattr(SqlJobClaims, "renew", renew)
    with capture_logs() as logs:
        async with running_one(work, database):
            await work.ran(2)

    (lost,) = [entry for entry in logs if entry["event"] == "background.claim_lost"]
    assert lost["reason"] == "the claim has lapsed, or another process holds it"


async def test_a_run_whose_claim_a_slow_database_does_not_renew_is_logged_with_that_reason(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "LEASE_SECONDS", 0.4)
    monkeypatch.setattr(background, "RENEWAL_SECONDS", 0.1)
    work = Work()
    work.is_open.clear()

    async def hang(*args: object, **more: object) -> bool:
        return await asyncio.Event().wait()

    monkeypatch.setattr(SqlJobClaims, "renew", hang)
    with capture_logs() as logs:
        async with running_one(work, database):
            await work.ran(2)

    reasons = {entry["reason"] for entry in logs if entry["event"] in ("background.claim_lost", "background.failed")}
    slow = "the database did not renew the claim within 0.36 s: it is too slow"
    assert reasons == {slow, f"The run was cancelled: {slow}"}


async def test_a_run_whose_renewal_hangs_ends_before_another_process_runs_the_job(
    path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(background, "RENEWAL_SECONDS", 0.5)
    work, databases = Work(), [open_database(path) for _ in range(2)]
    unended: list[int] = []
    work.is_open.clear()
    has_run = asyncio.Event()

    async def hang(*args: object, **more: object) -> bool:
        return await asyncio.Event().wait()

    async def run() -> None:
        unended.append(work.runs - work.cancelled)
        has_run.set()

    monkeypatch.setattr(SqlJobClaims, "renew", hang)
    # Afterwards it leaves the job to the other one.
    async with running_one(work, databases[0], every=60.0, first_after=0.0):
        await work.ran(1)
        other = Background(name="job", every=0.01, run=run, where="one")
        async with running([other], clock=SystemClock(), claims=SqlJobClaims(databases[1])):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await has_run.wait()

    for database in databases:
        await database.close()
    assert unended[0] == 0


async def test_a_run_whose_renewals_fail_ends_while_it_holds_its_claim(
    path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second renewal would come when the claim has lapsed. The part leaves seconds for a busy machine.
    monkeypatch.setattr(background, "LEASE_SECONDS", 5.0)
    monkeypatch.setattr(background, "RENEWAL_SECONDS", 2.6)
    monkeypatch.setattr(background, "_HELD_PART", background._HELD_PART - 0.3)
    database = open_database(path)
    claims = SqlJobClaims(database)
    left: list[float] = []
    has_ended = asyncio.Event()

    async def fail(*args: object, **more: object) -> bool:
        raise Unavailable("the database is away")

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.append(await claims.seconds_until_free("job"))
            has_ended.set()

    monkeypatch.setattr(SqlJobClaims, "renew", fail)
    cut_off = Background(name="job", every=60.0, first_after=0.0, run=run, where="one")
    async with running([cut_off], clock=SystemClock(), claims=claims), asyncio.timeout(PATIENCE_SECONDS):
        await has_ended.wait()

    await database.close()
    assert left[0] > 0


async def test_the_end_releases_the_claim_of_a_run(path: Place, database: Database) -> None:
    work, other = Work(), Work()
    work.is_open.clear()

    async with running_one(work, database):
        await work.ran(1)
        assert rows_of(path, ROW)[0][0] is not None
    assert rows_of(path, ROW)[0][0] is None

    async with running_one(other, database):
        await other.ran(1)
