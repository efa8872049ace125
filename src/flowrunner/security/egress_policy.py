"""Addresses that flows may connect to."""

import ipaddress
import socket
from collections.abc import Collection, Sequence
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from flowrunner.security.own_servers import OwnServers

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# `is_private` and `is_global` of the standard library miss several of these.
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

# Services that provide the machine's credentials. They stay closed regardless of the settings.
ALWAYS_CLOSED: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(text)
    for text in ("169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "169.254.42.42/32",
                 "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32", "fd00:ec2::254/128",
                 "fd00:ec2::23/128", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128", "fd00:42::42/128",
                 "fe80::a9fe:a9fe/128")
)  # fmt: skip


class EgressForbidden(OSError):
    """An address that may not be connected to.

    Attributes:
        who: Those who may not, at the beginning of a sentence.
    """

    def __init__(self, reason: str, *, who: str) -> None:
        super().__init__(reason)
        self.who = who


class EgressPolicy:
    """The rules for addresses that flows may connect to.

    Args:
        allow: Ranges to open that are closed by default.
        own_ports: Ports of this machine on which FlowRunner itself listens; always closed.
        own_servers: Host and port of each server in the settings that FlowRunner depends on; always closed.
        who: Those whose connections are checked, at the beginning of a sentence.
        opened_by: The variable of the setting that has ``allow``.
    """

    def __init__(
        self,
        allow: Sequence[Network] = (),
        own_ports: Collection[int] = (),
        own_servers: Collection[tuple[str, int]] = (),
        *,
        who: str = "Flows",
        opened_by: str = "FLOWRUNNER_EGRESS_ALLOW",
    ) -> None:
        self._who, self._in_a_sentence = who, who[0].lower() + who[1:]
        self._opened_by = opened_by
        self._allow = tuple(allow)
        self._own_ports = frozenset(own_ports)
        self._own_servers = OwnServers(own_servers)

    async def prepare(self, port: int | None) -> None:
        """Look up the addresses that `check` needs for a port."""
        await self._own_servers.look_up(port)

    def refusal(self, url: str) -> str | None:
        """Return why a URL is closed, as far as its text says that; no name is looked up."""
        parts = urlsplit(url)
        address = _written_address(parts.hostname or "")
        if address is None:
            return None
        try:
            self.check(address, parts.port or (443 if parts.scheme == "https" else 80))
        except EgressForbidden as error:
            return str(error)
        return None

    def check(self, host: str, port: int) -> None:
        """Raise EgressForbidden unless a connection to this address is allowed."""
        try:
            # Only IPv6 addresses have a zone.
            address = ipaddress.ip_address(host.partition("%")[0] if ":" in host else host)
        except ValueError:
            raise self._forbidden(f"'{host}' is not an address") from None
        for form in _forms(address):
            if any(form in network for network in ALWAYS_CLOSED if network.version == form.version):
                raise self._forbidden(
                    f"{host} is the address of a metadata service, which is always closed to {self._in_a_sentence}"
                )
            if port in self._own_ports and _is_this_machine(form):
                raise self._forbidden(f"port {port} of this machine is FlowRunner's own")
            if _is_among(form, self._own_servers.addresses(port)):
                raise self._forbidden(f"port {port} of {host} belongs to a server that FlowRunner itself depends on")
        if self.is_opened(host):
            return
        for network in CLOSED:
            if network.version == address.version and address in network:
                raise self._forbidden(
                    f"{host} is in {network}, which is closed to {self._in_a_sentence}: "
                    f"an operator can open it with {self._opened_by}"
                )

    def is_opened(self, host: str) -> bool:
        """Return whether an operator has opened this address by a setting."""
        address = ipaddress.ip_address(host.partition("%")[0] if ":" in host else host)
        return any(address in network for network in self._allow if network.version == address.version)

    def require_opened(self, host: str, what: str) -> None:
        """Raise EgressForbidden unless an operator has opened this address by a setting."""
        if not self.is_opened(host):
            raise self._forbidden(f"{what}: an operator can open {host} with {self._opened_by}")

    def _forbidden(self, reason: str) -> EgressForbidden:
        return EgressForbidden(reason, who=self._who)


def _written_address(host: str) -> str | None:
    """Return the address that a host is without a lookup, however it is written; None for other names."""
    host = host.removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    if ":" in host:
        return host
    try:
        # What the operating system reads as an address, such as `127.1` and `0x7f000001`.
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


def _is_among(address: Address, known: Collection[str]) -> bool:
    """Return True if the address is known, or if it and a known one both belong to this machine."""
    others = [form for text in known for form in _forms(ipaddress.ip_address(text.partition("%")[0]))]
    return address in others or (any(map(_is_this_machine, others)) and _is_this_machine(address))


# IPv6 ranges whose last 32 bits are an IPv4 address: compatible, mapped, translated, NAT64.
_WITH_IPV4: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(text)
    for text in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/96")
)


def _forms(address: Address) -> tuple[Address, ...]:
    """Return the address and the IPv4 addresses that it embeds."""
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
    # The kernel chooses the target as the source address exactly if the target is this machine.
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            return False
        return str(probe.getsockname()[0]).partition("%")[0] == str(address)
