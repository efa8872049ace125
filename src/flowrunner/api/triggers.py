"""Triggers over REST. They are written in the documents of flows."""

from datetime import date
from typing import Annotated, Final, Literal, Self

import msgspec
from fastapi import APIRouter, Query, Request
from msgspec import Meta
from pydantic import Field

from flowrunner.api.execution_answers import RunAnswer
from flowrunner.api.http.answers import BODY_ERRORS, Answer, ListAnswer, Reply, answer, encoded, errors
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.idempotency import IDEMPOTENCY_KEY, idempotency_key_of
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import (
    DIGITS,
    DRY_RUN,
    Body,
    Paging,
    day_or_moment_of,
    is_dry_run,
    moment_of,
    text_filter,
)
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.api.jobs import JOB_CREATED, JobAnswer
from flowrunner.api.starts import accepted
from flowrunner.domain.account import Caller, Right
from flowrunner.domain.schedules import MOST_MISSED
from flowrunner.domain.triggers import Missed, Overlap, Schedule, TriggerId
from flowrunner.domain.values import FlowId, rfc3339, rfc3339_or_none
from flowrunner.ports.triggers import TriggerView
from flowrunner.services.backfills import NAME, BackfillPlan

router = APIRouter(prefix="/api/v1/triggers", tags=["Triggers"], route_class=ProtectedRoute)

HOOKS_PATH: Final = "/hooks/"
MAX_NEXT: Final = 1000


class ScheduleAnswer(Answer, frozen=True, kw_only=True):
    """When a schedule starts its flow: one of the first three, as the document says it."""

    cron: Annotated[str | None, Meta(description="Five fields, read in the time zone.")]
    every_seconds: float | None
    at: str | None
    timezone: Annotated[str, Meta(description="The IANA name of a time zone.")]
    missed: Annotated[Missed, Meta(description="The due times of an outage that are started after it.")]
    overlap: Annotated[Overlap, Meta(description="What happens while an execution that it started is open.")]

    @classmethod
    def of(cls, schedule: Schedule) -> Self:
        return cls(
            cron=schedule.cron,
            every_seconds=schedule.every_seconds,
            at=rfc3339_or_none(schedule.at),
            timezone=schedule.timezone,
            missed=schedule.missed,
            overlap=schedule.overlap,
        )


class TriggerAnswer(Answer, frozen=True, kw_only=True):
    id: str
    flow_id: str
    flow_name: str
    name: str
    type: Literal["schedule", "webhook", "execution"]
    state: Annotated[
        Literal["armed", "paused", "failing", "ended"],
        Meta(description="`failing` after several failed starts; `paused` also while its flow is disabled."),
    ]
    schedule: Annotated[ScheduleAnswer | None, Meta(description="Of a schedule: its times. Null for other types.")]
    next_at: Annotated[str | None, Meta(description="When a schedule starts the flow next.")]
    last_at: Annotated[str | None, Meta(description="When it last started the flow.")]
    last_execution_id: str | None
    url: Annotated[
        str | None, Meta(description="Path of a webhook on this server; its secret part only for those who may write.")
    ]
    error: Annotated[str | None, Meta(description="Why the last start failed.")]
    warning: Annotated[
        str | None,
        Meta(description="Why it starts nothing although it is armed: its workspace does not have the flow it names."),
    ]
    skipped: Annotated[int, Meta(description="Due times without a start, because an execution was open.")]
    missed: Annotated[
        int,
        Meta(
            description="Due times without a start, because they were found too late: of each outage, at most "
            f"{MOST_MISSED}."
        ),
    ]

    @classmethod
    def of(cls, trigger: TriggerView, caller: Caller) -> Self:
        return cls(
            id=trigger.id,
            flow_id=trigger.flow_id,
            flow_name=trigger.flow_name,
            name=trigger.name,
            type=trigger.type,
            state=trigger.state,
            schedule=ScheduleAnswer.of(trigger.spec) if isinstance(trigger.spec, Schedule) else None,
            next_at=rfc3339_or_none(trigger.next_at),
            last_at=rfc3339_or_none(trigger.last_at),
            last_execution_id=trigger.last_execution_id,
            url=_url(trigger, caller),
            error=trigger.error,
            warning=trigger.warning,
            skipped=trigger.skipped,
            missed=trigger.missed,
        )


class TriggerList(ListAnswer, frozen=True):
    triggers: list[TriggerAnswer]


class NextTimes(Answer, frozen=True, kw_only=True):
    next: Annotated[list[str], Meta(description="The moments at which it starts the flow, the first one first.")]


class Backfill(Body):
    from_: str = Field(
        alias="from",
        max_length=50,
        description="The first moment of the period, or its first day in the time zone of the schedule.",
    )
    to: str = Field(max_length=50, description="The moment or the day after the period, which is over.")

    def period(self) -> tuple[date, date]:
        """Return days or moments. Raises: InvalidInput."""
        return day_or_moment_of("from", self.from_), day_or_moment_of("to", self.to)


class PlannedBackfill(Answer, frozen=True, kw_only=True):
    """The answer to a dry run."""

    type: str
    total: Annotated[int, Meta(description="The due times of the period; those that were started are left out.")]
    times: Annotated[list[str], Meta(description="The first ones.")]

    @classmethod
    def of(cls, plan: BackfillPlan) -> Self:
        return cls(type=NAME, total=plan.total, times=[rfc3339(time) for time in plan.first])


def _url(trigger: TriggerView, caller: Caller) -> str | None:
    if trigger.url_token is None:
        return None
    return HOOKS_PATH + (trigger.url_token if Right.WRITE in caller.rights else "…")


def _answer(trigger: TriggerView, request: Request) -> Reply[TriggerAnswer]:
    return answer(TriggerAnswer.of(trigger, caller_of(request)))


@router.get("", responses=errors(401, 403, 404, 422))
async def list_triggers(
    request: Request,
    *,
    flow_id: Annotated[str | None, text_filter()] = None,
    type: Literal["schedule", "webhook", "execution"] | None = None,
    page: Paging,
) -> Reply[TriggerList]:
    """List the triggers of the workspace's flows, including those that their documents no longer have."""
    caller = caller_of(request)
    of_flow = None if flow_id is None else FlowId(flow_id)
    return await paged(
        request,
        page,
        lambda page: services_of(request).triggers.page(caller, flow_id=of_flow, type=type, page=page),
        kind=TriggerList,
        item=lambda trigger: TriggerAnswer.of(trigger, caller),
        position=lambda trigger: trigger.position,
    )


@router.get("/{id}", responses=errors(401, 403, 404))
async def get_trigger(request: Request, id: str) -> Reply[TriggerAnswer]:
    """Return a trigger with its configuration and its next start."""
    return _answer(await services_of(request).triggers.get(caller_of(request), TriggerId(id)), request)


@router.post("/{id}/pause", responses=errors(401, 403, 404, 409))
@RoutePolicy(right=Right.RUN, is_change=True)
async def pause_trigger(request: Request, id: str) -> Reply[TriggerAnswer]:
    """Pause a trigger: it starts nothing until it is resumed, even if the flow is saved again."""
    triggers = services_of(request).triggers
    return _answer(await triggers.set_paused(caller_of(request), TriggerId(id), paused=True), request)


@router.post("/{id}/resume", responses=errors(401, 403, 404, 409))
@RoutePolicy(right=Right.RUN, is_change=True)
async def resume_trigger(request: Request, id: str) -> Reply[TriggerAnswer]:
    """Resume a trigger; starts that were due during the pause are not made up for."""
    triggers = services_of(request).triggers
    return _answer(await triggers.set_paused(caller_of(request), TriggerId(id), paused=False), request)


@router.post(
    "/{id}/run",
    status_code=201,
    responses={200: {"description": "Already started by the same Idempotency-Key"}, **errors(401, 403, 404, 409, 422)},
)
@RoutePolicy(right=Right.RUN, parameters=[IDEMPOTENCY_KEY])
async def run_trigger(request: Request, id: str) -> Reply[RunAnswer]:
    """Fire a schedule now, even if it is paused. Its due times stay as they are."""
    key = idempotency_key_of(request)
    started = await services_of(request).triggers.run(caller_of(request), TriggerId(id), idempotency_key=key)
    return accepted(started, RunAnswer.of(started))


@router.post(
    "/{id}/backfill",
    status_code=202,
    responses={
        200: {"description": "What the job would do: the answer to a dry run", "answer": PlannedBackfill},
        202: JOB_CREATED,
        **errors(401, 403, 404, 409, *BODY_ERRORS),
    },
)
@RoutePolicy(right=Right.RUN, is_change=True, repeats=Repeats(), parameters=[DRY_RUN])
async def backfill_trigger(request: Request, id: str, body: Backfill) -> Reply[JobAnswer]:
    """Start, in a job, what a schedule has not started in a period."""
    backfills, caller = services_of(request).backfills, caller_of(request)
    first, end = body.period()
    if is_dry_run(request):
        plan = await backfills.plan(caller, TriggerId(id), first, end)
        return encoded(msgspec.json.encode(PlannedBackfill.of(plan)))
    job = await backfills.start(caller, TriggerId(id), first, end)
    return answer(JobAnswer.of(job), 202, {"Location": f"/api/v1/jobs/{job.id}"})


@router.get("/{id}/next", responses=errors(401, 403, 404, 422))
async def next_times(
    request: Request,
    id: str,
    count: Annotated[int, Query(ge=1, le=MAX_NEXT), DIGITS] = 5,
    after: Annotated[
        str | None, Query(max_length=50, description="Only later starts, such as those after the last one of a page.")
    ] = None,
    until: Annotated[str | None, Query(max_length=50, description="Only starts before this moment.")] = None,
) -> Reply[NextTimes]:
    """Return when a schedule starts the flow next, or would if it is paused."""
    times = await services_of(request).triggers.next_times(
        caller_of(request),
        TriggerId(id),
        count=count,
        after=moment_of("after", after),
        until=moment_of("until", until),
    )
    return answer(NextTimes(next=[rfc3339(time) for time in times]))
