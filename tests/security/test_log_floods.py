"""Strangers cannot fill the log, nor have it show where a connection ended."""

import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Final

import pytest
import structlog

from flowrunner.logs import Sampling, _sampler
from security.crowd import upgrade
from support.server import Server
from support.waiting import PATIENCE_SECONDS

HANDSHAKE_TO_NOWHERE: Final = upgrade("x")


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("fresh"))
    try:
        yield running.start()
    finally:
        running.stop()


def reset(address: tuple[str, int], data: bytes, *, pause: float = 0.0) -> None:
    """Send, and end the connection so that whatever the server does with it then fails."""
    with closing(socket.create_connection(address, timeout=PATIENCE_SECONDS)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(data)
        time.sleep(pause)


def leave(address: tuple[str, int], data: bytes) -> None:
    """Send, and go in good order with the first piece of an answer."""
    with closing(socket.create_connection(address, timeout=PATIENCE_SECONDS)) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(100)


GARBAGE: Final[dict[str, bytes]] = {
    "no HTTP": b"GARBAGE\r\n\r\n",
    "an upgrade that is refused": upgrade("x", *[b"X: y"] * 150),
    "an upgrade with a wrong version": HANDSHAKE_TO_NOWHERE.replace(b"Version: 13", b"Version: 7"),
    "an upgrade without a key": HANDSHAKE_TO_NOWHERE.replace(b"Sec-WebSocket-Key", b"X"),
    "an upgrade to something else": b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "an upgrade to nothing": b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: \r\n\r\n",
    "an upgrade by nobody": HANDSHAKE_TO_NOWHERE,
    "a body that is cut off": b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    "too many requests at once": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 40,
}


@pytest.mark.parametrize("send", [leave, reset])
def test_s62_what_strangers_send_leaves_few_lines_and_no_traceback(
    fresh: Server, send: Callable[[tuple[str, int], bytes], object]
) -> None:
    before = len(fresh.log.splitlines())

    def attack(data: bytes) -> None:
        for _ in range(40):
            with suppress(OSError):
                send(fresh.client().address, data)

    attacks = [threading.Thread(target=attack, args=(data,)) for data in GARBAGE.values()]
    for thread in attacks:
        thread.start()
    for thread in attacks:
        thread.join()

    lines = fresh.log.splitlines()[before:]
    assert len(lines) <= 40, lines[-5:]
    assert "Traceback" not in fresh.log


def test_s62_clients_that_vanish_within_a_body_or_an_answer_leave_no_traceback(fresh: Server) -> None:
    account = fresh.admin().new_account()
    head = f"Host: localhost\r\nAuthorization: Bearer {account.token}\r\n"
    body = f"POST /api/v1/flows/validate HTTP/1.1\r\n{head}Content-Type: application/json\r\n"
    body += "Content-Length: 900000\r\n\r\n"
    answers = f"GET /api/v1/openapi.json HTTP/1.1\r\n{head}\r\n" * 10
    for size in (0, 1, 60_000, 70_000, 200_000, 899_999, 900_000):
        for pause in (0.0, 0.005):
            reset(account.address, body.encode() + b" " * size, pause=pause)
            reset(account.address, answers.encode() + body.encode() + b" " * size, pause=pause)
    assert account.get("/api/v1/flows").status == 200

    assert "Traceback" not in fresh.log


def test_s62_subscribers_that_vanish_leave_no_traceback(fresh: Server) -> None:
    account = fresh.admin().new_account()
    execution = account.run(account.new_flow("nodes: {a: {type: wait, params: {key: s}}}"))
    handshake = upgrade(execution, f"Authorization: Bearer {account.token}".encode())
    bad_frames = (
        b"",
        b"\xff" * 100,
        b"\x81\x82\x00\x00\x00\x00\xff\xfe",
        b"\x88\x80\x00\x00\x00\x00",
        b"\x81\xfe\xff\xff",
    )
    for frames in bad_frames:
        for _ in range(20):
            reset(account.address, handshake + frames)
            with closing(socket.create_connection(account.address, timeout=PATIENCE_SECONDS)) as connection:
                connection.sendall(handshake)
                connection.recv(65536)
                connection.sendall(frames)
    account.post(f"/api/v1/executions/{execution}/signals/s")
    account.ended(execution)

    assert "Traceback" not in fresh.log


def test_lines_of_a_kind_are_sampled_and_the_others_counted() -> None:
    told: list[tuple[str, int]] = []
    has_told = threading.Event()

    def tell(kind: str, count: int) -> None:
        told.append((kind, count))
        has_told.set()

    sampling = Sampling(tell, seconds=1.0)
    record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "Invalid HTTP request received.", (), None)

    passed = sum(sampling.filter(record) for _ in range(1000))
    other = sampling.passes("something else")

    assert (passed, other) == (10, True)
    assert has_told.wait(30)
    assert told == [("uvicorn.error: Invalid HTTP request received.", 990)]
    assert sampling.filter(record)


@pytest.mark.parametrize(
    ("event", "about", "other"),
    [
        ("temporal.delete_failed", {"reason": "away"}, {"reason": "slow"}),
        ("trigger.waits", {"trigger": "trig-1"}, {"trigger": "trig-2"}),
    ],
)
def test_lines_that_an_outage_or_a_full_queue_repeats_are_sampled(
    event: str, about: dict[str, str], other: dict[str, str]
) -> None:
    sample, passed = _sampler(logging.INFO), 0

    for _ in range(30):
        with suppress(structlog.DropEvent):
            sample(None, "", {"event": event, **about})
            passed += 1

    assert passed == 10
    assert sample(None, "", {"event": event, **other})


def test_a_minute_that_begins_while_the_system_has_no_thread_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = threading.Event()
    sampling = Sampling(lambda kind, count: ended.set(), most=2, seconds=0.1)

    def fail(timer: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Timer, "start", fail)
        without_thread = [sampling.passes("a") for _ in range(3)]
    sampling.passes("a")

    assert without_thread == [True, True, False]
    assert ended.wait(PATIENCE_SECONDS)
    assert sampling.passes("a")


def test_kinds_of_lines_are_bounded() -> None:
    sampling = Sampling(lambda kind, count: None, seconds=3600.0)

    assert sum(sampling.passes(f"kind {n}") for n in range(10_000)) == 110
