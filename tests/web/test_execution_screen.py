"""The screen of one execution, and the ways to it and from it, in a real Chromium."""

import re
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, WebSocketRoute, expect

from support.client import PASSWORD, Client
from support.receiver import Receiver
from support.server import Server
from web import sample
from web.browser import OWNER, Tab, needs_chromium, violations

pytestmark = [needs_chromium, pytest.mark.timeout(600)]


def panel(page: Page) -> Locator:
    return page.get_by_role("complementary")


TALKATIVE: Final = """\
metadata: {name: talkative}
nodes:
  each:
    type: foreach
    params: {items: "${Array.from({length: 12}, (_, i) => i)}", as: item, concurrency: 1}
    nodes:
      work:
        type: transform
        params: {script: "for (let n = 0; n < 100; n++) console.log('line', n, 'of', item); return item"}
"""


def test_the_first_rounds_of_a_long_loop_show_their_own_log(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(TALKATIVE))
    api.ended(id)
    page = tab.go(f"/executions/{id}?step=each.1[0]/work.1")

    tail = panel(page).locator(".log-tail li")
    expect(tail).to_have_count(12)
    expect(tail.last).to_contain_text("line 99 of 0")
    page.get_by_role("link", name="All lines of this step").click()
    expect(page.locator(".log-tools")).to_contain_text("100 lines")


def test_a_signal_is_sent_from_the_step_that_waits_for_it(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow('nodes: {pay: {type: wait, params: {key: "paid/42"}}}', name="waits for money"))
    api.until_it_waits(id)
    page = tab.go(f"/executions/{id}")
    expect(panel(page)).to_contain_text("It waits for the signal paid/42")
    data = panel(page).get_by_label("Data of the signal")
    data.fill("{amount: ")
    expect(panel(page)).to_contain_text("This is not valid JSON or YAML")
    data.fill("amount: 12")
    panel(page).get_by_role("button", name="Send the signal").click()

    expect(page.locator("header .pill")).to_have_text("completed")
    assert api.ended(id)["result"] == {"amount": 12}


REFUSED: Final = """\
metadata: {name: refused invoice}
nodes:
  send:
    type: fail
    params:
      error: refused
      message: The customer was refused
      data: {body: {error: {code: tax_id_invalid, fields: [tax_id]}}}
"""


SENT: Final = """\
nodes:
  make: {type: transform, params: {value: {id: 7}}, next: send}
  send:
    type: http.request
    params:
      url: "URL/status/400?of=${flow.input.customer}"
      method: POST
      headers: {Authorization: "Bearer ${secrets.SHOP_TOKEN}"}
      body: {order: "${input.id}", at: "${Date.now()}", markup: "<img src=x onerror=alert(1)>"}
"""


def test_a_step_shows_what_it_was_given(tab: Tab, api: Client, receiver: Receiver) -> None:
    api.new_secret("SHOP_TOKEN", "a-token-of-the-shop")
    flow = api.new_flow(SENT.replace("URL", receiver.url), name="sends an order")
    before, id = (api.run(flow, {"customer": customer}) for customer in ("acme", "bolt"))
    for each in (before, id):
        assert api.ended(each)["status"] == "failed"
    page = tab.go(f"/executions/{id}")

    # A failed step shows them by itself.
    given = panel(page).get_by_role("group", name="Parameters", exact=True)
    expect(given).to_contain_text("/status/400?of=bolt")
    expect(given).to_contain_text('"Bearer ${secrets.SHOP_TOKEN}"')
    expect(given).to_contain_text('"order": 7')
    expect(panel(page)).to_contain_text("They may have been others. An expression reads the clock")
    assert violations(page) == []
    panel(page).get_by_role("button", name="Compare with another").click()
    panel(page).get_by_label("Execution or run to compare with").select_option(before)
    expect(panel(page).locator(".diff-removed", has_text="of=acme")).to_have_count(1)

    page = tab.go(f"/executions/{id}?step=make.1")
    panel(page).get_by_role("button", name="Show its parameters").click()
    expect(given).to_contain_text('"id": 7')


SAID: Final = """\
nodes:
  each:
    type: foreach
    params: {items: [one, two, three]}
    nodes: {say: {type: log, params: {message: "to ${item}"}}}
"""


def test_two_runs_of_a_node_are_compared(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(SAID))
    api.ended(id)
    page = tab.go(f"/executions/{id}?step=each.1[1]/say.1")

    panel(page).get_by_role("button", name="Compare with another").click()
    against = panel(page).get_by_label("Execution or run to compare with")
    against.select_option(label="each › round 1 › say")

    compared = panel(page).get_by_role("group", name="Compared with")
    expect(compared.locator(".diff-removed", has_text='"to one"')).to_have_count(1)
    expect(compared.locator(".diff-added", has_text='"to two"')).to_have_count(1)
    # What was chosen for one step is nothing for itself.
    page = tab.go(f"/executions/{id}?step=each.1[0]/say.1&against=each.1[0]/say.1")
    expect(panel(page)).to_contain_text("No other execution of this flow has completed")
    assert violations(page) == []


READS_NULL: Final = """\
nodes:
  make: {type: transform, params: {value: {user: null}}, next: send}
  send: {type: log, params: {message: "To ${input.user.name}", data: "${flow.input.region}"}}
"""


def test_a_step_whose_expression_failed_shows_what_it_read(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(READS_NULL), {"region": "eu"})
    api.ended(id)
    page = tab.go(f"/executions/{id}")

    given = panel(page).get_by_role("group", name="Parameters", exact=True)
    expect(given).to_contain_text('"data": "eu"')
    expect(panel(page).locator("p", has_text="message")).to_contain_text("cannot read 'name' of null")
    expect(panel(page).get_by_role("group", name="input", exact=True)).to_contain_text('"user": null')
    assert violations(page) == []


def test_a_failed_step_shows_what_it_was_answered(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(REFUSED))
    api.ended(id)
    page = tab.go(f"/executions/{id}")

    expect(panel(page).get_by_role("group", name="Data of the error")).to_contain_text("tax_id_invalid")


def test_a_long_answer_to_a_failed_step_is_loaded_when_it_is_asked_for(tab: Tab, api: Client) -> None:
    long = (
        "nodes: {send: {type: fail, params: {error: refused, message: no, data: \"${'x'.repeat(90000) + 'the end'}\"}}}"
    )
    id = api.run(api.new_flow(long, name="long refusal"))
    api.ended(id)
    page = tab.go(f"/executions/{id}")
    part = panel(page).locator("section").filter(has_text="Data of the error")
    expect(part).to_contain_text("The first 64 KiB of 88 KiB")
    part.get_by_role("button", name="Load all of it").click()
    part.get_by_role("button", name=re.compile("more characters")).click()

    expect(part).to_contain_text("the end")


SLOW_LOOP: Final = """\
metadata: {name: slow loop}
nodes:
  each:
    type: foreach
    params: {items: "${Array.from({length: 1200}, (_, i) => i)}", as: item, concurrency: 3}
    nodes:
      ask: {type: wait, params: {key: "go-${item}"}}
"""


def test_a_loop_shows_how_far_it_is(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(SLOW_LOOP))
    api.until_it_waits(id)
    page = tab.go(f"/executions/{id}?step=each.1")
    loop = page.locator("[data-node=each]")
    expect(loop).to_contain_text("foreach · 0 of 1,200")
    assert api.post(f"/api/v1/executions/{id}/signals/go-0", {}).status < 300

    expect(loop).to_contain_text("foreach · 1 of 1,200")
    expect(panel(page).locator("dl")).to_contain_text("Rounds1 of 1,200")
    page.get_by_role("link", name="Timeline").click()
    expect(page.get_by_role("button", name=re.compile("^each, foreach · 1 of 1,200"))).to_be_visible()
    api.delete(f"/api/v1/executions/{id}")


RETRIED_LATER: Final = """\
metadata: {name: retried later}
nodes:
  send:
    type: transform
    params: {script: "throw new Error('not yet')"}
    retry: {max: 3, delay: 600s, errors: [script]}
"""


def test_a_step_that_will_be_retried_says_when(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(RETRIED_LATER))
    page = tab.go(f"/executions/{id}")

    next_attempt = panel(page).locator("dt", has_text="Next attempt").locator("+ dd time")
    expect(next_attempt).to_be_visible()
    (step,) = api.get(f"/api/v1/executions/{id}/steps").json["steps"]
    (attempt,) = api.get(f"/api/v1/executions/{id}/steps/{step['id']}").json["each_attempt"]
    assert next_attempt.get_attribute("datetime") == attempt["retry_at"]
    api.delete(f"/api/v1/executions/{id}")


BROKEN: Final = """\
metadata: {name: broken script}
nodes:
  each:
    type: foreach
    params: {items: [1], as: item}
    nodes:
      work:
        type: transform
        params:
          script: |
            const one = item;
            throw new Error("no " + one);
"""


def test_an_error_leads_to_its_line_in_the_editor(tab: Tab, api: Client) -> None:
    flow = api.new_flow(BROKEN)
    id = api.run(flow)
    api.ended(id)
    page = tab.go(f"/executions/{id}")
    expect(panel(page).locator(".alert")).to_contain_text("no 1")
    expect(panel(page).locator(".alert")).to_contain_text("In line 2 of params.script")
    panel(page).get_by_role("link", name="Open it in the editor").click()

    expect(page.locator("[data-node='each/work']")).to_have_attribute("aria-current", "true")
    expect(page.locator(".cm-activeLine")).to_have_text('            throw new Error("no " + one);')


def test_an_error_of_a_sub_flow_leads_there_and_to_no_line_of_the_calling_flow(tab: Tab, api: Client) -> None:
    called = api.new_flow(BROKEN.replace("broken script", "called"), name="called")
    id = api.run(api.new_flow(f"nodes: {{call: {{type: flow, params: {{flow: {called}}}}}}}", name="calls"))
    api.ended(id)
    page = tab.go(f"/executions/{id}")
    expect(panel(page).locator(".alert")).to_contain_text("no 1")

    expect(panel(page).get_by_role("link", name="Open it in the editor")).not_to_have_attribute(
        "href", re.compile("line=")
    )
    expect(panel(page).locator(".alert")).not_to_contain_text("In line")
    panel(page).get_by_role("link", name="Show it in the sub-flow").click()
    expect(page.get_by_role("heading", name="called")).to_be_visible()
    expect(panel(page).locator(".alert")).to_contain_text("In line 2 of params.script")


def test_a_job_is_watched_and_stopped_by_whoever_comes_to_the_list(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {stop: {type: fail, params: {error: a.b}}}", name="fails often")
    for id in [api.run(flow) for _ in range(30)]:
        api.ended(id)
    job = api.post("/api/v1/executions:batch", {"action": "rerun", "filter": {"flow_id": flow}}).json["id"]
    page = tab.page
    # A job as it is while it runs; the one of so few executions has ended at once.
    running = {**api.get(f"/api/v1/jobs/{job}").json, "status": "running", "done": 12, "total": 30}
    page.route("**/api/v1/jobs?*", lambda route: route.fulfill(json={"jobs": [running], "limit": 20}))
    page.route(f"**/api/v1/jobs/{job}", lambda route: route.fulfill(json=running))
    tab.go("/executions")

    bar = page.get_by_role("group", name="Re-running")
    expect(bar).to_contain_text("12 of 30 started")
    # A reader who listens is told of its end, and not of each of its steps.
    expect(bar.get_by_role("status")).to_have_text("")
    with page.expect_request(lambda request: request.method == "DELETE" and request.url.endswith(job)):
        page.get_by_role("button", name="Stop", exact=True).click()
    tab.go("/flows")
    tab.go("/executions")
    expect(bar).to_be_visible()


def restore(page: Page) -> None:
    page.get_by_role("button", name="Restore", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Restore").click()


def test_settings_and_restores_go_on_after_somebody_else_has_saved(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {a: {type: log, params: {message: one}}}", name="shared")
    page = tab.go(f"/flows/{flow}/settings")
    expect(page.get_by_role("button", name="Disable")).to_be_visible()
    api.put(f"/api/v1/flows/{flow}", {"definition": "nodes: {a: {type: log, params: {message: two}}}"})
    page.get_by_role("button", name="Disable").click()
    expect(page.locator(".toast.bad")).to_be_visible()
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_role("button", name="Enable")).to_be_visible()

    tab.go(f"/flows/{flow}/revisions?number=1")
    expect(page.get_by_role("button", name="Restore", exact=True)).to_be_visible()
    api.put(f"/api/v1/flows/{flow}", {"definition": "nodes: {a: {type: log, params: {message: three}}}"})
    held: list[Route] = []
    page.route(f"**/api/v1/flows/{flow}", lambda route: held.append(route))  # noqa: PLW0108 # Playwright wraps no method
    with page.expect_request(f"**/api/v1/flows/{flow}"):
        restore(page)
    # Who is told to try again can do so: what is current now has been loaded by then.
    assert page.locator(".toast.bad").count() == 0
    for route in held:
        route.continue_()
    page.unroute(f"**/api/v1/flows/{flow}")
    expect(page.locator(".toast.bad")).to_be_visible()
    restore(page)
    expect(page.get_by_text("restored", exact=False).first).to_be_visible()
    assert "message: one" in api.get(f"/api/v1/flows/{flow}").json["definition"]


def test_a_trigger_beyond_the_first_page_is_opened_by_its_address(tab: Tab, api: Client) -> None:
    many = "".join(f"  t{n}: {{type: webhook, verify: {{scheme: none}}}}\n" for n in range(20))
    for n in range(6):
        api.new_flow(f"triggers:\n{many}nodes: {{a: {{type: log, params: {{message: hi}}}}}}\n", name=f"many {n}")
    page = tab.go("/triggers")
    expect(page.get_by_text("120 triggers")).to_be_visible()
    listed = [row["id"] for row in api.get("/api/v1/triggers", limit=100).json["triggers"]]
    every = [row["id"] for row in api.get("/api/v1/triggers", limit=500).json["triggers"]]
    last = next(id for id in every if id not in listed)
    tab.go(f"/triggers?trigger={last}")

    expect(page.get_by_role("dialog").get_by_role("heading", name="Requests of the last seven days")).to_be_visible()


def test_logging_out_without_a_server_says_that_it_was_not_done(tab: Tab) -> None:
    page = tab.go("/account")
    page.route("**/api/v1/auth/logout", lambda route: route.abort())
    page.get_by_role("button", name="Log out").first.click()

    expect(page.locator(".toast.bad")).to_contain_text("The server does not answer")


MANY_FAIL: Final = """\
metadata: {name: many fail}
nodes:
  each:
    type: foreach
    params: {items: "${Array.from({length: 40}, (_, i) => i)}", as: item, concurrency: 1, on_error: continue}
    nodes:
      push: {type: transform, params: {script: "if (item < 30) throw new Error('no ' + item); return item"}}
"""


def test_the_timeline_counts_the_rounds_that_it_does_not_list(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(MANY_FAIL))
    api.ended(id)
    page = tab.go(f"/executions/{id}?tab=timeline")
    page.get_by_role("button", name="Show what each ran").click()
    rest = page.locator(".lane.rest")
    expect(rest).to_contain_text("20 others")
    expect(rest.locator(".track .b-failed")).to_have_count(1)
    expect(page.get_by_role("button", name=re.compile("^round 1, push, failed"))).to_be_visible()
    rest.get_by_role("button", name="10 failed").click()

    expect(panel(page)).to_contain_text("Rounds of each: failed 30")
    panel(page).get_by_role("button", name="round 30 › push").click()
    expect(panel(page)).to_contain_text("no 29")
    expect(panel(page).get_by_label("Round of the loop")).to_have_value("each.1[29]/push.1")
    expect(panel(page).locator(".rounds")).to_contain_text("of 40")


def test_views_of_an_execution_keep_what_was_chosen(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(MANY_FAIL, name="keeps the view"))
    api.ended(id)
    page = tab.go(f"/executions/{id}?step=each.1%5B3%5D%2Fpush.1")
    expect(panel(page)).to_contain_text("no 3")
    views = page.get_by_role("navigation", name="Views of the execution")
    views.get_by_role("link", name="Logs").click()
    page.get_by_label("Level").select_option("error")
    views.get_by_role("link", name="Timeline").click()
    expect(panel(page)).to_contain_text("no 3")
    views.get_by_role("link", name="Logs").click()
    expect(page.get_by_label("Level")).to_have_value("error")
    views.get_by_role("link", name="Graph").click()
    expect(panel(page)).to_contain_text("no 3")

    page.get_by_role("button", name="Zoom out").click()
    scale = page.locator(".graph-scale").inner_text()
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_label("Moment of the execution")).to_be_visible()
    assert page.locator(".graph-scale").inner_text() == scale


def test_on_a_narrow_screen_what_is_chosen_comes_into_sight(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(MANY_FAIL, name="narrow"))
    api.ended(id)
    tab.page.set_viewport_size({"width": 390, "height": 700})
    try:
        page = tab.go(f"/executions/{id}?tab=timeline&node=each")
        page.get_by_role("button", name="Show what each ran").click()
        page.get_by_role("button", name=re.compile("^round 2, push, failed")).click()
        expect(panel(page).locator("h2").first).to_be_in_viewport()
    finally:
        tab.page.set_viewport_size({"width": 1440, "height": 860})


def after_three_others(node: str) -> str:
    """Return a flow whose graph takes more than half of a phone's screen."""
    others = [f"{name}: {{type: set, params: {{values: {{x: 1}}}}, next: {then}}}" for name, then in ("bc", "cd", "da")]
    return f"nodes: {{{', '.join(others)}, a: {node}}}"


def test_on_a_narrow_screen_a_button_above_the_graph_leads_to_the_approval(tab: Tab, api: Client) -> None:
    text = after_three_others("{type: approval, params: {prompt: 'Ship it?'}}")
    id = api.run(api.new_flow(text, name="asks a telephone"))
    api.waiting_at(id, "a")
    page = tab.go(f"/executions/{id}")
    expect(panel(page).get_by_role("button", name="Approve")).to_be_visible()
    # Beside the panel, there is nothing to lead to.
    expect(page.get_by_role("button", name="Show the approval")).to_be_hidden()
    page.set_viewport_size({"width": 390, "height": 700})
    try:
        expect(panel(page).get_by_role("button", name="Approve")).not_to_be_in_viewport()
        shown = page.get_by_role("button", name="Show the approval")
        expect(shown).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        shown.click()
        expect(panel(page).get_by_role("button", name="Approve")).to_be_in_viewport(ratio=1)
        panel(page).get_by_role("button", name="Approve").click()
        expect(shown).to_have_count(0)
        api.ended(id)
    finally:
        page.set_viewport_size({"width": 1440, "height": 860})


def test_on_a_narrow_screen_a_button_above_the_graph_leads_to_the_error(tab: Tab, api: Client) -> None:
    text = after_three_others("{type: fail, params: {error: e.e, message: Too late}}")
    id = api.run(api.new_flow(text, name="fails on a telephone"))
    api.ended(id)
    page = tab.go(f"/executions/{id}")
    page.set_viewport_size({"width": 390, "height": 700})
    try:
        expect(panel(page).get_by_text("Too late").first).not_to_be_in_viewport(ratio=1)
        page.get_by_role("button", name="Show the error").click()
        expect(panel(page).get_by_text("Too late").first).to_be_in_viewport(ratio=1)
    finally:
        page.set_viewport_size({"width": 1440, "height": 860})


def test_the_way_to_the_error_has_no_motion_that_something_could_stop_halfway(
    browser: Browser, site: Server, api: Client
) -> None:
    text = after_three_others("{type: fail, params: {error: e.e, message: Too late}}")
    id = api.run(api.new_flow(text, name="half way"))
    api.ended(id)
    tab = Tab(browser, site.url, width=390, height=700, reduced_motion="no-preference")
    try:
        page = tab.log_in(api.email, api.password).go(f"/executions/{id}")
        shown = page.get_by_role("button", name="Show the error")
        expect(panel(page).get_by_text("Too late").first).to_be_attached()

        places = "button => { button.click(); return document.querySelector('.drawer').getBoundingClientRect().top }"
        assert shown.evaluate(places) < 350
    finally:
        tab.close()


def test_the_title_has_the_focus_although_the_execution_comes_late(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {a: {type: return, params: {value: 1}}}", name="comes late")
    id = api.post(f"/api/v1/flows/{flow}/run", {}).json["execution_id"]
    page = tab.go("/executions")
    page.route(f"**/api/v1/executions/{id}*", lambda _: None)
    page.get_by_role("link", name="comes late").first.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    # Requests that were held go on by that.
    page.unroute(f"**/api/v1/executions/{id}*")

    expect(page.get_by_role("heading", name="comes late", level=1)).to_be_focused()


def test_a_flow_is_run_by_keys_from_its_executions(tab: Tab, api: Client) -> None:
    text = "inputs: {who: {type: string}}\nnodes: {a: {type: wait, params: {key: go}}}\n"
    flow = api.new_flow(text, name="is run by keys")
    page = tab.go(f"/flows/{flow}/executions")
    expect(page).to_have_title("is run by keys · Executions · FlowRunner")
    page.get_by_role("button", name="Run…").press("Enter")
    expect(page.get_by_role("dialog").get_by_label("who")).to_be_focused()
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")

    page.wait_for_url("**/executions/exec-*")
    expect(page.get_by_role("heading", name="is run by keys", level=1)).to_be_focused()
    expect(page).to_have_title("is run by keys · waiting · Graph · FlowRunner")
    id = page.url.rpartition("/")[2]
    took = page.locator(".facts").get_by_text("So far")
    before = took.inner_text()
    # It grows by the second.
    expect(took).not_to_have_text(before)
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep it running").click()
    api.post(f"/api/v1/executions/{id}/signals/go", {})
    expect(page).to_have_title("is run by keys · completed · Graph · FlowRunner")
    assert api.ended(id)["status"] == "completed"


def test_rows_stay_under_the_pointer_that_moves_over_them(browser: Browser, server: Server, api: Client) -> None:
    flow = api.new_flow("nodes: {a: {type: return, params: {value: 1}}}", name="is pointed at")
    api.ended(api.run(flow))
    tab = Tab(browser, server.url)
    try:
        tab.page.clock.install()
        page = tab.log_in(api.email, api.password).go(f"/flows/{flow}/executions")
        rows = page.locator("tbody tr")
        expect(rows).to_have_count(1)
        api.ended(api.run(flow))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if "/executions?" in request.url else None)
        for x in range(20):
            page.mouse.move(400 + x, 400)
            page.clock.run_for(500)
        assert asked == []
        # Once it rests, the new one comes.
        page.clock.run_for(6500)
        expect(rows).to_have_count(2)
    finally:
        tab.close()


def test_back_shows_a_list_where_it_was_left(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {a: {type: return, params: {value: 1}}}", name="in a long list")
    for id in [api.run(flow) for _ in range(45)]:
        api.ended(id)
    page = tab.go(f"/executions?flow={flow}")
    row = page.get_by_role("link", name="in a long list").nth(35)
    row.hover()
    place = page.evaluate("scrollY")
    assert place > 0
    row.click()
    expect(page.locator("header .pill")).to_have_text("completed")
    page.go_back()

    expect(row).to_be_visible()
    page.wait_for_function("place => scrollY === place", arg=place)
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") == place


def test_the_back_button_asks_before_a_text_is_lost_that_cannot_be_kept(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {a: {type: return, params: {value: 1}}}", name="too large")
    page = tab.go("/flows")
    page.get_by_role("link", name="too large").click()
    expect(page.locator("[data-node=a]")).to_be_visible()
    full = "throw new DOMException('full', 'QuotaExceededError')"
    page.evaluate(f"() => {{ Storage.prototype.setItem = () => {{ {full} }} }}")
    page.get_by_role("textbox", name="Flow definition").click()
    page.keyboard.press("Control+End")
    page.keyboard.insert_text("# kept here alone")
    expect(page.get_by_text("unsaved changes")).to_be_visible()
    page.go_back()

    expect(page.get_by_role("textbox", name="Flow definition")).to_contain_text("# kept here alone")
    expect(page).to_have_url(re.compile(flow))
    assert [fault[:7] for fault in tab.faults] == ["dialog:"]
    tab.faults.clear()


def assert_beside_the_status(mark: Locator, page: Page) -> None:
    box, status = mark.bounding_box(), page.locator("header .pill").bounding_box()
    assert box is not None
    assert status is not None
    assert 0 <= box["x"] - (status["x"] + status["width"]) < 40
    assert abs((box["y"] + box["height"] / 2) - (status["y"] + status["height"] / 2)) < 10


def member_of(api: Client, role: str) -> Client:
    member = api.new_account()
    added = api.post(f"/api/v1/workspaces/{api.account_id}/members", {"account": member.email, "role": role})
    assert added.status == 201, added
    return member


def test_a_long_interruption_is_told_beside_the_status(tab: Tab, api: Client) -> None:
    page = tab.page
    page.clock.install()
    sockets: list[WebSocketRoute] = []

    def pass_on(route: WebSocketRoute) -> None:
        sockets.append(route)
        route.connect_to_server()

    page.route_web_socket("**/ws/executions/*", pass_on)
    id = api.run(api.new_flow(sample.APPROVED, name="is interrupted"))
    api.waiting_at(id, "ask")
    tab.go(f"/executions/{id}")
    mark = page.locator(".live")
    expect(mark).to_have_text("live")

    page.route(f"**/api/v1/executions/{id}*", lambda route: route.abort())
    sockets[-1].close(code=1012)
    expect(mark).to_have_text("reconnecting")
    # The answer to an attempt comes in real time, and the next attempt follows on the clock of the page.
    while mark.inner_text() == "reconnecting":
        page.clock.run_for(8_000)

    expect(mark).to_have_text("no connection: this may be outdated")
    assert_beside_the_status(mark, page)


def test_a_network_that_is_gone_is_told_at_once(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow("nodes: {wait: {type: delay, params: {duration: 1h}}}", name="goes on"))
    page = tab.go(f"/executions/{id}")
    expect(page.locator(".live")).to_have_text("live")

    tab.context.set_offline(True)

    expect(page.locator(".live")).to_have_text("reconnecting")
    tab.context.set_offline(False)
    expect(page.locator(".live")).to_have_text("live")


def test_why_a_step_was_stopped_is_said_beside_it(tab: Tab, api: Client) -> None:
    document = "limits: {timeout: 0.1s}\nnodes: {wait: {type: delay, params: {duration: 1h}}}"
    api.ended(id := api.run(api.new_flow(document, name="takes too long")))
    page = tab.go(f"/executions/{id}")

    expect(panel(page)).to_contain_text("The execution did not end within 0.1 seconds")
    expect(panel(page)).not_to_contain_text("Waits for")


def test_an_execution_that_waits_for_others_leads_to_them(tab: Tab, api: Client) -> None:
    document = "limits: {concurrency: {max: 1}}\nnodes: {wait: {type: delay, params: {duration: 1h}}}"
    flow = api.new_flow(document, name="has one slot")
    api.until_it_waits(api.run(flow))
    page = tab.go(f"/executions/{api.run(flow)}")

    page.get_by_role("link", name="a concurrency slot").click()

    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("tbody .where")).to_have_text(["waits for a concurrency slot", ""])


def test_words_from_right_to_left_keep_the_order_of_the_document(tab: Tab, api: Client) -> None:
    document = 'nodes: {done: {type: return, params: {value: {"שלום": "مرحبا"}}}}'
    api.ended(id := api.run(api.new_flow(document, name="has two directions")))
    page = tab.go(f"/executions/{id}?tab=data")
    key, value = page.locator(".j-k").bounding_box(), page.locator(".j-s").bounding_box()

    assert key is not None
    assert value is not None
    assert key["x"] + key["width"] < value["x"]


def test_colours_that_say_something_stay_where_the_reader_has_chosen_others(tab: Tab, ids: dict[str, Any]) -> None:
    page = tab.page
    page.emulate_media(forced_colors="active")
    tab.go(f"/executions/{ids['failed']}?tab=timeline")
    look = "element => getComputedStyle(element).backgroundColor"
    canvas = page.locator("body").evaluate(look)

    assert page.locator(".track .b-failed").first.evaluate(look) != canvas
    assert page.locator(".tabs [aria-current]").evaluate(look) != canvas
    assert (
        page.locator(".tabs a:not([aria-current])").first.evaluate(look.replace("backgroundColor", "borderColor"))
        == canvas
    )
    page.emulate_media(forced_colors="none")


def test_a_removed_member_is_told_why_its_execution_stands_still(browser: Browser, server: Server, api: Client) -> None:
    id = api.run(api.new_flow(sample.APPROVED, name="is out of reach"))
    api.waiting_at(id, "ask")
    lee = member_of(api, "viewer")
    tab = Tab(browser, server.url).log_in(lee.email, PASSWORD)
    page = tab.page
    page.goto(f"/w/~{api.account_id[-8:]}/executions/{id}")
    mark = page.locator(".live")
    expect(mark).to_have_text("live")

    removed = api.delete(f"/api/v1/workspaces/{api.account_id}/members/{lee.account_id}")

    assert removed.status == 200, removed
    expect(mark).to_have_text("it was deleted, or you are no longer a member")
    assert_beside_the_status(mark, page)
    tab.close()


def test_an_execution_says_who_started_and_cancelled_it_and_is_deleted(tab: Tab, api: Client) -> None:
    flow = api.new_flow(sample.LONG, name="is deleted")
    lee = member_of(api, "operator")
    run = lee.post(f"/api/v1/flows/{flow}/run", {"input": {}}, Flowrunner_Workspace=api.account_id)
    id = run.json["execution_id"]
    api.until_it_waits(id)
    own = api.get(f"/api/v1/accounts/{api.account_id}").json["name"]
    page = tab.go(f"/executions/{id}")
    expect(page.locator(".facts")).to_contain_text("By Somebody")
    expect(page.locator(".facts")).to_contain_text("Revision 1, also after edits")
    page.get_by_role("button", name="Cancel…").click()
    # The flow has no handler.
    expect(page.get_by_role("dialog")).not_to_contain_text("on_")
    expect(page.get_by_role("button", name="Delete…")).to_have_count(0)
    page.get_by_role("dialog").get_by_role("button", name="Cancel the execution").click()
    expect(page.locator(".facts")).to_contain_text(f"Cancelled by {own}")

    page.get_by_role("button", name="Delete…").click()
    expect(page.get_by_role("dialog")).to_contain_text("cannot be restored")
    page.get_by_role("dialog").get_by_role("button", name="Delete the execution").click()
    expect(page.get_by_role("status").filter(has_text="The execution is deleted")).to_be_visible()
    expect(page).to_have_url(re.compile("/executions$"))
    assert api.get(f"/api/v1/executions/{id}").status == 404


def test_only_editors_delete_executions_and_viewers_read(browser: Browser, server: Server, api: Client) -> None:
    flow = api.new_flow(BROKEN, name="is only read")
    id = api.run(flow)
    api.ended(id)
    asked = api.run(api.new_flow("nodes: {ask: {type: approval, params: {prompt: 'Ship it?'}}}", name="asks who reads"))
    api.waiting_at(asked, "ask")
    home = f"/w/~{api.account_id[-8:]}"
    for role in ("viewer", "operator"):
        other = Tab(browser, server.url).log_in(member_of(api, role).email, PASSWORD)
        other.page.goto(f"{home}/executions/{id}")
        panel(other.page).get_by_role("link", name="Show it in the flow").wait_for()
        expect(other.page.get_by_role("button", name="Delete…")).to_have_count(0)
        other.page.goto(f"{home}/executions?flow={flow}")
        expect(other.page.get_by_role("navigation", name="Pages")).to_contain_text("1 execution")
        expect(other.page.get_by_role("button", name="Delete…")).to_have_count(0)
        other.page.goto(f"{home}/executions/{asked}")
        expect(panel(other.page)).to_contain_text("Ship it?")
        reason = panel(other.page).get_by_text("needs the role operator")
        expect(reason).to_have_count(1 if role == "viewer" else 0)
        expect(panel(other.page).get_by_role("button", name="Approve")).to_have_count(0 if role == "viewer" else 1)
        assert other.faults == []
        other.close()


def test_many_executions_are_deleted_after_a_preview(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {a: {type: return, params: {value: 1}}}", name="deleted in bulk")
    for id in [api.run(flow) for _ in range(6)]:
        api.ended(id)
    page = tab.go("/executions")
    expect(page.locator("tbody tr").first).to_be_visible()
    # Not all that there are, by one button.
    expect(page.get_by_role("button", name="Delete…")).to_have_count(0)
    page.goto(f"{tab.home}/executions?flow={flow}")
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("All that match the filters")
    dialog.get_by_role("button", name="Delete 6 executions").click()

    expect(page.get_by_role("status").filter(has_text="6 of 6 done")).to_be_visible()
    expect(page.get_by_text("No execution matches these filters")).to_be_visible()
    assert api.get("/api/v1/executions", flow_id=flow).json["total"] == 0


def test_back_shows_the_list_at_once_with_what_was_selected(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {a: {type: return, params: {value: 1}}}", name="is come back to")
    for id in [api.run(flow) for _ in range(3)]:
        api.ended(id)
    page = tab.go(f"/executions?flow={flow}")
    page.get_by_role("checkbox", name="Select the execution of is come back to").nth(1).check()
    page.locator("tbody td.name a").first.click()
    expect(page.locator("header .pill")).to_have_text("completed")
    # Whoever asks again gets no answer.
    page.route("**/api/v1/executions?*", lambda route: None)
    page.go_back()

    expect(page.locator("tbody td.name a")).to_have_count(3)
    expect(page.get_by_role("checkbox", name="Select the execution of is come back to").nth(1)).to_be_checked()
    expect(page.get_by_text("1 selected")).to_be_visible()
    page.unroute("**/api/v1/executions?*")
    # Another visit of the list begins anew.
    page.get_by_role("navigation", name="Main", exact=True).get_by_role("link", name="Flows").click()
    page.get_by_role("navigation", name="Main", exact=True).get_by_role("link", name="Executions").click()
    expect(page.locator("tbody td.name a").first).to_be_visible()
    expect(page.get_by_text("1 selected")).to_have_count(0)


def test_the_time_slider_shows_the_course_in_colour_and_in_words(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(MANY_FAIL, name="is replayed in colour"))
    api.ended(id)
    page = tab.go(f"/executions/{id}")
    page.get_by_role("button", name="Replay").click()
    slider = page.get_by_role("slider", name="Moment of the execution")
    expect(slider).to_be_focused()
    page.get_by_role("button", name="Pause").click()
    for kind in ("queued", "completed", "failed"):
        expect(page.locator(f".course .b-{kind}").first).to_be_visible()
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("event 0 of"))
    words: set[str] = set()
    for _ in range(12):
        slider.press("ArrowRight")
        words.add((slider.get_attribute("aria-valuetext") or "").split(", ")[-1])
    assert words == {"queued", "completed", "failed attempt"}
    slider.press("End")
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"event (\d+) of \1$"))
    assert violations(page) == []


def test_a_replay_names_who_answered_an_approval(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(sample.APPROVED, name="is answered and replayed"))
    api.waiting_at(id, "ask")
    api.post(f"/api/v1/executions/{id}/approvals/ask", {"approved": False})
    api.ended(id)
    page = tab.go(f"/executions/{id}")
    page.get_by_role("button", name="Replay").click()
    page.get_by_role("slider", name="Moment of the execution").press("End")

    expect(page.get_by_role("complementary", name="Replay")).to_contain_text(f"Rejected by {OWNER}")


def test_messages_stand_clear_of_the_tools_of_the_graph(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {a: {type: return, params: {value: 1}}}", name="has tools")
    tab.page.set_viewport_size({"width": 1280, "height": 860})
    page = tab.go(f"/flows/{flow}")
    page.get_by_role("textbox", name="Flow definition").click()
    page.keyboard.press("Control+End")
    page.keyboard.insert_text("# more")
    page.keyboard.press("Control+S")
    toast = page.locator(".toast")
    expect(toast).to_be_visible()
    tools = page.locator(".graph-tools").bounding_box()
    shown = toast.bounding_box()
    assert tools is not None
    assert shown is not None
    assert shown["y"] + shown["height"] <= tools["y"]


def test_keys_without_ctrl_are_switched_off_in_the_account_too(tab: Tab) -> None:
    page = tab.go("/account")
    page.get_by_label("Keys without Ctrl").uncheck()
    page.keyboard.press("Escape")
    page.locator("body").click(position={"x": 700, "y": 5})
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_label("Keys without Ctrl").check()
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog").get_by_label("Keys without Ctrl")).to_be_checked()


RETRIED: Final = """\
nodes:
  send:
    type: http.request
    params: {url: "URL/keep/${nodes.send.attempts > 1 ? 'later' : 'first'}-of-the-screen?status=503"}
    retry: {max: 3, delay: 1s}
"""


def test_two_attempts_are_compared_next_to_each_other(tab: Tab, api: Client, receiver: Receiver) -> None:
    answers = Client(receiver.url)
    for attempt, queue in (("first", 40), ("later", 12)):
        text = f'{{"queue": {queue}, "markup": "<img src=x onerror=alert(1)>"}}'
        answers.request("PUT", f"/keep/{attempt}-of-the-screen", text.encode())
    id = api.run(api.new_flow(RETRIED.replace("URL", receiver.url), name="is tried again"))
    assert api.ended(id)["status"] == "failed"
    page = tab.go(f"/executions/{id}")

    panel(page).get_by_role("button", name="Compare attempts").click()

    # All after it ended as the second.
    dialog = page.get_by_role("dialog", name="Attempts of send")
    left, right = dialog.get_by_label("Attempt at the left"), dialog.get_by_label("Attempt at the right")
    expect(left.locator("option:checked")).to_have_text("Attempt 1")
    expect(right.locator("option:checked")).to_have_text("Attempt 2")
    expect(dialog.get_by_role("row", name=re.compile("^Error"))).to_have_text("Errorhttp.503http.503")
    data = dialog.get_by_role("group", name="Data of the error, or result")
    expect(data.locator("tr", has_text="queue")).to_have_text('    "queue": 40,    "queue": 12,')
    expect(data.locator("tr", has_text="queue").locator("td.diff-removed")).to_have_count(1)
    expect(data.locator("tr", has_text="onerror").locator(".diff-removed, .diff-added")).to_have_count(0)
    expect(dialog.get_by_role("group", name="Parameters").locator(".diff-removed")).to_contain_text("/first-of-the")
    expect(dialog.get_by_role("img", name="differs")).to_have_count(2)
    assert violations(page) == []

    left.select_option(label="Attempt 3")
    expect(data.locator(".diff-removed, .diff-added").first).to_contain_text('"date"')
    right.select_option(label="Attempt 3")
    expect(data).to_have_count(0)
    expect(dialog.get_by_role("img", name="differs")).to_have_count(0)
    page.set_viewport_size({"width": 320, "height": 700})
    assert dialog.evaluate("(dialog) => dialog.scrollWidth <= dialog.clientWidth")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_steps_that_wait_in_a_loop_are_named_once(tab: Tab, api: Client) -> None:
    pauses = "{pause: {type: delay, params: {duration: 1h}}}"
    loop = f'{{type: foreach, params: {{items: "${{[1, 2, 3]}}", concurrency: 3}}, nodes: {pauses}}}'
    id = api.run(api.new_flow(f"nodes: {{each: {loop}}}"))
    api.until_it_waits(id)
    page = tab.go(f"/executions/{id}")

    waits = page.locator(".facts").get_by_text("Waits for")
    expect(waits).to_have_text("Waits for a delay (pause) × 3")


def test_what_an_execution_waits_for_leads_to_its_step(tab: Tab, api: Client) -> None:
    fetch = '{type: http.request, params: {url: "http://127.0.0.1:1/"}, retry: {max: 5, delay: 1h}}'
    id = api.run(api.new_flow(f"nodes: {{fetch: {fetch}}}"))
    api.until_it_waits(id)
    page = tab.go(f"/executions/{id}")
    waits = page.locator(".facts").get_by_text("Waits for")
    expect(waits).to_contain_text("until")
    waits.get_by_role("link", name="fetch").click()

    expect(panel(page).get_by_role("alert").or_(panel(page).locator(".alert"))).to_contain_text("connection")


def test_a_trigger_is_one_line_of_the_facts(tab: Tab, api: Client) -> None:
    flow = api.new_flow("triggers: {often: {type: schedule, every: 1h}}\nnodes: {done: {type: return}}\n")
    (trigger,) = api.get("/api/v1/triggers", flow_id=flow).json["triggers"]
    id = api.post(f"/api/v1/triggers/{trigger['id']}/run").json["execution_id"]
    api.ended(id)
    page = tab.go(f"/executions/{id}")
    facts = page.locator(".facts > *")
    expect(facts.filter(has_text="often")).to_be_visible()

    heights = [box["height"] for fact in facts.all() if (box := fact.bounding_box()) is not None]
    assert max(heights) < 32, heights


@pytest.mark.parametrize("tab_of_flow", ["", "/triggers", "/revisions", "/settings"])
def test_a_deleted_flow_is_found_in_none_of_its_tabs(tab: Tab, api: Client, tab_of_flow: str) -> None:
    flow = api.new_flow("nodes: {done: {type: return}}\n")
    assert api.request("DELETE", f"/api/v1/flows/{flow}").status == 200
    page = tab.go(f"/flows/{flow}{tab_of_flow}")

    expect(page.get_by_role("heading", name="There is nothing here", level=1)).to_be_visible()


def test_the_executions_of_a_deleted_flow_have_its_name(tab: Tab, api: Client) -> None:
    flow = api.new_flow("nodes: {done: {type: return}}\n", name="Deleted since")
    page = tab.go(f"/flows/{flow}/executions")
    expect(page.get_by_role("heading", name="Deleted since", level=1)).to_be_visible()
    api.ended(api.run(flow))
    assert api.request("DELETE", f"/api/v1/flows/{flow}").status == 200
    page.reload()

    expect(page.get_by_role("heading", name="Deleted since", level=1)).to_be_visible()
    expect(page.get_by_role("row")).to_have_count(2)


def test_paper_is_light_and_has_no_navigation(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow("nodes: {done: {type: return}}\n"))
    api.ended(id)
    page = tab.go("/account")
    page.get_by_role("button", name="Dark").or_(page.get_by_label("Dark")).first.click()
    expect(page.locator(":root")).to_have_attribute("data-theme", "dark")
    page = tab.go(f"/executions/{id}")
    expect(page.get_by_role("button", name="Re-run", exact=True)).to_be_visible()
    page.emulate_media(media="print")

    for part in (page.get_by_role("navigation", name="Main", exact=True), page.get_by_role("button", name="Re-run")):
        expect(part.first).to_be_hidden()
    expect(page.locator(":root")).to_have_css("color-scheme", "light")
    expect(page.locator("header .pill")).to_have_css("print-color-adjust", "exact")


@pytest.mark.parametrize("handlers", ["on_finish: tell", "on_failure: tell\non_finish: tell"])
def test_the_question_before_a_cancellation_names_the_handlers_that_the_flow_has(
    tab: Tab, api: Client, handlers: str
) -> None:
    nodes = "{wait: {type: delay, params: {duration: 10m}}, tell: {type: log, params: {message: it ends}}}"
    id = api.run(api.new_flow(f"{handlers}\nnodes: {nodes}\n"))
    api.until_it_waits(id)
    page = tab.go(f"/executions/{id}")
    page.locator("[data-node=tell]").wait_for()
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_role("dialog")).to_contain_text("Then the flow's on_finish runs, if it has one.")
    page.get_by_role("checkbox", name="Also stop on_failure and on_finish").check()
    page.get_by_role("button", name="Cancel the execution").click()

    expect(page.locator("header .pill")).to_have_text("cancelled")
    assert [line["message"] for line in api.get(f"/api/v1/executions/{id}/logs").json["logs"]].count("it ends") == 0


def test_the_node_that_handles_a_failure_says_so(tab: Tab, api: Client) -> None:
    nodes = "{oops: {type: fail, params: {error: a.b}}, tell: {type: log, params: {message: it failed}}}"
    id = api.run(api.new_flow(f"on_failure: tell\nnodes: {nodes}\n"))
    api.ended(id)
    page = tab.go(f"/executions/{id}")

    expect(page.locator("[data-node=tell]")).to_contain_text("log · on failure")
    expect(page.locator("[data-node=oops]")).not_to_contain_text("on failure")


def test_on_a_phone_the_error_is_in_sight_below_a_small_graph(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow("nodes: {oops: {type: fail, params: {error: a.b}}}"))
    api.ended(id)
    tab.page.set_viewport_size({"width": 390, "height": 844})
    page = tab.go(f"/executions/{id}")

    expect(panel(page).get_by_role("button", name="Re-run from oops")).to_be_in_viewport(ratio=1)
    page.set_viewport_size({"width": 1440, "height": 860})


def test_the_line_of_an_error_that_was_taken_ends_in_its_colour(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow("nodes: {a: {type: fail, params: {error: a.b}, next: {error: b}}, b: {type: return}}"))
    api.ended(id)
    page = tab.go(f"/executions/{id}")
    line = page.locator(".link.taken.error > path")
    expect(line).to_have_count(1)
    colour = line.evaluate(
        "line => getComputedStyle(document.querySelector(`${line.getAttribute('marker-end').slice(4, -1)} path`)).fill"
    )
    assert colour == line.evaluate("line => getComputedStyle(line).stroke")


def test_a_failed_execution_runs_again_from_the_start_by_one_click(tab: Tab, api: Client) -> None:
    flow = api.new_flow(
        "nodes: {a: {type: set, params: {values: {x: 1}}, next: b}, b: {type: fail, params: {error: a.b}}}\n"
    )
    id = api.run(flow, {"n": 7})
    api.ended(id)
    page = tab.go(f"/executions/{id}")
    expect(panel(page).get_by_role("button", name="Re-run from b")).to_be_visible()
    page.get_by_role("button", name="Re-run", exact=True).click()

    page.wait_for_url(lambda url: "/executions/" in url and id not in url)
    again = api.ended(page.url.split("/")[-1].split("?")[0])
    assert (again["rerun_of"], again["input"]) == (id, {"n": 7})
    assert len(api.get(f"/api/v1/executions/{again['id']}/steps").json["steps"]) == 2


HALVES: Final = """\
nodes:
  each:
    type: foreach
    params: {items: [1, 2, 3], on_error: continue}
    nodes: {check: {type: transform, params: {value: "${item == 2 ? null.x : item}"}}}
    next: {default: stop}
  stop: {type: return, params: {value: "${nodes.each.result}"}}
"""


def test_a_loop_with_failed_elements_offers_to_run_them_alone(tab: Tab, api: Client) -> None:
    flow = api.new_flow(HALVES)
    id = api.run(flow)
    api.ended(id)
    api.put(f"/api/v1/flows/{flow}", {"definition": HALVES.replace("null.x", "20")})
    page = tab.go(f"/executions/{id}?step=stop.1")
    expect(panel(page).get_by_role("button", name="Re-run from here")).to_be_visible()
    expect(panel(page).get_by_role("button", name="failed")).to_have_count(0)

    tab.go(f"/executions/{id}?step=each.1")
    panel(page).get_by_role("button", name="Edit its input").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Only what has not completed in it: 1 failed").check()
    expect(dialog.get_by_label("Input of")).to_have_count(0)
    dialog.get_by_role("button", name="Cancel").click()
    panel(page).get_by_role("button", name="Re-run 1 failed").click()

    page.wait_for_url(lambda url: "/executions/" in url and id not in url)
    again = api.ended(page.url.split("/")[-1].split("?")[0])
    assert (again["rerun_of"], again["result"]) == (id, [1, 20, 3])


RETRYING: Final = """\
metadata: {name: retries}
nodes:
  first: {type: log, params: {message: hi}, next: push}
  push:
    type: transform
    params: {script: "throw new Error('the warehouse is closed')"}
    retry: {max: 3, delay: 1h, errors: [script]}
"""


def test_an_execution_that_retries_a_step_opens_on_it(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(RETRYING, name="retries"))
    api.until_it_waits(id)
    page = tab.go(f"/executions/{id}")

    expect(panel(page).get_by_role("heading", name="push")).to_be_visible()
    expect(panel(page).locator(".alert")).to_contain_text("the warehouse is closed")
    expect(page.locator("[data-node=push]")).to_have_attribute("aria-current", "true")
    api.delete(f"/api/v1/executions/{id}")


def test_a_large_graph_follows_what_runs_until_the_reader_moves_it(tab: Tab, api: Client) -> None:
    def chain(name: str, length: int, end: str) -> str:
        links = (f"  {name}{i}: {{type: log, params: {{message: hi}}, next: {name}{i + 1}}}\n" for i in range(length))
        return "".join(links) + f"  {name}{length}: {end}\n"

    text = chain("n", 170, "{type: wait, params: {key: go}, next: m0}")
    text += chain("m", 40, "{type: delay, params: {duration: 1h}}")
    id = api.run(api.new_flow(f"nodes:\n{text}", name="long chain"))
    api.waiting_at(id, "n170")
    page = tab.go(f"/executions/{id}")
    expect(page.locator("[data-node=n170]")).to_be_in_viewport()
    api.post(f"/api/v1/executions/{id}/signals/go", {})
    expect(page.locator("[data-node=m40]")).to_be_in_viewport()

    page.locator(".graph-scroll").hover()
    page.mouse.wheel(0, -100_000)
    expect(page.locator("[data-node=n0]")).to_be_in_viewport()
    follow = page.get_by_role("button", name="Follow", exact=True)
    expect(follow).to_have_attribute("aria-pressed", "false")
    follow.click()
    expect(page.locator("[data-node=m40]")).to_be_in_viewport()

    # An address that names a node shows that one.
    tab.go(f"/executions/{id}?node=n0")
    expect(page.locator("[data-node=n0]")).to_be_in_viewport()
    expect(follow).to_have_attribute("aria-pressed", "false")
    api.delete(f"/api/v1/executions/{id}")
    api.ended(id)
    expect(follow).to_have_count(0)


@pytest.mark.parametrize(
    "event", ["window.dispatchEvent(new Event('online'))", "document.dispatchEvent(new Event('visibilitychange'))"]
)
def test_a_lost_connection_is_tried_at_once_when_the_network_or_the_reader_is_back(
    tab: Tab, api: Client, event: str
) -> None:
    page = tab.page
    page.clock.install()
    sockets: list[WebSocketRoute] = []

    def pass_on(route: WebSocketRoute) -> None:
        sockets.append(route)
        route.connect_to_server()

    page.route_web_socket("**/ws/executions/*", pass_on)
    id = api.run(api.new_flow(sample.APPROVED, name="loses the network"))
    api.waiting_at(id, "ask")
    tab.go(f"/executions/{id}")
    mark = page.locator(".live")
    expect(mark).to_have_text("live")
    # No timer ends from here on.
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
    sockets[-1].close(code=1012)
    expect(mark).to_have_text("reconnecting")

    page.evaluate(event)

    try:
        expect(mark).to_have_text("live")
        assert len(sockets) == 2
    finally:
        # The clock is that of all pages of this browser.
        page.clock.resume()


def test_a_reader_who_wants_no_motion_is_brought_to_the_error_at_once(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow("nodes: {oops: {type: fail, params: {error: a.b}}}", name="without motion"))
    api.ended(id)
    tab.page.set_viewport_size({"width": 390, "height": 500})
    try:
        page = tab.go(f"/executions/{id}")
        shown = page.get_by_role("button", name="Show the error")
        expect(shown).to_be_visible()
        expect(panel(page).locator(".alert")).to_be_visible()
        # In one go, so that no picture is painted between them.
        places = shown.evaluate(
            "button => { const top = () => document.querySelector('.drawer').getBoundingClientRect().top;"
            " const before = top(); button.click(); return [before, top()] }"
        )
        assert places[1] < places[0]
    finally:
        tab.page.set_viewport_size({"width": 1440, "height": 860})


def test_an_execution_is_renewed_where_no_web_socket_passes(tab: Tab, api: Client) -> None:
    page = tab.page
    page.clock.install()
    # As a proxy does that passes all but these on.
    page.route_web_socket("**/ws/**", lambda route: route.close(code=1012))
    id = api.run(api.new_flow(sample.APPROVED, name="behind a proxy"))
    api.waiting_at(id, "ask")
    tab.go(f"/executions/{id}")
    expect(page.locator(".live")).to_have_text("reconnecting")
    for _ in range(4):
        with page.expect_response(f"**/executions/{id}/graph"):
            page.clock.run_for(8_000)
    # What was loaded is not outdated.
    expect(page.locator(".live")).to_have_text("reconnecting")
    api.post(f"/api/v1/executions/{id}/approvals/ask", {"approved": True, "data": {"amount": 1}})

    page.clock.run_for(8_000)
    expect(page.locator("header .pill")).to_have_text("completed")
    expect(page.locator("[data-node=refund]")).to_have_class(re.compile("ok"))
    expect(page.locator(".live")).to_have_count(0)


def test_the_timeline_has_room_for_its_bars_on_a_tablet(tab: Tab, ids: dict[str, str]) -> None:
    page = tab.go(f"/executions/{ids['completed']}?tab=timeline")
    page.set_viewport_size({"width": 1024, "height": 768})
    bars = page.locator(".track i:visible")
    expect(bars.first).to_be_visible()

    # The last bar takes no time.
    widths = page.locator(".track").evaluate_all("all => all.map(track => track.clientWidth)")
    beyond = bars.evaluate_all(
        "all => all.map(bar => bar.getBoundingClientRect().right - bar.parentElement.getBoundingClientRect().right)"
    )

    page.set_viewport_size({"width": 1440, "height": 860})
    assert min(widths) > 100
    assert max(beyond) <= 0.5


def test_a_long_name_of_the_failed_step_is_cut_in_the_buttons(tab: Tab, api: Client) -> None:
    name = "charge_the_card_of_the_customer_again_" * 2
    id = api.run(api.new_flow(f"nodes: {{{name}: {{type: fail, params: {{error: card.declined}}}}}}"))
    api.ended(id)
    page = tab.page
    page.set_viewport_size({"width": 390, "height": 844})

    for query in ("", "?tab=logs"):
        tab.go(f"/executions/{id}{query}")
        expect(page.get_by_role("button", name=f"Re-run from {name}")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 390

    page.set_viewport_size({"width": 1440, "height": 860})


def test_the_reader_has_a_name_before_those_of_the_members_are_loaded(tab: Tab, ids: dict[str, str]) -> None:
    page = tab.page
    page.route("**/members?**", lambda _: None)

    tab.go(f"/executions/{ids['completed']}")

    expect(page.locator(".facts")).to_contain_text(f"By {OWNER}")
    page.unroute("**/members?**")


def test_the_head_names_no_pause_that_is_over_at_once(tab: Tab, api: Client) -> None:
    flow = api.new_flow(
        "inputs: {seconds: {type: integer}}\n"
        'nodes: {nap: {type: delay, params: {duration: "${flow.input.seconds}s"}}}\n',
        name="naps",
    )
    short, long = (api.run(flow, {"seconds": seconds}) for seconds in (50, 600))
    for id in (short, long):
        api.until_it_waits(id)

    expect(tab.go(f"/executions/{long}").locator(".facts")).to_contain_text("Waits for a delay (nap) until")
    facts = tab.go(f"/executions/{short}").locator(".facts")
    expect(facts).to_contain_text("So far")
    expect(facts).not_to_contain_text("Waits for")
    for id in (short, long):
        api.delete(f"/api/v1/executions/{id}")


AROUND: Final = """\
metadata: {name: goes round}
nodes:
  poll: {type: transform, params: {value: "${(nodes.poll?.result ?? 0) + 1}"}, next: route}
  route:
    type: switch
    params: {cases: [{when: "input < 260", action: again}]}
    next: {again: poll, default: stop}
  stop: {type: fail, params: {error: job.lost, message: The job is gone}}
"""


def test_the_step_that_failed_after_hundreds_of_others_is_shown(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow(AROUND))
    api.ended(id)
    page = tab.go(f"/executions/{id}")

    expect(panel(page).get_by_role("heading", name="stop")).to_be_visible()
    expect(panel(page).locator(".alert")).to_contain_text("The job is gone")
    tab.go(f"/executions/{id}?node=poll")
    expect(panel(page)).to_contain_text("260 completed")


def test_the_end_of_an_execution_is_shown_although_it_could_not_be_read_at_first(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow("nodes: {wait: {type: wait, params: {key: go}}}", name="ends unread"))
    api.until_it_waits(id)
    page = tab.go(f"/executions/{id}")
    expect(page.locator(".live")).to_have_text("live")
    page.route(f"**/api/v1/executions/{id}?view=preview", lambda route: route.abort())
    api.post(f"/api/v1/executions/{id}/signals/go", {})
    expect(page.get_by_role("alert")).to_contain_text("This page tries again by itself")
    expect(page.locator("header .pill")).to_have_text("waiting")

    page.unroute_all()

    expect(page.locator("header .pill")).to_have_text("completed")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_the_button_that_folds_a_loop_covers_no_word_of_it(tab: Tab, api: Client) -> None:
    document = """
nodes:
  each:
    type: foreach
    params: {items: "${Array.from({length: 1200}, (_, i) => i)}", on_error: continue}
    nodes: {a: {type: fail, if: "index > 1100", params: {message: no}}}
"""
    api.ended(id := api.run(api.new_flow(document, name="has long words")))
    page = tab.go(f"/executions/{id}")
    words = page.locator("[data-node='each'] .node-kind")
    expect(words).to_contain_text("of 1,200")

    text, button = words.bounding_box(), page.get_by_role("button", name="Fold each").bounding_box()
    assert text is not None
    assert button is not None
    assert text["x"] + text["width"] <= button["x"]
    assert (words.get_attribute("title") or "").endswith("failed")


def test_a_sub_flow_that_cannot_be_read_says_so(tab: Tab, api: Client) -> None:
    called = api.new_flow("nodes: {inside: {type: return, params: {value: 1}}}", name="is called")
    id = api.run(api.new_flow(f"nodes: {{call: {{type: flow, params: {{flow: {called}}}}}}}", name="calls it"))
    api.ended(id)
    (child,) = api.get("/api/v1/executions", flow_id=called).json["executions"]
    page = tab.page
    page.route(f"**/api/v1/executions/{child['id']}*", lambda route: route.abort())
    tab.go(f"/executions/{id}")
    page.get_by_role("button", name="Unfold call").click()
    expect(page.get_by_role("alert")).to_contain_text("This page tries again by itself")

    page.unroute_all()

    expect(page.locator("[data-node='call/inside']")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_connection_that_died_in_silence_is_made_anew(browser: Browser, server: Server, api: Client) -> None:
    id = api.run(api.new_flow("nodes: {wait: {type: wait, params: {key: go}}}", name="is cut off"))
    api.until_it_waits(id)
    # Its clock is that of all pages of a browser.
    tab = Tab(browser, server.url)
    page = tab.page
    tab.log_in(api.email, api.password)
    sockets: list[WebSocketRoute] = []
    is_cut = False

    def cut_the_first(route: WebSocketRoute) -> None:
        passed_on = route.connect_to_server()
        sockets.append(route)
        if len(sockets) == 1:
            passed_on.on_message(lambda message: None if is_cut else route.send(message))
            passed_on.on_close(lambda code, reason: None)

    try:
        page.clock.install()
        page.route_web_socket("**/ws/executions/*", cut_the_first)
        tab.go(f"/executions/{id}")
        expect(page.locator(".live")).to_have_text("live")
        # What the first events have led to is loaded by then.
        page.clock.run_for(2_000)
        page.wait_for_load_state("networkidle")
        is_cut = True
        api.post(f"/api/v1/executions/{id}/signals/go", {})
        api.ended(id)
        page.clock.run_for(20_000)
        expect(page.locator("header .pill")).to_have_text("waiting")

        page.clock.run_for(60_000)

        expect(page.locator("header .pill")).to_have_text("completed")
        assert len(sockets) == 2
    finally:
        tab.close()


def test_the_panel_follows_a_key_that_is_held_although_the_browser_takes_no_more_addresses(
    tab: Tab, api: Client
) -> None:
    id = api.run(
        api.new_flow("nodes: {a: {type: set, params: {values: {x: 1}}, next: b}, b: {type: return}}", name="walked")
    )
    api.ended(id)
    page = tab.go(f"/executions/{id}?step=a.1")
    expect(panel(page).get_by_role("heading", name="a", exact=True)).to_be_visible()
    # As Safari does after 100 of them in half a minute; Chromium leaves them out.
    page.evaluate("() => { history.replaceState = () => { throw new DOMException('Too many', 'SecurityError') } }")
    page.locator("[data-node=a]").focus()
    page.keyboard.press("ArrowDown")

    expect(panel(page).get_by_role("heading", name="b", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile("step=a"))
    page.evaluate("() => { delete history.replaceState }")
    expect(page).to_have_url(re.compile(r"step=b"))


def test_a_screen_whose_address_the_browser_did_not_take_has_it_later(tab: Tab, api: Client) -> None:
    api.new_flow("nodes: {a: {type: return}}", name="opened in a hurry")
    page = tab.go("/executions")
    # Safari refuses it with an error, and Chromium in silence.
    for refusal in ("throw new DOMException('Too many', 'SecurityError')", "return"):
        page.get_by_role("navigation").get_by_role("link", name="Executions", exact=True).first.click()
        expect(page).to_have_url(re.compile("/executions$"))
        page.evaluate(f"() => {{ history.pushState = () => {{ {refusal} }} }}")
        page.get_by_role("navigation").get_by_role("link", name="Flows", exact=True).first.click()
        expect(page.get_by_role("link", name="opened in a hurry")).to_be_visible()
        expect(page).to_have_url(re.compile("/executions$"))
        page.evaluate("() => { delete history.pushState }")
        expect(page).to_have_url(re.compile("/flows$"))

        page.go_back()

        expect(page).to_have_url(re.compile("/executions$"))
        expect(page.get_by_role("heading", name="Executions", exact=True)).to_be_visible()


def test_a_rerun_from_a_step_that_is_gone_says_so(tab: Tab, api: Client) -> None:
    id = api.run(api.new_flow("nodes: {a: {type: fail, params: {error: no, message: no}}}", name="loses a step"))
    api.ended(id)
    tab.page.route("**/steps?*", lambda route: route.fulfill(json={"steps": []}))
    page = tab.go(f"/executions/{id}")
    page.get_by_role("button", name=re.compile("^Re-run")).first.click()

    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("There is nothing here")
