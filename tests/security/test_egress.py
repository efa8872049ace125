"""Where flows may not connect, however the address is written, and whoever gives it."""

import asyncio
import contextlib
import errno
import http.server
import ipaddress
import re
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from email.message import EmailMessage
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import pytest

from flowrunner.bootstrap.location import own_servers
from flowrunner.domain.values import WorkspaceId
from flowrunner.plugin import ImapServer, MailServer, NodeFailure, SqlDatabase
from flowrunner.security import name_lookups
from flowrunner.security.egress import EgressClient, EgressClients
from flowrunner.security.egress_imap import EgressImapClients
from flowrunner.security.egress_mail import EgressMailClients
from flowrunner.security.egress_policy import EgressForbidden, EgressPolicy
from flowrunner.security.egress_sql import EgressSqlClients
from flowrunner.security.name_lookups import WorkspaceResolver, lookup_slots
from flowrunner.settings import Settings
from support.client import Client
from support.http_servers import QuietHandler, serving
from support.networks import unused_port
from support.open_files import without_files
from support.postgres import PostgresServer
from support.receiver import Receiver
from support.scoreboard import Scoreboard
from support.server import Server
from support.waiting import PATIENCE_SECONDS

REDIRECTOR: Final = "127.0.0.9"
PUBLIC: Final = "8.8.8.8"
# Endings that mean that no connection was tried.
REFUSED: Final = frozenset({"egress.forbidden", "http.invalid_request", "connection.dns"})


def _ends(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> tuple[Any, Any]:
    return network[0], network[-1]


# The ranges that are closed by default, written down once more: the table of the program is not to be trusted here.
CLOSED_RANGES: Final = (
    "127.0.0.0/8", "0.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "::/128", "::1/128", "::/96", "::ffff:0:0/96",
    "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2002::/16", "2001::/32", "fc00::/7", "fe80::/10",
    "fec0::/10", "ff00::/8", "2001:db8::/32", "3fff::/20", "5f00::/16",
)  # fmt: skip
# The edges of each range, and what is worth the most within them.
CLOSED: Final = tuple(
    dict.fromkeys(
        [str(end) for text in CLOSED_RANGES for end in _ends(ipaddress.ip_network(text))]
        + [
            "127.0.0.1", "127.0.0.2", "0.1.2.3", "100.64.0.1", "169.254.169.254", "192.0.0.192", "198.51.100.7",
            "239.255.255.255", "::2", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
            "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::7f00:1",
            "2001:0:7f00:1::1", "2001::80ff:fffe", "2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:1::1", "fd00::1",
            "fd00:ec2::254", "fe80::1", "ff02::1", "ff0e::1",
        ]
    )
)  # fmt: skip
OPEN: Final = (
    "8.8.8.8", "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255",
    "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2001:4860:4860::8888", "2606:4700::1111",
    "2a00:1450::1", "2003::1", "2001:200::1",
)  # fmt: skip

# Ways to write an address of this machine, as the host of a URL. What is no such way is 192.0.2.9, closed too, so that
# a test that fails still asks nobody outside.
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
    "[::FFFF:127.0.0.1]", "[0:0:0:0:0:FFFF:7F00:0001]", "a@127.0.0.1", "a:b@127.0.0.1", "192.0.2.9@127.0.0.1",
    "192.0.2.9:80@127.0.0.1", "127.0.0.1#@192.0.2.9", "127.0.0.1?@192.0.2.9", "127.0.0.1/@192.0.2.9", "a\\@127.0.0.1",
    "127.0.0.1\\@192.0.2.9", "192.0.2.9\\127.0.0.1", "127.0.0.1\t", "127.0.0.1\n", " 127.0.0.1", "127.0.0.1 ",
    "\t127.0.0.1",
    "127.0.0.1,192.0.2.9", "127.0.0.1;192.0.2.9", "//127.0.0.1", "/127.0.0.1", "127.0.0.2",
    "127.127.127.127", "127.0.0.254", "127.255.255.254", "127.0.0.1..", "127..0.0.1", "127.0.0.1:80@192.0.2.9",
    "0x7f.0x0.0x1", "0177.0x0.0.1", "127.0x1", "0x7f.0.1", "0x00007f.0.0.1", "0X7F000001", "0b1111111.0.0.1", "127.1.",
    "2130706433.", "0x7f000001.", "127.0.0.0x1", "127.0.0.1e0", "+127.0.0.1", "-2164260863", "127.0.0.1\u200b",
    "\u200b127.0.0.1", "127.0.0.1\ufeff", "127\u20240\u20240\u20241", "１２７．１", "⓪", "０", "٠", "١٢٧.٠.٠.١",
    "⑫⑦.⓪.⓪.①", "²¹³⁰⁷⁰⁶⁴³³", "loc%61lhost", "%6c%6f%63%61%6c%68%6f%73%74", "localhoſt", "ℓocalhost", "localhost%00",
    "LOCALHOST.", "xn--localhost", "ｌocalhost.", "localhost。", "localhost:80@192.0.2.9", "192.0.2.9@localhost",
    "user:pass@[::1]", "[::1].", "[::1]a", "[[::1]]", "[::0001]", "[0::1]", "[::0.0.0.1]", "[::ffff:0.0.0.0]",
    "[::ffff:0:0]", "[::ffff:0x7f.0.0.1]", "[::ffff:127.1]", "[::ffff:127.0.0.1%25lo]", "[::ffff:127.8.8.8]",
    "[::%31]", "[::１]", "[0:0:0:0:0:0:0:0]", "[::ffff:7f00:0001]", "[64:ff9b::]", "[64:ff9b::0]", "[2002:0:0::]",
    "[v1.127.0.0.1]", "[127.0.0.1]", "[localhost]", "127.0.0.1|192.0.2.9", "127.0.0.1&@192.0.2.9",
    "127.0.0.1%23@192.0.2.9",
    "127.0.0.1%2f@192.0.2.9", "192.0.2.9%40127.0.0.1", "a@b@127.0.0.1", "@127.0.0.1", ":@127.0.0.1", "a%40b@127.0.0.1",
    "192.0.2.9#@127.0.0.1", "192.0.2.9/@127.0.0.1/..//127.0.0.1", "127.0.0.1\x00", "127.0.0.1\r\nHost: x",
    "127.0.0.1\u3000",
)  # fmt: skip
# Every address and every spelling, in the order that a report names them.
CORPUS: Final = tuple(dict.fromkeys((*CLOSED, *SPELLINGS)))
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
                connection.settimeout(10)
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ntrap")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


class _Redirect(QuietHandler):
    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.server.location)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    found = Trap()
    yield found
    found.close()


@pytest.fixture(scope="module")
def redirector() -> Iterator[http.server.HTTPServer]:
    server = http.server.ThreadingHTTPServer((REDIRECTOR, 0), _Redirect)
    with serving(server):
        yield server


async def attempt(url: str, policy: EgressPolicy, *, redirects: int = 0) -> str:
    """How a request ends: its error type, or its status."""
    client = EgressClient(policy)
    try:
        return await attempt_with(client, url, redirects=redirects)
    finally:
        await client.close()


async def attempt_with(client: EgressClient, url: str, *, redirects: int = 0) -> str:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await client.request("GET", url, headers={}, max_redirects=redirects)
        return str(answer.status)
    except NodeFailure as failure:
        return failure.type


@contextlib.asynccontextmanager
async def closed_client(*allowed: str) -> AsyncIterator[EgressClient]:
    """A client that may connect to what is public, and to these addresses."""
    client = EgressClient(EgressPolicy([ipaddress.ip_network(address) for address in allowed]))
    try:
        yield client
    finally:
        await client.close()


def clear_dns_cache(client: EgressClient) -> None:
    connector = client._session.connector
    assert isinstance(connector, aiohttp.TCPConnector)
    connector.clear_dns_cache()


# Every connection that this process tries to make, also to an address where nobody listens. A hook of
# the interpreter cannot be taken off again, so it is there once and writes where it is told to.
_watchers: list[list[tuple[str, int]]] = []


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _watchers:
        made, address = arguments
        # A datagram socket is only asked for its own address, and sends nothing.
        if made.type == socket.SOCK_STREAM and isinstance(address, tuple):
            _watchers[-1].append((str(address[0]), int(address[1])))


sys.addaudithook(_on_audit)


@contextlib.asynccontextmanager
async def watched_connects() -> AsyncIterator[list[tuple[str, int]]]:
    found: list[tuple[str, int]] = []
    _watchers.append(found)
    try:
        yield found
    finally:
        _watchers.remove(found)


def closed_among(connects: list[tuple[str, int]]) -> list[tuple[str, int]]:
    ranges = [ipaddress.ip_network(text) for text in CLOSED_RANGES]
    return [
        (host, port)
        for host, port in connects
        if any(ipaddress.ip_address(host.partition("%")[0]) in network for network in ranges)
    ]


# The table


@pytest.mark.parametrize("address", CLOSED)
def test_s31_closed_addresses_are_refused(address: str) -> None:
    with pytest.raises(EgressForbidden):
        EgressPolicy().check(address, 80)


@pytest.mark.parametrize("address", OPEN)
def test_public_addresses_are_open(address: str) -> None:
    EgressPolicy().check(address, 443)


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/x", "https://[::1]:8443/x", "http://127.1/", "http://0x7f000001", "http://2130706433/?a=b",
        "http://localhost:9", "http://LocalHost./", "http://a.localhost/", "http://169.254.169.254/latest",
    ],
)  # fmt: skip
def test_a_url_that_names_a_closed_address_is_known_before_a_request(url: str) -> None:
    assert "closed to flows" in (EgressPolicy().refusal(url) or "")


@pytest.mark.parametrize(
    "url", ["https://8.8.8.8/x", "https://example.com", "http://127.0.0.1.example.com/", "http://1.2.3.4.5/"]
)
def test_other_urls_may_be_open(url: str) -> None:
    assert EgressPolicy().refusal(url) is None


def test_a_url_of_this_server_is_closed_where_its_machine_is_open() -> None:
    policy = EgressPolicy([ipaddress.ip_network("127.0.0.0/8")], own_ports={8080, 443})

    assert policy.refusal("http://localhost:8081/") is None
    assert "FlowRunner's own" in (policy.refusal("http://localhost:8080/") or "")
    assert "FlowRunner's own" in (policy.refusal("https://localhost/") or "")


def test_what_is_no_address_is_refused() -> None:
    for text in ("", "localhost", "127.1", "0x7f.0.0.1", "1.2.3.4.5", "::g", "127.0.0.1 ", "2130706433", "8.8.8.8%lo"):
        with pytest.raises(EgressForbidden):
            EgressPolicy().check(text, 80)


# Spellings in a URL, in a redirect, in a DNS answer


async def test_the_trap_can_be_reached_where_it_is_allowed(trap: Trap) -> None:
    before = trap.reached
    everything = EgressPolicy([ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")])

    for host in ("127.0.0.1", "[::1]", "127.8.8.8", "[::ffff:127.0.0.1]"):
        assert await attempt(f"http://{host}:{trap.port}/", everything) == "200"

    assert trap.reached == before + 4


REACHED: Final = "egress: closed addresses reached"


async def test_s31_s32_nothing_of_the_corpus_is_reached_by_its_url(trap: Trap, scoreboard: Scoreboard) -> None:
    before, cases, unexpected = trap.reached, 0, []
    async with closed_client() as client, watched_connects() as connects:
        for host in CORPUS:
            written = f"[{host}]" if host in CLOSED and ":" in host else host
            urls = [f"http://{written}:{trap.port}/", f"https://{written}:{trap.port}/x"]
            if written.startswith("127.0.0.1"):
                # Where the host ends early the port has to stand before that.
                urls.append(f"http://127.0.0.1:{trap.port}{written.removeprefix('127.0.0.1')}")
            for url in urls:
                cases += 1
                if (ending := await attempt_with(client, url)) not in REFUSED:
                    unexpected.append((url, ending))
    tried = closed_among(connects)

    scoreboard.count(REACHED, cases=cases, failures=trap.reached - before + len(tried))
    assert (unexpected, trap.reached, tried) == ([], before, [])


@pytest.mark.parametrize("url", SCHEMES)
async def test_s34_other_schemes_and_broken_urls_are_refused(trap: Trap, url: str) -> None:
    before = trap.reached

    assert await attempt(url, EgressPolicy()) in REFUSED
    assert await attempt(url.replace("127.0.0.1", f"127.0.0.1:{trap.port}"), EgressPolicy()) in REFUSED

    assert trap.reached == before


async def test_s34_nothing_of_the_corpus_is_reached_by_a_redirect(
    trap: Trap, redirector: http.server.HTTPServer, scoreboard: Scoreboard
) -> None:
    before, cases, unexpected = trap.reached, 0, []
    start = f"http://{REDIRECTOR}:{redirector.server_port}/"
    async with closed_client(REDIRECTOR) as client, watched_connects() as connects:
        for host in CORPUS:
            written = f"[{host}]" if host in CLOSED and ":" in host else host
            # What a header can hold.
            written = re.sub(r"[\r\n\x00]", "", written.strip()).encode().decode("latin-1")
            for location in (f"http://{written}:{trap.port}/", f"//{written}:{trap.port}/"):
                redirector.location = location  # type: ignore[attr-defined]
                cases += 1
                ending = await attempt_with(client, start, redirects=5)
                # Some of them are a path on the redirector itself.
                if ending not in REFUSED | {"http.redirects", "http.invalid_answer"}:
                    unexpected.append((location, ending))
    tried = [address for address in closed_among(connects) if address[0] != REDIRECTOR]

    scoreboard.count(REACHED, cases=cases, failures=trap.reached - before + len(tried))
    assert (unexpected, trap.reached, tried) == ([], before, [])


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


# What a name means: the answers to one question after another, the last of them for ever.
ANSWERS: Final[dict[str, Callable[[str], list[list[str]]]]] = {
    "answer": lambda address: [[address]],
    "mixed, the closed one last": lambda address: [[PUBLIC, address]],
    "mixed, the closed one first": lambda address: [[address, "2606:4700::1111"]],
    "closed one among many": lambda address: [[PUBLIC, "1.1.1.1", "9.9.9.9", address, "2606:4700::1111"]],
}


@pytest.mark.parametrize("shape", ANSWERS)
async def test_s31_nothing_of_the_corpus_is_reached_by_a_name(
    trap: Trap, names: dict[str, list[list[str]]], scoreboard: Scoreboard, shape: str
) -> None:
    before, unexpected = trap.reached, []
    async with closed_client() as client, watched_connects() as connects:
        for number, address in enumerate(CORPUS):
            names[f"n{number}.example"] = ANSWERS[shape](address.strip("[]"))
            if (ending := await attempt_with(client, f"http://n{number}.example:{trap.port}/")) != "egress.forbidden":
                unexpected.append((address, ending))

    scoreboard.count(REACHED, cases=len(CORPUS), failures=trap.reached - before + len(connects))
    assert (unexpected, trap.reached, connects) == ([], before, [])


async def test_s31_s33_nothing_of_the_corpus_is_reached_by_a_second_answer(
    trap: Trap, redirector: http.server.HTTPServer, names: dict[str, list[list[str]]], scoreboard: Scoreboard
) -> None:
    """The first answer leads to a server that redirects to its own name, which then means something else."""
    before, unexpected = trap.reached, []
    async with closed_client(REDIRECTOR) as client, watched_connects() as connects:
        for number, address in enumerate(CORPUS):
            name = f"n{number}.example"
            names[name] = [[REDIRECTOR], [address.strip("[]")]]
            redirector.location = f"http://{name}:{trap.port}/"  # type: ignore[attr-defined]
            ending = await attempt_with(client, f"http://{name}:{redirector.server_port}/", redirects=5)
            if ending != "egress.forbidden":
                unexpected.append((address, ending))
            assert len(names[name]) == 1, "it was asked for twice"
    tried = [address for address in closed_among(connects) if address[0] != REDIRECTOR]

    scoreboard.count(REACHED, cases=len(CORPUS), failures=trap.reached - before + len(tried))
    assert (unexpected, trap.reached, tried) == ([], before, [])


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 150


# A name is public when it is checked, and ours when it is connected to. Behind the second answer is a trap.
REBINDINGS: Final[dict[str, list[list[str]]]] = {
    "then loopback": [[REDIRECTOR], ["127.0.0.1"]],
    "then loopback of IPv6": [[REDIRECTOR], ["::1"]],
    "then both kinds": [[REDIRECTOR], ["2606:4700::1111", "127.0.0.1", "::ffff:127.0.0.1"]],
    "then one after another": [[REDIRECTOR], ["0.0.0.0"], ["127.0.0.2"], ["::ffff:127.0.0.1"]],
}


@pytest.mark.parametrize("shape", REBINDINGS)
async def test_s33_a_name_that_changes_its_meaning_leads_nowhere(
    trap: Trap,
    redirector: http.server.HTTPServer,
    names: dict[str, list[list[str]]],
    scoreboard: Scoreboard,
    shape: str,
) -> None:
    before, unexpected, reached_first = trap.reached, [], 0
    for turn in range(100):
        name = f"rebind{turn}.example"
        names[name] = list(REBINDINGS[shape])
        async with closed_client(REDIRECTOR) as client:
            # A page of the attacker's own, which is there; then the same name again, on the port of the trap.
            redirector.location = f"http://{name}:{trap.port}/"  # type: ignore[attr-defined]
            first = await attempt_with(client, f"http://{name}:{redirector.server_port}/")
            reached_first += first == "302"
            for _ in range(len(REBINDINGS[shape])):
                clear_dns_cache(client)
                ending = await attempt_with(client, f"http://{name}:{trap.port}/")
                if ending not in {"egress.forbidden", "connection.refused"}:
                    unexpected.append((turn, ending))

    scoreboard.count("DNS rebinding: traps reached", cases=100, failures=trap.reached - before)
    assert reached_first == 100, "the first answer is the attacker's own server"
    assert (unexpected, trap.reached) == ([], before)


async def test_s33_a_name_with_a_thousand_addresses_is_connected_to_at_a_few(names: dict[str, list[list[str]]]) -> None:
    names["many.example"] = [[f"127.0.{number // 250}.{number % 250 + 1}" for number in range(1000)]]
    loopback = EgressPolicy([ipaddress.ip_network("127.0.0.0/8")])

    async with watched_connects() as connects:
        ending = await attempt(f"http://many.example:{unused_port()}/", loopback)

    assert ending == "connection.refused"
    assert len(set(connects)) == 8
    assert len(connects) <= 36


async def test_s33_an_address_is_checked_where_the_socket_is_made(trap: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a checked name resolved again to connect, or its answer replaced meanwhile, it would end here."""
    before = trap.reached
    monkeypatch.setattr(WorkspaceResolver, "resolve", _unguarded)

    for name in ("127.0.0.1", "localhost", "changed.example"):
        assert await attempt(f"http://{name}:{trap.port}/", EgressPolicy()) == "egress.forbidden"

    assert trap.reached == before


async def _unguarded(*_: Any, **__: Any) -> list[dict[str, Any]]:
    return [{"hostname": "x", "host": "127.0.0.1", "port": _[2], "family": socket.AF_INET, "proto": 6, "flags": 0}]


# E-mails, mailboxes and queries


async def attempt_mail(policy: EgressPolicy, host: str, port: int) -> str:
    """The type of the error by which an e-mail ends that logs in at a host."""
    server = MailServer(host=host, port=port, security="tls", username="ada", password="x")  # no server asks
    with pytest.raises(NodeFailure) as failed:
        await (
            EgressMailClients(policy, lookup_slots())
            .of(WorkspaceId("a"))
            .send(server, sender="a@example.com", recipients=["b@example.com"], write=EmailMessage)
        )
    return failed.value.type


async def attempt_sql(policy: EgressPolicy, host: str, port: int) -> str:
    """The type of the error by which a query ends to a host."""
    database = SqlDatabase(host=host, port=port, user="ada", database="shop", password="x", security="none")
    client = EgressSqlClients(policy, lookup_slots()).of(WorkspaceId("a"))
    with pytest.raises(NodeFailure) as failed:
        await client.run(database, lambda session: session.execute("SELECT 1"), seconds=60.0)
    return failed.value.type


async def attempt_imap(policy: EgressPolicy, host: str, port: int) -> str:
    """The type of the error by which a session ends that logs in to a mailbox."""
    server = ImapServer(host=host, port=port, security="tls", username="ada", password="x")  # no server asks
    with pytest.raises(NodeFailure) as failed:
        await (
            EgressImapClients(policy, lookup_slots())
            .of(WorkspaceId("a"))
            .run(server, lambda session: session.open("INBOX"), seconds=60.0)
        )
    return failed.value.type


Attempt: TypeAlias = Callable[[EgressPolicy, str, int], Awaitable[str]]
BY_SOCKETS: Final = pytest.mark.parametrize("attempt", [attempt_mail, attempt_sql, attempt_imap])


@BY_SOCKETS
async def test_s31_s32_nothing_of_the_corpus_is_reached_by_an_email_or_a_query(
    trap: Trap, names: dict[str, list[list[str]]], scoreboard: Scoreboard, attempt: Attempt
) -> None:
    before, cases, unexpected = trap.reached, 0, []
    async with watched_connects() as connects:
        for host in CORPUS:
            names["closed.example"] = ANSWERS["mixed, the closed one last"](host.strip("[]"))
            for written in (host, host.strip("[]"), "closed.example"):
                cases += 1
                if (ending := await attempt(EgressPolicy(), written, trap.port)) not in REFUSED:
                    unexpected.append((written, ending))

    scoreboard.count(REACHED, cases=cases, failures=trap.reached - before + len(connects))
    assert (unexpected, trap.reached, connects) == ([], before, [])


async def test_requests_and_emails_of_a_workspace_share_its_lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, clients = WorkspaceId("a"), EgressClients(EgressPolicy())
    for _ in range(8):
        await clients.lookups.take(workspace)
    monkeypatch.setattr(name_lookups, "LOOKUP_SECONDS", 0.0)
    server = MailServer(host="mail.example", port=465, security="tls", username="ada", password="x")  # no server asks

    with pytest.raises(NodeFailure, match="8 lookups of other names are unanswered"):
        await (
            EgressMailClients(EgressPolicy(), clients.lookups)
            .of(workspace)
            .send(server, sender="a@example.com", recipients=["b@example.com"], write=EmailMessage)
        )


@BY_SOCKETS
async def test_s33_the_name_of_a_server_is_looked_up_once(names: dict[str, list[list[str]]], attempt: Attempt) -> None:
    names["changing.example"] = [[REDIRECTOR], ["127.0.0.1"]]
    policy = EgressPolicy([ipaddress.ip_network(REDIRECTOR)])

    async with watched_connects() as connects:
        ending = await attempt(policy, "changing.example", unused_port())

    assert (ending, {host for host, _ in connects}) == ("connection.refused", {REDIRECTOR})


@BY_SOCKETS
async def test_s35_no_email_or_query_reaches_our_own_port_or_a_metadata_service(trap: Trap, attempt: Attempt) -> None:
    before, everything = trap.reached, [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]

    own = await attempt(EgressPolicy(everything, own_ports={trap.port}), "127.0.0.1", trap.port)
    depended_on = EgressPolicy(everything, own_servers={("127.0.0.1", trap.port)})
    database = await attempt(depended_on, "127.0.0.1", trap.port)
    metadata = await attempt(EgressPolicy(everything), "169.254.169.254", 25)

    assert [own, database, metadata] == ["egress.forbidden"] * 3
    assert trap.reached == before


# What stays closed although everything is allowed

EVERYTHING: Final = EgressPolicy([ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")])
METADATA: Final = (
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254",
    "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "169.254.42.42", "::ffff:0:169.254.169.254",
    "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "::169.254.169.254", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1", "2001::5601:5601", "fe80::a9fe:a9fe",
)  # fmt: skip


@pytest.mark.parametrize("address", METADATA)
async def test_s35_metadata_services_stay_closed(
    names: dict[str, list[list[str]]], scoreboard: Scoreboard, address: str
) -> None:
    with pytest.raises(EgressForbidden):
        EVERYTHING.check(address, 80)
    names["metadata.example"] = [[address]]
    async with watched_connects() as connects:
        assert await attempt("http://metadata.example/latest/meta-data/", EVERYTHING) == "egress.forbidden"
    scoreboard.count("egress: own ports and metadata services reached", cases=1, failures=len(connects))
    assert connects == []


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "[::ffff:169.254.169.254]",
     "[fd00:ec2::254]", "①⑥⑨.②⑤④.①⑥⑨.②⑤④", "169。254。169。254", "a@169.254.169.254"],
)  # fmt: skip
async def test_s35_metadata_services_stay_closed_in_every_spelling(host: str) -> None:
    assert await attempt(f"http://{host}/latest/meta-data/", EVERYTHING) in REFUSED


async def test_no_file_of_this_machine_is_named_by_a_failed_connection(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: Any, **options: Any) -> socket.socket:
        raise OSError(errno.EACCES, "Permission denied", "/usr/lib/python3/encodings/idna.py")

    async with closed_client("127.0.0.0/8") as client:
        monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", fail)
        with pytest.raises(NodeFailure) as caught:
            await client.request("GET", f"http://127.0.0.1:{trap.port}/", headers={})

    assert (caught.value.type, str(caught.value)) == (
        "connection.failed",
        f"Cannot connect to http://127.0.0.1:{trap.port}/: Permission denied",
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_request_waits_while_the_server_can_open_no_more_files(receiver: Receiver, host: str) -> None:
    url = receiver.url.replace("127.0.0.1", host)
    async with closed_client("127.0.0.0/8", "::1/128") as client:
        with without_files(left=0):
            answer = asyncio.create_task(client.request("GET", f"{url}/status/200", headers={}))
            await asyncio.wait([answer], timeout=0.2)

        assert not answer.done()
        assert (await answer).status == 200


async def test_s35_our_own_port_stays_closed(trap: Trap, scoreboard: Scoreboard) -> None:
    before = trap.reached
    everything = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    client = EgressClient(EgressPolicy(everything, frozenset({trap.port})))
    hosts = [host for host in SPELLINGS if "192.0.2.9" not in host]
    try:
        endings = {host: await attempt_with(client, f"http://{host}:{trap.port}/") for host in hosts}
    finally:
        await client.close()
    # Addresses that reach nobody may also be tried: no more is asked than that we are not reached.
    reached = [host for host, ending in endings.items() if ending == "200"]

    scoreboard.count("egress: own ports and metadata services reached", cases=len(hosts), failures=len(reached))
    assert (reached, trap.reached) == ([], before)


async def test_s35_servers_that_we_depend_on_stay_closed(trap: Trap, names: dict[str, list[list[str]]]) -> None:
    before = trap.reached
    names["db.example"] = [["127.0.0.1"]]
    names["other.example"] = [["127.0.0.1"]]
    everything = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    client = EgressClient(EgressPolicy(everything, own_servers={("db.example", trap.port)}))
    hosts = ["db.example", "other.example", "localhost", *(host for host in SPELLINGS if "192.0.2.9" not in host)]
    try:
        endings = {host: await attempt_with(client, f"http://{host}:{trap.port}/") for host in hosts}
    finally:
        await client.close()

    assert [host for host, ending in endings.items() if ending == "200"] == []
    assert endings["db.example"] == endings["other.example"] == endings["127.0.0.2"] == "egress.forbidden"
    assert trap.reached == before


async def test_s35_a_redirect_leads_to_no_server_that_we_depend_on(
    trap: Trap, redirector: http.server.HTTPServer, names: dict[str, list[list[str]]]
) -> None:
    before = trap.reached
    names["db.example"] = [["127.0.0.1"]]
    redirector.location = f"http://127.0.0.3:{trap.port}/"  # type: ignore[attr-defined]
    loopback = EgressPolicy([ipaddress.ip_network("127.0.0.0/8")], own_servers={("db.example", trap.port)})

    ending = await attempt(f"http://{REDIRECTOR}:{redirector.server_port}/", loopback, redirects=5)

    assert (ending, trap.reached) == ("egress.forbidden", before)


async def test_s35_all_addresses_of_a_server_that_we_depend_on_are_closed_and_only_its_port(
    names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["db.example"] = [["10.1.2.3", "fd00::3"], ["10.1.2.4"]]
    policy = EgressPolicy(
        [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")],
        own_servers={("db.example", 5432), ("10.9.9.9", 7233)},
    )
    await policy.prepare(5432)

    for host, port in (("10.1.2.3", 5432), ("fd00::3", 5432), ("10.9.9.9", 7233)):
        with pytest.raises(EgressForbidden, match="depends on"):
            policy.check(host, port)
    for host, port in (("10.1.2.3", 5433), ("10.1.2.4", 5432), ("10.9.9.9", 5432)):
        policy.check(host, port)

    # Its name means something else by now.
    monkeypatch.setattr("flowrunner.security.own_servers._KNOWN_SECONDS", 0.0)
    policy._own_servers._known_until = 0.0
    await policy.prepare(5432)
    with pytest.raises(EgressForbidden, match="depends on"):
        policy.check("10.1.2.4", 5432)


async def test_s35_a_server_that_we_depend_on_stays_closed_while_its_name_is_not_found(
    names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["db.example"] = [["10.1.2.3"]]
    policy = EgressPolicy([ipaddress.ip_network("10.0.0.0/8")], own_servers={("db.example", 5432)})
    await policy.prepare(5432)

    def unknown(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for _ in range(2):
        policy._own_servers._known_until = 0.0
        await policy.prepare(5432)

    with pytest.raises(EgressForbidden, match="depends on"):
        policy.check("10.1.2.3", 5432)


@pytest.mark.parametrize(
    ("settings", "servers"),
    [
        ({}, set()),
        ({"database_url": "postgresql://u:p@db.example/flows"}, {("db.example", 5432)}),
        ({"database_url": "postgres://u:p%40x@db.example:6432/flows?sslmode=require"}, {("db.example", 6432)}),
        ({"database_url": "postgresql://a.example:1,b.example/x"}, {("a.example", 1), ("b.example", 5432)}),
        ({"database_url": "postgresql://u@[::1]/x"}, {("::1", 5432)}),
        ({"database_url": "postgresql:///x?host=db.example&port=7"}, {("db.example", 7)}),
        ({"database_url": "postgresql://a.example,b.example/x?port=1"}, {("a.example", 5432), ("b.example", 5432)}),
        ({"database_url": "postgresql:///x?host=/run/postgresql"}, {("127.0.0.1", 5432)}),
        ({"database_url": "postgresql://u@%2Frun%2Fpostgresql/x"}, {("127.0.0.1", 5432)}),
        ({"database_url": "postgresql:///x?host=/tmp/.s.PGSQL.7"}, {("127.0.0.1", 7)}),
        ({"database_url": "postgresql:///x"}, {("localhost", 5432), ("127.0.0.1", 5432)}),
        ({"dispatch": "temporal://t.example/default"}, {("t.example", 7233)}),
        ({"database_url": "postgresql://db.example/x", "dispatch": "temporal://[fd00::7]:17233/ns?queue=q"},
         {("db.example", 5432), ("fd00::7", 17233)}),
    ],
)  # fmt: skip
def test_s35_the_servers_that_we_depend_on_are_those_of_the_settings(settings: Any, servers: Any) -> None:
    assert own_servers(Settings(**settings)) == servers


def test_s35_a_flow_does_not_reach_the_database(tmp_path: Any, lasting_postgres: PostgresServer) -> None:
    url = lasting_postgres.new_database()
    port = urlsplit(url).port
    server = Server(tmp_path, {"DATABASE_URL": url, "EGRESS_ALLOW": "127.0.0.0/8,::1/128"})
    try:
        admin = server.start().admin()
        for host in ("127.0.0.1", "localhost", "127.0.0.2", "[::ffff:127.0.0.1]"):
            flow = f'nodes:\n  a: {{type: http.request, params: {{url: "http://{host}:{port}/"}}}}\n'
            execution = admin.run_to_end(flow)
            assert "Flows may not connect" in execution["error"], host
    finally:
        server.stop()


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
