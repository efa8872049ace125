"""The store of the workspace over REST."""

from typing import Annotated, Any, Final, Self
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from msgspec import Meta
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Answer, ListAnswer, Message, Reply, answer, created, errors
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.conditions import (
    IF_MATCH,
    IF_NONE_MATCH,
    IF_NONE_MATCH_ANY,
    NOT_MODIFIED,
    change_condition_of,
    condition_of,
    is_known,
    not_modified,
    with_etag,
)
from flowrunner.api.http.errors import etag
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Body, Paging
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.bounded_json import decode_json
from flowrunner.domain.duration import HINT, parse_duration
from flowrunner.domain.errors import invalid
from flowrunner.domain.store import DEFAULT_NAMESPACE, MAX_KEY_CHARACTERS, MAX_NAMESPACE_CHARACTERS, StoreKey, ttl_ms_of
from flowrunner.domain.values import rfc3339
from flowrunner.ports.store import EntryView

router = APIRouter(prefix="/api/v1/store", tags=["Store"], route_class=ProtectedRoute)

_ENTRY: Final = "/entry"
Key = Annotated[str, Query(min_length=1, max_length=MAX_KEY_CHARACTERS, description="The key of the entry.")]
Namespace = Annotated[
    str, Query(min_length=1, max_length=MAX_NAMESPACE_CHARACTERS, description="The namespace of the key.")
]


class PutEntry(Body):
    value: Any = Field(description="Any JSON of at most 64 KiB.")
    ttl: str | None = Field(
        default=None, description="How long the entry is kept, such as `10m` or `1d`; indefinitely if absent."
    )


class ListedEntryAnswer(Answer, frozen=True, kw_only=True):
    namespace: str
    key: str
    size: Annotated[int, Meta(description="Bytes of the value as JSON.")]
    expires_at: Annotated[str | None, Meta(description="null if it does not expire.")]
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, entry: EntryView) -> Self:
        return cls(**_fields_of(entry))


class EntryAnswer(ListedEntryAnswer, frozen=True, kw_only=True):
    value: Any

    @classmethod
    def of(cls, entry: EntryView) -> Self:
        return cls(**_fields_of(entry), value=decode_json(entry.value or "null"))


class EntryList(ListAnswer, frozen=True):
    entries: list[ListedEntryAnswer]


def _fields_of(entry: EntryView) -> dict[str, Any]:
    return {
        "namespace": entry.at.namespace, "key": entry.at.key, "size": entry.size,
        "expires_at": None if entry.expires_at is None else rfc3339(entry.expires_at),
        "created_at": rfc3339(entry.created_at), "updated_at": rfc3339(entry.updated_at),
    }  # fmt: skip


@router.get("", responses=errors(401, 403, 404, 422))
async def list_store_entries(
    request: Request,
    page: Paging,
    namespace: Annotated[str | None, Query(description="Only of this namespace; of all if absent.")] = None,
    prefix: Annotated[str, Query(description="Only keys that begin with this.")] = "",
) -> Reply[EntryList]:
    """List the entries of the workspace's store by namespace and key, without their values."""
    return await paged(
        request,
        page,
        lambda page: services_of(request).store.page(caller_of(request), namespace=namespace, prefix=prefix, page=page),
        kind=EntryList,
        item=ListedEntryAnswer.of,
        # Both may have any punctuation.
        position=lambda entry: f"{len(entry.at.namespace)}:{entry.at.namespace}{entry.at.key}",
    )


@router.get(_ENTRY, responses={**with_etag(), 304: NOT_MODIFIED, **errors(400, 401, 403, 404, 422)})
@RoutePolicy(parameters=[IF_NONE_MATCH])
async def get_store_entry(request: Request, key: Key, namespace: Namespace = DEFAULT_NAMESPACE) -> Reply[EntryAnswer]:
    """Return an entry of the workspace's store."""
    entry = await services_of(request).store.get(caller_of(request), StoreKey(namespace, key))
    if is_known(request, entry.state):
        return not_modified(entry.state)
    return answer(EntryAnswer.of(entry), headers={"ETag": etag(entry.state)})


@router.put(
    _ENTRY,
    responses={
        **with_etag(),
        201: {"description": "Created", **with_etag(201)[201]},
        **errors(401, 403, 404, 409, 412, *BODY_ERRORS),
    },
)
@RoutePolicy(parameters=[IF_MATCH, IF_NONE_MATCH_ANY])
async def put_store_entry(
    request: Request, body: PutEntry, key: Key, namespace: Namespace = DEFAULT_NAMESPACE
) -> Reply[EntryAnswer]:
    """Create an entry of the workspace's store (201), or replace it (200)."""
    entry, is_new = await services_of(request).store.set(
        caller_of(request),
        StoreKey(namespace, key),
        body.value,
        ttl_ms=None if body.ttl is None else _milliseconds(body.ttl),
        condition=condition_of(request),
    )
    saved, headers = EntryAnswer.of(entry), {"ETag": etag(entry.state)}
    if not is_new:
        return answer(saved, headers=headers)
    location = f"{request.url.path}?{urlencode({'key': key, 'namespace': namespace})}"
    return created(saved, location, headers)


@router.delete(_ENTRY, responses=errors(400, 401, 403, 404, 412, 422))
@RoutePolicy(parameters=[IF_MATCH])
async def delete_store_entry(request: Request, key: Key, namespace: Namespace = DEFAULT_NAMESPACE) -> Reply[Message]:
    """Delete an entry of the workspace's store."""
    await services_of(request).store.delete(
        caller_of(request), StoreKey(namespace, key), condition=change_condition_of(request)
    )
    return answer(Message(message="Entry deleted successfully"))


def _milliseconds(ttl: str) -> int:
    """Raises: InvalidInput."""
    try:
        seconds = parse_duration(ttl)
    except ValueError as error:
        raise invalid("ttl", str(error), hint=HINT) from None
    try:
        return ttl_ms_of(seconds)
    except ValueError as error:
        raise invalid("ttl", str(error)) from None
