"""Where flows may not connect, however the address is written, and whoever gives it."""

import asyncio
import http.server
import ipaddress
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final

import aiohttp
import pytest

from flowrunner.plugin import NodeFailure
from flowrunner.security.egress import EgressClient, EgressForbidden, EgressPolicy
from support.client import Client
from support.server import Server

REDIRECTOR: Final = "127.0.0.9"
# Endings that mean that no connection was tried.
REFUSED: Final = frozenset({"egress.forbidden", "http.invalid_request", "connection.dns"})

# One address of each range that security.md closes, and the edges of the ranges.
CLOSED: Final = (
    "0.0.0.0", "0.1.2.3", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.1", "100.127.255.255",
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255",
    "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.255", "198.18.0.1",
    "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::2", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::1", "2001:db8::1",
    "2002:7f00:1::", "2002:a00:1::1", "3fff::1", "5f00::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fdff:ffff::1",
    "fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1",
)  # fmt: skip
OPEN: Final = (
    "8.8.8.8", "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255",
    "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2001:4860:4860::8888", "2606:4700::1111",
    "2a00:1450::1", "2003::1", "2001:200::1",
)  # fmt: skip

# Ways to write an address of this machine, as the host of a URL.
SPELLINGS: Final = (
    "127.0.0.1", "127.1", "127.0.1", "127.0.0.1.", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0.0.1",
    "0x7F.0x0.0x0.0x1",
    "017700000001", "0177.0.0.1", "0177.1", "00000177.0.0.1", "127.000.000.001", "127.0.0.01", "4294967295",
    "6442450945", "127.0.0.1%00", "127.0.0.1%2e", "127%2e0%2e0%2e1", "%31%32%37.0.0.1", "0", "0.0.0.0", "0x0",
    "00", "0.0", "localhost", "LOCALHOST", "localhost.", "LocalHost.", "localhost.localdomain", "ip6-localhost",
    "①②⑦.⓪.⓪.①", "１２７.０.０.１", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "ⓛocalhost",
    "ｌｏｃａｌｈｏｓｔ",
    "loc\u00adalhost",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏", "lⓞⓒⓐⓛⓗⓞⓢⓣ", "[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]", "[::7f00:1]", "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:7f00:0001::1]", "[2001:0:7f00:1::]",
    "[2001:0:0:0:0:0:80ff:fffe]", "[::1%25lo]", "[::1%lo]", "[fe80::1%25lo]", "[::ffff:0:127.0.0.1]",
    "[::FFFF:127.0.0.1]", "[0:0:0:0:0:FFFF:7F00:0001]", "a@127.0.0.1", "a:b@127.0.0.1", "8.8.8.8@127.0.0.1",
    "8.8.8.8:80@127.0.0.1", "127.0.0.1#@8.8.8.8", "127.0.0.1?@8.8.8.8", "127.0.0.1/@8.8.8.8", "a\\@127.0.0.1",
    "127.0.0.1\\@8.8.8.8", "8.8.8.8\\127.0.0.1", "127.0.0.1\t", "127.0.0.1\n", " 127.0.0.1", "127.0.0.1 ",
    "\t127.0.0.1",
    "127.0.0.1,8.8.8.8", "127.0.0.1;8.8.8.8", "//127.0.0.1", "/127.0.0.1", "127.0.0.2",
    "127.127.127.127", "127.0.0.254", "127.255.255.254",
)  # fmt: skip
SCHEMES: Final = (
    "file:///etc/passwd", "gopher://127.0.0.1/x", "ftp://127.0.0.1/", "dict://127.0.0.1/", "ldap://127.0.0.1/",
    "data:text/plain,x", "javascript:alert(1)", "unix:///run/x.sock", "http+unix://%2Frun%2Fx.sock/", "ws://127.0.0.1/",
    "jar:http://127.0.0.1!/", "//127.0.0.1/", "127.0.0.1", "http:127.0.0.1", "http:/127.0.0.1", "http:///127.0.0.1",
    "", "http://", "https://:80", "http://?", "http://#", "http://[", "http://]", "http://[::1", "http://127.0.0.1:0",
    "http://127.0.0.1:65536", "http://127.0.0.1:-1", "http://127.0.0.1:x", "HTTP://", "\x00http://127.0.0.1",
)  # fmt: skip


class Trap:
    """Listens, on every address of this machine if none is given; whoever reaches it is counted and answered."""

    def __init__(self, host: str = "::") -> None:
        self.reached = 0
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if ":" in host:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._socket.bind((host, 0))
        self._socket.listen(64)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.reached += 1
            with connection:
                connection.settimeout(2)
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ntrap")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


class _Redirect(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.server.location)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    found = Trap()
    yield found
    found.close()


@pytest.fixture(scope="module")
def redirector() -> Iterator[http.server.HTTPServer]:
    server = http.server.ThreadingHTTPServer((REDIRECTOR, 0), _Redirect)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


async def attempt(url: str, policy: EgressPolicy, *, redirects: int = 0) -> str:
    """How a request ends: its error type, or its status."""
    client = EgressClient(policy)
    try:
        async with asyncio.timeout(20):
            answer = await client.request("GET", url, headers={}, max_redirects=redirects)
        return str(answer.status)
    except NodeFailure as failure:
        return failure.type
    finally:
        await client.close()


# The table


@pytest.mark.parametrize("address", CLOSED)
def test_s31_closed_addresses_are_refused(address: str) -> None:
    with pytest.raises(EgressForbidden):
        EgressPolicy().check(address, 80)


@pytest.mark.parametrize("address", OPEN)
def test_public_addresses_are_open(address: str) -> None:
    EgressPolicy().check(address, 443)


def test_what_is_no_address_is_refused() -> None:
    for text in ("", "localhost", "127.1", "0x7f.0.0.1", "1.2.3.4.5", "::g", "127.0.0.1 ", "2130706433"):
        with pytest.raises(EgressForbidden):
            EgressPolicy().check(text, 80)


# Spellings in a URL, in a redirect, in a DNS answer


async def test_the_trap_can_be_reached_where_it_is_allowed(trap: Trap) -> None:
    before = trap.reached
    everything = EgressPolicy([ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")])

    for host in ("127.0.0.1", "[::1]", "127.8.8.8", "[::ffff:127.0.0.1]"):
        assert await attempt(f"http://{host}:{trap.port}/", everything) == "200"

    assert trap.reached == before + 4


@pytest.mark.parametrize("host", SPELLINGS)
async def test_s32_no_spelling_of_this_machine_is_reached(trap: Trap, host: str) -> None:
    before = trap.reached
    urls = [f"http://{host}:{trap.port}/", f"https://{host}:{trap.port}/x"]
    if host.startswith("127.0.0.1"):
        # Where the host ends early the port has to stand before that.
        urls.append(f"http://127.0.0.1:{trap.port}{host.removeprefix('127.0.0.1')}")

    endings = [await attempt(url, EgressPolicy()) for url in urls]

    assert trap.reached == before
    assert set(endings) <= REFUSED, endings


@pytest.mark.parametrize("url", SCHEMES)
async def test_s34_other_schemes_and_broken_urls_are_refused(trap: Trap, url: str) -> None:
    before = trap.reached

    assert await attempt(url, EgressPolicy()) in REFUSED
    assert await attempt(url.replace("127.0.0.1", f"127.0.0.1:{trap.port}"), EgressPolicy()) in REFUSED

    assert trap.reached == before


@pytest.mark.parametrize("host", SPELLINGS)
async def test_s34_no_redirect_leads_to_this_machine(trap: Trap, redirector: http.server.HTTPServer, host: str) -> None:
    before = trap.reached
    only = EgressPolicy([ipaddress.ip_network(f"{REDIRECTOR}/32")])
    start = f"http://{REDIRECTOR}:{redirector.server_port}/"
    written = host.strip().replace("\n", "").encode().decode("latin-1")
    for location in (f"http://{written}:{trap.port}/", f"//{written}:{trap.port}/"):
        redirector.location = location  # type: ignore[attr-defined]

        # Some of them are a path on the redirector itself.
        assert await attempt(start, only, redirects=5) in REFUSED | {"http.redirects"}

    assert trap.reached == before


async def test_s34_a_redirect_is_followed_where_it_is_allowed(trap: Trap, redirector: http.server.HTTPServer) -> None:
    """The test above would see a redirect that is followed."""
    redirector.location = f"http://127.0.0.1:{trap.port}/"  # type: ignore[attr-defined]
    loopback = EgressPolicy([ipaddress.ip_network("127.0.0.0/8")])

    assert await attempt(f"http://{REDIRECTOR}:{redirector.server_port}/", loopback, redirects=5) == "200"
    assert await attempt(f"http://{REDIRECTOR}:{redirector.server_port}/", loopback) == "302"


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://127.0.0.1/", "data:,x", "unix:/run/x"])
async def test_s34_a_redirect_leads_to_http_only(redirector: http.server.HTTPServer, location: str) -> None:
    redirector.location = location  # type: ignore[attr-defined]
    loopback = EgressPolicy([ipaddress.ip_network("127.0.0.0/8")])

    ending = await attempt(f"http://{REDIRECTOR}:{redirector.server_port}/", loopback, redirects=5)

    assert ending == "http.invalid_request"


async def test_s34_redirects_end(redirector: http.server.HTTPServer) -> None:
    redirector.location = f"http://{REDIRECTOR}:{redirector.server_port}/again"  # type: ignore[attr-defined]
    loopback = EgressPolicy([ipaddress.ip_network("127.0.0.0/8")])

    ending = await attempt(f"http://{REDIRECTOR}:{redirector.server_port}/", loopback, redirects=5)

    assert ending == "http.redirects"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """What a DNS server of ours says: per name, the addresses of the first answer, the second, …"""
    answers: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in answers:
            return real(host, port, *args, **options)
        given = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in given
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answers


@pytest.mark.parametrize("address", CLOSED)
async def test_s31_a_name_that_means_a_closed_address_is_refused(
    trap: Trap, names: dict[str, list[list[str]]], address: str
) -> None:
    before = trap.reached
    names["closed.example"] = [[address]]
    names["mixed.example"] = [["8.8.8.8", address]]
    names["mixed-too.example"] = [[address, "2606:4700::1111"]]

    for name in list(names):
        assert await attempt(f"http://{name}:{trap.port}/", EgressPolicy()) == "egress.forbidden"

    assert trap.reached == before


@pytest.mark.parametrize("then", [["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["0.0.0.0"], ["8.8.8.8", "127.0.0.1"]])
async def test_s33_a_second_dns_answer_leads_nowhere(names: dict[str, list[list[str]]], then: list[str]) -> None:
    only = EgressPolicy([ipaddress.ip_network(f"{REDIRECTOR}/32")])
    trap = Trap("127.0.0.1")
    client = EgressClient(only)
    connector = client._session.connector
    assert isinstance(connector, aiohttp.TCPConnector)
    try:
        for turn in range(25):
            # The first answer is allowed, though nobody listens there; the trap is behind the second.
            names[f"rebind{turn}.example"] = [[REDIRECTOR], then]
            for expected in ("connection.refused", "egress.forbidden", "egress.forbidden"):
                with pytest.raises(NodeFailure) as caught:
                    await client.request("GET", f"http://rebind{turn}.example:{trap.port}/", headers={})
                assert caught.value.type == expected
                connector.clear_dns_cache()
    finally:
        await client.close()
        trap.close()
    assert trap.reached == 0


# What stays closed although everything is allowed

EVERYTHING: Final = EgressPolicy([ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")])
METADATA: Final = (
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254",
    "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "169.254.42.42", "::ffff:0:169.254.169.254",
    "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "::169.254.169.254", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1", "2001::5601:5601", "fe80::a9fe:a9fe",
)  # fmt: skip


@pytest.mark.parametrize("address", METADATA)
async def test_s35_metadata_services_stay_closed(names: dict[str, list[list[str]]], address: str) -> None:
    with pytest.raises(EgressForbidden):
        EVERYTHING.check(address, 80)
    names["metadata.example"] = [[address]]
    assert await attempt("http://metadata.example/latest/meta-data/", EVERYTHING) == "egress.forbidden"


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "[::ffff:169.254.169.254]",
     "[fd00:ec2::254]", "①⑥⑨.②⑤④.①⑥⑨.②⑤④", "169。254。169。254", "a@169.254.169.254"],
)  # fmt: skip
async def test_s35_metadata_services_stay_closed_in_every_spelling(host: str) -> None:
    assert await attempt(f"http://{host}/latest/meta-data/", EVERYTHING) in REFUSED


@pytest.mark.parametrize("host", SPELLINGS)
async def test_s35_our_own_port_stays_closed(trap: Trap, host: str) -> None:
    before = trap.reached
    ours = EgressPolicy([ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")], frozenset({trap.port}))

    ending = await attempt(f"http://{host}:{trap.port}/", ours)

    # Addresses that reach nobody may also be tried: no more is asked than that we are not reached.
    assert ending != "200"
    assert trap.reached == before


def test_s35_a_flow_does_not_reach_the_servers_own_api(server: Server, account: Client) -> None:
    _, port = account.address
    for host in ("127.0.0.1", "localhost", "127.0.0.2", "0.0.0.0", "[::ffff:127.0.0.1]", "[::1]"):
        flow = f'nodes:\n  a: {{type: http.request, params: {{url: "http://{host}:{port}/healthz"}}}}\n'
        execution = account.run_to_end(flow)
        assert execution["status"] == "failed", host
        assert "Flows may not connect" in execution["error"], host


async def test_s35_proxies_of_the_environment_are_not_used(
    trap: Trap, monkeypatch: pytest.MonkeyPatch, names: dict[str, list[list[str]]]
) -> None:
    before = trap.reached
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
    names["outside.example"] = [["127.0.0.9"]]
    only = EgressPolicy([ipaddress.ip_network(f"{REDIRECTOR}/32")])

    assert await attempt("http://outside.example:1/", only) == "connection.refused"

    assert trap.reached == before


def test_s35_a_flow_is_closed_by_default(tmp_path: Any, trap: Trap) -> None:
    before = trap.reached
    server = Server(tmp_path, {"EGRESS_ALLOW": None})
    try:
        admin = server.start().admin()
        for host in ("127.0.0.1", "localhost", "[::1]", "2130706433"):
            flow = f'nodes:\n  a: {{type: webhook, params: {{url: "http://{host}:{trap.port}/"}}}}\n'
            assert admin.run_to_end(flow)["status"] == "failed"
    finally:
        server.stop()
    assert trap.reached == before
