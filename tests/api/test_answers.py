"""One struct gives the bytes of an answer and its schema."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

import pytest
from fastapi import APIRouter, Request
from jsonschema_rs import Draft202012Validator
from msgspec import UNSET, Meta, UnsetType

from flowrunner.api.http.answers import (
    LOCATION,
    Answer,
    ListAnswer,
    Reply,
    answer,
    listing,
    long_listing,
    present,
    stored,
)
from flowrunner.api.http.openapi import openapi_document
from flowrunner.api.http.routing import ProbeRoute
from flowrunner.api.http.state import Once
from flowrunner.api.server import ROUTERS


class Leaf(Answer, frozen=True, kw_only=True):
    size: int


class Tree(Answer, frozen=True, kw_only=True):
    """A tree of a forest."""

    kind: Annotated[Literal["oak", "fir"], Meta(description="Its kind.")]
    felled_at: str | None
    last_leaf: Leaf | UnsetType = UNSET
    notes: Any = UNSET


class Forest(ListAnswer, frozen=True):
    trees: list[Tree]


async def get_tree(request: Request) -> Reply[Tree]:
    """Return a tree."""
    return answer(Tree(kind="oak", felled_at=None))


def document_of(**options: Any) -> Any:
    router = APIRouter(route_class=ProbeRoute)
    router.add_api_route("/tree", get_tree, methods=["POST"], **options)
    return openapi_document([*(route for one in ROUTERS for route in one.routes), *router.routes])


def test_absent_fields_are_left_out_and_none_is_null() -> None:
    assert answer(Tree(kind="oak", felled_at=None)).body == b'{"kind":"oak","felled_at":null}'
    assert answer(Tree(kind="oak", felled_at=None, last_leaf=Leaf(size=1), notes=stored(b'{"a": 1.50}'))).body == (
        b'{"kind":"oak","felled_at":null,"last_leaf":{"size":1},"notes":{"a": 1.50}}'
    )
    assert (present(None), present(0), stored(None)) == (UNSET, 0, UNSET)


def test_the_schema_says_what_the_struct_says() -> None:
    assert document_of()["components"]["schemas"]["Tree"] == {
        "title": "Tree",
        "description": "A tree of a forest.",
        "type": "object",
        "properties": {
            "kind": {"title": "Kind", "description": "Its kind.", "type": "string", "enum": ["fir", "oak"]},
            "felled_at": {"title": "Felled At", "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
            "last_leaf": {"$ref": "#/components/schemas/Leaf"},
            "notes": {"title": "Notes"},
        },
        "required": ["kind", "felled_at"],
    }


def test_the_schema_rejects_other_bytes_than_those_of_the_struct_but_further_fields() -> None:
    document = document_of()
    schema = Draft202012Validator({"$ref": "#/components/schemas/Tree", "components": document["components"]})

    assert schema.is_valid(json.loads(bytes(answer(Tree(kind="fir", felled_at=None, notes=1)).body)))
    for wrong in (
        {"kind": "fir"}, {"kind": "ash", "felled_at": None}, {"kind": "fir", "felled_at": None, "last_leaf": None},
    ):  # fmt: skip
        assert not schema.is_valid(wrong), wrong
    assert schema.is_valid({"kind": "fir", "felled_at": None, "height": 1})


def test_a_route_describes_the_answer_of_its_return_type_under_each_status_of_success() -> None:
    responses = {200: {"description": "Was there"}, 304: {"description": "Not modified"}}
    described = document_of(status_code=201, responses=responses)["paths"]["/tree"]["post"]["responses"]

    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}
    assert described["201"] == {"description": "Successful Response", "headers": LOCATION, "content": content}
    assert described["200"] == {"description": "Was there", "content": content}
    assert described["304"] == {"description": "Not modified"}


# What the routes send whose answers are no structs.
OTHER_CONTENT = {
    "/api/v1/flows/export": "application/zip",
    "/api/v1/workspaces/{id}/export": "application/zip",
    "/api/v1/executions/{id}/steps/{step_id}/result": "application/json",
    "/metrics": "text/plain",
    # The challenge by which a sender checks the address.
    "/hooks/{token}": "text/plain; charset=utf-8",
}


def test_every_route_names_its_answer_but_those_of_archives_stored_results_and_metrics() -> None:
    routes: list[Any] = [route for router in ROUTERS for route in router.routes]
    described = openapi_document(routes)["paths"]
    without = [route for route in routes if getattr(route, "include_in_schema", False) and route.answer is None]

    assert {
        route.path_format: "".join(described[route.path_format]["get"]["responses"]["200"]["content"])
        for route in without
    } == OTHER_CONTENT
    # A webhook is answered as its sender expects.
    assert {route.path_format for route in without if route.methods != {"GET"}} == {"/hooks/{token}"}


TREES = [Tree(kind="oak", felled_at=str(n)) for n in range(120)]


async def bytes_of(reply: Reply[Any]) -> bytes:
    """The body of an answer, whether it is streamed or not."""
    streamed = getattr(reply, "body_iterator", None)
    return bytes(reply.body) if streamed is None else b"".join([part async for part in streamed])


@pytest.mark.parametrize(("length", "is_streamed"), [(0, False), (1, False), (50, False), (51, True), (120, True)])
async def test_a_long_list_has_the_bytes_of_its_struct(length: int, is_streamed: bool) -> None:
    reply = listing(Forest([], total=length, limit=200, offset=0), TREES[:length])

    assert hasattr(reply, "body_iterator") == is_streamed
    assert reply.media_type == "application/json"
    assert await bytes_of(reply) == answer(Forest(TREES[:length], total=length, limit=200, offset=0)).body


async def test_a_list_that_ends_behind_its_last_item_is_empty() -> None:
    async def none() -> AsyncIterator[Sequence[Answer]]:
        portions: Sequence[Sequence[Answer]] = ()
        for portion in portions:
            yield portion

    reply = await long_listing(Forest([], total=3, limit=10, offset=10), none(), is_whole=True)

    assert await bytes_of(reply) == b'{"trees":[],"total":3,"limit":10,"offset":10}'


async def test_what_is_made_once_is_made_again_only_after_a_failure() -> None:
    made, once = [], Once[int]()

    async def make() -> int:
        made.append(1)
        await asyncio.sleep(0)
        if len(made) == 1:
            raise ZeroDivisionError
        return len(made)

    results = await asyncio.gather(*(once.get(make) for _ in range(4)), return_exceptions=True)

    assert isinstance(results[0], ZeroDivisionError)
    assert (results[1:], len(made)) == ([2, 2, 2], 2)
