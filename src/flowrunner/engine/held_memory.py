"""The memory that executions hold, with a bound for one, for a workspace, and for all of this process."""

import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from flowrunner.domain.events import ErrorValue
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.values import WorkspaceId

# Memory of the values that an execution holds, which may be thirty times their size as JSON.
MAX_EXECUTION_MEMORY: Final = 256 * 1024 * 1024
# For the handlers of an execution that ends because of a bound.
_MEMORY_OF_HANDLERS: Final = 64 * 1024 * 1024
_TOO_MUCH_MEMORY: Final = (
    f"The values of this execution take more than {MAX_EXECUTION_MEMORY // 1024**2} MiB of memory together"
)
MOST_BYTES: Final = 1024 * 1024 * 1024
# Changes of an execution that are not counted.
UNCOUNTED_BYTES: Final = 64 * 1024


def _nothing() -> None:
    """Do nothing."""


class MemoryShare:
    """The counted memory of one execution.

    Attributes:
        bytes: Memory that it holds.
        chosen: Number of times that it was chosen to end: first its flow ends, then its handlers, too.
        excess: The exceeded limit for which it was chosen.
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
        """Set the memory that the execution holds; if all hold too much, the largest execution is chosen to end."""
        if not self._has_left:
            self._held.change(self, size)

    def leave(self) -> None:
        """Stop counting the execution."""
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
        if largest.chosen and held <= most + _MEMORY_OF_HANDLERS:
            # It is ending.
            return
        largest.chosen += 1
        largest.excess = f"{whose} hold more than {most // 1024**2} MiB of memory together, and this one the most"
        if largest.chosen > 1:
            # From now on nothing delays its end.
            largest.leave()
        largest.on_chosen()


class ExecutionMemory:
    """The memory that one execution holds, and the limit that ends the execution if it is exceeded.

    Attributes:
        counted_bytes: What it held at the last count.
    """

    def __init__(self, held: HeldMemory, workspace_id: WorkspaceId, state: ExecutionState) -> None:
        self._held = held
        self._workspace_id = workspace_id
        self._state = state
        self._on_excess: Callable[[], object] = _nothing
        # None for most executions, which hold little.
        self._share: MemoryShare | None = None
        self.counted_bytes = 0
        self.count()

    def count(self) -> None:
        """Count what the execution holds now."""
        self.counted_bytes = held = self._state.held_bytes
        if self._share is None:
            if held <= UNCOUNTED_BYTES:
                return
            self._share = self._held.share(self._workspace_id)
            # An execution may be dropped before it advances.
            weakref.finalize(self, self._share.leave)
            self._share.on_chosen = self._on_excess
        self._share.count(held)

    def on_excess(self, wake: Callable[[], object]) -> None:
        """Call ``wake`` when the execution is chosen to end."""
        self._on_excess = wake
        if self._share is not None:
            self._share.on_chosen = wake

    def leave(self) -> None:
        """Stop counting the execution."""
        if self._share is not None:
            self._share.leave()

    def excess(self) -> ErrorValue | None:
        """Return the limit that is exceeded, if one is. The handlers have an allowance of their own."""
        held, chosen = self._state.held_bytes, 0 if self._share is None else self._share.chosen
        if held <= MAX_EXECUTION_MEMORY and not chosen:
            # Almost always.
            return None
        has_handlers = self._state.root.ended is not None
        if held > MAX_EXECUTION_MEMORY + (_MEMORY_OF_HANDLERS if has_handlers else 0):
            return _too_much_memory(self._state, _TOO_MUCH_MEMORY)
        # The first choice ends the flow, and the second one its handlers, too.
        if self._share is not None and chosen > int(has_handlers):
            return _too_much_memory(self._state, self._share.excess)
        return None


def _too_much_memory(state: ExecutionState, excess: str) -> ErrorValue:
    """Return the error of an execution that ends because of ``excess``, at the node that holds most memory."""
    held: Counter[str] = Counter()
    for frame in state.frames.values():
        for current in frame.steps.values():
            held[current.step.node] += current.all_held_bytes
    node = held.most_common(1)[0][0] if held else None
    most = "" if node is None else f". Of its nodes, {node!r} holds the most"
    message = (
        f"{excess}{most}. Keep only the part that you need of each result with 'output',"
        " or run fewer nodes and executions at the same time"
    )
    return ErrorValue(type="limit.memory", node=node, message=message)
