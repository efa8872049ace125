"""Jobs: their limits, their progress, and their end."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from flowrunner.domain.account import JobRun
from flowrunner.domain.errors import Conflict, NotFound, TooManyRequests
from flowrunner.domain.jobs import MAX_ERRORS, JobError, JobStatus, RunningJob
from flowrunner.domain.values import AccountId, JobId, WorkspaceId
from flowrunner.ports.jobs import JobProgress
from flowrunner.ports.page import Page
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.database import Database
from flowrunner.storage.jobs import SqlJobs
from support.databases import MARA, NOON, OMAR, Place, change, rows_of

WORK = {"ids": ["a", "b", "c"]}


@pytest.fixture
def jobs(database: Database, accounts: SqlAccounts) -> SqlJobs:
    return SqlJobs(database)


async def create(jobs: SqlJobs, id: str, *, most_running: int = 9, most_kept: int = 9, **fields: Any) -> RunningJob:
    values: dict[str, Any] = {"workspace_id": MARA, "account_id": AccountId(MARA), "total": 3, **fields}
    job = RunningJob(
        id=JobId(id), type="t", status=JobStatus.RUNNING, created_at=NOON, position="", work=WORK, **values
    )
    await jobs.create(job, most_running=most_running, most_kept=most_kept)
    return job


async def advance(jobs: SqlJobs, id: str, position: str, *errors: JobError, done: int = 1, last: bool = False) -> bool:
    loaded = await jobs.load(JobId(id))
    assert loaded is not None
    return await jobs.advance(loaded[0], JobProgress(position, done, errors, last), at=NOON)


async def listed(jobs: SqlJobs, workspace_id: WorkspaceId = MARA) -> Sequence[str]:
    found, total = await jobs.page(workspace_id, page=Page(limit=100, offset=0))
    assert total == len(found)
    return [job.id for job in found]


async def test_a_job_is_advanced_to_its_end(jobs: SqlJobs) -> None:
    created = await create(jobs, "j")

    loaded = await jobs.load(created.id)
    assert loaded is not None
    assert loaded[0] == created
    await advance(jobs, "j", "b", JobError("b", "not this one"))
    between = await jobs.get(MARA, created.id)
    await advance(jobs, "j", "c", last=True)
    after = await jobs.get(MARA, created.id)

    assert (between.status, between.done, between.failed) == (JobStatus.RUNNING, 1, 1)
    assert between.completed_at is None
    assert (after.status, after.done, after.failed, after.completed_at) == (JobStatus.COMPLETED, 2, 1, NOON)
    assert after.errors == (JobError("b", "not this one"),)
    assert await jobs.running() == []
    assert await jobs.load(created.id) is None


async def test_of_two_processes_one_records_progress(jobs: SqlJobs) -> None:
    await create(jobs, "j")
    loaded = await jobs.load(JobId("j"))
    assert loaded is not None

    assert await advance(jobs, "j", "b")
    assert not await jobs.advance(loaded[0], JobProgress("a", 1, (), is_last=True), at=NOON)

    found = await jobs.get(MARA, JobId("j"))
    assert (found.done, found.status) == (1, JobStatus.RUNNING)


async def test_no_more_than_the_first_errors_are_kept(jobs: SqlJobs) -> None:
    await create(jobs, "j")

    await advance(jobs, "j", "a", *(JobError(f"a{n}", "x") for n in range(MAX_ERRORS - 1)))
    await advance(jobs, "j", "b", JobError("b0", "x"), JobError("b1", "x"))

    found = await jobs.get(MARA, JobId("j"))
    assert found.failed == MAX_ERRORS + 1
    assert [error.item for error in found.errors[-2:]] == [f"a{MAX_ERRORS - 2}", "b0"]
    assert len(found.errors) == MAX_ERRORS


async def test_a_workspace_has_a_limited_number_of_running_jobs(jobs: SqlJobs) -> None:
    await create(jobs, "j1", most_running=2)
    await create(jobs, "j2", most_running=2)
    await create(jobs, "other", workspace_id=OMAR, account_id=AccountId(OMAR), most_running=2)

    with pytest.raises(TooManyRequests, match="2 jobs of this workspace are running"):
        await create(jobs, "j3", most_running=2)
    await jobs.cancel(MARA, JobId("j1"), at=NOON)
    await create(jobs, "j4", most_running=2)

    assert await listed(jobs) == ["j4", "j2", "j1"]
    assert await jobs.running() == ["j2", "j4", "other"]


async def test_the_oldest_jobs_that_have_ended_are_forgotten(jobs: SqlJobs) -> None:
    await create(jobs, "j1", workspace_id=OMAR, account_id=AccountId(OMAR))
    await jobs.cancel(OMAR, JobId("j1"), at=NOON)
    await create(jobs, "j2")
    for n in range(3, 7):
        await create(jobs, f"j{n}", most_kept=3)
        await jobs.cancel(MARA, JobId(f"j{n}"), at=NOON)

    assert await listed(jobs) == ["j6", "j5", "j4", "j2"]
    assert await listed(jobs, OMAR) == ["j1"]


async def test_a_job_that_was_stopped_counts_what_was_done_meanwhile(jobs: SqlJobs) -> None:
    await create(jobs, "j")
    loaded = await jobs.load(JobId("j"))
    assert loaded is not None
    await jobs.cancel(MARA, JobId("j"), at=NOON)

    await jobs.advance(loaded[0], JobProgress("c", 3, (), is_last=True), at=NOON + timedelta(hours=1))

    found = await jobs.get(MARA, JobId("j"))
    assert (found.status, found.done, found.completed_at) == (JobStatus.CANCELLED, 3, NOON)
    with pytest.raises(Conflict, match="it is cancelled"):
        await jobs.cancel(MARA, JobId("j"), at=NOON)


async def test_a_job_that_cannot_go_on_fails_with_the_reason(jobs: SqlJobs) -> None:
    created = await create(jobs, "j")

    await jobs.fail(created, JobError(None, "no right"), at=NOON)

    found = await jobs.get(MARA, created.id)
    assert (found.status, found.errors) == (JobStatus.FAILED, (JobError(None, "no right"),))


async def test_a_job_of_another_workspace_is_not_found(jobs: SqlJobs) -> None:
    await create(jobs, "j")

    with pytest.raises(NotFound):
        await jobs.get(OMAR, JobId("j"))
    with pytest.raises(NotFound):
        await jobs.cancel(OMAR, JobId("j"), at=NOON)
    assert await listed(jobs, OMAR) == []


async def test_a_job_acts_with_the_present_rights_of_its_account(jobs: SqlJobs, path: Place) -> None:
    await create(jobs, "j", account_id=AccountId(OMAR))
    callers = []
    for statement in (
        "INSERT INTO members (workspace_id, account_id, role, added_at) VALUES (?, ?, 'operator', 0)",
        "DELETE FROM members WHERE workspace_id = ? AND account_id = ?",
    ):
        change(path, statement, MARA, OMAR)
        loaded = await jobs.load(JobId("j"))
        assert loaded is not None
        callers.append(loaded[1])

    member, stranger = callers
    assert member is not None
    assert (member.workspace_id, member.credential) == (MARA, JobRun(JobId("j")))
    assert "run" in member.rights
    assert "write" not in member.rights
    assert stranger is None


async def test_a_job_of_an_account_that_was_disabled_has_no_rights(jobs: SqlJobs, path: Place) -> None:
    await create(jobs, "j", workspace_id=OMAR, account_id=AccountId(OMAR))

    change(path, "UPDATE accounts SET disabled_at = 0 WHERE id = ?", OMAR)

    loaded = await jobs.load(JobId("j"))
    assert loaded is not None
    assert (loaded[0].id, loaded[1]) == ("j", None)


async def test_old_jobs_that_have_ended_are_deleted(jobs: SqlJobs, path: Place) -> None:
    day = timedelta(days=1)
    for id, ended_at in (("older", NOON - 2 * day), ("old", NOON - day), ("new", NOON), ("running", None)):
        await create(jobs, id)
        if ended_at is not None:
            await jobs.cancel(MARA, JobId(id), at=ended_at)

    assert await jobs.purge(ended_before=NOON, limit=1)
    assert sorted(await listed(jobs)) == ["new", "old", "running"]
    assert await jobs.purge(ended_before=NOON, limit=1)
    assert not await jobs.purge(ended_before=NOON, limit=1)

    assert sorted(await listed(jobs)) == ["new", "running"]
    assert rows_of(path, "SELECT id, work IS NULL FROM jobs ORDER BY id") == [("new", 1), ("running", 0)]
