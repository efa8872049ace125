"""Conditional requests: `If-Match` and `If-None-Match` (RFC 9110, 13.1)."""

import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Final, Literal

from fastapi import Request
from starlette.responses import Response

from flowrunner.api.http.answers import Reply, encoded, errors
from flowrunner.api.http.errors import InvalidRequest, etag
from flowrunner.services.preconditions import Precondition

IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": (
        "ETags separated by commas, or `*`. Unless the resource has one of them, the answer is 412 and nothing changes."
    ),
    "schema": {"type": "string"},
}
IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "ETags separated by commas, or `*`. If the resource has one of them, the answer is an empty 304.",
    "schema": {"type": "string"},
}
_ETAG_HEADER: Final = {
    "ETag": {"description": "The state of the resource. It differs after every change.", "schema": {"type": "string"}}
}
NOT_MODIFIED: Final = {"description": "Not modified", "headers": _ETAG_HEADER}

_DIGEST_BYTES: Final = 12
_ENTITY_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def with_etag(status: int = 200) -> Mapping[int | str, dict[str, Any]]:
    """Return the `responses` of a route that sends an ETag on success."""
    return {status: {"headers": _ETAG_HEADER}}


def with_etag_of_answer(responses: Mapping[int | str, Any]) -> dict[int | str, Any]:
    """Return the `responses` of a route whose answers are `tagged`."""
    return {**errors(400), **responses, 200: {**responses.get(200, {}), "headers": _ETAG_HEADER}, 304: NOT_MODIFIED}


def _states_to_match(request: Request) -> frozenset[str] | None:
    """Return the states that `If-Match` allows; None allows any.

    Raises:
        InvalidRequest: The header cannot be parsed.
    """
    tags = _tags(request, b"if-match")
    # A weak tag means equivalence of two answers, not identity.
    return None if tags is None or tags == "*" else frozenset(state for is_weak, state in tags if not is_weak)


IF_NONE_MATCH_ANY: Final = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "Only `*`: if the resource exists, the answer is 412 and nothing changes.",
    "schema": {"type": "string", "enum": ["*"]},
}


def condition_of(request: Request) -> Precondition:
    """Return the condition on a resource that the request creates or changes. Raises: InvalidRequest."""
    if (must_be_new := _tags(request, b"if-none-match")) not in (None, "*"):
        raise InvalidRequest("The If-None-Match of a change can only be *")
    has_if_match = "if-match" in request.headers
    return Precondition(states=_states_to_match(request), must_exist=has_if_match, must_be_new=must_be_new is not None)


def change_condition_of(request: Request) -> Precondition:
    """Return the condition on a resource that exists and that the request changes. Raises: InvalidRequest."""
    return Precondition(states=_states_to_match(request))


def is_known(request: Request, state: str) -> bool:
    """Return True if `If-None-Match` contains this state. Raises: InvalidRequest."""
    tags = _tags(request, b"if-none-match")
    return tags is not None and (tags == "*" or any(known == state for _, known in tags))


def not_modified(state: str) -> Reply[Any]:
    return Reply(status_code=304, headers={"ETag": etag(state)})


def state_of_answer(body: bytes | memoryview) -> str:
    return blake2b(body, digest_size=_DIGEST_BYTES).hexdigest()


def encoded_or_not_modified(request: Request, body: bytes, state: str) -> Reply[Any]:
    """Answer with what was encoded before, or with a 304 if the client has this state. Raises: InvalidRequest."""
    return not_modified(state) if is_known(request, state) else encoded(body, headers={"ETag": etag(state)})


# The answer is encoded by then; a route that knows the state of its object before has a tag of its own.
def tagged(request: Request, reply: Response) -> Response:
    """Return an answer with an ETag of its bytes, or a 304 if the client has them; a stream is left as it is.

    Raises: InvalidRequest.
    """
    if type(reply) is not Reply or reply.status_code != HTTPStatus.OK:
        return reply
    state = state_of_answer(reply.body)
    if is_known(request, state):
        return not_modified(state)
    reply.raw_headers.append((b"etag", b'"%b"' % state.encode()))
    return reply


def _tags(request: Request, header: bytes) -> Literal["*"] | list[tuple[bool, str]] | None:
    """Return each tag, marked as weak or strong; None without the header."""
    # The framework's mapping decodes all headers to find one.
    lines = [value.decode("latin-1") for name, value in request.scope["headers"] if name == header]
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
    """Yield the tags of a list. Tags may contain commas, and commas may be repeated between tags."""
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
