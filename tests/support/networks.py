"""Addresses of this machine, for tests."""

import contextlib
import ipaddress
import random
import socket
from typing import Final

LOOPBACK: Final = ipaddress.ip_network("127.0.0.0/8")

# Below those that the kernel gives to outgoing connections: one of them could take the port of a server that is
# down for a moment, and keep it; and one to a server that does not listen yet could be connected to itself.
_PORTS: Final = range(10_000, 30_000)
# Not the generator that tests seed: those of several processes would draw the same.
_draw: Final = random.SystemRandom()


def unused_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listened on a moment ago."""
    while True:
        port = _draw.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
