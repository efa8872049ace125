"""The stores of workspaces: keys with JSON values, which flows read and change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Protocol

from flowrunner.domain.store import StoreChange, StoreKey
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryView:
    """An entry of a store.

    Attributes:
        value: JSON text; None in a page.
        size: Bytes of the JSON text.
        expires_at: None if it does not expire.
        edition: Number of changes, the creation included.
    """

    at: StoreKey
    value: str | None
    size: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    edition: int

    @property
    def state(self) -> str:
        """Return a text that differs after every change, for preconditions such as `If-Match`."""
        # One that is deleted and created again within a millisecond has the same time and edition.
        value = blake2b((self.value or "").encode(), digest_size=6).hexdigest()
        return f"{round(self.created_at.timestamp() * 1000)}.{self.edition}.{value}"


# Called within the transaction, on another thread, with the entry or None. An exception changes nothing.
Check = Callable[[EntryView | None], None]


class StepStore(Protocol):
    """The stores of workspaces, as steps use them. An entry that has expired is not there."""

    async def value(self, workspace_id: WorkspaceId, at: StoreKey, *, now: datetime) -> str | None:
        """Return the value as JSON; None if there is no such entry."""
        ...

    async def keys(
        self, workspace_id: WorkspaceId, *, namespace: str, prefix: str, after: str, limit: int, now: datetime
    ) -> Sequence[str]:
        """Return the first ``limit`` keys after ``after`` that begin with ``prefix``, by their code points."""
        ...

    async def change(self, workspace_id: WorkspaceId, change: StoreChange, *, now: datetime) -> JSON:
        """Change an entry and return the result; a step that repeats its change gets the result of the first.

        Raises:
            NotChanged.
            LimitReached: The workspace would have too many keys, or store too much.
            Fenced: The execution of the step has ended.
            Unavailable: Also if the workspace was deleted.
        """
        ...


class EntryStore(StepStore, Protocol):
    """The stores of workspaces, as people see and change them."""

    async def get(self, workspace_id: WorkspaceId, at: StoreKey, *, now: datetime) -> EntryView:
        """Raises: NotFound."""
        ...

    async def page(
        self, workspace_id: WorkspaceId, *, namespace: str | None, prefix: str, page: Page, now: datetime
    ) -> tuple[Sequence[EntryView], int]:
        """Return a page of entries by namespace and key, without their values, and the total.

        Args:
            namespace: None for all.
            page: Its position is `5:space` before the key: the namespace after its length.

        Raises: InvalidInput for another position.
        """
        ...

    async def entries(
        self, workspace_id: WorkspaceId, *, after: StoreKey, limit: int, now: datetime
    ) -> Sequence[EntryView]:
        """Return the first ``limit`` entries after ``after`` by namespace and key, with their values."""
        ...

    async def save(
        self, workspace_id: WorkspaceId, change: StoreChange, *, now: datetime, check: Check, audit: Audit = None
    ) -> tuple[EntryView, bool]:
        """Write or replace an entry; return it and whether it is new. Raises: NotFound, LimitReached."""
        ...

    async def delete(
        self, workspace_id: WorkspaceId, at: StoreKey, *, now: datetime, check: Check, audit: Audit = None
    ) -> None:
        """Raises: NotFound."""
        ...

    async def purge(self, *, now: datetime) -> bool:
        """Delete some of the rows that nobody needs, and return whether there may be more.

        They are entries that have expired, or whose workspace was deleted, and results of steps of ended executions.
        """
        ...
