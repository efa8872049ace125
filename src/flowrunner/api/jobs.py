"""Jobs over REST, and the request that creates one for many executions."""

from datetime import datetime
from typing import Annotated, Final, Literal, Self

import msgspec
from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from pydantic import BeforeValidator, Field

from flowrunner.api.execution_answers import ExecutionAnswer
from flowrunner.api.execution_filters import filter_of
from flowrunner.api.http.answers import (
    BODY_ERRORS,
    Answer,
    ListAnswer,
    Message,
    Reply,
    answer,
    encoded,
    errors,
    present,
)
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import DRY_RUN, Body, Paging, at_most, is_dry_run, moment_of
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import now_of, services_of
from flowrunner.api.starts import RerunFields
from flowrunner.domain.account import Right
from flowrunner.domain.errors import invalid
from flowrunner.domain.jobs import MAX_ERRORS, MAX_ITEMS, Job, JobStatus
from flowrunner.domain.labels import MAX_TERMS
from flowrunner.domain.values import ExecutionId, JobId, rfc3339, rfc3339_or_none
from flowrunner.services.bulk_executions import Plan
from flowrunner.services.reruns import RerunOptions
from flowrunner.services.selections import Selection

router = APIRouter(prefix="/api/v1", tags=["Jobs"], route_class=ProtectedRoute)


def _one_text(statuses: object) -> object:
    """Raises: ValueError if the statuses are a list."""
    if isinstance(statuses, list):
        raise ValueError("must be one text, with commas between several statuses: 'failed,cancelled'")
    return statuses


class SelectExecutions(Body):
    """The filters of `GET /api/v1/executions`. For `rerun`, those that have been rerun since are left out."""

    flow_id: str | None = Field(default=None, min_length=1, max_length=200)
    flow: str | None = Field(default=None, min_length=1, max_length=200, description="The id or the name of a flow.")
    status: Annotated[str | None, BeforeValidator(_one_text)] = Field(
        default=None, min_length=1, max_length=200, description="One, or several separated by commas."
    )
    since: str | None = Field(
        default=None,
        min_length=1,
        max_length=50,
        description="Those that started then or later; `-24h`: that long ago.",
    )
    until: str | None = Field(default=None, min_length=1, max_length=50, description="Those that started before then.")
    error_type: str | None = Field(default=None, min_length=1, max_length=200)
    node: str | None = Field(default=None, min_length=1, max_length=200, description="Those that failed at this node.")
    trigger: str | None = Field(default=None, min_length=1, max_length=200)
    rerun_of: str | None = Field(default=None, min_length=1, max_length=200)
    job: str | None = Field(default=None, min_length=1, max_length=200)
    unrepaired: bool = Field(default=False, description="Failed ones that no completed rerun has repaired.")
    parent: Literal["none"] | None = Field(default=None, description="`none`: those without a `parent_id`.")
    parent_id: str | None = Field(default=None, min_length=1, max_length=200)
    label: list[Annotated[str, Field(max_length=300)]] = Field(
        default=[], max_length=MAX_TERMS, description="Those with all of these labels, each written as `team:core`."
    )
    input: Annotated[dict[str, Annotated[str, Field(max_length=1000)]], at_most(MAX_TERMS)] = Field(
        default={}, max_length=MAX_TERMS, description="Those with all of these values of searchable inputs."
    )

    def selection(self, now: datetime) -> Selection:
        """Raises: InvalidInput."""
        wanted = filter_of(
            flow_id=self.flow_id,
            statuses=[] if self.status is None else [self.status],
            error_type=self.error_type,
            node=self.node,
            trigger=self.trigger,
            rerun_of=self.rerun_of,
            job=self.job,
            unrepaired=self.unrepaired,
            parent=self.parent,
            parent_id=self.parent_id,
            labels=self.label,
            inputs=list(self.input.items()),
            within="filter.",
        )
        return Selection(
            filter=wanted,
            flow=self.flow,
            since=moment_of("filter.since", self.since, now=now),
            until=moment_of("filter.until", self.until, now=now),
        )


class BatchBody(RerunFields):
    """`from`, `elements`, `revision` and `idempotency` are for `rerun`, and hold for each execution."""

    action: Literal["rerun", "cancel", "delete"]
    ids: list[Annotated[str, Field(max_length=200)]] | None = Field(
        default=None, min_length=1, max_length=MAX_ITEMS, description="The executions; or else `filter` selects them."
    )
    filter: SelectExecutions | None = Field(
        default=None,
        description="At least one filter. Without a `status`, `rerun` takes failed executions, `cancel` those that "
        "have not ended, and `delete` those that have.",
    )

    def rerun_options(self) -> RerunOptions | None:
        """Return the options of the reruns, or None without any. Raises: InvalidInput for another action."""
        given = sorted(name for name, field in RerunFields.model_fields.items() if getattr(self, name) != field.default)
        if given and self.action != "rerun":
            raise invalid(given[0].removesuffix("_"), "goes only with the action 'rerun'")
        return self.options() if given else None

    def selection(self, now: datetime) -> Selection:
        """Raises: InvalidInput."""
        if (self.ids is None) == (self.filter is None):
            raise invalid("filter", "either ids or a filter is required, and not both", code="required")
        if self.ids is not None:
            return Selection(ids=[ExecutionId(id) for id in self.ids])
        assert self.filter is not None, "checked above"
        # A null is no filter either.
        if not any(self.filter.model_dump().values()):
            raise invalid("filter", "names nothing to filter by", code="required", hint="name a flow or a status")
        return self.filter.selection(now)


class JobErrorAnswer(Answer, frozen=True, kw_only=True):
    item: Annotated[
        str | UnsetType, Meta(description="The execution, or the due time. Absent if the whole job cannot go on.")
    ] = UNSET
    message: str


class JobAnswer(Answer, frozen=True, kw_only=True):
    id: str
    type: Annotated[str, Meta(description="The action: `executions.rerun`, `executions.cancel`, …")]
    status: Annotated[str, Meta(extra_json_schema={"enum": [status.value for status in JobStatus]})]
    total: int
    done: int
    failed: Annotated[int, Meta(description="The number of items that failed.")]
    errors: Annotated[list[JobErrorAnswer], Meta(description=f"The first {MAX_ERRORS}.")]
    created_at: str
    completed_at: Annotated[str | UnsetType, Meta(description="Absent until the job has ended.")] = UNSET

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            id=job.id,
            type=job.type,
            status=job.status.value,
            total=job.total,
            done=job.done,
            failed=job.failed,
            errors=[JobErrorAnswer(item=present(error.item), message=error.message) for error in job.errors],
            created_at=rfc3339(job.created_at),
            completed_at=present(rfc3339_or_none(job.completed_at)),
        )


class PlannedJob(Answer, frozen=True, kw_only=True):
    """The answer to a dry run."""

    type: str
    total: int
    executions: Annotated[list[ExecutionAnswer], Meta(description="The first ones.")]

    @classmethod
    def of(cls, action: str, plan: Plan) -> Self:
        return cls(
            type=f"executions.{action}",
            total=plan.total,
            executions=[ExecutionAnswer.of(execution) for execution in plan.first],
        )


class JobList(ListAnswer, frozen=True):
    jobs: list[JobAnswer]


# Describes the answer to a request that has created a job.
JOB_CREATED: Final = {
    "description": "The job was created",
    "headers": {"Location": {"description": "The job.", "schema": {"type": "string"}}},
}


@router.post(
    "/executions:batch",
    status_code=202,
    responses={
        200: {"description": "What the job would do: the answer to a dry run", "answer": PlannedJob},
        202: JOB_CREATED,
        **errors(401, 403, 409, *BODY_ERRORS),
    },
)
@RoutePolicy(right=Right.RUN, is_change=True, repeats=Repeats(), parameters=[DRY_RUN])
async def change_executions(request: Request, body: BatchBody) -> Reply[JobAnswer]:
    """Re-run, cancel or delete many executions, in a job. Deleting requires the right to write."""
    bulk, caller, selection = services_of(request).bulk, caller_of(request), body.selection(now_of(request))
    options = body.rerun_options()
    if is_dry_run(request):
        plan = PlannedJob.of(body.action, await bulk.plan(caller, body.action, selection, options=options))
        return encoded(msgspec.json.encode(plan))
    job = await bulk.start(caller, body.action, selection, options=options)
    return answer(JobAnswer.of(job), 202, {"Location": f"/api/v1/jobs/{job.id}"})


@router.get("/jobs", responses=errors(401, 403, 422))
async def list_jobs(request: Request, page: Paging) -> Reply[JobList]:
    """List the jobs of the workspace, the newest first."""
    return await paged(
        request,
        page,
        lambda page: services_of(request).jobs.page(caller_of(request), page=page),
        kind=JobList,
        item=JobAnswer.of,
        position=lambda job: job.id,
    )


@router.get("/jobs/{id}", responses=errors(401, 403, 404))
async def get_job(request: Request, id: str) -> Reply[JobAnswer]:
    """Return a job with its progress and its first errors."""
    return answer(JobAnswer.of(await services_of(request).jobs.get(caller_of(request), JobId(id))))


@router.delete("/jobs/{id}", responses=errors(401, 403, 404, 409))
@RoutePolicy(right=Right.RUN)
async def stop_job(request: Request, id: str) -> Reply[Message]:
    """Stop a job. What it has done stays done."""
    await services_of(request).jobs.cancel(caller_of(request), JobId(id))
    return answer(Message(message="Job stopped successfully"))
