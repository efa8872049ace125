"""A page that makes its own name resolve to the server's address is not served by that name (DNS rebinding)."""

from collections.abc import Iterator
from typing import Final

import pytest

from api.shapes import assert_error
from api.test_wire import reply_of
from flowrunner.api.http.hosts import Hosts
from security.crowd import upgrade
from support.client import Reply, send_raw
from support.server import Server

PORT: Final = 8080


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"PUBLIC_URL": "https://flows.example.com", "ALLOWED_HOSTS": "flowrunner, Flows-2.example.com"}
    running = Server(tmp_path_factory.mktemp("named"), settings)
    try:
        yield running.start()
    finally:
        running.stop()


def asked(server: Server, *hosts: str, path: str = "/api/v1/openapi.json", version: str = "1.1") -> Reply:
    lines = [f"GET {path} HTTP/{version}", *(f"Host: {host}" for host in hosts), "Connection: close", "", ""]
    return reply_of(send_raw(server.client().address, "\r\n".join(lines).encode("latin-1")))


SERVED: Final = (
    "127.0.0.1", f"127.0.0.1:{PORT}", "192.0.2.7:8080", "[::1]", f"[::1]:{PORT}", "[2001:db8::7]:8080", "localhost",
    f"LOCALHOST:{PORT}", "localhost.", "app.localhost:3000", "127.0.0.1:",
)  # fmt: skip
NAMED: Final = ("flows.example.com", "FLOWS.example.com:443", "flowrunner:8080", "flows-2.example.com", "flowrunner.")
REFUSED: Final = (
    "evil.example", f"evil.example:{PORT}", "127.0.0.1.evil.example", "localhost.evil.example", "evillocalhost",
    "flows.example.com.evil.example", "evil-flows.example.com", "xflowrunner", "flowrunner,evil.example",
    "evil@127.0.0.1", "127.0.0.1@evil.example", "127.0.0.1 evil.example", "127.0.0.1:80:80", "127.0.0.1:x", "[::1",
    "::1", "[evil.example]", "0x7f.0.0.1", "2130706433", "127.1", "", ":8080", ".", "..localhost.", "localhost..",
    "127.0.0.1/evil", "127.0.0.1#evil", "evil.example\\127.0.0.1", "http://127.0.0.1", "%6c%6f%63alhost",
    "l\xf6calhost", "[::1]evil.example", "[::1].evil", "*", "null", "[::ffff:127.0.0.1]x", "127.0.0.1\x00",
    "localhost\tevil", "a" * 60_000, "a." * 30_000, "a" * 60_000 + "!", "a." * 30_000 + "!",
)  # fmt: skip


@pytest.mark.parametrize("host", [*SERVED, *NAMED])
def test_s67_addresses_loopback_names_and_named_hosts_are_served(named: Server, host: str) -> None:
    assert asked(named, host).status == 200


@pytest.mark.parametrize("host", REFUSED, ids=lambda host: host[:40])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_s67_any_other_host_is_refused(named: Server, host: str, version: str) -> None:
    assert_error(asked(named, host, version=version), 400)


@pytest.mark.parametrize("host", NAMED)
def test_s67_a_name_that_no_setting_gives_is_refused(server: Server, host: str) -> None:
    reply = asked(server, host)

    assert_error(reply, 400, f"The server does not answer to the host '{host}': name it in the setting allowed_hosts")


@pytest.mark.parametrize("hosts", [(), ("127.0.0.1", "evil.example"), ("evil.example", "127.0.0.1")])
def test_s67_a_request_names_one_host(named: Server, hosts: tuple[str, ...]) -> None:
    assert_error(asked(named, *hosts), 400)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_s67_probes_ask_by_any_name(server: Server, path: str) -> None:
    assert asked(server, "evil.example", path=path).status == 200


@pytest.mark.parametrize(
    "path", ["/healthz/", "/metrics/../api/v1/openapi.json", "//healthz", "/healthz;x", "/api/v1/flows"]
)
def test_s67_nothing_else_is_asked_by_any_name(server: Server, path: str) -> None:
    assert_error(asked(server, "evil.example", path=path), 400)


def test_s67_a_websocket_is_opened_by_a_known_name_too(server: Server) -> None:
    handshake = upgrade("x").replace(b"Host: localhost", b"Host: evil.example")

    assert_error(reply_of(send_raw(server.client().address, handshake)), 400)
    assert_error(reply_of(send_raw(server.client().address, upgrade("x"))), 401)


@pytest.mark.parametrize("encoding", ["gzip, chunked", "gzip,chunked", "chunked, chunked", "identity", "x, Chunked"])
def test_s67_a_body_that_is_encoded_for_the_way_is_refused(server: Server, encoding: str) -> None:
    head = f"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {encoding}\r\n"
    head += "Content-Type: application/json\r\n\r\n"

    assert_error(reply_of(send_raw(server.client().address, head.encode() + b"2\r\n{}\r\n0\r\n\r\n")), 400)


@pytest.mark.parametrize("encoding", ["chunked", "Chunked", " CHUNKED "])
def test_a_body_in_chunks_is_taken(server: Server, encoding: str) -> None:
    head = f"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {encoding}\r\n"
    head += "Content-Type: application/json\r\nConnection: close\r\n\r\n"

    assert_error(reply_of(send_raw(server.client().address, head.encode() + b"2\r\n{}\r\n0\r\n\r\n")), 422)


def test_the_answers_about_very_long_hosts_are_not_kept() -> None:
    hosts = Hosts()

    for n in range(3):
        assert hosts.fault({"path": "/", "headers": [(b"host", b"a" * (60_000 + n))]}) is not None

    assert hosts._is_served.cache_info().currsize == 0
