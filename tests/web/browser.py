"""A real Chromium, and pages that note what they must not do."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as TooLate

from support.server import ADMIN_EMAIL, ADMIN_PASSWORD

CHROMIUM: Final = shutil.which("chromium")
# The same engine without a user interface of its own, which takes about half of the processor time of tests with pages.
HEADLESS: Final = shutil.which("chromium-headless-shell") or CHROMIUM
needs_chromium = pytest.mark.skipif(
    HEADLESS is None, reason="the tests of the interface need: apt install chromium-headless-shell"
)
# The name of the account of a test.
OWNER: Final = "The owner"
# No screen has this address, and what is shown there has nothing in common with any.
NOWHERE: Final = "/nothing"
NOTHING: Final = "There is nothing here"
# Generous, since other tests run beside these on two cores that may be slow.
PATIENCE_MILLISECONDS: Final = 120_000
# Until keys that did not lead to another page are pressed again.
_KEYS_MILLISECONDS: Final = 2_000
# Without a graphics card, one that is emulated takes a tenth of the time of all tests with pages.
_ARGUMENTS: Final = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-software-rasterizer"]
# A page after another needs no process of its own.
ONE_PROCESS: Final = ("--renderer-process-limit=1",)


@contextmanager
def opened_browser(program: str | None = CHROMIUM, arguments: Sequence[str] = ()) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*_ARGUMENTS, *arguments])
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page of a browser of its own, not logged in.

    Attributes:
        faults: Violations of the policy, dialogs that a script has opened, and errors of scripts.
    """

    def __init__(self, browser: Browser, url: str, *, width: int = 1280, height: int = 860, **options: Any) -> None:
        # What moves until it ends, such as the mark of what runs, is painted without end.
        options = {"reduced_motion": "reduce", **options}
        self.context: BrowserContext = browser.new_context(
            base_url=url, viewport={"width": width, "height": height}, **options
        )
        self.context.set_default_timeout(PATIENCE_MILLISECONDS)
        self._url = url
        self.faults: list[str] = []
        self._open()

    def _open(self) -> None:
        self._home: str | None = None
        self._page: Page = self.context.new_page()
        self._page.on("console", self._note)
        self._page.on("dialog", self._refuse)
        self._page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))

    @property
    def page(self) -> Page:
        """The page; after a login without a screen since, the overview is opened."""
        if self._home is not None:
            self._home = None
            self._page.goto("/")
            self._page.wait_for_url("**/w/**")
        return self._page

    def renew(self) -> "Tab":
        """Begin with another page, and nothing stored: that takes half as long as a browser of its own."""
        old = self._page
        self._open()
        # Closed only now: the process of the browser that has the old page takes the new one, too.
        old.close()
        # Until then it may have added to them.
        self.faults = []
        # What the old page has stored when it was left is cleared, too.
        devtools = self.context.new_cdp_session(self._page)
        devtools.send("Storage.clearDataForOrigin", {"origin": self._url, "storageTypes": "all"})
        devtools.detach()
        self.context.clear_cookies()
        return self

    def _note(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "TrustedHTML" in message.text:
            self.faults.append(f"policy: {message.text}")

    def _refuse(self, dialog: Dialog) -> None:
        if dialog.type == "beforeunload":
            dialog.accept()
            return
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def log_in(self, email: str = ADMIN_EMAIL, password: str = ADMIN_PASSWORD) -> "Tab":
        """Log in as the page for it does, without loading that page. The next screen is the first that is loaded."""
        body = {"username": email, "password": password, "cookie": True}
        # On a connection that was kept, the request may meet its end.
        answer = self.context.request.post("/api/v1/auth/login", data=body, max_retries=2)
        assert answer.ok, answer.text()
        self._home = f"/w/~{answer.json()['account_id'][-8:]}"
        return self

    @property
    def home(self) -> str:
        """The address of the workspace that is open: of the personal one, after a login without a screen since."""
        if self._home is not None:
            return self._home
        return "/".join(self.page.url.split("?")[0].split("/")[3:5]).join(("/", ""))

    def go(self, path: str) -> Page:
        """Open a screen of the workspace as a whole new page."""
        address, self._home = f"{self.home}{path}", None
        self._page.goto(address)
        return self._page

    def close(self) -> None:
        self.context.close()


def fill_login(page: Page, email: str = ADMIN_EMAIL, password: str = ADMIN_PASSWORD) -> None:
    if page.get_by_label("E-mail address").input_value() != email:
        page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in").click()


def go_by_keys(page: Page, key: str, path: str) -> None:
    """Press `g` and another key; again if a busy machine takes more than the second that may be between them."""
    for _ in range(30):
        page.keyboard.press("g")
        page.keyboard.press(key)
        with suppress(TooLate):
            page.wait_for_url(f"**{path}", timeout=_KEYS_MILLISECONDS)
            return
    raise AssertionError(f"the keys do not lead to {path}")


def put_away(page: Page, button: str = "Done") -> str:
    """Close the dialog with a text that is shown once; return the text. Only the button closes it."""
    dialog = page.get_by_role("dialog")
    text = dialog.locator("pre").inner_text()
    # The browser closes a dialog at a second Escape by itself.
    for _ in range(3):
        page.keyboard.press("Escape")
    page.mouse.click(5, 5)
    expect(dialog.locator("pre")).to_have_text(text)
    expect(dialog.get_by_role("button", name="Close")).to_have_count(0)
    dialog.get_by_role("button", name=button).click()
    expect(dialog.locator("pre")).to_have_count(0)
    return text


def settled(page: Page) -> Page:
    """Return the page once nothing of it is missing any more."""
    expect(page.locator("h1")).not_to_have_text(re.compile(r"^\s*$"))
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    return page


_VIOLATIONS: Final = """async options => (await axe.run(options)).violations.flatMap(
    found => found.nodes.map(node => `${found.id}: ${JSON.stringify(node.target)} ${node.failureSummary}`)
)"""


def violations(page: Page, only: list[str] | None = None, without: tuple[str, ...] = ()) -> list[str]:
    """Return the violations of the rules of accessibility: of all but ``without``, or of ``only`` these."""
    options: dict[str, Any] = {"runOnly": {"type": "rule", "values": only}} if only else {}
    options["rules"] = {rule: {"enabled": False} for rule in without}
    # What is right need not be described.
    options["resultTypes"] = ["violations"]
    # The library stays until another page is loaded.
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE_SCRIPT)
    found: list[str] = page.evaluate(_VIOLATIONS, options)
    return found


def flaws(page: Page) -> list[str]:
    """Return what some readers miss: all violations, those of contrast in the dark theme, and what a telephone cuts."""
    page.set_viewport_size({"width": 1280, "height": 860})
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    found = violations(page)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    found += violations(page, only=["color-contrast"])
    page.set_viewport_size({"width": 320, "height": 700})
    if page.evaluate("document.documentElement.scrollWidth") > 320:
        found.append("it is wider than the screen")
    page.set_viewport_size({"width": 1280, "height": 860})
    return found


def walk(page: Page, home: str, path: str) -> Page:
    """Open a screen as a link does: all scripts stay, and so does what a test has added, which is warm by then."""
    for address in (NOWHERE, path):
        page.evaluate(
            "address => { history.pushState(null, '', address); dispatchEvent(new PopStateEvent('popstate')); }",
            f"{home}{address}",
        )
        shown = expect(page.locator("h1"))
        # Otherwise the screen before would be taken for this one.
        (shown.to_have_text if address == NOWHERE else shown.not_to_have_text)(NOTHING)
    return settled(page)
