"""The store of requests to webhook triggers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NewType, Protocol, TypeAlias

from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.ports.page import Page

HookDeliveryId = NewType("HookDeliveryId", str)
HookState: TypeAlias = Literal["received", "started", "skipped", "repeated", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HookDelivery:
    """A request of a verified sender.

    Attributes:
        state: `received` until its outcome is known.
        execution_id: The execution that it, or an earlier request with the same key, started.
        error: Why it started none.
        size: Bytes of the request.
    """

    id: HookDeliveryId
    workspace_id: WorkspaceId
    trigger_id: TriggerId
    received_at: datetime
    state: HookState
    execution_id: ExecutionId | None = None
    error: str | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Refusals:
    """Requests that a trigger rejected: their number, and the last few."""

    count: int
    last: Sequence[Refusal]


class HookStore(Protocol):
    async def add(self, delivery: HookDelivery, request: bytes) -> bool:
        """Store a request, which is a JSON text.

        Return False, and store nothing, if a delivery with this id exists, or if the trigger is in another workspace
        now.
        """
        ...

    async def settle(self, delivery: HookDelivery) -> None:
        """Record the outcome of a request, and count a failure of its trigger if it has failed.

        Nothing is recorded of a request whose trigger has moved to another workspace since.
        """
        ...

    async def page(
        self, workspace_id: WorkspaceId, trigger_id: TriggerId, *, page: Page
    ) -> tuple[Sequence[HookDelivery], int]:
        """Return a page of deliveries, the newest first, and the total."""
        ...

    async def get(
        self, workspace_id: WorkspaceId, trigger_id: TriggerId, id: HookDeliveryId
    ) -> tuple[HookDelivery, Mapping[str, JSON]]:
        """Return a delivery and its request. Raises: NotFound; Conflict if it cannot be read."""
        ...

    async def received(
        self, *, before: datetime, limit: int, outside: Collection[WorkspaceId] = ()
    ) -> Sequence[HookDelivery]:
        """Return requests from before then without a known outcome, the oldest first, without their executions.

        Args:
            outside: Leave these workspaces out.
        """
        ...

    async def add_refusals(self, counts: Mapping[TriggerId, Refusals], *, most: int) -> None:
        """Add to the numbers of rejected requests, and keep the last ``most`` of each trigger."""
        ...

    async def refusals(self, trigger_id: TriggerId) -> Refusals: ...

    async def old(self, *, before: datetime, limit: int) -> Sequence[HookDeliveryId]:
        """Return requests from before then, the oldest first."""
        ...

    async def surplus(
        self, *, after: TriggerId, recent: datetime, most: int, limit: int
    ) -> tuple[Sequence[HookDeliveryId], TriggerId | None]:
        """Return at most ``limit`` requests beyond the newest of their triggers, or of triggers that are gone.

        Also return the trigger after which to go on once they are deleted; None at the end.

        Args:
            after: Leave out triggers up to this id.
            recent: Requests since then are kept.
        """
        ...

    async def delete(self, ids: Sequence[HookDeliveryId]) -> None: ...

    async def purge_refusals(self, *, limit: int) -> bool:
        """Forget the rejected requests of at most ``limit`` triggers that are gone; return whether there are more."""
        ...
