"""The memory that the executions of this process hold together, with a bound for one workspace and for all."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from flowrunner.domain.values import WorkspaceId

MOST_BYTES: Final = 1024 * 1024 * 1024
# Changes of an execution that are not counted.
UNCOUNTED_BYTES: Final = 64 * 1024
# For the handlers of executions that end because of a bound.
_BYTES_OF_HANDLERS: Final = 64 * 1024 * 1024


def _nothing() -> None:
    """Do nothing."""


class MemoryShare:
    """The counted memory of one execution.

    Attributes:
        bytes: What it holds.
        chosen: How often it was chosen to end: the first time its flow ends, the second time its handlers too.
        excess: Which bound it was chosen for.
        on_chosen: Called when it was chosen.
    """

    def __init__(self, held: "HeldMemory", workspace_id: WorkspaceId) -> None:
        self.workspace_id = workspace_id
        self.bytes = 0
        self.chosen = 0
        self.excess = ""
        self.on_chosen: Callable[[], object] = _nothing
        self._held = held
        self._has_left = False

    def count(self, size: int) -> None:
        """Set what the execution holds; if that is too much together, the largest execution is chosen to end."""
        if not self._has_left:
            self._held.change(self, size)

    def leave(self) -> None:
        """Count the execution no more."""
        self.count(0)
        self._has_left = True


@dataclass(slots=True)
class _Workspace:
    bytes: int = 0
    shares: set[MemoryShare] = field(default_factory=set)


class HeldMemory:
    """The memory of all executions in memory.

    Args:
        most: Bytes of all, of which one workspace may hold half; None for no limit.
    """

    def __init__(self, most: int | None = MOST_BYTES) -> None:
        self._most = most
        self._bytes = 0
        self._workspaces: dict[WorkspaceId, _Workspace] = {}

    def share(self, workspace_id: WorkspaceId) -> MemoryShare:
        return MemoryShare(self, workspace_id)

    def change(self, share: MemoryShare, size: int) -> None:
        of = self._workspaces.setdefault(share.workspace_id, _Workspace())
        grown, share.bytes = size - share.bytes, size
        self._bytes += grown
        of.bytes += grown
        if size:
            of.shares.add(share)
        else:
            of.shares.discard(share)
            if not of.shares:
                del self._workspaces[share.workspace_id]
        if grown > 0 and self._most is not None:
            if of.bytes > self._most // 2:
                self._choose(of, of.bytes, self._most // 2, "The executions of this workspace")
            if self._bytes > self._most:
                largest = max(self._workspaces.values(), key=lambda one: one.bytes)
                self._choose(largest, self._bytes, self._most, "All executions of this server")

    def _choose(self, of: _Workspace, held: int, most: int, whose: str) -> None:
        """Choose the largest execution of a workspace to end."""
        largest = max(of.shares, key=lambda share: (share.bytes, share.chosen))
        if largest.chosen and held <= most + _BYTES_OF_HANDLERS:
            # It is ending.
            return
        largest.chosen += 1
        largest.excess = f"{whose} hold more than {most // 1024**2} MiB of memory together, and this one most of it"
        if largest.chosen > 1:
            # Nothing delays its end any more.
            largest.leave()
        largest.on_chosen()
