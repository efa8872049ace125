"""Lists, their order and filters, and the charts that lead to them, in a real Chromium against a real server."""

import re
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from support.client import Client
from support.server import Server
from support.waiting import wait_for
from web.browser import Tab, needs_chromium, settled, violations

pytestmark = [needs_chromium, pytest.mark.timeout(600)]

FLOW: Final = "metadata: {name: NAME}\nnodes: {done: {type: return, params: {value: 1}}}\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("site"), {"ANONYMOUS_LOGINS": "0"})
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def width() -> int:
    return 1280


def names(page: Page) -> list[str]:
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    return page.locator("tbody td.name a").all_inner_texts()


def test_flows_are_sorted_by_the_heads_of_their_columns(tab: Tab, ids: dict[str, Any]) -> None:
    page = tab.go("/flows")
    saved = ["order-sync", "approve-expense", "report-weekly", "triage-mail"]
    expect(page.locator("tbody tr")).to_have_count(4)
    assert names(page) == saved
    head = page.get_by_role("columnheader", name=re.compile("^Flow"))

    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(page.locator("tbody tr").first).to_contain_text("approve-expense")
    page.reload()
    expect(page.locator("tbody tr").first).to_contain_text("approve-expense")
    assert names(page) == sorted(saved)
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(page.locator("tbody tr").first).to_contain_text("triage-mail")
    assert names(page) == sorted(saved, reverse=True)
    head.get_by_role("button").click()
    expect(page.locator("tbody tr").first).to_contain_text("order-sync")
    assert "sort=" not in page.url


def test_a_sorted_list_is_read_in_pages(tab: Tab, api: Client) -> None:
    made = api.post("/api/v1/workspaces", {"name": "Many", "slug": f"many-{secrets.token_hex(4)}"}).json
    for n in range(60):
        body = {"name": f"n{n * 7 % 60:02}", "definition": FLOW.replace("NAME", f"n{n * 7 % 60:02}")}
        assert api.post("/api/v1/flows", body, Flowrunner_Workspace=made["id"]).status == 201
    page = tab.page
    page.goto(f"/w/{made['slug']}/flows?sort=-name")
    pages = page.get_by_role("navigation", name="Pages")
    expect(pages).to_contain_text("50 of 60")
    assert names(page) == [f"n{n:02}" for n in range(59, 9, -1)]
    pages.get_by_role("link", name="Next page").click()
    expect(pages).to_contain_text("10 of 60")
    assert names(page) == [f"n{n:02}" for n in range(9, -1, -1)]
    pages.get_by_role("link", name="First page").click()
    expect(pages).to_contain_text("50 of 60")


def test_executions_are_filtered_by_their_trigger_and_reruns_and_listed_from_the_oldest(
    tab: Tab, api: Client, ids: dict[str, Any]
) -> None:
    again = api.post(f"/api/v1/executions/{ids['failed']}/rerun", {}).json["execution_id"]
    api.ended(again)
    page = tab.go("/executions")
    rows = page.locator("tbody tr")
    page.get_by_role("link", name="Only executions that asked has started").click()
    expect(rows).to_have_count(1)
    expect(page.get_by_role("button", name="Remove the filter: Started by asked")).to_be_visible()
    page.get_by_role("button", name="Remove the filter: Started by asked").click()
    page.get_by_role("link", name="Only re-runs of the same execution").click()
    expect(rows).to_have_count(1)
    assert f"rerun_of={ids['failed']}" in page.url

    page.goto(f"{tab.home}/executions?sort=started_at")
    first = api.get("/api/v1/executions", sort="started_at", limit=1).json["executions"][0]
    expect(rows.first.get_by_role("link").first).to_have_attribute("href", re.compile(first["id"]))
    page.get_by_role("columnheader", name=re.compile("^Started")).get_by_role("button").click()
    expect(rows.first.get_by_role("link").first).to_have_attribute("href", re.compile(again))
    page.get_by_label("Started", exact=True).select_option("between")
    page.get_by_label("Until").fill("2020-01-01T00:00")
    expect(page.get_by_text("No execution matches these filters")).to_be_visible()
    page.get_by_role("button", name="Clear the filters").last.click()
    expect(rows.first).to_be_visible()


def test_a_flow_is_found_by_its_name_where_one_is_chosen(tab: Tab, ids: dict[str, Any]) -> None:
    page = tab.go("/executions")
    field = page.get_by_role("combobox", name="Flow", exact=True)
    field.click()
    options = page.get_by_role("listbox").get_by_role("option")
    expect(options).to_have_text(["approve-expense", "order-sync", "report-weekly", "triage-mail"])
    field.press_sequentially("MAIL")
    expect(options).to_have_text(["triage-mail"])
    assert violations(page) == []
    field.press("Enter")
    expect(field).to_have_value("triage-mail")
    page.reload()
    expect(field).to_have_value("triage-mail")
    expect(page.locator("tbody td.name a").first).to_have_text("triage-mail")
    # What was typed and not chosen changes nothing; an empty field is no filter.
    field.fill("none of them")
    expect(options).to_have_text(["No flow matches"])
    field.blur()
    expect(field).to_have_value("triage-mail")
    field.fill("")
    field.blur()
    expect(page).not_to_have_url(re.compile("flow="))

    page.goto(f"{tab.home}/callbacks")
    page.get_by_role("button", name="New callback").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Flows", exact=True).select_option("flow")
    dialog.get_by_role("combobox", name="Flow", exact=True).click()
    dialog.get_by_role("option", name="order-sync").click()
    expect(dialog.get_by_role("combobox", name="Flow", exact=True)).to_have_value("order-sync")


def test_the_list_of_callbacks_names_the_error_of_the_last_message(tab: Tab, api: Client) -> None:
    body = {"url": "http://10.255.255.1/", "events": ["execution.failed"], "name": "Broken"}
    id = api.post("/api/v1/callbacks", body).json["id"]
    assert api.post(f"/api/v1/callbacks/{id}/test").json["state"] == "failed"
    page = tab.go("/callbacks")

    row = page.get_by_role("row").filter(has_text="Broken")
    expect(row.locator(".pill")).to_have_text("error in the last message")
    expect(row.get_by_text("egress.forbidden")).to_be_visible()
    assert violations(page) == []
    api.delete(f"/api/v1/callbacks/{id}")


def test_all_deliveries_of_a_callback_can_be_seen(tab: Tab, api: Client) -> None:
    body = {"url": "http://10.255.255.1/", "events": ["execution.failed"], "name": "Busy"}
    id = api.post("/api/v1/callbacks", body).json["id"]
    for _ in range(51):
        assert api.post(f"/api/v1/callbacks/{id}/test").json["state"] == "failed"
    page = tab.go(f"/callbacks?callback={id}")
    deliveries = page.get_by_role("dialog").get_by_role("listitem")
    expect(page.get_by_text("50 of 51")).to_be_visible()

    page.get_by_role("button", name="Show more").click()

    expect(deliveries).to_have_count(51)
    api.delete(f"/api/v1/callbacks/{id}")


def test_a_callback_of_a_deleted_flow_is_not_shown_as_one_that_works(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {a: {type: return, params: {value: 1}}}", name="is deleted")
    body = {"name": "Lonely", "url": "https://example.com/", "events": ["execution.failed"], "flow_id": flow}
    id = api.post("/api/v1/callbacks", body).json["id"]
    page = tab.go("/callbacks")
    row = page.get_by_role("row").filter(has_text="Lonely")
    expect(row.locator(".pill")).to_have_text("enabled")

    api.delete(f"/api/v1/flows/{flow}")
    page.reload()

    expect(row.locator(".pill")).to_have_text("reports nothing")
    row.get_by_text("Lonely").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("its flow was deleted or is in another workspace")
    expect(dialog.get_by_role("link", name=flow)).to_have_count(0)
    dialog.get_by_role("button", name="Disable").click()
    expect(row.locator(".pill")).to_have_text("disabled")
    api.delete(f"/api/v1/callbacks/{id}")


def test_bars_of_the_overview_lead_to_their_executions(tab: Tab, ids: dict[str, Any]) -> None:
    page = tab.page
    bars = page.get_by_role("group", name=re.compile("executions in the last 24 hours")).get_by_role("link")
    expect(bars.last).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Durations of the last"))).to_be_visible()
    # One that fails is first, with its last end, although one of its executions waits.
    row = page.locator("tbody tr", has_text="order-sync")
    expect(row.locator(".pill")).to_have_text("failed")
    expect(row).to_contain_text("1 open")
    # As the longest status, on a small laptop.
    row.locator(".pill").evaluate("pill => { pill.textContent = 'cancelled' }")
    for width in (1280, 1100, 1000):
        page.set_viewport_size({"width": width, "height": 800})
        pill, open_ones = (row.locator(part).bounding_box() for part in (".pill", ".last-result .small"))
        assert pill is not None
        assert open_ones is not None
        assert open_ones["y"] < pill["y"] + pill["height"] / 2 < open_ones["y"] + open_ones["height"], "on one line"
    expect(page.locator("a.stat").first).to_contain_text("and 1 more")
    legend = page.get_by_role("list", name="Executions by status").get_by_role("link", name=re.compile("^failed"))
    assert "status=failed" in (legend.get_attribute("href") or "")

    label = bars.last.get_attribute("aria-label") or ""
    counted = sum(int(number) for number in re.findall(r"(\d+) (?:completed|failed|waiting|running|cancelled)", label))
    bars.last.press("Enter")
    expect(page.get_by_role("heading", name="Executions")).to_be_visible()
    expect(page.get_by_role("navigation", name="Pages")).to_contain_text(f"{counted} execution")


def test_the_overview_does_not_count_the_last_executions_of_a_flow_as_all_that_are_open(
    browser: Browser, site: Server, api: Client
) -> None:
    account = api.new_account()
    waiting = "nodes: {a: {type: delay, params: {duration: 1h}}}"
    few, many = (account.new_flow(waiting, name=name) for name in ("few", "many"))
    begun = [account.run(flow) for flow, number in ((many, 21), (few, 2)) for _ in range(number)]
    page = Tab(browser, site.url).log_in(account.email, account.password).page

    expect(page.locator("tbody tr", has_text="few")).to_contain_text("2 open")
    expect(page.locator("tbody tr", has_text="many")).to_contain_text("20+ open")
    running = page.locator("a.stat").filter(has_text="Running")
    expect(running).to_contain_text("23")
    expect(running).to_contain_text("and 22 more")
    for id in begun:
        assert account.delete(f"/api/v1/executions/{id}").status == 200


def test_a_row_of_tabs_fades_out_where_there_is_more_of_it(browser: Browser, site: Server, api: Client) -> None:
    flow = api.new_flow("nodes: {done: {type: return, params: {value: 1}}}\n", name="has tabs")
    narrow = Tab(browser, site.url, width=320).log_in(api.email, api.password)
    tabs = narrow.go(f"/flows/{flow}/executions").get_by_role("navigation", name="Flow", exact=True)

    def faded() -> tuple[str, ...]:
        style = "(row) => ['before', 'after'].map((name) => getComputedStyle(row).getPropertyValue(`--more-${name}`))"
        return tuple(tabs.evaluate(style))

    expect(tabs.get_by_role("link", name="Settings")).to_be_visible()
    tabs.evaluate("(row) => { row.scrollLeft = 0 }")
    wait_for(lambda: faded() == ("0px", "40px"))
    tabs.evaluate("(row) => { row.scrollLeft = 1000 }")
    wait_for(lambda: faded() == ("40px", "0px"))
    narrow.page.set_viewport_size({"width": 1200, "height": 800})
    wait_for(lambda: faded() == ("0px", "0px"))
    assert narrow.faults == []
    narrow.close()


def test_flows_of_triggers_are_named_in_full_on_a_small_laptop(tab: Tab, ids: dict[str, Any]) -> None:
    page = tab.go("/triggers")
    page.set_viewport_size({"width": 1024, "height": 768})
    link = settled(page).locator("main td").get_by_role("link", name="report-weekly", exact=True).first
    expect(link).to_be_visible()

    assert link.evaluate("link => link.scrollWidth <= link.clientWidth")


def test_the_number_of_approvals_is_one_line_on_a_narrow_screen(browser: Browser, site: Server, api: Client) -> None:
    flow = api.new_flow("nodes: {ask: {type: approval, params: {prompt: Go?}}}", name="asks")
    for _ in range(12):
        api.run(flow)
    narrow = Tab(browser, site.url, width=390).log_in(api.email, api.password)

    number = narrow.go("/approvals").locator(".bottom .count")

    expect(number).to_have_text("12")
    box = number.bounding_box()
    assert box is not None
    assert box["width"] > box["height"]
    narrow.close()


def test_names_of_flows_have_the_room_that_other_columns_leave(tab: Tab, api: Client) -> None:
    name = "Copies the orders of the shop into the books"
    api.new_flow(FLOW.replace("NAME", name), name=name)

    shown = tab.go("/flows").get_by_role("link", name=name)

    expect(shown).to_be_visible()
    assert shown.evaluate("(link) => link.scrollWidth <= link.clientWidth")


def test_the_actions_of_the_list_are_one_button_on_a_narrow_screen(browser: Browser, site: Server, api: Client) -> None:
    api.ended(api.run(api.new_flow(FLOW.replace("NAME", "acts"), name="acts")))
    narrow = Tab(browser, site.url, width=390).log_in(api.email, api.password)
    page = narrow.go("/executions?status=completed")
    expect(page.locator("tbody td.name").first).to_be_visible()
    buttons = [page.get_by_role("button", name=name, exact=True) for name in ("View", "Actions…")]
    shown = [button.bounding_box() for button in (page.locator("h1"), *buttons)]
    # In one line with the title.
    assert all(box is not None and box["y"] < 60 for box in shown), shown
    expect(page.get_by_role("button", name="Cancel…")).to_have_count(0)
    buttons[1].click()
    menu = page.get_by_role("dialog", name="Actions on executions")
    assert menu.locator(".dialog-body").get_by_role("button").all_inner_texts() == ["Cancel…", "Re-run…", "Delete…"]
    menu.get_by_role("button", name="Re-run…").click()
    expect(page.get_by_role("dialog")).to_have_count(1)
    expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.set_viewport_size({"width": 1200, "height": 800})
    expect(buttons[1]).to_have_count(0)
    expect(page.get_by_role("button", name="Re-run…")).to_be_visible()
    assert narrow.faults == []
    narrow.close()


def test_the_executions_of_a_flow_keep_their_columns_apart_on_the_narrowest_screen(
    browser: Browser, site: Server, api: Client
) -> None:
    flow = api.new_flow(FLOW.replace("NAME", "is thin"), name="is thin")
    api.ended(api.run(flow))
    narrow = Tab(browser, site.url, width=320).log_in(api.email, api.password)
    page = narrow.go(f"/flows/{flow}/executions")
    id, started = page.locator("tbody td.name a"), page.locator("tbody time")
    expect(id).to_be_visible()
    # The width of the text, not of the block that it may leave.
    text = "(a) => { const r = new Range(); r.selectNode(a.firstChild); return r.getBoundingClientRect().right }"
    right = id.evaluate(text)
    box = started.bounding_box()
    assert box is not None
    assert right + 8 <= box["x"]
    # One bucket of durations is a bar, not a block.
    bar = page.locator(".charts section").nth(1).locator(".histogram i").first.bounding_box()
    assert bar is not None
    assert bar["width"] <= 40
    narrow.close()


LONG: Final = "a_name_without_any_blank_" * 8
LONG_NAMED: Final = f"""\
metadata: {{name: long, tags: [{"t" * 60}, {"u" * 60}]}}
triggers: {{{"h" * 60}: {{type: schedule, cron: "@daily"}}}}
nodes:
  warn: {{type: foreach, params: {{items: "${{[...Array(120).keys()]}}"}}, next: stop, nodes: {{
    tell: {{type: log, params: {{message: hm, level: warn}}}}}}}}
  stop: {{type: fail, params: {{error: {"e" * 60}, message: {"m" * 300}}}}}
"""


def test_long_names_and_labels_push_no_column_out_of_sight(browser: Browser, site: Server, api: Client) -> None:
    flow = api.new_flow(LONG_NAMED, name=LONG)
    labels = {"l" * 60: "v" * 190}
    api.ended(api.post(f"/api/v1/flows/{flow}/run", {"input": {}, "labels": labels}).json["execution_id"])
    (trigger,) = api.get("/api/v1/triggers", flow_id=flow).json["triggers"]
    api.ended(api.post(f"/api/v1/triggers/{trigger['id']}/run").json["execution_id"])
    tab = Tab(browser, site.url, width=1280).log_in(api.email, api.password)
    page = tab.page
    for path in ("", "/flows", "/executions", "/triggers"):
        tab.go(path)
        expect(page.locator("tbody td.name").first).to_be_visible()
        expect(page.locator("[aria-busy=true]")).to_have_count(0)
        table = page.locator(".card.scroll").first
        width, shown = table.evaluate("(card) => [card.scrollWidth, card.clientWidth]")
        assert width <= shown, path
        # There is room for the beginning of each name.
        assert page.locator("tbody td.name").first.evaluate("(cell) => cell.clientWidth") >= 110, path

    page.set_viewport_size({"width": 390, "height": 844})
    tab.go(f"/flows/{flow}/settings")
    expect(page.locator("h1")).to_have_text(LONG)
    # Of two lines, with its whole name on hover.
    assert page.locator("h1").evaluate("(title) => title.clientHeight") < 60
    expect(page.locator("h1")).to_have_attribute("title", LONG)
    assert tab.faults == []
    tab.close()


def test_a_list_says_who_has_started_each_execution(browser: Browser, site: Server, api: Client) -> None:
    member = api.new_account()
    api.post(f"/api/v1/workspaces/{api.account_id}/members", {"account": member.email, "role": "operator"})
    flow = api.new_flow(
        "triggers: {nightly: {type: schedule, cron: '@daily'}, asked: {type: webhook, verify: {scheme: none}}}\n"
        "nodes: {stop: {type: return}}",
        name="is started by several",
    )
    triggers = {each["name"]: each for each in api.get("/api/v1/triggers", flow_id=flow).json["triggers"]}
    asked = Client(site.url).post(triggers["asked"]["url"], {}).json["execution_id"]
    api.ended(asked)
    at = {"Flowrunner_Workspace": api.account_id}
    for path in (f"flows/{flow}/run", f"executions/{asked}/rerun", f"triggers/{triggers['nightly']['id']}/run"):
        api.ended(member.post(f"/api/v1/{path}", {} if "rerun" in path else None, **at).json["execution_id"])
    tab = Tab(browser, site.url, width=1440).log_in(api.email, api.password)
    for path in (f"/executions?flow={flow}", f"/flows/{flow}/executions"):
        tab.go(path)
        expect(tab.page.get_by_role("columnheader", name="Started by")).to_be_visible()
        cells = tab.page.locator("td.starter")
        expect(cells).to_have_text(["nightly schedule by Somebody", "re-runby Somebody", "Somebody", "asked webhook"])
    tab.close()


ASKING: Final = "approve_" + "the_order_of_this_customer_" * 7
ASKS: Final = f"nodes: {{{ASKING}: {{type: approval, params: {{prompt: Ship?}}}}}}\n"


def test_a_list_shows_where_executions_wait_and_which_sub_flows_are(tab: Tab, api: Client, ids: dict[str, Any]) -> None:
    flow = api.new_flow(ASKS, name="waits long")
    outer = api.new_flow("nodes: {call: {type: flow, params: {flow: waits long}}}", name="calls it")
    parent = api.run(outer)
    api.waiting_at(parent, "call")
    page = tab.page
    page.set_viewport_size({"width": 1440, "height": 860})
    tab.go("/executions?status=waiting")
    row = page.get_by_role("row").filter(has=page.locator(f"a[href$='{ids['waiting']}']"))
    expect(row.locator("td.where")).to_have_text("ask waits for an approval")
    child = page.get_by_role("row").filter(has_text="waits long")
    expect(child.locator("td.where span").first).to_have_attribute("title", f"{ASKING} waits for an approval")
    height = "(row) => row.getBoundingClientRect().height"
    assert child.evaluate(height) == row.evaluate(height)
    assert page.locator(".card.scroll").evaluate("(card) => card.scrollWidth - card.clientWidth") == 0
    expect(child.get_by_role("link", name="sub-flow")).to_have_attribute("href", re.compile(f"/executions/{parent}$"))

    page.set_viewport_size({"width": 390, "height": 844})
    expect(row).to_contain_text("ask · waits for an approval")
    expect(child.get_by_text(f"{ASKING} · waits for")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 860})
    page.goto(f"{tab.home}/flows/{flow}/executions")
    expect(page.locator("tbody td.where")).to_have_text(f"{ASKING} waits for an approval")
    api.delete(f"/api/v1/executions/{parent}")


def test_an_error_of_a_list_leads_to_those_alike(tab: Tab, api: Client) -> None:
    text = "nodes: {a: {type: fail, params: {error: shop.is.closed.until.further.notice, message: Closed}}}"
    flow = api.new_flow(text, name="fails alike")
    api.ended(api.run(flow))
    page = tab.go(f"/flows/{flow}/executions")
    page.get_by_role("link", name="shop.is.closed").click()
    expect(page).to_have_url(re.compile(rf"/executions\?flow={flow}&error=shop\.is\.closed\.until\.further\.notice$"))
    expect(page.locator("tbody tr")).to_have_count(1)


def test_failed_executions_that_were_repaired_are_told_apart(tab: Tab, api: Client) -> None:
    text = """
inputs: {ok: {type: boolean}}
nodes:
  a: {type: switch, params: {cases: [{when: flow.input.ok, action: ok}]}, next: {ok: b, default: c}}
  b: {type: return}
  c: {type: fail}
"""
    flow = api.new_flow(text, name="repaired")
    first, second = (api.run(flow, {"ok": False}) for _ in range(2))
    for id in (first, second):
        api.ended(id)
    api.ended(api.post(f"/api/v1/executions/{first}/rerun", {"input": {"ok": True}}).json["execution_id"])
    page = tab.go(f"/executions?flow={flow}&status=failed")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Re-run…").click()
    expect(page.get_by_role("dialog")).to_contain_text("without those that have been re-run since")
    expect(page.get_by_role("button", name="Re-run 1 execution", exact=True)).to_be_visible()
    page.keyboard.press("Escape")

    page.get_by_role("button", name="not repaired").click()
    expect(rows).to_have_count(1)
    expect(page.get_by_role("button", name="failed", pressed=True)).to_be_visible()
    page.get_by_role("button", name="Re-run…").click()
    expect(page.get_by_role("button", name="Re-run 1 execution", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="completed").click()
    expect(page.get_by_role("button", name="not repaired")).to_have_attribute("aria-pressed", "false")
    expect(rows).to_have_count(3)


def test_sub_flows_are_left_out_of_the_list_of_executions(tab: Tab, api: Client) -> None:
    part = api.new_flow("nodes: {a: {type: return}}", name="Part of all")
    whole = api.new_flow(f"nodes: {{a: {{type: flow, params: {{flow: {part}}}}}}}", name="The whole")
    api.ended(api.run(whole))
    page = tab.go("/executions?last=1h")
    rows = page.locator("tbody tr")
    expect(rows.filter(has_text="Part of all")).to_have_count(1)

    page.get_by_role("button", name="no sub-flows").click()
    expect(rows.filter(has_text="Part of all")).to_have_count(0)
    expect(rows.filter(has_text="The whole")).to_have_count(1)
    page.get_by_role("button", name="no sub-flows", pressed=True).click()
    expect(rows.filter(has_text="Part of all")).to_have_count(1)


def test_the_fields_that_filter_a_list_stand_in_one_line(tab: Tab, api: Client, ids: dict[str, Any]) -> None:
    page = tab.go("/executions")
    expect(page.get_by_role("button", name=re.compile(r"completed \d"))).to_be_visible()
    fields = page.get_by_role("group", name="Status").locator("input, select")
    expect(fields).to_have_count(3)
    middles = fields.evaluate_all(
        "all => all.map(each => each.getBoundingClientRect()).map(box => box.y + box.height / 2)"
    )
    assert max(middles) - min(middles) < 4


def test_what_has_failed_runs_again_with_or_without_its_sub_flows(tab: Tab, api: Client) -> None:
    part = api.new_flow("nodes: {a: {type: fail, params: {error: a.b}}}", name="Failing part")
    whole = api.new_flow(f"nodes: {{a: {{type: flow, params: {{flow: {part}}}}}}}", name="Failing whole")
    api.ended(api.run(whole))
    page = tab.go("/executions?status=failed")
    page.get_by_role("button", name="Re-run…").click()

    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Re-run 2 executions")).to_be_enabled()
    dialog.get_by_label("Without sub-flows").check()
    expect(dialog.get_by_role("button", name="Re-run 1 execution")).to_be_enabled()
    expect(dialog.get_by_role("listitem")).to_contain_text("Failing whole")


def test_an_execution_leads_to_the_list_of_its_sub_flows(tab: Tab, api: Client) -> None:
    part = api.new_flow("nodes: {a: {type: return}}", name="A part")
    whole = api.new_flow(f"nodes: {{a: {{type: flow, params: {{flow: {part}}}}}}}", name="Its whole")
    alone = api.run(api.new_flow(f"nodes: {{a: {{type: flow, params: {{flow: {part}, wait: false}}}}}}"))
    parent = api.run(whole)
    for id in (parent, alone):
        api.ended(id)
    page = tab.go(f"/executions/{alone}")
    expect(page.get_by_role("button", name="Delete…")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^a, flow, completed"))).to_be_visible()
    expect(page.get_by_role("link", name="Sub-flows")).to_have_count(0)
    api.ended(api.run(part))
    page = tab.go(f"/executions/{parent}")
    page.get_by_role("link", name="Sub-flows").click()

    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("A part")
    page.get_by_role("button", name=re.compile("Remove the filter: Sub-flows of exec-")).click()
    expect(rows).not_to_have_count(1)


def test_a_trigger_that_listens_to_a_deleted_flow_says_that_it_starts_nothing(tab: Tab, api: Client) -> None:
    other = api.new_flow("nodes: {a: {type: return}}", name="soon deleted")
    flow = api.new_flow(f"triggers: {{after: {{type: execution, flow: {other}}}}}\nnodes: {{a: {{type: return}}}}")
    page = tab.go(f"/flows/{flow}/triggers")
    expect(page.get_by_text("armed", exact=True)).to_be_visible()
    assert page.locator("tbody td").all_inner_texts()[3:5] == ["–", "–"], "it has no next start, and no last one"
    api.delete(f"/api/v1/flows/{other}")

    page.reload()

    expect(page.get_by_text("starts nothing", exact=True)).to_be_visible()
    page.get_by_role("link", name="after", exact=True).click()
    expect(page.get_by_role("dialog").get_by_text("Name another one in the flow's document")).to_be_visible()


def test_a_name_from_right_to_left_is_cut_at_its_end(tab: Tab, api: Client) -> None:
    short, long = "זרימה", "זרימה ארוכה שמעבדת הזמנות מכל החנויות של החברה בכל הארצות ושולחת הודעה " * 2
    for name in (short, long.strip()):
        api.new_flow("nodes: {a: {type: return}}", name=name)
    page = tab.go(f"/flows?{urlencode({'q': short})}")
    page.set_viewport_size({"width": 901, "height": 800})
    # Of the first letter, which is the one on the right.
    places = """links => links.map(link => {
        const range = document.createRange();
        range.setStart(link.firstChild, 0);
        range.setEnd(link.firstChild, 1);
        const [first, box] = [range.getBoundingClientRect(), link.getBoundingClientRect()];
        return [first.left - box.left, box.right - first.right];
    })"""
    links = page.get_by_role("table").get_by_role("link", name=short)
    expect(links).to_have_count(2)

    (cut, whole) = sorted(links.evaluate_all(places), key=lambda place: place[1])

    assert cut[0] > 100
    assert cut[1] >= -1
    # It begins where other names begin.
    assert whole[1] > 0


def test_a_trigger_names_its_flow_at_each_width(tab: Tab, api: Client) -> None:
    text = "triggers: {hourly: {type: schedule, cron: '0 * * * *'}}\nnodes: {a: {type: return}}"
    for name in ("one of two", "two of two"):
        api.new_flow(text, name=name)
    page = tab.go("/triggers")
    for width in (1280, 901, 720, 390):
        page.set_viewport_size({"width": width, "height": 800})
        for name in ("one of two", "two of two"):
            expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()


@pytest.mark.parametrize("width", [1024, 1200, 1330])
def test_no_column_and_no_moment_is_out_of_place_at_a_usual_width(
    browser: Browser, site: Server, api: Client, ids: dict[str, Any], width: int
) -> None:
    text = "nodes: {a: {type: fail, params: {error: warehouse.connection.refused, message: It is closed until Monday}}}"
    flow = api.new_flow(text, name="synchronise-orders-of-all-subsidiaries")
    labels = {"environment": "production-europe-west", "team": "core"}
    started = api.post(f"/api/v1/flows/{flow}/run", {"input": {}, "labels": labels}).json
    api.ended(started["execution_id"])
    tab = Tab(browser, site.url, width=width)
    try:
        page = tab.log_in(api.email, api.password).go("/executions")
        expect(page.locator("tbody tr").first).to_be_visible()
        assert page.locator(".scroll").evaluate("list => list.scrollWidth - list.clientWidth") == 0
        page = tab.go("")
        moments = page.locator(".apart span:visible")
        expect(moments.first).to_be_visible()
        boxes = moments.evaluate_all(
            "spans => spans.map(span => { const all = document.createRange(); all.selectNodeContents(span);"
            " const { left, right } = all.getBoundingClientRect(); return [left, right] })"
        )
        assert all(right < left for (_, right), (left, _) in pairwise(boxes))
    finally:
        tab.close()


def test_the_catalogue_names_the_values_of_a_parameter_once(tab: Tab) -> None:
    methods = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
    for of, shown in (("http.request", "GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE."), ("webhook", methods)):
        page = tab.go(f"/nodes?type={of}")
        method = page.locator("dl.params div").filter(has=page.get_by_text("method", exact=True))
        expect(method.locator("dd")).to_have_text(shown)
    # Older forms are the last that is offered.
    expect(page.locator(".type-list a").last).to_contain_text("condition")
    # A description with some of the values is no list of them.
    expect(tab.go("/nodes?type=foreach").get_by_role("article")).to_contain_text("fail, continue, collect")


def test_executions_of_yesterday_are_those_of_the_readers_day(browser: Browser, site: Server, api: Client) -> None:
    api.ended(api.run(api.new_flow(FLOW.replace("NAME", "of a day"), name="of a day")))
    tab = Tab(browser, site.url, timezone_id="Pacific/Kiritimati").log_in(api.email, api.password)
    page = tab.go("/executions")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1)
    with page.expect_request(re.compile(r"/api/v1/executions\?.*since=")) as asked:
        page.get_by_label("Started", exact=True).select_option("Yesterday")
    expect(page.get_by_text("of a day")).to_have_count(0)
    query = parse_qs(urlsplit(asked.value.url).query)
    since, until = (datetime.fromisoformat(query[name][0]) for name in ("since", "until"))
    assert until - since == timedelta(days=1)
    assert (since.hour, since.minute) == (10, 0)

    page.get_by_label("Started", exact=True).select_option("Today")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile(r"\?last=today$"))
    assert tab.faults == []
    tab.close()


def test_the_durations_of_executions_are_in_sight_on_a_tablet(tab: Tab, ids: dict[str, Any]) -> None:
    page = tab.page
    page.set_viewport_size({"width": 1024, "height": 768})
    tab.go("/executions?last=30d")

    # The widest cells are those of its log.
    failed = page.get_by_role("row").filter(has_text="6 errors").first
    expect(failed).to_contain_text("2 warnings")
    expect(failed.get_by_role("cell").last).to_be_in_viewport(ratio=1)

    page.set_viewport_size({"width": 1440, "height": 860})


def test_filters_keep_room_for_their_numbers_until_these_come(tab: Tab, ids: dict[str, Any]) -> None:
    page = tab.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/v1/overview?flows=1", hold)
    tab.go("/executions?status=failed")
    waiting = page.get_by_role("button", name="waiting")
    assert waiting.inner_text().strip() == "waiting"
    before = waiting.evaluate("button => button.offsetWidth")

    held[0].continue_()

    expect(waiting).to_contain_text(re.compile("[0-9]"))
    assert waiting.evaluate("button => button.offsetWidth") <= before
    page.unroute("**/api/v1/overview?flows=1")


def test_what_was_selected_is_acted_on_under_its_own_filters_alone(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {done: {type: return, params: {value: 1}}}", name="is labelled")
    for team in ("core", "shop"):
        api.post(f"/api/v1/flows/{flow}/run", {"input": {}, "labels": {"team": team}})
    page = tab.go("/executions")
    page.get_by_role("checkbox", name="Select the execution of").nth(1).check()
    expect(page.get_by_text("1 selected")).to_be_visible()

    page.get_by_role("button", name="team: shop").click()

    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_text("1 selected")).to_have_count(0)
