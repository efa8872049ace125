"""Requests to a webhook trigger while its flow moves to another workspace: each starts one execution there."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.bootstrap.program import Program
from flowrunner.services.hook_senders import HookSenders
from flowrunner.storage.hooks import SqlHooks
from support.asgi import call, program_at
from support.client import PASSWORD, Reply

# With a path the request is stored with its start, and with code before it.
INPUTS: Final = {"path": "${trigger.body.n}", "code": "${trigger.body.n + 0}"}
FLOW: Final = """
metadata: {name: moved}
triggers: {in: {type: webhook, verify: {scheme: none}, input: {n: "%s"}}}
nodes: {a: {type: return, params: {value: "${flow.input.n}"}}}
"""


class Mover:
    """An admin of two workspaces, whose flow moves from one to the other at a chosen moment."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._token = ""
        self._flow = ""
        self.url = ""
        self.has_moved = False

    async def begin(self, input: str) -> "Mover":
        await self._program.services.accounts.create(
            name="root", email="root@example.com", password=PASSWORD, role="admin"
        )
        login = await self.go("POST", "/api/v1/auth/login", {"username": "root@example.com", "password": PASSWORD})
        self._token = login.json["token"]
        assert (await self.go("POST", "/api/v1/workspaces", {"name": "Team", "slug": "team"})).status == 201
        self._flow = (await self.go("POST", "/api/v1/flows", {"definition": FLOW % input})).json["id"]
        (trigger,) = (await self.go("GET", "/api/v1/triggers")).json["triggers"]
        self.url = trigger["url"]
        return self

    async def go(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        data = b"" if body is None else json.dumps(body).encode()
        return await call(self._program.app, method, path, token=self._token or None, body=data, headers=headers)

    async def move(self) -> None:
        if not self.has_moved:
            self.has_moved = True
            assert (await self.go("POST", f"/api/v1/flows/{self._flow}/move", {"workspace": "team"})).status == 200

    async def in_team(self, path: str) -> Any:
        return (await self.go("GET", path, **{"Flowrunner-Workspace": "team"})).json


@pytest.fixture(params=sorted(INPUTS))
async def mover(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Mover]:
    async with program_at(tmp_path / "data") as program:
        yield await Mover(program).begin(INPUTS[request.param])


def then(method: Callable[..., Awaitable[Any]], mover: Mover) -> Callable[..., Awaitable[Any]]:
    """Return the method with a move of the flow after it."""

    async def moving(*args: Any, **options: Any) -> Any:
        result = await method(*args, **options)
        await mover.move()
        return result

    return moving


@pytest.mark.parametrize(("owner", "name"), [(HookSenders, "open"), (SqlHooks, "add")], ids=["opened", "stored"])
async def test_a_request_that_meets_a_move_starts_one_execution_in_the_new_workspace(
    mover: Mover, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    monkeypatch.setattr(owner, name, then(getattr(owner, name), mover))

    reply = await mover.go("POST", mover.url, {"n": 7})

    await mover.move()
    assert reply.status == 202, reply
    (execution,) = (await mover.in_team("/api/v1/executions"))["executions"]
    assert execution["id"] == reply.json["execution_id"]
    (trigger,) = (await mover.in_team("/api/v1/triggers"))["triggers"]
    assert (trigger["last_execution_id"], trigger["error"]) == (execution["id"], None)
    (delivery,) = (await mover.in_team(f"/api/v1/triggers/{trigger['id']}/deliveries"))["deliveries"]
    assert (delivery["state"], delivery["execution_id"]) == ("started", execution["id"])


async def test_a_request_that_meets_the_deletion_of_its_flow_gets_the_answer_of_an_unknown_address(
    mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = HookSenders.open

    async def open_then_delete(*args: Any) -> Any:
        result = await opened(*args)
        (flow,) = (await mover.go("GET", "/api/v1/flows")).json["flows"]
        assert (await mover.go("DELETE", f"/api/v1/flows/{flow['id']}")).status == 200
        return result

    monkeypatch.setattr(HookSenders, "open", open_then_delete)
    reply = await mover.go("POST", mover.url, {"n": 7})
    monkeypatch.undo()
    unknown = await mover.go("POST", "/hooks/unknown", {"n": 7})

    assert (reply.status, reply.error["message"]) == (unknown.status, unknown.error["message"])
