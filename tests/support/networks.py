"""Addresses of this machine, for tests."""

import ipaddress
import socket
from typing import Final

LOOPBACK: Final = ipaddress.ip_network("127.0.0.0/8")


def unused_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
