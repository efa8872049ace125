"""Editing flows in a real Chromium, against a real server."""

import json
import re
from contextlib import suppress
from typing import Final

import pytest
import yaml
from playwright.sync_api import APIResponse, Browser, Error, Locator, Page, Route, expect

from support.client import Client
from support.server import Server
from support.waiting import wait_for
from web import sample
from web.browser import OWNER, Tab, fill_login, flaws, needs_chromium, settled, walk

pytestmark = [needs_chromium, pytest.mark.timeout(600)]

FLOW: Final = """\
# The note of the author
metadata: {name: NAME, description: Two nodes, tags: [shop]}
inputs:
  who: {type: string, description: Whom to greet}
  times: {type: integer, minimum: 1, default: 1}
nodes:
  greet:   # says hello
    type: transform
    params: {value: "Hello ${flow.input.who}"}
    next: done
  done: {type: return, params: {value: "${input}"}}
tests:
  ada: {input: {who: Ada}, expect: {result: Hello Ada}}
  wrong: {input: {who: Ada}, expect: {result: Hello Bo}}
"""


@pytest.fixture
def flow(api: Client, request: pytest.FixtureRequest) -> str:
    name = "greeting of " + re.sub(r"\W+", " ", request.node.name)[:80]
    return api.new_flow(FLOW.replace("NAME", name), name=name)


def edited(tab: Tab, flow: str) -> Page:
    page = tab.go(f"/flows/{flow}")
    expect(page.locator("[data-node=greet]")).to_be_visible()
    return page


def code(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Flow definition")


def write(page: Page, text: str) -> None:
    """Replace the whole text, as a paste does."""
    code(page).click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)


def append(page: Page, text: str) -> None:
    code(page).click()
    page.keyboard.press("Control+End")
    page.keyboard.insert_text(text)


def definition(api: Client, flow: str) -> str:
    found: str = api.get(f"/api/v1/flows/{flow}").json["definition"]
    return found


def test_a_fault_is_shown_in_its_place_and_its_fix_is_one_click(tab: Tab, api: Client, flow: str) -> None:
    page = edited(tab, flow)
    write(page, definition(api, flow).replace("next: done", "next: doen"))
    problems = page.get_by_role("region", name="Problems")

    expect(problems).to_contain_text("10:11")
    expect(page.get_by_role("button", name="greet, transform, has a fault")).to_be_visible()
    problems.get_by_role("button", name="Change to done").click()
    expect(problems).to_contain_text("No problems")
    page.keyboard.press("Control+S")

    expect(page.get_by_text("revision 1", exact=True)).to_be_visible()
    expect(page.get_by_text("Nothing has changed")).to_be_visible()
    expect(page.get_by_text("unsaved changes")).to_have_count(0)


def test_completion_knows_the_types_of_the_server_and_the_nodes_of_the_text(tab: Tab, flow: str) -> None:
    page = edited(tab, flow)
    write(page, "nodes:\n  first: {type: log, params: {message: hi}, next: }\n  second:\n    type: ")
    page.keyboard.type("ht")
    expect(page.get_by_role("option", name=re.compile("http.request"))).to_be_visible()
    page.wait_for_timeout(200)
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    for name in ("params", "url"):
        page.keyboard.type(name[:3])
        expect(page.get_by_role("option", name=re.compile(f"^{name}"))).to_be_visible()
        # A list that has just opened takes no answer, so that nobody chooses by accident.
        page.wait_for_timeout(200)
        page.keyboard.press("Enter")
    expect(code(page)).to_contain_text("url: ")

    page.keyboard.press("Control+Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Control+Space")
    page.get_by_role("option", name=re.compile("^second")).click()

    expect(code(page)).to_contain_text("next: second}")


def test_a_text_with_syntax_errors_keeps_the_last_graph(tab: Tab, flow: str) -> None:
    page = edited(tab, flow)
    append(page, "broken: [")

    expect(page.get_by_text("the graph shows the last valid text")).to_be_visible()
    expect(page.locator("[data-node]")).to_have_count(2)
    expect(page.get_by_role("region", name="Problems")).to_contain_text("1 error")


def test_the_cursor_and_the_graph_follow_each_other(tab: Tab, flow: str) -> None:
    page = edited(tab, flow)
    page.locator("[data-node=done]").click()
    expect(page.get_by_role("region", name="Node done")).to_be_visible()
    expect(page.locator(".cm-activeLine")).to_contain_text("done: {type: return")

    page.get_by_text("says hello").click()

    expect(page.locator("[data-node=greet]")).to_have_attribute("aria-current", "true")
    expect(page.get_by_role("region", name="Node greet")).to_be_visible()


def test_two_people_who_edit_one_flow_lose_nothing(
    tab: Tab, browser: Browser, server: Server, api: Client, flow: str
) -> None:
    mine = edited(tab, flow)
    other = Tab(browser, server.url).log_in(api.email, api.password)
    theirs = edited(other, flow)
    write(theirs, definition(api, flow).replace("# The note of the author", "# Their note"))
    theirs.get_by_role("button", name="Save", exact=True).click()
    expect(theirs.get_by_text("revision 2", exact=True)).to_be_visible()
    other.close()

    write(mine, definition(api, flow).replace("# Their note", "# The note of the author").replace("Hello $", "Hi $"))
    mine.get_by_role("button", name="Save", exact=True).click()
    dialog = mine.get_by_role("dialog")
    expect(dialog).to_contain_text("This flow was saved elsewhere")
    dialog.get_by_role("button", name="Use the merged text").click()
    # Of what is saved next, only the difference to the version that is merged by now counts.
    again = definition(api, flow).replace("# Their note", "# Their second note")
    assert api.put(f"/api/v1/flows/{flow}", {"definition": again}).status == 200
    mine.get_by_role("button", name="Save", exact=True).click()
    expect(dialog).to_contain_text("This flow was saved elsewhere")
    expect(dialog.get_by_role("group", name="Place 1")).to_have_count(0)
    dialog.get_by_role("button", name="Use the merged text").click()
    mine.get_by_role("button", name="Save", exact=True).click()

    expect(mine.get_by_text("revision 4", exact=True)).to_be_visible()
    saved = definition(api, flow)
    assert "# Their second note" in saved
    assert "Hi ${flow.input.who}" in saved


def test_what_both_have_changed_is_chosen_line_by_line(tab: Tab, api: Client, flow: str) -> None:
    page = edited(tab, flow)
    text = definition(api, flow)
    assert api.put(f"/api/v1/flows/{flow}", {"definition": text.replace("Hello $", "Good day $")}).status == 200
    write(page, text.replace("Hello $", "Hi $"))
    page.get_by_role("button", name="Save", exact=True).click()
    place = page.get_by_role("group", name="Place 1")

    place.get_by_label("Theirs").check()
    page.get_by_role("button", name="Use the merged text").click()

    expect(code(page)).to_contain_text("Good day")
    expect(code(page)).not_to_contain_text("Hi $")


def test_unsaved_text_outlives_a_reload(tab: Tab, api: Client, flow: str) -> None:
    page = edited(tab, flow)
    append(page, "# not saved yet\n")
    expect(page.get_by_text("unsaved changes")).to_be_visible()

    page.reload()

    expect(page.get_by_text("were restored")).to_be_visible()
    expect(code(page)).to_contain_text("# not saved yet")
    expect(page.get_by_role("button", name="Discard them")).to_be_visible()
    append(page, "# and more\n")
    page.get_by_role("button", name="Discard all unsaved changes").click()
    expect(code(page)).not_to_contain_text("# not saved yet")
    assert "not saved" not in definition(api, flow)


def test_what_is_typed_during_a_slow_save_stays_kept_in_the_browser(tab: Tab, flow: str) -> None:
    page, kept = edited(tab, flow), "Object.entries(localStorage).find(([key]) => key.includes('.draft.'))?.[1] ?? ''"
    held: list[Route] = []
    page.route(f"**/api/v1/flows/{flow}", lambda route: held.append(route))  # noqa: PLW0108 # Playwright wraps no method
    append(page, "# saved\n")
    page.keyboard.press("Control+S")
    append(page, "# typed meanwhile\n")
    wait_for(lambda: "# typed meanwhile" in page.evaluate(kept))
    held[0].continue_()
    expect(page.get_by_role("status").filter(has_text="as revision 2")).to_be_visible()

    assert "# typed meanwhile" in page.evaluate(kept)


def test_a_text_that_the_server_could_not_check_is_checked_again(tab: Tab, flow: str) -> None:
    page = edited(tab, flow)
    page.route("**/api/v1/flows/validate", lambda route: route.abort())
    append(page, "nowhere: 1\n")
    expect(page.get_by_text("The server could not check this text")).to_be_visible()

    page.unroute("**/api/v1/flows/validate")

    expect(page.get_by_text("unknown key 'nowhere'")).to_be_visible(timeout=20_000)


def another(tab: Tab) -> Page:
    """Open what the tab shows in another one of the same browser."""
    page = tab.context.new_page()
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(tab.page.url)
    return page


def test_two_tabs_that_edit_one_flow_have_a_draft_each(tab: Tab, api: Client, flow: str) -> None:
    page = edited(tab, flow)
    append(page, "# of the first\n")
    expect(page.get_by_text("unsaved changes")).to_be_visible()
    other = another(tab)
    write(other, definition(api, flow) + "# of the second\n")
    expect(other.get_by_text("unsaved changes", exact=True)).to_be_visible()

    page.reload()
    expect(code(page)).to_contain_text("# of the first")
    other.reload()
    expect(code(other)).to_contain_text("# of the second")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("revision 2", exact=True)).to_be_visible()
    other.close(run_before_unload=False)
    other = another(tab)

    expect(other.get_by_text("were restored")).to_be_visible()
    expect(code(other)).to_contain_text("# of the second")
    other.get_by_role("button", name="Save", exact=True).click()
    expect(other.get_by_role("dialog")).to_contain_text("Revision 2")
    other.close(run_before_unload=False)


def test_a_session_that_ends_while_a_flow_is_edited_loses_nothing(tab: Tab, api: Client, flow: str) -> None:
    page = edited(tab, flow)
    append(page, "# typed before\n")
    # The check of what was typed, or what the page reads by itself, would meet the end of the session before the click.
    others: list[tuple[Route, APIResponse]] = []
    early = re.compile("/api/v1/(flows/validate|approvals|system|admin/pause)")
    page.route(early, lambda route: others.append((route, route.fetch())))
    tab.context.clear_cookies()
    with page.expect_request("**/flows/validate"):
        append(page, "# typed after\n")
    page.get_by_role("button", name="Save", exact=True).click()
    dialog = page.get_by_role("dialog", name="Your session has ended")
    expect(dialog).to_be_visible()
    fill_login(page, api.email, api.password)
    expect(page.get_by_role("status").filter(has_text="revision 2")).to_be_visible()
    # Their answers say that the session has ended, but come after the login: they are sent again, and nobody is asked.
    with page.expect_response(lambda answer: answer.url.endswith("/flows/validate") and answer.ok):
        for route, answer in others:
            # One that the page has given up meanwhile is handled already.
            with suppress(Error):
                route.fulfill(response=answer)
        page.unroute(early)

    assert definition(api, flow).endswith("# typed before\n# typed after\n")
    append(page, "# left behind\n")
    expect(page.get_by_text("unsaved changes")).to_be_visible()
    page.keyboard.press("Control+k")
    # What is typed before the palette is there would go nowhere.
    expect(page.get_by_role("combobox")).to_be_focused()
    page.keyboard.type("log out")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete them and log out").click()
    page.wait_for_url("**/login")
    assert page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('flowrunner.draft')).length") == 0


def test_a_flow_is_built_by_hand_and_keeps_its_comments(tab: Tab, api: Client, flow: str) -> None:
    page = edited(tab, flow)
    page.locator("[data-node=greet]").click()
    page.get_by_role("button", name="Insert after", exact=True).click()
    page.get_by_label("Search node types").fill("log")
    page.keyboard.press("Enter")
    form = page.get_by_role("region", name="Node log")
    form.get_by_label("message").fill("said ${input}")
    form.get_by_label("level").select_option("warn")
    form.get_by_label("Name").fill("greet")
    expect(form).to_contain_text("There is already a node greet")
    form.get_by_label("Name").fill("say")
    page.keyboard.press("Enter")
    page.get_by_role("region", name="Node say").get_by_role("button", name="Delete node").click()
    expect(page.locator("[data-node=say]")).to_have_count(0)
    page.keyboard.press("Control+Z")
    expect(page.locator("[data-node=say]")).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("revision 2", exact=True)).to_be_visible()

    saved = definition(api, flow)
    assert "# The note of the author\n" in saved
    assert "greet:   # says hello\n" in saved
    assert "    next: say\n" in saved
    assert "      message: said ${input}\n" in saved
    assert "      level: warn\n" in saved
    expect(page.get_by_role("button", name="say, log, leads to done")).to_be_visible()


FORMS: Final = """\
metadata: {name: NAME}
nodes:
  values:
    type: set
    params: {page: 1}
    next: loop
  loop:
    type: while
    params:
      when: "false"
    nodes:
      say:
        type: log
        params:
          message: ${input}
        next: wait
      wait:
        type: wait
        params:
          key: paid
    next: count
  count:
    type: transform
    params:
      script: |
        return 1
"""


def test_text_code_and_conditions_are_written_as_they_are_typed(tab: Tab, api: Client) -> None:
    flow = api.new_flow(FORMS.replace("NAME", "typed"), name="typed")
    page = tab.go(f"/flows/{flow}")

    def typed(node: str, label: str, text: str) -> None:
        page.locator(f"[data-node$={node}]").click()
        field = page.get_by_role("region", name=f"Node {node}").get_by_label(label, exact=True).first
        field.fill(text)
        field.press("Tab")

    typed("values", "params", "page: 2\nname: Bo")
    typed("loop", "when · required", "vars.page != null")
    typed("say", "message · required", "# Total: 5\n[urgent] 007")
    typed("wait", "timeout", "30s")
    count = page.get_by_role("region", name="Node count")
    page.locator("[data-node=count]").click()
    expect(count.get_by_label("script", exact=True)).to_have_value("return 1\n")
    typed("count", "script", "const x = 1;\nreturn {x: x};\n")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("revision 2", exact=True)).to_be_visible()

    nodes = yaml.safe_load(definition(api, flow))["nodes"]
    assert nodes["values"]["params"] == {"page": 2, "name": "Bo"}
    assert nodes["loop"]["params"] == {"when": "vars.page != null"}
    assert nodes["loop"]["nodes"]["say"]["params"] == {"message": "# Total: 5\n[urgent] 007"}
    assert nodes["loop"]["nodes"]["wait"]["params"] == {"key": "paid", "timeout": "30s"}
    assert nodes["count"]["params"] == {"script": "const x = 1;\nreturn {x: x};\n"}


def test_nothing_covers_the_frame_of_the_focus_and_nothing_blinks(tab: Tab, flow: str) -> None:
    page = edited(tab, flow)
    code(page).click()
    editor = page.locator(".cm-editor")
    expect(editor).to_have_css("outline-style", "solid")
    frame, inner = editor.bounding_box(), page.locator(".cm-scroller").bounding_box()
    assert frame is not None
    assert inner is not None

    assert (inner["x"], inner["y"]) == (frame["x"] + 1, frame["y"] + 1)
    assert (inner["width"], inner["height"]) == (frame["width"] - 2, frame["height"] - 2)
    # The style sheet of the page, which ends what moves, has no say in the editor: its cursor would blink.
    moving = "document.querySelector('.code-host').shadowRoot.getAnimations().length"
    assert page.evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    page.reload()
    code(page).click()
    assert page.evaluate(moving) == 1
    page.emulate_media(reduced_motion="reduce")


def test_a_tooltip_closes_at_the_first_key_and_comes_back_with_the_mouse(tab: Tab, flow: str) -> None:
    page = edited(tab, flow)
    append(page, "# ")
    tooltip = page.locator(".cm-docs")
    word = code(page).get_by_text("type", exact=True).first
    word.hover()
    expect(tooltip).to_be_visible()

    page.keyboard.press("Shift")
    expect(tooltip).to_be_visible()
    page.keyboard.press("x")
    expect(tooltip).to_have_count(0)
    # Another key soon after the mouse was still: the tooltip was about to open. In between, the mouse leaves the
    # editor, which may be scrolled sideways, so that the beginning of its text cannot be hovered.
    page.mouse.move(0, 0)
    word.hover()
    page.keyboard.press("y")
    page.wait_for_timeout(1000)
    expect(tooltip).to_have_count(0)
    page.mouse.move(0, 0)
    word.hover()
    expect(tooltip).to_be_visible()


def test_a_key_while_a_tooltip_is_loaded_closes_it_before_it_opens(tab: Tab, api: Client) -> None:
    text = "triggers: {early: {type: schedule, cron: '30 6 * * *'}}\nnodes: {a: {type: return}}\n"
    page = tab.go(f"/flows/{api.new_flow(text, name='With a schedule')}")
    held: list[Route] = []
    page.route("**/cron*.js", lambda route: held.append(route))  # noqa: PLW0108 # Playwright wraps no method
    code(page).focus()
    with page.expect_request("**/cron*.js"):
        code(page).get_by_text("30 6 * * *").hover()

    page.keyboard.press("Escape")
    page.wait_for_timeout(100)
    with page.expect_response("**/cron*.js"):
        held[0].continue_()
    page.wait_for_timeout(1000)

    tooltip = page.locator(".cm-docs")
    expect(tooltip).to_have_count(0)
    page.mouse.move(0, 0)
    code(page).get_by_text("30 6 * * *").hover()
    expect(tooltip).to_be_visible()


def test_a_key_explains_the_cron_expression_at_the_cursor(tab: Tab, api: Client) -> None:
    text = "triggers: {early: {type: schedule, cron: '30 6 * * *'}}\nnodes: {a: {type: return}}\n"
    page = tab.go(f"/flows/{api.new_flow(text, name='With a schedule for keys')}")
    expect(code(page)).to_contain_text("30 6 * * *")
    code(page).focus()
    for key in ("Control+Home", "End", *["ArrowLeft"] * 5, "F1"):
        page.keyboard.press(key)

    expect(page.locator(".cm-docs")).to_contain_text("At 06:30, every day")
    expect(page.locator(".cm-announced")).to_contain_text("At 06:30, every day")
    page.keyboard.press("Escape")
    expect(page.locator(".cm-docs")).to_have_count(0)


def test_an_edge_is_drawn_from_one_node_to_another(tab: Tab, flow: str) -> None:
    page = edited(tab, flow)
    source = page.locator("li", has=page.locator("[data-node=greet]"))
    source.hover()
    source.locator(".node-insert").drag_to(page.locator("[data-node=done]"))

    page.get_by_role("dialog").get_by_role("button", name="error", exact=True).click()

    expect(code(page)).to_contain_text("next: {default: done, error: done}")


def test_a_node_is_tried_alone(tab: Tab, flow: str) -> None:
    page = edited(tab, flow)
    page.locator("[data-node=greet]").click()
    page.get_by_role("button", name="Try", exact=True).click()
    page.get_by_label("Input of the flow").fill("who: Bo")
    page.get_by_role("button", name="Try it").click()

    expect(page.get_by_role("region", name="Node greet")).to_contain_text('"Hello Bo"')


def test_a_save_by_key_or_by_one_click_takes_what_is_being_typed(tab: Tab, api: Client, flow: str) -> None:
    page = edited(tab, flow)
    page.locator("[data-node=greet]").click()
    form = page.get_by_role("region", name="Node greet")
    value = form.get_by_label("value")
    value.press("End")
    value.press_sequentially("!")
    page.keyboard.press("Control+S")
    expect(page.get_by_text("revision 2", exact=True)).to_be_visible()
    assert "Hello ${flow.input.who}!" in definition(api, flow)
    value.press_sequentially("?")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("revision 3", exact=True)).to_be_visible()
    assert "Hello ${flow.input.who}!?" in definition(api, flow)

    value.press_sequentially(" bye")
    page.keyboard.press("Escape")
    expect(form).to_have_count(0)
    expect(code(page)).to_contain_text("Hello ${flow.input.who}!? bye")


def test_what_is_typed_in_the_form_and_is_no_value_is_not_left_out_in_silence(tab: Tab, api: Client, flow: str) -> None:
    page = edited(tab, flow)
    page.locator("[data-node=greet]").click()
    form = page.get_by_role("region", name="Node greet")
    form.get_by_label("Name").fill("done")
    page.keyboard.press("Control+S")

    expect(page.locator(".toast.bad")).to_contain_text("something that is not a value")
    page.keyboard.press("Escape")
    expect(form.get_by_label("Name")).to_have_value("done")
    assert api.get(f"/api/v1/flows/{flow}").json["revision"] == 1


def test_the_input_of_a_trial_outlives_the_form_and_other_nodes(tab: Tab, flow: str) -> None:
    page = edited(tab, flow)
    page.locator("[data-node=greet]").click()
    page.get_by_role("button", name="Try", exact=True).click()
    page.get_by_label("Input of the flow").fill("who: Bo")
    page.get_by_role("button", name="Form", exact=True).click()
    page.locator("[data-node=done]").click()
    page.locator("[data-node=greet]").click()
    page.get_by_role("button", name="Try", exact=True).click()

    expect(page.get_by_label("Input of the flow")).to_have_value("who: Bo")


def test_a_trial_takes_the_values_of_the_execution_that_was_chosen_last(tab: Tab, api: Client, flow: str) -> None:
    slow, fast = api.run(flow, {"who": "Slow"}), api.run(flow, {"who": "Fast"})
    for id in (slow, fast):
        api.ended(id)
    page = edited(tab, flow)
    page.locator("[data-node=greet]").click()
    page.get_by_role("button", name="Try", exact=True).click()
    held: list[Route] = []
    page.route(f"**/api/v1/executions/{slow}", lambda route: held.append(route))  # noqa: PLW0108 # Playwright wraps no method
    chosen = page.get_by_label("Values of a past execution")
    with page.expect_request(f"**/api/v1/executions/{slow}"):
        chosen.select_option(slow)
    chosen.select_option(fast)
    expect(page.get_by_label("Input of the flow")).to_have_value("who: Fast\ntimes: 1")
    with page.expect_response(f"**/api/v1/executions/{slow}"):
        held[0].continue_()
    page.wait_for_timeout(200)

    expect(page.get_by_label("Input of the flow")).to_have_value("who: Fast\ntimes: 1")


def test_a_trial_finds_the_run_of_a_node_after_a_long_loop(tab: Tab, api: Client) -> None:
    flow = api.new_flow(
        "nodes:\n"
        '  each:\n    type: foreach\n    params: {items: "${Array.from({length: 250}, () => 1)}"}\n'
        "    nodes: {a: {type: transform, params: {value: 1}}}\n    next: last\n"
        '  last: {type: transform, params: {value: "${input}"}}\n',
        name="long before",
    )
    id = api.run(flow)
    api.ended(id)
    page = tab.go(f"/flows/{flow}")
    page.locator("[data-node=last]").click()
    page.get_by_role("button", name="Try", exact=True).click()
    page.get_by_label("Values of a past execution").select_option(id)

    expect(page.get_by_label("Input: the result of the node before")).to_have_value(re.compile(r"^- 1\n- 1"))
    expect(page.get_by_text("That execution did not run this node.")).to_have_count(0)


def test_save_and_run_keeps_its_input_while_a_conflict_is_resolved(tab: Tab, api: Client, flow: str) -> None:
    page = edited(tab, flow)
    append(page, "# mine\n")
    changed = definition(api, flow).replace("# The note of the author", "# Their note")
    assert api.put(f"/api/v1/flows/{flow}", {"definition": changed}).status == 200
    page.get_by_role("button", name="Run…").click()
    start = page.get_by_role("dialog", name=re.compile("^Run"))
    start.get_by_label("who").fill("Ada")
    start.get_by_role("button", name="Save and run").click()
    page.get_by_role("dialog").get_by_role("button", name="Use the merged text").click()

    expect(start.get_by_label("who")).to_have_value("Ada")
    start.get_by_role("button", name="Save and run").click()
    page.wait_for_url("**/executions/exec-*")
    saved = definition(api, flow)
    assert "# Their note" in saved
    assert "# mine" in saved


def test_the_tests_of_the_text_run_before_it_is_saved(tab: Tab, flow: str) -> None:
    page = edited(tab, flow)
    page.get_by_role("button", name="Test", exact=True).click()

    expect(page.get_by_role("dialog")).to_contain_text("1 passed")
    expect(page.get_by_role("dialog")).to_contain_text("1 failed")
    expect(page.get_by_role("dialog")).to_contain_text("Hello Bo")


def test_the_run_form_asks_for_what_the_flow_needs(tab: Tab, api: Client, flow: str) -> None:
    page = edited(tab, flow)
    page.get_by_role("button", name="Run…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Run", exact=True).click()
    expect(dialog).to_contain_text("This input is required")
    dialog.get_by_label("who").fill("it's Ada")
    dialog.get_by_label("times").fill("2")
    dialog.get_by_role("button", name="curl").click()
    expect(dialog).to_contain_text("""-d '{"input":{"who":"it'\\''s Ada","times":2}}'""")
    dialog.get_by_role("button", name="Run", exact=True).click()

    page.wait_for_url("**/executions/exec-*")
    id = page.url.rsplit("/", 1)[-1].split("?")[0]
    assert api.ended(id)["result"] == "Hello it's Ada"
    page = edited(tab, flow)
    page.get_by_role("button", name="Run…").click()
    dialog.get_by_role("button", name="Use the input of the last execution").click()
    expect(dialog.get_by_label("who")).to_have_value("it's Ada")
    expect(dialog.get_by_label("times")).to_have_value("2")


def test_the_graph_and_the_form_need_no_mouse(tab: Tab, flow: str) -> None:
    page = edited(tab, flow)
    code(page).focus()
    # Tab leaves the editor, and the graph is one stop.
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.node") is not None:
            break
    expect(page.locator("[data-node=greet]")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("[data-node=done]")).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Node greet")).to_be_visible()
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('.inspector') !== null"):
            break
    page.keyboard.press("Escape")

    expect(page.get_by_role("region", name="Node greet")).to_have_count(0)


def test_a_field_of_the_form_shows_all_that_is_in_it(tab: Tab, api: Client) -> None:
    headers = "{Authorization: 'Bearer a-token-that-has-no-room-in-one-line', Accept: application/json}"
    fetch = f"{{type: http.request, params: {{url: 'https://a.example.com', headers: {headers}}}}}"
    page = tab.go(f"/flows/{api.new_flow(f'nodes: {{fetch: {fetch}}}')}")
    page.locator("[data-node=fetch]").click()
    field = page.get_by_role("region", name="Node fetch").get_by_label("headers")
    expect(field).to_have_value(re.compile("application/json"))

    assert field.evaluate("(field) => field.scrollHeight - field.clientHeight") == 0


def test_a_schedule_is_added_to_the_text_from_the_list_of_triggers(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {done: {type: return, params: {value: 1}}}\n")
    page = tab.go(f"/flows/{flow}/triggers")
    page.get_by_role("link", name="Add a schedule").click()
    dialog = page.get_by_role("dialog", name="Add a schedule")
    dialog.get_by_label("Repeats").select_option("every Monday")
    dialog.get_by_label("At", exact=True).fill("06:30")
    dialog.get_by_label("Time zone").fill("Europe/Berlin")
    expect(dialog).to_contain_text("At 06:30, only on Monday.")
    assert flaws(page) == []
    dialog.get_by_role("button", name="Add it").click()
    expect(code(page)).to_contain_text("timezone: Europe/Berlin")
    expect(page).to_have_url(re.compile(f"/flows/{flow}$"))
    expect(page.get_by_text("unsaved changes")).to_be_visible()
    page.keyboard.press("Control+s")
    expect(page.get_by_text("revision 2", exact=True)).to_be_visible()

    page = tab.go(f"/flows/{flow}/triggers")
    expect(page.get_by_role("row").filter(has_text="At 06:30, only on Monday (Europe/Berlin)")).to_be_visible()
    page.get_by_role("link", name="Add a schedule").click()
    expect(dialog.get_by_label("Repeats")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(code(page)).to_contain_text("scheduled_2")


def test_an_old_revision_is_compared_and_restored(tab: Tab, api: Client, flow: str) -> None:
    text = definition(api, flow)
    changed = (
        text.replace("Hello $", "Hi $")
        .replace("next: done", "next: pause")
        .replace("  done:", "  pause: {type: delay, params: {duration: 1s}, next: done}\n  done:")
    )
    assert api.put(f"/api/v1/flows/{flow}", {"definition": changed}).status == 200
    page = tab.go(f"/flows/{flow}/revisions")
    expect(page.locator(".diff-added")).to_have_count(3)
    expect(page.locator(".diff-removed")).to_have_count(2)
    page.get_by_role("button", name="Graph").click()
    expect(page.get_by_text("1 added, 1 changed")).to_be_visible()
    expect(page.get_by_role("button", name="pause, delay, added, leads to done")).to_be_visible()

    page.get_by_role("navigation", name="Revisions").get_by_role("link", name=re.compile("^1")).click()
    page.get_by_role("button", name="Restore").click()
    page.get_by_role("dialog").get_by_role("button", name="Restore").click()

    expect(page.get_by_text("Restored as revision 3")).to_be_visible()
    assert definition(api, flow) == text


def test_revisions_beyond_a_page_are_on_the_next_one(tab: Tab, api: Client, flow: str) -> None:
    text = definition(api, flow)
    for number in range(2, 104):
        api.put(f"/api/v1/flows/{flow}", {"definition": f"{text}# {number}\n"})
    api.delete(f"/api/v1/flows/{flow}/revisions/3")
    page = tab.go(f"/flows/{flow}/revisions")
    revisions = page.get_by_role("navigation", name="Revisions")
    expect(revisions).to_contain_text("102 revisions")
    # By whom each was saved.
    expect(revisions.get_by_role("link", name=re.compile("^103"))).to_contain_text(f"· {OWNER} ·")
    revisions.get_by_role("link", name=re.compile("^4(?!\\d)")).click()
    expect(page.get_by_role("heading", name=re.compile("4.*2"))).to_be_visible()
    revisions.get_by_role("link", name="Next page").click()
    revisions.get_by_role("link", name=re.compile("^2(?!\\d)")).click()
    page.reload()

    expect(page.get_by_role("heading", name=re.compile("2.*1"))).to_be_visible()
    expect(page.get_by_role("button", name="Restore")).to_be_visible()
    revisions.get_by_role("link", name="First page").click()
    expect(revisions.get_by_role("link", name=re.compile("^103"))).to_be_visible()


def test_a_disabled_flow_says_so_and_a_deleted_one_is_gone(tab: Tab, api: Client, flow: str) -> None:
    page = tab.go(f"/flows/{flow}/settings")
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_role("button", name="Enable")).to_be_visible()
    assert api.get(f"/api/v1/flows/{flow}").json["disabled"] is True

    name = api.get(f"/api/v1/flows/{flow}").json["name"]
    page.get_by_role("button", name="Delete the flow").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Delete the flow")).to_be_disabled()
    dialog.get_by_label("to confirm").fill(name)
    dialog.get_by_role("button", name="Delete the flow").click()

    expect(page.get_by_text("Deleted greeting of")).to_be_visible()
    assert api.get(f"/api/v1/flows/{flow}").status == 404


PAYLOADS: Final = (
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "<a href=javascript:alert(1)>x</a>",
    "<details open ontoggle=alert(1)>",
)


def test_s49_s75_no_name_of_a_flow_is_markup(tab: Tab, api: Client) -> None:
    first, second = (payload.replace("/", "") for payload in PAYLOADS[:2])
    text = json.dumps(
        {
            "metadata": {
                "name": PAYLOADS[0],
                "description": PAYLOADS[1],
                "tags": [PAYLOADS[2]],
                "version": PAYLOADS[3],
            },
            "inputs": {PAYLOADS[0]: {"type": "string", "description": PAYLOADS[1], "default": PAYLOADS[2]}},
            "nodes": {
                first: {"type": "log", "params": {"message": PAYLOADS[0]}, "description": PAYLOADS[3], "next": second},
                second: {"type": "switch", "params": {"cases": [{"when": "true", "action": PAYLOADS[3]}]}},
            },
            "tests": {PAYLOADS[0]: {"mocks": {}, "expect": {"result": PAYLOADS[1]}}},
        },
        indent=2,
    )
    flow = api.new_flow(text)
    api.put(f"/api/v1/flows/{flow}", {"definition": text.replace("onload", "onclick")})
    api.ended(api.run(flow))
    for path in ("", "/executions", "/triggers", "/revisions", "/revisions?view=graph", "/settings"):
        page = settled(tab.go(f"/flows/{flow}{path}"))
        assert_no_markup(page)
    page = settled(tab.go("/flows"))
    assert_no_markup(page)
    page = settled(tab.go(f"/flows/{flow}"))
    page.locator("[data-node]").first.click()
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("failed")
    assert_no_markup(page)
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Run…").click()
    expect(page.get_by_role("dialog").get_by_label(PAYLOADS[0])).to_be_visible()
    assert_no_markup(page)


def assert_no_markup(page: Page) -> None:
    assert page.locator("main :is(img, svg[onload], details[ontoggle], a[href^='javascript'])").count() == 0


def test_each_screen_of_a_flow_is_accessible_in_both_themes_and_fits_a_narrow_one(
    tab: Tab, api: Client, flow: str
) -> None:
    api.put(f"/api/v1/flows/{flow}", {"definition": definition(api, flow).replace("Hello $", "Hi $")})
    api.ended(api.run(flow, {"who": "Ada"}))
    home, page = tab.home, edited(tab, flow)
    wrong = {}
    for opener in ("Add a node", "Run…"):
        page.get_by_role("button", name=opener).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        wrong[opener] = flaws(page)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    page.locator("[data-node=greet]").click()
    wrong["a node"] = flaws(page)
    page.get_by_role("button", name="Try", exact=True).click()
    wrong["trying a node"] = flaws(page)
    for path in ("/executions", "/triggers", "/revisions", "/revisions?view=graph"):
        wrong[path] = flaws(walk(page, home, f"/flows/{flow}{path}"))

    assert {path: found for path, found in wrong.items() if found} == {}


def test_a_saved_picture_is_the_one_of_the_server_to_the_byte(tab: Tab, api: Client) -> None:
    flow = api.new_flow(sample.FAILING, name="is drawn twice")
    page = tab.go(f"/flows/{flow}")

    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as SVG").click()

    drawn = api.request("GET", f"/api/v1/flows/{flow}/graph", headers={"Accept": "image/svg+xml"})
    assert (drawn.status, drawn.body) == (200, saved.value.path().read_bytes())


def test_the_first_save_of_a_flow_leaves_the_cursor_in_its_text(tab: Tab, api: Client) -> None:
    page = tab.go("/flows/new?from=empty")
    write(page, "metadata: {name: goes on}\nnodes: {a: {type: return}}\n# ")
    expect(code(page)).to_contain_text("goes on")
    held: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.method == "POST":
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/v1/flows", hold)
    with page.expect_request(lambda request: request.method == "POST" and request.url.endswith("/api/v1/flows")):
        page.keyboard.press("Control+s")
    # What is typed meanwhile is not lost either.
    page.keyboard.type("one ")
    held[0].continue_()
    expect(page.get_by_role("button", name="Run…")).to_be_visible()
    expect(code(page)).to_be_focused()

    # As single keys these would open other screens.
    page.keyboard.type("g e ?")

    expect(code(page)).to_contain_text("# one g e ?")
    page.keyboard.press("Control+s")
    expect(page.get_by_text("revision 2", exact=True)).to_be_visible()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("dialog", name="Run goes on")).to_be_visible()
    page.keyboard.press("Escape")
    assert definition(api, page.url.rpartition("/")[2]).endswith("# one g e ?")
    page.unroute("**/api/v1/flows")
    tab.go("/flows/new?from=empty")
    expect(code(page)).not_to_contain_text("goes on")


def test_a_flow_is_run_by_a_key_wherever_the_focus_is_and_not_by_those_who_may_not(
    tab: Tab, browser: Browser, site: Server, api: Client, flow: str
) -> None:
    page = edited(tab, flow)
    page.get_by_role("heading", level=1).focus()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("dialog", name="Run greeting of")).to_be_visible()

    viewer = site.admin().new_account("user", "Viewer")
    space = api.post("/api/v1/workspaces", {"name": "Looked at", "slug": f"looked-at-{flow[-6:]}"}).json
    moved = {"workspace": space["id"]}
    assert api.post(f"/api/v1/flows/{flow}/move", moved).status == 200
    member = {"account": viewer.account_id, "role": "viewer"}
    assert api.post(f"/api/v1/workspaces/{space['id']}/members", member).status == 201
    other = Tab(browser, site.url).log_in(viewer.email, viewer.password)
    page = other.page
    page.goto(f"/w/{space['slug']}/flows/{flow}")
    expect(page.locator("[data-node=greet]")).to_be_visible()
    expect(page.get_by_role("button", name="Test", exact=True)).to_have_count(0)
    code(page).click()
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Control+k")
    # The one that was asked for afterwards is the only one.
    expect(page.get_by_role("dialog", name="Search or do")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(1)
    other.close()


def test_a_new_flow_begins_with_its_name_which_what_is_typed_replaces(tab: Tab) -> None:
    page = tab.go("/flows/new?from=empty")
    expect(code(page)).to_be_focused()

    page.keyboard.type("Flow of Ada")

    expect(code(page)).to_contain_text("{name: Flow of Ada}")


def test_a_first_flow_is_built_on_the_graph_alone(tab: Tab, api: Client) -> None:
    page = tab.go("/flows/new?from=empty")
    for name in ("delay", "log"):
        page.get_by_role("button", name="Add a node").click()
        page.get_by_label("Search node types").fill(name)
        page.keyboard.press("Enter")
        expect(page.get_by_role("region", name=f"Node {name}")).to_be_visible()
        # What was added is a part of the flow, which ends where it ended before.
        expect(page.get_by_role("region", name="Problems")).to_contain_text("No problems")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url(re.compile("/flows/flow-"))

    saved = yaml.safe_load(definition(api, page.url.split("/")[-1].split("?")[0]))["nodes"]
    assert [saved["delay"]["next"], saved["log"]["next"]] == ["log", "done"]


def test_a_node_is_added_by_keys_alone(tab: Tab, api: Client, flow: str) -> None:
    page = edited(tab, flow)
    page.get_by_role("button", name="Add a node").focus()
    page.keyboard.press("Enter")
    search = page.get_by_label("Search node types")
    search.fill("switch")
    expect(page.get_by_role("option", selected=True)).to_contain_text("switch")
    search.fill("")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    second = page.get_by_role("option").nth(1)
    expect(second).to_have_attribute("aria-selected", "true")
    name = second.inner_text().split()[0]
    page.keyboard.press("Enter")

    expect(page.get_by_role("region", name=f"Node {name}")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_another_sample_is_shown_as_it_is_while_the_draft_of_the_first_is_kept(tab: Tab) -> None:
    page = tab.go("/flows/new?from=empty")
    write(page, "metadata: {name: half done}\n")
    page.get_by_role("link", name="Flows", exact=True).last.click()
    page.get_by_role("link", name="New flow").first.click()

    page.get_by_role("button", name="Hello").click()
    expect(code(page)).to_contain_text("greet")
    page.go_back()
    page.get_by_role("button", name="Empty flow unsaved changes").click()

    expect(code(page)).to_contain_text("half done")


def test_why_a_text_was_not_saved_goes_when_it_is_saved(tab: Tab) -> None:
    page = tab.go("/flows/new?from=empty")
    write(page, "nodes: {a: {type: nothing}}\n")
    page.keyboard.press("Control+s")
    refusal = page.get_by_text("The flow definition has 1 fault")
    expect(refusal).to_be_visible()

    write(page, "metadata: {name: mended}\nnodes: {a: {type: return}}\n")
    page.keyboard.press("Control+s")

    expect(page.get_by_text("Created mended")).to_be_visible()
    expect(refusal).to_have_count(0)


def test_the_form_of_a_moment_says_how_one_is_written(tab: Tab, api: Client) -> None:
    flow = api.new_flow("inputs: {until: {type: string, format: date-time}}\nnodes: {a: {type: return}}", name="until")
    page = tab.go(f"/flows/{flow}")
    page.get_by_role("button", name="Run…").click()

    described = page.get_by_role("dialog").get_by_label("until").get_attribute("aria-describedby")

    expect(page.locator(f"[id='{described}']")).to_have_text("A moment, such as 2027-01-31T09:00:00Z.")


def test_an_input_may_have_a_name_that_all_objects_have(tab: Tab, api: Client) -> None:
    text = 'inputs: {constructor: {type: string}}\nnodes: {a: {type: return, params: {value: "${flow.input}"}}}\n'
    page = tab.go(f"/flows/{api.new_flow(text, name='asks for a constructor')}")
    page.get_by_role("button", name="Run…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("constructor").fill("Ada")
    dialog.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/executions/exec-*")

    assert api.ended(page.url.rpartition("/")[2])["result"] == {"constructor": "Ada"}


@pytest.mark.parametrize("way", ["JSON", "curl"])
def test_a_run_that_lacks_an_input_says_so_wherever_it_is_started(tab: Tab, api: Client, way: str) -> None:
    text = "inputs: {who: {type: string}}\nnodes: {a: {type: return, params: {value: 1}}}\n"
    page = tab.go(f"/flows/{api.new_flow(text, name='asks who')}")
    page.get_by_role("button", name="Run…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name=way, exact=True).click()
    expect(dialog.get_by_label("who")).to_have_count(0)
    dialog.get_by_role("button", name="Run", exact=True).click()

    expect(dialog).to_contain_text("This input is required")
    expect(dialog.get_by_label("who")).to_be_focused()

    dialog.get_by_role("button", name="JSON", exact=True).click()
    dialog.get_by_role("textbox", name="Input").fill("{")
    dialog.get_by_role("button", name="CLI", exact=True).click()
    dialog.get_by_role("button", name="Run", exact=True).click()
    expect(dialog.get_by_role("textbox", name="Input")).to_be_focused()


def test_a_new_flow_that_is_saved_late_calls_nobody_back(tab: Tab, api: Client) -> None:
    page = tab.go("/flows/new?from=empty")
    expect(page.get_by_role("textbox", name="Flow definition")).to_contain_text("New flow")
    held: list[Route] = []
    page.route("**/api/v1/flows", lambda route: held.append(route))  # noqa: PLW0108 # Playwright wraps no method
    with page.expect_request("**/api/v1/flows"):
        page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("navigation", name="Main", exact=True).get_by_role("link", name="Secrets").click()
    expect(page.get_by_text("No secrets yet")).to_be_visible()

    held[0].continue_()

    expect(page.get_by_role("status").filter(has_text="Created New flow")).to_be_visible()
    expect(page.get_by_role("heading", name="Secrets", level=1)).to_be_visible()
    expect(page).to_have_url(re.compile("/secrets$"))


@pytest.mark.parametrize("width", [1024, 1280])
def test_the_tools_of_the_graph_have_room_beside_the_form(
    browser: Browser, site: Server, api: Client, width: int
) -> None:
    flow = api.new_flow(sample.APPROVED, name="has a narrow graph")
    tab = Tab(browser, site.url, width=width, height=768)
    try:
        page = tab.log_in(api.email, api.password).go(f"/flows/{flow}")
        page.locator("[data-node=ask]").click()
        expect(page.get_by_role("region", name="Node ask")).to_be_visible()
        tools, add, graph = (page.locator(part).bounding_box() for part in (".graph-tools", ".add-node", ".graph"))
        assert tools is not None
        assert add is not None
        assert graph is not None
        assert graph["x"] <= add["x"]
        assert add["x"] + add["width"] < tools["x"]
    finally:
        tab.close()
