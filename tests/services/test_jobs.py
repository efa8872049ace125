"""Jobs of any type: items that are computed, wait, fail, or are done by two processes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from flowrunner.domain.account import Caller, Right
from flowrunner.domain.errors import Conflict, NotFound, TooManyRequests, Unavailable
from flowrunner.domain.jobs import Job, JobError, JobStatus, RunningJob, key_of_item
from flowrunner.domain.values import JSON, ExecutionId, JobId, WorkspaceId
from flowrunner.ports.secrets import Redactor, SecretReader, WrongKey
from flowrunner.services import jobs as job_service
from flowrunner.services.backfills import BackfillTrigger
from flowrunner.services.bulk_executions import DeleteExecutions
from flowrunner.services.execution_records import ExecutionRecords
from flowrunner.services.flow_changes import FlowDraft
from flowrunner.services.flows import Flows
from flowrunner.services.jobs import Jobs
from flowrunner.storage.execution_records import SqlExecutionRecords
from flowrunner.storage.jobs import SqlJobs
from security.two_accounts import until
from support.databases import MARA, MARA_ACCOUNT, NOON, change, rows_of
from support.dependencies import Machine


@dataclass
class Backfill:
    """Items that no request names: numbers up to a last one.

    Attributes:
        failing: Called with each item; it may raise.
        done: The keys of the items that are done, in order.
    """

    name: str = "backfill"
    right: Right = Right.RUN
    failing: Callable[[str], object] = lambda item: None
    done: list[str] = field(default_factory=list)

    async def page(self, job: RunningJob, *, limit: int) -> Sequence[str]:
        first, last = int(job.position or 0) + 1, job.work["last"]
        assert isinstance(last, int)
        return [f"{n:06}" for n in range(first, min(first + limit, last + 1))]

    async def do(self, caller: Caller, job: RunningJob, item: str) -> None:
        self.failing(item)
        await asyncio.sleep(0)
        key = key_of_item(job.id, item)
        if key not in self.done:
            self.done.append(key)


def jobs_of(engine: Machine, *types: Backfill) -> Jobs:
    return Jobs(SqlJobs(engine.database), types, engine.vault, engine.clock)


async def created(jobs: Jobs, mara: Caller, count: int, *, type: str = "backfill") -> Job:
    return await jobs.create(mara, type, {"last": count}, total=count)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_service, "_ITEMS_AT_ONCE", 5)
    monkeypatch.setattr(job_service, "_WAIT_SECONDS", 0.001)


async def test_computed_items_are_done_once_each(engine: Machine, mara: Caller) -> None:
    type = Backfill()
    jobs = jobs_of(engine, type)
    # Both a number of whole pages, and one beyond.
    made = [await created(jobs, mara, count) for count in (10, 11)]

    # The background job begins at once.
    assert jobs.requested.is_set()
    await jobs.advance()

    for job, count in zip(made, (10, 11), strict=True):
        assert [key for key in type.done if key.startswith(job.id)] == [f"{job.id} {n:06}" for n in range(1, count + 1)]
        ended = await jobs.get(mara, job.id)
        assert (ended.status, ended.done, ended.failed) == (JobStatus.COMPLETED, count, 0)


async def test_a_job_that_waits_holds_up_no_other(engine: Machine, mara: Caller) -> None:
    is_free = asyncio.Event()

    def failing(item: str) -> None:
        if not is_free.is_set():
            raise Unavailable("not now")

    waiting, free = Backfill(name="waiting", failing=failing), Backfill()
    jobs = jobs_of(engine, waiting, free)
    first, second = await created(jobs, mara, 3, type="waiting"), await created(jobs, mara, 20)
    advancing = asyncio.create_task(jobs.advance())

    async def has_ended() -> bool:
        return (await jobs.get(mara, second.id)).status is JobStatus.COMPLETED

    await until(has_ended)
    assert (await jobs.get(mara, first.id)).status is JobStatus.RUNNING
    is_free.set()
    await advancing
    assert (await jobs.get(mara, first.id)).done == 3


@pytest.mark.parametrize("fault", [Unavailable("not now"), RuntimeError("a key is missing")])
async def test_a_job_whose_secrets_cannot_be_hidden_yet_waits_and_holds_up_no_other(
    engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    monkeypatch.setattr(job_service, "_UNREADABLE_SECONDS", 0.001)
    asked = 0

    class Vault:
        async def redactor(self, workspace_id: WorkspaceId) -> Redactor:
            nonlocal asked
            asked += 1
            if asked <= 3:
                raise fault
            return await engine.vault.redactor(workspace_id)

    type = Backfill()
    jobs = Jobs(SqlJobs(engine.database), [type], cast("SecretReader", Vault()), engine.clock)
    made = [await created(jobs, mara, 3) for _ in range(2)]

    await jobs.advance()

    assert [(await jobs.get(mara, job.id)).status for job in made] == [JobStatus.COMPLETED] * 2
    assert asked > 3


async def test_a_job_that_is_stopped_begins_no_further_item(
    engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_service, "_ITEMS_AT_ONCE", 1000)
    is_stopped = asyncio.Event()
    type = Backfill()

    async def do(caller: Caller, job: RunningJob, item: str) -> None:
        type.done.append(item)
        await is_stopped.wait()

    monkeypatch.setattr(type, "do", do)
    jobs = jobs_of(engine, type)
    job = await created(jobs, mara, 100)
    advancing = asyncio.create_task(jobs.advance())

    async def has_begun() -> bool:
        return bool(type.done)

    await until(has_begun)
    await jobs.cancel(mara, job.id)
    is_stopped.set()
    await advancing

    ended = await jobs.get(mara, job.id)
    assert (ended.status, ended.done) == (JobStatus.CANCELLED, len(type.done))
    assert len(type.done) < 20


@pytest.mark.parametrize("end", ["disabled_at = 1", "role = 'viewer'"])
async def test_s10_a_job_whose_account_loses_the_right_begins_no_further_item(
    engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(job_service, "_ITEMS_AT_ONCE", 1000)
    has_lost, type = asyncio.Event(), Backfill()

    async def do(caller: Caller, job: RunningJob, item: str) -> None:
        type.done.append(item)
        await has_lost.wait()

    monkeypatch.setattr(type, "do", do)
    jobs = jobs_of(engine, type)
    job = await created(jobs, mara, 100)
    advancing = asyncio.create_task(jobs.advance())

    async def has_begun() -> bool:
        return bool(type.done)

    await until(has_begun)
    # An installation keeps an admin.
    change(engine.path, "UPDATE accounts SET role = 'admin'")
    change(engine.path, f"UPDATE accounts SET {end} WHERE id = ?", MARA_ACCOUNT)
    has_lost.set()
    await advancing

    ended = await jobs.get(mara, job.id)
    assert (ended.status, ended.done) == (JobStatus.FAILED, len(type.done))
    assert len(type.done) < 20


async def test_a_bug_of_a_type_ends_its_job_alone(
    engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def page(job: RunningJob, *, limit: int) -> Sequence[str]:
        raise KeyError("a value that nobody may see")

    broken, type = Backfill(name="broken"), Backfill()
    monkeypatch.setattr(broken, "page", page)
    jobs = jobs_of(engine, broken, type)
    first, second = await created(jobs, mara, 3, type="broken"), await created(jobs, mara, 3)

    await jobs.advance()

    failed = await jobs.get(mara, first.id)
    assert (failed.status, failed.errors) == (JobStatus.FAILED, (JobError(None, "An internal error occurred"),))
    assert (await jobs.get(mara, second.id)).done == 3


QUEUE_IS_FULL = TooManyRequests("full", retry_after=timedelta(seconds=1), limit="workspace_queued", most=1)


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [("000003", Unavailable("not now")), ("000007", Unavailable("not now")), ("000003", QUEUE_IS_FULL)],
)
async def test_an_item_that_has_to_wait_is_repeated_and_counted_once(
    engine: Machine, mara: Caller, waiting: str, reason: Exception
) -> None:
    looks: list[str] = []

    def failing(item: str) -> None:
        looks.append(item)
        if item == waiting and looks.count(item) < 4:
            raise reason

    type = Backfill(failing=failing)
    jobs = jobs_of(engine, type)
    job = await created(jobs, mara, 7)

    await jobs.advance()

    ended = await jobs.get(mara, job.id)
    assert (ended.status, ended.done, ended.failed) == (JobStatus.COMPLETED, 7, 0)
    assert sorted(type.done) == [f"{job.id} {n:06}" for n in range(1, 8)]
    assert looks.count(waiting) == 4
    assert looks.count("000001") == 1, "what comes before it is counted at once"


async def test_nothing_more_of_a_page_is_begun_after_an_item_that_has_to_wait(
    engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_service, "_ITEMS_AT_ONCE", 1000)
    looks: list[str] = []

    def failing(item: str) -> None:
        looks.append(item)
        if len(looks) <= job_service._CONCURRENCY:
            raise Unavailable("not now")

    jobs = jobs_of(engine, type := Backfill(failing=failing))
    await created(jobs, mara, 100)

    await jobs.advance()

    # Those that had begun beside it, and then each once.
    assert len(type.done) == 100
    assert len(looks) == 100 + job_service._CONCURRENCY


async def test_failures_and_bugs_of_items_do_not_stop_the_others(engine: Machine, mara: Caller) -> None:
    def failing(item: str) -> None:
        if item == "000002":
            raise Conflict("The item has ended")
        if item == "000004":
            raise RuntimeError("a value that nobody may see")

    jobs = jobs_of(engine, Backfill(failing=failing))
    job = await created(jobs, mara, 6)

    await jobs.advance()

    ended = await jobs.get(mara, job.id)
    assert (ended.status, ended.done, ended.failed) == (JobStatus.COMPLETED, 4, 2)
    assert ended.errors == (
        JobError("000002", "The item has ended"),
        JobError("000004", "An internal error occurred"),
    )


async def test_s26_errors_of_items_hide_secrets_that_the_request_has_given(engine: Machine, mara: Caller) -> None:
    await engine.vault.set(mara.workspace_id, "KEY", secret := "a-key-of-some-length", at=engine.clock.now())

    def failing(item: str) -> None:
        # The secret lies across the place where a long message is cut.
        raise Conflict(f"{'x' * 490}{secret}" if item == "000002" else f"There is no step '{secret}'")

    jobs = jobs_of(engine, Backfill(failing=failing))
    job = await created(jobs, mara, 2)

    await jobs.advance()

    ended = await jobs.get(mara, job.id)
    assert [error.message for error in ended.errors] == ["There is no step '***'", f"{'x' * 490}***"]


async def test_a_process_that_died_after_an_item_leaves_it_to_be_recognized(engine: Machine, mara: Caller) -> None:
    type = Backfill()
    first, second = jobs_of(engine, type), jobs_of(engine, type)
    job = await created(first, mara, 12)
    store = SqlJobs(engine.database)
    loaded = await store.load(job.id)
    assert loaded is not None
    for item in await type.page(loaded[0], limit=3):
        await type.do(mara, loaded[0], item)

    await second.advance()

    ended = await second.get(mara, job.id)
    assert (ended.status, ended.done) == (JobStatus.COMPLETED, 12)
    assert len(type.done) == 12


async def test_two_processes_that_both_advance_a_job_count_each_item_once(engine: Machine, mara: Caller) -> None:
    type = Backfill()
    job = await created(jobs_of(engine, type), mara, 40)

    await asyncio.gather(*[jobs_of(engine, type).advance() for _ in range(3)])

    ended = await jobs_of(engine, type).get(mara, job.id)
    assert (ended.status, ended.done, len(type.done)) == (JobStatus.COMPLETED, 40, 40)


def running(work: Mapping[str, JSON], *, position: str = "") -> RunningJob:
    return RunningJob(
        id=JobId("job-1"), workspace_id=MARA, account_id=MARA_ACCOUNT, type="t", status=JobStatus.RUNNING, total=5,
        created_at=NOON, position=position, work=work,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("type", "field"),
    [
        (BackfillTrigger(cast("Any", None), cast("Any", None)), "times"),
        (DeleteExecutions(cast("Any", None)), "ids"),
    ],
)
async def test_the_pages_of_a_job_join_without_a_gap(type: Any, field: str) -> None:
    items: list[JSON] = [f"2027-01-0{n}T00:00:00.000Z" for n in range(1, 6)]
    found: list[str] = []
    for _ in range(4):
        found += await type.page(running({field: items}, position=found[-1] if found else ""), limit=2)

    assert found == items


async def test_an_execution_that_a_job_has_deleted_before_a_crash_is_no_error(engine: Machine, mara: Caller) -> None:
    records = ExecutionRecords(SqlExecutionRecords(engine.database), engine.clock)
    with pytest.raises(NotFound):
        await records.delete(mara, ExecutionId("exec-gone"))

    await DeleteExecutions(records).do(mara, running({"ids": ["exec-gone"]}), "exec-gone")


async def test_an_execution_is_deleted_with_its_events(engine: Machine, flows: Flows, mara: Caller) -> None:
    flow = await flows.create(mara, FlowDraft(name="F", definition="nodes: {a: {type: return}}"))
    gone, kept = [(await engine.executions.run(mara, flow.id, {})).id for _ in range(2)]
    for id in (gone, kept):
        await engine.until_ended(id)
    records = ExecutionRecords(SqlExecutionRecords(engine.database), engine.clock)

    await records.delete(mara, gone)

    assert rows_of(engine.path, "SELECT id FROM executions") == [(kept,)]
    assert rows_of(engine.path, "SELECT DISTINCT execution_id FROM events") == [(kept,)]
    # Nothing of a deletion is left for the next start.
    assert await SqlExecutionRecords(engine.database).incomplete() == []


async def test_a_job_of_an_unknown_type_is_left_to_others(engine: Machine, mara: Caller) -> None:
    newer, older = jobs_of(engine, Backfill()), jobs_of(engine)
    job = await created(newer, mara, 3)

    assert await older._advance(JobId(job.id)) is job_service._Step.WAITING

    assert (await older.get(mara, job.id)).status is JobStatus.RUNNING
    await older.cancel(mara, job.id)
    assert (await newer.get(mara, job.id)).status is JobStatus.CANCELLED


async def test_a_job_whose_row_cannot_be_read_is_logged_once_and_stops_no_other(
    engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_service, "_UNREADABLE_SECONDS", 0.05)
    jobs, load, loads = jobs_of(engine, Backfill()), SqlJobs.load, list[str]()

    async def counted(store: SqlJobs, id: JobId) -> object:
        loads.append(id)
        return await load(store, id)

    broken = await created(jobs, mara, 3)
    good = await created(jobs, mara, 12)
    change(engine.path, "UPDATE jobs SET work = '[' WHERE id = ?", broken.id)
    monkeypatch.setattr(SqlJobs, "load", counted)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with capture_logs() as logged:
        advancing = asyncio.create_task(jobs.advance())

        async def has_tried_thrice() -> bool:
            return loads.count(broken.id) >= 3

        await until(has_tried_thrice)
        advancing.cancel()

    assert loads.count(broken.id) <= 1 + (loop.time() - begun) / 0.05
    assert [(entry["event"], entry["job_id"]) for entry in logged] == [("job.unreadable", broken.id)]
    assert (await jobs.get(mara, good.id)).status is JobStatus.COMPLETED


async def test_a_job_that_cannot_go_on_is_not_called_unreadable(
    engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_service, "_UNREADABLE_SECONDS", 0.01)
    jobs = jobs_of(engine, Backfill())
    job = await created(jobs, mara, 3)
    redactor, failures = jobs._vault.redactor, iter(range(3))

    async def failing(workspace_id: WorkspaceId) -> Redactor:
        if next(failures, None) is not None:
            raise WrongKey("The master key of a data key is missing")
        return await redactor(workspace_id)

    monkeypatch.setattr(jobs._vault, "redactor", failing)
    with capture_logs() as logged:
        await jobs.advance()

    assert [(entry["event"], entry["job_id"]) for entry in logged] == [("job.crashed", job.id)]
    assert (await jobs.get(mara, JobId(job.id))).status is JobStatus.COMPLETED
