"""Where flows may connect, and the one client that they connect with."""

import ipaddress
import re
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from flowrunner.domain.errors import quoted
from flowrunner.plugin import HttpAnswer, NodeFailure

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# The standard library's `is_private` and `is_global` miss several of these.
CLOSED: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32",
        "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10",
        "ff00::/8",
    )
)  # fmt: skip

# Services that hand out the machine's own credentials: closed whatever is allowed.
ALWAYS_CLOSED: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(text)
    for text in ("169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "169.254.42.42/32",
                 "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32", "fd00:ec2::254/128",
                 "fd00:ec2::23/128", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128", "fd00:42::42/128",
                 "fe80::a9fe:a9fe/128")
)  # fmt: skip

MAX_ANSWER_BYTES: Final = 1024 * 1024
MAX_REDIRECTS: Final = 5
_CONNECTIONS: Final = 1024
_CONNECT_SECONDS: Final = 10.0
_FORBIDDEN_HEADERS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"}
)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_IN_HEADER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_IN_URL: Final = re.compile(r"[\x00-\x20\x7f\\]")
_METHOD: Final = re.compile(r"[A-Za-z]{1,20}")


class EgressForbidden(OSError):
    """An address that flows may not connect to."""


class EgressPolicy:
    """Which addresses are open.

    Args:
        allow: Ranges that are opened although they are closed by default.
        own_ports: Ports of this machine on which FlowRunner itself listens, never to be reached.
    """

    def __init__(self, allow: Sequence[Network] = (), own_ports: Collection[int] = ()) -> None:
        self._allow = tuple(allow)
        self._own_ports = frozenset(own_ports)

    def check(self, host: str, port: int) -> None:
        """Raise EgressForbidden unless a connection to this address is allowed."""
        try:
            # Only an address of IPv6 has a zone.
            address = ipaddress.ip_address(host.partition("%")[0] if ":" in host else host)
        except ValueError:
            raise EgressForbidden(f"'{host}' is not an address") from None
        for form in _forms(address):
            if any(form in network for network in ALWAYS_CLOSED if network.version == form.version):
                raise EgressForbidden(f"{host} is a metadata service, which is always closed to flows")
            if port in self._own_ports and _is_this_machine(form):
                raise EgressForbidden(f"port {port} of this machine is FlowRunner's own")
        if any(address in network for network in self._allow if network.version == address.version):
            return
        for network in CLOSED:
            if network.version == address.version and address in network:
                raise EgressForbidden(
                    f"{host} is in {network}, which is closed to flows: "
                    f"an operator can open it with FLOWRUNNER_EGRESS_ALLOW"
                )


# Forms of IPv6 addresses whose last 32 bits are an IPv4 one: compatible, mapped, translated, NAT64.
_WITH_IPV4: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(text)
    for text in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/96")
)


def _forms(address: Address) -> tuple[Address, ...]:
    """The address, and the IPv4 ones that an IPv6 one stands for."""
    if not isinstance(address, ipaddress.IPv6Address):
        return (address,)
    forms: list[Address] = [address]
    if any(address in network for network in _WITH_IPV4):
        forms.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None:
        forms.append(address.sixtofour)
    forms += address.teredo or ()
    return tuple(forms)


def _is_this_machine(address: Address) -> bool:
    if address.is_loopback or address.is_unspecified:
        return True
    # The kernel picks an address as its own source exactly when the target is the machine itself.
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            return False
        return str(probe.getsockname()[0]).partition("%")[0] == str(address)


class _GuardedResolver(AbstractResolver):
    """Refuses a name if any of its addresses is closed."""

    def __init__(self, policy: EgressPolicy) -> None:
        self._policy = policy
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for answer in found:
            self._policy.check(answer["host"], port)
        return found

    async def close(self) -> None:
        await self._resolver.close()


class EgressClient:
    """Sends requests for nodes. Fills `plugin.HttpClient`.

    Every address is checked where the socket is made, which no spelling, redirect or second DNS
    answer gets around.
    """

    def __init__(self, policy: EgressPolicy) -> None:
        self._policy = policy
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_GuardedResolver(policy),
                socket_factory=self._socket,
                limit=_CONNECTIONS,
                ttl_dns_cache=5,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            trust_env=False,
            headers={"User-Agent": "FlowRunner"},
        )

    def _socket(self, address_info: Any) -> socket.socket:
        family, kind, protocol, _, address = address_info
        self._policy.check(address[0], address[1])
        return socket.socket(family=family, type=kind, proto=protocol)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        max_redirects: int = 0,
    ) -> HttpAnswer:
        _check_request(method, headers)
        target, sent = _parse_url(url), dict(headers)
        # Shown is the address as it was written: a secret in it is hidden as it is known, and not as it is sent.
        shown, redirects, is_stripped = url, 0, False
        while True:
            answer = await self._once(method, target, sent, body, redirects, shown=shown)
            answer = replace(answer, is_stripped=is_stripped)
            location = answer.headers.get("location")
            if answer.status not in (301, 302, 303, 307, 308) or location is None or max_redirects == 0:
                return answer
            if redirects >= max_redirects:
                raise NodeFailure("http.redirects", f"More than {max_redirects} redirects, the last to {location}")
            redirects += 1
            following = _parse_url(location, base=target)
            if (answer.status == 303 and method != "HEAD") or (answer.status in (301, 302) and method == "POST"):
                method, body = "GET", None
                sent = {k: v for k, v in sent.items() if not k.lower().startswith("content-")}
            if following.origin() != target.origin():
                # Any header may hold a credential: a flow chooses the name of the one for its key.
                is_stripped = is_stripped or body is not None or any(k.lower() != "idempotency-key" for k in sent)
                sent, body = {}, None
            target, shown = following, location if yarl.URL(location).absolute else str(following)

    async def _once(
        self,
        method: str,
        url: yarl.URL,
        headers: Mapping[str, str],
        body: bytes | None,
        redirects: int,
        *,
        shown: str,
    ) -> HttpAnswer:
        try:
            async with self._session.request(
                method, url, headers=headers, data=body, allow_redirects=False
            ) as response:
                return HttpAnswer(
                    status=response.status,
                    headers=_joined(response.headers.items()),
                    body=await _read(response, shown),
                    url=shown,
                    redirects=redirects,
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # aiohttp raises ValueError for header and body values it cannot send.
            raise _as_failure(error, shown) from error

    async def close(self) -> None:
        await self._session.close()


def _joined(headers: Any) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


async def _read(response: aiohttp.ClientResponse, shown: str) -> bytes:
    """The decoded body, as long as it fits."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            # Not read to its end: the connection is of no further use.
            response.close()
            raise NodeFailure(
                "http.too_large",
                f"The answer of {shown} has more than {MAX_ANSWER_BYTES} bytes",
                data={"status_code": response.status},
            )
        chunks.append(chunk)
    return b"".join(chunks)


def _check_request(method: str, headers: Mapping[str, str]) -> None:
    if not _METHOD.fullmatch(method):
        raise NodeFailure("http.invalid_request", f"{quoted(method)} is not an HTTP method")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise NodeFailure("http.invalid_request", f"{quoted(name)} is not a header name")
        if name.lower() in _FORBIDDEN_HEADERS:
            raise NodeFailure("http.invalid_request", f"The header '{name}' is set by FlowRunner itself")
        if _BAD_IN_HEADER.search(value):
            raise NodeFailure("http.invalid_request", f"The value of the header '{name}' holds control characters")


def _parse_url(text: str, *, base: yarl.URL | None = None) -> yarl.URL:
    """The address as the client itself reads it: there is no second parser to disagree with."""
    if _BAD_IN_URL.search(text):
        raise NodeFailure(
            "http.invalid_request", "The URL holds spaces, backslashes or control characters: encode them"
        )
    try:
        url = yarl.URL(text)
        url = url if base is None else base.join(url)
        port = url.port
    except (ValueError, TypeError) as error:
        raise NodeFailure("http.invalid_request", f"The URL cannot be read: {error}") from None
    if url.scheme not in ("http", "https") or not url.host or port == 0:
        raise NodeFailure("http.invalid_request", "The URL must start with http:// or https:// and name a host")
    return url


def _as_failure(error: Exception, shown: str) -> NodeFailure:
    for cause in _causes(error):
        if isinstance(cause, EgressForbidden):
            return NodeFailure("egress.forbidden", f"Flows may not connect to {shown}: {cause}")
    match error:
        case aiohttp.ClientConnectorDNSError() | aiohttp.InvalidURL():
            return NodeFailure("connection.dns", f"The name of the host cannot be resolved: {shown}")
        case aiohttp.ClientConnectorCertificateError():
            return NodeFailure(
                "connection.tls", f"No trusted TLS connection to {shown}: {_reason(error.certificate_error)}"
            )
        case aiohttp.ClientConnectorSSLError():
            return NodeFailure("connection.tls", f"No trusted TLS connection to {shown}: {_reason(error.os_error)}")
        case aiohttp.ClientSSLError():
            return NodeFailure("connection.tls", f"No trusted TLS connection to {shown}: {_reason(error)}")
        case aiohttp.ConnectionTimeoutError() | aiohttp.ServerTimeoutError() | TimeoutError():
            return NodeFailure("timeout", f"{shown} did not answer in time")
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return NodeFailure("connection.refused", f"The connection was refused: {shown}")
        case aiohttp.ClientConnectorError():
            return NodeFailure("connection.failed", f"Cannot connect to {shown}: {_reason(error.os_error)}")
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError() | OSError():
            return NodeFailure("connection.lost", f"The connection ended before the answer was complete: {shown}")
        case aiohttp.ClientResponseError():
            return NodeFailure("http.invalid_answer", f"The answer of {shown} is not valid HTTP: {error.message}")
        case _:
            return NodeFailure("http.invalid_request", f"The request cannot be sent: {_reason(error)}")


def _causes(error: BaseException) -> Sequence[BaseException]:
    found: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        cause = todo.pop()
        if cause is None or cause in found:
            continue
        found.append(cause)
        todo += [cause.__cause__, cause.__context__, getattr(cause, "os_error", None)]
        if isinstance(cause, BaseExceptionGroup):
            todo += cause.exceptions
    return found


def _reason(error: BaseException) -> str:
    return str(error).replace("\n", " ") or type(error).__name__
