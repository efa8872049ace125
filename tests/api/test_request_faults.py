"""Faults of requests in which very much is wrong: as many are made as an answer lists, and few names are compared."""

import json
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.api.http.errors import MOST_FAULTS, entry_of
from flowrunner.bootstrap.program import Program
from flowrunner.domain import suggestions
from flowrunner.domain.errors import Fault
from support.asgi import call, program_at
from support.client import PASSWORD, Reply


class Asking:
    def __init__(self, program: Program, token: str) -> None:
        self.program = program
        self.token = token

    async def post(self, path: str, body: Any) -> Reply:
        return await self.post_bytes(path, json.dumps(body).encode())

    async def post_bytes(self, path: str, body: bytes) -> Reply:
        return await call(self.program.app, "POST", path, token=self.token, body=body)


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    async with program_at(tmp_path / "data") as program:
        await program.services.accounts.create(name="m", email="m@example.com", password=PASSWORD, role="admin")
        login = json.dumps({"username": "m@example.com", "password": PASSWORD}).encode()
        token = (await call(program.app, "POST", "/api/v1/auth/login", body=login)).json["token"]
        yield Asking(program, token)


_FLOW: Final = "nodes: {a: {type: return}}"
_BROKEN: Final = "nodes: {a: {type: retrun, next: b}, b: {type: retrun}}"
# Requests that have faults of several kinds beside each other, with the places of all.
WRONG: Final[tuple[tuple[str, Any, list[str]], ...]] = (
    (
        "/flows:batch",
        {"flows": [{"name": " ", "definition": _FLOW}, {"name": "\t", "definition": _FLOW}]},
        [" : name", "\t: name"],
    ),
    (
        "/flows:batch",
        {"flows": [*[{"name": "b", "definition": _FLOW}] * 2, {"name": " ", "definition": _FLOW}]},
        ["b: name", "b: name", " : name"],
    ),
    (
        "/flows:batch",
        {"flows": [{"name": "a", "definition": _BROKEN}, {"name": "b", "definition": _BROKEN}]},
        ["a: nodes.a.type", "a: nodes.b.type", "b: nodes.a.type", "b: nodes.b.type"],
    ),
    ("/accounts/me/secrets", {"key": "1", "value": "x"}, ["key", "value"]),
    ("/tokens", {"name": " ", "scopes": ["read"], "expires_in": "0s"}, ["name", "expires_in"]),
    ("/accounts", {"name": " ", "email": "x", "password": "short"}, ["name", "email", "password"]),
    ("/workspaces", {"name": "\n", "slug": "-"}, ["name", "slug"]),
    (
        "/callbacks",
        {"url": "https://a.example", "events": ["x", "execution.completed", "y"], "flow_id": "f", "tag": "t",
         "format": "template"},
        ["events[0]", "events[2]", "tag", "template"],
    ),
    (
        "/executions:batch",
        {"action": "nothing", "ids": [""] * 1_001, "labels": 1},
        ["action", "labels"],
    ),
)  # fmt: skip


async def test_an_answer_lists_every_fault_of_a_request(asking: Asking) -> None:
    for path, body, places in WRONG:
        reply = await asking.post(f"/api/v1{path}", body)

        listed = reply.json["error"]["details"]["errors"]
        found = [f"{each['flow']}: {each['path']}" if "flow" in each else each["path"] for each in listed]
        assert (reply.status, found) == (422, places), path


async def test_s61_faults_are_made_for_the_first_thousand_alone(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearest, compared = suggestions.nearest, 0

    def counted(text: str, known: Collection[str], *, cutoff: float = 0.6) -> str | None:
        nonlocal compared
        compared += len(known)
        return nearest(text, known, cutoff=cutoff)

    monkeypatch.setattr(suggestions, "nearest", counted)
    reply = await asking.post("/api/v1/flows:batch", {"flows": [{f"key{n}": 1 for n in range(98)}] * 500})

    assert reply.status == 422
    assert reply.json["error"]["message"] == "The request has 50000 faults"
    assert len(reply.json["error"]["details"]["errors"]) == MOST_FAULTS
    assert 0 < compared <= 300


async def test_s61_too_many_inputs_of_a_selection_are_one_fault(asking: Asking) -> None:
    body = {"action": "delete", "filter": {"input": dict.fromkeys(map(str, range(50_000)), 1)}}

    reply = await asking.post("/api/v1/executions:batch", body)

    assert reply.status == 422
    assert [fault["path"] for fault in reply.json["error"]["details"]["errors"]] == ["filter.input"]
    assert reply.json["error"]["details"]["errors"][0]["code"] == "too_long"


async def test_s61_the_place_of_a_fault_is_cut(asking: Asking) -> None:
    reply = await asking.post("/api/v1/flows:batch", {"flows": [{"x" * 5_000 + str(n): 1 for n in range(90)}] * 20})

    assert reply.status == 422
    assert max(len(fault["path"]) for fault in reply.json["error"]["details"]["errors"]) <= 301


async def test_a_misspelled_field_is_still_reported_once(asking: Asking) -> None:
    reply = await asking.post("/api/v1/executions:batch", {"acton": "delete"})

    (fault,) = reply.json["error"]["details"]["errors"]
    assert (fault["path"], fault["hint"]) == ("acton", "did you mean 'action'?")


@pytest.mark.parametrize(
    ("path", "body", "place", "hint"),
    [
        ("executions:batch", {"action": "delete", "filter": {"flw": "a"}}, "filter.flw", "did you mean 'flow'?"),
        ("executions:batch", {"action": "delete", "filter": {"input": {"a": 1}, "filter": 1}}, "filter.filter", None),
        ("flows:batch", {"flows": [{"nam": "a", "definition": ""}]}, "flows.0.nam", "did you mean 'name'?"),
    ],
)
async def test_the_hint_of_an_unknown_field_names_fields_of_its_own_object(
    asking: Asking, path: str, body: Any, place: str, hint: str | None
) -> None:
    reply = await asking.post(f"/api/v1/{path}", body)

    faults = {fault["path"]: fault for fault in reply.json["error"]["details"]["errors"]}
    assert reply.status == 422
    assert faults[place]["hint"].startswith(hint or "known fields: flow_id, flow, status, ")
    # The field that is meant is not reported as missing too.
    assert [path for path in faults if path.endswith(".name")] == []


@pytest.mark.parametrize(
    ("path", "message"),
    [("flows", "A body of JSON or YAML is required"), ("executions:batch", "A JSON body is required")],
)
async def test_a_missing_body_is_named_as_the_route_takes_it(asking: Asking, path: str, message: str) -> None:
    reply = await asking.post_bytes(f"/api/v1/{path}", b"")

    assert (reply.status, reply.json["error"]["message"]) == (422, message)


async def test_an_empty_list_is_said_to_be_empty(asking: Asking) -> None:
    reply = await asking.post("/api/v1/executions:batch", {"action": "delete", "ids": []})

    assert reply.json["error"]["message"] == "ids: must not be empty"


@given(st.lists(st.text(st.sampled_from("ab~/01 é"), min_size=1), min_size=1))
def test_a_pointer_leads_to_the_keys_of_a_fault_whatever_is_in_them(keys: list[str]) -> None:
    pointer = entry_of(Fault(path=".".join(keys), code="invalid", message="m")).pointer

    # As RFC 6901 reads it.
    assert [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]] == keys
