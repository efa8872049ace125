"""Pictures of all screens in both themes, wide and narrow, of a server with a day of history.

Run it by `make screenshots`. Chosen ones are part of the documentation.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, expect

from support.server import Server
from web import sample
from web.browser import CHROMIUM, Tab, opened_browser
from web.interface import ROOT
from web.screens import SCREENS

IMAGES: Final = ROOT / "docs" / "images"
SIZES: Final = ((1440, 900), (390, 844))
THEMES: Final = ("light", "dark")
# A server whose clock is so many seconds late.
_LATE: Final = """
import datetime
import flowrunner.clock
now = flowrunner.clock.SystemClock.now
flowrunner.clock.SystemClock.now = lambda clock: now(clock) - datetime.timedelta(seconds=%d)
from flowrunner.cli.main import main
main()
"""
HOUR: Final = 3600


def main() -> int:
    if CHROMIUM is None:
        print("pictures need a browser: apt install chromium", file=sys.stderr)
        return 1
    wanted = sys.argv[1:]
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        ids = live_through_a_day(Path(directory))
        server = Server(Path(directory)).start()
        try:
            ids |= sample.fill(server.admin(), flows=ids["flows"])
            ids["failed"] = answer(server, ids["begun"])
            take_pictures(server, ids, {name: path for name, path in SCREENS.items() if not wanted or name in wanted})
        finally:
            server.stop()
    return 0


def live_through_a_day(directory: Path) -> dict[str, Any]:
    """Run flows at hours of the past; return their ids and that of an execution that waits for an approval."""
    ids: dict[str, Any] = {}
    for hours in (23, 20, 16, 13, 9, 6, 3, 2):
        server = Server(directory, program=("-c", _LATE % (hours * HOUR + 4 * 60))).start()
        try:
            client = server.admin()
            flows = ids.setdefault("flows", None) or sample.save(client)
            ids["flows"] = flows
            ran = [client.run(flows["triage-mail"], {"seconds": n % 3}) for n in range(hours % 5 + 2)]
            ran += [client.run(flows["report-weekly"]) for _ in range(2)]
            ran.append(client.run(flows["order-sync"], {"broken": hours in (13, 6)}))
            ids["begun"] = client.run(flows["order-sync"], {"ask_above": 10, "broken": True})
            client.waiting_at(ids["begun"], "ask")
            if hours != 2:
                client.delete(f"/api/v1/executions/{ids['begun']}")
            for id in ran:
                client.ended(id)
        finally:
            server.stop()
    return ids


def answer(server: Server, id: str) -> str:
    client = server.admin()
    client.post(f"/api/v1/executions/{id}/approvals/ask", {"approved": True, "data": {"reason": "As every night"}})
    client.ended(id)
    return id


def take_pictures(server: Server, ids: dict[str, Any], screens: dict[str, str]) -> None:
    with opened_browser() as browser:
        for width, height in SIZES:
            for theme in THEMES:
                tab = Tab(browser, server.url, width=width, height=height, color_scheme=theme, reduced_motion="reduce")
                tab.log_in()
                for name, path in screens.items():
                    settle(tab.go(path.format(**ids)))
                    tab.page.screenshot(path=IMAGES / f"{name}-{width}-{theme}.png")
                tab.close()


def settle(page: Page) -> None:
    page.locator("h1").filter(has_text=re.compile(r"\S")).wait_for()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    page.evaluate("document.fonts.ready.then(() => {})")
    # What a screen loads after its frame, such as an editor.
    page.wait_for_timeout(700)
    # A screen may have scrolled to the step that failed.
    page.evaluate("scrollTo(0, 0)")


if __name__ == "__main__":
    sys.exit(main())
