"""What a run needs from around it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.limits import UNLIMITED, Limits
from flowrunner.plugin import NodeType
from flowrunner.ports import (
    Broadcast,
    Clock,
    CompiledFlows,
    ExecutionLinks,
    HttpClients,
    Journal,
    MemoryRoom,
    Sandbox,
    SubFlowStarter,
    Vault,
)

T = TypeVar("T")


class Stopped(Exception):
    """The server stops before a step could do what it is for: it runs again at the next start."""


# How soon what cannot be had at the moment is asked for again.
_RETRY_SECONDS: Final = 1.0
# A wait no longer than this is spent in memory: to come back costs more than to stay.
SHORT_WAIT_SECONDS: Final = 1.0


@dataclass(slots=True, kw_only=True)
class EngineDependencies:
    """The ports of the engine, and what its runs share.

    Attributes:
        draw: A uniform sample from [0, 1), for jitter.
        memory: Room for what is loaded; None for any number of executions.
        limits: Of each account.
        short_wait: Seconds that a run waits in memory at most.
        epoch: Owner's mark on every append; 0 until the journal has been claimed or joined.
        is_shared: Other processes advance executions of the same journal, each of them one at a time.
        is_stopping: No step begins any more; the ones under way may end.
    """

    journal: Journal
    library: CompiledFlows
    vault: Vault
    broadcast: Broadcast
    sandbox: Sandbox
    node_types: Mapping[str, NodeType[Any]]
    http: HttpClients
    clock: Clock
    draw: Callable[[], float]
    memory: MemoryRoom | None = None
    limits: Limits = UNLIMITED
    short_wait: float = SHORT_WAIT_SECONDS
    epoch: int = 0
    is_shared: bool = False
    is_stopping: bool = False
    _links: ExecutionLinks | None = None
    _flows: SubFlowStarter | None = None

    def connect(self, *, links: ExecutionLinks, flows: SubFlowStarter) -> None:
        """Name the ones that start and advance executions, which are made after the engine."""
        self._links, self._flows = links, flows

    @property
    def links(self) -> ExecutionLinks:
        assert self._links is not None, "connected before the first execution"
        return self._links

    @property
    def flows(self) -> SubFlowStarter:
        assert self._flows is not None, "connected before the first execution"
        return self._flows

    async def retry_until_available(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What ``ask`` gives, as soon as it can be had: that it cannot at the moment is no fault of a flow's.

        Raises:
            Stopped.
            What ``ask`` does, but for Unavailable.
        """
        while True:
            try:
                return await ask()
            except Unavailable:
                if self.is_stopping:
                    raise Stopped from None
                await asyncio.sleep(_RETRY_SECONDS)
