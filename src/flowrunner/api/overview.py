"""The overview of a workspace and numbers of its executions over time, over REST."""

from typing import Annotated, Self

from fastapi import APIRouter, Query, Request
from msgspec import UNSET, Meta, UnsetType

from flowrunner.api.execution_answers import ExecutionStatus, WaitingFor, duration_of
from flowrunner.api.http.answers import Answer, Reply, answer, errors, present, stored
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.requests import DIGITS, Since, Until, moment_of, text_filter
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import now_of, services_of
from flowrunner.domain.status import Status
from flowrunner.domain.values import FlowId, rfc3339, rfc3339_or_none
from flowrunner.ports.overview import OpenExecution, RecentExecution
from flowrunner.services.overview import (
    MOST_BUCKETS,
    SHOWN_OF_A_FLOW,
    Bucket,
    ExecutionHistogram,
    FlowActivity,
    Overview,
    Percentiles,
)

router = APIRouter(prefix="/api/v1", tags=["Executions"], route_class=ProtectedRoute)

_MILLISECONDS = Meta(description="Milliseconds.")


class StatusCounts(Answer, frozen=True, kw_only=True):
    """The number of executions in each status."""

    running: int
    waiting: int
    completed: int
    failed: int
    cancelled: int


class DurationsAnswer(Answer, frozen=True, kw_only=True):
    """Percentiles of the durations of completed executions."""

    sample: Annotated[int, Meta(description="The number of executions, the latest ones.")]
    p50: Annotated[int, _MILLISECONDS]
    p95: Annotated[int, _MILLISECONDS]

    @classmethod
    def of(cls, found: Percentiles | None) -> Self | UnsetType:
        return UNSET if found is None else cls(sample=found.sample, p50=found.p50, p95=found.p95)


class OpenExecutionAnswer(Answer, frozen=True, kw_only=True):
    id: str
    flow_id: str
    flow_name: str | UnsetType = UNSET
    started_at: str
    waiting_for: Annotated[list[WaitingFor] | UnsetType, Meta(description="Absent unless it waits.")] = UNSET

    @classmethod
    def of(cls, execution: OpenExecution) -> Self:
        return cls(
            id=execution.id,
            flow_id=execution.flow_id,
            flow_name=present(execution.flow_name),
            started_at=rfc3339(execution.started_at),
            waiting_for=stored(execution.waiting_for),
        )


class RecentExecutionAnswer(Answer, frozen=True, kw_only=True):
    id: str
    status: ExecutionStatus
    started_at: str
    duration: Annotated[int | UnsetType, Meta(description="Milliseconds. Absent until it has ended.")] = UNSET

    @classmethod
    def of(cls, execution: RecentExecution) -> Self:
        return cls(
            id=execution.id,
            status=execution.status.value,
            started_at=rfc3339(execution.started_at),
            duration=duration_of(execution.started_at, execution.completed_at),
        )


class LatestFailure(Answer, frozen=True, kw_only=True):
    execution_id: str
    failed_at: str | UnsetType = UNSET
    error: Annotated[str | UnsetType, Meta(description="The beginning of the error's message.")] = UNSET
    error_type: str | UnsetType = UNSET
    failed_node: str | UnsetType = UNSET

    @classmethod
    def of(cls, execution: RecentExecution | None) -> Self | UnsetType:
        if execution is None:
            return UNSET
        return cls(
            execution_id=execution.id,
            failed_at=present(rfc3339_or_none(execution.completed_at)),
            error=present(execution.error),
            error_type=present(execution.error_type),
            failed_node=present(execution.failed_node),
        )


class FlowActivityAnswer(Answer, frozen=True, kw_only=True):
    flow_id: str
    name: str
    disabled: bool
    failing: Annotated[
        LatestFailure | UnsetType, Meta(description="Absent unless the last execution that has ended has failed.")
    ] = UNSET
    durations: Annotated[
        DurationsAnswer | UnsetType, Meta(description="Of those of the executions below that completed.")
    ] = UNSET
    next_start_at: Annotated[
        str | UnsetType, Meta(description="When a schedule starts it next. Absent if none does, or it is disabled.")
    ] = UNSET
    executions: Annotated[
        list[RecentExecutionAnswer], Meta(description=f"The last {SHOWN_OF_A_FLOW}, the newest first.")
    ]

    @classmethod
    def of(cls, activity: FlowActivity) -> Self:
        flow = activity.flow
        return cls(
            flow_id=flow.id,
            name=flow.name,
            disabled=flow.is_disabled,
            failing=LatestFailure.of(activity.failure),
            durations=DurationsAnswer.of(activity.durations),
            next_start_at=present(rfc3339_or_none(flow.next_start_at)),
            executions=[RecentExecutionAnswer.of(one) for one in flow.executions],
        )


class OverviewAnswer(Answer, frozen=True, kw_only=True):
    at: str
    counts: StatusCounts
    waiting: Annotated[
        list[OpenExecutionAnswer], Meta(description="The newest that wait for a signal or an approval, at most 10.")
    ]
    running: Annotated[list[OpenExecutionAnswer], Meta(description="The newest that run, at most 10.")]
    failing_flows: Annotated[
        int,
        Meta(
            description="The number of flows whose last execution that has ended has failed,"
            " among the 2,000 flows that were created last."
        ),
    ]
    flows: Annotated[list[FlowActivityAnswer], Meta(description="Those with the newest executions first.")]

    @classmethod
    def of(cls, overview: Overview) -> Self:
        activity = overview.activity
        return cls(
            at=rfc3339(overview.at),
            counts=StatusCounts(**{status.value: activity.counts.get(status, 0) for status in Status}),
            waiting=[OpenExecutionAnswer.of(one) for one in activity.waiting],
            running=[OpenExecutionAnswer.of(one) for one in activity.running],
            failing_flows=activity.failing_flows,
            flows=[FlowActivityAnswer.of(one) for one in overview.flows],
        )


class BucketAnswer(Answer, frozen=True, kw_only=True):
    since: str
    until: str
    counts: StatusCounts
    is_exact: Annotated[bool, Meta(description="`false` if one of the numbers, 10,000, is a lower bound.")]

    @classmethod
    def of(cls, bucket: Bucket) -> Self:
        counts = StatusCounts(**{status.value: bucket.counts.get(status, 0) for status in Status})
        return cls(since=rfc3339(bucket.first), until=rfc3339(bucket.end), counts=counts, is_exact=bucket.is_exact)


class DurationBucket(Answer, frozen=True, kw_only=True):
    at_least: Annotated[int, _MILLISECONDS]
    below: Annotated[int, _MILLISECONDS]
    count: int


class HistogramAnswer(Answer, frozen=True, kw_only=True):
    buckets: Annotated[list[BucketAnswer], Meta(description="The oldest first, by the start of the executions.")]
    durations: Annotated[
        DurationsAnswer | UnsetType, Meta(description="Of the last 1,000 executions that completed.")
    ] = UNSET
    distribution: Annotated[list[DurationBucket], Meta(description="The durations of these executions.")]

    @classmethod
    def of(cls, found: ExecutionHistogram) -> Self:
        return cls(
            buckets=[BucketAnswer.of(bucket) for bucket in found.buckets],
            durations=DurationsAnswer.of(found.durations),
            distribution=[DurationBucket(at_least=low, below=high, count=n) for low, high, n in found.distribution],
        )


@router.get("/overview", responses=errors(401, 403, 422))
async def get_overview(
    request: Request,
    flows: Annotated[int, Query(ge=1, le=100, description="The maximum number of flows to return."), DIGITS] = 50,
    flow_id: Annotated[
        list[str] | None,
        Query(max_length=100, description="Ids of the flows to return, instead of those with the newest executions."),
    ] = None,
) -> Reply[OverviewAnswer]:
    """Return what runs, waits and fails in the workspace, with the latest executions of each flow."""
    ids = None if flow_id is None else [FlowId(id) for id in flow_id]
    found = await services_of(request).overviews.of_workspace(caller_of(request), flows=flows, ids=ids)
    return answer(OverviewAnswer.of(found))


@router.get("/executions/histogram", responses=errors(401, 403, 422))
async def get_histogram(
    request: Request,
    flow_id: Annotated[str | None, text_filter("Only executions of this flow.")] = None,
    since: Since = None,
    until: Until = None,
    buckets: Annotated[
        int, Query(ge=1, le=MOST_BUCKETS, description="The number of buckets of equal length."), DIGITS
    ] = 48,
) -> Reply[HistogramAnswer]:
    """Count executions by status over time, of the last day if nothing else is asked for, and their durations."""
    found = await services_of(request).overviews.histogram(
        caller_of(request),
        flow_id=None if flow_id is None else FlowId(flow_id),
        since=moment_of("since", since, now=now_of(request)),
        until=moment_of("until", until, now=now_of(request)),
        buckets=buckets,
    )
    return answer(HistogramAnswer.of(found))
