"""The approvals that wait for the caller, over REST."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Request
from msgspec import UNSET, Meta, UnsetType

from flowrunner.api.http.answers import Answer, Reply, answer, errors, link_to_next, present, stored
from flowrunner.api.http.authentication import ALSO_IN, caller_of
from flowrunner.api.http.requests import DEFAULT_LIMIT, Limit
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.errors import invalid
from flowrunner.domain.values import rfc3339, rfc3339_or_none
from flowrunner.services.approvals import PendingApproval

router = APIRouter(prefix="/api/v1/approvals", tags=["Executions"], route_class=ProtectedRoute)


class ApprovalInList(Answer, frozen=True, kw_only=True):
    execution_id: str
    flow_id: str
    flow_name: str
    workspace_id: str
    node: str
    step: Annotated[str, Meta(description="The step, by which it can be answered.")]
    prompt: str
    form: Annotated[Any, Meta(description="JSON Schema of the data in the answer; null for any data.")]
    since: str
    until: Annotated[
        str | None, Meta(description="The time at which it ends without an answer; null if it never does.")
    ]
    needed: Annotated[int, Meta(description="The number of approvals that are needed.")]
    given: Annotated[int, Meta(description="The number of approvals so far.")]
    link: Annotated[bool, Meta(description="A link answers it, too, until it is revoked.")]

    @classmethod
    def of(cls, approval: PendingApproval) -> Self:
        return cls(
            execution_id=approval.execution_id,
            flow_id=approval.flow_id,
            flow_name=approval.flow_name,
            workspace_id=approval.workspace_id,
            node=approval.node,
            step=approval.step,
            prompt=approval.prompt,
            form=stored(approval.form),
            since=rfc3339(approval.since),
            until=rfc3339_or_none(approval.until),
            needed=approval.needed,
            given=approval.given,
            link=approval.has_link,
        )


class ApprovalList(Answer, frozen=True, kw_only=True):
    approvals: list[ApprovalInList]
    limit: int
    next: Annotated[str | None, Meta(description="The `after` of the next page; null if nothing follows.")]
    next_cursor: Annotated[str | UnsetType, Meta(description="The same, as the `cursor` of the next page.")] = UNSET


@router.get("", responses=errors(401, 403, 404, 422))
async def list_approvals(
    request: Request,
    limit: Limit = DEFAULT_LIMIT,
    after: Annotated[str | None, Query(max_length=2000, description="The `next` of the previous page.")] = None,
    cursor: Annotated[
        str | None,
        Query(max_length=2000, description="The `next_cursor` of the page before; empty for the first page."),
    ] = None,
) -> Reply[ApprovalList]:
    """List the approvals that wait for the caller in all workspaces, the execution with the latest one first."""
    if after is not None and cursor is not None:
        raise invalid("after", "cannot be combined with cursor")
    approvals, caller = services_of(request).approvals, caller_of(request)
    request.scope[ALSO_IN] = caller.admitted_to
    # An empty cursor is that of the first page.
    place, name = (after, "after") if cursor is None else (cursor or None, "cursor")
    found, next = await approvals.page(caller, after=place, limit=limit, parameter=name)
    page = ApprovalList(
        approvals=[ApprovalInList.of(each) for each in found], limit=limit, next=next, next_cursor=present(next)
    )
    return answer(page, headers=link_to_next(request, next))
