"""Jobs and their progress."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from flowrunner.domain.account import NEVER, Caller, JobRun, Role
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import Conflict, TooManyRequests
from flowrunner.domain.jobs import MAX_ERRORS, Job, JobError, JobStatus, RunningJob
from flowrunner.domain.limits import SOON
from flowrunner.domain.values import AccountId, JobId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.jobs import JobProgress
from flowrunner.ports.page import Page
from flowrunner.storage.database import Database
from flowrunner.storage.paging import AFTER_ALL, page_and_total
from flowrunner.storage.portions import delete_some
from flowrunner.storage.rows import from_ms, from_ms_or_none, to_ms
from flowrunner.storage.transaction import Row, Statement, Transaction, existing_row, one_row
from flowrunner.storage.workspaces import memberships
from flowrunner.stored_json import StoredJson

COUNT_RUNNING: Final = "SELECT count(*) FROM jobs WHERE workspace_id = :workspace_id AND completed_at IS NULL"
CREATE: Final = """
INSERT INTO jobs (id, workspace_id, created_by, type, status, total, created_at, work)
VALUES (:id, :workspace_id, :created_by, :type, 'running', :total, :created_at, :work)
"""
# There are few running jobs, all newer than the deleted ones.
FORGET: Final = """
DELETE FROM jobs
 WHERE workspace_id = :workspace_id AND completed_at IS NOT NULL
   AND id <= (SELECT id FROM jobs WHERE workspace_id = :workspace_id ORDER BY id DESC LIMIT 1 OFFSET :most_kept)
"""
GET: Final = """
SELECT id, workspace_id, created_by, type, status, total, done, failed, errors, created_at, completed_at
  FROM jobs WHERE id = :id AND workspace_id = :workspace_id
"""
PAGE: Final = """
SELECT id, workspace_id, created_by, type, status, total, done, failed, errors, created_at, completed_at
  FROM jobs WHERE workspace_id = :workspace_id AND id < :before ORDER BY id DESC LIMIT :limit OFFSET :offset
"""
COUNT: Final = "SELECT count(*) FROM jobs WHERE workspace_id = :workspace_id"
RUNNING: Final = "SELECT id FROM jobs WHERE completed_at IS NULL ORDER BY id LIMIT 1000"
LOAD: Final = """
SELECT j.id, j.workspace_id, j.created_by, j.type, j.status, j.total, j.done, j.failed, j.errors, j.created_at,
       j.completed_at, j.position, j.work, a.role
  FROM jobs j LEFT JOIN accounts a ON a.id = j.created_by AND a.disabled_at IS NULL AND a.deleted_at IS NULL
 WHERE j.id = :id AND j.completed_at IS NULL
"""
ROLE: Final = """
SELECT role FROM accounts WHERE id = :account_id AND disabled_at IS NULL AND deleted_at IS NULL
"""
# Another position shows that another process has advanced the job. A job that was cancelled meanwhile still counts the
# items that were done.
ADVANCE: Final = """
UPDATE jobs SET position = :position, done = done + :done, failed = failed + :failed, errors = :errors
 WHERE id = :id AND workspace_id = :workspace_id AND position = :before
"""
END: Final = """
UPDATE jobs SET status = :status, completed_at = :at, work = NULL
 WHERE id = :id AND workspace_id = :workspace_id AND completed_at IS NULL
"""
SET_ERRORS: Final = "UPDATE jobs SET errors = :errors WHERE id = :id AND workspace_id = :workspace_id"
OLD: Final = "SELECT id FROM jobs WHERE completed_at < :before ORDER BY completed_at LIMIT :limit"
PURGE: Final = Statement.with_texts("DELETE FROM jobs WHERE id IN (:ids)", "ids")

_encode: Final = msgspec.json.Encoder().encode
_ERRORS: Final = StoredJson[tuple[JobError, ...]](tuple[JobError, ...], column="jobs.errors")


class SqlJobs:
    """Implements `ports.JobStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, job: RunningJob, *, most_running: int, most_kept: int, audit: Audit = None) -> Job:
        values = _key(job) | {
            "created_by": job.account_id,
            "type": job.type,
            "total": job.total,
            "created_at": to_ms(job.created_at),
            "work": _encode(job.work).decode(),
            "most_kept": most_kept,
        }

        async def create(tx: Transaction) -> Job:
            if (await one_row(tx, COUNT_RUNNING, values))[0] >= most_running:
                running = counted(most_running, "job of this workspace is", "jobs of this workspace are")
                raise TooManyRequests(
                    f"Job limit reached: {running} running. Wait for one, or stop one",
                    retry_after=SOON,
                    limit="workspace_jobs",
                    most=most_running,
                )
            await tx.run(CREATE, values)
            await tx.run(FORGET, values)
            if job.total == 0:
                await tx.run(END, _ending(job, JobStatus.COMPLETED, job.created_at))
            return Job(**_fields(await one_row(tx, GET, values)))

        return await self._database.write(create, audit=audit)

    async def get(self, workspace_id: WorkspaceId, id: JobId) -> Job:
        values = {"workspace_id": workspace_id, "id": id}
        row = await self._database.read(lambda tx: existing_row(tx, GET, values, "job"))
        return Job(**_fields(row))

    async def page(self, workspace_id: WorkspaceId, *, page: Page) -> tuple[Sequence[Job], int]:
        values = {"workspace_id": workspace_id, "before": page.after_id("job") or AFTER_ALL}
        rows, total = await self._database.read(lambda tx: page_and_total(tx, page, PAGE, COUNT, values))
        return [Job(**_fields(row)) for row in rows], total

    async def running(self) -> Sequence[JobId]:
        return [JobId(id) for (id,) in await self._database.read(lambda tx: tx.rows(RUNNING))]

    async def load(self, id: JobId) -> tuple[RunningJob, Caller | None] | None:
        async def load(tx: Transaction) -> tuple[RunningJob, Caller | None] | None:
            row = await tx.row(LOAD, {"id": id})
            if row is None:
                return None
            *seen, position, work, role = row
            job = RunningJob(**_fields(tuple(seen)), position=position, work=msgspec.json.decode(work))
            return job, await _caller(tx, job, role)

        return await self._database.read(load)

    async def caller(self, job: Job) -> Caller | None:
        async def read(tx: Transaction) -> Caller | None:
            row = await tx.row(ROLE, {"account_id": job.account_id})
            return await _caller(tx, job, None if row is None else row[0])

        return await self._database.read(read)

    async def advance(self, job: RunningJob, progress: JobProgress, *, at: datetime) -> bool:
        values = _key(job) | {
            "before": job.position,
            "position": progress.position,
            "done": progress.done,
            "failed": len(progress.errors),
            "errors": _encode((*job.errors, *progress.errors)[:MAX_ERRORS]).decode(),
        }

        async def advance(tx: Transaction) -> bool:
            if await tx.run(ADVANCE, values) == 0:
                return False
            if progress.is_last:
                await tx.run(END, _ending(job, JobStatus.COMPLETED, at))
            return True

        return await self._database.write(advance)

    async def fail(self, job: RunningJob, error: JobError, *, at: datetime) -> None:
        errors = _encode((error, *job.errors)[:MAX_ERRORS]).decode()

        async def fail(tx: Transaction) -> None:
            if await tx.run(END, _ending(job, JobStatus.FAILED, at)) == 1:
                await tx.run(SET_ERRORS, _key(job) | {"errors": errors})

        await self._database.write(fail)

    async def cancel(self, workspace_id: WorkspaceId, id: JobId, *, at: datetime, audit: Audit = None) -> None:
        values = {"id": id, "workspace_id": workspace_id, "status": JobStatus.CANCELLED.value, "at": to_ms(at)}

        async def cancel(tx: Transaction) -> None:
            if await tx.run(END, values) == 1:
                return
            row = await existing_row(tx, GET, values, "job")
            raise Conflict(f"The job has already ended: it is {row[4]}")

        await self._database.write(cancel, audit=audit)

    async def purge(self, *, ended_before: datetime, limit: int) -> bool:
        return await delete_some(self._database, OLD, PURGE, {"before": to_ms(ended_before)}, limit=limit) == limit


async def _caller(tx: Transaction, job: Job, role: Role | None) -> Caller | None:
    """Return the caller that a job acts for; None without a role in its workspace. Args: role: That of its account."""
    if role is None:
        return None
    caller = Caller(
        account_id=job.account_id,
        role=role,
        credential=JobRun(job.id),
        expires_at=NEVER,
        memberships=await memberships(tx, job.account_id),
    )
    return None if caller.role_in(job.workspace_id) is None else caller.acting_in(job.workspace_id)


def _key(job: Job) -> dict[str, Any]:
    return {"id": job.id, "workspace_id": job.workspace_id}


def _ending(job: Job, status: JobStatus, at: datetime) -> dict[str, Any]:
    return _key(job) | {"status": status.value, "at": to_ms(at)}


def _fields(row: Row) -> dict[str, Any]:
    return {
        "id": JobId(row[0]),
        "workspace_id": WorkspaceId(row[1]),
        "account_id": AccountId(row[2]),
        "type": row[3],
        "status": JobStatus(row[4]),
        "total": row[5],
        "done": row[6],
        "failed": row[7],
        "errors": _ERRORS.read(row[8], id=row[0]) or (),
        "created_at": from_ms(row[9]),
        "completed_at": from_ms_or_none(row[10]),
    }
