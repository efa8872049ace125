"""The servers that FlowRunner itself depends on, the database and Temporal, which are closed to flows."""

import asyncio
import socket
import time
from collections.abc import Collection
from typing import Final

import structlog

logger = structlog.get_logger()

_LOOKUP_SECONDS: Final = 5.0
_KNOWN_SECONDS: Final = 5.0


class OwnServers:
    """The addresses of these servers. They are looked up again when a flow uses one of their ports, as they may change.

    Args:
        servers: Host and port of each server in the settings.
    """

    def __init__(self, servers: Collection[tuple[str, int]]) -> None:
        self._servers = frozenset(servers)
        self._ports = frozenset(port for _, port in self._servers)
        self._addresses: frozenset[tuple[str, int]] = frozenset()
        self._known_until = 0.0
        self._looking_up: asyncio.Task[None] | None = None

    def addresses(self, port: int) -> Collection[str]:
        """Return the last known addresses of the servers with this port."""
        return [address for address, its_port in self._addresses if its_port == port]

    async def look_up(self, port: int | None) -> None:
        """Look up the addresses if a server has this port and the last lookup is too old."""
        if port not in self._ports or time.monotonic() < self._known_until:
            return
        if self._looking_up is None or self._looking_up.done():
            self._looking_up = asyncio.create_task(self._look_up())
        await asyncio.shield(self._looking_up)

    async def _look_up(self) -> None:
        loop = asyncio.get_running_loop()
        found: set[tuple[str, int]] = set()
        for host, port in self._servers:
            try:
                async with asyncio.timeout(_LOOKUP_SECONDS):
                    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError as error:
                logger.warning("egress.own_server_unknown", host=host, reason=str(error) or type(error).__name__)
                found |= {(address, port) for address in self.addresses(port)}
            else:
                found |= {(str(address[0]), port) for *_, address in infos}
        self._addresses = frozenset(found)
        self._known_until = time.monotonic() + _KNOWN_SECONDS
