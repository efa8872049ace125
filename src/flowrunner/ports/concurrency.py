"""Limits on how many executions of a flow run at the same time, and the queues for their slots."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from flowrunner.domain.values import ExecutionId, WorkspaceId


@dataclass(frozen=True, slots=True)
class ConcurrencySlot:
    """A concurrency slot among the executions of a flow.

    Attributes:
        key: The concurrency key that the executions share.
        most: The concurrency limit.
        is_queued: The execution waits for a free slot.
    """

    key: str
    most: int
    is_queued: bool = False


class ConcurrencyLimitReached(Exception):
    """The rejection of a new execution because the concurrency limit is reached; nothing was written."""


class ConcurrencyLimits(Protocol):
    """The executions that hold concurrency slots or wait for one, by their concurrency key."""

    async def has_free_slot(self, slot: ConcurrencySlot) -> bool:
        """Return whether a new execution would get the slot at the moment; only its append decides.

        Queued executions count, too, so that none is overtaken.
        """
        ...

    async def admit(self, key: str) -> tuple[ExecutionId, WorkspaceId] | None:
        """Give a free slot under ``key`` to the execution that has waited longest; return it with its workspace."""
        ...

    async def holding_slot(self, key: str) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Return the running executions that hold a slot under ``key``, with their workspaces."""
        ...

    async def queued_keys(self) -> Sequence[str]:
        """Return the concurrency keys with queued executions."""
        ...

    async def last_queued(self, key: str) -> ExecutionId | None:
        """Return the newest of the executions that are queued under ``key``."""
        ...

    async def older_with_key(self, id: ExecutionId) -> Sequence[ExecutionId]:
        """Return unfinished executions with the concurrency key of ``id`` that are older, the oldest first.

        There are none if ``id`` has ended or does not exist.
        """
        ...
