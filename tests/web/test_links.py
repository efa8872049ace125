"""Links of invitations in a real Chromium, on a narrow screen."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from support.client import PASSWORD, Client
from support.server import ADMIN_EMAIL, ADMIN_PASSWORD, Server
from web.browser import Tab, needs_chromium, opened_browser

pytestmark = [needs_chromium, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("links"), {"ANONYMOUS_LOGINS": "0"})
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def tab(browser: Browser, site: Server) -> Iterator[Tab]:
    opened = Tab(browser, site.url, width=390, height=800)
    yield opened
    opened.close()
    assert opened.faults == []


@pytest.fixture
def admin(site: Server) -> Client:
    return site.admin()


def look(page: Page, name: str) -> None:
    """Check that nothing is wider than the screen; keep a picture where somebody asks for one."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
    if directory := os.environ.get("PICTURES"):
        page.screenshot(path=str(Path(directory) / f"{name}.png"), full_page=True)


def test_a_person_is_invited_and_makes_an_account(tab: Tab, admin: Client, browser: Browser, site: Server) -> None:
    page, email = tab.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).page, f"kim-{secrets.token_hex(4)}@example.com"
    page.goto(f"/w/{admin.account_id}/workspace")
    page.get_by_role("button", name="Invite", exact=True).click()
    page.get_by_label("E-mail address").fill(email)
    page.get_by_role("dialog").get_by_role("button", name="Invite", exact=True).click()
    link = page.get_by_role("dialog").locator("pre").inner_text()
    look(page, "invited")
    page.get_by_role("dialog").get_by_role("button", name="Close").last.click()
    expect(page.get_by_role("button", name=f"Revoke {email}")).to_be_visible()

    guest = Tab(browser, site.url, width=390, height=800)
    try:
        guest.page.goto(link)
        expect(guest.page.get_by_role("heading", name="Invitation")).to_be_visible()
        look(guest.page, "invitation")
        assert "#" not in guest.page.url
        guest.page.get_by_role("button", name="No account yet? Create one").click()
        guest.page.get_by_label("Your name").fill("Kim")
        guest.page.get_by_label("Password").fill(PASSWORD)
        look(guest.page, "invitation-sign-up")
        guest.page.get_by_role("button", name="Create the account and accept").click()
        expect(guest.page.get_by_role("heading", name="Overview")).to_be_visible()
        assert guest.faults == []
    finally:
        guest.close()
    members = admin.get(f"/api/v1/workspaces/{admin.account_id}/members").json["members"]
    assert {member["email"]: member["role"] for member in members}[email] == "editor"


def test_an_account_logs_in_and_accepts_and_a_used_link_says_so(tab: Tab, admin: Client) -> None:
    lee = admin.new_account()
    body = {"email": lee.email, "role": "viewer"}
    link = admin.post(f"/api/v1/workspaces/{admin.account_id}/invitations", body).json["link"]

    tab.page.goto(link)
    tab.page.get_by_label("Password").fill(PASSWORD)
    tab.page.get_by_role("button", name="Log in and accept").click()
    tab.page.wait_for_url(f"**/w/{admin.account_id}")
    expect(tab.page.get_by_role("heading", name="Overview")).to_be_visible()

    tab.page.goto("/login")
    tab.page.goto(link)
    expect(tab.page.get_by_role("heading", name="This invitation is over")).to_be_visible()
    look(tab.page, "invitation-over")
