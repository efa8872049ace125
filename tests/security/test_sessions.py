"""Who gets in, how, and until when."""

import asyncio
import http.client
import json
import random
import secrets
import sqlite3
import statistics
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from api.live import close_code, read, waiting
from api.shapes import assert_error
from api.test_tokens_api import program
from flowrunner.domain.errors import Conflict, NotFound, Unauthorized
from flowrunner.domain.values import AccountId
from flowrunner.ports.accounts import AccountChanges
from flowrunner.security.credentials import Argon2Hasher
from flowrunner.services.accounts import AccountUpdate
from flowrunner.storage.accounts import SqlAccounts
from security.two_accounts import ApiClient, assert_limited, two_accounts_at
from services.account_services import AccountServices, open_account_services
from support.client import PASSWORD, Client, Reply
from support.databases import NOON, rows_of
from support.databases import account as new_account
from support.scoreboard import Scoreboard
from support.server import ADMIN_EMAIL, ADMIN_PASSWORD, Server

ME: Final = "/api/v1/flows"
LOGIN: Final = "/api/v1/auth/login"


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[AccountServices]:
    async with open_account_services(tmp_path / "flowrunner.db") as opened:
        yield opened


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def login_from(client: Client, email: str, password: str, source: str) -> Reply:
    """The answer to a login that comes from another address of this machine."""
    connection = http.client.HTTPConnection(*client.address, timeout=60, source_address=(source, 0))
    try:
        body = json.dumps({"username": email, "password": password})
        connection.request("POST", LOGIN, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


# Passwords


def test_s01_many_logins_at_once_neither_fill_the_memory_nor_stop_the_rest(own_server: Server) -> None:
    nobody = own_server.client()
    nobody.post(LOGIN, {"username": "warm@example.com", "password": "up to speed"})
    before, most, waits, stop = resident_mib(own_server.pid), 0.0, [], threading.Event()

    def look() -> None:
        nonlocal most
        while not stop.is_set():
            begun = time.monotonic()
            assert nobody.get("/healthz").status == 200
            waits.append(time.monotonic() - begun)
            most = max(most, resident_mib(own_server.pid))
            time.sleep(0.02)

    def login(number: int) -> int:
        # From several addresses, of which each alone would have to wait.
        source = f"127.0.1.{number % 10}"
        return login_from(nobody, f"n{number}@example.com", "a wrong password", source).status

    looking = threading.Thread(target=look)
    looking.start()
    try:
        with ThreadPoolExecutor(40) as pool:
            statuses = list(pool.map(login, range(40)))
    finally:
        stop.set()
        looking.join()

    assert statuses == [401] * 40
    # Two hashes at once, 19 MiB each; 40 would take 760.
    assert most - before < 120
    assert statistics.quantiles(waits, n=100)[98] < 2.0
    assert len(waits) > 5


WORDS: Final = "kestrel over the long grey fjord "
# A password, and whether it is taken. Length decides, and what everybody tries first.
PASSWORDS: Final[tuple[tuple[str, bool], ...]] = (
    ("", False), ("short", False), ("elevenchars", False), ("twelve chars", True), ("no digits at all", True),
    ("1q2w3e4r5t6y", False), ("qwertyuiop[]", False), ("password1234", False), ("Password1234!", False),
    ("PASSWORD1234", False), ("iloveyou1234", False), ("letmein12345", False), ("welcome12345", False),
    ("administrator", False), ("changeme1234", False), ("flowrunner123", False), ("123456789012", False),
    ("aaaaaaaaaaaa", False), ("ababababababab", False), ("abcdefghijklm", False), ("zyxwvutsrqpon", False),
    ("    spaces count   ", True), ("ünïcödé wörds", True), ("密码应该很长而且难猜哦", False),
    ("密码应该很长而且难猜的哦", True),
    ("🦦🦦🦦🦦🦦🦦🦦🦦🦦🦦🦦🦦", False), ("emoji 🦦 are fine", True), (WORDS * 2, True), (WORDS * 31, True),
    ("x" * 1025, False), ("tab\tand bell \x07", True), ("thomasthomas", False),
    ("1qaz2wsx3edc", False), ("Leavemealone", False), ("heron!heron!", False),
)  # fmt: skip


def test_s02_length_decides_and_what_everybody_tries_is_refused(admin: Client, scoreboard: Scoreboard) -> None:
    wrong = []
    for password, is_taken in PASSWORDS:
        email = f"{secrets.token_hex(6)}@example.com"
        reply = admin.post("/api/v1/accounts", {"name": "N", "email": email, "password": password})
        if reply.status != (201 if is_taken else 422):
            wrong.append((password, reply.status))
        elif is_taken:
            assert Client(admin.url).post(LOGIN, {"username": email, "password": password}).status == 200
        else:
            assert password not in reply.body.decode() or len(password) < 6
    scoreboard.count("passwords: judged wrongly", cases=len(PASSWORDS), failures=len(wrong))
    assert wrong == []


def test_s02_not_a_character_of_a_password_is_left_out_or_changed(admin: Client) -> None:
    decomposed = unicodedata.normalize("NFD", "café au lait, s'il vous plaît")
    composed = unicodedata.normalize("NFC", decomposed)
    pairs = [
        (WORDS * 2 + "seven a", WORDS * 2 + "seven b"),
        (WORDS * 3 + "x" * 28 + "a", WORDS * 3 + "x" * 28 + "b"),
        ("Kestrel over the fjord", "kestrel over the fjord"),
        ("kestrel over the fjord", "kestrel over the fjord "),
        (composed, decomposed),
        (decomposed, composed),
    ]
    assert len(pairs[0][0]) == 73
    assert len(pairs[1][0]) == 128
    for right, almost in pairs:
        email = f"{secrets.token_hex(6)}@example.com"
        body = {"name": "N", "email": email, "password": right}
        assert admin.post("/api/v1/accounts", body).status == 201
        nobody = Client(admin.url)
        assert_error(nobody.post(LOGIN, {"username": email, "password": almost}), 401)
        assert nobody.post(LOGIN, {"username": email, "password": right}).status == 200


# Guessing


def test_s03_while_a_thousand_guesses_run_the_owner_logs_in_from_elsewhere(
    account: Client, scoreboard: Scoreboard
) -> None:
    statuses: list[int] = []

    def guess(number: int) -> None:
        statuses.append(login_from(account, account.email, f"wrong password {number}", "127.0.0.1").status)

    with ThreadPoolExecutor(16) as pool:
        guesses = [pool.submit(guess, number) for number in range(1000)]
        while len(statuses) < 100:
            time.sleep(0.01)
        owner = [login_from(account, account.email, PASSWORD, f"127.0.0.{number}").status for number in (2, 3)]
        for each in guesses:
            each.result()

    evaluated = statuses.count(401)
    scoreboard.count("guesses of a password: evaluated beyond 20", cases=1000, failures=max(evaluated - 20, 0))
    assert owner == [200, 200]
    assert statuses.count(401) == 20
    assert statuses.count(429) == 980


def test_s03_while_ever_new_names_are_guessed_from_one_address_the_others_log_in(
    own_server: Server, scoreboard: Scoreboard
) -> None:
    nobody, replies = own_server.client(), []
    begun = time.monotonic()

    def guess(number: int) -> None:
        replies.append(login_from(nobody, f"name-{number}@example.com", "the most common password", "127.0.0.1"))

    with ThreadPoolExecutor(32) as pool:
        # All beyond a hundred are refused, however many they are.
        guesses = [pool.submit(guess, number) for number in range(300)]
        # The flood waits for hashes, and whoever comes now stands behind all of it.
        while len(replies) < 10:
            time.sleep(0.01)
        owner = login_from(nobody, ADMIN_EMAIL, ADMIN_PASSWORD, "127.0.0.2")
        for each in guesses:
            each.result()
    # So many at once, then as they become free.
    most = 100 + int((time.monotonic() - begun) * 100 / 900) + 1
    evaluated = sum(reply.status == 401 for reply in replies)
    scoreboard.count("guesses under ever new names: evaluated beyond 100", cases=300, failures=max(evaluated - most, 0))

    assert owner.status == 200
    assert 100 <= evaluated <= most
    refused = [reply for reply in replies if reply.status != 401]
    details = [assert_error(reply, 429) for reply in refused]
    assert all((each["limit"], each["most"]) == ("anonymous_logins", 100) for each in details)
    assert all(1 <= int(reply.headers["retry-after"]) <= 9 for reply in refused)


async def test_s03_an_address_that_has_to_wait_is_answered_the_same_whoever_is_named(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data", anonymous_logins=3) as accounts:
        attacker = ApiClient(accounts.app, address="198.51.100.1")
        names = [f"nobody-{n}@example.com" for n in range(5)] + ["mara@example.com", "no address"]
        replies = [
            await attacker.request("POST", LOGIN, {"username": name, "password": password})
            for name in names
            for password in (PASSWORD, "a wrong password")
        ]

        assert [reply.status for reply in replies] == [401] * 3 + [429] * (2 * len(names) - 3)
        assert len({json.dumps({**reply.error, "request_id": ""}) for reply in replies[3:]}) == 1
        elsewhere = ApiClient(accounts.app, address="198.51.100.2")
        assert (
            await elsewhere.request("POST", LOGIN, {"username": "mara@example.com", "password": PASSWORD})
        ).status == 200
        assert (await accounts.mara.request("GET", ME)).status == 200, "who is logged in stays so"
        assert (await accounts.refusals())["anonymous_logins"] == 2 * len(names) - 3


async def test_s56_an_account_that_changes_its_password_without_end_leaves_hashes_to_the_others(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data") as accounts:
        # She is the last admin, so nothing is changed and the session goes on; the passwords are hashed before.
        new = "kestrel over the long grey fjord"
        body = {"role": "user", "password": new, "current_password": PASSWORD}
        me = (await accounts.mara.request("POST", LOGIN, {"username": "mara@example.com", "password": PASSWORD})).json
        path = f"/api/v1/accounts/{me['account_id']}"

        async with asyncio.TaskGroup() as group:
            changes = [group.create_task(accounts.mara.request("PUT", path, body)) for _ in range(100)]
            await asyncio.sleep(0)
            login = {"username": "omar@example.com", "password": PASSWORD}
            others = group.create_task(accounts.omar.request("POST", LOGIN, login))
        replies = [change.result() for change in changes]

        assert others.result().status == 200
        limits = Counter(reply.error["details"]["limit"] for reply in replies if reply.status == 429)
        assert [reply.status for reply in replies].count(409) >= 20
        assert [reply.status for reply in replies].count(409) + limits.total() == 100
        # As many guesses as may fail are checked at once, and those that are right make room for others.
        assert limits.keys() <= {"account_passwords", "failed_logins"}
        assert 20 < limits["account_passwords"] <= 40
        refused = next(r for r in replies if r.status == 429 and r.error["details"]["limit"] == "account_passwords")
        assert_limited(refused, "account_passwords", 60)


async def test_s56_refreshes_and_tickets_without_end_do_not_fill_the_database(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path / "data") as accounts:
        tickets = [await accounts.mara.request("POST", "/api/v1/auth/ws-ticket") for _ in range(590)]
        refreshed: list[Reply] = []
        while (
            len(refreshed) < 100
            and (reply := await accounts.mara.request("POST", "/api/v1/auth/refresh")).status == 200
        ):
            refreshed.append(reply)
            accounts.mara.token = reply.json["token"]

        assert {ticket.status for ticket in tickets} == {201}
        assert 10 <= len(refreshed) < 100
        assert_limited(reply, "account_renewals", 600)
        # One more is allowed every tenth of a second, so that of many at the same moment some are refused.
        more = await asyncio.gather(*(accounts.mara.request("POST", "/api/v1/auth/ws-ticket") for _ in range(30)))
        assert_limited(next(one for one in more if one.status == 429), "account_renewals", 600)
        assert (await accounts.mara.request("GET", ME)).status == 200
        assert (await accounts.omar.request("POST", "/api/v1/auth/refresh")).status == 200


def area_under_curve(first: list[float], second: list[float]) -> float:
    """How well one of two samples is told from the other: 0.5 is by chance, 1 or 0 always."""
    wins = sum((a > b) + (a == b) / 2 for a in first for b in second)
    return wins / (len(first) * len(second))


@pytest.mark.usefixtures("real_hashes")
async def test_s04_an_unknown_name_takes_as_long_as_a_wrong_password(
    services: AccountServices, scoreboard: Scoreboard
) -> None:
    await services.add("omar")
    disabled = await services.add("gone")
    await services.accounts.update(
        await services.add("root", role="admin"), disabled.account_id, AccountUpdate(is_disabled=True)
    )
    times: dict[str, list[float]] = {"known": [], "unknown": [], "disabled": []}
    names = {"known": "omar@example.com", "unknown": "nobody@example.com", "disabled": "gone@example.com"}
    draw, messages, told = random.Random(4), set(), list(names)

    # More are taken only if the first ones look different: a login without a hash still does after all of them.
    while told and len(times["known"]) < 120:
        # In an order that nothing else on the machine can be in step with.
        order = [kind for kind in names for _ in range(40)]
        draw.shuffle(order)
        for kind in order:
            address = f"192.0.2.{sum(map(len, times.values()))}"
            begun = time.perf_counter()
            with pytest.raises(Unauthorized) as refused:
                await services.sessions.login(names[kind], "a wrong password", address=address)
            times[kind].append(time.perf_counter() - begun)
            messages.add(str(refused.value))
        curves = {kind: area_under_curve(times["known"], times[kind]) for kind in ("unknown", "disabled")}
        told = [kind for kind, area in curves.items() if abs(area - 0.5) >= 0.15]

    assert len(messages) == 1
    cases = sum(map(len, times.values()))
    scoreboard.count("logins: names told apart by the time", cases=cases, failures=len(told))
    # Chance alone strays 0.037 from the middle with all of them; without a hash for nobody it is 1.
    assert told == [], curves


def test_s04_a_disabled_account_is_answered_like_one_that_is_not_there(admin: Client, account: Client) -> None:
    admin.put(f"/api/v1/accounts/{account.account_id}", {"disabled": True})
    nobody = Client(account.url)

    answers = {
        json.dumps({**nobody.post(LOGIN, body).error, "request_id": ""})
        for body in (
            {"username": account.email, "password": PASSWORD},
            {"username": account.email, "password": "a wrong password"},
            {"username": "nobody@example.com", "password": PASSWORD},
        )
    }

    assert len(answers) == 1


# Refreshing


@pytest.mark.timeout(180)
async def test_s08_of_many_refreshes_at_once_one_wins(services: AccountServices, scoreboard: Scoreboard) -> None:
    await services.add("omar")
    rounds, at_once, wrong = 100, 20, 0
    token = (await services.login()).token
    for _ in range(rounds):
        caller = await services.sessions.authenticate(token)
        results = await asyncio.gather(
            *(services.sessions.refresh(caller) for _ in range(at_once)), return_exceptions=True
        )
        winners = [result.token for result in results if not isinstance(result, BaseException)]
        assert all(isinstance(r, Unauthorized) for r in results if isinstance(r, BaseException))
        wrong += len(winners) != 1
        token = winners[0]
    scoreboard.count("refreshes at once: rounds without one winner", cases=rounds * at_once, failures=wrong)

    assert wrong == 0
    await services.sessions.authenticate(token)


def test_s08_a_token_that_comes_back_after_two_refreshes_ends_the_login(account: Client) -> None:
    first = account
    other_login = Client(account.url).login(account.email, PASSWORD)
    second = Client(account.url, first.post("/api/v1/auth/refresh").json["token"])
    third = Client(account.url, second.post("/api/v1/auth/refresh").json["token"])
    execution = waiting(third)
    with third.watch(execution) as connection:
        read(connection, 1)

        assert_error(first.post("/api/v1/auth/refresh"), 401)

        assert close_code(connection, 5.0) == 4401
    for client in (first, second, third):
        assert_error(client.get(ME), 401)
        assert_error(client.post("/api/v1/auth/refresh"), 401)
    assert other_login.get(ME).status == 200


def test_s08_the_second_of_two_requests_at_once_ends_nothing(account: Client) -> None:
    newer = Client(account.url, account.post("/api/v1/auth/refresh").json["token"])

    assert_error(account.post("/api/v1/auth/refresh"), 401)

    assert newer.get(ME).status == 200
    assert account.get(ME).status == 200


async def test_s08_a_token_that_comes_back_late_ends_the_login(services: AccountServices) -> None:
    await services.add("omar")
    old = (await services.login()).token
    new = (await services.sessions.refresh(await services.sessions.authenticate(old))).token
    services.clock.advance(seconds=11)
    await services.sessions.purge()
    with pytest.raises(Unauthorized):
        await services.sessions.authenticate(old)

    await services.sessions.refuse_refresh(new)
    await services.sessions.authenticate(new)
    await services.sessions.refuse_refresh(old)

    for sessions in (services.sessions, services.new_sessions()):
        with pytest.raises(Unauthorized):
            await sessions.authenticate(new)


# Browsers


class Browser(Client):
    """Keeps the cookie, and says with each request which page it comes from."""

    cookie = ""

    def request(self, method: str, path: str, body: Any = None, headers: Any = None, **options: Any) -> Reply:
        own = {"Origin": self.url, "Sec-Fetch-Site": "same-origin"}
        sent = {**own, **({"Cookie": self.cookie} if self.cookie else {}), **(headers or {})}
        reply = super().request(method, path, body, sent, **options)
        if "set-cookie" in reply.headers:
            self.cookie = reply.headers["set-cookie"].partition(";")[0]
        return reply


def browse(account: Client) -> tuple[Browser, Reply]:
    browser = Browser(account.url)
    reply = browser.post(LOGIN, {"username": account.email, "password": PASSWORD, "cookie": True})
    assert reply.status == 200
    return browser, reply


def test_s52_a_browser_gets_its_token_where_no_script_can_read_it(account: Client) -> None:
    browser, reply = browse(account)

    assert reply.json.keys() == {"expires_at", "account_id"}
    cookie, *attributes = reply.headers["set-cookie"].split("; ")
    assert cookie.startswith("flowrunner_session=ey")
    lowered = {attribute.lower().partition("=")[0]: attribute.lower() for attribute in attributes}
    assert lowered.keys() == {"expires", "httponly", "path", "samesite"}
    assert lowered["samesite"] == "samesite=strict"
    assert lowered["path"] == "path=/"
    assert browser.get(ME).status == 200
    assert browser.post(ME, {}).status == 422, "it may write"
    assert "set-cookie" not in account.get(ME).headers
    assert "set-cookie" not in Client(account.url).login(account.email, PASSWORD).post("/api/v1/auth/refresh").headers


def test_s50_s52_behind_tls_the_cookie_is_for_this_host_alone(tmp_path: Path) -> None:
    server = Server(tmp_path, {"PUBLIC_URL": "https://flows.example.com"}).start()
    try:
        admin = server.admin()
        login = {"username": admin.email, "password": "seven-grey-herons-wade", "cookie": True}
        reply = admin.post(LOGIN, login, Origin="https://flows.example.com")
        cookie = reply.headers["set-cookie"]

        assert cookie.startswith("__Host-flowrunner_session=")
        assert "; secure" in cookie.lower()
        assert "domain" not in cookie.lower()
        for answered in (reply, admin.get("/nothing"), admin.get("/healthz")):
            assert answered.headers["strict-transport-security"] == "max-age=31536000"
        headers = {"Cookie": cookie.partition(";")[0], "Content-Type": "application/json"}
        for origin, status in (
            ("https://flows.example.com", 422), (server.url, 403), ("http://flows.example.com", 403),
            ("https://flows.example.com:444", 403), ("https://evil.example.com", 403),
        ):  # fmt: skip
            found = Client(server.url).request("POST", ME, b"{}", {**headers, "Origin": origin})
            assert found.status == status, origin
        assert_error(admin.post(LOGIN, login, Origin=server.url), 403)
        weak = {"Cookie": headers["Cookie"].removeprefix("__Host-"), "Origin": "https://flows.example.com"}
        assert Client(server.url).request("GET", ME, headers=weak).status == 401
    finally:
        server.stop()


def test_s52_a_page_over_tls_gets_a_cookie_for_tls_alone(account: Client) -> None:
    login = {"username": account.email, "password": PASSWORD, "cookie": True}
    host = account.url.removeprefix("http://")

    plain = account.post(LOGIN, login, Origin=account.url).headers["set-cookie"]
    behind_tls = account.post(LOGIN, login, Origin=f"https://{host}").headers["set-cookie"]

    assert "secure" not in plain.lower()
    assert "; secure" in behind_tls.lower()


def test_s52_a_foreign_page_logs_nobody_in(account: Client) -> None:
    body = {"username": account.email, "password": PASSWORD, "cookie": True}
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
        reply = Client(account.url).post(LOGIN, body, **headers)
        assert_error(reply, 403)
        assert "set-cookie" not in reply.headers


def test_a_browser_refreshes_its_cookie_and_opens_sockets_with_it(account: Client) -> None:
    browser, _ = browse(account)
    before = browser.cookie

    reply = browser.post("/api/v1/auth/refresh")

    assert reply.json.keys() == {"expires_at", "account_id"}
    assert browser.cookie not in ("", before)
    execution = waiting(account)
    headers = {"Cookie": browser.cookie, "Origin": account.url}
    with browser.watch(execution, additional_headers=headers) as connection:
        read(connection, 1)


# Ends


@pytest.mark.parametrize("how", ["bearer", "cookie", "cookie as bearer"])
def test_s09_a_logout_by_any_way_ends_everything_of_the_login(account: Client, how: str) -> None:
    browser, _ = browse(account)
    token = browser.cookie.partition("=")[2]
    bearer = Client(account.url, token)
    execution = waiting(account)
    ticket = bearer.post("/api/v1/auth/ws-ticket").json["ticket"]
    headers = {"Cookie": browser.cookie, "Origin": account.url}
    with browser.watch(execution, additional_headers=headers) as first, bearer.watch(execution) as second:
        read(first, 1)
        read(second, 1)
        begun = time.monotonic()

        reply = (browser if how == "cookie" else bearer).post("/api/v1/auth/logout")

        assert reply.status == 200
        assert {close_code(first, 5.0), close_code(second, 5.0)} == {4401}
        assert time.monotonic() - begun < 5
    if how == "cookie":
        assert 'flowrunner_session="";' in reply.headers["set-cookie"]
        assert "max-age=0" in reply.headers["set-cookie"].lower()
    for client in (bearer, Client(account.url, ticket)):
        for method, path in (("GET", ME), ("POST", "/api/v1/auth/refresh"), ("POST", "/api/v1/auth/logout")):
            assert client.request(method, path).status == 401
            assert Client(account.url).request(method, path, headers=headers).status == 401
    assert account.get(ME).status == 200, "another login is left alone"


@pytest.mark.parametrize(
    "change", [{"disabled": True}, {"role": "viewer"}, {"password": "another-quiet-heron-1"}, None]
)
def test_s10_a_change_of_the_account_ends_every_session_and_socket(
    admin: Client, account: Client, change: dict[str, Any] | None
) -> None:
    browser, _ = browse(account)
    execution = waiting(account)
    headers = {"Cookie": browser.cookie, "Origin": account.url}
    reading, _ = program(account, "read")
    path = f"/api/v1/accounts/{account.account_id}"
    with (
        browser.watch(execution, additional_headers=headers) as by_cookie,
        account.watch(execution) as by_bearer,
        reading.watch(execution) as by_token,
    ):
        for connection in (by_cookie, by_bearer, by_token):
            read(connection, 1)
        begun = time.monotonic()

        reply = admin.delete(f"{path}?workspace=delete") if change is None else admin.put(path, change)

        assert reply.status == 200
        assert close_code(by_cookie, 5.0) == 4401
        assert close_code(by_bearer, 5.0) == 4401
        if change != {"role": "viewer"}:
            assert close_code(by_token, 5.0) == 4401
        assert time.monotonic() - begun < 5
        assert browser.get(ME).status == account.get(ME).status == 401
        # What reads may go on reading after a change of the role.
        assert reading.get(ME).status == (200 if change == {"role": "viewer"} else 401)


async def test_s10_an_admin_who_is_disabled_while_a_password_is_hashed_creates_no_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hash = Argon2Hasher.hash
    admin = {"name": "Ada", "email": "ada@example.com", "password": PASSWORD, "role": "admin"}

    async with two_accounts_at(tmp_path) as accounts:
        made = await accounts.mara.request("POST", "/api/v1/accounts", admin)
        login = await ApiClient(accounts.app).request("POST", LOGIN, {"username": admin["email"], "password": PASSWORD})

        async def hash_slowly(hasher: Argon2Hasher, password: str, *, source: str) -> str:
            hashed = await hash(hasher, password, source=source)
            # Another task, as that of another connection.
            disabling = accounts.mara.request("PUT", f"/api/v1/accounts/{made.json['id']}", {"disabled": True})
            assert (await asyncio.create_task(disabling)).status == 200
            return hashed

        with monkeypatch.context() as slow:
            slow.setattr(Argon2Hasher, "hash", hash_slowly)
            ada = ApiClient(accounts.app, login.json["token"])
            late = await ada.request("POST", "/api/v1/accounts", {**admin, "email": "late@example.com"})
        listed = (await accounts.mara.request("GET", "/api/v1/accounts")).json["accounts"]

    assert_error(late, 401)
    assert {account["email"] for account in listed} == {f"{name}@example.com" for name in ("mara", "omar", "ada")}


# The last admin


@pytest.mark.parametrize("how", [("delete",) * 2, ("disable",) * 2, ("demote",) * 2, ("delete", "disable")])
async def test_s19_of_two_last_admins_who_end_each_other_one_stays(
    services: AccountServices, scoreboard: Scoreboard, how: tuple[str, str]
) -> None:
    store = SqlAccounts(services.engine.database)
    rounds, lost = 100, 0
    for number in range(rounds):
        pair = (AccountId(f"account-a{number}"), AccountId(f"account-b{number}"))
        for id in pair:
            await store.create(new_account(id), password_hash="x")
        with closing(sqlite3.connect(services.engine.path)) as connection, connection:
            connection.execute("UPDATE accounts SET role = 'user' WHERE id NOT IN (?, ?)", pair)

        results = await asyncio.gather(
            *(end(store, how[n], id=pair[n], by=pair[1 - n]) for n in (0, 1)), return_exceptions=True
        )

        assert all(r is None or isinstance(r, Conflict | NotFound) for r in results), results
        lost += rows_of(services.engine.path, ACTIVE_ADMINS) != [(1,)]
    scoreboard.count("races of the last two admins: not one left", cases=rounds, failures=lost)
    assert lost == 0


ACTIVE_ADMINS: Final = """
SELECT count(*) FROM accounts WHERE role = 'admin' AND disabled_at IS NULL AND deleted_at IS NULL
"""


async def end(store: SqlAccounts, how: str, *, id: AccountId, by: AccountId) -> None:
    match how:
        case "delete":
            await store.delete(id, at=NOON)
        case "disable":
            await store.update(id, AccountChanges(is_disabled=True), by=by, at=NOON)
        case _:
            await store.update(id, AccountChanges(role="user"), by=by, at=NOON)


def test_s19_the_last_active_admin_is_not_disabled(tmp_path: Path) -> None:
    server = Server(tmp_path).start()
    try:
        admin = server.admin()
        second = admin.new_account("admin")
        path = f"/api/v1/accounts/{admin.account_id}"
        assert admin.put(f"/api/v1/accounts/{second.account_id}", {"disabled": True}).status == 200

        for change in ({"disabled": True}, {"role": "user"}, {"role": "viewer"}):
            assert_error(admin.put(path, change), 409)
        assert_error(admin.delete(path), 409)

        assert admin.get(ME).status == 200, "a refused change ends nothing"
    finally:
        server.stop()
