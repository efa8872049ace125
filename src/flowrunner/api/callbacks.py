"""Callbacks over REST, with their deliveries and a test."""

from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from pydantic import Field

from flowrunner.api.http.answers import (
    BODY_ERRORS,
    Answer,
    ListAnswer,
    Message,
    Reply,
    answer,
    created,
    errors,
    present,
)
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import Body, Paging
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.callbacks import EVENTS, Format
from flowrunner.domain.values import FlowId, rfc3339, rfc3339_or_none
from flowrunner.ports.callbacks import CallbackId, CallbackView, DeliveryId, DeliveryState, DeliveryView
from flowrunner.services.callbacks import CallbackChange

router = APIRouter(prefix="/api/v1/callbacks", tags=["Callbacks"], route_class=ProtectedRoute)

_EVENTS: Final = f"The events to tell of: {', '.join(f'`{event}`' for event in EVENTS)}."
_TEMPLATE: Final = "The message, in the format `template`; its texts may contain paths such as `${event.text}`."


class CreateCallback(Body):
    url: str = Field(
        min_length=1, max_length=4096, description="Where to send to; `mailto:` and addresses in the format `email`."
    )
    events: list[str] = Field(min_length=1, max_length=20, description=_EVENTS)
    format: Format = Field(
        default="standard", description="`standard` is CloudEvents 1.0, signed as Standard Webhooks says."
    )
    name: str = Field(default="", max_length=200)
    flow_id: str | None = Field(default=None, max_length=200, description="Tell of one flow only.")
    tag: str | None = Field(default=None, max_length=200, description="Tell of flows with this tag only.")
    children: bool = Field(default=False, description="Tell of executions that steps of others wait for, too.")
    template: Any = Field(default=None, description=_TEMPLATE)


class ChangeCallback(Body):
    url: str | None = Field(default=None, min_length=1, max_length=4096)
    events: list[str] | None = Field(default=None, min_length=1, max_length=20, description=_EVENTS)
    name: str | None = Field(default=None, max_length=200)
    flow_id: str | None = Field(default=None, max_length=200)
    tag: str | None = Field(default=None, max_length=200)
    children: bool | None = None
    template: Any = Field(default=None, description=_TEMPLATE)
    enabled: bool | None = Field(default=None, description="False stops its messages until it is true again.")


_WITHOUT_FLOW: Final = (
    "It reports nothing, because its flow was deleted or is in another workspace now: choose another flow, or delete it"
)


class CallbackAnswer(Answer, frozen=True, kw_only=True):
    id: str
    workspace_id: str
    name: str
    url: Annotated[str, Meta(description="Without what could be a credential.")]
    events: list[str]
    format: Format
    flow_id: str | None
    tag: str | None
    children: bool
    template: Annotated[Any, Meta(description="Absent unless the format is `template`.")] = UNSET
    enabled: bool
    disabled_at: str | UnsetType = UNSET
    disabled_reason: Annotated[str | UnsetType, Meta(description="Why the server has disabled it.")] = UNSET
    failures: Annotated[int, Meta(description="Failed attempts in a row.")]
    failing_since: str | UnsetType = UNSET
    last_error: Annotated[
        str | UnsetType,
        Meta(
            description="The `error` of the delivery that was tried last, such as `http.503`, or the recipients that "
            "the mail server has refused. Absent if it has none."
        ),
    ] = UNSET
    created_at: str
    updated_at: str
    warning: Annotated[
        str | UnsetType,
        Meta(
            description="Why it reports nothing: its flow was deleted or moved. In the answer to a new URL also: why "
            "messages would fail, as far as that is known already."
        ),
    ] = UNSET

    @classmethod
    def of(cls, callback: CallbackView, *, warning: str | None = None, **more: Any) -> Self:
        return cls(
            id=callback.id,
            workspace_id=callback.workspace_id,
            name=callback.name,
            url=callback.address,
            events=list(callback.events),
            format=callback.format,
            flow_id=callback.flow_id,
            tag=callback.tag,
            children=callback.children,
            template=present(callback.template),
            enabled=callback.disabled_at is None,
            disabled_at=present(rfc3339_or_none(callback.disabled_at)),
            disabled_reason=present(callback.disabled_reason),
            failures=callback.failures,
            failing_since=present(rfc3339_or_none(callback.failing_since)),
            last_error=present(callback.last_error),
            created_at=rfc3339(callback.created_at),
            updated_at=rfc3339(callback.updated_at),
            warning=present(warning or (None if callback.has_flow else _WITHOUT_FLOW)),
            **more,
        )


class NewCallback(CallbackAnswer, frozen=True, kw_only=True):
    secret: Annotated[
        str | UnsetType,
        Meta(description="The secret that signs the messages. It is shown only once. Absent if the format has none."),
    ] = UNSET


class CallbackSecret(Answer, frozen=True, kw_only=True):
    secret: Annotated[str, Meta(description="The new secret. It is shown only once.")]
    previous_until: Annotated[str, Meta(description="Until then, messages are signed with the old secret too.")]


class CallbackList(ListAnswer, frozen=True):
    callbacks: list[CallbackAnswer]


class DeliveryAnswer(Answer, frozen=True, kw_only=True):
    id: Annotated[str, Meta(description="The id of the message, equal in all repeats.")]
    callback_id: str
    event: str
    execution_id: str | UnsetType = UNSET
    state: DeliveryState
    attempts: int
    created_at: str
    last_attempt_at: str | UnsetType = UNSET
    next_attempt_at: Annotated[str | UnsetType, Meta(description="Absent unless it is pending.")] = UNSET
    status_code: Annotated[int | UnsetType, Meta(description="The receiver's last answer.")] = UNSET
    error: Annotated[
        str | UnsetType,
        Meta(
            description="Kind of the last failure, such as `http.503`; of a delivered e-mail, the recipients that the "
            "mail server has refused, such as `email.550: someone@example.com`."
        ),
    ] = UNSET

    @classmethod
    def of(cls, delivery: DeliveryView) -> Self:
        # What is due at once has no moment of its own.
        next_at = None if delivery.next_at is None else max(delivery.next_at, delivery.noted_at)
        return cls(
            id=delivery.id,
            callback_id=delivery.callback_id,
            event=delivery.event,
            execution_id=present(delivery.execution_id),
            state=delivery.state,
            attempts=delivery.attempts,
            created_at=rfc3339(delivery.noted_at),
            last_attempt_at=present(rfc3339_or_none(delivery.last_at)),
            next_attempt_at=present(rfc3339_or_none(next_at)),
            status_code=present(delivery.status_code),
            error=present(delivery.error),
        )


class DeliveryList(ListAnswer, frozen=True):
    deliveries: list[DeliveryAnswer]


@router.get("", responses=errors(401, 403, 404, 422))
async def list_callbacks(request: Request, page: Paging) -> Reply[CallbackList]:
    """List the callbacks of the workspace, the oldest first."""
    return await paged(
        request,
        page,
        lambda page: services_of(request).callbacks.page(caller_of(request), page=page),
        kind=CallbackList,
        item=CallbackAnswer.of,
        position=lambda callback: callback.id,
    )


@router.post(
    "",
    status_code=201,
    responses=errors(401, 403, 404, 409, *BODY_ERRORS),
)
@RoutePolicy(repeats=Repeats(keeps_answer=False))
async def create_callback(request: Request, body: CreateCallback) -> Reply[NewCallback]:
    """Create a callback. Its signing secret is in this answer only."""
    callbacks = services_of(request).callbacks
    callback, secret = await callbacks.create(
        caller_of(request),
        url=body.url,
        format=body.format,
        events=body.events,
        name=body.name,
        flow_id=None if body.flow_id is None else FlowId(body.flow_id),
        tag=body.tag,
        children=body.children,
        template=body.template,
    )
    saved = NewCallback.of(callback, secret=present(secret), warning=callbacks.warning_of(body.url, body.format))
    return created(saved, f"/api/v1/callbacks/{callback.id}")


@router.get("/{id}", responses=errors(401, 403, 404))
async def get_callback(request: Request, id: str) -> Reply[CallbackAnswer]:
    """Return a callback, without its secret."""
    return answer(CallbackAnswer.of(await services_of(request).callbacks.get(caller_of(request), CallbackId(id))))


@router.put("/{id}", responses=errors(401, 403, 404, *BODY_ERRORS))
async def change_callback(request: Request, id: str, body: ChangeCallback) -> Reply[CallbackAnswer]:
    """Change the fields that the body has. A callback that is enabled begins without its earlier failures."""
    given = body.model_fields_set
    # A null changes nothing where a callback always has a value.
    change = CallbackChange(
        name=present(body.name),
        events=present(body.events),
        flow_id=(None if body.flow_id is None else FlowId(body.flow_id)) if "flow_id" in given else UNSET,
        tag=body.tag if "tag" in given else UNSET,
        children=present(body.children),
        template=body.template if "template" in given else UNSET,
        url=present(body.url),
        is_enabled=present(body.enabled),
    )
    callbacks = services_of(request).callbacks
    changed = await callbacks.change(caller_of(request), CallbackId(id), change)
    warning = None if body.url is None else callbacks.warning_of(body.url, changed.format)
    return answer(CallbackAnswer.of(changed, warning=warning))


@router.delete("/{id}", responses=errors(401, 403, 404))
async def delete_callback(request: Request, id: str) -> Reply[Message]:
    """Delete a callback with its deliveries; messages that are not sent yet are dropped."""
    await services_of(request).callbacks.delete(caller_of(request), CallbackId(id))
    return answer(Message(message="Callback deleted successfully"))


@router.post("/{id}/rotate", responses=errors(401, 403, 404, 409))
async def rotate_callback_secret(request: Request, id: str) -> Reply[CallbackSecret]:
    """Replace the signing secret of a callback. For a day, each message has a signature with the old one too."""
    secret, until = await services_of(request).callbacks.rotate(caller_of(request), CallbackId(id))
    return answer(CallbackSecret(secret=secret, previous_until=rfc3339(until)))


@router.post("/{id}/test", responses=errors(401, 403, 404))
async def test_callback(request: Request, id: str) -> Reply[DeliveryAnswer]:
    """Send a test message now, once, and return the outcome."""
    return answer(DeliveryAnswer.of(await services_of(request).callbacks.test(caller_of(request), CallbackId(id))))


@router.get("/{id}/deliveries", responses=errors(401, 403, 404, 422))
async def list_callback_deliveries(
    request: Request,
    id: str,
    page: Paging,
) -> Reply[DeliveryList]:
    """List the deliveries of a callback, the newest first: about 1,000 of the last seven days, and what is pending."""
    return await paged(
        request,
        page,
        lambda page: services_of(request).callbacks.deliveries(caller_of(request), CallbackId(id), page=page),
        kind=DeliveryList,
        item=DeliveryAnswer.of,
        position=lambda delivery: f"{round(delivery.noted_at.timestamp() * 1000)}:{delivery.id}",
    )


@router.post("/{id}/deliveries/{delivery_id}/redeliver", status_code=202, responses=errors(401, 403, 404))
async def redeliver(request: Request, id: str, delivery_id: str) -> Reply[DeliveryAnswer]:
    """Send a message again with the same id; it is retried for a day, as a new one is."""
    callbacks = services_of(request).callbacks
    found = await callbacks.redeliver(caller_of(request), CallbackId(id), DeliveryId(delivery_id))
    return answer(DeliveryAnswer.of(found), 202)
