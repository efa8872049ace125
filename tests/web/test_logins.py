"""Second factors and single sign-on in a real Chromium: an app, a virtual passkey, and a real provider."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from cli.command import flowrunner, start_flowrunner
from support.client import PASSWORD, Client
from support.codes import code_of
from support.networks import unused_port
from support.openid import CLIENT, RealProvider
from support.server import Server
from web.browser import Tab, fill_login, needs_chromium, put_away, violations

pytestmark = [needs_chromium, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server at a name, which passkeys need, with a provider of single sign-on; and its address."""
    port = unused_port()
    url = f"http://localhost:{port}"
    provider = RealProvider(f"{url}/sign-on/corp/return")
    described = (
        f'[corp]\nname = "Example Corp"\nissuer = "{provider.issuer}"\nclient_id = "{CLIENT["client_id"]}"\n'
        f'client_secret = "{CLIENT["client_secret"]}"\ncreate_accounts = true\n'
        'scopes = ["openid", "email", "profile", "groups"]\n'
        'groups = [{group = "eng", workspace = "crew", role = "operator"}]\n'
    )
    settings = {"PUBLIC_URL": url, "SIGN_ON": described, "SIGN_ON_ALLOW": "127.0.0.0/8", "ANONYMOUS_LOGINS": "0"}
    server = Server(tmp_path_factory.mktemp("site"), settings, flags=("--port", str(port)))
    try:
        provider.start()
        server.start()
        server.admin().post("/api/v1/workspaces", {"name": "Crew", "slug": "crew"})
        yield server, url
    finally:
        server.stop()
        provider.stop()


@pytest.fixture
def linked(site: tuple[Server, str]) -> Iterator[Client]:
    """An account whose links to those of the provider end with the test: another run links the same ones."""
    admin = site[0].admin()
    account = admin.new_account()
    yield account
    assert admin.delete(f"/api/v1/accounts/{account.account_id}/identities").status == 200


def new_tab(browser: Browser, site: tuple[Server, str]) -> tuple[Tab, Client]:
    """A browser at the login page, and somebody with an account."""
    server, url = site
    return Tab(browser, url), server.admin().new_account()


def open_security(tab: Tab) -> Page:
    page = tab.go("/account?tab=security")
    expect(page.get_by_role("heading", name="Second factors")).to_be_visible()
    return page


def test_an_authenticator_app_is_added_and_asked_for(browser: Browser, site: tuple[Server, str]) -> None:
    tab, account = new_tab(browser, site)
    tab.log_in(account.email, PASSWORD)
    page = open_security(tab)
    assert violations(page) == []
    page.get_by_role("button", name="Add an app").click()
    dialog = page.get_by_role("dialog")
    picture = dialog.get_by_role("img", name="QR code of the key")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth > 50")
    secret = dialog.locator("code").inner_text()
    assert violations(page) == []
    dialog.get_by_label("Code", exact=True).fill("000000")
    dialog.get_by_role("button", name="Confirm").click()
    expect(dialog).to_contain_text("is not the code that the app shows now")
    code = code_of(secret)
    dialog.get_by_label("Code", exact=True).fill(code)
    dialog.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("dialog", name="Keep these recovery codes")).to_be_visible()
    expect(page.get_by_text("Earlier codes no longer work")).to_have_count(0)
    recovery = put_away(page, "I have kept them").split()
    assert len(recovery) == 10
    expect(page.get_by_role("cell", name="authenticator app", exact=True)).to_be_visible()

    page.get_by_role("button", name="Log out").first.click()
    page.wait_for_url("**/login")
    fill_login(page, account.email, PASSWORD)
    page.get_by_label("Code of the authenticator app").fill(code)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong, or was used before")
    assert violations(page) == []
    page.get_by_role("button", name="Use a recovery code").click()
    page.get_by_label("Recovery code").fill(recovery[0])
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/w/**")
    expect(open_security(tab).get_by_text("9 left")).to_be_visible()

    page.get_by_role("button", name="Remove Authenticator app").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("No second factors yet")).to_be_visible()
    assert tab.faults == []
    tab.close()


def test_a_passkey_is_added_and_logs_in(browser: Browser, site: tuple[Server, str]) -> None:
    tab, account = new_tab(browser, site)
    devices = tab.context.new_cdp_session(tab.page)
    devices.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasUserVerification": True, "isUserVerified": True}
    added = devices.send(
        "WebAuthn.addVirtualAuthenticator", {"options": {**options, "automaticPresenceSimulation": True}}
    )
    tab.log_in(account.email, PASSWORD)
    page = open_security(tab)
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_role("dialog").get_by_label("Name").fill("Laptop")
    page.get_by_role("dialog").get_by_role("button", name="Create it").click()
    page.get_by_role("button", name="I have kept them").click()
    expect(page.get_by_role("cell", name="Laptop", exact=True)).to_be_visible()

    page.get_by_role("button", name="Log out").first.click()
    page.wait_for_url("**/login")
    fill_login(page, account.email, PASSWORD)
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/w/**")

    # A copy of the passkey, whose count of signatures stays behind, logs nobody in.
    (credential,) = devices.send("WebAuthn.getCredentials", added)["credentials"]
    devices.send("WebAuthn.removeCredential", {**added, "credentialId": credential["credentialId"]})
    devices.send("WebAuthn.addCredential", {**added, "credential": {**credential, "signCount": 0}})
    open_security(tab).get_by_role("button", name="Log out").first.click()
    page.wait_for_url("**/login")
    fill_login(page, account.email, PASSWORD)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("alert")).to_contain_text("the passkey is a copy")
    assert tab.faults == []
    tab.close()


def test_a_provider_logs_in_and_is_linked_to_an_account(
    browser: Browser, site: tuple[Server, str], linked: Client
) -> None:
    tab, account = Tab(browser, site[1]), linked
    page = tab.page

    page.goto("/w/nothing/flows")
    page.wait_for_url("**/login?next=**")
    page.get_by_role("link", name="Log in with Example Corp").click()
    page.get_by_label("Name").fill("ada")
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/w/nothing/flows")
    page.goto("/")
    page.wait_for_url("**/w/crew")
    page = tab.go("/account")
    expect(page.get_by_label("E-mail address")).to_have_value("ada@example.com")
    expect(page.get_by_text("This account has no password:")).to_be_visible()
    expect(page.get_by_label("Current password")).to_have_count(0)
    page.get_by_role("button", name="Log out").first.click()
    page.wait_for_url("**/login")

    tab.context.clear_cookies()
    tab.log_in(account.email, PASSWORD)
    page = open_security(tab)
    page.get_by_role("button", name="Link Example Corp").click()
    page.get_by_label("Name").fill("bob")
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(re.compile("tab=security"))
    expect(page.get_by_role("cell", name="bob", exact=True)).to_be_visible()
    # The provider still knows the browser, and names the same account again.
    page.get_by_role("button", name="Link Example Corp").click()
    expect(page.get_by_role("alert")).to_contain_text("This account of the provider is already linked")
    assert re.search(r"/account\?.*tab=security", page.url)
    expect(page.get_by_role("cell", name="bob", exact=True)).to_be_visible()
    page.get_by_role("button", name="Log out").first.click()
    page.wait_for_url("**/login")
    page.get_by_role("link", name="Log in with Example Corp").click()
    page.wait_for_url("**/w/~*")
    expect(tab.go("/account").get_by_label("E-mail address")).to_have_value(account.email)

    admin = Tab(browser, site[1]).log_in()
    row = admin.go("/admin").get_by_role("row").filter(has_text=account.email)
    row.get_by_role("button", name="Manage Somebody").click()
    dialog = admin.page.get_by_role("dialog", name="Somebody")
    # The title, not the way out.
    expect(dialog.get_by_role("heading", name="Somebody")).to_be_focused()
    assert violations(admin.page) == []
    dialog.get_by_role("button", name="End linked logins").click()
    admin.page.get_by_role("button", name="End linked logins").click()
    expect(admin.page.get_by_text("The linked logins have ended")).to_be_visible()
    admin.close()
    page.goto("/")
    page.wait_for_url("**/login**")
    tab.log_in(account.email, PASSWORD)
    expect(open_security(tab).get_by_text("No linked account")).to_be_visible()
    assert tab.faults == admin.faults == []
    tab.close()


def test_roles_that_come_from_groups_are_named_as_such(browser: Browser, site: tuple[Server, str]) -> None:
    tab = Tab(browser, site[1])
    tab.page.goto("/login")
    tab.page.get_by_role("link", name="Log in with Example Corp").click()
    tab.page.get_by_label("Name").fill("ada")
    tab.page.get_by_role("button", name="Continue").click()
    tab.page.wait_for_url("**/w/crew")
    tab.close()
    admin = Tab(browser, site[1]).log_in()

    admin.page.goto("/w/crew/workspace")

    member = admin.page.get_by_role("row").filter(has_text="ada@example.com")
    expect(member.get_by_label("Role of Ada")).to_have_value("operator")
    expect(member).to_contain_text("from groups at Example Corp: a change lasts until the next login")
    admin.close()


def test_single_sign_on_logs_the_command_line_in(browser: Browser, site: tuple[Server, str], tmp_path: Path) -> None:
    _, url = site
    tab = Tab(browser, url)
    command = start_flowrunner("login", url, "--browser", at=tmp_path, environment={"BROWSER": "true"})
    assert command.stderr is not None
    shown = command.stderr.readline().split(" ")[-1].rstrip(":\n")
    page = tab.page
    page.goto(command.stderr.readline().strip())
    page.get_by_role("link", name="Log in with Example Corp").click()
    page.get_by_label("Name").fill("ada")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Log in to the command line")).to_be_visible()
    expect(page.get_by_text(shown, exact=True)).to_be_visible()
    expect(page.get_by_text("ada@example.com", exact=True)).to_be_visible()
    expect(page.get_by_text(f"@{socket.gethostname()}.")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_text("The code has arrived")).to_be_visible()
    _, err = command.communicate(timeout=60)

    assert command.returncode == 0, err
    assert "as ada@example.com" in err
    who = flowrunner("whoami", "-o", "json", at=tmp_path)
    assert json.loads(who.stdout)["account"]["email"] == "ada@example.com"

    # Where the browser is elsewhere, it shows the code. A link that is not one of the command's does nothing.
    page.goto(f"{url}/command-login?challenge={'ab' * 32}&state={'s' * 20}&machine=evil")
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_text("Nothing was allowed")).to_be_visible()
    page.reload()
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_text("Give it to no one")).to_be_visible()
    for port in ("80", "70000", "1e4", "5555@evil.example", "x", "5555/"):
        page.goto(f"{url}/command-login?challenge={'ab' * 32}&state={'s' * 20}&port={port}")
        expect(page.get_by_text("This link is incomplete")).to_be_visible()
    assert tab.faults == []
    tab.close()


def test_a_required_second_factor_is_added_before_anything_else(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = Server(tmp_path_factory.mktemp("strict"), {"REQUIRE_SECOND_FACTOR": "on"}).start()
    tab = Tab(browser, server.url)
    page = tab.page
    try:
        page.goto("/login")
        fill_login(page)
        expect(page.get_by_role("heading", name="Add a second factor")).to_be_visible()
        assert violations(page) == []
        page.get_by_role("button", name="Add an app").click()
        secret = page.get_by_role("dialog").locator("code").inner_text()
        page.get_by_role("dialog").get_by_label("Code", exact=True).fill(code_of(secret))
        page.get_by_role("button", name="Confirm").click()
        page.get_by_role("button", name="I have kept them").click()
        page.wait_for_url("**/w/**")
        assert tab.faults == []
    finally:
        tab.close()
        server.stop()
