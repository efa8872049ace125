"""Messages to the MCP server, and results that its tools shorten."""

import json
from typing import Any, Final

from security.hostile.case import RETURN, Attacker, Case, long_case
from support.client import Client, Reply

MIB: Final = 1024 * 1024


def agent(attacker: Attacker) -> Client:
    """An agent of the account. The first one has the SDK imported, and the documentation read."""
    body = {"name": "agent", "scopes": ["mcp", "read", "run", "write"]}
    token = attacker.account.post("/api/v1/tokens", body).json["token"]
    return Client(attacker.server.url, token)


def call(client: Client, tool: str, /, **arguments: Any) -> Reply:
    return send(client, {"name": tool, "arguments": arguments})


def send(client: Client, params: Any, method: str = "tools/call") -> Reply:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, separators=(",", ":"))
    return client.request("POST", "/mcp", body.encode(), {"Content-Type": "application/json"})


def run(attacker: Attacker, script: str, **input: Any) -> None:
    """Read the execution of a script in every view."""
    client = agent(attacker)
    flow = attacker.save({"nodes": {"a": {"type": "transform", "params": {"script": script}}}})
    execution = attacker.account.run(flow, input)
    attacker.wait(execution)
    for view in ("summary", "preview", "full"):
        call(client, "get_execution", execution_id=execution, view=view)


def long_list_of_nothing(attacker: Attacker) -> None:
    send(agent(attacker), {"name": "run_flow", "arguments": {"flow_id": [0] * 1_400_000}})


def many_members(attacker: Attacker) -> None:
    send(agent(attacker), {"name": "run_flow", "arguments": {f"a{n}": n for n in range(180_000)}})


def many_members_beside_the_arguments(attacker: Attacker) -> None:
    send(agent(attacker), {f"a{n}": {"b": [n]} for n in range(120_000)})


def many_members_of_the_meta(attacker: Attacker) -> None:
    send(agent(attacker), {"name": "search_flows", "_meta": {f"a{n}": {"b": [n]} for n in range(120_000)}})


def a_large_input(attacker: Attacker) -> None:
    client = agent(attacker)
    flow = attacker.save(RETURN)
    call(client, "run_flow", flow_id=flow, input={f"a{n}": [n] * 5 for n in range(60_000)}, wait_seconds=10)


def long_definition(attacker: Attacker) -> None:
    nodes = {f"n{n}": {"type": "log", "params": {"message": "x" * 900}} for n in range(900)}
    client = agent(attacker)
    for tool in ("validate_flow", "save_flow"):
        call(client, tool, definition=json.dumps({"nodes": nodes}))


def long_lines(attacker: Attacker) -> None:
    client = agent(attacker)
    flow = attacker.save(RETURN + "\n#" + "x" * 900_000 + "\n" * 90_000)
    for first in (1, 2, 3, 80_000):
        call(client, "get_flow", flow_id=flow, first_line=first)


def words(attacker: Attacker) -> None:
    client = agent(attacker)
    for query in ("a " * 150, "the a of and is flow node " * 11, "." * 300, "-_." * 100, "é" * 300):
        call(client, "search_docs", query=query, limit=10)


CASES: Final = (
    Case("a long list of nothing", long_list_of_nothing),
    long_case("many members", many_members),
    long_case("many members beside the arguments", many_members_beside_the_arguments),
    Case("many members of the meta", many_members_of_the_meta, only_whole=True),
    Case("a large input", a_large_input, only_whole=True),
    Case("long definition", long_definition),
    Case("long lines", long_lines, only_whole=True),
    Case("words", words),
    Case("result of many numbers", lambda a: run(a, "return Array.from({length: 120000}, (_, i) => i)")),
    Case("result of many members", lambda a: run(
        a, "return Object.fromEntries(Array.from({length: 40000}, (_, i) => ['k' + i, {v: [i]}]))"
    )),
    Case("nested result", lambda a: run(
        a, "let v = 1; for (let i = 0; i < 40; i++) v = [v, v.length ? 1 : 2, {v: i}]; "
           "return Array.from({length: 1500}, () => v)"
    )),
)  # fmt: skip
