"""The store of jobs, and the types of jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.account import Caller, Right
from flowrunner.domain.jobs import Job, JobError, RunningJob
from flowrunner.domain.values import JobId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Items of a job that were done or have failed.

    Attributes:
        position: The position of the last one.
        is_last: There are no further items.
    """

    position: str
    done: int
    errors: Sequence[JobError]
    is_last: bool


class JobType(Protocol):
    """A type of jobs: it lists the items of a job, and does an item.

    Attributes:
        name: A dotted name, such as `executions.rerun`.
        right: The right that the account of the job needs in its workspace, until the job ends.
    """

    @property
    def name(self) -> str: ...
    @property
    def right(self) -> Right: ...

    async def page(self, job: RunningJob, *, limit: int) -> Sequence[str]:
        """Return the next items after the position of the job; fewer than ``limit`` if they are the last ones."""
        ...

    async def do(self, caller: Caller, job: RunningJob, item: str) -> None:
        """Do an item on behalf of the job's account.

        After a crash an item may be repeated: that must have no effect, and raise no error. `key_of_item` makes an
        idempotency key.

        Raises:
            Unavailable, TooManyRequests: The job waits, and repeats the item.
            FlowRunnerError: The item has failed.
        """
        ...


class JobStore(Protocol):
    async def create(self, job: RunningJob, *, most_running: int, most_kept: int, audit: Audit = None) -> Job:
        """Store a new job, and delete the oldest ended ones of its workspace beyond ``most_kept``.

        A job without items ends at once.

        Raises: TooManyRequests if ``most_running`` jobs of the workspace are running.
        """
        ...

    async def get(self, workspace_id: WorkspaceId, id: JobId) -> Job:
        """Raises: NotFound."""
        ...

    async def page(self, workspace_id: WorkspaceId, *, page: Page) -> tuple[Sequence[Job], int]:
        """Return a page of jobs, the newest first, and the total."""
        ...

    async def running(self) -> Sequence[JobId]:
        """Return the running jobs of all workspaces, the oldest first."""
        ...

    async def load(self, id: JobId) -> tuple[RunningJob, Caller | None] | None:
        """Return a job with its account as a caller in its workspace.

        Returns:
            None if the job no longer runs. The caller is None if the account is gone or disabled, or has no role in the
            workspace.
        """
        ...

    async def caller(self, job: Job) -> Caller | None:
        """Return the account of a job as a caller in its workspace, as `load` does."""
        ...

    async def advance(self, job: RunningJob, progress: JobProgress, *, at: datetime) -> bool:
        """Record progress, and the end of the job after its last item.

        Returns: False, and nothing changes, if another process has advanced the job.
        """
        ...

    async def fail(self, job: RunningJob, error: JobError, *, at: datetime) -> None:
        """End a running job that cannot continue."""
        ...

    async def cancel(self, workspace_id: WorkspaceId, id: JobId, *, at: datetime, audit: Audit = None) -> None:
        """Raises: NotFound; Conflict if it has ended."""
        ...

    async def purge(self, *, ended_before: datetime, limit: int) -> bool:
        """Delete at most ``limit`` jobs that ended earlier; return whether there may be more."""
        ...
