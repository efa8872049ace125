"""Nothing that a flow is given changes the shape of the requests it sends, or of the log."""

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final

import pytest

from support.client import Client
from support.server import Server


class Wire:
    """Keeps every byte that a client sends, and answers once per connection."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10.0)
                data = b""
                try:
                    while b"\r\n\r\n" not in data and (chunk := connection.recv(65536)):
                        data += chunk
                    connection.settimeout(0.05)
                    while chunk := connection.recv(65536):
                        data += chunk
                except TimeoutError:
                    pass
                self.received.append(data)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    found = Wire()
    yield found
    found.close()


PAYLOADS: Final = (
    "a\r\nX-Injected: 1", "a\nX-Injected: 1", "a\rX-Injected: 1", "a\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n",
    "a\r\n X-Injected: 1", "a\r\n\tX-Injected: 1", "a\x00b", "a\x0bb", "a\x0cb", "a\x85X-Injected: 1",
    "a\u2028X-Injected: 1", "a\u560d\u560aX-Injected: 1", "a%0d%0aX-Injected: 1", "a\x7f", "a\x1b[31m",
    "a HTTP/1.1\r\nX-Injected: 1\r\nY: ",
)  # fmt: skip
PLACES: Final = ("method", "header", "name", "query", "path", "form", "basic", "bearer", "api key", "key name", "host")
FORBIDDEN: Final = (
    "Host", "host", "Content-Length", "content-length", "Transfer-Encoding", "TRANSFER-ENCODING", "Connection",
    "Upgrade", "TE", "Trailer", "Expect",
)  # fmt: skip


def _params(place: str, base: str) -> dict[str, Any]:
    given = "${flow.input.given}"
    params: dict[str, dict[str, Any]] = {
        "method": {"method": given},
        "header": {"headers": {"X-Given": given}},
        "name": {"headers": "${flow.input.headers}"},
        "query": {"query": {"q": given}},
        "path": {"url": f"{base}/{given}"},
        "form": {"method": "POST", "form": {"f": given}},
        "basic": {"auth": {"username": given, "password": given}},
        "bearer": {"auth": {"token": given}},
        "api key": {"auth": {"api_key": given}},
        "key name": {"auth": {"api_key": "k", "key_name": given}},
        "host": {"url": f"{base}@{given}/"},
    }
    return {"url": f"{base}/one", **params[place]}


@pytest.mark.parametrize("place", PLACES)
def test_s37_no_payload_adds_a_header_or_a_request(account: Client, wire: Wire, place: str) -> None:
    params = _params(place, f"http://127.0.0.1:{wire.port}")
    flow = account.new_flow(json.dumps({"nodes": {"a": {"type": "http.request", "params": params}}}))
    for payload in PAYLOADS:
        before = len(wire.received)
        # A NUL cannot even be given as an input: it can only be made by a flow's own text.
        if "\x00" in payload:
            continue
        id = account.run(flow, {"given": payload, "headers": {payload: "x"}})
        account.ended(id)
        for data in wire.received[before:]:
            head, _, body = data.partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            assert len(wire.received) - before == 1
            assert lines[0].count(b" ") == 2, data
            assert lines[0].endswith(b" HTTP/1.1"), data
            assert all(line.partition(b":")[0].isascii() and b":" in line for line in lines[1:]), data
            assert b"\nX-Injected" not in data, data
            assert b"\rX-Injected" not in data, data
            assert b"\x00" not in head, data
            assert b"\n" not in head.replace(b"\r\n", b""), data
            if place != "form":
                assert body == b"", data


def test_s37_nul_in_a_definition_reaches_no_wire(account: Client, wire: Wire) -> None:
    before = len(wire.received)
    for place in ("X-A: \\0", "X-\\0: a"):
        name, _, value = place.partition(": ")
        definition = (
            f'nodes: {{a: {{type: http.request, params: {{url: "http://127.0.0.1:{wire.port}/",'
            f' headers: {{"{name}": "{value}"}}}}}}}}'
        )
        reply = account.post("/api/v1/flows", {"name": "N", "definition": definition})
        if reply.status == 201:
            assert account.ended(account.run(reply.json["id"]))["status"] == "failed"
    assert all(b"\x00" not in data for data in wire.received[before:])


@pytest.mark.parametrize("name", FORBIDDEN)
def test_s37_headers_that_shape_the_request_cannot_be_set(account: Client, wire: Wire, name: str) -> None:
    before = len(wire.received)
    for params in (
        {"headers": {name: "1"}},
        {"headers": "${flow.input.headers}"},
        {"auth": {"api_key": "1", "key_name": name}},
    ):
        for type in ("http.request", "webhook"):
            if type == "webhook" and "auth" in params:
                continue
            node = {"type": type, "params": {"url": f"http://127.0.0.1:{wire.port}/", **params}}
            reply = account.post("/api/v1/flows", {"name": "N", "definition": json.dumps({"nodes": {"a": node}})})
            if reply.status == 201:
                id = account.run(reply.json["id"], {"headers": {name: "1"}})
                assert account.ended(id)["status"] == "failed", params
    assert len(wire.received) == before


def test_a_header_that_is_allowed_arrives(account: Client, wire: Wire) -> None:
    """What the tests above refuse would be seen."""
    before = len(wire.received)
    flow = account.new_flow(
        json.dumps({"nodes": {"a": {"type": "http.request", "params": _params("header", f"http://127.0.0.1:{wire.port}")}}})
    )  # fmt: skip

    assert account.ended(account.run(flow, {"given": "x-value"}))["status"] == "completed"

    (data,) = wire.received[before:]
    assert b"\r\nX-Given: x-value\r\n" in data
    assert data.startswith(b"GET /one HTTP/1.1\r\n")


def test_s39_data_is_never_evaluated(account: Client, receiver: Any) -> None:
    account.new_secret("X", "the value of X, secret")
    written = "${secrets.X} ${flow.input.a} $${x}"
    definition = f"""nodes:
  a:
    type: http.request
    params: {{url: "{receiver.url}/say", method: POST, body: {{b: "${{flow.input.a}}"}}}}
    next: b
  b: {{type: transform, params: {{value: "${{nodes.a.result.body.b}}"}}, next: c}}
  c: {{type: log, params: {{message: "got ${{input}}"}}, next: d}}
  d: {{type: return, params: {{value: {{text: "x ${{nodes.b.result}}", all: "${{nodes.b.result}}"}}}}}}
"""
    id = account.run(account.new_flow(definition), {"a": written})

    assert account.ended(id)["result"] == {"text": f"x {written}", "all": written}
    assert f"got {written}" in [line["message"] for line in account.logs(id)]


@pytest.mark.parametrize(
    "text", ["a\r\nb", "a\nserver.started url=http://evil", "a\x1b[31mb", "a\u2028b", "\ufeff", "a\x85b", "a\rb"]
)
def test_s47_an_event_of_the_servers_log_is_one_line(server: Server, account: Client, text: str) -> None:
    before = len(server.log)
    account.post("/api/v1/flows", {"name": text, "definition": "nodes: {a: {type: return}}", "tags": [text]})
    account.post("/api/v1/auth/login", {"username": text, "password": text})
    account.request("GET", "/api/v1/flows", headers={"X-Request-ID": "a b", "User-Agent": text.encode().hex()})
    definition = json.dumps({"nodes": {"a": {"type": "log", "params": {"message": text, "data": text}}}})
    account.ended(account.run(account.new_flow(definition), {text: text}))

    written = server.log[before:]
    assert text not in written
    assert "\x1b" not in written
    assert "evil" not in written
