"""Agents in documents: the nodes that are made of them, and what is said about their faults."""

import json
from pathlib import Path
from typing import Any

import pytest

from flowrunner.domain.expression import render
from flowrunner.language import study_flow
from flowrunner.language.agents import REJECTED, agent_of
from flowrunner.language.schema import flow_schema
from flowrunner.language.sketch import sketch_of
from support.flows import flow_of, specs

AGENT = """
nodes:
  answer:
    type: agent
    params:
      base_url: http://model/v1
      model: m
      prompt: p
      tools:
        - %s
    retry: {max: 2}
"""
REQUEST = "{name: look, description: d, http.request: {url: 'http://x/${call.arguments.id}'}}"

# The editor makes the same nodes of the same cases, in a test of its own.
CASES = json.loads((Path(__file__).parents[2] / "ui" / "src" / "graph" / "agents.fixture.json").read_text())


def faults_of(tool: str) -> list[tuple[str, str]]:
    return [(fault.path, fault.code) for fault in study_flow(AGENT % tool, specs()).faults if not fault.is_warning]


def test_an_agent_has_a_node_that_asks_and_one_for_each_tool() -> None:
    flow = flow_of(AGENT % f"{REQUEST}\n        - {{flow: Find an order}}", specs())
    graph = flow.nodes["answer"].child_scopes[""]

    assert {name: node.type for name, node in graph.nodes.items()} == {
        "ask": "llm", "look": "http.request", "Find_an_order": "flow", "rejected": "fail",
    }  # fmt: skip
    assert flow.calls == ("Find an order",)
    asks = graph.nodes["ask"]
    assert (flow.nodes["answer"].retry, asks.retry is not None and asks.retry.max_retries) == (None, 2)


def test_a_question_that_must_not_be_repeated_says_so_and_its_agent_goes_on() -> None:
    agent = flow_of(f"{AGENT % REQUEST}    idempotent: false\n".replace("    retry: {max: 2}\n", ""), specs()).nodes[
        "answer"
    ]

    assert (agent.repeatable, agent.child_scopes[""].nodes["ask"].repeatable) == (True, False)


def test_the_picture_of_a_document_shows_the_tools_of_an_agent_where_they_are_written() -> None:
    drawn = {node.id: (node.path, node.place.line) for node in sketch_of(AGENT % REQUEST, specs()).nodes}

    assert drawn == {
        "answer": ("nodes.answer", 3),
        "answer/ask": ("nodes.answer", 3),
        "answer/look": ("nodes.answer.params.tools[0]", 10),
        "answer/rejected": ("nodes.answer", 3),
    }


def test_editors_offer_the_edges_of_an_agents_own_errors() -> None:
    schema: Any = flow_schema(specs())

    (agent,) = (
        each["then"]["properties"] for each in schema["definitions"]["node"]["allOf"]
        if each["if"]["properties"]["type"].get("const") == "agent"
    )  # fmt: skip
    assert {"error.agent", "error.llm", "error.http"} <= agent["next"]["properties"].keys()


@pytest.mark.parametrize(
    ("tool", "path", "code"),
    [
        ("{name: look, description: d}", "", "param"),
        ("{name: look, http.request: {url: 'http://x'}}", "", "param"),
        ("{name: a b, flow: f}", "", "param"),
        ("{flow: '${vars.x}'}", ".flow", "expression.unknown_name"),
        ("{flow: '${flow.id}'}", "", "param"),
        ("{flow: f, parameters: {type: object}}", "", "param"),
        ("{name: look, description: d, input: {a: 1}, http.request: {url: 'http://x'}}", "", "param"),
        ("{name: look, description: d, http.request: {url: x}}", ".http.request.url", "param"),
        ("{name: look, description: d, http.request: {urll: 'http://x'}}", ".http.request.urll", "unknown_key"),
        ("{name: look, description: d, http.request: {url: 'http://${cal.arguments.x}'}}", ".http.request.url",
         "expression.unknown_name"),
        ("{flow: f, input: '${flow.input}'}", ".input", "param"),
        ("{flow: f, retry: {maxx: 1}}", ".retry.maxx", "unknown_key"),
        ("{flow: f, timeout: soon}", ".timeout", "param"),
        ("'${flow.input}'", "", "param"),
        ("{mcp: {url: x, tools: [a]}}", ".mcp.url", "param"),
        ("{mcp: {url: 'http://x', tools: []}}", ".mcp.tools", "param"),
        ("{mcp: {url: 'http://x', tools: ['']}}", ".mcp", "param"),
        (f"{{mcp: {{url: 'http://x', tools: [{'a' * 129}]}}}}", ".mcp", "param"),
        ("{mcp: {url: 'http://x', tools: [a, a]}}", ".mcp", "param"),
        ("{mcp: {url: 'http://x', tools: ['${vars.x}']}}", ".mcp.tools", "param"),
        ("{mcp: {url: 'http://x', tools: [a], tool: b}}", ".mcp.tool", "unknown_key"),
        ("{name: n, mcp: {url: 'http://x', tools: [a]}}", "", "param"),
        ("{mcp: {url: 'http://x', tools: '${vars.x}'}}", ".mcp.tools", "param"),
        ("{mcp: {url: 'http://${vars.x}', tools: [a]}}", ".mcp.url", "expression.unknown_name"),
    ],
)  # fmt: skip
def test_the_faults_of_a_tool_name_its_place(tool: str, path: str, code: str) -> None:
    assert (f"nodes.answer.params.tools[0]{path}", code) in faults_of(tool)


@pytest.mark.parametrize(
    ("url", "is_warned"),
    [
        ("${call.arguments.url}", True),
        ("${call.arguments.base}/orders", True),
        ("${`https://x/${call.arguments.id}`}", True),
        ("${input.base}/${call.arguments.id}", False),
        ("https://x/${call.arguments.id}", False),
    ],
)
def test_a_url_that_begins_with_an_argument_is_warned_of(url: str, is_warned: bool) -> None:
    tool = f'{{name: look, description: d, http.request: {{url: "{url}"}}}}'
    faults = study_flow(AGENT % tool, specs()).faults

    assert [(fault.path, fault.code) for fault in faults] == (
        [("nodes.answer.params.tools[0].http.request.url", "agent.url")] if is_warned else []
    )


@pytest.mark.parametrize(
    ("url", "is_refused"),
    [
        ("https://${call.arguments.host}/v1", True),
        (" https://${call.arguments.host}/v1", True),
        ("https://${call.arguments.tenant}.example.com/v1", True),
        ("https://a.example${call.arguments.x}:8443/v1", True),
        ("https://a.example:${call.arguments.port}/v1", True),
        ("https://${`${call.arguments.host}`}/v1", True),
        ("http${call.arguments.s}://a.example/v1", True),
        ("https://a.$x${call.arguments.x}", True),
        ("https://a.example/${call.arguments.x}", False),
        ("https://a.example?q=${call.arguments.x}", False),
        ("https://${input.host}/${call.arguments.x}", False),
        # What comes from elsewhere may have a path. It is checked with the call.
        ("https://${input.host}${call.arguments.x}", False),
        ("${input.base}${call.arguments.x}", False),
    ],
)
def test_an_argument_in_the_name_of_the_server_is_refused(url: str, is_refused: bool) -> None:
    tool = f'{{name: look, description: d, http.request: {{url: "{url}"}}}}'
    found = study_flow(AGENT % tool, specs()).faults
    refused = [fault for fault in found if fault.message == "has an argument in the name of the server"]

    assert [(fault.path, fault.is_warning) for fault in refused] == (
        [("nodes.answer.params.tools[0].http.request.url", False)] if is_refused else []
    )


def test_an_agent_has_a_node_for_each_tool_of_an_mcp_server() -> None:
    flow = flow_of(AGENT % "{mcp: {url: 'http://x', tools: [add, look]}, retry: {max: 1}, timeout: 7s}", specs())
    nodes = flow.nodes["answer"].child_scopes[""].nodes

    assert list(nodes) == ["ask", "list 0", "add", "look", "rejected"]
    assert {nodes[name].type for name in ("list 0", "add", "look")} == {"mcp"}
    assert {nodes[name].timeout_seconds for name in ("list 0", "add", "look")} == {7.0}


def test_the_parameters_of_an_mcp_server_are_read_once_for_all_of_its_tools() -> None:
    names = ", ".join(f"t{number}" for number in range(32))
    headers = ", ".join(f"X-{number}: '${{`a${{input}}`}}'" for number in range(20))
    reading = study_flow(AGENT % f"{{mcp: {{url: 'http://x', headers: {{{headers}}}, tools: [{names}]}}}}", specs())
    tools = flow_of(AGENT % "{mcp: {url: 'http://${input}', tools: [add, look]}}", specs())
    nodes = tools.nodes["answer"].child_scopes[""].nodes

    assert len(reading.codes) == 20
    assert [
        render(nodes[name].params.template, {"input": "x", "call": {"arguments": {"a": 1}}}) for name in ("add", "look")
    ] == [{"url": "http://x", "tool": name, "arguments": {"a": 1}} for name in ("add", "look")]


def test_no_more_nodes_are_made_than_an_agent_may_have_tools() -> None:
    names = ", ".join(f"t{number}" for number in range(2000))
    headers = ", ".join(f"X-{number}: '${{nothing.x}}'" for number in range(20))
    server = f"{{mcp: {{url: 'http://x', headers: {{{headers}}}, tools: [{names}]}}}}"
    found = faults_of(server)

    assert ("nodes.answer.params.tools[0].mcp.tools", "param") in found
    assert len(found) == 21
    assert len(sketch_of(AGENT % server, specs()).nodes) == 36
    many = "\n        - ".join(f"{{mcp: {{url: 'http://x', tools: [a{n}, b{n}, c{n}]}}}}" for n in range(1000))
    assert len(sketch_of(AGENT % many, specs()).nodes) <= 100


@pytest.mark.parametrize("name", ["ask", "rejected", "look"])
def test_a_tool_has_a_name_of_its_own(name: str) -> None:
    assert ("nodes.answer.params", "param") in faults_of(f"{REQUEST}\n        - {{name: {name}, flow: f}}")


def test_tools_of_mcp_servers_get_names_that_models_can_call_and_no_two_the_same() -> None:
    long = "a" * 70
    first = f"{{mcp: {{url: 'http://x', tools: [search.files, ask, look, '{long}', '{long}b', '...', a b]}}}}"
    second = "{mcp: {url: 'http://y/${input}', tools: [search.files, search_files, rejected, answer]}}"
    tools = "\n        - ".join((first, second, REQUEST))
    document = (AGENT % tools).replace("prompt: p", "prompt: p\n      response_schema: {type: object}")
    nodes = flow_of(document, specs()).nodes["answer"].child_scopes[""].nodes
    called: Any = {
        name: render(node.params.template, {"input": "z", "call": {"arguments": {}}})
        for name, node in nodes.items()
        if node.type == "mcp" and not name.startswith("list ")
    }

    assert {name: params["tool"] for name, params in called.items()} == {
        "search_files": "search.files", "ask_2": "ask", "look_2": "look", "a" * 64: long, f"{'a' * 62}_2": f"{long}b",
        "_": "...", "a_b": "a b",
        "search_files_2": "search.files", "search_files_3": "search_files", "rejected_2": "rejected",
        "answer_2": "answer",
    }  # fmt: skip
    assert {called[name]["url"] for name in ("search_files_2", "answer_2")} == {"http://y/z"}
    assert nodes["look"].type == "http.request"


@pytest.mark.parametrize(("type", "meant"), [("aiAgent", "agent"), ("langchain", "agent"), ("mcp_client", "mcp")])
def test_the_names_of_other_systems_are_explained(type: str, meant: str) -> None:
    faults = study_flow(f"nodes: {{a: {{type: {type}}}}}", specs()).faults

    assert [str(fault.hint).partition(",")[0] for fault in faults if not fault.is_warning] == [f"write type: {meant}"]


def test_the_arguments_are_read_in_tools_only() -> None:
    document = (AGENT % REQUEST).replace("prompt: p", "prompt: '${call.id}'")

    assert [fault.code for fault in study_flow(document, specs()).faults if not fault.is_warning] == [
        "expression.unknown_name"
    ]


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_the_nodes_inside_an_agent_are_those_that_the_editor_shows(case: dict[str, Any]) -> None:
    nodes: Any = agent_of({"params": case["params"]}).nodes

    assert [f"{node['type']} {name}" for name, node in nodes.items() if name != REJECTED] == case["nodes"]
