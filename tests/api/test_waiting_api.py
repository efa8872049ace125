"""Waiting for the end of an execution in the request that starts it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from api.shapes import NAP
from flowrunner.api.event_feed import EventFeed
from flowrunner.api.open_streams import OpenStreams
from security.two_accounts import RETURN, ApiClient, two_accounts_at
from support.asgi import call, program_at
from support.client import PASSWORD, Client, Reply

DOUBLE: Final = 'nodes:\n  a: {type: transform, params: {value: "${flow.input.n * 2}"}}\n'
FAILS: Final = "nodes:\n  a: {type: fail, params: {error: a.b, message: no, data: [1]}}\n"


def run(account: Client, flow_id: str, wait: str, input: object = None, **headers: str) -> Reply:
    return account.post(f"/api/v1/flows/{flow_id}/run", {"input": input or {}}, Prefer=wait, **headers)


def test_a_request_that_waits_gets_the_result(account: Client) -> None:
    flow_id = account.new_flow(DOUBLE)

    reply = run(account, flow_id, "wait=30", {"n": 4})

    assert (reply.status, reply.headers["preference-applied"]) == (200, "wait=30")
    execution = account.execution(reply.json["execution_id"])
    assert reply.json == {
        "execution_id": execution["id"], "flow_id": flow_id, "status": "completed",
        "created_at": execution["started_at"], "completed_at": execution["completed_at"],
        "duration": execution["duration"], "result": 8,
    }  # fmt: skip


def test_a_failure_is_answered_as_well(account: Client) -> None:
    reply = run(account, account.new_flow(FAILS), "respond-async, wait=30")

    assert reply.status == 200
    assert (reply.json["status"], reply.json["error"]) == ("failed", "no")
    assert (reply.json["failure"]["type"], reply.json["failure"]["data"]) == ("a.b", [1])
    assert "result" not in reply.json


def test_an_execution_that_takes_longer_is_answered_as_started(account: Client) -> None:
    reply = run(account, account.new_flow(NAP), "wait=1")

    assert reply.status == 201
    assert "preference-applied" not in reply.headers
    assert set(reply.json) == {"execution_id", "flow_id", "status", "created_at"}


def test_a_preference_that_cannot_be_read_is_ignored_and_a_long_one_is_shortened(account: Client) -> None:
    flow_id = account.new_flow(DOUBLE)

    for text in ("wait", "wait=x", "wait=-1", "await=9", "wait=0", "handling=lenient"):
        assert run(account, flow_id, text, {"n": 1}).status == 201
    for text in ("wait=9999", "wait=" + "9" * 20):
        assert run(account, flow_id, text, {"n": 1}).headers["preference-applied"] == "wait=60"


def test_a_rerun_waits_too(account: Client) -> None:
    first = run(account, account.new_flow(DOUBLE), "wait=30", {"n": 4}).json["execution_id"]

    reply = account.post(f"/api/v1/executions/{first}/rerun", {"input": {"n": 5}}, Prefer="wait=30")

    assert (reply.status, reply.json["status"], reply.json["result"]) == (200, "completed", 10)
    assert reply.json["revision"] == 1
    assert account.execution(reply.json["execution_id"])["rerun_of"] == first


async def test_s16_a_token_that_may_not_read_gets_no_result_of_what_others_have_started(tmp_path: Path) -> None:
    seen = {}
    async with two_accounts_at(tmp_path) as accounts:
        path = f"/api/v1/flows/{await accounts.mara.flow(DOUBLE)}/run"
        theirs = await accounts.mara.request("POST", path, {"input": {"n": 21}}, Prefer="wait=30")
        again = f"/api/v1/executions/{theirs.json['execution_id']}/rerun"
        for scopes in (("run",), ("read", "run")):
            made = await accounts.mara.request("POST", "/api/v1/tokens", {"name": "t", "scopes": list(scopes)})
            token = ApiClient(accounts.app, made.json["token"])
            own = await token.request("POST", path, {"input": {"n": 1}}, Prefer="wait=30")
            replies = [own, await token.request("POST", again, {"from": "a"}, Prefer="wait=30")]
            seen[scopes] = [(reply.status, reply.json.get("result")) for reply in replies]

    assert seen == {("run",): [(200, 2), (201, None)], ("read", "run"): [(200, 2), (200, 42)]}


def test_a_repeated_request_waits_for_the_execution_that_the_first_one_started(account: Client) -> None:
    flow_id = account.new_flow(DOUBLE)
    first = run(account, flow_id, "wait=30", {"n": 4}, Idempotency_Key="k")

    again = run(account, flow_id, "wait=30", {"n": 4}, Idempotency_Key="k")

    assert again.status == 200
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json == first.json
    assert "idempotent-replayed" not in first.headers


def test_a_flow_that_is_run_by_its_name_is_waited_for(account: Client) -> None:
    account.post("/api/v1/flows", {"name": "Named", "definition": DOUBLE})

    reply = account.post("/api/v1/flows/by-name/Named/run", {"input": {"n": 2}}, Prefer="wait=30")

    assert (reply.status, reply.json["result"]) == (200, 4)


@pytest.mark.parametrize(
    "end",
    [
        lambda streams: setattr(streams, "_most", 0),
        lambda streams: setattr(streams, "_most_of_account", 0),
        lambda streams: streams.closed.set(),
    ],
    ids=["as many streams as the server has", "as many as the account has", "a server that stops"],
)
async def test_an_execution_that_cannot_be_waited_for_is_answered_as_started(
    end: Callable[[OpenStreams], object], tmp_path: Path
) -> None:
    async with program_at(tmp_path / "data") as program:
        services = program.services
        await services.accounts.create(name="A", email="a@example.com", password=PASSWORD, role="user")
        token = (await services.sessions.login("a@example.com", PASSWORD, address="127.0.0.1")).token
        body = json.dumps({"name": "F", "definition": DOUBLE}).encode()
        flow = (await call(program.app, "POST", "/api/v1/flows", token=token, body=body)).json["id"]
        end(program.streams)

        reply = await call(
            program.app, "POST", f"/api/v1/flows/{flow}/run",
            token=token, body=b'{"input": {"n": 1}}', headers={"prefer": "wait=30"},
        )  # fmt: skip

        assert (reply.status, "preference-applied" in reply.headers) == (201, False)


def delete_what_is_waited_for(monkeypatch: pytest.MonkeyPatch, account: ApiClient) -> None:
    """Let each execution be deleted just before a request waits for its end."""
    until_end = EventFeed.until_end

    async def until_end_of_deleted(feed: EventFeed, id: Any, *values: Any, **options: Any) -> Any:
        assert (await account.request("DELETE", f"/api/v1/executions/{id}/record")).status == 200
        return await until_end(feed, id, *values, **options)

    monkeypatch.setattr(EventFeed, "until_end", until_end_of_deleted)


async def test_an_execution_that_is_deleted_while_its_end_is_waited_for_is_answered_as_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        path = f"/api/v1/flows/{await accounts.mara.flow(RETURN)}/run"
        headers = {"Prefer": "wait=30", "Idempotency_Key": "k"}
        first = await accounts.mara.request("POST", path, {}, **headers)
        delete_what_is_waited_for(monkeypatch, accounts.mara)

        again = await accounts.mara.request("POST", path, {}, **headers)

    assert (first.status, again.status, "preference-applied" in again.headers) == (200, 200, False)
    assert again.json["execution_id"] == first.json["execution_id"]
