"""Revisions of flows over REST."""

from typing import Annotated, Self

from fastapi import APIRouter, Path, Query, Request
from msgspec import Meta
from msgspec.structs import asdict

from flowrunner.api.flows import DifferenceSummary, FlowAnswer, planned, saved
from flowrunner.api.http.answers import Answer, ListAnswer, Message, Reply, answer, errors
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.conditions import IF_MATCH, change_condition_of, with_etag
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import DIGITS, DRY_RUN, Paging, is_dry_run
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.values import FlowId, rfc3339
from flowrunner.ports.flows import RevisionView

router = APIRouter(prefix="/api/v1/flows/{id}/revisions", tags=["Flows"], route_class=ProtectedRoute)

RevisionNumber = Annotated[int, Path(ge=1, le=2**53), DIGITS]


class RevisionAnswer(Answer, frozen=True, kw_only=True):
    number: Annotated[int, Meta(description="Counted from 1 within the flow.")]
    version: Annotated[str, Meta(description="The author's label: the definition's `metadata.version`.")]
    created_at: str
    created_by: Annotated[str, Meta(description="The id of the account that saved it.")]
    is_current: bool
    size: Annotated[int, Meta(description="Bytes of the definition.")]

    @classmethod
    def of(cls, revision: RevisionView) -> Self:
        return cls(
            number=revision.number,
            version=revision.version,
            created_at=rfc3339(revision.created_at),
            created_by=revision.created_by,
            is_current=revision.is_current,
            size=revision.size,
        )


class RevisionDetail(RevisionAnswer, frozen=True, kw_only=True):
    definition: str


class RevisionList(ListAnswer, frozen=True):
    revisions: list[RevisionAnswer]


class DifferenceAnswer(Answer, frozen=True, kw_only=True):
    number: int
    against: Annotated[int | None, Meta(description="The revision compared against; null if there is no earlier one.")]
    diff: Annotated[str, Meta(description="A unified diff; empty if nothing changed.")]
    is_truncated: Annotated[bool, Meta(description="`true` if the difference is longer than 1 MiB and was cut off.")]
    summary: Annotated[DifferenceSummary | None, Meta(description="Null if one of the two is not valid YAML.")]


@router.get("", responses=errors(401, 403, 404, 422))
async def list_revisions(request: Request, id: str, page: Paging) -> Reply[RevisionList]:
    """List the revisions of a flow, the newest first."""
    return await paged(
        request,
        page,
        lambda page: services_of(request).flows.revisions(caller_of(request), FlowId(id), page=page),
        kind=RevisionList,
        item=RevisionAnswer.of,
        position=lambda revision: revision.number,
    )


@router.get("/{number}", responses=errors(401, 403, 404, 422))
async def get_revision(request: Request, id: str, number: RevisionNumber) -> Reply[RevisionDetail]:
    """Return a revision of a flow, with its definition."""
    revision = await services_of(request).flows.revision(caller_of(request), FlowId(id), number)
    return answer(RevisionDetail(**asdict(RevisionAnswer.of(revision)), definition=revision.definition))


@router.get("/{number}/diff", responses=errors(401, 403, 404, 422))
async def compare_revisions(
    request: Request,
    id: str,
    number: RevisionNumber,
    against: Annotated[
        int | None,
        Query(ge=1, le=2**53, description="The revision to compare against; the previous one if absent."),
        DIGITS,
    ] = None,
) -> Reply[DifferenceAnswer]:
    """Return the differences between two revisions."""
    difference, start = await services_of(request).flows.compare(
        caller_of(request), FlowId(id), number, against=against
    )
    summary = difference.summary
    return answer(
        DifferenceAnswer(
            number=number,
            against=start,
            diff=difference.text,
            is_truncated=difference.is_truncated,
            summary=None if summary is None else DifferenceSummary.of(summary),
        )
    )


@router.post(
    "/{number}/restore",
    responses={**with_etag(), **errors(400, 401, 404, 409, 412, 422)},
)
@RoutePolicy(repeats=Repeats(), parameters=[IF_MATCH, DRY_RUN])
async def restore_revision(request: Request, id: str, number: RevisionNumber) -> Reply[FlowAnswer]:
    """Restore an old definition as a new revision. The history is unchanged."""
    flows, caller, condition = services_of(request).flows, caller_of(request), change_condition_of(request)
    if is_dry_run(request):
        return await planned(request, await flows.plan_restore(caller, FlowId(id), number, condition=condition))
    return saved(await flows.restore(caller, FlowId(id), number, condition=condition))


@router.delete(
    "/{number}",
    responses=errors(401, 403, 404, 409, 422),
)
@RoutePolicy(parameters=[DRY_RUN])
async def delete_revision(request: Request, id: str, number: RevisionNumber) -> Reply[Message]:
    """Delete an old revision. Its finished executions stay readable."""
    dry_run = is_dry_run(request)
    await services_of(request).flows.delete_revision(caller_of(request), FlowId(id), number, dry_run=dry_run)
    return answer(Message(message="The revision would be deleted" if dry_run else "Revision deleted successfully"))
