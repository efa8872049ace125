"""An execution's events over a WebSocket: all of them, once, in order, to whoever may see them."""

import base64
import json
import random
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from api.shapes import CODES, SMALLEST, moment
from support.client import PASSWORD, Client
from support.receiver import Receiver
from support.server import Server

NAP: Final = "nodes:\n  nap: {type: delay, params: {duration: 1h}}\n"


def waiting(account: Client) -> str:
    """An execution that waits for long."""
    id = account.run(account.new_flow(NAP))
    account.reaching(id, frozenset({"waiting"}))
    return id


def refused(account: Client, id: str, status: int, **options: Any) -> Any:
    """Check that a socket is refused before it is accepted; gives the error."""
    with pytest.raises(InvalidStatus) as caught:
        account.watch(id, **options)
    response = caught.value.response
    assert response.status_code == status
    error = json.loads(response.body)["error"]
    assert error["code"] == CODES[status]
    assert error["request_id"] == response.headers["X-Request-Id"]
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    return {**error, "request_id": ""}


def read(connection: ClientConnection, count: int) -> list[Any]:
    return [json.loads(connection.recv(timeout=20)) for _ in range(count)]


def close_code(connection: ClientConnection, seconds: float = 10.0) -> int | None:
    """The code that the server closes with; whatever comes before is read."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            connection.recv(timeout=0.2)
        except TimeoutError:
            continue
        except ConnectionClosed:
            return connection.close_code
    return None


def chain(*nodes: str) -> str:
    """A flow of these nodes, one after the other."""
    lines = [
        f"  n{number}: {{{node}{f', next: n{number + 1}' if number + 1 < len(nodes) else ''}}}"
        for number, node in enumerate(nodes)
    ]
    return "nodes:\n" + "\n".join(lines) + "\n"


# Messages


def test_a_completed_execution_is_told_in_the_messages_of_the_reference(account: Client, receiver: Receiver) -> None:
    definition = f"""nodes:
  start: {{type: http.request, params: {{url: "{receiver.url}/ok"}}, next: end}}
  end: {{type: return, params: {{value: {{output: value}}}}}}
"""
    id = account.run(account.new_flow(definition))

    messages = account.messages(id)

    for message in messages:
        assert message["execution_id"] == id
        moment(message["timestamp"])
    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
    update = next(m for m in messages if m["type"] == "execution_update")
    assert update.keys() == {"type", "execution_id", "seq", "status", "node_id", "node_type", "timestamp"}
    assert (update["status"], update["node_id"], update["node_type"]) == ("running", "start", "http.request")
    node = next(m for m in messages if m["type"] == "node_completed")
    assert node.keys() == {
        "type", "execution_id", "seq", "node_id", "node_type", "step", "action", "result", "timestamp"
    }  # fmt: skip
    assert (node["node_id"], node["node_type"], node["step"]) == ("start", "http.request", "start.1")
    assert node["result"]["status_code"] == 200
    assert node["result"]["body"] == {"key": "value"}
    log = next(m for m in messages if m["type"] == "log" and m["message"] == "HTTP request successful")
    assert log.keys() == {
        "type", "execution_id", "seq", "level", "message", "node_id", "node_type", "step", "data", "timestamp"
    }  # fmt: skip
    assert (log["level"], log["node_id"], log["node_type"]) == ("info", "start", "http.request")
    assert log["data"] == {"status_code": 200, "url": f"{receiver.url}/ok"}
    last = messages[-1]
    assert last.keys() == {"type", "execution_id", "seq", "status", "result", "timestamp"}
    assert (last["type"], last["status"], last["result"]) == ("execution_completed", "completed", {"output": "value"})


def test_a_failed_execution_is_told_as_in_the_reference(account: Client, receiver: Receiver) -> None:
    definition = f'nodes:\n  start: {{type: http.request, params: {{url: "{receiver.url}/status/500"}}}}\n'
    id = account.run(account.new_flow(definition))

    last = account.messages(id)[-1]

    assert last.keys() >= {"type", "execution_id", "seq", "status", "error", "node_id", "node_type", "timestamp"}
    assert (last["type"], last["status"]) == ("execution_failed", "failed")
    assert last["error"] == "HTTP request failed with status 500"
    assert (last["node_id"], last["node_type"]) == ("start", "http.request")


def test_a_cancelled_execution_is_told_and_the_socket_closed(account: Client) -> None:
    id = waiting(account)
    with account.watch(id) as connection:
        account.delete(f"/api/v1/executions/{id}")
        messages = [json.loads(text) for text in connection]

    assert messages[-1]["type"] == "execution_update"
    assert messages[-1]["status"] == "cancelled"
    assert connection.close_code == 1000


def test_an_ended_execution_is_replayed_and_the_socket_closed(account: Client) -> None:
    id = account.run(account.new_flow(SMALLEST))
    account.ended(id)

    first, second = account.messages(id), account.messages(id)

    assert first == second
    assert [message["seq"] for message in first] == list(range(1, len(first) + 1))
    assert first[-1]["type"] == "execution_completed"


def test_live_messages_are_the_ones_that_are_replayed(account: Client) -> None:
    id = account.run(account.new_flow(chain("type: delay, params: {duration: 300ms}", "type: return")))

    live = account.messages(id)

    assert live == account.messages(id)
    assert any(message.get("status") == "waiting" for message in live)


def test_logs_are_the_same_over_rest_and_live(account: Client) -> None:
    id = account.run(account.new_flow(chain("type: log, params: {message: hello, data: [1]}", "type: return")))
    messages = [message for message in account.messages(id) if message["type"] == "log"]

    names = ("timestamp", "level", "message", "node_id", "node_type", "step", "data")
    assert account.logs(id) == [{name: message[name] for name in names if name in message} for message in messages]


# What has no message of its own in the reference is an update of the execution


def updates(account: Client, id: str) -> list[Any]:
    """What the messages of an execution tell, but for the logs and what is the same in each."""
    left_out = ("type", "execution_id", "seq", "timestamp", "node_type")
    return [
        {name: value for name, value in message.items() if name not in left_out}
        for message in account.messages(id)
        if message["type"] == "execution_update"
    ]


def test_a_wait_tells_what_for_and_the_signal_that_it_has_come(account: Client) -> None:
    id = account.run(account.new_flow("nodes:\n  paid: {type: wait, params: {key: a/b, timeout: 1h}}\n"))
    until = account.waiting_at(id, "paid")["waiting_for"][0]["until"]
    with account.watch(id) as connection:
        assert account.post(f"/api/v1/executions/{id}/signals/a/b", {"payload": 7}).status == 200
        live = [json.loads(text) for text in connection]

    assert live == account.messages(id)
    assert updates(account, id) == [
        {"status": "running", "node_id": "paid"},
        {"status": "running", "node_id": "paid", "step": "paid.1", "attempt": 1},
        {
            "status": "waiting", "node_id": "paid", "step": "paid.1", "until": until,
            "waiting_for": {"type": "signal", "key": "a/b"},
        },
        {"status": "running", "received": {"type": "signal", "key": "a/b", "by": account.account_id}},
    ]  # fmt: skip
    assert live[-3]["result"] == 7


def test_an_approval_tells_what_is_asked_and_who_has_answered(account: Client) -> None:
    id = account.run(account.new_flow("nodes:\n  ask: {type: approval, params: {prompt: Push?}}\n"))
    account.waiting_at(id, "ask")
    account.post(f"/api/v1/executions/{id}/approvals/ask", {"approved": True})
    account.ended(id)

    *_, waiting, received = updates(account, id)
    assert waiting == {
        "status": "waiting", "node_id": "ask", "step": "ask.1", "waiting_for": {"type": "approval", "prompt": "Push?"}
    }  # fmt: skip
    assert received["received"] == {"type": "approval", "step": "ask.1", "by": account.account_id}


def test_a_loop_tells_of_each_of_its_runs(account: Client) -> None:
    definition = """nodes:
  each:
    type: foreach
    params: {items: [1, 2], on_error: continue}
    nodes:
      check: {type: switch, params: {cases: [{when: "item == 2", action: bad}]}, next: {bad: stop}}
      stop: {type: fail, params: {message: not two}}
"""
    id = account.run_to_end(definition)["id"]

    told = [u for u in updates(account, id) if u.keys() & {"scopes", "scope_outcome"}]
    assert told == [
        {"status": "running", "node_id": "each", "step": "each.1", "scopes": 2},
        {"status": "running", "scope": "each.1[0]", "scope_outcome": "completed"},
        {"status": "running", "scope": "each.1[1]", "scope_outcome": "failed", "error": "not two"},
    ]
    steps = [(m["step"], m.get("scope")) for m in account.messages(id) if m["type"] == "node_completed"]
    assert steps == [("each.1[0]/check.1", "each.1[0]"), ("each.1[1]/check.1", "each.1[1]"), ("each.1", None)]


def test_a_step_that_runs_again_and_again_is_told_by_its_number(account: Client) -> None:
    definition = """vars: {n: 0}
nodes:
  count: {type: set, params: {n: "${vars.n + 1}"}, next: enough}
  enough: {type: switch, params: {cases: [{when: "vars.n < 3", action: again}]}, next: {again: count}}
"""
    id = account.run_to_end(definition)["id"]

    steps = [message["step"] for message in account.messages(id) if message["type"] == "node_completed"]
    assert steps == ["count.1", "enough.1", "count.2", "enough.2", "count.3", "enough.3"]


def test_a_try_that_failed_tells_why_and_when_the_next_one_is(account: Client, receiver: Receiver) -> None:
    definition = (
        f"nodes:\n  a: {{type: http.request, params: {{url: '{receiver.url}/status/503'}},"
        " retry: {max: 1, delay: 100ms, jitter: 0}}\n"
    )
    id = account.run_to_end(definition)["id"]

    _, first, failed, second, last = updates(account, id)
    assert (first["attempt"], second["attempt"]) == (1, 2)
    moment(failed.pop("retry_at"))
    message = "HTTP request failed with status 503"
    assert failed == {"status": "waiting", "node_id": "a", "step": "a.1", "attempt": 1, "error": message}
    assert last == {"status": "running", "node_id": "a", "step": "a.1", "attempt": 2, "error": message}


def test_a_sub_flow_tells_which_execution_it_is(account: Client) -> None:
    inner = account.new_flow("nodes:\n  r: {type: return, params: {value: 1}}\n")
    id = account.run_to_end(f"nodes:\n  call: {{type: flow, params: {{flow: {inner}}}}}\n")["id"]
    (child,) = account.get("/api/v1/executions", flow_id=inner).json["executions"]

    told = {
        name: update[name] for update in updates(account, id) for name in ("waiting_for", "received") if name in update
    }
    assert told == {
        "waiting_for": {"type": "flow", "execution_id": child["id"], "flow_id": inner},
        "received": {"type": "flow", "execution_id": child["id"]},
    }


def test_an_execution_that_waits_for_its_turn_says_so(account: Client) -> None:
    definition = "limits: {concurrency: {max: 1}}\nnodes:\n  go: {type: wait, params: {key: go}}\n"
    flow_id = account.new_flow(definition)
    first, second = account.run(flow_id), account.run(flow_id)
    account.waiting_at(first, "go")
    assert account.execution(second)["waiting_for"] == [{"type": "turn", "until": None}]

    for id in (first, second):
        account.waiting_at(id, "go")
        account.post(f"/api/v1/executions/{id}/signals/go")
        account.ended(id)

    assert updates(account, second)[:2] == [{"status": "waiting", "node_id": "go"}, {"status": "running"}]


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


def test_a_subscriber_ahead_of_the_events_is_let_go_at_the_end(account: Client) -> None:
    id = waiting(account)

    with account.watch(id, query="?after=1000000") as socket:
        assert account.delete(f"/api/v1/executions/{id}").status == 200
        assert close_code(socket) == 1000


@pytest.mark.parametrize("after", ["-1", "x", "", "1.5", "99999999999999999999", "0x1", "1e3", "%20", "%00", "١"])
def test_an_after_that_is_no_number_is_refused(account: Client, after: str) -> None:
    error = refused(account, waiting(account), 422, query=f"?after={after}")

    assert error["message"] == "after: must be the seq of an event: a whole number from 0"
    (fault,) = error["details"]["errors"]
    assert (fault["path"], error["details"]["field"]) == ("after", "after")


def test_subscribers_that_join_at_any_moment_see_every_event_once(account: Client) -> None:
    draw = random.Random(7)
    steps = ["type: delay, params: {duration: 15ms}", "type: log, params: {message: hello}"] * 25
    id = account.run(account.new_flow(chain(*steps)))

    def subscribe(pause: float) -> tuple[int, list[int], int | None]:
        time.sleep(pause)
        after = draw.choice([0, 0, 1, 5, 20])
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
    connection.settimeout(20)
    try:
        connection.connect(account.address)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        connection.sendall(
            f"GET /ws/executions/{id} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
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

    deadline = time.monotonic() + 10
    while _open_sockets(server) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _open_sockets(server) <= before


def _open_sockets(server: Server) -> float:
    metrics = server.client().get("/metrics").body.decode()
    return next(float(line.split()[1]) for line in metrics.splitlines() if line.startswith("flowrunner_sockets_open "))


# Who


def test_without_a_token_a_socket_is_refused_before_it_is_accepted(account: Client) -> None:
    id = waiting(account)

    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer "}):
        refused(account, id, 401, additional_headers=headers)


def test_s11_no_token_is_taken_from_a_url(account: Client) -> None:
    id = waiting(account)
    ticket = account.post("/api/v1/auth/ws-ticket").json["ticket"]

    for name in ("token", "access_token", "authorization", "Authorization", "ticket"):
        refused(account, id, 401, query=f"?{name}={account.token}", additional_headers={})
        refused(account, id, 401, query=f"?{name}={ticket}", additional_headers={})


def test_no_token_is_taken_from_a_cookie(account: Client) -> None:
    refused(account, waiting(account), 401, additional_headers={"Cookie": f"token={account.token}"})


def test_s21_an_execution_of_another_account_looks_like_none(account: Client, other: Client, admin: Client) -> None:
    id = waiting(account)

    for client in (other, admin):
        foreign, absent = refused(client, id, 404), refused(client, "exec-1", 404)
        assert foreign == absent
        assert foreign["message"] == "Execution not found"


@pytest.mark.parametrize("path", ["/ws/executions/", "/ws/executions", "/ws", "/ws/flows/1", "/ws/executions/a/b"])
def test_other_sockets_do_not_exist(account: Client, path: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        account.watch("..", query=f"/..{path}")
    response = caught.value.response
    assert response.status_code in (401, 404)
    assert json.loads(response.body)["error"]["code"] == CODES[response.status_code]


def test_s11_a_ticket_opens_one_socket(account: Client) -> None:
    id = waiting(account)
    ticket = account.post("/api/v1/auth/ws-ticket").json["ticket"]
    offer: Any = {"additional_headers": {}, "subprotocols": ["flowrunner.v1", f"ticket.{ticket}"]}

    with account.watch(id, **offer) as connection:
        assert connection.subprotocol == "flowrunner.v1", "the ticket must not come back"
        assert read(connection, 1)[0]["seq"] == 1
        refused(account, id, 401, **offer)
    refused(account, id, 401, **offer)


def test_a_ticket_taken_by_many_at_once_opens_one_socket(account: Client) -> None:
    id = waiting(account)
    ticket = account.post("/api/v1/auth/ws-ticket").json["ticket"]
    barrier = threading.Barrier(8)

    def attempt(_: int) -> bool:
        protocols: Any = ["flowrunner.v1", f"ticket.{ticket}"]
        barrier.wait()
        try:
            with account.watch(id, additional_headers={}, subprotocols=protocols):
                return True
        except InvalidStatus:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_a_ticket_sees_no_more_than_its_account(account: Client, other: Client) -> None:
    id = waiting(account)
    ticket = other.post("/api/v1/auth/ws-ticket").json["ticket"]

    refused(account, id, 404, additional_headers={}, subprotocols=["flowrunner.v1", f"ticket.{ticket}"])


@pytest.mark.parametrize("ticket", ["", "x", "' OR 1=1 --", "%00"])
def test_a_ticket_that_was_never_made_is_refused(account: Client, ticket: str) -> None:
    offered = f"ticket.{ticket}".replace(" ", "").replace("=", "").replace("'", "")
    refused(account, waiting(account), 401, additional_headers={}, subprotocols=["flowrunner.v1", offered])


def test_a_ticket_ends_with_its_session(account: Client) -> None:
    id = waiting(account)
    ticket = account.post("/api/v1/auth/ws-ticket").json["ticket"]
    account.post("/api/v1/auth/logout")

    refused(account, id, 401, additional_headers={}, subprotocols=["flowrunner.v1", f"ticket.{ticket}"])


# When the session ends


def test_a_logout_closes_the_sockets_of_its_session_alone(account: Client) -> None:
    id = waiting(account)
    second = Client(account.url).login(account.email, PASSWORD)
    with account.watch(id) as mine, second.watch(id) as theirs:
        read(mine, 1)
        read(theirs, 1)
        account.post("/api/v1/auth/logout")

        assert close_code(mine, 5.0) == 4401
        second.delete(f"/api/v1/executions/{id}")
        assert close_code(theirs) == 1000


def test_a_socket_that_a_ticket_opened_is_closed_by_the_logout(account: Client) -> None:
    id = waiting(account)
    ticket = account.post("/api/v1/auth/ws-ticket").json["ticket"]
    protocols: Any = ["flowrunner.v1", f"ticket.{ticket}"]
    with account.watch(id, additional_headers={}, subprotocols=protocols) as connection:
        account.post("/api/v1/auth/logout")

        assert close_code(connection, 5.0) == 4401


def test_a_deleted_account_loses_its_sockets_and_its_executions(account: Client, admin: Client) -> None:
    id = waiting(account)
    with account.watch(id) as connection:
        read(connection, 1)
        admin.delete(f"/api/v1/accounts/{account.account_id}")

        assert close_code(connection, 5.0) == 4401


def test_a_changed_password_or_role_closes_the_sockets(account: Client, admin: Client) -> None:
    id = waiting(account)
    path = f"/api/v1/accounts/{account.account_id}"
    for change in ({"role": "admin"}, {"role": "user"}, {"password": "another-quiet-heron-1"}):
        account.login(account.email, PASSWORD)
        with account.watch(id) as connection:
            read(connection, 1)
            assert admin.put(path, change).status == 200
            assert close_code(connection, 5.0) == 4401


def test_a_refreshed_session_keeps_its_sockets_no_longer_than_its_token(account: Client) -> None:
    id = waiting(account)
    with account.watch(id) as connection:
        read(connection, 1)
        newer = Client(account.url, account.post("/api/v1/auth/refresh").json["token"])
        newer.post("/api/v1/auth/logout")

        assert close_code(connection, 5.0) == 4401


def test_a_refreshed_session_keeps_its_sockets_when_another_session_ends(account: Client) -> None:
    id = waiting(account)
    second = Client(account.url).login(account.email, PASSWORD)
    with account.watch(id) as connection:
        read(connection, 1)
        newer = Client(account.url, account.post("/api/v1/auth/refresh").json["token"])
        # Until the token that was refreshed has ended.
        time.sleep(11)
        second.post("/api/v1/auth/logout")
        newer.delete(f"/api/v1/executions/{id}")

        assert close_code(connection, 5.0) == 1000


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
