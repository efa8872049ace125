"""The events of an execution over plain HTTP: pages, a long poll, server-sent events and lines."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from api.live import chain, refused, waiting
from api.shapes import assert_error
from support.client import Client
from support.waiting import PATIENCE_SECONDS, wait_for

SHORT: Final = chain("type: transform, params: {value: 1}", "type: transform, params: {value: 2}")
SSE: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"


def finished(account: Client) -> str:
    id = account.run(account.new_flow(SHORT))
    account.ended(id)
    return id


def messages(account: Client, id: str) -> list[Any]:
    """The messages of the WebSocket."""
    with account.watch(id) as connection:
        return [json.loads(text) for text in connection]


def events(account: Client, id: str, **query: Any) -> Any:
    reply = account.get(f"/api/v1/executions/{id}/events", **query)
    assert reply.status == 200, reply
    return reply.json


@contextmanager
def opened(account: Client, path: str, accept: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(*account.address, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", path, headers={**account.bearer(), "Accept": accept, **headers})
        yield connection.getresponse()
    finally:
        connection.close()


def test_a_page_has_the_messages_of_the_websocket(account: Client) -> None:
    id = finished(account)
    wanted = messages(account, id)

    found = events(account, id)

    assert found == {"events": wanted, "after": wanted[-1]["seq"], "has_ended": True}
    first = events(account, id, limit=2)
    assert first == {"events": wanted[:2], "after": 2, "has_ended": False}
    assert events(account, id, after=2)["events"] == wanted[2:]
    assert events(account, id, after=wanted[-1]["seq"]) == {
        "events": [], "after": wanted[-1]["seq"], "has_ended": True,
    }  # fmt: skip


def test_a_stream_has_the_same_messages_and_ends_with_the_last(account: Client) -> None:
    id = finished(account)
    wanted = messages(account, id)
    path = f"/api/v1/executions/{id}/events"

    lines = account.request("GET", path, headers={"Accept": LINES})
    assert lines.headers["content-type"] == LINES
    assert [json.loads(line) for line in lines.body.splitlines()] == wanted
    stream = account.request("GET", path, headers={"Accept": f"{SSE};q=1"})
    assert stream.headers["content-type"].startswith(SSE)
    assert stream.body.decode() == "".join(
        f"id: {message['seq']}\ndata: {json.dumps(message, separators=(',', ':'), ensure_ascii=False)}\n\n"
        for message in wanted
    )


def test_a_stream_continues_after_its_last_event_and_not_after_the_end(account: Client) -> None:
    id = finished(account)
    last = messages(account, id)[-1]["seq"]
    path = f"/api/v1/executions/{id}/events"

    again = account.request("GET", path, headers={"Accept": SSE, "Last-Event-ID": str(last - 1)})
    assert again.body.startswith(f"id: {last}\n".encode())
    assert account.request("GET", path, headers={"Accept": SSE, "Last-Event-ID": str(last)}).status == 204
    # A browser that connects again sends it to the address that it had.
    again = account.request("GET", f"{path}?after=0", headers={"Accept": SSE, "Last-Event-ID": str(last - 1)})
    assert again.body.startswith(f"id: {last}\n".encode())
    lines = account.request("GET", path, headers={"Accept": LINES, "Last-Event-ID": str(last - 1)})
    assert [json.loads(line)["seq"] for line in lines.body.splitlines()] == [last]
    assert account.request("GET", f"{path}?after={last}", headers={"Accept": LINES}).status == 204
    assert_error(account.request("GET", path, headers={"Accept": SSE, "Last-Event-ID": "x"}), 422)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (f"{SSE};q=0.1, application/json", "application/json"),
        (f"application/json;q=0.5, {SSE};q=0.9", SSE),
        (f"{LINES};q=0", "application/json"),
        (f"{LINES}; q=x, text/html", LINES),
        (f"text/html, {SSE}", SSE),
    ],
)
def test_the_accepted_type_with_the_highest_weight_is_sent(accept: str, kind: str, account: Client) -> None:
    id = account.run_to_end("nodes:\n  a: {type: return, params: {value: 1}}\n")["id"]

    reply = account.request("GET", f"/api/v1/executions/{id}/events", headers={"Accept": accept})

    assert (reply.status, reply.headers["content-type"].partition(";")[0]) == (200, kind)


@pytest.mark.parametrize("accept", [SSE, LINES])
def test_new_events_are_streamed_until_the_end(account: Client, accept: str) -> None:
    id = waiting(account)

    with opened(account, f"/api/v1/executions/{id}/events", accept) as response:
        assert b'"seq":1,' in response.readline() + response.readline()
        account.delete(f"/api/v1/executions/{id}")
        rest = response.read()
    assert b'"status":"cancelled"' in rest
    account.ended(id)


@pytest.mark.parametrize("has_ended", [False, True])
def test_an_event_that_there_is_not_is_refused_instead_of_awaited(account: Client, has_ended: bool) -> None:
    id = finished(account) if has_ended else waiting(account)
    last = events(account, id)["after"]
    path = f"/api/v1/executions/{id}/events"

    said = f"is beyond the last event, {last}. Read from the beginning: a restore has undone later ones"
    for accept in (SSE, LINES, "application/json"):
        reply = account.request("GET", f"{path}?after={last + 1}", headers={"Accept": accept})
        assert assert_error(reply, 422)["reason"] == said
    assert refused(account, id, 422, query=f"?after={last + 1}")["details"]["reason"] == said
    assert_error(account.request("GET", path, headers={"Accept": SSE, "Last-Event-ID": str(last + 1)}), 422)


def test_a_long_poll_returns_with_the_next_event(account: Client) -> None:
    id = waiting(account)
    after = events(account, id)["after"]

    found: list[Any] = []
    poll = threading.Thread(target=lambda: found.append(events(account, id, after=after, wait=20)))
    poll.start()
    time.sleep(0.2)
    account.delete(f"/api/v1/executions/{id}")
    poll.join(10)

    assert found[0]["events"][0]["seq"] == after + 1


def test_a_long_poll_returns_empty_when_its_time_is_over(account: Client) -> None:
    id = waiting(account)
    after = events(account, id)["after"]

    assert events(account, id, after=after, wait=1) == {"events": [], "after": after, "has_ended": False}


def test_a_stream_ends_with_the_session(account: Client) -> None:
    id = waiting(account)

    with opened(account, f"/api/v1/executions/{id}/events", LINES) as response:
        response.readline()
        assert account.post("/api/v1/auth/logout").status == 200
        assert b"cancelled" not in response.read()


def test_events_of_another_account_do_not_exist(account: Client, other: Client) -> None:
    id = finished(account)

    for accept in (SSE, LINES, "application/json"):
        for one in (id, "exec-1"):
            path = f"/api/v1/executions/{one}/events"
            assert_error(other.request("GET", path, headers={"Accept": accept}), 404)


def test_a_closed_stream_is_not_counted(account: Client) -> None:
    id = waiting(account)

    def open_streams() -> int:
        text = account.get("/metrics").body.decode()
        return int(
            float(next(line for line in text.splitlines() if line.startswith("flowrunner_sockets_open")).split()[1])
        )

    before = open_streams()
    with opened(account, f"/api/v1/executions/{id}/events", SSE) as response:
        response.readline()
        # Metrics are made a few times a second.
        wait_for(lambda: open_streams() == before + 1)
        response.close()
    wait_for(lambda: open_streams() == before)
