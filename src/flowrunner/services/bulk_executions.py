"""Executions in bulk: the jobs that re-run, cancel or delete many."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Final, Literal, TypeAlias, cast

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.errors import Conflict, NotFound, invalid, quoted
from flowrunner.domain.jobs import MAX_ITEMS, Job, RunningJob, key_of_item
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.ports.execution_records import ExecutionRecordStore
from flowrunner.ports.executions import ExecutionReader, ExecutionView
from flowrunner.ports.jobs import JobType
from flowrunner.services.execution_records import ExecutionRecords
from flowrunner.services.executions import Executions
from flowrunner.services.jobs import Jobs, check_count, items_after
from flowrunner.services.reruns import RerunOptions, RerunRequest, Reruns
from flowrunner.services.selections import Selection, Selections

Action: TypeAlias = Literal["rerun", "cancel", "delete"]
_RIGHTS: Final[Mapping[Action, Right]] = {"rerun": Right.RUN, "cancel": Right.RUN, "delete": Right.WRITE}
# The executions that an action takes by a filter that names no status.
_STATUSES: Final[Mapping[Action, tuple[Status, ...]]] = {
    "rerun": (Status.FAILED,),
    "cancel": (Status.RUNNING, Status.WAITING),
    "delete": (Status.COMPLETED, Status.FAILED, Status.CANCELLED),
}
# Shown by a dry run.
_FIRST: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A preview of a job: the number of executions, and the first ones of them."""

    total: int
    first: Sequence[ExecutionView]


class BulkExecutions:
    def __init__(
        self, selections: Selections, reader: ExecutionReader, records: ExecutionRecordStore, jobs: Jobs
    ) -> None:
        self._selections = selections
        self._reader = reader
        self._records = records
        self._jobs = jobs

    async def plan(
        self, caller: Caller, action: Action, selection: Selection, *, options: RerunOptions | None = None
    ) -> Plan:
        """Return what `start` would do. Raises: as `start`; Forbidden also without the right to read."""
        authorise(caller, _RIGHTS[action])
        authorise(caller, Right.READ)
        RerunRequest(**(options or {})).check()
        ids = await self._select(caller, action, selection)
        # What is deleted or moved meanwhile is not shown.
        found = await self._reader.summaries(ids[:_FIRST])
        first = [execution for workspace_id, execution in found if workspace_id == caller.workspace_id]
        return Plan(total=len(ids), first=sorted(first, key=lambda execution: execution.id))

    async def start(
        self, caller: Caller, action: Action, selection: Selection, *, options: RerunOptions | None = None
    ) -> Job:
        """Create the job that does an action with the selected executions, the oldest first.

        Args:
            options: Those of `rerun`, for each execution.

        Raises:
            Forbidden.
            InvalidInput: If the workspace has no execution with one of the ids, too many are selected, or the options
                are not valid.
            TooManyRequests: If too many jobs of the workspace are running.
        """
        authorise(caller, _RIGHTS[action])
        RerunRequest(**(options or {})).check()
        ids = await self._select(caller, action, selection)
        work: dict[str, JSON] = {"ids": list(ids)}
        if options:
            work["options"] = cast("Mapping[str, JSON]", options)
        return await self._jobs.create(caller, f"executions.{action}", work, total=len(ids))

    async def _select(self, caller: Caller, action: Action, selection: Selection) -> Sequence[ExecutionId]:
        """Return the selected executions, the oldest first. Raises: InvalidInput."""
        if selection.ids:
            return await self._existing(caller, selection.ids)
        wanted = selection.filter
        if not wanted.statuses and not wanted.is_unrepaired:
            wanted = replace(wanted, statuses=_STATUSES[action])
        if action == "rerun":
            # What has been repeated since is not repeated beside that.
            wanted = replace(wanted, is_latest=True)
        selection = replace(selection, filter=wanted)
        return await self._selections.search(
            caller, selection, most=MAX_ITEMS, check=partial(check_count, field="filter")
        )

    async def _existing(self, caller: Caller, ids: Sequence[ExecutionId]) -> Sequence[ExecutionId]:
        """Raises: InvalidInput if the workspace lacks one of the executions."""
        existing = await self._records.existing(caller.workspace_id, ids)
        for number, id in enumerate(ids):
            if id not in existing:
                raise invalid(f"ids[{number}]", f"there is no execution {quoted(id)}", code="not_found")
        return sorted(existing)


class _OfExecutions:
    """The base of the types of jobs whose items are executions.

    Attributes:
        action: What such a job does with each.
    """

    action: ClassVar[Action]

    @property
    def name(self) -> str:
        return f"executions.{self.action}"

    @property
    def right(self) -> Right:
        return _RIGHTS[self.action]

    async def page(self, job: RunningJob, *, limit: int) -> Sequence[str]:
        return items_after(job, "ids", limit=limit)


class RerunExecutions(_OfExecutions):
    """Implements `ports.JobType`: repeats each execution, with the options of the job."""

    action = "rerun"

    def __init__(self, reruns: Reruns) -> None:
        self._reruns = reruns

    async def do(self, caller: Caller, job: RunningJob, item: str) -> None:
        options: Any = job.work.get("options", {})
        asked, key = RerunRequest(**options), key_of_item(job.id, item)
        await self._reruns.rerun(caller, ExecutionId(item), asked, idempotency_key=key)


class CancelExecutions(_OfExecutions):
    """Implements `ports.JobType`: cancels each execution that has not ended."""

    action = "cancel"

    def __init__(self, executions: Executions) -> None:
        self._executions = executions

    async def do(self, caller: Caller, job: RunningJob, item: str) -> None:
        try:
            await self._executions.cancel(caller, ExecutionId(item))
        except Conflict:
            # The job may have cancelled it before a crash.
            if (await self._executions.get(caller, ExecutionId(item))).status is not Status.CANCELLED:
                raise


class DeleteExecutions(_OfExecutions):
    """Implements `ports.JobType`: deletes each execution that has ended."""

    action = "delete"

    def __init__(self, records: ExecutionRecords) -> None:
        self._records = records

    async def do(self, caller: Caller, job: RunningJob, item: str) -> None:
        # The job may have deleted it before a crash.
        with contextlib.suppress(NotFound):
            await self._records.delete(caller, ExecutionId(item))


def execution_jobs(executions: Executions, reruns: Reruns, records: ExecutionRecords) -> Sequence[JobType]:
    return RerunExecutions(reruns), CancelExecutions(executions), DeleteExecutions(records)
