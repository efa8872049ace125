"""The settings of workspaces, accounts and the installation in a real Chromium, against a real server."""

import json
import re
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from support.client import PASSWORD, Client
from support.server import Server
from web.browser import OWNER, Tab, needs_chromium, settled, violations

pytestmark = [needs_chromium, pytest.mark.timeout(600)]

FLOW: Final = "metadata: {name: NAME}\nnodes: {done: {type: return, params: {value: 1}}}\n"
DAY: Final = 86_400


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own: its keys are replaced."""
    running = Server(tmp_path_factory.mktemp("site"), {"ANONYMOUS_LOGINS": "0", "ACCOUNT_CHANGES": "0"})
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def width() -> int:
    return 1280


@pytest.fixture
def new_tab(one_tab: Tab) -> Iterator[Tab]:
    yield one_tab.renew()
    assert one_tab.faults == []


@pytest.fixture
def tab(new_tab: Tab, api: Client) -> Tab:
    return new_tab.log_in(api.email, api.password)


@pytest.fixture
def spare(api: Client, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A shared workspace with the admin alone."""
    slug = re.sub(r"\W|_", "-", request.node.name)[5:50].strip("-") + f"-{secrets.token_hex(4)}"
    made = api.post("/api/v1/workspaces", {"name": f"Spare {slug}", "slug": slug})
    assert made.status == 201, made
    return dict(made.json)


@pytest.fixture
def _resumed(api: Client) -> Iterator[None]:
    """A pause of the installation ends with the test, so that others can start executions."""
    yield
    assert api.put("/api/v1/admin/pause", {"paused": False}).status == 200


def saved(page: Page, button: str, directory: Path) -> Path:
    """Return the file that a button gives."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    path = directory / download.value.suggested_filename
    download.value.save_as(path)
    return path


def toast(page: Page, text: str) -> None:
    expect(page.locator(".toast", has_text=text)).to_be_visible()


def test_a_workspace_is_kept_and_deleted_by_its_settings(tab: Tab, api: Client, spare: dict[str, Any]) -> None:
    page, path = tab.page, f"/api/v1/workspaces/{spare['id']}"
    page.goto(f"/w/{spare['slug']}/workspace?tab=settings")
    expect(page.get_by_text("the server deletes executions 30 d after their end")).to_be_visible()
    page.get_by_label("Delete executions after").fill("36")
    page.get_by_label("Unit").select_option("hours")
    page.get_by_label("Executions to keep of each flow").fill("500")
    retention = page.locator("section", has=page.get_by_role("heading", name="Retention"))
    retention.get_by_role("button", name="Save").click()

    expect(page.get_by_text("In force now: the server deletes executions 1 d 12 h after their end")).to_be_visible()
    kept = api.get(f"{path}/retention").json
    assert (kept["max_age_seconds"], kept["max_count"]) == (1.5 * DAY, 500)
    page.get_by_label("Delete executions after").fill("1")
    page.get_by_label("Unit").select_option("minutes")
    retention.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Delete executions after")).to_have_attribute("aria-invalid", "true")

    page.get_by_role("button", name="Delete the workspace").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Delete the workspace")).to_be_disabled()
    dialog.get_by_label("Type Spare").fill(spare["name"])
    dialog.get_by_role("button", name="Delete the workspace").click()
    toast(page, f"Deleted {spare['name']}")
    assert tab.home == f"/w/~{api.account_id[-8:]}"
    assert api.get(path).status == 404


def test_a_workspace_whose_name_has_no_latin_letters_is_made(tab: Tab, api: Client) -> None:
    page = tab.go("/workspace")
    page.get_by_role("button", name="New workspace").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("فريق البيانات")
    page.keyboard.press("Enter")
    slug = dialog.get_by_label("Name in addresses")
    expect(slug).to_be_focused()
    expect(slug).to_have_accessible_description(re.compile("no slug can be made of this name"))
    chosen = f"data-{secrets.token_hex(4)}"
    slug.fill(chosen)
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="فريق البيانات", level=1)).to_be_visible()
    assert api.request("DELETE", f"/api/v1/workspaces/{chosen}").status == 200


def test_a_long_name_of_a_member_leaves_room_for_its_address(tab: Tab, api: Client, spare: dict[str, Any]) -> None:
    member = api.new_account()
    name = "Donaudampfschifffahrtsgesellschaftskapitän Maximilian von und zu Langenhagen"
    assert api.put(f"/api/v1/accounts/{member.account_id}", {"name": name}).status == 200
    api.post(f"/api/v1/workspaces/{spare['id']}/members", {"account": member.account_id, "role": "viewer"})
    page = tab.page
    page.goto(f"/w/{spare['slug']}/workspace")
    row = page.get_by_role("row").filter(has_text="Donaudampf")
    expect(row).to_contain_text(member.email)

    cell, address = row.get_by_role("cell").first.bounding_box(), row.get_by_text(member.email).bounding_box()
    assert cell is not None
    assert address is not None
    assert address["x"] + address["width"] <= cell["x"] + cell["width"]
    expect(page.get_by_role("row").filter(has_text=api.email)).to_contain_text("(you)")


def test_a_member_sees_what_its_role_may_do_and_leaves(new_tab: Tab, api: Client, spare: dict[str, Any]) -> None:
    member = api.new_account()
    api.post(f"/api/v1/workspaces/{spare['id']}/members", {"account": member.email, "role": "editor"})
    page = new_tab.log_in(member.email, PASSWORD).page
    page.goto(f"/w/{spare['slug']}/workspace?tab=audit")
    tabs = page.get_by_role("navigation", name="Sections of the workspace")
    expect(tabs.get_by_role("link")).to_have_text(["Members", "Settings"])
    tabs.get_by_role("link", name="Settings").click()

    expect(page.get_by_label("Delete executions after")).to_be_disabled()
    expect(page.get_by_role("button", name="Delete the workspace")).to_have_count(0)
    expect(page.get_by_role("button", name="Download an archive")).to_have_count(0)
    page.get_by_role("button", name="Leave the workspace").click()
    page.get_by_role("dialog").get_by_role("button", name="Leave the workspace").click()
    toast(page, f"You have left {spare['name']}")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert api.get(f"/api/v1/workspaces/{spare['id']}/members").json["total"] == 1


def test_a_member_without_a_second_factor_leaves_a_workspace_that_requires_one(new_tab: Tab, api: Client) -> None:
    member = api.new_account()
    own = f"/api/v1/workspaces/{api.account_id}"
    assert api.post(f"{own}/members", {"account": member.email, "role": "editor"}).status == 201
    assert api.put(own, {"requires_second_factor": True}).status == 200
    assert member.get(own).error["code"] == "second_factor_missing"
    page = new_tab.log_in(member.email, PASSWORD).page
    page.goto(f"/w/~{api.account_id[-8:]}/workspace?tab=settings")
    page.get_by_role("button", name="Leave the workspace").click()
    page.get_by_role("dialog").get_by_role("button", name="Leave the workspace").click()

    expect(page.get_by_role("status").filter(has_text="You have left")).to_be_visible()
    assert member.get(own).status == 404


def test_an_admin_is_asked_before_it_gives_up_or_leaves_its_workspace(
    tab: Tab, api: Client, spare: dict[str, Any]
) -> None:
    other, members = api.new_account(), f"/api/v1/workspaces/{spare['id']}/members"
    api.post(members, {"account": other.email, "role": "admin"})

    def role() -> str | None:
        return {each["account_id"]: each["role"] for each in other.get(members).json["members"]}.get(api.account_id)

    page = tab.page
    page.goto(f"/w/{spare['slug']}/workspace")
    own = page.get_by_label(f"Role of {OWNER}")
    own.select_option("viewer")
    dialog = page.get_by_role("dialog", name="Change your role to viewer?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(own).to_have_value("admin")
    assert role() == "admin"
    own.select_option("viewer")
    dialog.get_by_role("button", name="Give up the role").click()
    toast(page, "Saved")
    # The screen is that of a viewer at once.
    expect(page.get_by_role("combobox", name="Role of")).to_have_count(0)
    assert role() == "viewer"

    other.put(f"{members}/{api.account_id}", {"role": "admin"})
    page.reload()
    page.get_by_role("button", name=f"Remove {OWNER}").click()
    page.get_by_role("dialog", name=f"Leave {spare['name']}?").get_by_role("button", name="Leave the workspace").click()
    toast(page, f"You have left {spare['name']}")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert role() is None


def test_an_account_that_only_reads_is_offered_no_new_workspace(browser: Browser, site: Server, api: Client) -> None:
    reader = site.admin().new_account("viewer")
    tab = Tab(browser, site.url).log_in(reader.email, PASSWORD)
    page = tab.go("/workspace")

    expect(page.get_by_role("heading", name="Members")).to_be_visible()
    expect(page.get_by_role("button", name="New workspace")).to_have_count(0)
    tab.close()


def test_an_admin_of_a_workspace_revokes_tokens_and_saves_its_audit_log(
    tab: Tab, api: Client, spare: dict[str, Any], tmp_path: Path
) -> None:
    member = api.new_account()
    api.post(f"/api/v1/workspaces/{spare['id']}/members", {"account": member.email, "role": "editor"})
    token = {"name": "nightly", "scopes": ["read", "write"]}
    made = member.post("/api/v1/tokens", token, Flowrunner_Workspace=spare["id"]).json
    Client(api.url, made["token"]).new_flow(FLOW.replace("NAME", "by a token"), name="by a token")
    page = tab.page
    page.goto(f"/w/{spare['slug']}/workspace?tab=tokens")
    page.get_by_role("button", name="Revoke nightly").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("No token reaches this workspace")).to_be_visible()
    assert (page.get_by_role("link", name="Your tokens").get_attribute("href") or "").endswith("/account?tab=tokens")
    assert Client(api.url, made["token"]).get("/api/v1/flows").status == 401

    page.get_by_role("link", name="Audit log").click()
    rows = page.locator("tbody tr")
    expect(rows.filter(has_text="token.revoked")).to_have_count(1)
    expect(rows.filter(has_text="flow.created")).to_contain_text("Somebody · token ·")
    everything = rows.count()
    page.get_by_role("button", name="Only entries about Somebody").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("member.added")
    page.reload()
    expect(rows).to_have_count(1)
    lines = saved(page, "Save as a file", tmp_path).read_text().splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["member.added"]
    page.get_by_role("button", name="Remove the filter: Somebody").click()
    expect(rows).to_have_count(everything)
    page.get_by_label("Until").fill("2020-01-01T00:00")
    expect(page.get_by_text("No entry matches")).to_be_visible()
    assert "until=2020-01-01T00" in page.url or "until=2019-12-31T" in page.url
    page.get_by_role("button", name="Show all entries").click()
    expect(rows).to_have_count(everything)


def test_flows_are_exported_and_imported_after_their_changes_are_shown(
    tab: Tab, api: Client, spare: dict[str, Any], tmp_path: Path
) -> None:
    there = {"Flowrunner-Workspace": spare["id"]}
    for name in ("one", "two"):
        api.post(
            "/api/v1/flows", {"name": name, "definition": FLOW.replace("NAME", name)}, Flowrunner_Workspace=spare["id"]
        )
    page = tab.page
    page.goto(f"/w/{spare['slug']}/flows")
    expect(page.get_by_role("link", name="one", exact=True)).to_be_visible()
    archive = saved(page, "Export", tmp_path)
    with zipfile.ZipFile(archive) as exported:
        assert exported.namelist() == ["one.yaml", "two.yaml"]
    two = api.request("GET", "/api/v1/flows/by-name/two", headers=there).json["id"]
    api.delete(f"/api/v1/flows/{two}")
    page.reload()
    expect(page.get_by_role("link", name="two", exact=True)).to_have_count(0)

    page.get_by_role("button", name="Import…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Import")).to_be_disabled()
    dialog.get_by_label("Documents or an archive").set_input_files(archive)
    expect(dialog.get_by_role("listitem")).to_have_text(["onestays as it is", "twois created"])
    dialog.get_by_role("button", name="Import").click()
    toast(page, "1 flow is imported")
    expect(page.get_by_role("link", name="two", exact=True)).to_be_visible()

    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"no archive")
    page.get_by_role("button", name="Import…").click()
    dialog.get_by_label("Documents or an archive").set_input_files(broken)
    expect(dialog.get_by_role("alert")).to_be_visible()
    expect(dialog.get_by_role("button", name="Import")).to_be_disabled()


def test_documents_are_imported_by_themselves(tab: Tab, tmp_path: Path) -> None:
    named, unnamed, wrong = (tmp_path / name for name in ("named.yaml", "by its file.json", "wrong.yml"))
    named.write_text(FLOW.replace("NAME", "by its metadata"))
    unnamed.write_text('{"nodes": {"a": {"type": "log", "params": {"message": "hi"}}}}')
    wrong.write_text("nodes: {a: {type: lgo}}")
    page = tab.go("/flows")
    page.get_by_role("button", name="Import…").click()
    dialog = page.get_by_role("dialog")
    files = dialog.get_by_label("Documents or an archive")

    files.set_input_files([named, wrong])
    expect(dialog.get_by_role("alert").get_by_role("listitem")).to_contain_text("wrong.yml: nodes.a.type: unknown node")
    files.set_input_files([named, unnamed])
    planned = ["by its metadatais created", "by its fileis created"]
    expect(dialog.get_by_role("list", name="What the import does").get_by_role("listitem")).to_have_text(planned)
    dialog.get_by_role("button", name="Import").click()

    toast(page, "2 flows are imported")
    expect(page.get_by_role("link", name="by its file", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="by its metadata", exact=True)).to_be_visible()


def test_an_archive_is_imported_by_itself(tab: Tab, api: Client, tmp_path: Path) -> None:
    first, second = tmp_path / "first.zip", tmp_path / "second.yaml"
    with zipfile.ZipFile(first, "w") as archive:
        archive.writestr("of%20one.yaml", "nodes: {done: {type: return, params: {value: 1}}}\n")
    second.write_text(FLOW.replace("NAME", "of two"))
    page = tab.go("/flows")
    page.get_by_role("button", name="Import…").click()
    dialog = page.get_by_role("dialog")
    files = dialog.get_by_label("Documents or an archive")

    files.set_input_files([second, first])
    expect(dialog.get_by_role("alert")).to_contain_text("Import first.zip by itself")
    expect(dialog.get_by_role("button", name="Import")).to_be_disabled()
    files.set_input_files([first])
    expect(dialog.get_by_role("listitem")).to_have_text(["of oneis created"])
    dialog.get_by_role("button", name="Import").click()

    toast(page, "1 flow is imported")
    names = {flow["name"] for flow in api.get("/api/v1/flows").json["flows"]}
    assert ("of one" in names, "of two" in names) == (True, False)


def test_a_flow_has_the_name_and_the_tags_of_its_settings(tab: Tab, api: Client) -> None:
    flow = api.new_flow(FLOW.replace("NAME", "named"), name="named", tags=["old"])
    page = tab.go(f"/flows/{flow}/settings")
    name = f"renamed-{secrets.token_hex(4)}"
    details = page.locator("section", has=page.get_by_role("heading", name="Name and tags"))
    for written, tags in ((" shop, ,nightly,", ["shop", "nightly"]), ("", [])):
        details.get_by_label("Name").fill(name)
        details.get_by_label("Tags").fill(written)
        with page.expect_response(lambda response: response.request.method == "PUT") as answered:
            details.get_by_role("button", name="Save").click()
        assert answered.value.status == 200
        found = api.get(f"/api/v1/flows/{flow}").json
        assert (found["name"], sorted(found["tags"])) == (name, sorted(tags))


def test_a_flow_is_copied_and_moved_by_its_settings(tab: Tab, api: Client, spare: dict[str, Any]) -> None:
    definition = "nodes: {done: {type: return, params: {value: '${secrets.NOT_THERE}'}}}"
    flow = api.new_flow(definition, name=f"moving-{secrets.token_hex(4)}")
    page, dialog = tab.go(f"/flows/{flow}/settings"), tab.page.get_by_role("dialog")
    page.get_by_role("button", name="Copy to a new flow").click()
    name = dialog.get_by_label("Name of the copy").input_value()
    dialog.get_by_role("button", name="Copy to a new flow").click()
    toast(page, f"Copied to {name}")
    page.wait_for_url(lambda url: "/flows/flow-" in url and flow not in url)
    copy = page.url.rpartition("/")[2]
    assert {key: api.get(f"/api/v1/flows/{copy}").json[key] for key in ("name", "definition")} == {
        "name": name, "definition": definition
    }  # fmt: skip

    tab.go(f"/flows/{copy}/settings")
    page.get_by_label("Move to").select_option(spare["name"])
    page.get_by_role("button", name="Move", exact=True).click()
    toast(page, f"Moved to {spare['name']}. Create these secrets")
    expect(page.locator(".toast", has_text="NOT_THERE")).to_be_visible()
    page.wait_for_url(f"**/w/{spare['slug']}/flows/{copy}/settings")
    there = api.request("GET", "/api/v1/flows", headers={"Flowrunner-Workspace": spare["id"]}).json["flows"]
    assert [each["id"] for each in there] == [copy]


def test_an_account_has_the_name_and_the_password_of_its_settings(new_tab: Tab, api: Client) -> None:
    own, password = api.new_account(), f"nine-{secrets.token_hex(6)}-badgers"
    page = new_tab.log_in(own.email, PASSWORD).go("/account")
    page.get_by_label("Name", exact=True).fill("Grace")
    page.get_by_role("button", name="Save", exact=True).click()
    toast(page, "Saved")
    shown = own.get(f"/api/v1/accounts/{own.account_id}").json
    assert (shown["name"], shown["email"]) == ("Grace", own.email)

    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password").fill(password)
    page.get_by_role("button", name="Change the password").click()
    toast(page, "The password is changed")
    expect(page.get_by_label("New password")).to_have_value("")
    assert Client(api.url).login(own.email, password).get("/api/v1/flows").status == 200


def test_the_executions_of_a_flow_are_kept_as_its_settings_say(tab: Tab, api: Client) -> None:
    flow = api.new_flow(FLOW.replace("NAME", "kept"), name="kept")
    page = tab.go(f"/flows/{flow}/settings")
    page.get_by_label("Executions to keep").fill("20")
    page.locator("section", has=page.get_by_role("heading", name="Retention")).get_by_role(
        "button", name="Save"
    ).click()

    expect(page.get_by_text("keeps the last 20 of each flow")).to_be_visible()
    assert api.get(f"/api/v1/flows/{flow}/retention").json["max_count"] == 20


def test_an_admin_of_the_installation_joins_a_workspace_and_replaces_keys(tab: Tab, api: Client) -> None:
    owner, name = api.new_account(), f"Not mine {secrets.token_hex(4)}"
    made = owner.post("/api/v1/workspaces", {"name": name}).json
    page = tab.go("/admin?tab=workspaces")
    page.get_by_role("button", name=f"Add a member to {name}").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Role").select_option("operator")
    dialog.get_by_role("button", name="Add a member").click()
    toast(page, f"is a member of {name}")
    members = api.get(f"/api/v1/workspaces/{made['id']}/members").json["members"]
    assert {each["account_id"]: each["role"] for each in members}[api.account_id] == "operator"
    # It can be opened at once.
    expect(page.get_by_label("Workspace", exact=True).locator("option", has_text=name)).to_have_count(1)

    page.get_by_role("link", name="Keys").click()
    page.get_by_role("button", name="Rotate keys…").click()
    expect(dialog.get_by_role("button", name="Rotate the keys")).to_be_disabled()
    dialog.get_by_role("checkbox", name=re.compile("^data")).check()
    dialog.get_by_role("button", name="Rotate the keys").click()
    toast(page, "The keys are being replaced")
    expect(page.locator("tbody tr").first).to_contain_text("data")
    assert api.get("/api/v1/keys/rotations").json["rotations"][0]["kind"] == "data"


def test_the_accounts_of_the_installation_have_pages(tab: Tab, api: Client) -> None:
    def shorten(route: Route) -> None:
        route.continue_(url=re.sub(r"limit=\d+", "limit=1", route.request.url))

    page = tab.page
    page.route(re.compile("/api/v1/accounts\\?"), shorten)
    first = settled(tab.go("/admin")).locator("tbody tr").inner_text()
    expect(page.get_by_text(re.compile(r"^[0-9,]+ accounts$"))).to_be_visible()
    page.get_by_role("link", name="Next page").click()

    expect(page.locator("tbody tr")).not_to_have_text(first)
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="First page").click()
    expect(page.locator("tbody tr")).to_contain_text(first.split("\n")[0])


def test_an_admin_deletes_its_own_account_and_another_one(new_tab: Tab, api: Client) -> None:
    leaving, removed = api.new_account("admin"), api.new_account()
    removed.new_flow(FLOW.replace("NAME", "given"), name="given")
    api.put(f"/api/v1/accounts/{removed.account_id}", {"email_confirmed": False})
    page = new_tab.log_in(removed.email, PASSWORD).go("/account")
    expect(page.get_by_text("An admin of this installation can delete it.")).to_be_visible()
    expect(page.get_by_role("button", name="Delete the account…")).to_have_count(0)
    page = new_tab.renew().log_in(leaving.email, PASSWORD).go("/account")
    page.get_by_role("button", name="Delete the account…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Its personal workspace").select_option("delete")
    expect(dialog.get_by_role("button", name="Delete the account")).to_be_disabled()
    dialog.get_by_label("to confirm").fill(leaving.email)
    dialog.get_by_role("button", name="Delete the account").click()
    page.wait_for_url("**/login")
    assert leaving.get("/api/v1/flows").status == 401

    page = new_tab.renew().log_in(api.email, api.password).go("/admin")
    row = page.locator("tbody tr", has_text=removed.email)
    row.get_by_role("button", name="Manage").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Confirm address").click()
    toast(page, "Saved")
    row.get_by_role("button", name="Manage").click()
    expect(dialog.get_by_role("button", name="Confirm address")).to_have_count(0)
    dialog.get_by_role("button", name="Delete…").click()
    dialog.get_by_label("Its personal workspace").select_option("give")
    dialog.get_by_label("Account that becomes its admin").select_option(api.account_id)
    dialog.get_by_label("to confirm").fill(removed.email)
    dialog.get_by_role("button", name="Delete the account").click()
    toast(page, "The account of Somebody is deleted")
    expect(row).to_have_count(0)
    given = api.request("GET", "/api/v1/flows/by-name/given", headers={"Flowrunner-Workspace": removed.account_id})
    assert given.status == 200


@pytest.mark.usefixtures("_resumed")
def test_everybody_sees_that_the_installation_is_paused(
    tab: Tab, browser: Browser, site: Server, api: Client, spare: dict[str, Any]
) -> None:
    viewer = api.new_account()
    api.post(f"/api/v1/workspaces/{spare['id']}/members", {"account": viewer.email, "role": "viewer"})
    page = tab.go("/admin?tab=system")
    page.get_by_role("button", name="Pause…").click()
    page.get_by_role("button", name="Pause it").click()
    paused = "This installation is paused: it starts no new executions."
    banner = page.get_by_role("main").get_by_role("status").filter(has_text=paused)
    expect(banner.get_by_role("link", name="System")).to_be_visible()
    other = Tab(browser, site.url, width=390).log_in(viewer.email, PASSWORD)
    for path in ("", "/executions"):
        other.page.goto(f"/w/{spare['slug']}{path}")
        seen = other.page.get_by_role("main").get_by_role("status").filter(has_text=paused)
        expect(seen).to_be_visible()
        expect(seen.get_by_role("link")).to_have_count(0)
    assert other.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert violations(other.page) == []
    assert other.faults == []
    other.close()

    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("This installation starts executions.")).to_be_visible()
    expect(banner).to_have_count(0)


@pytest.mark.parametrize(
    ("screen", "late", "below"),
    [
        ("/workspace?tab=settings", "**/retention", "Download an archive"),
        ("/triggers?trigger={schedule}", "**/next?**", "Backfill…"),
    ],
)
def test_what_is_below_moves_little_when_a_part_comes_late(
    tab: Tab, ids: dict[str, Any], screen: str, late: str, below: str
) -> None:
    page = tab.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(late, hold)
    with page.expect_request(late):
        tab.go(screen.format(**ids))
    button = page.get_by_role("button", name=below)
    expect(button).to_be_visible()
    expect(page.locator("section [aria-busy=true]")).to_have_count(1)
    before = button.bounding_box()

    held[0].continue_()

    expect(page.locator("section [aria-busy=true]")).to_have_count(0)
    after = button.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) < 20
    page.unroute(late)


def test_the_appearance_changes_and_the_session_goes_on_in_a_browser_without_room(tab: Tab) -> None:
    page = tab.page
    full = "throw new DOMException('full', 'QuotaExceededError')"
    page.add_init_script(f"Storage.prototype.setItem = () => {{ {full} }}")
    page.clock.install()
    tab.go("/account")
    page.get_by_role("button", name="Dark").click()
    expect(page.locator(":root")).to_have_attribute("data-theme", "dark")

    with page.expect_request("**/api/v1/auth/refresh"):
        page.clock.run_for(25 * 60_000)


def test_short_lists_lead_to_their_next_page_and_a_copy_is_announced(tab: Tab, api: Client) -> None:
    for number in range(2):
        api.post("/api/v1/tokens", {"name": f"token {number}", "scopes": ["read"]})
    # The browser has the second session.
    place = api.post("/api/v1/workspaces", {"name": "Two"}).json
    for number in range(2):
        api.post(f"/api/v1/workspaces/{place['id']}/invitations", {"email": f"{number}@example.com", "role": "viewer"})
    other = api.new_account("user", "The other")
    api.post(f"/api/v1/workspaces/{place['id']}/members", {"account": other.email, "role": "viewer"})

    page = tab.go("/account?tab=tokens")
    # Pages of one entry instead of 50.
    page.route(
        "**/api/v1/**limit=50*", lambda route: route.continue_(url=route.request.url.replace("limit=50", "limit=1"))
    )

    def leads_on(rows: Locator, lists: Locator) -> None:
        expect(rows).to_have_count(1)
        first = rows.inner_text()
        lists.get_by_role("link", name="Next page").click()
        expect(rows).not_to_have_text(first, use_inner_text=True)
        expect(rows).to_have_count(1)
        expect(lists.get_by_role("link", name="First page")).to_be_visible()

    page.reload()
    leads_on(page.locator("tbody tr"), page.locator("main"))
    page.get_by_role("link", name="Sessions").click()
    leads_on(page.locator("tbody tr"), page.locator("main"))
    page.goto(f"/w/{place['slug']}/workspace")
    for name in ("Members", "Invitations"):
        card = page.locator(".card").filter(has=page.get_by_role("heading", name=name, exact=True))
        leads_on(card.locator("tbody tr"), card)

    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Invite").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("E-mail address").fill("third@example.com")
    dialog.get_by_role("button", name="Invite").click()
    dialog.get_by_role("button", name="Copy").click()
    expect(dialog.get_by_role("status").filter(has_text="Copied")).to_have_text("Copied")
    # Over plain HTTP a page has no clipboard, and nothing outside the dialog can be selected.
    page.evaluate(
        "Object.defineProperty(Navigator.prototype, 'clipboard', {get: () => undefined});"
        "document.addEventListener('copy', ({target}) => (window.copied = target.value))"
    )
    dialog.get_by_role("button", name=re.compile("Copy|Copied")).click()
    page.wait_for_function("window.copied !== undefined")
    assert page.evaluate("copied").startswith(f"{api.url}/")
