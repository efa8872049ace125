"""The tools for agents, each with given answers of the API: what it asks for, and what of the answers it returns."""

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final

import pytest

from flowrunner.api.mcp import tools
from flowrunner.api.mcp.errors import ToolError
from flowrunner.api.mcp.inner_requests import InnerAnswer, InnerRequests
from flowrunner.api.mcp.resources import SCHEMA, read
from flowrunner.api.mcp.tools import TOOLS

STEP: Final = {
    "id": 2, "step": "a.1", "node_type": "log", "status": "completed", "attempts": 1, "input": 1, "result": 2,
    "action": "default", "started_at": "now",
}  # fmt: skip


class Given(InnerRequests):
    """Answers by method and path, and all that was sent."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.sent: list[Any] = []

    async def send(
        self,
        method: str,
        *path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> InnerAnswer:
        asked = f"{method} {'/'.join(path)}"
        given = {name: value for name, value in (query or {}).items() if value is not None}
        self.sent.append((asked, given, *(one for one in (body, headers) if one)))
        answer = self.answers[asked]
        return InnerAnswer({"etag": '"state"'}, json.dumps(answer(given) if callable(answer) else answer).encode())


async def call(tool: str, answers: Mapping[str, Any], /, **given: Any) -> tuple[Any, list[Any]]:
    """Call a tool; return its result and what it sent."""
    api = Given(answers)
    result = await TOOLS[tool].answer(SimpleNamespace(api=api, manual=None), given)  # type: ignore[arg-type]
    return result, api.sent


async def refusal(tool: str, answers: Mapping[str, Any], /, **given: Any) -> Any:
    with pytest.raises(ToolError) as refused:
        await call(tool, answers, **given)
    return refused.value.body


async def test_flows_are_found_with_their_descriptions_cut() -> None:
    flow = {"id": "f", "name": "F", "tags": [], "revision": 3, "disabled": False, "updated_at": "t", "definition": "x"}
    answers = {"GET flows": {"flows": [{**flow, "description": "d" * 301}], "next_cursor": "c", "total": 9}}

    result, sent = await call("search_flows", answers, query="q", tag="t", limit=5)

    assert sent == [("GET flows", {"q": "q", "tag": "t", "cursor": "", "limit": 5})]
    shown = {name: value for name, value in flow.items() if name != "definition"}
    assert result == {
        "flows": [{**shown, "description": "d" * 300 + "… (1 more character)"}], "next_cursor": "c",
    }  # fmt: skip


async def test_a_page_whose_entries_have_no_room_is_asked_for_again_with_fewer() -> None:
    def lines(query: Mapping[str, Any]) -> Any:
        limit = query["limit"]
        return {"logs": [{"message": "x" * 10_000, "step": "a.1", "attempt": 1}] * limit, "next_cursor": str(limit)}

    result, sent = await call(
        "get_execution_logs", {"GET executions/e/logs": lines}, execution_id="e", min_level="warn", node="a", query="q",
        cursor="before",
    )  # fmt: skip

    wanted = {"min_level": "warn", "node": "a", "q": "q", "cursor": "before"}
    assert sent == [("GET executions/e/logs", {**wanted, "limit": limit}) for limit in (50, 2)]
    assert result == {"logs": [{"message": "x" * 10_000, "step": "a.1"}] * 2, "next_cursor": "2"}


async def test_an_entry_that_has_no_room_alone_is_a_page() -> None:
    def lines(query: Mapping[str, Any]) -> Any:
        return {"logs": [{"message": "x" * 100_000}] * query["limit"]}

    result, sent = await call("get_execution_logs", {"GET executions/e/logs": lines}, execution_id="e")

    assert [query["limit"] for _, query in sent] == [50, 1]
    assert (len(result["logs"]), result["is_shortened"]) == (1, True)


@pytest.mark.parametrize(
    ("first", "part", "following"),
    [(1, ["a", "b", "c"], None), (3, ["c"], None), (4, [], None), (2, ["b", "c"], None)],
)
async def test_a_definition_is_read_from_a_line(first: int, part: list[str], following: int | None) -> None:
    flow = {"id": "f", "name": "F", "revision": 1, "definition": "a\nb\nc", "triggers": []}

    result, sent = await call("get_flow", {"GET flows/f": flow}, flow_id="f", first_line=first)

    assert sent == [("GET flows/f", {})]
    assert (result["definition"], result["lines"], result.get("next_line")) == ("\n".join(part), 3, following)
    assert result.keys() >= {"id", "name", "revision"}
    assert "triggers" not in result


@pytest.mark.parametrize(
    ("line", "first", "count"), [("x" * 99, 1, 122), ("x", 1, 800), ("x", 801, 800), ("x" * 20_000, 7, 1)]
)
async def test_a_long_definition_is_read_in_parts(line: str, first: int, count: int) -> None:
    flow = {"id": "f", "definition": "\n".join([line] * 2000)}

    result, _ = await call("get_flow", {"GET flows/f": flow}, flow_id="f", first_line=first)

    assert len(result["definition"].split("\n")) == count
    assert (result["lines"], result["next_line"]) == (2000, first + count)


TYPES: Final[Mapping[str, Any]] = {
    "node_types": [
        {"name": "http.request", "description": "Sends a request.", "params": {}},
        {"name": "log", "description": "Writes a line.", "params": {"a": 1}},
    ],
    "common_errors": ["timeout"],
}


@pytest.mark.parametrize(
    ("query", "names"),
    [(None, ["http.request", "log"]), ("HTTP sends", ["http.request"]), ("line", ["log"]), ("sends line", [])],
)
async def test_node_types_are_found_by_all_words(query: str | None, names: list[str]) -> None:
    result, _ = await call("list_node_types", {"GET node-types": TYPES}, query=query)

    assert [one["name"] for one in result["node_types"]] == names
    assert all(one.keys() == {"name", "description"} for one in result["node_types"])


async def test_a_node_type_is_described_with_the_errors_of_all() -> None:
    result, _ = await call("describe_node_type", {"GET node-types": TYPES}, name="log")
    refused = await refusal("describe_node_type", {"GET node-types": TYPES}, name="lgo")

    assert result == {**TYPES["node_types"][1], "common_errors": ["timeout"]}
    assert (refused["code"], refused["hint"]) == ("not_found", "the node types are: http.request, log")


SAVED: Final = {"id": "f", "name": "F", "revision": 2, "tags": [], "disabled": False, "definition": "x"}
SHOWN: Final = {"flow_id": "f", "name": "F", "revision": 2, "tags": [], "disabled": False}


async def test_a_new_flow_is_saved_or_planned() -> None:
    answers = {"POST flows": SAVED}
    saved = await call("save_flow", answers, definition="x", name="N")
    planned = await call("save_flow", {"POST flows": {**SAVED, "id": "", "plan": 1}}, definition="x", dry_run=True)

    assert saved == (SHOWN, [("POST flows", {}, {"definition": "x", "name": "N"})])
    without_id = {name: value for name, value in SHOWN.items() if name != "flow_id"}
    assert planned == ({**without_id, "plan": 1}, [("POST flows", {"dry_run": True}, {"definition": "x"})])
    assert (await refusal("save_flow", answers, definition="x", revision=1))["code"] == "validation_error"


async def test_a_flow_is_changed_from_the_revision_that_was_read() -> None:
    answers = {"GET flows/f": {**SAVED, "revision": 1}, "PUT flows/f": SAVED}

    changed = await call("save_flow", answers, definition="x", flow_id="f", revision=1)
    stale = await refusal("save_flow", answers, definition="x", flow_id="f", revision=2)
    none = await refusal("save_flow", answers, definition="x", flow_id="f")

    put: Any = ("PUT flows/f", {}, {"definition": "x"}, {"If-Match": '"state"'})
    assert changed == (SHOWN, [("GET flows/f", {}), put])
    assert (stale["code"], stale["details"]) == ("precondition_failed", {"revision": 1})
    assert (none["code"], "revision" in none["message"]) == ("validation_error", True)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ({"execution_id": "e", "status": "running"}, "it has not ended: call get_execution with this execution_id"),
        ({"status": "failed", "completed_at": "t"}, "get_execution shows its steps, and get_execution_logs its log"),
        ({"status": "completed", "completed_at": "t"}, None),
    ],
)
async def test_an_execution_is_started_and_waited_for(answer: dict[str, Any], hint: str | None) -> None:
    answers = {"POST flows/f/run": answer, "POST executions/e/rerun": answer}

    ran, sent = await call("run_flow", answers, flow_id="f", input={"a": 1}, idempotency_key="k")
    quick, at_once = await call("rerun", answers, execution_id="e", wait_seconds=0)

    assert sent == [("POST flows/f/run", {}, {"input": {"a": 1}}, {"Prefer": "wait=20", "Idempotency-Key": "k"})]
    assert at_once == [("POST executions/e/rerun", {})]
    assert ran == quick == answer | ({} if hint is None else {"hint": hint})


async def test_a_rerun_begins_where_and_with_what_it_is_told() -> None:
    answers = {"POST executions/e/rerun": {"status": "completed", "completed_at": "t"}}
    given: dict[str, Any] = {"execution_id": "e", "wait_seconds": 5}

    _, (whole, *_) = await call(
        "rerun", answers, **given, from_node="each", elements="failed", node_input=None, input={"b": 2}
    )
    _, (bare, *_) = await call("rerun", answers, **given, from_node="each")

    assert whole[2] == {"from": "each", "elements": "failed", "node_input": None, "input": {"b": 2}}
    assert bare[2:] == ({"from": "each"}, {"Prefer": "wait=5"})


@pytest.mark.parametrize("view", ["summary", "preview", "full"])
async def test_an_execution_is_shown_with_its_first_steps(view: str) -> None:
    long = "x" * 50_000
    answers = {
        "GET executions/e": {"id": "e", "result": long},
        "GET executions/e/steps": {"steps": [STEP], "next_cursor": "c"},
    }

    result, sent = await call("get_execution", answers, execution_id="e", view=view)

    assert sent == [("GET executions/e", {"view": view}), ("GET executions/e/steps", {"limit": 100})]
    hidden = {"id", "started_at"} | ({"input", "result"} if view == "summary" else set())
    assert result["steps"] == [{name: value for name, value in STEP.items() if name not in hidden}]
    assert result["steps_left_out"] is True
    assert (result["result"] == long, result.get("is_shortened")) == (view == "full", None if view == "full" else True)


async def test_the_parameters_of_a_step_are_read_by_its_name() -> None:
    answers = {
        "GET executions/e/steps": lambda query: {"steps": [STEP] if query["step"] == "a.1" else []},
        "GET executions/e/steps/2/params": {"params": 1},
    }

    result, sent = await call("get_step_params", answers, execution_id="e", step="a.1", attempt=3)

    assert result == {"params": 1}
    assert sent == [
        ("GET executions/e/steps", {"step": "a.1", "limit": 1}), ("GET executions/e/steps/2/params", {"attempt": 3}),
    ]  # fmt: skip
    assert (await refusal("get_step_params", answers, execution_id="e", step="b.1"))["code"] == "not_found"


@pytest.mark.parametrize(("given", "query"), [({}, {}), ({"force": False}, {}), ({"force": True}, {"force": True})])
async def test_an_execution_is_cancelled(given: dict[str, Any], query: dict[str, Any]) -> None:
    result, sent = await call(
        "cancel_execution", {"DELETE executions/e": {"message": "Done"}}, execution_id="e", **given
    )

    assert (result, sent) == ({"execution_id": "e", "message": "Done"}, [("DELETE executions/e", query)])


async def test_a_node_is_tried_in_a_text_or_in_a_flow_that_is_saved() -> None:
    answers = {"GET flows/f": {"definition": "stored"}, "POST nodes/try": {"status": "completed"}}
    given = {"node": "a", "input": 1, "flow_input": {"b": 2}, "results": {"c": 3}, "vars": {"d": 4}}

    _, of_text = await call("test_node", answers, definition="text", **given)
    _, of_flow = await call("test_node", answers, flow_id="f", **given)

    assert of_text == [("POST nodes/try", {}, {"definition": "text", **given})]
    assert of_flow == [("GET flows/f", {}), ("POST nodes/try", {}, {"definition": "stored", **given})]
    for more in ({}, {"definition": "text", "flow_id": "f"}):
        assert (await refusal("test_node", answers, node="a", **more))["code"] == "validation_error"


async def test_arguments_that_do_not_fit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = await refusal("search_flows", {}, limit=51, tag="", more=1)

    assert [fault["path"] for fault in refused["details"]["errors"]] == ["tag", "limit", "more"]
    assert refused["message"].startswith("tag: ")
    assert refused["hint"] == "search_flows takes: query, tag, limit, cursor"
    monkeypatch.setattr(tools, "_MOST_FAULTS", 2)
    assert len((await refusal("search_flows", {}, limit=51, tag="", more=1))["details"]["errors"]) == 2


class Agent(SimpleNamespace):
    """Attributes: admitted: What the call needs, and what the audit log keeps of it."""

    async def admit(self, kind: str, name: str, rights: Any, ids: Mapping[str, str]) -> None:
        self.admitted = (kind, name, {str(right) for right in rights}, ids)


@pytest.mark.parametrize(
    ("address", "admitted", "media_type", "text"),
    [
        ("flowrunner://flows/f", ("flows", {"flow_id": "f"}), "application/yaml", "nodes: {}"),
        ("flowrunner://executions/e", ("executions", {"execution_id": "e"}), "application/json", '"steps":[]'),
        (SCHEMA, ("schema", {}), "application/schema+json", '{"type": "object"}'),
        ("flowrunner://docs/api", ("docs", {}), "text/markdown", "# API"),
    ],
)
async def test_a_resource_is_read_by_its_address(
    address: str, admitted: tuple[str, Mapping[str, str]], media_type: str, text: str
) -> None:
    answers = {
        "GET flows/f": {"definition": "nodes: {}"}, "GET executions/e": {"id": "e"},
        "GET executions/e/steps": {"steps": []}, "GET schemas/flow": {"type": "object"},
    }  # fmt: skip
    manual = SimpleNamespace(find={"api": "# API"}.get, pages=["api"])
    agent: Any = Agent(api=Given(answers), manual=manual)

    found = await read(agent, address)

    assert (found.media_type, text in found.text) == (media_type, True)
    assert agent.admitted == ("resource", admitted[0], {"read"}, admitted[1])


@pytest.mark.parametrize(
    "address", ["flowrunner://docs/none", "flowrunner://flows", "flowrunner://users/a", "https://example.com/a", ""]
)
async def test_an_address_of_nothing_is_not_found(address: str) -> None:
    agent: Any = Agent(api=Given({}), manual=SimpleNamespace(find={}.get, pages=["api"]))

    with pytest.raises(ToolError) as refused:
        await read(agent, address)

    assert refused.value.body["code"] == "not_found"
