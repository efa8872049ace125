"""Connections of flows to servers that speak no HTTP, each on a thread of its own."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Final, TypeVar

from flowrunner.domain.values import WorkspaceId
from flowrunner.fair_slots import FairSlots
from flowrunner.plugin import NodeFailure
from flowrunner.security.egress_policy import EgressForbidden, EgressPolicy
from flowrunner.security.name_lookups import NameUnanswered, WorkspaceResolver
from flowrunner.security.open_files import ATTEMPTS, PAUSE_SECONDS, lacks_files
from flowrunner.threads import on_own_thread

T = TypeVar("T")

# To one address, and to all of a server.
_CONNECT_SECONDS: Final = 10.0
_MOST_CONNECT_SECONDS: Final = 30.0


class SessionClients:
    """Rules and slots that the clients of one protocol share: where flows may connect to, and how many sessions.

    Args:
        lookups: The slots for lookups of names, which requests take too.
        slots: Those for sessions, of which each is a thread.
        name: The name of the threads.
        use: What a session does, for the error if there is no thread.
    """

    def __init__(self, policy: EgressPolicy, lookups: FairSlots, slots: FairSlots, *, name: str, use: str) -> None:
        self.policy = policy
        self.lookups = lookups
        self.slots = slots
        self._name = name
        self._use = use

    async def run(
        self,
        workspace_id: WorkspaceId,
        host: str,
        port: int,
        session: Callable[["EgressConnection"], T],
        *,
        unless_opened: str | None = None,
        seconds_left: float = 0.0,
    ) -> T:
        """Have a session with a server, on a thread of its own, as soon as the workspace has a slot for it.

        Args:
            session: Opens the connection, and closes it.
            unless_opened: Reason for which only addresses will do that an operator has opened; None if others will.
            seconds_left: As for `EgressConnection.used_by`.

        Raises:
            NodeFailure: `egress.forbidden`, `connection.dns`, or `connection.failed` if there is no thread.
            Exceptions of ``session``.
        """
        addresses = await self._addresses_of(workspace_id, host, port, unless_opened=unless_opened)
        connection = EgressConnection(host, port, addresses)
        await self.slots.take(workspace_id)
        return await connection.used_by(
            partial(session, connection),
            name=self._name,
            use=self._use,
            on_end=partial(self.slots.give_back, workspace_id),
            seconds_left=seconds_left,
        )

    async def _addresses_of(
        self, workspace_id: WorkspaceId, host: str, port: int, *, unless_opened: str | None
    ) -> Sequence[str]:
        """Return the addresses of a server, all of which flows may connect to. Raises: NodeFailure."""
        await self.policy.prepare(port)
        try:
            found = await _looked_up(WorkspaceResolver(self.policy, self.lookups, workspace_id), host, port)
            for address in found if unless_opened is not None else ():
                self.policy.require_opened(address, unless_opened or "")
        except EgressForbidden as error:
            raise NodeFailure(
                "egress.forbidden", f"{error.who} may not connect to {server_name(host, port)}: {error}"
            ) from None
        except (OSError, UnicodeError) as error:
            reason = f": {error}" if isinstance(error, NameUnanswered) else ""
            raise NodeFailure(
                "connection.dns", f"The name of the host cannot be resolved: {server_name(host, port)}{reason}"
            ) from None
        return found


async def _looked_up(resolver: WorkspaceResolver, host: str, port: int) -> Sequence[str]:
    attempts = 0
    while True:
        try:
            return [answer["host"] for answer in await resolver.resolve(host, port, socket.AF_UNSPEC)]
        except OSError as error:
            attempts += 1
            if attempts == ATTEMPTS or not lacks_files(error):
                raise
        await asyncio.sleep(PAUSE_SECONDS)


class EgressConnection:
    """The connection to a server, which another thread may end.

    Args:
        addresses: Those of the server, all of which flows may connect to.
    """

    def __init__(self, host: str, port: int, addresses: Sequence[str]) -> None:
        self._shown = server_name(host, port)
        self._port = port
        self._addresses = addresses
        self._lock = Lock()
        self._has_ended = False
        self._handle: socket.socket | None = None

    async def used_by(
        self, call: Callable[[], T], *, name: str, use: str, on_end: Callable[[], None], seconds_left: float = 0.0
    ) -> T:
        """Make a call that uses the connection on a new thread. If the caller is cancelled, the connection ends.

        Args:
            name: The name of the thread.
            use: What the call does, for the error if there is no thread.
            on_end: Called when the thread has ended, even if the caller no longer waits.
            seconds_left: Time in which the call may still send, and no longer receives, after the caller was cancelled.

        Raises:
            NodeFailure: There is no thread.
            Exceptions of ``call``.
        """
        try:
            done = on_own_thread(call, name=name, on_end=on_end)
        except RuntimeError:
            raise NodeFailure("connection.failed", f"The server cannot {use} now: try again later") from None
        try:
            return await done
        except asyncio.CancelledError:
            if seconds_left:
                self._shut_down(socket.SHUT_RD)
                asyncio.get_running_loop().call_later(seconds_left, self.end)
            else:
                self.end()
            raise

    def open(self) -> socket.socket:
        """Return a socket that is connected to an address of the server. Raises: NodeFailure."""
        error = OSError("it has no address")
        deadline = time.monotonic() + _MOST_CONNECT_SECONDS
        for address in self._addresses:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                return self._connected(address, min(left, _CONNECT_SECONDS))
            except OSError as failed:
                error = failed
        if isinstance(error, ConnectionRefusedError):
            raise NodeFailure("connection.refused", f"The connection was refused: {self._shown}")
        if isinstance(error, TimeoutError):
            raise NodeFailure("timeout", f"{self._shown} did not answer in time")
        raise NodeFailure("connection.failed", f"Cannot connect to {self._shown}: {error.strerror or error}")

    def _connected(self, address: str, seconds: float) -> socket.socket:
        connection = self._unconnected(_family(address))
        try:
            connection.settimeout(seconds)
            # Some protocols send two messages before they wait, and the second one would wait 40 ms for an answer.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.connect((address, self._port))
            # `end` may have come before there was a connection to shut down.
            self.require_in_use()
        except OSError:
            connection.close()
            raise
        return connection

    def _unconnected(self, family: int) -> socket.socket:
        """Return a new socket, which `end` ends, as soon as there are files for it. Raises: OSError."""
        attempts = 0
        while True:
            try:
                return self._made(family)
            except OSError as error:
                attempts += 1
                if attempts == ATTEMPTS or not lacks_files(error):
                    raise
            time.sleep(PAUSE_SECONDS)

    def _made(self, family: int) -> socket.socket:
        connection = socket.socket(family)
        try:
            with self._lock:
                self.require_in_use()
                if self._handle is not None:
                    self._handle.close()
                    self._handle = None
                # The session replaces its socket when it encrypts the connection; this one stays valid.
                self._handle = connection.dup()
        except OSError:
            connection.close()
            raise
        return connection

    def again(self, address: str, seconds: float) -> socket.socket:
        """Return another socket to the same address, which `end` does not end. Raises: OSError."""
        connection = socket.socket(_family(address))
        try:
            connection.settimeout(seconds)
            connection.connect((address, self._port))
        except OSError:
            connection.close()
            raise
        return connection

    def end(self) -> None:
        """End the connection, whatever its thread is doing."""
        self._shut_down(socket.SHUT_RDWR)

    def require_in_use(self) -> None:
        """Raise OSError if the connection was ended."""
        if self._has_ended:
            raise OSError("the step has ended")

    def _shut_down(self, direction: int) -> None:
        with self._lock:
            self._has_ended = True
            if self._handle is not None:
                with suppress(OSError):
                    self._handle.shutdown(direction)

    def close(self) -> None:
        with self._lock:
            if self._handle is not None:
                self._handle.close()
                self._handle = None


def server_name(host: str, port: int) -> str:
    """Return how messages name a server."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
