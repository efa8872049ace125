"""Answer bodies: documentation models and encoding."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from flowrunner.ports import Page


class Answer(BaseModel):
    """The base of documented answers."""

    model_config = ConfigDict(extra="forbid")


class Message(Answer):
    message: str


class ErrorEntry(Answer):
    pointer: str = Field(description="JSON pointer to the faulty value of the request.")
    path: str = Field(description="Dotted path of the faulty value, within the flow document if the fault is there.")
    code: str
    message: str
    line: int | None = Field(default=None, description="Line in the flow document, from 1.")
    column: int | None = None
    hint: str | None = None


class ErrorDetails(Answer):
    field: str | None = Field(default=None, description="The faulty field, if there is exactly one.")
    reason: str | None = None
    errors: list[ErrorEntry] = []
    revision: int | None = Field(default=None, description="With a 412: the current revision.")
    limit: str | None = Field(default=None, description="The setting that defines the exceeded limit.")
    most: int | None = Field(default=None, description="The value of that limit.")


class ErrorBody(Answer):
    code: str
    message: str
    details: ErrorDetails
    request_id: str
    hint: str | None = None


class Error(Answer):
    error: ErrorBody


_DESCRIPTIONS = {
    400: "The request cannot be read",
    401: "Authentication is required, or failed",
    403: "The caller does not have permission",
    404: "The resource does not exist, or the caller may not know of it",
    409: "The request conflicts with the current state, or the account has reached a limit",
    412: "The resource has changed since the state in If-Match",
    413: "The request body is too large",
    415: "The request body is not JSON",
    422: "The request failed validation",
    429: "Too many requests: wait for the time in Retry-After",
    500: "An internal error occurred",
    503: "The server cannot do this at the moment",
}


def errors(*statuses: int, is_limited: bool = True) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route for these errors and the ones that every route can have.

    Args:
        is_limited: The route has a rate limit.
    """
    any_can = (429, 500, 503) if is_limited else (500, 503)
    return {status: {"model": Error, "description": _DESCRIPTIONS[status]} for status in sorted({*statuses, *any_can})}


# Items per portion of a streamed list.
_ITEMS_AT_ONCE: Final = 50

BODY_ERRORS = (400, 413, 415, 422)

ExecutionStatus = Literal["running", "waiting", "completed", "failed", "cancelled"]


def answer(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, "application/json")


async def long_listing(name: str, portions: AsyncIterator[list[dict[str, Any]]], total: int, page: Page) -> Response:
    """Stream a list that may be too long to hold in memory: its portions are sent as they arrive."""
    first: list[dict[str, Any]] = await anext(portions, [])
    if len(first) >= min(page.limit, total - page.offset):
        return listing(name, first, total, page)
    return StreamingResponse(_written(name, first, portions, total, page), media_type="application/json")


async def in_portions(items: Sequence[dict[str, Any]]) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield the items of a list for `long_listing`."""
    for start in range(0, len(items), _ITEMS_AT_ONCE):
        if start:
            # A fast connection would never yield to other tasks.
            await asyncio.sleep(0)
        yield list(items[start : start + _ITEMS_AT_ONCE])


async def _written(
    name: str, first: list[dict[str, Any]], rest: AsyncIterator[list[dict[str, Any]]], total: int, page: Page
) -> AsyncIterator[bytes]:
    yield b'{"%b":%b' % (name.encode(), msgspec.json.encode(first)[:-1])
    async for items in rest:
        yield b",%b" % msgspec.json.encode(items)[1:-1]
    more = msgspec.json.encode({"total": total, "limit": page.limit, "offset": page.offset})
    yield b"],%b" % more[1:]


def listing(name: str, items: list[dict[str, Any]], total: int, page: Page) -> Response:
    return answer({name: items, "total": total, "limit": page.limit, "offset": page.offset})
