"""What has arrived at webhook triggers, over REST."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import msgspec
from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType

from flowrunner.api.hooks import HookAnswer
from flowrunner.api.http.answers import (
    Answer,
    ListAnswer,
    Reply,
    answer,
    errors,
    link_to_next,
    part_of,
    present,
)
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.paging import listed_of
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import Paging
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.api.triggers import TriggerAnswer
from flowrunner.domain.account import Right
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import rfc3339
from flowrunner.ports.hooks import HookDelivery, HookDeliveryId

router = APIRouter(prefix="/api/v1/triggers/{id}", tags=["Triggers"], route_class=ProtectedRoute)


class HookDeliveryAnswer(Answer, frozen=True, kw_only=True):
    id: str
    received_at: str
    state: Annotated[
        Literal["received", "started", "skipped", "repeated", "failed"],
        Meta(
            description="`received`: it has not started anything yet: the server ended, an outage began, or the "
            "installation is paused; `skipped`: `when` was false."
        ),
    ]
    execution_id: str | UnsetType = UNSET
    error: Annotated[str | UnsetType, Meta(description="Why it started nothing.")] = UNSET
    size: Annotated[int, Meta(description="Bytes of the stored request.")]
    request: Annotated[
        Any, Meta(description="`method`, `body`, `headers` and `query`, without secrets; not in lists.")
    ] = UNSET

    @classmethod
    def of(cls, delivery: HookDelivery, request: Mapping[str, Any] | None = None) -> Self:
        return cls(
            id=delivery.id,
            received_at=rfc3339(delivery.received_at),
            state=delivery.state,
            execution_id=present(delivery.execution_id),
            error=present(delivery.error),
            size=delivery.size,
            request=UNSET if request is None else msgspec.Raw(msgspec.json.encode(request)),
        )


class RefusalAnswer(Answer, frozen=True, kw_only=True):
    at: str
    reason: str


class RefusalsAnswer(Answer, frozen=True, kw_only=True):
    count: int
    last: Annotated[list[RefusalAnswer], Meta(description="The last few, the newest last.")]


class HookDeliveryList(ListAnswer, frozen=True, kw_only=True):
    deliveries: list[HookDeliveryAnswer]
    refused: Annotated[RefusalsAnswer, Meta(description="Requests that were answered with 404.")]


@router.get("/deliveries", responses=errors(401, 403, 404, 422))
async def list_hook_deliveries(request: Request, id: str, page: Paging) -> Reply[HookDeliveryList]:
    """List the requests that a webhook trigger has accepted, the newest first: about 1,000 of the last seven days."""
    deliveries = services_of(request).hook_deliveries
    found, total, refused = await deliveries.page(caller_of(request), TriggerId(id), page=page.with_one_more())
    last = [RefusalAnswer(at=rfc3339(each.at), reason=each.reason) for each in refused.last]
    listed = listed_of(page, found, total, lambda one: f"{round(one.received_at.timestamp() * 1000)}:{one.id}")
    return answer(
        HookDeliveryList(
            deliveries=[HookDeliveryAnswer.of(delivery) for delivery in listed.items],
            refused=RefusalsAnswer(count=refused.count, last=last),
            **part_of(page, listed),
        ),
        headers=link_to_next(request, listed.next_cursor),
    )


@router.get("/deliveries/{delivery_id}", responses=errors(401, 403, 404, 409))
async def get_hook_delivery(request: Request, id: str, delivery_id: str) -> Reply[HookDeliveryAnswer]:
    """Return a delivery with its request."""
    deliveries = services_of(request).hook_deliveries
    delivery, content = await deliveries.get(caller_of(request), TriggerId(id), HookDeliveryId(delivery_id))
    return answer(HookDeliveryAnswer.of(delivery, content))


@router.post(
    "/deliveries/{delivery_id}/replay",
    status_code=202,
    responses=errors(401, 403, 404, 409, 422),
)
@RoutePolicy(right=Right.RUN, repeats=Repeats())
async def replay_hook_delivery(request: Request, id: str, delivery_id: str) -> Reply[HookAnswer]:
    """Start another execution with a stored request. `when` is evaluated again, `dedupe` is not."""
    deliveries = services_of(request).hook_deliveries
    outcome = await deliveries.replay(caller_of(request), TriggerId(id), HookDeliveryId(delivery_id))
    started = outcome.started
    if started is None:
        return answer(HookAnswer(started=False), 202)
    return answer(HookAnswer(started=True, execution_id=started.id, status=started.status.value), 202)


@router.post("/rotate", responses=errors(401, 403, 404, 409))
async def rotate_hook(request: Request, id: str) -> Reply[TriggerAnswer]:
    """Give a webhook trigger another URL. The old one no longer works."""
    trigger = await services_of(request).triggers.rotate(caller_of(request), TriggerId(id))
    return answer(TriggerAnswer.of(trigger, caller_of(request)))
