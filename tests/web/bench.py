"""The budgets of the interface, measured in a real Chromium: `make bench-ui`.

python -m web.bench [--rounds 20] [--executions 100000]

It prints a table of sizes and medians with their budgets, and ends with 1 if a budget is exceeded.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import pages
from playwright.sync_api import Browser, CDPSession, Page, expect

from support.client import Client
from support.server import Server
from web.browser import CHROMIUM, Tab, opened_browser
from web.sizes import KILOBYTE, first_load, whole

LOG_LINES: Final = 10_000
BURST_NODES: Final = 600
LAID_OUT: Final = 1000
EDITED_NODES: Final = 300
# Notes when an element is first in the page, which is the time since the start of the navigation.
_NOTE: Final = """
(selector) => {
  const look = () => document.querySelector(selector) !== null && (window.seenAt ??= performance.now());
  new MutationObserver(look).observe(document, {childList: true, subtree: true});
}
"""
_KEYS: Final = """
window.keys = [];
const note = (list) => {
  for (const {name, duration} of list.getEntries()) if (name === "keydown") window.keys.push(duration);
};
new PerformanceObserver(note).observe({type: "event", durationThreshold: 16});
"""
_LAYOUT: Final = 'performance.getEntriesByName("graph.layout")[0].duration'


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    values: list[float]
    unit: str
    budget: float

    @property
    def middle(self) -> float:
        return median(self.values)

    def __str__(self) -> str:
        spread = f" ({min(self.values):,.0f}-{max(self.values):,.0f})" if len(self.values) > 1 else ""
        return f"| {self.name} | {self.middle:,.0f} {self.unit}{spread} | {self.budget:,.0f} {self.unit} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--executions", type=int, default=100_000)
    chosen = parser.parse_args()
    if CHROMIUM is None:
        print("the figures need a browser: apt install chromium", file=sys.stderr)
        return 1
    print("| figure | measured (median, min-max) | budget |\n| --- | --- | --- |")
    figures = []
    for figure in measured(chosen.rounds, chosen.executions):
        print(figure, flush=True)
        figures.append(figure)
    exceeded = [figure.name for figure in figures if figure.middle > figure.budget]
    for name in exceeded:
        print(f"over its budget: {name}", file=sys.stderr)
    return 1 if exceeded else 0


def measured(rounds: int, executions: int) -> Iterator[Figure]:
    for screen, most in (("overview", 60), ("executions", 60), ("execution", 60), ("flow-edit", 250)):
        yield Figure(f"first load of `{screen}`, compressed", [first_load(screen) / KILOBYTE], "kB", most)
    yield Figure("whole interface, compressed", [sum(whole().values()) / KILOBYTE], "kB", 380)
    with running() as (server, browser):
        client = server.admin()
        fill(server, client, executions)
        tab = Tab(browser, server.url, reduced_motion="reduce").log_in()
        # From here on the browser has what all screens load.
        tab.go("")
        yield Figure(
            f"overview beside {executions:,} executions: its data visible",
            [opened(tab, "", ".stat b") for _ in range(rounds)], "ms", 300,
        )  # fmt: skip
        yield Figure(
            "executions, first page visible",
            [opened(tab, "/executions", "tbody [data-nav]") for _ in range(rounds)], "ms", 300,
        )  # fmt: skip
        flow = client.new_flow(chain(BURST_NODES, waits=True))
        bursts = [burst(tab, client, flow) for _ in range(rounds)]
        yield Figure(f"events of {BURST_NODES} nodes in a burst: time in scripts", bursts, "ms", 300)
        layouts = laid_out(tab, client.new_flow(chain(10)), rounds)
        yield Figure(f"layout of {LAID_OUT:,} nodes", layouts, "ms", 100)
        id = client.run(client.new_flow(noisy(LOG_LINES)))
        client.ended(id, 120)
        yield Figure(
            f"log of {LOG_LINES:,} lines: first lines visible",
            [opened(tab, f"/executions/{id}?tab=logs", ".log-line time") for _ in range(rounds)], "ms", 500,
        )  # fmt: skip
        yield Figure("the same: end of the log after a jump", [jumped(tab) for _ in range(rounds)], "ms", 300)
        keys = typed(tab, client.new_flow(chain(EDITED_NODES)), rounds)
        yield Figure(f"a key in the editor of a flow of {EDITED_NODES} nodes, to the next picture", keys, "ms", 50)
        tab.close()


@contextmanager
def running() -> Iterator[tuple[Server, Browser]]:
    with tempfile.TemporaryDirectory() as directory, opened_browser() as browser:
        server = Server(Path(directory)).start()
        try:
            yield server, browser
        finally:
            server.stop()


def fill(server: Server, client: Client, executions: int) -> None:
    """Store executions of the last day, half of them of the account that looks."""
    flows = []
    for n in range(10):
        flow = client.new_flow("nodes: {done: {type: return, params: {value: 1}}}", name=f"flow {n}")
        flows.append((flow, "rev"))
    began, day = datetime.now(UTC) - timedelta(days=1), timedelta(days=1)
    values = pages.rows(2 * executions, client.account_id, flows, first=began, between=day / (2 * executions))
    pages.fill_sqlite(server.database, values, is_older=False)


def chain(count: int, *, waits: bool = False) -> str:
    """Return a flow of nodes in a row, with an edge over some of them at each fifth."""
    lines = ["nodes:"]
    if waits:
        lines.append("  go: {type: approval, params: {prompt: x}, next: {approved: n0}}")
    for n in range(count):
        following = f"n{n + 1}" if n + 1 < count else "end"
        if n % 5 == 0 and n + 3 < count:
            following = f"{{default: {following}, error: n{n + 3}}}"
        lines.append(f"  n{n}: {{type: transform, params: {{value: {n}}}, next: {following}}}")
    return "\n".join([*lines, "  end: {type: return, params: {value: 1}}", ""])


def noisy(count: int) -> str:
    script = "for (let i = 0; i < 100; i++) console.log('line ' + n + ' ' + i)"
    return (
        "nodes:\n  each:\n    type: foreach\n"
        f"    params: {{items: {list(range(count // 100))}, as: n}}\n"
        f'    nodes: {{say: {{type: transform, params: {{script: "{script}"}}}}}}\n'
    )


def opened(tab: Tab, path: str, selector: str) -> float:
    """Return the milliseconds from the start of a navigation to the first element, in a page of its own."""
    home = tab.home
    page = tab.context.new_page()
    try:
        page.add_init_script(f"({_NOTE})({selector!r})")
        page.goto(f"{home}{path}")
        page.locator(selector).first.wait_for()
        return float(page.evaluate("window.seenAt"))
    finally:
        page.close()


def scripted(session: CDPSession) -> float:
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return float(metrics["ScriptDuration"]) * 1000


def burst(tab: Tab, client: Client, flow: str) -> float:
    id = client.run(flow)
    client.waiting_at(id, "go")
    page = tab.go(f"/executions/{id}")
    expect(page.locator(".live")).to_have_text("live")
    page.wait_for_timeout(500)
    session = tab.context.new_cdp_session(page)
    # The processor time of the thread: what else the machine does has no part in it.
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = scripted(session)
    client.post(f"/api/v1/executions/{id}/approvals/go", {"approved": True})
    expect(page.locator("header .pill")).to_have_text("completed")
    page.wait_for_timeout(300)
    return scripted(session) - before


def laid_out(tab: Tab, flow: str, rounds: int) -> list[float]:
    """Paste a flow that no server stores: the graph follows the text."""
    page = tab.go(f"/flows/{flow}")
    page.locator("[data-node=n0]").wait_for()
    found = []
    for n in range(rounds):
        page.get_by_role("textbox", name="Flow definition").click()
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(chain(LAID_OUT).replace("end", f"end{n}"))
        page.locator(f"[data-node=end{n}]").wait_for(state="attached")
        found.append(float(page.evaluate(_LAYOUT)))
    return found


def jumped(tab: Tab) -> float:
    page = tab.page
    return float(page.evaluate(_JUMP)) if page.locator(".log-window").count() else _open_log(tab, page)


_JUMP: Final = """
async () => {
  const box = document.querySelector(".log-window");
  box.scrollTop = 0;
  await new Promise((done) => setTimeout(done, 100));
  const from = performance.now();
  box.scrollTop = box.scrollHeight;
  const isLast = (line) => parseFloat(line.style.top) > box.scrollHeight - 100 && line.querySelector("time") !== null;
  const isThere = () => [...box.querySelectorAll(".log-line")].some(isLast);
  while (!isThere()) await new Promise(requestAnimationFrame);
  return performance.now() - from;
}
"""


def _open_log(tab: Tab, page: Page) -> float:
    page.goto(f"{tab.home}/executions")
    found: Any = page.locator("tbody [data-nav]").first.get_attribute("href")
    page.goto(f"{found}?tab=logs")
    page.locator(".log-line time").first.wait_for()
    return float(page.evaluate(_JUMP))


def typed(tab: Tab, flow: str, rounds: int) -> list[float]:
    tab.page.add_init_script(_KEYS)
    page = tab.go(f"/flows/{flow}")
    page.locator("[data-node=n0]").wait_for()
    page.get_by_role("textbox", name="Flow definition").click()
    page.keyboard.press("Control+End")
    for _ in range(max(rounds, 5)):
        page.keyboard.type("# a note", delay=30)
        page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    # Keys that took less than a picture are not noted.
    return list(map(float, page.evaluate("window.keys"))) or [16.0]


if __name__ == "__main__":
    sys.exit(main())
