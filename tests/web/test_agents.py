"""Agents on the screen of an execution: its turns, in a real Chromium, of a model that follows a script."""

import json
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any, Final

import pytest
from playwright.sync_api import Locator, Page, expect

from support.client import Client
from support.http_servers import QuietHandler, serving
from web.browser import Tab, needs_chromium

pytestmark = [needs_chromium, pytest.mark.timeout(600)]

AGENT: Final = """\
metadata: {name: answers}
nodes:
  answer:
    type: agent
    params:
      base_url: %(model)s/v1
      model: m
      prompt: Where is my parcel?
      tools:
        - name: orders
          description: The orders
          http.request: {url: "%(model)s/orders"}
        - name: parcel
          description: A parcel
          parameters: {type: object, properties: {number: {type: string}}, required: [number]}
          http.request: {url: "%(model)s/parcels/${encodeURIComponent(call.arguments.number)}"}
"""
EMPTY: Final = """\
metadata: {name: answers}
nodes:
  answer: {type: agent, params: {base_url: "http://127.0.0.1:9/v1", model: m, prompt: p, tools: []}}
"""
ORDERS: Final = """\
metadata: {name: orders}
nodes:
  done: {type: return, params: {value: [{order: A, amount: 5}]}}
"""
# The tools that the model calls in each turn.
TURNS: Final[tuple[list[tuple[str, Any]], ...]] = (
    [("orders", {})],
    [("orders", {}), ("parcel", {"number": "P-7"})],
    [],
)


class Model(QuietHandler):
    """Answers questions by the number of those before, and requests of tools; no parcel is known."""

    def do_POST(self) -> None:  # the name of the hook
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        turn = sum(message["role"] == "assistant" for message in asked["messages"])
        message: dict[str, Any] = {"role": "assistant", "content": None if TURNS[turn] else "Nobody knows."}
        if TURNS[turn]:
            message["tool_calls"] = [
                {"id": f"c{place}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                for place, (name, arguments) in enumerate(TURNS[turn])
            ]
        self._answer(200, {"model": "m", "choices": [{"message": message}]})

    def do_GET(self) -> None:  # likewise
        self._answer(200 if self.path == "/orders" else 404, [])

    def _answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def model() -> Iterator[str]:
    """The address of a server with the API of OpenAI, and with what the tools request."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Model)) as url:
        yield url


def panel(page: Page) -> Locator:
    return page.get_by_role("complementary")


def test_a_reader_finds_what_was_asked_in_a_turn_and_which_tool_failed(tab: Tab, api: Client, model: str) -> None:
    id = api.run(api.new_flow(AGENT % {"model": model}))
    api.ended(id)
    page = tab.go(f"/executions/{id}?step=answer.1")
    steps = panel(page).get_by_label("Step of the agent")
    expect(steps.locator("option")).to_have_text(
        [
            "Show a step…",
            "turn 1 · ask · completed",
            "turn 1 · orders · completed",
            "turn 2 · ask · completed",
            "turn 2 · orders · completed",
            "turn 2 · parcel · failed",
            "turn 3 · ask · completed",
        ]
    )
    steps.select_option("turn 2 · ask · completed")

    # The graph shows the calls of this turn: those of the first one are not counted.
    expect(page.locator(".graph")).to_contain_text("agent · turn 2")
    expect(page.locator(".graph")).not_to_contain_text("2 runs")
    panel(page).get_by_role("button", name="Show its parameters").click()
    conversations = panel(page).locator(".conversation")
    expect(conversations).to_have_count(2)
    asked, answered = conversations.all()
    expect(asked.locator("> li")).to_have_text(
        ["UserWhere is my parcel?", "Model · turn 1calls orders", "orders answers[]"]
    )
    expect(panel(page).get_by_role("group", name="What Parameters has besides")).to_contain_text('"base_url"')
    expect(answered).to_contain_text("calls parcel")
    expect(answered.get_by_role("group", name="Arguments of parcel")).to_have_text('{"number": "P-7"}')
    panel(page).get_by_role("button", name="Show as JSON").first.click()
    expect(panel(page)).to_contain_text('"content": "Where is my parcel?"')
    panel(page).get_by_role("button", name="Go to the failed one").click()
    expect(panel(page)).to_contain_text("answer › turn 2 › parcel")
    expect(panel(page)).to_contain_text("HTTP request failed with status 404")
    page.get_by_role("button", name="Replay").click()
    slider = page.get_by_role("slider")
    heading = panel(page).get_by_role("heading", level=2)
    seen = set()
    for at in range(1, int(slider.get_attribute("max") or 0)):
        slider.fill(str(at))
        seen.add(heading.inner_text())
    assert {"answer › turn 1 › ask", "answer › turn 2 › parcel"} <= seen
    assert not any("round" in text for text in seen)


@pytest.mark.parametrize("length", [0, 100_000])
def test_s49_no_turn_of_a_conversation_is_shown_in_another_order_than_it_is_read(
    tab: Tab, api: Client, model: str, length: int
) -> None:
    prompt = f"Pay \u202e001\u202c to \u2066Ada\u2069 {'x' * length}"
    params = {"base_url": f"{model}/v1", "model": "m", "prompt": prompt}
    id = api.run(api.new_flow(json.dumps({"nodes": {"ask": {"type": "llm", "params": params}}})))
    api.ended(id)

    page = tab.go(f"/executions/{id}?step=ask.1")
    panel(page).get_by_role("button", name="Show its parameters").click()

    expect(panel(page)).to_contain_text("Pay [U+202E]001[U+202C] to [U+2066]Ada[U+2069]")
    assert "\u202e" not in panel(page).inner_text()


def test_the_timeline_and_the_log_of_an_agent_name_its_turns(tab: Tab, api: Client, model: str) -> None:
    id = api.run(api.new_flow(AGENT % {"model": model}))
    api.ended(id)
    page = tab.go(f"/executions/{id}?tab=timeline")
    page.get_by_role("button", name="Show what answer ran").click()
    expect(page.locator(".lane-name")).to_have_text(
        ["answeragent · 6 steps", "askturn 1", "ordersturn 1", "askturn 2", "ordersturn 2", "parcelturn 2", "askturn 3"]
    )
    page.get_by_role("link", name="Logs").or_(page.get_by_role("tab", name="Logs")).first.click()
    expect(page.get_by_text("answer › turn 2 › parcel")).to_be_visible()


def test_the_tools_of_an_agent_are_nodes_of_the_editor_and_entries_of_its_form(tab: Tab, api: Client) -> None:
    id = api.new_flow(AGENT % {"model": "http://127.0.0.1:9"})
    page = tab.go(f"/flows/{id}")
    names = page.locator(".node b")
    expect(names).to_have_text(["answer", "ask", "orders", "parcel"])
    # The language makes them: nothing can be put behind one.
    expect(page.locator(".node-insert")).to_have_count(1)

    page.locator("[data-node='answer/parcel']").click()
    form = page.get_by_role("region", name="Node answer")
    tools = form.get_by_role("region", name="tools")
    expect(page.locator(".cm-activeLine")).to_contain_text("name: parcel")
    expect(tools.locator("> details[open] > summary")).to_have_text("parcel http.request · A parcel")
    description = tools.locator("> details[open]").get_by_label("description")
    expect(description).to_have_value("A parcel")
    description.fill("One parcel")
    description.blur()
    expect(page.locator(".cm-content")).to_contain_text("description: One parcel")

    tools.get_by_role("button", name="Add to tools").click()
    expect(names).to_have_text(["answer", "ask", "orders", "parcel", "new_tool"])
    tools.get_by_role("button", name="Add to tools").click()
    expect(names).to_have_text(["answer", "ask", "orders", "parcel", "new_tool", "new_tool_2"])
    tools.get_by_text("orders http.request").click()
    tools.get_by_role("button", name="Remove orders").click()
    expect(names).to_have_text(["answer", "ask", "parcel", "new_tool", "new_tool_2"])
    # The one that follows is not opened where the removed one was, below the pointer.
    tools.get_by_text("new_tool http.request").click()
    tools.get_by_role("button", name="Remove new_tool", exact=True).click()
    expect(names).to_have_text(["answer", "ask", "parcel", "new_tool_2"])
    expect(tools.locator("> details").last).to_contain_text("new_tool_2")
    expect(tools.locator("> details").last).not_to_have_attribute("open", "")


def test_a_first_tool_is_added_to_an_empty_list(tab: Tab, api: Client) -> None:
    page = tab.go(f"/flows/{api.new_flow(EMPTY)}")
    page.locator("[data-node=answer]").click()
    page.get_by_role("button", name="Add to tools").click()
    expect(page.locator(".node b")).to_have_text(["answer", "ask", "new_tool"])


def test_maps_whose_keys_no_schema_names_are_a_field_with_their_values(tab: Tab, api: Client) -> None:
    page = tab.go(f"/flows/{api.new_flow(ORDERS)}")
    page.locator("[data-node=done]").click()
    form = page.get_by_role("region", name="Node done")
    expect(form.get_by_label("value")).to_have_value("- order: A\n  amount: 5")
    expect(form.get_by_role("button", name="Remove 1")).to_have_count(0)
