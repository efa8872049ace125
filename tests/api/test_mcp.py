"""An agent at work, with the client of the official SDK, in both forms of the protocol."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from api.agents import Agent, called, token_of
from support.client import Client
from support.receiver import Receiver
from support.server import Server

# The form of the protocol, and how it reaches the server.
WAYS = ["http auto", "http legacy", "stdio auto", "stdio legacy"]


@pytest.fixture(params=WAYS[:1])
async def agent(request: Any, server: Server, account: Client) -> Any:
    ready: asyncio.Future[Agent] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def hold() -> None:
        way, mode = request.param.split()
        token = token_of(account)
        if way == "http":
            connected = Agent.over_http(server.url, token, mode=mode)
        else:
            connected = Agent.over_stdio({"FLOWRUNNER_URL": server.url, "FLOWRUNNER_TOKEN": token}, mode=mode)
        # The client must end in the task that has begun it, and a fixture has two.
        async with connected as agent:
            ready.set_result(agent)
            await done.wait()

    holding = asyncio.create_task(hold())
    both: set[asyncio.Future[Any]] = {ready, holding}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        await holding
    yield ready.result()
    done.set()
    await holding


in_every_way = pytest.mark.parametrize("agent", WAYS, indirect=True)


@in_every_way
async def test_an_agent_writes_tests_and_runs_a_flow_reads_its_failure_and_mends_it(
    agent: Agent, account: Client
) -> None:
    (type,) = (await agent.call("list_node_types", query="transform"))["node_types"]
    described = await agent.call("describe_node_type", name=type["name"])
    assert described["params_schema"]["properties"].keys() >= {"script"}

    # It misspells a parameter, and is told where and how to mend that.
    wrong = (
        "metadata: {name: Totals}\nnodes:\n  add: {type: transform, params: {scrip: 'return input.a + flow.input.b.c'}}"
    )
    found = await agent.call("validate_flow", definition=wrong)
    assert not found["is_valid"]
    assert (found["errors"][0]["line"], found["errors"][0]["hint"]) == (3, "did you mean 'script'?")
    refused = await agent.refused("save_flow", definition=wrong)
    assert (refused["code"], refused["details"]["errors"][0]["line"]) == ("validation_error", 3)
    assert "validate_flow" in refused["hint"]

    definition = wrong.replace("scrip:", "script:")
    assert (await agent.call("validate_flow", definition=definition))["is_valid"]
    planned = await agent.call("save_flow", definition=definition, dry_run=True)
    assert planned["plan"]["action"] == "create"
    assert account.get("/api/v1/flows").json["total"] == 0
    saved = await agent.call("save_flow", definition=definition)
    assert (saved["name"], saved["revision"]) == ("Totals", 1)

    tried = await agent.call(
        "test_node", flow_id=saved["flow_id"], node="add", input={"a": 1}, flow_input={"b": {"c": 2}}
    )
    assert (tried["status"], tried["result"]) == ("completed", 3)
    ended = await agent.call("run_flow", flow_id=saved["flow_id"], wait_seconds=30)
    assert ended["status"] == "failed"
    assert ended["failure"]["node"] == "add"

    read = await agent.call("get_execution", execution_id=ended["execution_id"])
    assert (read["failed_node"], read["error_type"]) == ("add", ended["failure"]["type"])
    assert [(step["step"], step["status"]) for step in read["steps"]] == [("add.1", "failed")]
    assert read["input"] == {"size": 2}, "a summary has no values"
    logs = await agent.call("get_execution_logs", execution_id=ended["execution_id"], min_level="error")
    assert any("add" in line.get("node_id", "") for line in logs["logs"])
    params = await agent.call("get_step_params", execution_id=ended["execution_id"], step="add.1")
    assert params["exact"]
    assert [error["path"] for error in params["errors"]] == ["script"]

    stored = await agent.call("get_flow", flow_id=saved["flow_id"])
    mended = (
        stored["definition"].replace("flow.input.b.c", "(flow.input.b?.c ?? 0)").replace("input.a", "(input.a ?? 1)")
    )
    change = {"flow_id": saved["flow_id"], "revision": stored["revision"], "definition": mended}
    planned = await agent.call("save_flow", **change, dry_run=True)
    assert (planned["plan"]["action"], planned["plan"]["diff"].count("??")) == ("update", 2)
    assert (await agent.call("get_flow", flow_id=saved["flow_id"]))["revision"] == 1
    assert (await agent.call("save_flow", **change))["revision"] == 2
    again = await agent.call("rerun", execution_id=ended["execution_id"], wait_seconds=30)
    assert (again["status"], again["result"]) == ("completed", 1)


async def test_a_change_that_starts_from_an_old_revision_is_refused(agent: Agent) -> None:
    definition = "nodes: {a: {type: log, params: {message: one}}}"
    flow = (await agent.call("save_flow", name="F", definition=definition))["flow_id"]
    await agent.call("save_flow", flow_id=flow, revision=1, definition=definition.replace("one", "two"))

    refused = await agent.refused("save_flow", flow_id=flow, revision=1, definition=definition.replace("one", "three"))
    without = await agent.refused("save_flow", flow_id=flow, definition=definition)

    assert (refused["code"], refused["details"]) == ("precondition_failed", {"revision": 2})
    assert without["code"] == "validation_error"
    assert "two" in (await agent.call("get_flow", flow_id=flow))["definition"]


async def test_an_agent_waits_cancels_and_repeats_by_its_own_key(agent: Agent) -> None:
    saved = await agent.call("save_flow", name="F", definition="nodes: {a: {type: delay, params: {duration: 1h}}}")
    flow = saved["flow_id"]

    first = await agent.call("run_flow", flow_id=flow, wait_seconds=0, idempotency_key="mine")
    second = await agent.call("run_flow", flow_id=flow, wait_seconds=1, idempotency_key="mine")
    assert first["execution_id"] == second["execution_id"]
    assert "get_execution" in second["hint"]
    await agent.call("cancel_execution", execution_id=first["execution_id"])
    ended = await agent.call("get_execution", execution_id=first["execution_id"])
    late = await agent.refused("cancel_execution", execution_id=first["execution_id"])

    assert (ended["status"], late["code"]) == ("cancelled", "conflict")


async def test_a_long_result_does_not_fill_the_context_of_an_agent(agent: Agent) -> None:
    script = "return {rows: Array.from({length: 3000}, (_, i) => ({i, text: 'x'.repeat(200)}))}"
    definition = json.dumps({"nodes": {"a": {"type": "transform", "params": {"script": script}}}})
    saved = await agent.call("save_flow", name="F", definition=definition)

    ended = await agent.call("run_flow", flow_id=saved["flow_id"], wait_seconds=30)
    views = [
        await agent.call("get_execution", execution_id=ended["execution_id"], view=view)
        for view in ("summary", "preview", "full")
    ]
    answers = [ended, *views]

    assert [len(json.dumps(one, separators=(",", ":"))) < most for one, most in
            zip(answers, (25_000, 25_000, 25_000, 100_000), strict=True)] == [True] * 4  # fmt: skip
    assert ended["is_shortened"]
    assert ended["status"] == "completed"
    assert "more items" in str(answers[-1]["result"]["rows"][-1]), "what was left out is said"
    assert answers[1]["result"]["size"] > 600_000


async def test_a_nested_result_is_cut_inside_and_not_left_out(agent: Agent) -> None:
    script = (
        "const wide = (of) => Object.fromEntries(Array.from({length: 20}, (_, i) => ['k' + i, of()]));"
        "return wide(() => wide(() => wide(() => 'some words')))"
    )
    definition = json.dumps({"nodes": {"a": {"type": "transform", "params": {"script": script}}}})
    saved = await agent.call("save_flow", name="F", definition=definition)

    ended = await agent.call("run_flow", flow_id=saved["flow_id"], wait_seconds=30)
    tried = await agent.call("test_node", flow_id=saved["flow_id"], node="a")

    for answer in (ended, tried):
        assert (answer["status"], answer["is_shortened"]) == ("completed", True)
        assert answer["result"]["k0"]["k0"]["k0"] == "some words"
        assert "…" not in answer


async def test_pages_of_long_entries_leave_out_none(agent: Agent) -> None:
    script = "for (let i = 0; i < 60; i++) console.log('line ' + i + ' ' + 'x'.repeat(900))"
    long = {"type": "log", "params": {"message": "数" * 9999}}
    nodes = {"a": {"type": "transform", "params": {"script": script}, "next": "b"}, "b": long}
    definition = json.dumps({"metadata": {"description": "数" * 300}, "nodes": nodes})
    saved = [await agent.call("save_flow", name=f"F{n}", definition=definition) for n in range(30)]
    run = await agent.call("run_flow", flow_id=saved[0]["flow_id"], wait_seconds=30)

    async def read(tool: str, name: str, **arguments: Any) -> list[Any]:
        entries, cursor = list[Any](), dict[str, Any]()
        while True:
            page = await agent.call(tool, **arguments, **cursor)
            assert len(json.dumps(page, ensure_ascii=False, separators=(",", ":")).encode()) <= 24 * 1024
            entries += page[name]
            if "next_cursor" not in page:
                return entries
            cursor = {"cursor": page["next_cursor"]}

    lines = await read("get_execution_logs", "logs", execution_id=run["execution_id"], limit=200)
    flows = await read("search_flows", "flows", limit=50)

    messages = [line["message"] for line in lines]
    assert [message.split()[1] for message in messages if message.startswith("line")] == [str(n) for n in range(60)]
    assert [message for message in messages if message[0] == "数"] == ["数" * 8000 + "… (1999 more characters)"]
    assert {flow["id"] for flow in flows} == {flow["flow_id"] for flow in saved}
    assert len(flows) == len(saved)


async def test_a_long_definition_is_read_in_parts_and_its_text_is_kept(agent: Agent) -> None:
    text = "  n{n}:\n    type: log\n    params: {{message: 'line {n}'}}\n    next: n{m}\n"
    nodes = "".join(text.format(n=n, m=n + 1) for n in range(600))
    definition = f"start: n0\nnodes:\n{nodes}  n600: {{type: return}}\n"
    flow = (await agent.call("save_flow", name="F", definition=definition))["flow_id"]

    parts, line = [], 1
    while line:
        part = await agent.call("get_flow", flow_id=flow, first_line=line)
        parts.append(part["definition"])
        line = part.get("next_line", 0)

    assert "\n".join(parts) == definition
    assert len(parts) > 1


async def test_the_documentation_is_found_and_read(agent: Agent) -> None:
    found = (await agent.call("search_docs", query="how are http errors retried?"))["sections"]
    nothing = await agent.call("search_docs", query="zyzzyva")

    assert "flow-language#retries" in [section["topic"] for section in found]
    assert all(len(section["excerpt"]) <= 701 for section in found)
    assert nothing["sections"] == []
    section = await agent.read("flowrunner://docs/flow-language#retries")
    assert section.startswith("## Retries")
    assert section in await agent.read("flowrunner://docs/flow-language")


@pytest.mark.parametrize("agent", WAYS[1:3], indirect=True)
async def test_resources_are_a_flow_an_execution_and_the_schema(agent: Agent) -> None:
    definition = "nodes: {a: {type: log, params: {message: hi}}}"
    flow = (await agent.call("save_flow", name="F", definition=definition))["flow_id"]
    ended = await agent.call("run_flow", flow_id=flow, wait_seconds=30)

    assert await agent.read(f"flowrunner://flows/{flow}") == definition
    assert json.loads(await agent.read(f"flowrunner://executions/{ended['execution_id']}"))["status"] == "completed"
    assert json.loads(await agent.read("flowrunner://schema/flow"))["title"]
    listed = {str(one.uri) for one in (await agent.client.list_resources()).resources}
    assert listed >= {"flowrunner://schema/flow", "flowrunner://docs/mcp"}
    templates = (await agent.client.list_resource_templates()).resource_templates
    assert {one.uri_template for one in templates} == {
        "flowrunner://flows/{id}", "flowrunner://executions/{id}", "flowrunner://docs/{topic}"
    }  # fmt: skip


async def test_each_tool_says_what_it_takes_and_whether_it_changes_anything(agent: Agent) -> None:
    tools = await agent.tools()

    for tool in tools.values():
        assert tool.input_schema["type"] == "object"
        assert tool.input_schema["additionalProperties"] is False
        assert "anyOf" not in json.dumps(tool.input_schema), "the interfaces of some models do not take it"
        assert tool.description
    reads = {name for name, tool in tools.items() if tool.annotations.read_only_hint}
    assert tools.keys() - reads == {"save_flow", "run_flow", "cancel_execution", "rerun", "test_node"}
    assert all(tools[name].annotations.destructive_hint for name in tools.keys() - reads)
    reaching = {name for name, tool in tools.items() if tool.annotations.open_world_hint}
    assert reaching == {"run_flow", "rerun", "test_node"}


async def test_secrets_are_named_and_never_shown(agent: Agent, account: Client, receiver: Receiver) -> None:
    account.new_secret("API_KEY", "a-very-secret-value")
    definition = (
        "nodes: {a: {type: http.request, params: {url: '"
        + receiver.url
        + "/echo', headers: {X: '${secrets.API_KEY}'}}}}"
    )

    saved = await agent.call("save_flow", name="F", definition=definition)
    tried = await agent.call("test_node", flow_id=saved["flow_id"], node="a")
    ended = await agent.call("run_flow", flow_id=saved["flow_id"], wait_seconds=30)
    read = await agent.call("get_execution", execution_id=ended["execution_id"], view="full")

    for answer in (saved, tried, ended, read, await agent.call("get_flow", flow_id=saved["flow_id"])):
        assert "a-very-secret-value" not in json.dumps(answer)


def test_the_server_imports_the_sdk_with_the_first_call() -> None:
    code = (
        "import sys, flowrunner.bootstrap.program, flowrunner.api.server\n"
        "assert not {'mcp', 'mcp_types', 'httpx2', 'sse_starlette'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_client_needs_no_library(account: Client) -> None:
    program = Client(account.url, token_of(account, "mcp", "read"))

    reply = program.post("/mcp", called("list_node_types", query="log"))

    assert reply.json["result"]["structuredContent"]["node_types"][0]["name"] == "log"
