"""Rules of retention of flows and workspaces over REST."""

from datetime import timedelta
from typing import Annotated, Self

from fastapi import APIRouter, Request
from msgspec import Meta
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Answer, Reply, answer, errors
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import DRY_RUN, Body, is_dry_run
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.account import Right
from flowrunner.domain.retention import LONGEST_AGE, MOST_KEPT, SHORTEST_AGE, RetentionRule
from flowrunner.domain.values import FlowId
from flowrunner.services.retention import RetentionInForce

of_flows = APIRouter(prefix="/api/v1/flows/{id}/retention", tags=["Flows"], route_class=ProtectedRoute)
of_workspaces = APIRouter(prefix="/api/v1/workspaces/{id}/retention", tags=["Workspaces"], route_class=ProtectedRoute)


class SetRetention(Body):
    max_age_seconds: int | None = Field(
        default=None,
        ge=int(SHORTEST_AGE.total_seconds()),
        le=int(LONGEST_AGE.total_seconds()),
        description="Executions are deleted when they ended longer ago. If absent, the next wider rule applies.",
    )
    max_count: int | None = Field(
        default=None,
        ge=1,
        le=MOST_KEPT,
        description="The latest ended executions of a flow that are kept. If absent, the next wider rule applies.",
    )


class RuleAnswer(Answer, frozen=True, kw_only=True):
    """A rule of retention; null is none."""

    max_age_seconds: int | None
    max_count: int | None

    @classmethod
    def of(cls, rule: RetentionRule) -> Self:
        age = rule.max_age
        return cls(max_age_seconds=None if age is None else int(age.total_seconds()), max_count=rule.max_count)


class RetentionAnswer(RuleAnswer, frozen=True, kw_only=True):
    in_force: Annotated[
        RuleAnswer, Meta(description="The rule that holds, with those of the workspace and of the server.")
    ]

    @classmethod
    def in_answer(cls, found: RetentionInForce) -> Self:
        own = RuleAnswer.of(found.own)
        return cls(max_age_seconds=own.max_age_seconds, max_count=own.max_count, in_force=RuleAnswer.of(found.in_force))


def _rule(body: SetRetention) -> RetentionRule:
    age = body.max_age_seconds
    return RetentionRule(max_age=None if age is None else timedelta(seconds=age), max_count=body.max_count)


@of_flows.get("", responses=errors(401, 403, 404))
async def get_flow_retention(request: Request, id: str) -> Reply[RetentionAnswer]:
    """Return how long ended executions of a flow are kept."""
    found = await services_of(request).retention.of_flow(caller_of(request), FlowId(id))
    return answer(RetentionAnswer.in_answer(found))


@of_flows.put("", responses=errors(401, 403, 404, *BODY_ERRORS))
@RoutePolicy(parameters=[DRY_RUN])
async def set_flow_retention(request: Request, id: str, body: SetRetention) -> Reply[RetentionAnswer]:
    """Replace the rule of a flow. The next purge deletes what has outlived it."""
    found = await services_of(request).retention.set_of_flow(
        caller_of(request), FlowId(id), _rule(body), dry_run=is_dry_run(request)
    )
    return answer(RetentionAnswer.in_answer(found))


@of_workspaces.get("", responses=errors(401, 403, 404))
async def get_workspace_retention(request: Request, id: str) -> Reply[RetentionAnswer]:
    """Return how long ended executions of a workspace's flows are kept."""
    return answer(RetentionAnswer.in_answer(await services_of(request).retention.of_workspace(caller_of(request))))


@of_workspaces.put("", responses=errors(401, 403, 404, *BODY_ERRORS))
@RoutePolicy(right=Right.MEMBERS, parameters=[DRY_RUN])
async def set_workspace_retention(request: Request, id: str, body: SetRetention) -> Reply[RetentionAnswer]:
    """Replace the rule of a workspace, for those of its flows that have none."""
    found = await services_of(request).retention.set_of_workspace(
        caller_of(request), _rule(body), dry_run=is_dry_run(request)
    )
    return answer(RetentionAnswer.in_answer(found))
