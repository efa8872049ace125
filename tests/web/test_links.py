"""Links of invitations, lost passwords and approvals in a real Chromium, on a narrow screen."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from support.client import PASSWORD, Client
from support.networks import unused_port
from support.receiver import Receiver
from support.server import ADMIN_EMAIL, ADMIN_PASSWORD, Server
from support.waiting import wait_for
from web.browser import Tab, needs_chromium, put_away, violations

pytestmark = [needs_chromium, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = unused_port()
    # No mail server listens there: that e-mails are possible is enough.
    settings = {"SMTP_URL": "smtp://127.0.0.1:9", "PUBLIC_URL": f"http://127.0.0.1:{port}"}
    running = Server(tmp_path_factory.mktemp("links"), settings, flags=("--port", str(port)))
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
    """Check that all fits and is accessible; keep a picture where somebody asks for one."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
    assert violations(page) == [], name
    page.emulate_media(color_scheme="dark")
    assert violations(page, only=["color-contrast"]) == [], f"{name}, dark"
    page.emulate_media(color_scheme="light")
    if directory := os.environ.get("PICTURES"):
        page.screenshot(path=str(Path(directory) / f"{name}.png"), full_page=True)


def test_a_person_is_invited_and_makes_an_account(tab: Tab, admin: Client, browser: Browser, site: Server) -> None:
    page, email = tab.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).page, f"kim-{secrets.token_hex(4)}@example.com"
    page.goto(f"/w/{admin.account_id}/workspace")
    page.get_by_role("button", name="Invite", exact=True).click()
    page.get_by_label("E-mail address").fill(email)
    page.get_by_role("dialog").get_by_role("button", name="Invite", exact=True).click()
    expect(page.get_by_role("dialog", name=f"{email} is invited")).to_be_visible()
    look(page, "invited")
    link = put_away(page)
    expect(page.get_by_role("button", name=f"Revoke {email}")).to_be_visible()

    guest = Tab(browser, site.url, width=390, height=800)
    try:
        guest.page.goto(link)
        expect(guest.page.get_by_role("heading", name="Invitation")).to_be_visible()
        look(guest.page, "invitation")
        assert "#" not in guest.page.url
        expect(guest.page.get_by_label("Password")).to_have_count(0)
        guest.page.get_by_role("button", name="Create an account").click()
        guest.page.get_by_label("Your name").fill("Kim")
        guest.page.get_by_label("Password").fill(PASSWORD)
        look(guest.page, "invitation-sign-up")
        guest.page.get_by_role("button", name="Create the account and accept").click()
        expect(guest.page.get_by_role("heading", name="Overview")).to_be_visible()
        # The workspace of the invitation, not the empty one of the new account.
        assert guest.home == f"/w/~{admin.account_id[-8:]}"
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
    # The tab keeps the invitation until it is used.
    tab.page.reload()
    tab.page.get_by_role("button", name="I have an account: log in").click()
    tab.page.get_by_label("Password").fill(PASSWORD)
    tab.page.get_by_role("button", name="Log in and accept").click()
    tab.page.wait_for_url(f"**/w/~{admin.account_id[-8:]}")
    expect(tab.page.get_by_role("heading", name="Overview")).to_be_visible()

    tab.page.goto("/login")
    tab.page.goto(link)
    expect(tab.page.get_by_role("heading", name="This invitation is no longer valid")).to_be_visible()
    look(tab.page, "invitation-over")


def test_a_new_password_is_set_by_a_link(tab: Tab, admin: Client) -> None:
    lee = admin.new_account()
    link = admin.post(f"/api/v1/accounts/{lee.account_id}/password-reset").json["link"]

    tab.page.goto("/login")
    tab.page.get_by_role("button", name="Forgot your password?").click()
    tab.page.get_by_label("E-mail address").fill(lee.email)
    look(tab.page, "forgotten")
    tab.page.get_by_role("button", name="Send a link").click()
    # It has the focus, so that it is read aloud.
    expect(tab.page.get_by_text("an e-mail with a link is on its way")).to_be_focused()
    tab.page.goto(link)
    tab.page.get_by_label("New password").fill("nine-red-badgers-dig")
    look(tab.page, "new-password")
    tab.page.get_by_role("button", name="Set the password").click()
    expect(tab.page.get_by_text("The password is changed.")).to_be_focused()
    assert "#" not in tab.page.url
    Client(admin.url).login(lee.email, "nine-red-badgers-dig")


ASKS = """\
metadata: {name: Orders}
nodes:
  ask:
    type: approval
    params:
      prompt: "Ship order 7 to Ada?"
      form:
        type: object
        required: [note]
        properties:
          note: {type: string, title: Note, description: What the carrier should know.}
          how: {title: How, enum: [by air, by sea], default: by sea}
          insured: {title: Insured, type: boolean}
      link: true
      notify: tell
    timeout: 1d
    next: {approved: done, rejected: done, timeout: done}
  tell: {type: http.request, params: {method: POST, url: "URL/ok/tell", body: "${approval.url}"}}
  done: {type: return, params: {value: "${nodes.ask.result}"}}
"""


def test_an_approval_is_answered_by_its_link_without_scripts(browser: Browser, admin: Client, tmp_path: Path) -> None:
    receiver = Receiver(tmp_path).start()
    try:
        id = admin.run(admin.new_flow(ASKS.replace("URL", receiver.url)))
        wait_for(lambda: len(receiver.effects("/ok/tell")) == 1)
        link = receiver.effects("/ok/tell")[0].body.strip('"')
    finally:
        receiver.stop()
    phone = Tab(browser, admin.url, width=390, height=800, java_script_enabled=False)
    try:
        page = phone.page
        page.goto(link)
        page.get_by_label("Note").fill("Ring twice")
        page.get_by_label("How").select_option("by air")
        page.get_by_label("Insured").check()
        if directory := os.environ.get("PICTURES"):
            page.screenshot(path=str(Path(directory) / "approval.png"), full_page=True)
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_text("Your answer is recorded.")).to_be_visible()
        page.goto(link)
        expect(page.get_by_role("heading", name="Already answered")).to_be_visible()
        assert phone.faults == []
    finally:
        phone.close()
    tab = Tab(browser, admin.url).log_in()
    expect(tab.go(f"/executions/{id}?step=ask.1").get_by_role("complementary")).to_contain_text("by link")
    tab.close()
    result = admin.ended(id)["result"]
    assert (result["by"], result["data"]) == ("link", {"note": "Ring twice", "how": "by air", "insured": True})


def test_the_link_of_an_approval_is_revoked_and_a_member_who_answers_is_named(browser: Browser, admin: Client) -> None:
    id = admin.run(admin.new_flow(ASKS.replace("URL/ok/tell", "http://127.0.0.1:9/")))
    admin.waiting_at(id, "ask")
    tab = Tab(browser, admin.url).log_in()
    page = tab.go(f"/executions/{id}")
    panel = page.get_by_role("complementary")
    expect(panel).to_contain_text("Ship order 7 to Ada?")
    expect(panel.get_by_role("button", name="Revoke the link…")).to_be_visible()
    inbox = tab.go("/approvals").get_by_role("listitem").filter(has=page.locator(f"a[href$='{id}']"))
    inbox.get_by_role("button", name="Revoke the link…").click()
    page.get_by_role("button", name="Revoke the link", exact=True).click()
    expect(inbox.get_by_role("button", name="Approve…")).to_be_visible()
    expect(inbox.get_by_role("button", name="Revoke the link…")).to_have_count(0)
    tab.go(f"/executions/{id}")
    expect(panel).to_contain_text("Ship order 7 to Ada?")
    expect(panel.get_by_role("button", name="Revoke the link…")).to_have_count(0)

    admin.post(f"/api/v1/executions/{id}/approvals/ask", {"approved": False})
    expect(page.locator("header .pill")).to_have_text("completed")
    expect(panel).to_contain_text("Rejected by root")
    tab.page.goto(f"{tab.home}/executions/{id}?tab=logs")
    expect(page.get_by_role("group", name="Log lines")).to_contain_text("Rejected by root")
    tab.close()
    assert tab.faults == []


def test_a_colleague_begins_in_another_browser_where_the_flows_are(
    browser: Browser, admin: Client, site: Server
) -> None:
    lee = admin.new_account()
    body = {"account": lee.account_id, "role": "viewer"}
    assert admin.post(f"/api/v1/workspaces/{admin.account_id}/members", body).status == 201
    first, later = Tab(browser, site.url), Tab(browser, site.url)
    try:
        first.log_in(lee.email, PASSWORD).page.wait_for_url(f"**/w/~{admin.account_id[-8:]}")

        # With flows of its own it begins with these.
        lee.new_flow("nodes: {a: {type: return}}")
        later.log_in(lee.email, PASSWORD).page.wait_for_url(f"**/w/~{lee.account_id[-8:]}")
        assert first.faults == later.faults == []
    finally:
        first.close()
        later.close()


def test_the_login_leads_on_who_is_logged_in(tab: Tab, admin: Client) -> None:
    page = tab.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).page

    page.goto(f"/login?next=%2Fw%2F{admin.account_id}%2Fsecrets")
    expect(page.get_by_role("heading", name="Secrets", exact=True)).to_be_visible()
    page.goto("/login")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()

    # What has gone wrong with a sign-on is still said.
    page.goto("/login?sign_on=invalid")
    expect(page.get_by_role("alert")).to_be_visible()
