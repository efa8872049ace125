"""Jobs: the many items of one request, done in the background one by one."""

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

import structlog

from flowrunner.domain.account import Caller, authorise
from flowrunner.domain.audit import act
from flowrunner.domain.errors import FlowRunnerError, Forbidden, TooManyRequests, Unavailable, invalid
from flowrunner.domain.jobs import MAX_ITEMS, Job, JobError, JobStatus, RunningJob
from flowrunner.domain.values import JSON, JobId
from flowrunner.ids import new_id
from flowrunner.ports.clock import Clock
from flowrunner.ports.jobs import JobProgress, JobStore, JobType
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import Redactor, SecretReader
from flowrunner.services.short_commits import PURGED_AT_ONCE, commit_in_portions
from flowrunner.tasks import cancel_all

logger = structlog.get_logger()

# Jobs of one workspace: running, and kept.
MAX_RUNNING: Final = 5
MAX_KEPT: Final = 1_000
# Progress is recorded after so many items. A few of them are done concurrently.
_ITEMS_AT_ONCE: Final = 50
_CONCURRENCY: Final = 8
# The delay while no job can go on: the installation is paused, for example, or queues are full.
_WAIT_SECONDS: Final = 1.0
# The delay before a job whose row cannot be read is tried again.
_UNREADABLE_SECONDS: Final = 60.0
_BUG: Final = "An internal error occurred"


class Jobs:
    """Use cases of jobs, and the background job that does their items.

    Args:
        types: What jobs do, by name.
        vault: Hides secrets in the errors of items, which may repeat what the request has given.

    Attributes:
        requested: Set when a job has been created in this process.
    """

    def __init__(self, store: JobStore, types: Sequence[JobType], vault: SecretReader, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._types = {type.name: type for type in types}
        self._clock = clock
        self.requested = asyncio.Event()
        # By job that this process advances: whether it was stopped here, and need not end its page.
        self._is_stopped: dict[JobId, bool] = {}
        # Jobs that cannot go on because of an error that has been logged.
        self._broken: set[JobId] = set()

    async def create(self, caller: Caller, type: str, work: Mapping[str, JSON], *, total: int) -> Job:
        """Create a job of a type, which `work` tells what to do.

        Args:
            total: The number of its items: see `check_count`.

        Raises: Forbidden; TooManyRequests.
        """
        authorise(caller, self._types[type].right)
        assert total <= MAX_ITEMS, "the caller has checked it"
        now = self._clock.now()
        job = RunningJob(
            id=JobId(new_id("job", now)),
            workspace_id=caller.workspace_id,
            account_id=caller.account_id,
            type=type,
            status=JobStatus.RUNNING,
            total=total,
            created_at=now,
            position="",
            work=work,
        )
        entry = act(caller, "job.created", "job", job.id, at=now, details={"type": type, "total": total})
        created = await self._store.create(job, most_running=MAX_RUNNING, most_kept=MAX_KEPT, audit=entry)
        self.requested.set()
        return created

    async def get(self, caller: Caller, id: JobId) -> Job:
        """Raises: NotFound."""
        return await self._store.get(caller.workspace_id, id)

    async def page(self, caller: Caller, *, page: Page) -> tuple[Sequence[Job], int]:
        """Return a page of the workspace's jobs, the newest first, and the total."""
        return await self._store.page(caller.workspace_id, page=page)

    async def cancel(self, caller: Caller, id: JobId) -> None:
        """Stop a job. What is done stays done, and items that have begun are completed.

        Raises: NotFound; Forbidden; Conflict if it has ended.
        """
        found = await self._store.get(caller.workspace_id, id)
        if (type := self._types.get(found.type)) is not None:
            authorise(caller, type.right)
        now = self._clock.now()
        await self._store.cancel(caller.workspace_id, id, at=now, audit=act(caller, "job.cancelled", "job", id, at=now))
        if id in self._is_stopped:
            self._is_stopped[id] = True

    async def purge(self, *, older_than: timedelta) -> None:
        """Forget jobs that ended longer ago."""
        ended_before = self._clock.now() - older_than
        await commit_in_portions(lambda: self._store.purge(ended_before=ended_before, limit=PURGED_AT_ONCE))

    # The background job

    async def next_due(self) -> datetime | None:
        """Return the present time if a job has something to do."""
        return self._clock.now() if await self._store.running() else None

    async def advance(self) -> None:
        """Do the items of all running jobs, each independently of the others, until no job is left."""
        tasks: dict[JobId, asyncio.Task[None]] = {}
        try:
            # A job that was stopped still completes the items that it has begun.
            while (ids := await self._store.running()) or tasks:
                for id in ids:
                    if id not in tasks:
                        tasks[id] = asyncio.create_task(self._run(id), name=f"job {id}")
                await asyncio.wait(tasks.values(), timeout=_WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                tasks = {id: task for id, task in tasks.items() if not task.done()}
        finally:
            await cancel_all(*tasks.values())

    async def _run(self, id: JobId) -> None:
        """Do the pages of a job until it has ended."""
        self._is_stopped[id] = False
        try:
            while (step := await self._advance(id)) is not _Step.ENDED:
                if step is _Step.WAITING:
                    await asyncio.sleep(_WAIT_SECONDS)
            self._broken.discard(id)
        except Unavailable as error:
            logger.warning("job.interrupted", job_id=id, reason=str(error))
            await asyncio.sleep(_WAIT_SECONDS)
        except Exception as error:
            # It is tried again: another version may be able to read or write its row.
            if id not in self._broken:
                logger.exception("job.unreadable" if isinstance(error, _Unreadable) else "job.crashed", job_id=id)
            self._broken.add(id)
            await asyncio.sleep(_UNREADABLE_SECONDS)
        finally:
            del self._is_stopped[id]

    async def _advance(self, id: JobId) -> "_Step":
        """Do a page of a job. Raises: Unavailable, _Unreadable."""
        try:
            loaded = await self._store.load(id)
        except Unavailable:
            raise
        except Exception as error:
            raise _Unreadable from error
        if loaded is None:
            return _Step.ENDED
        job, caller = loaded
        type = self._types.get(job.type)
        if type is None:
            # A newer version, which has created it, may run on other servers.
            return _Step.WAITING
        redactor = await self._vault.redactor(job.workspace_id)
        try:
            if caller is None:
                raise Forbidden("The account that created the job no longer has a role in this workspace")
            authorise(caller, type.right)
            items = await type.page(job, limit=_ITEMS_AT_ONCE)
        except Unavailable:
            raise
        except Exception as error:
            # Anything but a domain error is a bug, which a repeat would meet again.
            if not isinstance(error, FlowRunnerError):
                logger.exception("job.failed", job_id=id, type=job.type)
                error = RuntimeError(_BUG)
            await self._store.fail(job, _error_of(None, error, redactor), at=self._clock.now())
            return _Step.ENDED
        page = _Page(
            type,
            job,
            caller=lambda: self._store.caller(job),
            is_stopped=lambda: self._is_stopped.get(id, False),
            redactor=redactor,
        )
        errors = await page.do(items)
        if not errors and items:
            return _Step.WAITING
        progress = JobProgress(
            position=items[len(errors) - 1] if items else job.position,
            done=errors.count(None),
            errors=[error for error in errors if error is not None],
            is_last=len(errors) == len(items) < _ITEMS_AT_ONCE,
        )
        is_advanced = await self._store.advance(job, progress, at=self._clock.now())
        return _Step.MOVED if is_advanced and len(errors) == len(items) else _Step.WAITING


class _Unreadable(Exception):
    """The row of a job cannot be read."""


class _Step(Enum):
    """The outcome of an attempt to advance a job.

    Attributes:
        MOVED: Some of its items are done, and there may be more.
        WAITING: It cannot go on at the moment.
        ENDED: It has ended.
    """

    MOVED = 1
    WAITING = 2
    ENDED = 3


def check_count(total: int, *, field: str) -> None:
    """Raises: InvalidInput if a job may not have the items that a field of a request selects."""
    if total > MAX_ITEMS:
        message = f"selects {total}, and a job may have {MAX_ITEMS}"
        raise invalid(field, message, code="too_long", hint=f"narrow {field}, and repeat the request for the rest")


def items_after(job: RunningJob, listed: str, *, limit: int) -> Sequence[str]:
    """Return the next items of a job whose work lists all of them, in order, under this name."""
    items: Any = job.work[listed]
    start = bisect_right(items, job.position)
    return list(items[start : start + limit])


def _error_of(item: str | None, error: Exception, redactor: Redactor) -> JobError:
    return JobError.of(item, str(redactor.redact(str(error))))


class _Page:
    """Some items of a job, which are done a few at a time."""

    def __init__(
        self,
        type: JobType,
        job: RunningJob,
        *,
        caller: Callable[[], Awaitable[Caller | None]],
        is_stopped: Callable[[], bool],
        redactor: Redactor,
    ) -> None:
        self._type = type
        self._job = job
        self._caller = caller
        self._is_stopped = is_stopped
        self._redactor = redactor
        self._free = asyncio.Semaphore(_CONCURRENCY)
        self._must_wait = False

    async def do(self, items: Sequence[str]) -> Sequence[JobError | None]:
        """Do the items; return the errors of the first ones, as many as are done or have failed.

        Those after an item that has to wait are repeated later, although they may be done.
        """
        outcomes = await asyncio.gather(*[self._do(item) for item in items])
        waiting = next((number for number, (is_over, _) in enumerate(outcomes) if not is_over), len(outcomes))
        return [error for _, error in outcomes[:waiting]]

    async def _do(self, item: str) -> tuple[bool, JobError | None]:
        """Do an item; return whether that is over, and its error."""
        async with self._free:
            if self._must_wait or self._is_stopped():
                return False, None
            try:
                # The rights may have ended since the item before.
                caller = await self._caller()
                if caller is None or self._type.right not in caller.rights:
                    self._must_wait = True
                    return False, None
                await self._type.do(caller, self._job, item)
            except (Unavailable, TooManyRequests):
                self._must_wait = True
                return False, None
            except FlowRunnerError as error:
                return True, _error_of(item, error, self._redactor)
            except Exception:
                # A bug must not keep the job, and all others, from going on.
                logger.exception("job.item_failed", job_id=self._job.id, type=self._job.type)
                return True, JobError(item, _BUG)
            return True, None
