"""A browser that is logged in, for the tests of a module; some modules have their own."""

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
def api(server: Server) -> Client:
    return server.admin()


@pytest.fixture(scope="module")
def one_tab(browser: Browser, server: Server) -> Iterator[Tab]:
    opened = Tab(browser, server.url, width=1440)
    yield opened
    opened.close()


@pytest.fixture
def tab(one_tab: Tab) -> Iterator[Tab]:
    yield one_tab.renew().log_in()
    assert one_tab.faults == []
