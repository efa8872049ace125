"""Requests of the interface that are sent twice, come late, are cut off or fail, in a real Chromium."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, Route, expect

from support.client import PASSWORD, Client
from support.server import Server
from support.waiting import wait_for
from web.browser import Tab, needs_chromium

pytestmark = [needs_chromium, pytest.mark.timeout(600)]

SHORT: Final = "nodes: {done: {type: return, params: {value: done}}}\n"


def click_twice(button: Locator) -> None:
    """Click again before anything can have been drawn since."""
    button.evaluate("(button) => { button.click(); button.click() }")


def lose_one_answer(page: Page, pattern: str) -> None:
    """Let the next request to an address reach the server, and lose what it answers."""

    def lose(route: Route) -> None:
        assert route.fetch().ok
        route.abort()

    page.route(pattern, lose, times=1)


def executions(api: Client, flow: str, *, count: int) -> list[Any]:
    """Return the executions of the flow once there are so many, and then no more."""
    found: list[Any] = api.get("/api/v1/executions", flow_id=flow).json["executions"]
    assert len(found) == count
    return found


def test_a_second_click_starts_no_second_rerun(tab: Tab, api: Client) -> None:
    flow = api.new_flow(SHORT, name="is clicked twice")
    id = api.run(flow)
    api.ended(id)
    for button in ("Re-run", "Re-run from here"):
        page = tab.go(f"/executions/{id}?step=done.1")
        asked: list[str] = []

        def note(sent: Request, asked: list[str] = asked) -> None:
            if sent.method == "POST":
                asked.append(sent.url)

        page.on("request", note)

        click_twice(page.get_by_role("button", name=button, exact=True))

        page.wait_for_url(lambda url: "/executions/" in url and id not in url)
        assert [url for url in asked if url.endswith("/rerun")] == [
            f"{tab.page.url.split('/w/')[0]}/api/v1/executions/{id}/rerun"
        ]
    executions(api, flow, count=3)


def test_a_start_whose_answer_was_lost_is_not_repeated_by_another_click(tab: Tab, api: Client) -> None:
    flow = api.new_flow(SHORT, name="is lost")
    id = api.run(flow)
    api.ended(id)

    page = tab.go(f"/executions/{id}")
    lose_one_answer(page, "**/rerun")
    again = page.get_by_role("button", name="Re-run", exact=True)
    again.click()
    expect(page.get_by_role("status").filter(has_text="The server does not answer")).to_be_visible()
    again.click()
    page.wait_for_url(lambda url: "/executions/" in url and id not in url)
    executions(api, flow, count=2)

    page = tab.go(f"/executions/{id}")
    page.get_by_role("button", name="Re-run with edits…").click()
    dialog = page.get_by_role("dialog")
    lose_one_answer(page, "**/rerun")
    dialog.get_by_role("button", name="Re-run").click()
    expect(dialog.get_by_role("alert")).to_contain_text("The server does not answer")
    dialog.get_by_role("textbox").press("Control+Enter")
    page.wait_for_url(lambda url: "/executions/" in url and id not in url)
    executions(api, flow, count=3)

    page = tab.go(f"/flows/{flow}")
    page.get_by_role("button", name=re.compile("^Run")).first.click()
    lose_one_answer(page, "**/run")
    dialog.get_by_role("button", name="Run", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("The server does not answer")
    dialog.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/executions/*")
    executions(api, flow, count=4)


def test_another_input_after_a_lost_answer_is_another_start(tab: Tab, api: Client) -> None:
    flow = api.new_flow("inputs: {n: {type: integer}}\n" + SHORT, name="is edited after")
    page = tab.go(f"/flows/{flow}")
    page.get_by_role("button", name=re.compile("^Run")).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label(re.compile("^n")).fill("1")
    lose_one_answer(page, "**/run")
    dialog.get_by_role("button", name="Run", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("The server does not answer")

    dialog.get_by_label(re.compile("^n")).fill("2")
    dialog.get_by_role("button", name="Run", exact=True).click()

    page.wait_for_url("**/executions/*")
    started = executions(api, flow, count=2)
    assert [api.execution(each["id"])["input"] for each in started] == [{"n": 2}, {"n": 1}]


def test_no_digit_of_a_large_number_is_lost_by_a_rerun_with_edits(tab: Tab, api: Client) -> None:
    flow = api.new_flow(SHORT, name="has large numbers")
    api.ended(id := api.run(flow, {"id": 9007199254740993, "n": 1}))
    page = tab.go(f"/executions/{id}?tab=data")
    expect(page.get_by_role("group", name="Input")).to_contain_text('"id": 9007199254740993')
    page.get_by_role("button", name="Re-run with edits…").click()
    field = page.get_by_role("textbox", name="Input")
    expect(field).to_be_enabled()
    field.fill(field.input_value().replace('"n": 1', '"n": 2'))
    page.get_by_role("dialog").get_by_role("button", name="Re-run", exact=True).click()

    page.wait_for_url(lambda url: "/executions/" in url and id not in url)
    started = executions(api, flow, count=2)[0]["id"]
    assert api.execution(started)["input"] == {"id": 9007199254740993, "n": 2}


@pytest.mark.parametrize("body", ['{"secrets": [', "<!doctype html><title>Log in to the network</title>"])
def test_an_answer_that_is_cut_off_or_not_the_servers_ends_the_loading(tab: Tab, body: str) -> None:
    page = tab.page
    page.route("**/api/v1/workspaces/*/secrets*", lambda route: route.fulfill(status=200, body=body))
    tab.go("/secrets")

    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    page.unroute("**/api/v1/workspaces/*/secrets*")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_an_answer_that_takes_longer_than_from_one_look_to_the_next_is_waited_for(tab: Tab, api: Client) -> None:
    api.new_flow(SHORT, name="is slow to show")
    page = tab.page
    # Without it, the first script asks for nothing.
    page.wait_for_function("() => localStorage.getItem('flowrunner.start') !== null")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/v1/overview*", hold)
    page.clock.install()
    tab.go("")
    # The screen waits for what the first script has asked for.
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.wait_for_function("() => early.size === 0")

    asked = len(held)
    page.clock.run_for(16_000)
    assert len(held) == asked

    held[-1].continue_()
    expect(page.get_by_role("row").filter(has_text="is slow to show")).to_be_visible()
    page.unroute_all()
    with page.expect_request("**/api/v1/overview*"):
        page.clock.run_for(6_000)


def test_a_flow_beyond_the_fiftieth_is_not_said_to_have_never_run(
    browser: Browser, server: Server, api: Client
) -> None:
    person = api.new_account()
    failing = "nodes: {oops: {type: fail, params: {error: a.b}}}\n"
    scheduled = "triggers: {yearly: {type: schedule, cron: '@yearly'}}\n"
    person.ended(person.run(person.new_flow(scheduled + failing, name="fails since long")))
    for n in range(51):
        person.run(person.new_flow(SHORT, name=f"other {n}"))
    tab = Tab(browser, server.url).log_in(person.email, PASSWORD)
    page = tab.go("")
    expect(page.get_by_role("link", name=re.compile("^Failing now"))).to_contain_text("1 flow")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/v1/overview*", hold)
    tab.go("/flows?q=fails")
    row = page.get_by_role("row").filter(has_text="fails since long")
    expect(row).to_be_visible()
    expect(page.get_by_text("never run")).to_have_count(0)
    assert held != []

    page.unroute("**/api/v1/overview*")
    page.reload()
    expect(row.get_by_text("failed")).to_be_visible()
    expect(row.locator("time").first).to_have_attribute("datetime", re.compile("-01-01T"))
    assert tab.faults == []
    tab.close()


def test_the_palette_opens_what_was_typed_though_the_answer_is_late(tab: Tab, api: Client) -> None:
    api.new_flow(SHORT, name="alpha of the palette")
    beta = api.new_flow(
        "triggers: {hourly_beta: {type: schedule, cron: '@hourly'}}\n" + SHORT, name="beta of the palette"
    )
    api.new_secret("BETA_PASSWORD", "a value of some length")
    page = tab.go("/secrets")
    page.get_by_role("button", name="Search or do").click()
    find, results = page.get_by_role("combobox"), page.get_by_role("listbox")
    find.fill("alpha of")
    expect(results.get_by_role("option", name="alpha of the palette")).to_be_visible()

    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/v1/flows?q=gamma*", hold)
    # The words come before the request, which must not be held after the loop below.
    with page.expect_request("**/api/v1/flows?q=gamma*"):
        find.fill("gamma")
    expect(page.get_by_text("Searching")).to_be_visible()
    find.press("Enter")
    expect(page).to_have_url(re.compile("/secrets$"))
    for route in held:
        route.continue_()
    expect(page.get_by_text("No results")).to_be_visible()
    find.fill("beta")
    expect(results.get_by_role("option", name="beta of the palette Flow", exact=True)).to_be_visible()
    for name in ("hourly_beta · beta of the palette", "BETA_PASSWORD"):
        expect(results.get_by_role("option", name=name)).to_be_visible()
    find.fill("hourly_beta")
    find.press("Enter")
    page.wait_for_url("**/triggers?trigger=*")
    expect(page.get_by_role("dialog", name="hourly_beta")).to_contain_text("beta of the palette")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    find.fill("order_id=4711")
    expect(results.get_by_role("option")).to_have_text(["order_id=4711Executions"])
    find.press("Enter")
    expect(page).to_have_url(re.compile(r"/executions\?input\.order_id=4711$"))
    page.go_back()
    assert beta in (page.get_by_role("link", name="beta of the palette").first.get_attribute("href") or "")


def refuse(page: Page, pattern: str, *, seconds: int) -> list[str]:
    """Answer requests to an address as if the caller had sent too many; return those that came."""
    asked: list[str] = []
    message = "This account makes more than 600 requests a minute: send requests less often"
    error = {"code": "too_many_requests", "message": message, "details": {}, "request_id": "r"}

    def answer(route: Route) -> None:
        asked.append(route.request.method)
        route.fulfill(status=429, json={"error": error}, headers={"Retry-After": str(seconds)})

    page.route(pattern, answer)
    return asked


def test_a_limit_that_was_reached_is_waited_for_as_long_as_the_server_says(tab: Tab) -> None:
    page = tab.page
    pattern = "**/api/v1/workspaces/*/secrets*"
    asked = refuse(page, pattern, seconds=40)
    page.clock.install()
    tab.go("/secrets")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(re.compile(r"This page tries again by itself at \d\d:\d\d:\d\d"))
    expect(alert).not_to_contain_text("then try again")
    page.clock.run_for(39_000)
    assert asked == ["GET"]

    page.unroute(pattern)
    page.clock.run_for(12_000)
    expect(alert).to_have_count(0)
    asked = refuse(page, pattern, seconds=90)
    new_secret = page.get_by_role("button", name="New secret").first
    new_secret.click()
    page.get_by_label("Name").fill("IS_REFUSED")
    page.get_by_label("Value").fill("a value of some length")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(alert).to_contain_text("Wait 1 m 30 s, then try again.")
    expect(page.get_by_label("Name")).to_have_value("IS_REFUSED")


def test_what_is_shown_stays_in_its_place_while_the_server_is_away(tab: Tab, api: Client) -> None:
    api.run(api.new_flow(SHORT, name="stays in its place"))
    page = tab.go("")
    heading = page.get_by_role("heading", name="Executions of the last 24 hours")
    expect(heading).to_be_visible()
    before = heading.bounding_box()
    page.route("**/api/v1/overview*", lambda route: route.abort())

    expect(page.get_by_role("alert")).to_contain_text("This page tries again by itself")
    assert heading.bounding_box() == before

    page.unroute_all()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert heading.bounding_box() == before


def test_the_navigation_of_an_unknown_workspace_leads_nowhere_else(tab: Tab) -> None:
    tab.page.goto("/w/nowhere/flows")

    expect(tab.page.get_by_role("heading", name="There is nothing here")).to_be_visible()
    expect(tab.page.get_by_role("navigation", name="Main").get_by_role("link", name="Flows")).to_have_count(0)
    tab.page.get_by_role("link", name="Go to the overview").click()
    tab.page.wait_for_url("**/w/~*")
    expect(tab.page.get_by_role("navigation", name="Main").get_by_role("link", name="Flows")).to_be_visible()


def test_the_login_is_offered_whole_once_the_server_can_say_how(browser: Browser, server: Server) -> None:
    tab = Tab(browser, server.url)
    methods = "**/api/v1/auth/methods"
    tab.page.route(methods, lambda route: route.fulfill(status=503, body="<title>a proxy</title>"))
    tab.page.goto("/login")
    expect(tab.page.get_by_role("alert")).to_contain_text("This page tries again by itself")
    offered = {"password": True, "providers": [{"id": "corp", "name": "Corp", "start": "/sign-on/corp"}]}

    tab.page.unroute(methods)
    tab.page.route(methods, lambda route: route.fulfill(json=offered))

    expect(tab.page.get_by_role("link", name="Log in with Corp")).to_be_visible()
    expect(tab.page.get_by_role("alert")).to_have_count(0)
    tab.close()


def test_a_page_whose_scripts_were_not_there_comes_once_they_are(browser: Browser, server: Server) -> None:
    tab = Tab(browser, server.url)
    tab.page.route("**/assets/*/login*.js", lambda route: route.abort())
    tab.page.goto("/login")
    expect(tab.page.get_by_role("alert")).to_contain_text("The server does not answer")

    tab.page.unroute("**/assets/*/login*.js")

    expect(tab.page.get_by_role("button", name="Log in")).to_be_visible()
    tab.close()


def test_a_browser_is_told_in_words_that_the_server_is_not_ready(browser: Browser, tmp_path: Path) -> None:
    server = Server(tmp_path, {"DATABASE_URL": "postgresql://nobody:none@127.0.0.1:9/none"}).spawn()
    tab = Tab(browser, "http://127.0.0.1:9")
    try:
        wait_for(lambda: "database.unavailable" in server.log and server.find_url() is not None)
        answer = tab.page.goto(f"{server.url}/w/~a/flows")
        assert answer is not None
        assert answer.status == 503
        expect(tab.page.get_by_role("heading", name="FlowRunner is not ready yet")).to_be_visible()
        expect(tab.page.get_by_text("The server is not ready: the database does not answer.")).to_be_visible()
        expect(tab.page.locator("meta[http-equiv=refresh]")).to_have_count(1)
        assert server.client().get("/api/v1/flows").error["code"] == "unavailable"
        assert tab.faults == []
    finally:
        tab.close()
        server.stop()


def test_a_message_about_a_fault_of_the_server_has_the_number_to_give(tab: Tab, api: Client) -> None:
    page = tab.go(f"/flows/{api.new_flow(SHORT, name='has a fault')}/settings")
    error = {"code": "internal_error", "message": "An internal error occurred", "details": {}, "request_id": "r4f7"}
    error["hint"] = "give request_id to the operator, whose log has the reason"
    disable = page.get_by_role("button", name="Disable")
    expect(disable).to_be_visible()
    page.route("**/api/v1/flows/*", lambda route: route.fulfill(status=500, json={"error": error}))
    disable.click()

    message = "Give the number of the request to the operator, whose log has the reason. Request r4f7"
    expect(page.locator(".toast.bad")).to_contain_text(message)


def test_a_list_is_loaded_again_at_once_when_its_tab_is_seen_again(tab: Tab, api: Client) -> None:
    flow = api.new_flow(SHORT, name="is looked at again")
    page = tab.page
    page.clock.install()
    tab.go("/executions")
    expect(page.get_by_text("No executions yet")).to_be_visible()
    # No timer ends from here on.
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
    api.run(flow)
    try:
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.get_by_role("link", name="is looked at again").first).to_be_visible()
    finally:
        # The clock is that of all pages of this browser.
        page.clock.resume()


def test_times_are_those_of_the_servers_clock(browser: Browser, server: Server, api: Client) -> None:
    id = api.run(api.new_flow("nodes: {wait: {type: wait, params: {key: go}}}", name="has begun just now"))
    assert api.put("/api/v1/store/entry?key=cursor", {"value": 1, "ttl": "30m"}).status < 300
    tab = Tab(browser, server.url)
    try:
        page = tab.page
        page.clock.install(time=datetime.now(UTC) + timedelta(hours=2))
        tab.log_in(api.email, api.password).go(f"/executions/{id}")
        expect(page.locator(".facts").get_by_text("So far")).not_to_contain_text(" h")
        tab.go("/executions?last=1h")
        expect(page.get_by_role("link", name="has begun just now").first).to_be_visible()

        tab.go("/store?of=default&key=cursor")
        page.get_by_role("button", name="Edit…").click()
        page.get_by_label("Value").fill("2")
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        expect(page.get_by_role("status").filter(has_text="cursor is saved")).to_be_visible()
    finally:
        tab.close()
    entry = api.get("/api/v1/store/entry", key="cursor").json
    assert entry["value"] == 2
    left = datetime.fromisoformat(entry["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=10) < left < timedelta(minutes=31)


def test_a_signal_that_is_sent_again_after_a_lost_request_is_the_same_one(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow("nodes: {wait: {type: wait, params: {key: go}}}", name="is signalled"))
    api.until_it_waits(id)
    page = tab.go(f"/executions/{id}")
    keys: list[str] = []

    def note(sent: Request) -> None:
        if sent.url.endswith("/signals/go"):
            keys.append(sent.headers["idempotency-key"])

    page.on("request", note)
    page.route("**/signals/go", lambda route: route.abort(), times=1)
    send = page.get_by_role("button", name="Send the signal")
    send.click()
    expect(page.locator(".toast.bad")).to_contain_text("The server does not answer")
    send.click()

    expect(page.locator("header .pill")).to_have_text("completed")
    assert len(keys) == 2
    assert len(set(keys)) == 1


@pytest.mark.parametrize("screen", ["executions", "triggers", "revisions"])
def test_a_flow_that_could_not_be_read_is_read_again_on_each_of_its_screens(tab: Tab, api: Client, screen: str) -> None:
    flow = api.new_flow(SHORT, name="is read late")
    page = tab.page
    page.route(f"**/api/v1/flows/{flow}", lambda route: route.abort())
    tab.go(f"/flows/{flow}/{screen}")
    expect(page.get_by_role("alert").first).to_contain_text("This page tries again by itself")
    # What is current is not known, so nothing replaces it.
    expect(page.get_by_role("button", name="Restore")).to_have_count(0)

    page.unroute_all()

    expect(page.get_by_role("heading", name="is read late", level=1)).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_new_flow_waits_for_what_its_editor_needs(tab: Tab) -> None:
    page = tab.page
    page.route("**/api/v1/schemas/flow", lambda route: route.abort())
    tab.go("/flows/new")
    page.get_by_role("button", name="Empty flow").click()
    expect(page.get_by_role("alert")).to_contain_text("This page tries again by itself")

    page.unroute_all()

    expect(page.get_by_role("textbox", name="Flow definition")).to_contain_text("New flow")


def test_a_choice_of_flows_says_that_none_matches_once_that_is_known(tab: Tab, api: Client) -> None:
    api.run(api.new_flow(SHORT, name="can be chosen"))
    page = tab.go("/executions")
    expect(page.get_by_role("link", name="can be chosen").first).to_be_visible()
    held: list[Route] = []
    page.route("**/api/v1/flows?*", lambda route: held.append(route))  # noqa: PLW0108 # Playwright wraps no method
    with page.expect_request("**/api/v1/flows?*"):
        page.get_by_role("combobox", name="Flow").click()
    choices = page.get_by_role("listbox", name="Flows").get_by_role("option")
    expect(choices).to_have_count(0)

    # Requests that were held go on by that.
    page.unroute_all()
    expect(choices).to_have_text(["can be chosen"])


def test_the_input_of_another_step_is_not_edited_while_that_of_the_chosen_one_is_loaded(tab: Tab, api: Client) -> None:
    nodes = "{a: {type: set, params: {values: {x: 1}}, next: b}, b: {type: return, params: {value: 2}}}"
    id = api.run(api.new_flow(f"nodes: {nodes}", name="has two inputs"), {"n": 1})
    api.ended(id)
    page = tab.go(f"/executions/{id}?tab=data")
    page.get_by_role("button", name="Re-run with edits…").click()
    field = page.get_by_role("dialog").get_by_label(re.compile("^Input"))
    expect(field).to_have_value(re.compile('"n": 1'))
    held: list[Route] = []
    page.route("**/steps/*", lambda route: held.append(route))  # noqa: PLW0108 # Playwright wraps no method
    with page.expect_request("**/steps/*"):
        page.get_by_label("Begin at").select_option(label="b")

    expect(field).to_be_disabled()
    expect(field).to_have_value("")
    for route in held:
        route.continue_()
    expect(field).to_have_value(re.compile('"x": 1'))
