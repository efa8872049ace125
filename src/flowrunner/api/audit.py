"""The audit log over REST: all of it for admins, and the part of a workspace for its admins."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Self, TypeAlias

from fastapi import APIRouter, Depends, Request
from msgspec import Meta

from flowrunner.api.http.answers import (
    AS_LINES,
    NDJSON,
    Answer,
    ListAnswer,
    Reply,
    errors,
    lines,
    link_to_next,
    listing,
    part_of,
)
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.negotiation import preferred
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Paging, Since, Until, moment_of, text_filter
from flowrunner.api.http.routing import AdminRoute, ProtectedRoute
from flowrunner.api.http.state import now_of, services_of
from flowrunner.api.long_answers import while_allowed
from flowrunner.domain.account import Right
from flowrunner.domain.audit import AuditRow, Outcome
from flowrunner.domain.values import JSON, rfc3339
from flowrunner.ports.audit import AuditFilter
from flowrunner.ports.page import Listed, Page

admin = APIRouter(prefix="/api/v1/audit", tags=["Audit"], route_class=AdminRoute)
router = APIRouter(prefix="/api/v1/workspaces/{id}/audit", tags=["Audit"], route_class=ProtectedRoute)


class AuditObject(Answer, frozen=True, kw_only=True):
    kind: str
    id: str


class AuditEntryAnswer(Answer, frozen=True, kw_only=True):
    seq: int
    at: str
    actor: str | None
    credential: str
    address: str
    action: str
    object: AuditObject
    workspace_id: Annotated[
        str | None, Meta(description="The workspace of the act; of an act on an account, its personal one.")
    ]
    outcome: Outcome
    details: Mapping[str, JSON]
    previous_hash: str
    hash: str

    @classmethod
    def of(cls, row: AuditRow) -> Self:
        entry = row.entry
        kind, id = entry.object
        return cls(
            seq=row.seq,
            at=rfc3339(entry.at),
            actor=entry.actor,
            credential=entry.credential,
            address=entry.address,
            action=entry.action,
            object=AuditObject(kind=kind, id=id),
            workspace_id=entry.workspace_id,
            outcome=entry.outcome,
            details=entry.details,
            previous_hash=row.previous.hex(),
            hash=row.hash.hex(),
        )


class AuditList(ListAnswer, frozen=True):
    entries: list[AuditEntryAnswer]


async def _wanted(
    request: Request,
    *,
    actor: Annotated[str | None, text_filter("Only actions of this account.")] = None,
    action: Annotated[str | None, text_filter("Only this action, such as `flow.created`.")] = None,
    object_kind: Annotated[str | None, text_filter()] = None,
    object_id: Annotated[str | None, text_filter()] = None,
    outcome: Outcome | None = None,
    since: Since = None,
    until: Until = None,
) -> AuditFilter:
    return AuditFilter(
        actor=actor,
        action=action,
        object_kind=object_kind,
        object_id=object_id,
        outcome=outcome,
        since=moment_of("since", since, now=now_of(request)),
        until=moment_of("until", until, now=now_of(request)),
    )


# The entries that the query parameters of a list ask for.
Wanted: TypeAlias = Annotated[AuditFilter, Depends(_wanted)]


@admin.get("", responses={**AS_LINES, **errors(401, 403, 422)})
async def list_entries(
    request: Request,
    *,
    wanted: Wanted,
    workspace_id: Annotated[
        str | None, text_filter("Only acts in this workspace, by its id; that of an account is its personal one.")
    ] = None,
    page: Paging,
) -> Reply[AuditList]:
    """List audit entries, the newest first. Each contains the hash of the previous one, so tampering is detectable.

    With `Accept: application/x-ndjson` the answer has all entries, one per line, whatever `limit` and `offset` are.
    """
    audit, caller = services_of(request).audit, caller_of(request)
    wanted = replace(wanted, workspace_id=workspace_id)
    if preferred(request.headers.get("accept", ""), (NDJSON,)):
        return await lines(await while_allowed(request, _answers(audit.all(caller, wanted))))
    return _listing(request, page, await audit.page(caller, wanted, page))


@router.get("", responses={**AS_LINES, **errors(401, 403, 404, 422)})
@RoutePolicy(right=Right.MEMBERS)
async def list_entries_of_workspace(
    request: Request,
    id: str,
    *,
    wanted: Wanted,
    page: Paging,
) -> Reply[AuditList]:
    """List the audit entries of a workspace, the newest first, for its admins.

    With `Accept: application/x-ndjson` the answer has all entries, one per line, whatever `limit` and `offset` are.
    """
    audit, caller = services_of(request).audit, caller_of(request)
    if preferred(request.headers.get("accept", ""), (NDJSON,)):
        return await lines(await while_allowed(request, _answers(audit.all_of_workspace(caller, wanted))))
    return _listing(request, page, await audit.page_of_workspace(caller, wanted, page))


def _listing(request: Request, page: Page, listed: Listed[AuditRow]) -> Reply[AuditList]:
    empty = AuditList([], **part_of(page, listed))
    answers = [AuditEntryAnswer.of(row) for row in listed.items]
    return listing(empty, answers, link_to_next(request, listed.next_cursor))


async def _answers(portions: AsyncIterator[Sequence[AuditRow]]) -> AsyncIterator[Sequence[AuditEntryAnswer]]:
    async for rows in portions:
        yield [AuditEntryAnswer.of(row) for row in rows]
