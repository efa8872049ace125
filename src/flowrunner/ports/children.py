"""Executions that another execution waits for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from flowrunner.domain.values import ExecutionId


@dataclass(frozen=True, slots=True)
class UnreconciledChild:
    """A child execution and its parent; at most one of them has ended."""

    child: ExecutionId
    parent: ExecutionId
    child_has_ended: bool = False
    parent_has_ended: bool = False


class ChildExecutions(Protocol):
    """The executions that have a parent."""

    async def unreconciled(self, parent: ExecutionId | None = None) -> Sequence[UnreconciledChild]:
        """Return pairs of parent and child, one of which may have missed a notification of the other.

        Args:
            parent: The only parent to include; None for all.
        """
        ...
