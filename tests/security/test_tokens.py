"""What a token makes the server do, and what it is worth when the clock of the machine is moved."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from websockets.exceptions import InvalidStatus

from api.test_authentication import ME, forgeries
from support.client import PASSWORD, Client
from support.scoreboard import Scoreboard
from support.server import Server

# The interpreter tells of every name that is looked up and every socket that is connected, whoever asks for it.
WATCHED: Final = """
import sys
from pathlib import Path

told = Path(sys.argv.pop(1)).open("a", buffering=1)

def watch(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.gethostby", "urllib.", "subprocess.")):
        print(event, arguments[-1], file=told)

sys.addaudithook(watch)
from flowrunner.cli.main import main
main()
"""
# Everything that asks for the time of day gets it with what a file says added to it.
MOVED: Final = """
import datetime, sys, time
from pathlib import Path

file = Path(sys.argv.pop(1))
usual, usual_ns = time.time, time.time_ns

def moved():
    return float(file.read_text() or 0)

time.time = lambda: usual() + moved()
time.time_ns = lambda: usual_ns() + int(moved() * 1e9)

class Moved(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.now(tz) + datetime.timedelta(seconds=moved())

import jwt.api_jwt
jwt.api_jwt.datetime = Moved
from flowrunner.cli.main import main
main()
"""


def test_s05_s06_no_forged_token_makes_the_server_connect_to_anything(
    tmp_path: Path, receiver: object, scoreboard: Scoreboard
) -> None:
    told = tmp_path / "told"
    server = Server(tmp_path, program=("-c", WATCHED, str(told)))
    try:
        admin = server.start().admin()
        account = admin.new_account()
        assert account.token is not None
        key = bytes.fromhex((server.data_dir / "keys" / "signing.key").read_text().strip())
        before = told.read_text()

        forged = list(forgeries(account.token, key))
        taken = [name for name, token in forged if Client(server.url, token).get(ME).status != 401]

        during = told.read_text()[len(before) :]
        # What connects is seen: this does.
        flow = f"nodes: {{a: {{type: http.request, params: {{url: '{receiver.url}/ok'}}}}}}"  # type: ignore[attr-defined]
        assert account.run_to_end(flow)["status"] == "completed"
        seen = told.read_text()[len(before) :]
    finally:
        server.stop()
    scoreboard.count("forged tokens that make the server connect", cases=len(forged), failures=during.count("\n"))
    assert taken == []
    assert during == ""
    assert "socket.connect" in seen


@dataclass(slots=True)
class Clock:
    """The clock of a server's machine."""

    server: Server
    file: Path

    def move(self, seconds: float) -> None:
        """Set it to so many seconds from the right time."""
        self.file.write_text(str(seconds))


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clock]:
    file = tmp_path / "moved"
    file.write_text("0")
    server = Server(tmp_path, program=("-c", MOVED, str(file)))
    try:
        yield Clock(server.start(), file)
    finally:
        server.stop()


def status(client: Client) -> int:
    return client.get(ME).status


def test_s07_a_clock_set_back_by_an_hour_opens_nothing_and_locks_nobody_out(clock: Clock) -> None:
    admin = clock.server.admin()
    account, unused, ended = admin.new_account(), admin.new_account(), admin.new_account()
    assert ended.post("/api/v1/auth/logout").status == 200
    ticket = account.post("/api/v1/auth/ws-ticket").json["ticket"]
    guesses = [{"username": account.email, "password": f"wrong-password-{n}"} for n in range(21)]
    replies = [clock.server.client().post("/api/v1/auth/login", guess).status for guess in guesses]
    assert replies[-1] == 429

    clock.move(-3600)

    assert status(account) == 200, "it was shown before, and is good"
    assert status(unused) == 401, "it is from a time to come"
    assert status(ended) == 401
    assert clock.server.client().post("/api/v1/auth/login", guesses[0]).status == 429, "who guessed still waits"
    again = clock.server.admin()
    assert status(again) == 200, "whoever logs in is in"
    again.token = again.post("/api/v1/auth/refresh").json["token"]
    with pytest.raises(InvalidStatus), account.watch("x", query=f"?ticket={ticket}", additional_headers={}):
        pass

    clock.move(0)

    assert status(unused) == 200
    assert status(ended) == 401
    assert status(again) == 200
    assert again.run_to_end("nodes: {a: {type: return, params: {value: 1}}}")["result"] == 1


def test_s07_a_token_ends_at_its_time_and_the_second_after(clock: Clock) -> None:
    account = clock.server.admin().new_account()
    for is_used in (True, False):
        reply = account.post("/api/v1/auth/refresh")
        renewed = Client(clock.server.url, reply.json["token"])
        life = (datetime.fromisoformat(reply.json["expires_at"]) - datetime.now(UTC)).total_seconds()
        if is_used:
            assert status(renewed) == 200

        clock.move(life - 60)
        assert status(Client(clock.server.url, clock.server.admin().token)) == 200
        assert not is_used or status(renewed) == 200
        clock.move(life + 1)
        assert status(renewed) == 401
        assert renewed.post("/api/v1/auth/refresh").status == 401, "what has ended is not refreshed"
        clock.move(0)
        account = clock.server.client().login(account.email, PASSWORD)
