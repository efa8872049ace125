"""The connections that wait to be accepted."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

# Accepting one takes a tenth of a millisecond.
_MOST_AT_ONCE: Final = 16


class AcceptQueue:
    """Accepts the connections that wait behind one that has been accepted.

    The event loop accepts one in each of its iterations (libuv). Behind a crowd of connections, another one would wait
    for as many iterations as it has members.

    Args:
        listener: The socket that the event loop listens on.
        make_protocol: Returns the protocol of a new connection.
    """

    def __init__(self, listener: socket.socket, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        self._is_scheduled = False
        self._opening: set[asyncio.Task[Any]] = set()

    def look(self) -> None:
        """Accept what waits, in the next iteration of the event loop."""
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._accept)

    def _accept(self) -> None:
        self._is_scheduled = False
        loop = asyncio.get_running_loop()
        # None waits, the server has ended, or there is no free file: then the event loop tries again.
        with suppress(OSError):
            for _ in range(_MOST_AT_ONCE):
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                opening = loop.create_task(self._open(connection))
                self._opening.add(opening)
                opening.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._make_protocol, connection)
        except OSError:
            # The client has gone.
            connection.close()
