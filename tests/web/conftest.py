"""A browser that is logged in, for the tests of a module; some modules have a server or a width of their own.

Each test has an account of its own: other tests on the same server, and an earlier run of the same test, have left
nothing in its lists, and the names that it gives are free.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from support.client import Client
from support.server import Server
from web import sample
from web.browser import HEADLESS, ONE_PROCESS, OWNER, Tab, opened_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser(HEADLESS, ONE_PROCESS) as opened:
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
def filled() -> dict[int, tuple[Client, dict[str, Any]]]:
    """The accounts that have the sample, and its ids: one for the first runs of all tests, others for their reruns."""
    return {}


@pytest.fixture
def sampled(
    filled: dict[int, tuple[Client, dict[str, Any]]], site: Server, request: pytest.FixtureRequest
) -> tuple[Client, dict[str, Any]]:
    # Of `--reruns`.
    run = getattr(request.node, "execution_count", 1)
    if run not in filled:
        account = new_owner(site)
        filled[run] = account, sample.fill(account)
    return filled[run]


@pytest.fixture
def ids(sampled: tuple[Client, dict[str, Any]]) -> dict[str, Any]:
    """The ids of the sample, which is in the account of the test."""
    return sampled[1]


@pytest.fixture
def api(site: Server, request: pytest.FixtureRequest) -> Client:
    """An admin that no other test uses, unless it has the sample."""
    if "ids" in request.fixturenames:
        owner: Client = request.getfixturevalue("sampled")[0]
        return owner
    return new_owner(site)


def new_owner(site: Server) -> Client:
    return site.admin().new_account("admin", OWNER)


@pytest.fixture(scope="module")
def one_tab(browser: Browser, site: Server, width: int) -> Iterator[Tab]:
    opened = Tab(browser, site.url, width=width)
    yield opened
    opened.close()


@pytest.fixture
def tab(one_tab: Tab, api: Client) -> Iterator[Tab]:
    yield one_tab.renew().log_in(api.email, api.password)
    assert one_tab.faults == []
