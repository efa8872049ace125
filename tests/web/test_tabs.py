"""Several tabs of one browser, which have one session, in a real Chromium."""

import re
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from support.client import PASSWORD, Client
from web.browser import Tab, fill_login, needs_chromium

pytestmark = [needs_chromium, pytest.mark.timeout(600)]

LEFT: Final = "You have logged out in another tab"
OTHER: Final = "Another account has logged in in another tab"


def open_second(tab: Tab, path: str) -> Page:
    page = tab.context.new_page()
    page.goto(f"{tab.home}{path}")
    return page


def type_a_secret(page: Page, key: str) -> None:
    page.get_by_role("button", name="New secret").first.click()
    page.get_by_label("Name").fill(key)
    page.get_by_label("Value").fill("a value that was typed")


def log_out(page: Page) -> None:
    page.get_by_role("button", name="Log out").first.click()
    page.wait_for_url("**/login")


def end_session(page: Page) -> None:
    """End the session as the server does when its time has come: no tab is told."""
    page.evaluate("fetch('/api/v1/auth/logout', {method: 'POST'})")


def test_a_logout_reaches_the_other_tabs_and_loses_nothing_that_was_typed(tab: Tab, api: Client) -> None:
    page = tab.go("/secrets")
    type_a_secret(page, "TYPED_BEFORE_LOGOUT")
    second = open_second(tab, "/account")
    log_out(second)

    asked = page.get_by_role("dialog", name=LEFT)
    expect(asked).to_be_visible()
    # What the account has on its screen is not seen by who comes next.
    assert asked.evaluate("(dialog) => getComputedStyle(dialog, '::backdrop').backgroundColor").startswith("rgb(")
    page.keyboard.press("Escape")
    expect(asked).to_be_visible()
    fill_login(page, api.email, api.password)
    expect(asked).to_have_count(0)
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.get_by_role("cell", name="TYPED_BEFORE_LOGOUT", exact=True)).to_be_visible()
    second.close()


def test_an_ended_session_is_said_in_all_tabs_and_one_login_is_enough(tab: Tab, api: Client) -> None:
    page = tab.go("/secrets")
    type_a_secret(page, "TYPED_BEFORE_END")
    second = open_second(tab, "/nodes")
    expect(second.get_by_role("heading", name="Node types")).to_be_visible()
    end_session(second)
    # By a script, because a request of the other tab may have covered the button with the login already.
    page.get_by_role("dialog").get_by_role("button", name="Save").evaluate("(button) => button.click()")

    for each in (page, second):
        expect(each.get_by_role("dialog", name="Your session has ended")).to_be_visible()
    fill_login(second, api.email, api.password)
    expect(second.get_by_role("dialog")).to_have_count(0)
    # What was sent before is sent again.
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("cell", name="TYPED_BEFORE_END", exact=True)).to_be_visible()
    second.close()


def test_a_page_that_was_left_open_asks_once_after_a_late_login(tab: Tab, api: Client) -> None:
    page = tab.page
    page.clock.install()
    tab.go("/nodes")
    page.clock.run_for(2_000)
    end_session(page)
    page.clock.run_for(10 * 60_000)
    expect(page.get_by_role("dialog", name="Your session has ended")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.resume()
    fill_login(page, api.email, api.password)
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.wait_for_timeout(500)

    assert 1 <= len([url for url in asked if "/api/v1/approvals" in url]) <= 2


def test_a_session_is_renewed_and_a_text_copied_over_plain_http(tab: Tab) -> None:
    page = tab.page
    # What browsers offer to no page that was loaded over plain HTTP.
    missing = "Object.defineProperty(Navigator.prototype, '%s', {get: () => undefined});"
    page.add_init_script("".join(missing % name for name in ("locks", "clipboard")))
    page.clock.install()
    tab.go("/nodes")
    copy = page.get_by_role("button", name="Copy", exact=True).first
    copy.press("Enter")
    expect(page.get_by_role("button", name="Copied")).to_be_focused()

    with page.expect_request("**/api/v1/auth/refresh"):
        page.clock.run_for(25 * 60_000)


def test_a_logout_that_has_asked_about_unsaved_texts_asks_no_second_time(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {a: {type: return, params: {value: 1}}}", name="is left")
    page = tab.go(f"/flows/{flow}")
    page.get_by_role("textbox", name="Flow definition").click()
    page.keyboard.insert_text("# not saved\n")
    expect(page.get_by_text("unsaved changes")).to_be_visible()
    asked: list[str] = []
    page.on("dialog", lambda dialog: asked.append(dialog.type))
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").fill("log out")
    page.get_by_role("option", name="Log out").click()
    page.get_by_role("button", name="Keep them and log out").click()

    page.wait_for_url("**/login")
    assert asked == []


def test_a_tab_does_nothing_as_the_account_that_another_tab_has_logged_in(tab: Tab, api: Client) -> None:
    person = api.new_account()
    page = tab.go("")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    second = open_second(tab, "/account")
    log_out(second)
    fill_login(second, person.email, PASSWORD)
    second.wait_for_url("**/w/**")
    asked = page.get_by_role("dialog", name=OTHER)
    expect(asked).to_be_visible()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    # The overview is loaded again every five seconds.
    page.wait_for_timeout(6_000)
    assert [url for url in sent if "/api/v1/" in url and "/auth/" not in url] == []

    expect(asked.get_by_label("E-mail address")).to_have_value(api.email)
    fill_login(page, api.email, api.password)
    expect(asked).to_have_count(0)
    expect(second.get_by_role("dialog", name=OTHER)).to_be_visible()
    second.get_by_role("button", name="Continue as the other account").click()
    second.wait_for_url("**/w/**")
    expect(second.get_by_role("link", name=api.email)).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    second.close()


def drafts(page: Page) -> list[str]:
    found: list[str] = page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('flowrunner.draft.'))")
    return found


def test_unsaved_texts_that_a_logout_deletes_are_deleted_in_all_tabs(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {done: {type: return, params: {value: 1}}}\n", name="has a draft")
    page = tab.go(f"/flows/{flow}")
    page.get_by_role("textbox", name="Flow definition").click()
    page.keyboard.press("Control+End")
    page.keyboard.type("# typed")
    expect(page.get_by_text("unsaved changes")).to_be_visible()
    second = open_second(tab, "/account")
    expect(second.get_by_role("button", name="Log out").first).to_be_visible()
    while not drafts(second):
        second.wait_for_timeout(100)
    second.get_by_role("button", name="Log out").first.click()
    second.get_by_role("button", name="Delete them and log out").click()

    for each in (second, page):
        each.wait_for_url(re.compile("/login"))
    assert drafts(second) == []
    second.close()
