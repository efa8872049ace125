"""The inbox of executions: messages of processes that do not have them in memory."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.values import ExecutionId
from flowrunner.ports.dispatch import Cancel, Signal


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """A signal or cancel request from a process that does not have the execution in memory."""

    number: int
    execution_id: ExecutionId
    content: Signal | Cancel


class Inbox(Protocol):
    """Messages to executions that other processes have in memory.

    A message is deleted once its effect is durable: see `Append.messages`. A rejected message is marked and kept until
    its sender has read the answer.
    """

    async def send(self, id: ExecutionId, content: Signal | Cancel, *, at: datetime) -> int:
        """Store a message, which must not contain secrets, and return its number. Raises: NotFound."""
        ...

    async def unread(self, ids: Collection[ExecutionId]) -> Sequence[InboxMessage]:
        """Return the messages in the order in which they were sent."""
        ...

    async def reject(self, number: int, fencing_token: int) -> None:
        """Mark a message as rejected. Ignored if another process owns the execution: see `Journal.acquire`."""
        ...

    async def discard(self, number: int, fencing_token: int) -> None:
        """Delete a message whose answer no sender waits for. Ignored if another process owns the execution."""
        ...

    async def answer(self, number: int) -> bool | None:
        """Return True if the message was accepted or is gone, False if it was rejected, None while it is open."""
        ...

    async def cancel(self, number: int) -> bool:
        """Delete a message; return False if it was gone already."""
        ...

    async def waiting(self, *, since: datetime, limit: int) -> Sequence[ExecutionId]:
        """Return unfinished executions with messages that were sent at ``since`` or before."""
        ...

    async def purge(self, *, before: datetime, limit: int) -> bool:
        """Delete at most ``limit`` old messages that no worker will read; return whether there may be more.

        These are rejected ones, and those to executions that have ended.
        """
        ...
