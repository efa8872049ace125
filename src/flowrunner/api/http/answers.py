"""Answer bodies: the structs that give their bytes and their schemas."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Generic, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from flowrunner.ports.page import Listed, Page

_JSON: Final = "application/json"
_encode: Final = msgspec.json.Encoder().encode

T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of answers. A field that is `UNSET` is left out, and one that is None is null."""


A = TypeVar("A", bound=Answer)


class Reply(Response, Generic[A]):
    """A response with an encoded answer. A route's return type names the answer, which OpenAPI then describes."""

    def __init__(
        self,
        content: bytes = b"",
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
    ) -> None:
        # As in the framework, but without a search for headers that no route sets itself.
        self.status_code, self.body, self.background = status_code, content, None
        self.media_type = media_type
        self.raw_headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in (headers or {}).items()]
        if status_code not in (204, 304):
            self.raw_headers.append((b"content-length", b"%d" % len(content)))
        if media_type is not None:
            self.raw_headers.append((b"content-type", media_type.encode()))


def answer(body: A, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply[A]:
    return Reply(_encode(body), status, headers, _JSON)


def created(body: A, location: str, headers: Mapping[str, str] | None = None) -> Reply[A]:
    """Return the answer to a request that has created the object with this address."""
    return answer(body, 201, {"Location": location, **(headers or {})})


# Every answer of this status has it.
LOCATION: Final = {"Location": {"description": "The address of what was created.", "schema": {"type": "string"}}}


def encoded(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply[Any]:
    """Return a reply with an answer that has been encoded before."""
    return Reply(body, status, headers, _JSON)


def answer_of(endpoint: Callable[..., Any]) -> type[Answer] | None:
    """Return the answer that the return type of a route's function names, or None if it names none."""
    returned = get_type_hints(endpoint).get("return")
    return get_args(returned)[0] if get_origin(returned) is Reply else None


def present(value: T | None) -> T | UnsetType:
    """Return the value of a field that is left out if there is none."""
    return UNSET if value is None else value


def stored(text: bytes | None) -> Any:
    """Return stored JSON for a field of any type; it is sent as it is, and left out if there is none."""
    return UNSET if text is None else msgspec.Raw(text)


class Message(Answer, frozen=True, kw_only=True):
    message: str


class Health(Answer, frozen=True, kw_only=True):
    status: str


class FixAnswer(Answer, frozen=True, kw_only=True):
    """An edit: the new text for a part of one line."""

    line: int
    column: int
    end_column: Annotated[int, Meta(description="The column after the last one.")]
    text: str


class ErrorEntry(Answer, frozen=True, kw_only=True):
    pointer: Annotated[str, Meta(description="JSON pointer to the faulty value of the request.")]
    path: Annotated[
        str, Meta(description="Dotted path of the faulty value, within the flow document if the fault is there.")
    ]
    code: str
    message: str
    line: Annotated[int | UnsetType, Meta(description="Line in the flow document, from 1.")] = UNSET
    column: int | UnsetType = UNSET
    hint: str | UnsetType = UNSET
    fix: Annotated[
        FixAnswer | UnsetType,
        Meta(description="The edit of the document that removes the fault, where validation is sure of one."),
    ] = UNSET
    flow: Annotated[str | UnsetType, Meta(description="The flow's name, if the request has several flows.")] = UNSET


class SecondStepNeeded(Answer, frozen=True, kw_only=True):
    """The second step of a login: answer it with `POST /api/v1/auth/second-factor`."""

    challenge: Annotated[str, Meta(description="Valid for five minutes and five answers.")]
    methods: Annotated[list[str], Meta(description="Of `totp`, `passkey` and `recovery_code`.")]
    expires_at: str
    passkey: Annotated[
        dict[str, Any] | UnsetType,
        Meta(description="For `PublicKeyCredential.parseRequestOptionsFromJSON` of the browser."),
    ] = UNSET


class ErrorDetails(Answer, frozen=True, kw_only=True, omit_defaults=True):
    field: Annotated[str | UnsetType, Meta(description="The faulty field, if there is exactly one.")] = UNSET
    reason: str | UnsetType = UNSET
    errors: list[ErrorEntry] = msgspec.field(default_factory=list)
    revision: Annotated[int | UnsetType, Meta(description="With a 412: the current revision.")] = UNSET
    limit: Annotated[str | UnsetType, Meta(description="The setting that defines the exceeded limit.")] = UNSET
    most: Annotated[int | UnsetType, Meta(description="The value of that limit.")] = UNSET
    execution_id: Annotated[str | UnsetType, Meta(description="With a 502: the execution that has failed.")] = UNSET
    second_factor: Annotated[
        SecondStepNeeded | UnsetType, Meta(description="With the code `second_factor_required`.")
    ] = UNSET


class ErrorBody(Answer, frozen=True, kw_only=True):
    code: str
    message: str
    details: ErrorDetails
    request_id: str
    hint: Annotated[str, Meta(description="What to do next.")]
    docs: Annotated[
        str, Meta(description="The passage of the documentation about this kind of error: a path on this server.")
    ]


class ErrorAnswer(Answer, frozen=True, kw_only=True):
    error: ErrorBody


_DESCRIPTIONS = {
    400: "The request cannot be read",
    401: "Authentication is required, or failed",
    403: "The caller does not have permission",
    404: "The resource does not exist, or the caller may not know of it",
    409: "The request conflicts with the current state, or a limit on what is stored was reached",
    412: "The resource has changed since the state in If-Match",
    413: "The request body is too large",
    415: "The request body is not JSON",
    422: "The request failed validation",
    429: "Too many requests: wait for the time in Retry-After",
    431: "The headers are too large",
    500: "An internal error occurred",
    502: "The execution failed, or was cancelled",
    503: "The server cannot do this at the moment",
}

REF: Final = "#/components/schemas/{name}"


def errors(*statuses: int, is_limited: bool = True) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route for these errors and the ones that every route can have.

    Args:
        is_limited: The route has a rate limit.
    """
    any_can = (400, 429, 431, 500, 503) if is_limited else (400, 431, 500, 503)
    return {
        status: {"description": _DESCRIPTIONS[status], **content_of(ErrorAnswer)}
        for status in sorted({*statuses, *any_can})
    }


def content_of(kind: type[Answer]) -> dict[str, Any]:
    """Return the `content` of a response that has this answer."""
    return {"content": {_JSON: {"schema": {"$ref": REF.format(name=kind.__name__)}}}}


BODY_ERRORS = (400, 413, 415, 422)

# Items per portion of a streamed list.
_ITEMS_AT_ONCE: Final = 50


class ListAnswer(Answer, frozen=True, kw_only=True):
    """The base of answers with a part of a list. The list itself is the only field of a subclass.

    It is positional, because msgspec encodes such fields before those of the base that are not.
    """

    total: Annotated[
        int | UnsetType, Meta(description="The number of all entries. Absent with a `cursor` unless `count=true`.")
    ] = UNSET
    limit: int
    offset: Annotated[int | UnsetType, Meta(description="Absent with a `cursor`.")] = UNSET
    total_is_exact: Annotated[
        bool | UnsetType, Meta(description="False if there may be more than `total` entries; absent otherwise.")
    ] = UNSET
    next_cursor: Annotated[
        str | UnsetType,
        Meta(
            description="Send it as `cursor` for the next page, which the header `Link` names. Absent on the last one."
        ),
    ] = UNSET


def part_of(page: Page, listed: Listed[Any]) -> dict[str, Any]:
    """Return the fields of a `ListAnswer` without its items."""
    return {
        "total": present(listed.total),
        "limit": page.limit,
        "offset": page.offset if page.cursor is None else UNSET,
        "total_is_exact": UNSET if listed.is_exact or listed.total is None else False,
        "next_cursor": present(listed.next_cursor),
    }


def link_to_next(request: Request, cursor: str | None) -> dict[str, str]:
    """Return the header that links the next page of a list; none on the last page."""
    if cursor is None:
        return {}
    kept = [
        (name, value) for name, value in request.query_params.multi_items() if name not in ("cursor", "offset", "after")
    ]
    return {"Link": f'<{request.scope["path"]}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'}


L = TypeVar("L", bound=ListAnswer)


class _StreamedReply(StreamingResponse, Reply[A]):
    """A reply whose bytes are sent as they are made."""


async def long_listing(
    empty: L,
    portions: AsyncIterator[Sequence[Answer]],
    *,
    is_whole: bool,
    headers: Mapping[str, str] | None = None,
) -> Reply[L]:
    """Stream a list that may be too long to hold in memory: its portions are sent as they arrive.

    Args:
        empty: The answer without its items.
        is_whole: The first portion is the whole list.
    """
    before, after = _encode(empty).split(b"[]")
    first: Sequence[Answer] = await anext(portions, [])
    if is_whole:
        return encoded(before + _encode(first) + after, headers=headers)
    return _StreamedReply(_written(before, first, portions, after), headers=headers, media_type=_JSON)


NDJSON: Final = "application/x-ndjson"
# Describes that a route's list is also sent as lines.
AS_LINES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {NDJSON: {"schema": {"type": "string", "description": "An object per line."}}}}
}


async def lines(portions: AsyncIterator[Sequence[Answer]]) -> Reply[Any]:
    """Stream a list of any length, with an answer per line. An error before the first one is still answered."""
    first: Sequence[Answer] = await anext(portions, [])
    return _StreamedReply(_as_lines(first, portions), media_type=NDJSON)


async def _as_lines(first: Sequence[Answer], rest: AsyncIterator[Sequence[Answer]]) -> AsyncIterator[bytes]:
    yield _lines_of(first)
    async for items in rest:
        # A fast connection would never yield to other tasks.
        await asyncio.sleep(0)
        yield _lines_of(items)


def _lines_of(items: Sequence[Answer]) -> bytes:
    return b"".join(_encode(item) + b"\n" for item in items)


def listing(empty: L, items: Sequence[Answer], headers: Mapping[str, str] | None = None) -> Reply[L]:
    """Answer with a list in memory, which is encoded in portions if it is long."""
    before, after = _encode(empty).split(b"[]")
    first = items[:_ITEMS_AT_ONCE]
    # A generator that is not run to its end costs the event loop another task: a short list needs none.
    if len(first) == len(items):
        return encoded(before + _encode(first) + after, headers=headers)
    return _StreamedReply(_written(before, first, _rest(items), after), headers=headers, media_type=_JSON)


async def _rest(items: Sequence[Answer]) -> AsyncIterator[Sequence[Answer]]:
    for start in range(_ITEMS_AT_ONCE, len(items), _ITEMS_AT_ONCE):
        # A fast connection would never yield to other tasks.
        await asyncio.sleep(0)
        yield items[start : start + _ITEMS_AT_ONCE]


async def _written(
    before: bytes, first: Sequence[Answer], rest: AsyncIterator[Sequence[Answer]], after: bytes
) -> AsyncIterator[bytes]:
    yield before + _encode(first)[:-1]
    async for items in rest:
        yield b",%b" % _encode(items)[1:-1]
    yield b"]" + after
