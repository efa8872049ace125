"""Secrets that called servers send back, in answers of the MCP server and in messages of callbacks."""

import json
from typing import Any, Final

import pytest

from api.agents import called, message, token_of
from security.canaries import SPECIAL, forms, leaks, nested
from support.client import Client
from support.receiver import Receiver
from support.waiting import wait_for

FRONT: Final = "kD7xQ2mZ9vLpT4bWcR8nHsY3"
# One is the beginning of another, and two begin with the same characters: the longest has to be replaced.
SECRETS: Final = {
    "FRONT": FRONT,
    "LONGER": f"{FRONT}gJfA6uEeK1qMiXoPzBtC",
    "OTHER": f"{FRONT}wNhVyGdS5rFlUjOa0IkT",
    "SPECIAL": SPECIAL,
    "LONG": "".join(f"{n:04x}" for n in range(2_000, 3_900)),
}
# The limit of a message in the log, and those of the values that a tool shows: a secret lies across each.
CUTS: Final = (200, 300, 500, 1_000, 2_000, 4_000, 8_000, 10_000)


def said(value: str) -> dict[str, Any]:
    """Answers of a server: the value in each form, as a key, deep inside, and where an answer is cut off."""
    known = forms(value)
    if len(value) > 1000:
        known = {name: known[name] for name in ("raw", "base64 at 1", "hex", "percent")}
    cut = [("p" * (at - len(value) // 2) + value)[: at + len(value)] for at in CUTS if at > len(value)]
    return {"forms": known, "keys": dict.fromkeys(known.values(), 1), "nest": nested(value, 20), "cut": cut}


@pytest.fixture(scope="module")
def account(admin: Client, lasting_receiver: Receiver) -> Client:
    """An account with secrets, which the receiver knows although no flow sends them."""
    account = admin.new_account()
    for name, value in SECRETS.items():
        account.new_secret(name, value)
        Client(lasting_receiver.url).request("PUT", f"/keep/{name}", json.dumps(said(value)).encode())
    Client(lasting_receiver.url).request("PUT", "/keep/all", " ".join(SECRETS.values()).encode())
    return account


def definition_of(receiver: Receiver, status: int, **metadata: Any) -> str:
    """Return a flow that asks for every answer, logs it, and ends with some of them."""
    names = (*SECRETS, "all")
    nodes: dict[str, Any] = {}
    for name, following in zip(names, (*names[1:], "end"), strict=True):
        type = "text/plain" if name == "all" else "application/json"
        url = f"{receiver.url}/keep/{name}?status={status}&type={type}"
        nodes[name] = {
            "type": "http.request",
            "params": {"url": url},
            "next": {"success": f"say_{name}", "error": f"say_{name}"},
        }
        params = {"message": f"${{JSON.stringify(nodes.{name}).slice(0, 9_900)}}", "data": f"${{nodes.{name}}}"}
        nodes[f"say_{name}"] = {"type": "log", "params": params, "next": following}
    # A message of a callback has no longer results.
    every = "nodes.FRONT, nodes.all"
    ends = {"type": "return", "params": {"value": f"${{[{every}]}}"}}
    if status >= 400:
        ends = {
            "type": "fail",
            "params": {"message": f"${{JSON.stringify([{every}]).slice(0, 9_900)}}", "data": f"${{[{every}]}}"},
        }
    return json.dumps({"metadata": {"name": f"answers {status}", **metadata}, "nodes": {**nodes, "end": ends}})


@pytest.mark.parametrize("status", [200, 418])
def test_s26_s27_no_tool_of_mcp_shows_a_secret_that_a_called_server_sends_back(
    account: Client, receiver: Receiver, status: int
) -> None:
    agent = Client(account.url, token_of(account))
    sinks: dict[str, bytes] = {}

    def call(tool: str, /, **arguments: Any) -> Any:
        reply = agent.post("/mcp", called(tool, **arguments))
        sinks[f"{tool} {arguments}"] = reply.body
        return reply.json["result"]["structuredContent"]

    saved = call("save_flow", definition=definition_of(receiver, status, mcp=True))
    flow = saved["flow_id"]
    ended = call("run_flow", flow_id=flow, wait_seconds=30)
    id = ended["execution_id"]
    assert account.ended(id)["status"] == ("completed" if status == 200 else "failed")
    for view in ("summary", "preview", "full"):
        call("get_execution", execution_id=id, view=view)
    call("get_execution_logs", execution_id=id)
    for step in call("get_execution", execution_id=id)["steps"]:
        call("get_step_params", execution_id=id, step=step["step"])
    for name in (*SECRETS, "all"):
        call("test_node", flow_id=flow, node=name)
    call("rerun", execution_id=id, from_node="say_LONGER", wait_seconds=30)
    call(f"flow_answers_{status}")
    uri = f"flowrunner://executions/{id}"
    sinks[uri] = agent.post("/mcp", message("resources/read", {"uri": uri})).body

    assert any("***" in body.decode() for body in sinks.values())
    assert [name for name, body in sinks.items() if b'"isError": true' in body] == []
    assert leaks(sinks, SECRETS.values()) == []


def test_s26_s74_no_message_or_delivery_of_a_callback_shows_a_secret_that_a_server_sends_back(
    account: Client, receiver: Receiver
) -> None:
    kinds = ("standard", "template", "slack")
    callbacks = {}
    for kind in kinds:
        template = {"template": {"all": "${event.data}", "text": "${event.text}"}} if kind == "template" else {}
        # The receivers answer with the secrets, too.
        body = {
            "url": f"{receiver.url}/keep/all?status=500&for={kind}", "format": kind, **template,
            "events": ["execution.completed", "execution.failed"],
        }  # fmt: skip
        made = account.post("/api/v1/callbacks", body)
        assert made.status == 201, made
        callbacks[kind] = f"/api/v1/callbacks/{made.json['id']}"
    sinks: dict[str, Any] = {}
    for status in (200, 418):
        execution = account.run(account.new_flow(definition_of(receiver, status)), {})
        assert account.ended(execution)["status"] == ("completed" if status == 200 else "failed")
        for of in ("", "/logs?limit=1000", "/steps?limit=1000", "/events?limit=1000"):
            sinks[f"execution {status} {of}"] = account.get(f"/api/v1/executions/{execution}{of}").body

    def messages() -> list[str]:
        effects = receiver.effects("/keep/all")
        return [str(effect) for effect in effects if effect.method == "POST" and "for=" in effect.query]

    wait_for(lambda: len(messages()) >= 2 * len(kinds))
    for kind, path in callbacks.items():
        sinks[f"test of {kind}"] = account.post(f"{path}/test").body
        sinks[f"deliveries of {kind}"] = account.get(f"{path}/deliveries").body
        sinks[f"callback of {kind}"] = account.get(path).body
        assert b"http.500" in sinks[f"deliveries of {kind}"]
        account.delete(path)
    sinks["messages"] = "".join(messages())

    assert "***" in sinks["messages"]
    assert leaks(sinks, SECRETS.values()) == []
