"""Dialogs of the interface, and what is written in them, in a real Chromium."""

import re
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from support.client import PASSWORD, Client
from support.server import Server
from web.browser import Tab, fill_login, go_by_keys, needs_chromium, put_away

pytestmark = [needs_chromium, pytest.mark.timeout(600)]

SHORT: Final = "nodes: {done: {type: return, params: {value: done}}}\n"
KEY: Final = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"
PREFERENCES: Final = "**/api/v1/accounts/me/preferences"


def new_secret(page: Page, key: str, value: str) -> None:
    page.get_by_role("button", name="New secret").first.click()
    page.get_by_label("Name").fill(key)
    page.get_by_label("Value").fill(value)


def test_a_value_of_several_lines_is_kept_as_it_is(tab: Tab, api: Client) -> None:
    page = tab.go("/secrets")
    new_secret(page, "SIGNING_KEY", KEY)
    value = page.get_by_label("Value")
    assert value.evaluate("(field) => getComputedStyle(field).webkitTextSecurity") == "disc"
    page.get_by_role("button", name="Show").click()
    assert value.evaluate("(field) => getComputedStyle(field).webkitTextSecurity") == "none"
    expect(page.get_by_role("status").filter(has_text="4 lines, with a line break at the end")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("cell", name="SIGNING_KEY", exact=True)).to_be_visible()

    document = 'nodes: {out: {type: return, params: {value: "${secrets.SIGNING_KEY.length}"}}}'
    assert api.run_to_end(document)["result"] == len(KEY)


def test_a_new_secret_replaces_none_unless_that_is_chosen(tab: Tab, api: Client) -> None:
    first = "the first value"
    api.new_secret("LISTED", first)
    page = tab.go("/secrets")
    expect(page.get_by_role("cell", name="LISTED", exact=True)).to_be_visible()
    new_secret(page, "LISTED", "another value of it")
    dialog = page.get_by_role("dialog")
    expect(page.get_by_label("Name")).to_have_accessible_description(re.compile("LISTED exists already"))
    expect(dialog.get_by_role("button", name="Save")).to_be_disabled()
    page.get_by_label("Value").press("Control+Enter")

    # One that was added since the list was loaded.
    api.new_secret("ADDED_SINCE", first)
    page.get_by_label("Name").fill("ADDED_SINCE")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Name")).to_have_accessible_description(re.compile("ADDED_SINCE exists already"))
    document = 'nodes: {out: {type: return, params: {value: "${[secrets.LISTED.length, secrets.ADDED_SINCE.length]}"}}}'
    assert api.run_to_end(document)["result"] == [len(first), len(first)]

    dialog.get_by_role("button", name="Replace ADDED_SINCE instead").click()
    expect(page.get_by_role("dialog", name="Replace ADDED_SINCE")).to_be_visible()
    expect(page.get_by_label("Value")).to_be_focused()
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    assert api.run_to_end(document)["result"] == [len(first), len("another value of it")]


def test_saved_views_outlive_a_load_that_failed_and_another_tab(tab: Tab, api: Client) -> None:
    preferences = "/api/v1/accounts/me/preferences"
    kept: dict[str, Any] = {"views": [{"name": "Kept", "query": "status=failed"}], "of a later version": 1}
    assert api.put(preferences, {"preferences": kept}).status == 200

    def save(name: str) -> None:
        page.get_by_role("button", name="View", exact=True).click()
        page.get_by_label("Save these filters as").fill(name)
        page.get_by_role("button", name="Save the view").click()

    page = tab.page
    page.route(
        PREFERENCES,
        lambda route: route.fulfill(status=503, body="{}") if route.request.method == "GET" else route.continue_(),
    )
    tab.go("/executions?status=cancelled")
    save("Mine")
    expect(page.get_by_role("status").filter(has_text="The server does not answer")).to_be_visible()
    assert api.get(preferences).json["preferences"] == kept

    page.unroute(PREFERENCES)
    page.reload()
    expect(page.get_by_role("link", name="Kept")).to_be_visible()
    others = {**kept, "views": [*kept["views"], {"name": "Of another tab", "query": "status=waiting"}]}
    assert api.put(preferences, {"preferences": others}).status == 200
    save("Mine")

    for name in ("Kept", "Of another tab", "Mine"):
        expect(page.get_by_role("link", name=name)).to_be_visible()
    found = api.get(preferences).json["preferences"]
    assert [view["name"] for view in found["views"]] == ["Kept", "Of another tab", "Mine"]
    assert found["of a later version"] == 1


def test_the_login_over_a_screen_is_left_or_stays(browser: Browser, server: Server, api: Client) -> None:
    person = api.new_account()
    tab = Tab(browser, server.url).log_in(person.email, PASSWORD)
    page = tab.go("/account?tab=security")

    def too_old(route: Route) -> None:
        error = {"code": "recent_login_required", "message": "Log in again for this", "details": {}, "request_id": "r"}
        route.fulfill(status=403, json={"error": error})

    page.route("**/api/v1/second-factors/totp", too_old, times=2)
    for leave in ("Escape", "Close"):
        page.get_by_role("button", name="Add an app").click()
        recent = page.get_by_role("dialog", name="Log in again for this")
        expect(recent).to_be_visible()
        page.keyboard.press("Escape") if leave == "Escape" else recent.get_by_role("button", name="Close").click()
        expect(recent).to_have_count(0)
        expect(page.get_by_role("button", name="Add an app")).to_be_enabled()
        page.get_by_role("status").get_by_role("button", name="Close").click()

    tab.context.clear_cookies()
    # By an event: the dialog may cover the button already, if a list was read in the background meanwhile.
    page.get_by_role("button", name="Add an app").dispatch_event("click")
    expired = page.get_by_role("dialog", name="Your session has ended")
    expect(expired).to_be_visible()
    for _ in range(4):
        page.keyboard.press("Escape")
    expect(expired).to_be_visible()
    fill_login(page, person.email, PASSWORD)
    expect(page.get_by_role("img", name=re.compile("QR"))).to_be_visible()
    assert tab.faults == []
    tab.close()


def test_a_message_is_read_and_closed_above_a_dialog(tab: Tab, api: Client) -> None:
    page = tab.go("/secrets")
    api.new_secret("IS_DELETED", "a value of some length")
    page.reload()
    page.get_by_role("button", name="Delete… IS_DELETED").click()
    page.route("**/api/v1/workspaces/*/secrets/*", lambda route: route.abort())
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Delete the secret").click()

    # What is outside of a modal dialog has no role and takes no click.
    message = dialog.get_by_role("status").filter(has_text="The server does not answer")
    expect(message).to_be_visible()
    box = message.bounding_box()
    assert box is not None
    assert page.evaluate(
        "([x, y]) => document.elementFromPoint(x, y).closest('.toasts') !== null", [box["x"] + 20, box["y"] + 20]
    )
    message.get_by_role("button", name="Close").click()
    expect(message).to_have_count(0)

    page.unroute("**/api/v1/workspaces/*/secrets/*")
    dialog.get_by_role("button", name="Delete the secret").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("status").filter(has_text="IS_DELETED is deleted")).to_be_visible()


def test_a_question_stays_when_what_an_earlier_one_was_about_is_done(tab: Tab, api: Client) -> None:
    for key in ("SOON_GONE", "IS_KEPT"):
        api.new_secret(key, "a value of some length")
    page, dialog = tab.go("/secrets"), tab.page.get_by_role("dialog")
    held: list[Route] = []
    page.route("**/secrets/SOON_GONE", lambda route: held.append(route))  # noqa: PLW0108 # Playwright wraps no method
    page.get_by_role("button", name="Delete… SOON_GONE").click()
    with page.expect_request("**/secrets/SOON_GONE"):
        dialog.get_by_role("button", name="Delete the secret").click()
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Delete… IS_KEPT").click()

    held[0].continue_()

    expect(page.get_by_role("status").filter(has_text="SOON_GONE is deleted")).to_be_visible()
    expect(dialog).to_contain_text("IS_KEPT")


def test_the_focus_is_not_lost_with_a_row_or_while_a_request_runs(tab: Tab, api: Client) -> None:
    api.new_secret("IS_GONE", "a value of some length")
    api.new_flow(f"triggers: {{yearly: {{type: schedule, cron: '@yearly'}}}}\n{SHORT}", name="has a schedule")
    page = tab.go("/triggers")
    page.get_by_role("button", name="Pause yearly").press("Enter")
    expect(page.get_by_role("button", name="Resume yearly")).to_be_focused()

    page = tab.go("/secrets")
    page.get_by_role("button", name="Delete… IS_GONE").press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Delete the secret").press("Enter")
    expect(page.get_by_text("No secrets yet")).to_be_visible()
    expect(page.get_by_role("heading", name="Secrets", exact=True)).to_be_focused()


def test_a_control_that_was_left_for_another_one_does_not_get_the_focus_back(tab: Tab, api: Client) -> None:
    api.new_flow(f"triggers: {{yearly: {{type: schedule, cron: '@yearly'}}}}\n{SHORT}", name="has a schedule")
    page = tab.go("/triggers")
    # As in Safari, where a button that is pressed gets no focus.
    page.evaluate("""addEventListener("mousedown", (event) => {
        event.preventDefault();
        document.activeElement.blur();
    })""")
    page.get_by_role("button", name="All types").focus()
    page.get_by_role("button", name="Pause yearly").click()

    expect(page.get_by_role("button", name="Resume yearly")).to_be_focused()


def test_what_a_flow_names_and_the_workspace_lacks_is_added_in_the_editor(tab: Tab, api: Client) -> None:
    lacking = "nodes: {out: {type: return, params: {value: ['${secrets.IS_LACKING}', '${config.LIMIT}']}}}"
    page = tab.go(f"/flows/{api.new_flow(lacking, name='lacks both')}")
    problems = page.get_by_role("region", name="Problems")
    for missing, value in (("secret 'IS_LACKING'", "a value of some length"), ("configuration value 'LIMIT'", "7")):
        problems.get_by_role("listitem").filter(has_text=missing).get_by_role("button", name="Add it…").click()
        expect(page.get_by_role("textbox", name="Value")).to_be_focused()
        page.keyboard.type(value)
        page.keyboard.press("Control+Enter")
        expect(problems).not_to_contain_text(missing)

    expect(problems).to_contain_text("No problems")
    expect(page.get_by_role("heading", name="lacks both")).to_be_visible()


def test_a_missing_secret_is_added_from_the_execution_that_lacked_it(tab: Tab, api: Client) -> None:
    document = 'nodes: {out: {type: return, params: {value: "${secrets.IS_READ.length}"}}}'
    id = api.run(api.new_flow(document, name="reads a secret"))
    api.ended(id)
    page = tab.go(f"/executions/{id}")
    page.get_by_role("link", name="Add the secret IS_READ…").click()
    expect(page.get_by_label("Value")).to_be_focused()
    page.keyboard.type("a value of some length")
    page.keyboard.press("Control+Enter")

    # What is deleted says who reads it.
    page.get_by_role("button", name="Delete… IS_READ").click()
    expect(page.get_by_role("dialog").get_by_role("listitem")).to_have_text(["reads a secret"])
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.wait_for_url("**/secrets")
    assert api.run_to_end(document)["result"] == 22


def test_a_long_configuration_value_takes_two_lines_of_a_narrow_list(
    browser: Browser, site: Server, api: Client
) -> None:
    api.put("/api/v1/config/LONG", {"value": "long " * 1000})
    api.put("/api/v1/config/SHORT", {"value": "short"})
    narrow = Tab(browser, site.url, width=390).log_in(api.email, api.password)
    page = narrow.go("/config")
    long, short = page.get_by_text('"long long'), page.get_by_text('"short"')
    expect(long).to_be_visible()

    def height(value: Locator) -> float:
        return float(value.evaluate("value => value.getBoundingClientRect().height"))

    assert height(short) > 0
    assert height(long) <= 2.5 * height(short)
    assert narrow.faults == []
    narrow.close()


def test_a_missing_configuration_value_is_added_read_and_edited(tab: Tab, api: Client) -> None:
    document = 'nodes: {out: {type: return, params: {value: "${config.RECIPIENTS}"}}}'
    flow = api.new_flow(document, name="reads a value")
    id = api.run(flow)
    api.ended(id)
    page = tab.go(f"/executions/{id}")
    page.get_by_role("link", name="Add the configuration value RECIPIENTS…").click()
    value = page.get_by_role("textbox", name="Value")
    expect(value).to_be_focused()
    page.keyboard.type("ops@example.com")
    expect(page.get_by_role("status").filter(has_text="It is text.")).to_be_visible()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("cell", name='"ops@example.com"', exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="reads a value")).to_be_visible()
    before = api.run(flow)
    assert api.ended(before)["result"] == "ops@example.com"

    page.get_by_role("button", name="Edit… RECIPIENTS").click()
    expect(value).to_have_value("ops@example.com")
    value.fill('["a@example.com"]')
    expect(page.get_by_role("status").filter(has_text="It is a list.")).to_be_visible()
    save = page.get_by_role("dialog").get_by_role("button", name="Save")
    value.fill("null")
    expect(save).to_be_disabled()
    value.fill('["a@example.com"]')
    save.click()
    expect(page.get_by_role("cell", name='["a@example.com"]', exact=True)).to_be_visible()
    assert api.run_to_end(document)["result"] == ["a@example.com"]

    # A value that somebody else has changed meanwhile is not overwritten.
    page.get_by_role("button", name="Edit… RECIPIENTS").click()
    api.put("/api/v1/config/RECIPIENTS", {"value": "others"})
    value.fill("mine")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("has changed since")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert api.get("/api/v1/config/RECIPIENTS").json["value"] == "others"

    # An execution shows what it has read.
    page = tab.go(f"/executions/{before}?tab=data")
    expect(page.get_by_role("heading", name="Configuration at the creation")).to_be_visible()

    # One that somebody else has changed meanwhile is not deleted.
    page = tab.go("/config")
    page.get_by_role("button", name="Delete… RECIPIENTS").click()
    expect(page.get_by_role("dialog").get_by_role("listitem").first).to_have_text("reads a value")
    api.put("/api/v1/config/RECIPIENTS", {"value": "theirs"})
    page.get_by_role("dialog").get_by_role("button", name="Delete the value").click()
    expect(page.get_by_role("status").filter(has_text="has changed since")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()

    page.get_by_role("button", name="Delete… RECIPIENTS").click()
    expect(page.get_by_role("dialog").get_by_role("listitem").first).to_have_text("reads a value")
    page.get_by_role("dialog").get_by_role("button", name="Delete the value").click()
    expect(page.get_by_role("heading", name="No configuration values yet")).to_be_visible()


def test_an_entry_is_added_to_the_store_and_replaces_none(tab: Tab, api: Client) -> None:
    page = tab.go("/store")
    expect(page.get_by_role("heading", name="The store is empty")).to_be_visible()
    expect(page.locator("pre")).to_contain_text("operation: increment, key: orders")
    page.get_by_role("button", name="New entry").first.click()
    dialog, value = page.get_by_role("dialog"), page.get_by_role("textbox", name="Value")
    name = page.get_by_role("textbox", name="Key")
    expect(name).to_be_focused()
    page.keyboard.type("a/b ?&é")
    value.fill('{"seen": 9007199254740993}')
    page.get_by_role("combobox", name="Expires").select_option(label="After…")
    page.get_by_label("Kept for").fill("a while")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Kept for")).to_have_accessible_description(re.compile("is not a duration"))
    page.get_by_label("Kept for").fill("7d")
    page.keyboard.press("Control+Enter")
    row = page.get_by_role("row").filter(has_text="a/b ?&é")
    expect(row).to_contain_text(re.compile(r"in [67] d"))
    expect(row).to_contain_text("default")
    entry = "/api/v1/store/entry?key=a%2Fb%20%3F%26%C3%A9"
    assert api.get(entry).json["value"] == {"seen": 9007199254740993}

    # A new one does not replace it.
    page.get_by_role("button", name="New entry").first.click()
    name.fill("a/b ?&é")
    value.fill("1")
    dialog.get_by_role("button", name="Save").click()
    expect(name).to_have_accessible_description("a/b ?&é exists already")
    page.get_by_role("textbox", name="Namespace").fill("other")
    # A flow may store it, so a person may, too.
    value.fill("null")
    expect(dialog.get_by_text("It is null, as a value that is not there.")).to_be_visible()
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("navigation", name="Pages")).to_contain_text("2 entries")
    assert api.get(f"{entry}&namespace=other").json["value"] is None


def test_an_entry_of_the_store_is_edited_and_deleted_as_it_was_seen(tab: Tab, api: Client) -> None:
    api.put("/api/v1/store/entry?key=other", {"value": 1})
    entry = "/api/v1/store/entry?key=a%2Fb%20%3F%26%C3%A9"
    expires_at = api.put(entry, {"value": {"seen": 9007199254740993}, "ttl": "7d"}).json["expires_at"]
    page = tab.go("/store")
    dialog, value = page.get_by_role("dialog"), page.get_by_role("textbox", name="Value")
    page.get_by_role("link", name="a/b ?&é").click()
    # Its expiry stays unless another is chosen.
    expect(dialog.get_by_role("group", name="Value")).to_contain_text("9007199254740993")
    dialog.get_by_role("button", name="Edit…").click()
    value.fill("mine")
    expect(page.get_by_role("status").filter(has_text="It is text.")).to_be_visible()
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("group", name="Value")).to_contain_text('"mine"')
    kept = api.get(entry).json
    assert kept["value"] == "mine"
    assert kept["expires_at"][:10] == expires_at[:10]
    dialog.get_by_role("button", name="Edit…").click()
    api.put(entry, {"value": "of a flow"})
    value.fill("mine again")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("has changed since")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog.get_by_role("group", name="Value")).to_contain_text('"of a flow"')

    api.put(entry, {"value": "of another flow"})
    dialog.get_by_role("button", name="Delete").click()
    question = page.get_by_role("dialog", name="Delete a/b ?&é?")
    question.get_by_role("button", name="Delete the entry").click()
    expect(page.get_by_role("status").filter(has_text="has changed since")).to_be_visible()
    question.get_by_role("button", name="Cancel").click()
    expect(dialog.get_by_role("group", name="Value")).to_contain_text('"of another flow"')
    dialog.get_by_role("button", name="Delete").click()
    question.get_by_role("button", name="Delete the entry").click()
    expect(page.get_by_role("navigation", name="Pages")).to_contain_text("1 entry")
    assert api.get(entry).status == 404


def test_the_store_is_listed_in_pages_by_namespace_and_the_beginning_of_keys(tab: Tab, api: Client) -> None:
    for number in range(101):
        api.put(f"/api/v1/store/entry?key=order-{number:03}", {"value": number})
    api.put("/api/v1/store/entry?key=mail-1&namespace=reminders", {"value": "sent"})
    page = tab.go("/store")
    pages, rows = page.get_by_role("navigation", name="Pages"), page.locator("tbody").get_by_role("row")
    expect(pages).to_contain_text("102 entries")
    expect(rows).to_have_count(100)
    pages.get_by_role("link", name="Next page").click()
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("order-100")

    page.get_by_label("Beginning of the key").fill("order-00")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(10)
    page.get_by_label("Namespace").fill("reminders")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No entry matches")).to_be_visible()
    page.get_by_label("Beginning of the key").fill("")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("mail-1")

    # The palette finds it, too.
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").fill("mail-1")
    page.get_by_role("option").filter(has_text="Store entry").click()
    expect(page.get_by_role("dialog", name="mail-1").get_by_role("group", name="Value")).to_have_text('"sent"')


def test_a_viewer_reads_the_store_and_changes_nothing_in_it(browser: Browser, site: Server, api: Client) -> None:
    place = api.post("/api/v1/workspaces", {"name": "Read only store"}).json
    viewer = api.new_account()
    api.post(f"/api/v1/workspaces/{place['id']}/members", {"account": viewer.email, "role": "viewer"})
    api.put("/api/v1/store/entry?key=last-order", {"value": 1040}, Flowrunner_Workspace=place["id"])
    narrow = Tab(browser, site.url, width=390).log_in(viewer.email, PASSWORD)
    page = narrow.page
    page.goto(f"/w/{place['slug']}/store")
    page.get_by_role("link", name="last-order").click()
    dialog = page.get_by_role("dialog", name="last-order")
    expect(dialog.get_by_role("group", name="Value")).to_have_text("1040")
    expect(dialog.get_by_role("button", name="Copy")).to_be_visible()
    for name in ("New entry", "Edit…", "Delete"):
        expect(page.get_by_role("button", name=name, include_hidden=True)).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert narrow.faults == []
    narrow.close()


def test_a_message_on_a_narrow_screen_leaves_the_controls_of_the_graph_free(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(SHORT, name="is zoomed on a telephone"))
    api.ended(id)
    tab.page.set_viewport_size({"width": 390, "height": 844})
    page = tab.go(f"/executions/{id}")
    zoom = page.get_by_role("button", name="Zoom in")
    # As somebody holds it who looks at the lower part of the graph.
    zoom.evaluate("(button) => scrollBy(0, button.getBoundingClientRect().bottom + 90 - innerHeight)")
    page.route("**/rerun", lambda route: route.abort())
    page.get_by_role("button", name="Re-run", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="The server does not answer")).to_be_visible()

    zoom.evaluate("(button) => button.addEventListener('click', () => (button.title = 'was clicked'))")
    box = zoom.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(zoom).to_have_attribute("title", "was clicked")


def test_the_focus_stays_in_a_dialog_whose_content_is_replaced(tab: Tab) -> None:
    page = tab.go("/account?tab=tokens")
    page.get_by_role("button", name="New token").first.click()
    page.get_by_role("dialog").get_by_label("Name").fill("of a test")
    page.get_by_role("dialog").get_by_role("button", name="New token").click()

    expect(page.get_by_role("dialog").get_by_role("heading", level=2)).to_be_focused()
    expect(page.get_by_role("dialog").locator("pre")).to_be_visible()


@pytest.mark.parametrize("way", ["Escape", "Cancel", "Close"])
def test_the_focus_returns_to_the_control_that_has_opened_a_dialog(tab: Tab, way: str) -> None:
    page = tab.go("/secrets")
    button = page.get_by_role("button", name="New secret").first
    button.press("Enter")
    expect(page.get_by_role("dialog").get_by_label("Name")).to_be_focused()
    if way == "Escape":
        page.keyboard.press(way)
    else:
        page.get_by_role("dialog").get_by_role("button", name=way).press("Enter")

    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button).to_be_focused()


def test_the_focus_returns_through_a_second_dialog_and_into_the_editor(tab: Tab, api: Client) -> None:
    page = tab.go("/account?tab=tokens")
    button = page.get_by_role("button", name="New token").first
    button.press("Enter")
    page.get_by_role("dialog").get_by_label("Name").fill("of a test")
    page.keyboard.press("Enter")
    put_away(page)
    expect(page.get_by_role("button", name="New token")).to_be_focused()

    page = tab.go(f"/flows/{api.new_flow(SHORT)}")
    page.locator(".cm-content").click()
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".cm-content")).to_be_focused()


def test_ctrl_enter_sends_the_form_of_a_dialog(tab: Tab, api: Client) -> None:
    page = tab.go("/secrets")
    new_secret(page, "BY_KEYS", "a value\nof two lines")
    page.get_by_label("Value").press("Control+Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("cell", name="BY_KEYS", exact=True)).to_be_visible()

    flow = api.new_flow(SHORT, name="by keys")
    page = tab.go(f"/flows/{flow}")
    page.get_by_role("button", name="Run…").click()
    page.get_by_role("dialog").get_by_label("Labels").fill("by:keys")
    page.keyboard.press("Control+Enter")
    expect(page).to_have_url(re.compile("/executions/exec-"))
    assert api.get("/api/v1/executions", flow_id=flow).json["total"] == 1


def test_a_text_that_is_shown_once_stays_until_it_is_put_away(tab: Tab, api: Client) -> None:
    page = tab.go("/account?tab=tokens")
    page.get_by_role("button", name="New token").first.click()
    page.get_by_role("dialog").get_by_label("Name").fill("of a test")
    page.get_by_role("dialog").get_by_role("button", name="New token").click()
    expect(page.get_by_role("dialog", name="Copy the token now")).to_be_visible()
    assert Client(api.url, put_away(page)).get("/api/v1/flows").status == 200

    owner = api.new_account()
    row = tab.go("/admin").get_by_role("row").filter(has_text=owner.email)
    row.get_by_role("button", name="Manage Somebody").click()
    page.get_by_role("dialog").get_by_role("button", name="Reset password").click()
    expect(page.get_by_role("dialog", name="Link for Somebody")).to_be_visible()
    assert put_away(page).startswith(api.url)


def test_another_screen_has_the_focus_at_its_title(tab: Tab) -> None:
    page = tab.go("")
    main = page.get_by_role("navigation", name="Main", exact=True)
    for name, title in (("Flows", "Flows"), ("Secrets", "Secrets"), ("Overview", "Overview")):
        main.get_by_role("link", name=name, exact=True).press("Enter")
        expect(page.get_by_role("heading", name=title, level=1)).to_be_focused()

    # A field that waits for keys keeps them; the same keys begin another search.
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").press_sequentially("flows")
    page.keyboard.press("Control+k")
    page.keyboard.type("secrets")
    expect(page.get_by_role("combobox")).to_have_value("secrets")
    page.get_by_role("combobox").press("Escape")
    page.go_back()
    expect(page.get_by_role("heading", name="Secrets", level=1)).to_be_focused()


def test_keys_without_ctrl_are_switched_off(tab: Tab) -> None:
    page = tab.go("/flows")
    expect(page.get_by_role("heading", name="Flows", level=1)).to_be_visible()
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_label("Keys without Ctrl").uncheck()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("heading", name="Flows", level=1)).to_be_visible()

    for key in ("?", "g", "s", "g", "e", "/"):
        page.keyboard.press(key)
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_url(re.compile("/flows$"))
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox")).to_be_focused()
    page.keyboard.press("Escape")

    page.get_by_role("button", name="Keyboard").click()
    page.get_by_role("dialog").get_by_label("Keys without Ctrl").check()
    page.keyboard.press("Escape")
    go_by_keys(page, "e", "/executions")
