"""The audit log over REST, for admins."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query, Request

from flowrunner.api.http.answers import Answer, ListAnswer, Reply, answer, errors
from flowrunner.api.http.requests import DEFAULT_LIMIT, Limit, Offset, page_of
from flowrunner.api.http.routing import AdminRoute, caller_of
from flowrunner.api.http.state import services_of
from flowrunner.domain.audit import AuditRow, Outcome
from flowrunner.domain.errors import invalid
from flowrunner.domain.values import JSON, rfc3339
from flowrunner.ports.audit import AuditFilter

admin = APIRouter(prefix="/api/v1/audit", tags=["Audit"], route_class=AdminRoute)


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
    account_id: str | None
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
            account_id=entry.workspace_id,
            outcome=entry.outcome,
            details=entry.details,
            previous_hash=row.previous.hex(),
            hash=row.hash.hex(),
        )


class AuditList(ListAnswer, frozen=True):
    entries: list[AuditEntryAnswer]


@admin.get("", responses=errors(401, 403, 422))
async def list_entries(
    request: Request,
    *,
    actor: Annotated[str | None, Query(max_length=200, description="Only actions of this account.")] = None,
    account_id: Annotated[
        str | None, Query(max_length=200, description="Only actions that concern this account.")
    ] = None,
    action: Annotated[
        str | None, Query(max_length=200, description="Only this action, such as `flow.created`.")
    ] = None,
    object_kind: Annotated[str | None, Query(max_length=200)] = None,
    object_id: Annotated[str | None, Query(max_length=200)] = None,
    outcome: Outcome | None = None,
    since: Annotated[str | None, Query(max_length=40, description="Only from this moment on (RFC 3339).")] = None,
    until: Annotated[str | None, Query(max_length=40, description="Only before this moment (RFC 3339).")] = None,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
) -> Reply[AuditList]:
    """List audit entries, the newest first. Each contains the hash of the previous one, so tampering is detectable."""
    page = page_of(limit, offset)
    wanted = AuditFilter(
        actor=actor,
        workspace_id=account_id,
        action=action,
        object_kind=object_kind,
        object_id=object_id,
        outcome=outcome,
        since=_moment("since", since),
        until=_moment("until", until),
    )
    rows, total = await services_of(request).audit.page(caller_of(request), wanted, page=page)
    listed = [AuditEntryAnswer.of(row) for row in rows]
    return answer(AuditList(listed, total=total, limit=page.limit, offset=page.offset))


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        # Near the ends of the supported range, time zones cannot be converted.
        if at.tzinfo is None or not 1970 <= at.year < 9000:
            raise ValueError
    except ValueError:
        raise invalid(name, "must be a moment such as 2027-01-31T12:00:00Z") from None
    return at.astimezone(UTC)
