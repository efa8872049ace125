"""DNS lookups for the requests and e-mails of flows, with a share for each workspace."""

import asyncio
import socket
from functools import partial
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from flowrunner.domain.counted import counted
from flowrunner.domain.values import WorkspaceId
from flowrunner.fair_slots import FairSlots
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.threads import on_own_thread

# Time limit for waiting for a slot and for the answer.
LOOKUP_SECONDS: Final = 5.0
# Addresses of a name that a request tries to connect to. An answer can have thousands, and aiohttp begins again with
# all but the first after each failure.
MOST_ADDRESSES: Final = 8


class NameUnanswered(OSError):
    """A name whose lookup took too long, or could not begin."""


def lookup_slots(processes: int = 1) -> FairSlots:
    """Return the slots for lookups. Each is a thread, which an unresponsive name server blocks for half a minute."""
    # Each of many processes has two, too.
    return FairSlots.of_process(min(processes, 16), total=32, share=8, sure=2)


class WorkspaceResolver(AbstractResolver):
    """The resolver for requests and e-mails of one workspace. It rejects a name if any of its addresses is closed."""

    def __init__(self, policy: EgressPolicy, slots: FairSlots, workspace_id: WorkspaceId) -> None:
        self._policy = policy
        self._slots = slots
        self._workspace_id = workspace_id

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        is_begun = False
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                await self._slots.take(self._workspace_id)
                is_begun = True
                found = await self._look_up(host, port, family)
        except TimeoutError:
            reason = f"no answer within {LOOKUP_SECONDS:g} s"
            if not is_begun:
                others = counted(
                    self._slots.held(self._workspace_id), "lookup of another name is", "lookups of other names are"
                )
                reason = f"{others} unanswered, try again later"
            raise NameUnanswered(reason) from None
        if not found:
            raise NameUnanswered("it has no address")
        for answer in found:
            self._policy.check(answer["host"], port)
        return found[:MOST_ADDRESSES]

    def _look_up(self, host: str, port: int, family: int) -> "asyncio.Future[list[ResolveResult]]":
        """Start a lookup. Its slot is given back when the thread ends, even if the caller no longer waits.

        Raises: NameUnanswered if it cannot begin.
        """
        give_back = partial(self._slots.give_back, self._workspace_id)
        try:
            return on_own_thread(partial(addresses_of, host, port, family), name="name lookup", on_end=give_back)
        except RuntimeError:
            raise NameUnanswered("the server cannot start a lookup now, try again later") from None

    async def close(self) -> None:
        pass


def addresses_of(host: str, port: int, family: int) -> list[ResolveResult]:
    """Return the addresses of a name, after a lookup that blocks. Raises: OSError."""
    try:
        infos = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except OSError:
        # Without the files that are read for it, a name is reported as unknown, or the lookup as invalid. This raises
        # what is true then.
        socket.socket().close()
        raise
    return [
        ResolveResult(
            hostname=host,
            host=_host_of(address),
            port=port,
            family=found_family,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for found_family, _, protocol, _, address in infos
        if found_family in (socket.AF_INET, socket.AF_INET6)
    ]


def _host_of(address: Any) -> str:
    """Return the address with its zone, if it has one."""
    has_zone = len(address) == 4 and address[3] and "%" not in address[0]
    return f"{address[0]}%{address[3]}" if has_zone else str(address[0])
