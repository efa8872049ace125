"""A browser that is logged in, for the tests of a module; some modules have a server or a width of their own."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from support.client import Client
from support.server import Server
from web.browser import Tab, opened_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def site(server: Server) -> Server:
    """The server whose pages are opened."""
    return server


@pytest.fixture(scope="module")
def width() -> int:
    """The width of the window in pixels."""
    return 1440


@pytest.fixture(scope="module")
def api(site: Server) -> Client:
    return site.admin()


@pytest.fixture(scope="module")
def one_tab(browser: Browser, site: Server, width: int) -> Iterator[Tab]:
    opened = Tab(browser, site.url, width=width)
    yield opened
    opened.close()


@pytest.fixture
def tab(one_tab: Tab) -> Iterator[Tab]:
    yield one_tab.renew().log_in()
    assert one_tab.faults == []
