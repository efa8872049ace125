"""Webhook triggers: what other servers send, who is believed, and what is started."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import secrets
import textwrap
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from api.shapes import assert_error, assert_recent
from flowrunner.api.hooks import REFUSAL_SECONDS
from flowrunner.api.http.state import hook_slots
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.limits import UNLIMITED
from flowrunner.domain.standard_webhooks import signature
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import ExecutionId, WorkspaceId, memory_of_json
from flowrunner.domain.workspace import WORKSPACE_ROLES
from flowrunner.ports.hooks import HookDelivery, HookDeliveryId
from flowrunner.security.memory_room import FairBodies
from flowrunner.services import hook_deliveries
from flowrunner.storage.secrets import NAMED
from flowrunner.storage.sqlite.transaction import SqliteTransaction
from flowrunner.storage.triggers import BY_URL
from flowrunner.threads import LONG_BYTES
from security.two_accounts import ApiClient, two_accounts_at
from support.asgi import call
from support.client import Client, Reply
from support.proxy import Proxy
from support.receiver import Receiver
from support.server import Server
from support.waiting import PATIENCE_SECONDS, wait_for

from .test_waiting_api import delete_what_is_waited_for
from .test_workspaces_api import HEADER, team_at

SECRET: Final = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, or so").decode()
FLOW: Final = """
inputs: {got: {}}
triggers:
  in:
    type: webhook
    verify: %s
    input: {got: "${trigger.body}"}
    %s
nodes:
  a: {type: transform, params: {value: {got: "${flow.input.got}"}}}
"""
STANDARD: Final = '{scheme: standard, secret: "${secrets.HOOK}"}'


def new_hook(client: Client, verify: str = STANDARD, more: str = "", flow: str = FLOW) -> tuple[str, str]:
    """A flow with a webhook trigger; its URL and the trigger's id."""
    client.new_secret("HOOK", SECRET)
    client.new_flow(flow % (verify, more))
    (trigger,) = [t for t in client.get("/api/v1/triggers", limit=1000).json["triggers"] if t["state"] == "armed"][-1:]
    return trigger["url"], trigger["id"]


def signed(body: bytes, *, id: str | None = None, at: float | None = None, secret: str = SECRET) -> dict[str, str]:
    id = id or "msg_" + secrets.token_hex(8)
    return dict(signature(secret, id, str(int(at or time.time())), body)) | {"Content-Type": "application/json"}


def send(
    client: Client, url: str, body: bytes, headers: Mapping[str, str] | None = None, method: str = "POST"
) -> Reply:
    """A request of nobody that the server knows."""
    return Client(client.url).request(method, url, body, headers or signed(body))


def deliveries(client: Client, id: str) -> Any:
    return client.get(f"/api/v1/triggers/{id}/deliveries", limit=1000).json


def settled(client: Client, id: str, count: int = 1) -> list[Any]:
    """The deliveries of a trigger once it is known what became of each."""

    def known() -> list[Any]:
        return [each for each in deliveries(client, id)["deliveries"] if each["state"] != "received"]

    wait_for(lambda: len(known()) >= count)
    return known()


def test_a_signed_request_starts_the_flow_with_its_body(account: Client) -> None:
    url, id = new_hook(account)

    reply = send(account, url, b'{"n": 1}')

    assert reply.status == 202
    assert reply.json.keys() == {"started", "execution_id", "status"}
    assert reply.json["started"] is True
    execution = account.ended(reply.json["execution_id"])
    assert execution["result"] == {"got": {"n": 1}}
    (delivery,) = settled(account, id)
    assert (delivery["state"], delivery["execution_id"]) == ("started", execution["id"])
    assert_recent(delivery["received_at"])
    trigger = account.get(f"/api/v1/triggers/{id}").json
    assert trigger["last_execution_id"] == execution["id"]


def test_what_follows_the_id_in_the_path_is_decoration(account: Client) -> None:
    url, _ = new_hook(account)

    assert send(account, url + "/orders/eu?x=1", b"1").status == 202


def test_the_result_of_the_flow_is_the_answer_if_that_is_wanted(account: Client) -> None:
    url, _ = new_hook(account, more="respond: {mode: result}")

    reply = send(account, url, b'{"n": 1}')

    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json == {"got": {"n": 1}}


async def test_no_request_that_waits_for_a_result_keeps_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is asked at its end whether all places are free."""
    ends = {"completes": "type: return", "fails": "type: fail, params: {message: no}", "is late": WAITS}
    leaves, statuses = asyncio.Event(), list[int]()
    async with two_accounts_at(tmp_path) as accounts:
        for end in ends.values():
            flow = FLOW.replace('type: transform, params: {value: {got: "${flow.input.got}"}}', end)
            await accounts.mara.flow(flow % ("{scheme: none}", "respond: {mode: result, timeout: 100ms}"))
        triggers = (await accounts.mara.request("GET", "/api/v1/triggers")).json["triggers"]
        statuses += [(await accounts.mara.request("POST", trigger["url"], 1)).status for trigger in triggers]
        leaves.set()
        await call(accounts.app, "POST", triggers[-1]["url"], body=b"1", leaves=leaves)
        with monkeypatch.context() as patch:
            patch.setattr(accounts.program.services.hooks, "receive", unavailable)
            statuses.append((await accounts.mara.request("POST", triggers[0]["url"], 1)).status)

    assert statuses == [200, 502, 202, 503]


WAITS: Final = "type: delay, params: {duration: 1h}"


async def unavailable(*_: object, **__: object) -> None:
    raise Unavailable("The database does not answer")


async def test_a_request_without_code_reads_its_trigger_and_its_secret_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[object] = []

    def noting(read: Any) -> Any:
        async def noted(self: SqliteTransaction, statement: Any, *values: Any) -> Any:
            statements.append(statement)
            return await read(self, statement, *values)

        return noted

    async with two_accounts_at(tmp_path) as accounts:
        path = f"/api/v1/accounts/{(await accounts.mara.request('GET', '/api/v1/accounts/me')).json['id']}/secrets"
        await accounts.mara.request("POST", path, {"key": "HOOK", "value": "a key of the sender"})
        verify = '{scheme: token, header: X-Key, secret: "${secrets.HOOK}"}'
        await accounts.mara.flow(FLOW % (verify, "respond: {mode: result}"))
        ((trigger,), *_) = (await accounts.mara.request("GET", "/api/v1/triggers")).json.values()
        for name in ("row", "rows"):
            monkeypatch.setattr(SqliteTransaction, name, noting(getattr(SqliteTransaction, name)))
        for n in range(2):
            statements.clear()
            reply = await accounts.mara.request("POST", trigger["url"], n, **{"X-Key": "a key of the sender"})
            assert (reply.status, reply.json) == (200, {"got": n})

        assert statements == [BY_URL, NAMED]


def test_s26_the_answer_with_the_result_is_the_stored_result_without_secrets(account: Client) -> None:
    flow = FLOW.replace("{value: {got:", "{value: {key: '${secrets.HOOK}', got:")
    url, _ = new_hook(account, more="respond: {mode: result}", flow=flow)

    first, repeated = (send(account, url, b"1", signed(b"1", id="msg_1")) for _ in range(2))

    (listed,) = account.get("/api/v1/executions").json["executions"]
    stored = account.execution(listed["id"])["result"]
    assert stored["got"] == 1
    assert first.json == repeated.json == stored
    assert SECRET not in first.body.decode() + repeated.body.decode()


def test_a_failed_execution_is_answered_with_502_and_its_id(account: Client) -> None:
    flow = FLOW.replace(
        '{type: transform, params: {value: {got: "${flow.input.got}"}}}', "{type: fail, params: {message: no}}"
    )
    url, _ = new_hook(account, more="respond: {mode: result}", flow=flow)

    reply = send(account, url, b"1")

    details = assert_error(reply, 502, "The execution failed")
    assert account.execution(details["execution_id"])["status"] == "failed"


def test_an_answer_that_takes_too_long_is_the_acceptance(account: Client) -> None:
    flow = FLOW.replace(
        '{type: transform, params: {value: {got: "${flow.input.got}"}}}', "{type: delay, params: {duration: 1h}}"
    )
    url, _ = new_hook(account, more="respond: {mode: result, timeout: 200ms}", flow=flow)

    reply = send(account, url, b"1")

    assert reply.status == 202
    assert reply.json["started"] is True
    assert account.execution(reply.json["execution_id"])["status"] in ("running", "waiting")


async def test_an_execution_that_is_deleted_while_its_result_is_waited_for_is_answered_as_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dedupe = "dedupe: \"${trigger.headers['x-id']}\""
    async with two_accounts_at(tmp_path) as accounts:
        await accounts.mara.flow(FLOW % ("{scheme: none}", f"respond: {{mode: result}}\n    {dedupe}"))
        (trigger,) = (await accounts.mara.request("GET", "/api/v1/triggers")).json["triggers"]
        first = await accounts.mara.request("POST", trigger["url"], 1, X_Id="one")
        (execution,) = (await accounts.mara.request("GET", "/api/v1/executions")).json["executions"]
        delete_what_is_waited_for(monkeypatch, accounts.mara)

        again = await accounts.mara.request("POST", trigger["url"], 1, X_Id="one")

    assert (first.status, first.json) == (200, {"got": 1})
    assert (again.status, again.json) == (
        200, {"started": False, "execution_id": execution["id"], "status": "completed"},
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["accepted", "result"])
def test_s54_a_repeat_starts_nothing_and_gets_the_first_execution(account: Client, mode: str) -> None:
    url, id = new_hook(account, more=f"respond: {{mode: {mode}}}")
    first = send(account, url, b"1", signed(b"1", id="msg_1"))

    repeats = [send(account, url, b"1", signed(b"1", id="msg_1", at=time.time() - n)) for n in (0, 100)]

    for repeat in repeats:
        assert repeat.status == 200
        if mode == "result":
            assert repeat.json == first.json
        else:
            assert repeat.json | {"status": ""} == first.json | {"started": False, "status": ""}
    assert account.get("/api/v1/executions").json["total"] == 1
    assert len(settled(account, id)) == 1


def test_a_key_of_one_s_own_finds_repeats_of_senders_without_ids(account: Client) -> None:
    verify = '{scheme: github, secret: "${secrets.HOOK}"}'
    url, id = new_hook(account, verify, "dedupe: \"${trigger.headers['x-github-delivery']}\"")
    proof = "sha256=" + hmac.digest(SECRET.encode(), b"1", hashlib.sha256).hex()

    replies = [
        send(account, url, b"1", {"X-Hub-Signature-256": proof, "X-GitHub-Delivery": delivery})
        for delivery in ("a", "b", "a")
    ]

    assert [reply.status for reply in replies] == [202, 202, 200]
    assert replies[0].json["execution_id"] == replies[2].json["execution_id"] != replies[1].json["execution_id"]
    assert [each["state"] for each in settled(account, id, 3)] == ["repeated", "started", "started"]


def test_a_key_of_one_s_own_holds_besides_the_id_of_a_message(account: Client) -> None:
    url, id = new_hook(account, more="dedupe: \"${trigger.headers['x-order']}\"")

    def sent(message: str, order: str) -> Reply:
        return send(account, url, b"1", signed(b"1", id=message) | {"X-Order": order})

    first = sent("msg_1", "a")
    # Somebody who has seen the message sends it again with what is not signed changed.
    replies = [sent("msg_1", "b"), sent("msg_2", "a"), sent("msg_1", "a")]

    assert first.status == 202
    assert [(reply.status, reply.json["execution_id"]) for reply in replies] == [(200, first.json["execution_id"])] * 3
    assert sent("msg_3", "b").status == 202
    assert account.get("/api/v1/executions").json["total"] == 2
    assert [each["state"] for each in settled(account, id, 3)] == ["started", "repeated", "started"]


def test_a_key_of_one_s_own_may_be_any_value_but_null(account: Client) -> None:
    url, _ = new_hook(account, more='dedupe: "${trigger.body}"')
    bodies = [body for body in (b"0", b"false", b'""', b"null") for _ in range(2)]

    statuses = [send(account, url, body, signed(body, id=f"msg_{n}")).status for n, body in enumerate(bodies)]

    assert statuses == [202, 200, 202, 200, 202, 200, 202, 202]


def test_objects_are_one_key_whatever_the_order_of_their_members(account: Client) -> None:
    url, _ = new_hook(account, more='dedupe: "${trigger.body}"')
    bodies = (
        b'{"a": 1, "b": {"c": 2, "d": 3}}',
        b'{"b": {"d": 3, "c": 2}, "a": 1}',
        b'{"a": {"c": 2, "d": 3}, "b": 1}',
    )

    statuses = [send(account, url, body, signed(body, id=f"msg_{n}")).status for n, body in enumerate(bodies)]

    assert statuses == [202, 200, 202]


@pytest.mark.parametrize(("levels", "statuses"), [(500, [202, 200]), (501, [422, 422])])
def test_a_key_may_be_nested_as_deep_as_any_value(account: Client, levels: int, statuses: list[int]) -> None:
    deep = f"(() => {{let value = 1; for (let i = 0; i < {levels}; i++) value = [value]; return value}})()"
    url, _ = new_hook(account, more=f'dedupe: "${{{deep}}}"')

    replies = [send(account, url, b"{}", signed(b"{}", id=f"msg_{n}")) for n in range(2)]

    assert [reply.status for reply in replies] == statuses
    assert levels == 500 or "more than 500 levels" in replies[0].json["error"]["message"]


@pytest.mark.parametrize(("characters", "statuses"), [(16_384, [202, 200]), (16_385, [422, 422])])
def test_a_key_is_as_long_as_that_of_a_flow_node_at_most(account: Client, characters: int, statuses: list[int]) -> None:
    url, _ = new_hook(account, more='dedupe: "${trigger.body}"')
    body = json.dumps("x" * characters).encode()

    replies = [send(account, url, body, signed(body, id=f"msg_{n}")) for n in range(2)]

    assert [reply.status for reply in replies] == statuses
    assert characters == 16_384 or "'dedupe' is longer than 16384 characters" in replies[0].json["error"]["message"]


def test_a_number_is_one_key_with_and_without_a_fraction_of_zero(account: Client) -> None:
    url, _ = new_hook(account, more='dedupe: "${trigger.body}"')
    bodies = (b'{"a": [7]}', b'{"a": [7.0]}', b'{"a": [7e0]}', b'{"a": [7.5]}', b'{"a": ["7"]}', b"true", b"1.0", b"1")

    statuses = [send(account, url, body, signed(body, id=f"msg_{n}")).status for n, body in enumerate(bodies)]

    assert statuses == [202, 200, 200, 202, 202, 202, 202, 200]


def test_a_message_that_is_sent_to_two_webhooks_starts_both_once(account: Client) -> None:
    for more in ("", "dedupe: \"${trigger.headers['x-order']}\""):
        hooks = [new_hook(account, more=more, flow=f"metadata: {{name: '{n} {len(more)}'}}\n{FLOW}") for n in (1, 2)]
        headers = signed(b"1", id="msg_1") | {"X-Order": "a"}

        replies = [send(account, url, b"1", headers) for url, _ in hooks * 2]

        assert [reply.status for reply in replies] == [202, 202, 200, 200]
        first, second, *repeats = [reply.json["execution_id"] for reply in replies]
        assert first != second
        assert repeats == [first, second]


def test_a_message_that_failed_is_tried_again_as_it_was_stored(account: Client) -> None:
    url, id = new_hook(account, flow=FLOW.replace("inputs: {got: {}}", "inputs: {got: {type: integer}}"))
    assert send(account, url, b'"x"', signed(b'"x"', id="msg_1")).status == 422
    settled(account, id)

    assert send(account, url, b'"x"', signed(b'"x"', id="msg_1")).status == 422

    assert deliveries(account, id)["total"] == 1


def test_a_callback_that_comes_back_to_its_flow_ends(account: Client, receiver: Receiver) -> None:
    url, id = new_hook(account, "none")
    callback = {"url": f"{receiver.url}/ok/depths", "events": ["execution.completed"]}
    assert account.post("/api/v1/callbacks", callback).status == 201
    plain = {"Content-Type": "application/json"}

    replies = [send(account, url, b"1", plain | {"FlowRunner-Depth": depth}) for depth in ("20", "7, 8", "x", "21")]

    assert [reply.status for reply in replies] == [202, 202, 202, 422]
    assert "Chain too long" in replies[3].body.decode()
    assert [each["state"] for each in settled(account, id, 4)] == ["failed", "started", "started", "started"]
    wait_for(lambda: len(receiver.effects("/ok/depths")) == 3)
    # Each message tells of one end more.
    assert sorted(int(effect.headers["flowrunner-depth"]) for effect in receiver.effects("/ok/depths")) == [1, 1, 21]


def test_a_flow_that_sends_requests_to_its_own_webhook_ends(account: Client) -> None:
    sender = """
    metadata: {name: Sender}
    nodes:
      send: {type: http.request, params: {url: "${flow.input.to}", method: POST, body: "${flow.input.to}",
             headers: {flowrunner-depth: "0"}}, next: {error: refused}}
      refused: {type: return, params: {value: "${error.type}"}}
    """
    account.new_flow(textwrap.dedent(sender), name="Sender")
    looping = (
        FLOW.partition("nodes:")[0] + "nodes:\n  a: {type: flow, params: {flow: Sender, input: {to: '${input.got}'}}}\n"
    )
    url, id = new_hook(account, "none", flow=looping)

    # A flow cannot connect to the port of its own server, but to a proxy before it.
    with Proxy.before(account.url) as proxy:
        body = proxy.through(f"{account.url}{url}").encode()
        assert send(account, url, body, {"Content-Type": "text/plain"}).status == 202

        def states() -> list[str]:
            return sorted(each["state"] for each in deliveries(account, id)["deliveries"])

        wait_for(lambda: "failed" in states(), 60.0)
        assert states() == ["failed"] + ["started"] * 21


def test_a_request_to_a_webhook_in_a_flow_that_has_one_is_a_warning(account: Client) -> None:
    flow = FLOW % ("none", "") + "  b: {type: http.request, params: {url: 'https://flows.example/hooks/abc'}}\n"

    report = account.post("/api/v1/flows/validate", {"definition": flow}).json

    assert ("trigger.loop", "nodes.b.params.url") in [(each["code"], each["path"]) for each in report["warnings"]]


async def test_a_request_whose_server_ended_is_started_or_says_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        services, found = accounts.program.services, {}
        # A request may become durable long after it was received: its server was suspended, for example.
        await services.hook_deliveries.start_received()
        workspace = WorkspaceId((await accounts.mara.request("GET", "/api/v1/accounts/me")).json["id"])
        for name in ("open", "paused", "young"):
            flow = await accounts.mara.flow(FLOW % ("none", ""))
            (trigger,) = (await accounts.mara.request("GET", f"/api/v1/triggers?flow_id={flow}")).json["triggers"]
            at = datetime.now(UTC) - timedelta(seconds=0 if name == "young" else 90)
            delivery = HookDelivery(
                id=HookDeliveryId(f"hook-{name}"),
                workspace_id=workspace,
                trigger_id=TriggerId(trigger["id"]),
                received_at=at,
                state="received",
                execution_id=ExecutionId(f"exec-{name}"),
            )
            assert await services.hook_deliveries._store.add(delivery, b'{"body": 7, "headers": {}, "query": {}}')
            assert not await services.hook_deliveries._store.add(delivery, b"{}")
            found[name] = trigger["id"]
        await accounts.mara.request("POST", f"/api/v1/triggers/{found['paused']}/pause")

        async def away(_: Any) -> Any:
            raise Unavailable("The database cannot be written at the moment")

        with monkeypatch.context() as outage:
            outage.setattr(services.executions, "accept", away)
            await services.hook_deliveries.start_received()
        with monkeypatch.context() as outage:
            outage.setattr(services.hook_deliveries._store, "settle", away)
            await services.hook_deliveries.start_received()
        # What could not be started, or whose failure could not be recorded, is looked for again.
        await services.hook_deliveries.start_received()

        async def shown(name: str) -> Any:
            path = f"/api/v1/triggers/{found[name]}/deliveries/hook-{name}"
            return (await accounts.mara.request("GET", path)).json

        started = await shown("open")
        assert started["state"] == "started"
        assert (await accounts.mara.ended(started["execution_id"]))["input"] == {"got": 7}
        failed = await shown("paused")
        assert failed["state"] == "failed"
        assert "The server ended before" in failed["error"]
        assert "paused" in failed["error"]
        # Its server may still be at it.
        assert (await shown("young"))["state"] == "received"
        assert (await accounts.mara.request("GET", "/api/v1/executions")).json["total"] == 1


async def test_a_stored_request_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        mara, received = accounts.mara, accounts.program.services.hook_deliveries
        workspace = WorkspaceId((await mara.request("GET", "/api/v1/accounts/me")).json["id"])
        await mara.flow(FLOW % ("{scheme: none}", ""))
        (trigger,) = (await mara.request("GET", "/api/v1/triggers")).json["triggers"]
        at = datetime.now(UTC) - timedelta(seconds=90)
        stored = {"broken": b'{"body": ', "whole": b'{"body": 7, "headers": {}, "query": {}}'}
        for seconds, (name, request) in enumerate(stored.items()):
            delivery = HookDelivery(
                id=HookDeliveryId(f"hook-{name}"),
                workspace_id=workspace,
                trigger_id=TriggerId(trigger["id"]),
                received_at=at + timedelta(seconds=seconds),
                state="received",
                execution_id=ExecutionId(f"exec-{name}"),
            )
            assert await received._store.add(delivery, request)

        await received.start_received()

        path = f"/api/v1/triggers/{trigger['id']}/deliveries"
        listed = {each["id"]: each for each in (await mara.request("GET", path)).json["deliveries"]}
        assert listed["hook-whole"]["state"] == "started"
        assert listed["hook-broken"]["state"] == "failed"
        assert "The stored request cannot be read" in listed["hook-broken"]["error"]
        assert_error(await mara.request("GET", f"{path}/hook-broken"), 409)
        assert_error(await mara.request("POST", f"{path}/hook-broken/replay"), 409)


@pytest.mark.parametrize("more", ["", "when: 'true'"], ids=["one_transaction", "stored_first"])
async def test_requests_during_a_pause_are_accepted_and_each_starts_once_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        mara, services = accounts.mara, accounts.program.services
        await mara.flow(FLOW % ("{scheme: none}", more))
        (trigger,) = (await mara.request("GET", "/api/v1/triggers")).json["triggers"]
        assert (await mara.request("PUT", "/api/v1/admin/pause", {"paused": True})).status == 200

        replies = [await ApiClient(accounts.app).request("POST", trigger["url"], n) for n in range(2)]

        # After another answer, the sender would repeat it, and each repeat would start the flow once more.
        assert [(reply.status, reply.json) for reply in replies] == [(202, {"started": False})] * 2
        path = f"/api/v1/triggers/{trigger['id']}/deliveries"
        assert [each["state"] for each in (await mara.request("GET", path)).json["deliveries"]] == ["received"] * 2
        assert (await mara.request("PUT", "/api/v1/admin/pause", {"paused": False})).status == 200
        monkeypatch.setattr(hook_deliveries, "_GRACE", timedelta(minutes=-1))
        await services.hook_deliveries.start_received()
        started = (await mara.request("GET", path)).json["deliveries"]
        assert [each["state"] for each in started] == ["started"] * 2
        assert {(await mara.ended(each["execution_id"]))["input"]["got"] for each in started} == {0, 1}
        assert (await mara.request("GET", "/api/v1/executions")).json["total"] == 2


@pytest.mark.parametrize("more", ["", "when: 'true'"], ids=["one_transaction", "stored_first"])
async def test_a_request_whose_commit_is_reported_as_failed_starts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        mara, services = accounts.mara, accounts.program.services
        await mara.flow(FLOW % ("{scheme: none}", more))
        (trigger,) = (await mara.request("GET", "/api/v1/triggers")).json["triggers"]
        # The first commit of the request: that of its start, or that of the request alone.
        owner, name = (services.hooks._store, "add") if more else (services.executions, "accept")
        commit, done = getattr(owner, name), list[Any]()

        async def loses_its_answer(*given: Any) -> Any:
            done.append(await commit(*given))
            if len(done) == 1:
                raise Unavailable("The database cannot be written at the moment")
            return done[-1]

        monkeypatch.setattr(owner, name, loses_its_answer)

        reply = await ApiClient(accounts.app).request("POST", trigger["url"], 7)

        # After a 503 the sender would repeat it, under another id.
        assert (reply.status, reply.json["started"]) == (202, True)
        monkeypatch.setattr(hook_deliveries, "_GRACE", timedelta(minutes=-1))
        await services.hook_deliveries.start_received()
        (delivery,) = (await mara.request("GET", f"/api/v1/triggers/{trigger['id']}/deliveries")).json["deliveries"]
        assert (delivery["state"], delivery["execution_id"]) == ("started", reply.json["execution_id"])
        assert (await mara.request("GET", "/api/v1/executions")).json["total"] == 1


async def test_a_full_workspace_stores_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        mara, services = accounts.mara, accounts.program.services
        await mara.flow(FLOW % ("{scheme: none}", ""))
        (trigger,) = (await mara.request("GET", "/api/v1/triggers")).json["triggers"]
        monkeypatch.setattr(services.hooks._usage, "_limits", replace(UNLIMITED, stored=1))

        reply = await ApiClient(accounts.app).request("POST", trigger["url"], 7)

        assert_error(reply, 409)
        assert (await mara.request("GET", f"/api/v1/triggers/{trigger['id']}/deliveries")).json["deliveries"] == []


async def test_a_rejected_request_whose_failure_cannot_be_recorded_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        mara, store = accounts.mara, accounts.program.services.hook_deliveries._store
        await mara.flow((FLOW % ("{scheme: none}", "")).replace("got: {}", "got: {type: string}"))
        (trigger,) = (await mara.request("GET", "/api/v1/triggers")).json["triggers"]

        async def away(_: Any) -> Any:
            raise Unavailable("The database cannot be written at the moment")

        with monkeypatch.context() as outage:
            outage.setattr(store, "settle", away)
            kept = await ApiClient(accounts.app).request("POST", trigger["url"], 7)
        rejected = await ApiClient(accounts.app).request("POST", trigger["url"], 7)

        # It is tried again later, and after another answer its sender would repeat it too.
        assert (kept.status, kept.json) == (202, {"started": False})
        assert rejected.status == 422
        path = f"/api/v1/triggers/{trigger['id']}/deliveries"
        listed = (await mara.request("GET", path)).json["deliveries"]
        assert [each["state"] for each in listed] == ["failed", "received"]


async def test_a_message_repeated_during_a_pause_starts_once_after_it(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        mara, sender = accounts.mara, ApiClient(accounts.app)
        secret = {"key": "HOOK", "value": SECRET}
        assert (await mara.request("POST", "/api/v1/accounts/me/secrets", secret)).status == 201
        await mara.flow(FLOW % (STANDARD, ""))
        (trigger,) = (await mara.request("GET", "/api/v1/triggers")).json["triggers"]
        headers = signed(b"7", id="msg_1")

        async def sent() -> Reply:
            return await sender.request("POST", trigger["url"], 7, **headers)

        await mara.request("PUT", "/api/v1/admin/pause", {"paused": True})
        paused = [await sent(), await sent()]
        await mara.request("PUT", "/api/v1/admin/pause", {"paused": False})
        first, again = await sent(), await sent()

        assert [(reply.status, reply.json) for reply in paused] == [(202, {"started": False})] * 2
        assert (first.status, first.json["started"]) == (202, True)
        assert (again.status, again.json["execution_id"]) == (200, first.json["execution_id"])


async def test_requests_that_take_long_to_start_do_not_delay_those_of_another_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        services, at = accounts.program.services, datetime.now(UTC) - timedelta(seconds=90)
        of: dict[str, str] = {}
        for name, client in (("slow", accounts.mara), ("quick", accounts.omar)):
            of[name] = (await client.request("GET", "/api/v1/workspaces")).json["workspaces"][0]["id"]
            flow = await client.flow(FLOW % ("none", ""))
            (trigger,) = (await client.request("GET", f"/api/v1/triggers?flow_id={flow}")).json["triggers"]
            for n in range(20 if name == "slow" else 1):
                delivery = HookDelivery(
                    id=HookDeliveryId(f"hook-{name}-{n:02}"),
                    workspace_id=WorkspaceId(of[name]),
                    trigger_id=TriggerId(trigger["id"]),
                    received_at=at,
                    state="received",
                    execution_id=ExecutionId(f"exec-{name}-{n:02}"),
                )
                await services.hook_deliveries._store.add(delivery, b'{"body": 7, "headers": {}, "query": {}}')
            at += timedelta(seconds=1)
        accept, released, accepted = services.executions.accept, asyncio.Event(), list[str]()

        async def busy(asked: Any) -> Any:
            if asked.workspace_id == of["slow"]:
                await released.wait()
            accepted.append(asked.workspace_id)
            released.set()
            return await accept(asked)

        monkeypatch.setattr(services.executions, "accept", busy)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await services.hook_deliveries.start_received()

    assert accepted == [of["quick"]] + [of["slow"]] * 20


def test_the_requests_of_a_deleted_flow_are_not_found(account: Client) -> None:
    url, id = new_hook(account)
    send(account, url, b"1")
    (delivery,) = settled(account, id)
    path = f"/api/v1/triggers/{id}/deliveries/{delivery['id']}"
    flow = account.get(path.partition("/deliveries")[0]).json["flow_id"]
    assert account.get(path).status == 200

    assert account.delete(f"/api/v1/flows/{flow}").status == 200

    assert account.get(path).status == account.get(f"/api/v1/triggers/{id}/deliveries").status == 404


def test_requests_that_are_not_wanted_start_nothing(account: Client) -> None:
    url, id = new_hook(account, more="when: \"trigger.body.type == 'order'\"")

    unwanted, wanted = send(account, url, b'{"type": "ping"}'), send(account, url, b'{"type": "order"}')

    assert (unwanted.status, unwanted.json) == (200, {"started": False})
    assert wanted.status == 202
    assert [each["state"] for each in settled(account, id, 2)] == ["started", "skipped"]


@pytest.mark.parametrize("when", ["trigger.body.order.kind", "trigger.body.order.kind == 'new'"], ids=["path", "code"])
def test_a_condition_that_fails_starts_nothing(account: Client, when: str) -> None:
    url, id = new_hook(account, more=f"when: {json.dumps(when)}")

    refused = send(account, url, b"{}")

    assert assert_error(refused, 422)["field"] == "when"
    assert account.get("/api/v1/executions").json["total"] == 0
    assert [each["state"] for each in settled(account, id)] == ["failed"]
    assert send(account, url, b'{"order": {"kind": "new"}}').status == 202


@pytest.mark.parametrize(("body", "headers"), [(b"{", {}), (b'{"a": 1, "a": 2}', {}), (b"[" * 70, {})])
def test_a_verified_sender_learns_what_is_wrong_with_its_body(
    account: Client, body: bytes, headers: dict[str, str]
) -> None:
    url, _ = new_hook(account)

    assert assert_error(send(account, url, body, signed(body) | headers), 422)["field"] == "body"
    assert account.get("/api/v1/executions").json["total"] == 0


def test_a_verified_sender_learns_what_is_wrong_with_the_input_and_the_trigger_is_failing(account: Client) -> None:
    url, id = new_hook(account, flow=FLOW.replace("inputs: {got: {}}", "inputs: {got: {type: integer}}"))

    for _ in range(3):
        assert assert_error(send(account, url, b'"x"'), 422)["field"] == "input.got"

    failed = settled(account, id, 3)
    trigger = account.get(f"/api/v1/triggers/{id}").json
    assert (trigger["state"], "got" in trigger["error"]) == ("failing", True)
    # Stored requests may start it as new ones do.
    replay = account.post(f"/api/v1/triggers/{id}/deliveries/{failed[0]['id']}/replay")
    assert assert_error(replay, 422)["field"] == "input.got"
    assert send(account, url, b"1").status == 202
    wait_for(lambda: account.get(f"/api/v1/triggers/{id}").json["state"] == "armed")


@pytest.mark.parametrize(
    ("verify", "headers", "body"),
    [
        ("{scheme: token, header: X-Key, secret: '${secrets.HOOK}'}", {"X-Key": SECRET}, b"a"),
        ("none", {}, b"a"),
        (
            "{scheme: token, header: Authorization, secret: '${secrets.HOOK}'}",
            {"Authorization": f"Bearer {SECRET}"},
            b"",
        ),
    ],
)
def test_other_proofs_are_accepted_with_a_body_of_any_type(
    account: Client, verify: str, headers: dict[str, str], body: bytes
) -> None:
    url, _ = new_hook(account, verify, "respond: {mode: result}")

    reply = send(account, url, body, {"Content-Type": "text/plain", **headers})

    assert (reply.status, reply.json) == (200, {"got": body.decode() or None})


def test_the_url_verification_of_slack_is_answered_and_starts_nothing(account: Client) -> None:
    url, _ = new_hook(account, '{scheme: slack, secret: "${secrets.HOOK}"}')
    body, at = b'{"type": "url_verification", "challenge": "3eZbrw1aB"}', str(int(time.time()))
    proof = "v0=" + hmac.digest(SECRET.encode(), f"v0:{at}:".encode() + body, hashlib.sha256).hex()
    headers = {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": proof, "Content-Type": "application/json"}

    reply = send(account, url, body, headers)

    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b"3eZbrw1aB", "text/plain; charset=utf-8")
    assert_error(send(account, url, body, headers | {"X-Slack-Signature": "v0=00"}), 404)
    assert account.get("/api/v1/executions").json["total"] == 0


@pytest.mark.parametrize("verify", ["none", STANDARD])
def test_a_get_that_asks_for_no_challenge_starts_nothing(account: Client, verify: str) -> None:
    url, id = new_hook(account, verify)

    assert_error(send(account, url, b"", {**signed(b""), "Host": "localhost"}, "GET"), 404)

    assert account.get("/api/v1/executions").json["total"] == 0
    found = deliveries(account, id)
    assert (found["deliveries"], found["refused"]["count"]) == ([], 1)
    assert found["refused"]["last"][0]["reason"] == "The method is GET"


def test_a_subscription_of_meta_is_answered_to_who_names_the_secret(account: Client) -> None:
    url, _ = new_hook(account, '{scheme: github, secret: "${secrets.HOOK}"}')
    query = "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="

    right = send(account, f"{url}{query}{SECRET}", b"", {"Host": "localhost"}, "GET")

    assert (right.status, right.body) == (200, b"1158201444")
    assert_error(send(account, f"{url}{query}wrong", b"", {"Host": "localhost"}, "GET"), 404)


def test_s54_what_is_not_signed_right_starts_nothing(account: Client) -> None:
    url, id = new_hook(account)
    body, now = b'{"a": 1, "b": 2}', time.time()
    wrong = {
        "missing": {"Content-Type": "application/json"},
        "old": signed(body, at=now - 400),
        "future": signed(body, at=now + 400),
        "other body": signed(b'{"a": 2, "b": 2}'),
        "re-ordered": signed(b'{"b": 2, "a": 1}'),
        "other key": signed(body, secret="whsec_" + base64.b64encode(b"x" * 32).decode()),
        "other id": signed(body) | {"webhook-id": "msg_other"},
    }

    replies = {name: send(account, url, body, headers) for name, headers in wrong.items()}

    bodies = {json.dumps(reply.json["error"] | {"request_id": ""}) for reply in replies.values()}
    assert {reply.status for reply in replies.values()} == {404}
    assert len(bodies) == 1
    assert account.get("/api/v1/executions").json["total"] == 0
    listed = deliveries(account, id)
    assert listed["deliveries"] == []
    assert listed["refused"]["count"] == len(wrong)
    reasons = [each["reason"] for each in listed["refused"]["last"]]
    assert reasons[0] == "The header with the proof of the sender is missing"
    assert reasons[1] == "The request was signed more than 300 seconds ago"


def test_s54_a_body_that_is_too_large_is_rejected_before_it_is_read(account: Client) -> None:
    url, _ = new_hook(account)

    for path in (url, "/hooks/unknown"):
        reply = send(account, path, b"", {"Content-Length": str(2 * 2**30)})
        assert_error(reply, 413)


def test_s55_unknown_paused_and_wrongly_signed_hooks_have_one_answer(account: Client) -> None:
    url, id = new_hook(account)
    paused, paused_id = new_hook(account, flow="metadata: {name: two}\n" + FLOW)
    assert account.post(f"/api/v1/triggers/{paused_id}/pause").status == 200
    body = b"1"
    cases = [
        (url, signed(body, secret="whsec_" + base64.b64encode(b"x" * 32).decode())),
        (paused, signed(body)),
        (url[:-1], signed(body)),
        (url + "x", signed(body)),
        (url.upper().replace("/HOOKS/", "/hooks/"), signed(body)),
        ("/hooks/" + secrets.token_urlsafe(20), signed(body)),
        ("/hooks/" + "x" * 1000, signed(body)),
        ("/hooks/" + id, signed(body)),
        ("/hooks/%00", signed(body)),
    ]

    replies = [send(account, path, body, headers) for path, headers in cases]

    assert {(reply.status, json.dumps(reply.json["error"] | {"request_id": ""})) for reply in replies} == {
        (404, json.dumps(replies[0].json["error"] | {"request_id": ""}))
    }
    assert "proof of the sender" in replies[0].json["error"]["hint"]
    assert len({frozenset(reply.headers.keys()) for reply in replies}) == 1
    assert len(url.removeprefix("/hooks/")) * 6 >= 128


def test_s55_the_time_of_a_refusal_tells_nothing(account: Client) -> None:
    url, _ = new_hook(account)
    body = b"x" * 200
    wrong = signed(body) | {"webhook-id": "msg_other"}
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    client = Client(account.url)
    for _ in range(60):
        for name, path in (("known", url), ("unknown", "/hooks/" + secrets.token_urlsafe(20))):
            began = time.perf_counter()
            assert client.request("POST", path, body, wrong).status == 404
            times[name].append(time.perf_counter() - began)

    # A refusal is answered at a fixed time after its request, so the order of the two is chance.
    # The event loop rounds to whole milliseconds.
    assert REFUSAL_SECONDS >= 0.05
    assert min(times["known"] + times["unknown"]) >= REFUSAL_SECONDS - 0.001
    slower = sum(k > u for k in times["known"] for u in times["unknown"]) / 60**2
    assert 0.2 < slower < 0.8


def test_a_rotated_hook_is_known_by_its_new_url_only(account: Client) -> None:
    url, id = new_hook(account)

    rotated = account.post(f"/api/v1/triggers/{id}/rotate")

    assert rotated.status == 200
    assert rotated.json["url"] != url
    assert_error(send(account, url, b"1"), 404)
    assert send(account, rotated.json["url"], b"1").status == 202


async def test_the_secret_part_of_a_url_is_for_who_may_change_the_flow(tmp_path: Path) -> None:
    shown = {}
    async with team_at(tmp_path) as team:
        await team.flow("triggers: {in: {type: webhook, verify: none}}\nnodes: {a: {type: return}}")
        id = await team.join("viewer")
        at = {HEADER: team.id}
        (mine,) = (await team.mara.request("GET", "/api/v1/triggers", **at)).json["triggers"]
        for role in WORKSPACE_ROLES:
            await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": role})
            (listed,) = (await team.omar.request("GET", "/api/v1/triggers", **at)).json["triggers"]
            single = (await team.omar.request("GET", f"/api/v1/triggers/{mine['id']}", **at)).json
            assert listed["url"] == single["url"]
            shown[role] = listed["url"] == mine["url"]
            assert shown[role] or listed["url"] == "/hooks/…"

    assert shown == {"viewer": False, "operator": False, "editor": True, "admin": True}


def test_the_url_survives_a_save(account: Client) -> None:
    url, _ = new_hook(account)
    flow = account.get("/api/v1/flows").json["flows"][0]["id"]
    account.put(f"/api/v1/flows/{flow}", {"definition": FLOW % (STANDARD, "description: again")})

    assert send(account, url, b"1").status == 202


def test_the_stored_request_has_no_secret_and_no_proof(account: Client) -> None:
    url, id = new_hook(account)
    account.new_secret("OTHER", "a-secret-in-the-body")
    body = b'{"a": "has a-secret-in-the-body", "b": "${secrets.OTHER}"}'
    headers = signed(body) | {"Cookie": "a=b", "Authorization": "Bearer x", "X-Kind": "push"}

    execution = account.ended(send(account, url + "?q=1", body, headers).json["execution_id"])

    (delivery,) = settled(account, id)
    stored = account.get(f"/api/v1/triggers/{id}/deliveries/{delivery['id']}").json
    request = stored["request"]
    assert request["method"] == "POST"
    assert request["body"] == {"a": "has ***", "b": "${secrets.OTHER}"}
    assert request["query"] == {"q": "1"}
    assert request["headers"]["x-kind"] == "push"
    assert not {"cookie", "authorization", "webhook-signature"} & request["headers"].keys()
    # S39: what arrives is data, and the first run reads what is stored.
    assert execution["result"] == {"got": request["body"]}


def test_a_stored_request_can_be_replayed(account: Client) -> None:
    url, id = new_hook(account)
    first = account.ended(send(account, url, b'{"n": 1}').json["execution_id"])
    (delivery,) = settled(account, id)

    again = account.post(f"/api/v1/triggers/{id}/deliveries/{delivery['id']}/replay")

    assert again.status == 202
    second = account.ended(again.json["execution_id"])
    assert second["id"] != first["id"]
    assert second["result"] == first["result"]
    path, key = f"/api/v1/triggers/{id}/deliveries/{delivery['id']}/replay", {"Idempotency-Key": "again"}
    repeated = [account.request("POST", path, headers=key) for _ in range(2)]
    assert [reply.status for reply in repeated] == [202, 202]
    assert repeated[0].json["execution_id"] == repeated[1].json["execution_id"] != second["id"]
    assert repeated[1].headers["idempotent-replayed"] == "true"
    missing = account.post(f"/api/v1/triggers/{id}/deliveries/hook-none/replay")
    assert_error(missing, 404, "Delivery not found")


@pytest.mark.parametrize(
    ("inputs", "when", "answer"), [("type: integer", "true", (422, None)), ("", "trigger.body == 2", (202, False))]
)
def test_a_replay_that_starts_nothing_changes_nothing_of_the_delivery_and_its_trigger(
    account: Client, inputs: str, when: str, answer: tuple[int, bool | None]
) -> None:
    url, id = new_hook(account)
    send(account, url, b'"x"')
    before = settled(account, id)
    flow = account.get(f"/api/v1/triggers/{id}").json["flow_id"]
    changed = FLOW.replace("{got: {}}", f"{{got: {{{inputs}}}}}") % (STANDARD, f"when: {json.dumps(when)}")
    assert account.put(f"/api/v1/flows/{flow}", {"definition": changed}).status == 200
    path = f"/api/v1/triggers/{id}/deliveries/{before[0]['id']}/replay"

    # As many as make a trigger failing if senders cause them.
    replays = [account.post(path) for _ in range(3)]

    assert [(reply.status, reply.json.get("started")) for reply in replays] == [answer] * 3
    # What becomes of a later request is recorded after all that was to be recorded of the replays.
    send(account, url, b'"y"' if inputs else b"1")
    assert settled(account, id, 2)[1:] == before
    assert account.get(f"/api/v1/triggers/{id}").json["state"] == "armed"


def test_deliveries_count_as_stored_bytes(account: Client) -> None:
    url, id = new_hook(account, more='when: "false"')
    before = account.get(f"/api/v1/workspaces/{account.account_id}/usage").json

    send(account, url, json.dumps("x" * 100_000).encode())

    after = account.get(f"/api/v1/workspaces/{account.account_id}/usage").json
    grown = {key for key in after if isinstance(after[key], int) and after[key] - before.get(key, 0) >= 100_000}
    assert grown
    assert settled(account, id)[0]["size"] >= 100_000


def test_a_long_body_and_a_compressed_one_are_what_they_are(account: Client) -> None:
    url, _ = new_hook(account, more="respond: {mode: result}")
    long = json.dumps({"x": "y" * 900_000}).encode()

    assert send(account, url, long).json["got"] == json.loads(long)
    packed = gzip.compress(b"1")
    headers = signed(packed) | {"Content-Type": "application/gzip", "Content-Encoding": "gzip"}
    # It is not decompressed: the signature is of these bytes.
    assert send(account, url, packed, headers).json["got"] == base64.b64encode(packed).decode()


def test_hooks_of_others_do_not_exist(account: Client, other: Client) -> None:
    url, id = new_hook(account)
    send(account, url, b"1")
    (delivery,) = settled(account, id)

    for method, rest in (
        ("GET", "deliveries"), ("GET", f"deliveries/{delivery['id']}"), ("POST", f"deliveries/{delivery['id']}/replay"),
        ("POST", "rotate"),
    ):  # fmt: skip
        assert_error(other.request(method, f"/api/v1/triggers/{id}/{rest}"), 404)


def test_s63_long_requests_of_one_workspace_that_wait_for_results_delay_no_other_sender(
    account: Client, other: Client
) -> None:
    flow = FLOW.replace(
        '{type: transform, params: {value: {got: "${flow.input.got}"}}}', "{type: delay, params: {duration: 1h}}"
    )
    slow, id = new_hook(account, "none", "respond: {mode: result, timeout: 20s}", flow)
    quick, _ = new_hook(other, "none")
    # 64 of them would fill the room of all senders that are not verified yet.
    long, headers = b"x" * 70_000, {"Content-Type": "text/plain"}
    with ThreadPoolExecutor(70) as pool:
        waiting = [pool.submit(send, account, slow, long, headers) for _ in range(70)]
        wait_for(lambda: deliveries(account, id)["total"] >= 60)

        reply = send(other, quick, long, headers)

        assert reply.status == 202
        assert not any(each.done() for each in waiting)
        for each in account.get("/api/v1/executions", limit=1000).json["executions"]:
            assert account.delete(f"/api/v1/executions/{each['id']}").status == 200


async def test_a_request_reserves_the_memory_of_its_body_twice_first_of_all_strangers_then_of_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[tuple[str, int]] = []
    hold = FairBodies.hold

    def hold_and_note(self: FairBodies, workspace_id: WorkspaceId, size: int) -> AbstractAsyncContextManager[None]:
        held.append((workspace_id, size))
        return hold(self, workspace_id, size)

    monkeypatch.setattr(FairBodies, "hold", hold_and_note)
    async with two_accounts_at(tmp_path) as accounts:
        await accounts.mara.flow(FLOW % ("{scheme: none}", ""))
        (trigger,) = (await accounts.mara.request("GET", "/api/v1/triggers")).json["triggers"]
        # Nothing is reserved for what takes little.
        sizes = 3_000, LONG_BYTES, LONG_BYTES + 1, 500_000
        for size in sizes:
            body = b"[" + b"{}," * ((size - 4) // 3) + b"{}]" + b" " * ((size - 4) % 3)
            assert (len(body), (await call(accounts.app, "POST", trigger["url"], body=body)).status) == (size, 202)
            of_strangers = [size] if size > LONG_BYTES else []
            of_workspace = [memory_of_json(body)] if size >= LONG_BYTES else []
            assert [each for name, each in held if name == "hooks"] == of_strangers
            assert [each for name, each in held if name != "hooks"] == of_workspace
            held.clear()


def test_s63_one_workspace_cannot_take_all_places_of_requests_that_wait_for_a_result() -> None:
    slots, mara, omar = hook_slots(), WorkspaceId("mara"), WorkspaceId("omar")

    assert sum(slots.take_at_once(mara) for _ in range(1000)) == 250
    assert slots.take_at_once(omar)


def test_a_sender_that_waits_for_a_result_is_told_of_its_execution_when_the_server_stops(tmp_path: Path) -> None:
    flow = FLOW.replace(
        '{type: transform, params: {value: {got: "${flow.input.got}"}}}', "{type: wait, params: {key: go}}"
    )
    server = Server(tmp_path)
    try:
        admin = server.start().admin()
        url, _ = new_hook(admin, "none", "respond: {mode: result, timeout: 20s}", flow)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(send, admin, url, b"{}")
            wait_for(lambda: admin.get("/api/v1/executions", status="waiting").json["total"] == 1)
            server.terminate()
            reply = waiting.result()
        server.wait()
        admin = server.start().admin()
        (execution,) = admin.get("/api/v1/executions").json["executions"]
        status = admin.get(f"/api/v1/executions/{execution['id']}").json["status"]
    finally:
        server.stop()

    assert (reply.status, reply.json["execution_id"]) == (202, execution["id"])
    assert status == "waiting"
    assert "Exception in ASGI application" not in server.log


def test_requests_that_prove_their_sender_do_not_count_for_their_address(tmp_path: Path) -> None:
    server = Server(tmp_path, {"ANONYMOUS_REQUESTS": "20"})
    try:
        url, _ = new_hook(server.start().admin())
        replies = [send(Client(server.url), url, b"{}") for _ in range(40)]
    finally:
        server.stop()

    assert {reply.status for reply in replies} == {202}


def test_s54_challenges_count_for_the_address_that_asks_for_them(tmp_path: Path) -> None:
    server = Server(tmp_path, {"ANONYMOUS_REQUESTS": "20"})
    try:
        url, _ = new_hook(server.start().admin(), "none")
        nobody = Client(server.url)
        replies = [nobody.request("POST", f"{url}?validationToken=a", b"") for _ in range(40)]
    finally:
        server.stop()

    assert {reply.status for reply in replies} == {200, 429}
