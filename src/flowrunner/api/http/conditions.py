"""Requests that depend on the state a thing is in: `If-Match` and `If-None-Match` (RFC 9110, 13.1)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from fastapi import Request
from starlette.responses import Response

from flowrunner.api.http.errors import InvalidRequest, etag

IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": (
        "ETags, joined by commas, or `*`. Nothing is changed, and the answer is 412, unless the thing has one of them."
    ),
    "schema": {"type": "string"},
}
IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "ETags, joined by commas, or `*`. The answer is 304, without a body, if the thing has one of them.",
    "schema": {"type": "string"},
}
_ETAG_HEADER: Final = {
    "ETag": {"description": "The state of the thing; another after every change.", "schema": {"type": "string"}}
}
NOT_MODIFIED: Final = {"description": "It is as the caller knows it", "headers": _ETAG_HEADER}

_ENTITY_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def with_etag(status: int = 200) -> Mapping[int | str, dict[str, Any]]:
    """The `responses` of a route whose success carries an ETag."""
    return {status: {"headers": _ETAG_HEADER}}


def states_to_match(request: Request) -> frozenset[str] | None:
    """The states in which the request is to be done; None is any.

    Raises:
        InvalidRequest: The header is there and cannot be read.
    """
    tags = _tags(request, "if-match")
    # A weak tag says that two answers mean the same, not that nothing has changed.
    return None if tags is None or tags == "*" else frozenset(state for is_weak, state in tags if not is_weak)


def is_known(request: Request, state: str) -> bool:
    """Whether the caller has the thing in this state already. Raises: InvalidRequest."""
    tags = _tags(request, "if-none-match")
    return tags is not None and (tags == "*" or any(known == state for _, known in tags))


def not_modified(state: str) -> Response:
    return Response(status_code=304, headers={"ETag": etag(state)})


def _tags(request: Request, header: str) -> Literal["*"] | list[tuple[bool, str]] | None:
    """Each tag with whether it is weak; None without the header."""
    lines = request.headers.getlist(header)
    if not lines:
        return None
    text = ",".join(lines).strip(" \t")
    if text == "*":
        return "*"
    tags = list(_read(text))
    if not tags:
        raise _unreadable()
    return tags


def _read(text: str) -> Iterator[tuple[bool, str]]:
    """The tags of a list. A comma may stand in a tag, and two may stand between tags."""
    at, is_due = 0, True
    while at < len(text):
        if text[at] in " \t":
            at += 1
        elif text[at] == ",":
            at, is_due = at + 1, True
        elif is_due and (tag := _ENTITY_TAG.match(text, at)) is not None:
            yield tag[1] is not None, tag[2]
            at, is_due = tag.end(), False
        else:
            raise _unreadable()


def _unreadable() -> InvalidRequest:
    return InvalidRequest(
        "The condition on the ETag cannot be read", hint='send it as it was answered, with its quotes: "1.1"'
    )
