"""Whoever subscribes gets every event once, in order: from anywhere on, and however slowly they read."""

import base64
import json
import random
import secrets
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from api.live import chain, close_code, refused, waiting
from api.shapes import SMALLEST
from support.client import Client
from support.server import Server
from support.waiting import PATIENCE_SECONDS, wait_for

# From where


def test_after_leaves_out_what_is_known(account: Client) -> None:
    id = account.run(account.new_flow(SMALLEST))
    whole = account.messages(id)

    for after in range(len(whole)):
        assert account.messages(id, query=f"?after={after}") == whole[after:]


def test_a_subscriber_that_knows_the_end_already_is_let_go(account: Client) -> None:
    id = account.run_to_end("nodes:\n  a: {type: transform, params: {value: 1}}\n")["id"]
    last = account.messages(id)[-1]["seq"]

    # As one does whose connection broke between the last message and the close.
    with account.watch(id, query=f"?after={last}") as socket:
        assert close_code(socket) == 1000


@pytest.mark.parametrize("after", ["-1", "x", "", "1.5", "99999999999999999999", "0x1", "1e3", "%20", "%00", "١"])
def test_an_after_that_is_no_number_is_refused(account: Client, after: str) -> None:
    error = refused(account, waiting(account), 422, query=f"?after={after}")

    assert error["message"] == "after: must be the seq of an event: a whole number from 0"
    (fault,) = error["details"]["errors"]
    assert (fault["path"], error["details"]["field"]) == ("after", "after")


def test_a_socket_has_one_value_of_a_query_parameter(account: Client) -> None:
    error = refused(account, waiting(account), 422, query="?after=1&after=2")

    assert (error["message"], error["details"]["field"]) == ("after: is given 2 times, but takes one value", "after")


def test_a_socket_takes_no_unknown_query_parameter(account: Client) -> None:
    error = refused(account, waiting(account), 422, query="?afer=1")

    assert error["message"] == "afer: 'afer' is not a query parameter of this request"
    assert error["hint"] == "did you mean 'after'?"


def test_subscribers_that_join_at_any_moment_see_every_event_once(account: Client) -> None:
    draw = random.Random(7)
    steps = ["type: delay, params: {duration: 15ms}", "type: log, params: {message: hello}"] * 25
    id = account.run(account.new_flow(chain(*steps)))

    def subscribe(pause: float) -> tuple[int, list[int], int | None]:
        time.sleep(pause)
        known = account.get(f"/api/v1/executions/{id}/events", limit=500).json["after"]
        after = min(draw.choice([0, 0, 1, 5, 20]), known)
        with account.watch(id, query=f"?after={after}") as connection:
            numbers = [json.loads(text)["seq"] for text in connection]
        return after, numbers, connection.close_code

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(subscribe, [draw.random() * 0.8 for _ in range(16)]))

    total = len(account.messages(id))
    assert total > 100
    for after, numbers, code in found:
        assert numbers == list(range(after + 1, total + 1))
        assert code == 1000


def test_a_subscriber_that_fell_behind_loses_nothing(account: Client) -> None:
    steps = ["type: delay, params: {duration: 500ms}"] + [
        "type: transform, params: {value: '${flow.input.text}'}"
    ] * 300
    id = account.run(account.new_flow(chain(*steps)), {"text": "x" * 50_000})
    # Little room on the way, so that most events have to wait in the server, or to be dropped there.
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(account.address)
    with account.watch(id, sock=narrow, max_queue=1) as connection:
        account.ended(id)
        numbers = [json.loads(message)["seq"] for message in connection]

    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 600
    assert connection.close_code == 1000


# A subscriber that does not read


@contextmanager
def deaf(account: Client, id: str) -> Iterator[socket.socket]:
    """A subscriber that asks, and then never takes anything."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE_SECONDS)
    try:
        connection.connect(account.address)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        connection.sendall(
            f"GET /ws/executions/{id} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {account.token}\r\n\r\n"
            .encode()
        )  # fmt: skip
        assert connection.recv(12) == b"HTTP/1.1 101"
        yield connection
    finally:
        connection.close()


def test_subscribers_that_do_not_read_delay_nobody(account: Client) -> None:
    steps = ["type: delay, params: {duration: 700ms}"] + ["type: transform, params: {value: '${flow.input.text}'}"] * 60
    definition = chain(*steps)
    id = account.run(account.new_flow(definition), {"text": "x" * 100_000})
    with deaf(account, id), deaf(account, id), deaf(account, id), deaf(account, id), deaf(account, id):
        begun = time.monotonic()
        messages = account.messages(id)
        took = time.monotonic() - begun
        elsewhere = account.run_to_end(SMALLEST)

    assert sum(len(json.dumps(message)) for message in messages) > 5_000_000
    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
    assert took < 15
    assert elsewhere["status"] == "completed"


def test_of_what_a_subscriber_does_not_read_little_waits_on_the_way(account: Client) -> None:
    steps = ["type: transform, params: {value: '${flow.input.text}'}"] * 60
    id = account.run(account.new_flow(chain(*steps)), {"text": "x" * 100_000})
    account.ended(id)
    with deaf(account, id) as connection:
        time.sleep(1.0)

        assert 0 < unsent(account.address[1], connection.getsockname()[1]) < 1_000_000


def unsent(port: int, peer: int) -> int:
    """Bytes that the system holds for the other side of a connection on this machine."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, remote, _, queues = line.split()[1:5]
        if (int(local.partition(":")[2], 16), int(remote.partition(":")[2], 16)) == (port, peer):
            return int(queues.partition(":")[0], 16)
    raise AssertionError("there is no such connection")


def test_subscribers_that_go_away_leave_nothing_behind(account: Client, server: Server) -> None:
    id = waiting(account)
    before = _open_sockets(server)

    for _ in range(20):
        account.watch(id, legacy=True).socket.shutdown(socket.SHUT_RDWR)
        with deaf(account, id):
            pass

    wait_for(lambda: _open_sockets(server) <= before)


def _open_sockets(server: Server) -> float:
    metrics = server.client().get("/metrics").body.decode()
    return next(float(line.split()[1]) for line in metrics.splitlines() if line.startswith("flowrunner_sockets_open "))


# What clients send


@pytest.mark.parametrize("text", ["hello", "", "x" * 60_000, '{"after": 0}', "\x00"])
def test_what_a_subscriber_says_means_nothing(account: Client, text: str) -> None:
    id = waiting(account)
    with account.watch(id) as connection:
        connection.send(text)
        connection.send(text.encode())
        account.delete(f"/api/v1/executions/{id}")
        assert close_code(connection) == 1000


def test_a_message_that_is_too_large_closes_its_socket_alone(account: Client) -> None:
    id = waiting(account)
    with account.watch(id) as loud, account.watch(id) as quiet:
        loud.send("x" * 100_000)
        assert close_code(loud) == 1009
        account.delete(f"/api/v1/executions/{id}")
        assert close_code(quiet) == 1000


def test_s48_messages_are_not_compressed(account: Client) -> None:
    with account.watch(waiting(account), compression="deflate") as connection:
        assert "sec-websocket-extensions" not in connection.response.headers  # type: ignore[union-attr]
