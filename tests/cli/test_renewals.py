"""Logins whose start, renewal or end fails, and what a user has after it."""

import contextlib
import io
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from client.scripted import Step, answer, error, hang_up, scripted
from flowrunner.cli.connection import connect, find_target, refreshed
from flowrunner.cli.contexts import Context, Contexts, changing_contexts, load_contexts
from flowrunner.cli.logins import log_in, log_out

IS_ALIVE = answer(200, {"identities": []})
RENEWED = answer(200, {"token": "new", "expires_at": "2030-01-02T00:00:00Z", "account_id": "acc-1"})
ASK, RENEW = "GET /api/v1/identities HTTP/1.1", "POST /api/v1/auth/refresh HTTP/1.1"
STANDBY = error(503, "unavailable", Retry_After="1")


class OldLogin:
    """A login that has lived for half its time, at noon of 2030-01-01; `now` is the moment of the user's clock."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        self.noon = datetime(2030, 1, 1, 12, tzinfo=UTC).timestamp()
        self.now = self.noon
        monkeypatch.setattr("flowrunner.cli.connection.time", SimpleNamespace(time=lambda: self.now))

    def store(self, url: str, *, asked_at: float | None = None, refresh_at: float | None = None) -> None:
        context = Context(url=url, token="old", asked_at=asked_at, refresh_at=refresh_at or self.noon - 1)
        Contexts("one", {"one": context}).save()

    def use(self) -> str | None:
        """Return the token that a command uses."""
        with click.Context(click.Command("whoami")):
            contexts = load_contexts()
            return refreshed(find_target(contexts), contexts).token

    @property
    def stored(self) -> Context:
        return load_contexts().by_name["one"]


@pytest.fixture
def old_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OldLogin:
    return OldLogin(tmp_path, monkeypatch)


@pytest.fixture
def ctrl_c_interrupts() -> Iterator[None]:
    """Ctrl-C raises an exception, also in a run that was started in the background, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(connection: socket.socket) -> None:
    """Press Ctrl-C while the request is under way."""
    thread = threading.main_thread().ident
    assert thread is not None
    signal.pthread_kill(thread, signal.SIGINT)
    with contextlib.suppress(OSError):
        connection.recv(1)


@pytest.mark.parametrize(
    "failure",
    [
        hang_up, STANDBY, error(500, "internal_error"), error(502, "bad_gateway"), error(504, "gateway_timeout"),
        error(429, "too_many_requests", Retry_After="60"), answer(200, ["no token"]), answer(200, {}),
    ],
)  # fmt: skip
def test_a_renewal_that_fails_is_tried_again_two_minutes_later(failure: Step, old_login: OldLogin) -> None:
    with scripted(IS_ALIVE, failure, IS_ALIVE, RENEWED) as server:
        old_login.store(server.url)

        tokens = [old_login.use(), old_login.use()]
        heads = server.heads()
        old_login.now += 121
        tokens += [old_login.use(), old_login.use()]

    assert heads == [ASK, RENEW]
    assert server.heads() == [ASK, RENEW] * 2
    assert tokens == ["old", "old", "new", "new"]


def test_a_failover_of_two_hours_costs_no_login(old_login: OldLogin) -> None:
    # Each is asked again for three seconds.
    with scripted(*[error(503, "unavailable", Retry_After="9")] * 60, IS_ALIVE, RENEWED) as server:
        old_login.store(server.url)
        for _ in range(60):
            assert old_login.use() == "old"
            old_login.now += 121

        assert old_login.use() == "new"
    assert server.heads() == [ASK] * 61 + [RENEW]


def test_a_renewal_whose_answer_was_lost_is_not_repeated_as_a_thief_would(old_login: OldLogin) -> None:
    ended = error(401, "unauthorized")
    with scripted(IS_ALIVE, hang_up, ended, ended) as server:
        old_login.store(server.url)
        for _ in range(3):
            assert old_login.use() == "old"
            old_login.now += 121

    assert server.heads() == [ASK, RENEW, ASK, ASK]


@pytest.mark.usefixtures("ctrl_c_interrupts")
@pytest.mark.parametrize("before", [[], [IS_ALIVE]])
def test_a_renewal_that_is_interrupted_is_tried_again(before: list[Step], old_login: OldLogin) -> None:
    with scripted(*before, interrupt, IS_ALIVE, RENEWED) as server:
        old_login.store(server.url)
        with pytest.raises(KeyboardInterrupt):
            old_login.use()
        old_login.now += 121

        assert old_login.use() == "new"


def test_a_login_is_renewed_after_the_clock_was_set_back(old_login: OldLogin) -> None:
    with scripted(IS_ALIVE, RENEWED) as server:
        old_login.store(server.url, asked_at=old_login.noon + 86_400 * 365, refresh_at=old_login.noon + 86_400 * 366)

        assert [old_login.use(), old_login.use()] == ["new", "new"]
    assert server.heads() == [ASK, RENEW]


def test_a_user_whose_clock_is_days_ahead_renews_a_login_once_in_two_minutes(old_login: OldLogin) -> None:
    with scripted(*[IS_ALIVE, RENEWED] * 2) as server:
        old_login.store(server.url)
        old_login.now += 86_400 * 3

        assert [old_login.use() for _ in range(3)] == ["new"] * 3
    assert server.heads() == [ASK, RENEW]


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_stops_no_command_and_no_login(old_login: OldLogin, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(IS_ALIVE, RENEWED) as server:
        old_login.store(server.url)
        with full_disk():
            assert old_login.use() == "old"
        assert server.requests == []
        assert "the login cannot be renewed" in capsys.readouterr().err
        assert sorted(path.name for path in Path(click.get_app_dir("flowrunner")).iterdir()) == [
            "contexts.json", "contexts.lock",
        ]  # fmt: skip

        assert old_login.use() == "new"


def test_a_disk_that_is_full_after_a_renewal_leaves_the_command_its_new_token(
    old_login: OldLogin, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.ExitStack() as disk:

        def fill(connection: socket.socket) -> None:
            disk.enter_context(full_disk())
            connection.sendall(RENEWED)

        with scripted(IS_ALIVE, fill) as server:
            old_login.store(server.url)

            assert old_login.use() == "new"
    assert old_login.stored.token == "old"
    assert "the login cannot be renewed" in capsys.readouterr().err


def test_a_token_does_not_follow_a_context_to_another_server(old_login: OldLogin) -> None:
    with scripted(IS_ALIVE, RENEWED) as server, click.Context(click.Command("whoami")):
        old_login.store("http://127.0.0.1:1")
        before = load_contexts()
        target = find_target(before)
        old_login.store(server.url)

        assert refreshed(target, before) == target
    assert server.requests == []


@pytest.mark.parametrize(("account", "token"), [("ada@example.com", "new"), ("another@example.com", "old")])
def test_a_long_command_goes_on_with_the_token_that_another_one_got(
    account: str, token: str, old_login: OldLogin
) -> None:
    with scripted(*[answer(200, {})] * 3) as server, click.Context(click.Command("job")):
        context = Context(url=server.url, account="ada@example.com", token="old", asked_at=1.0, refresh_at=4e9)
        Contexts("one", {"one": context}).save()
        with connect() as client:
            client.get("/jobs/1")
            Contexts("one", {"one": replace(context, account=account, token="new", asked_at=2.0)}).save()

            client.get("/jobs/1")
            client.get("/jobs/1")

    sent = [server.header(number, "Authorization") for number in range(3)]
    assert sent == ["Bearer old", f"Bearer {token}", f"Bearer {token}"]


@pytest.mark.parametrize(
    ("end", "is_left"),
    [(answer(200, {}), False), (error(401, "unauthorized"), False), (STANDBY, True), (hang_up, True)],
)
def test_a_logout_says_whether_the_login_goes_on(
    end: Step, is_left: bool, old_login: OldLogin, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted(end) as server, click.Context(click.Command("logout")):
        old_login.store(server.url)

        log_out()

    assert server.heads() == ["POST /api/v1/auth/logout HTTP/1.1"]
    assert old_login.stored.token is None
    assert ("the server keeps the login" in capsys.readouterr().err) is is_left


def test_commands_do_not_wait_for_one_that_renews_the_login(old_login: OldLogin) -> None:
    used = list[str | None]()

    def meanwhile(connection: socket.socket) -> None:
        used.append(old_login.use())
        with changing_contexts() as contexts:
            contexts.by_name["other"] = Context(url="http://127.0.0.1:1")
        connection.sendall(RENEWED)

    with scripted(IS_ALIVE, meanwhile) as server:
        old_login.store(server.url)

        used.append(old_login.use())
        used.append(old_login.use())

    assert used == ["old", "new", "new"]
    assert server.heads() == [ASK, RENEW]
    assert sorted(load_contexts().by_name) == ["one", "other"]


def test_a_logout_during_a_renewal_lasts(old_login: OldLogin) -> None:
    def meanwhile(connection: socket.socket) -> None:
        with changing_contexts() as contexts:
            contexts.forget_token("one")
        connection.sendall(RENEWED)

    with scripted(IS_ALIVE, meanwhile) as server:
        old_login.store(server.url)
        old_login.use()

    assert old_login.stored.token is None


def test_a_login_that_could_not_be_stored_is_not_opened(old_login: OldLogin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"password\n")))
    with scripted(RENEWED) as server, click.Context(click.Command("login")):
        with full_disk(), pytest.raises(click.UsageError, match="cannot be written"):
            log_in(server.url, "one", "ada@example.com", way="password")

    assert server.requests == []
