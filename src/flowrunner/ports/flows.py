"""Flows and their revisions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from flowrunner.domain.flow import Flow
from flowrunner.domain.values import FlowId, RevisionId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowView:
    id: FlowId
    name: str
    description: str
    version: str
    tags: Sequence[str]
    created_at: datetime
    updated_at: datetime
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFlow(FlowView):
    """A flow with its definition.

    Attributes:
        revision: Number of the definition's revision. The store counts it, and `edition`.
        edition: Counts the changes of any kind, the making included.
    """

    definition: str
    revision_id: RevisionId
    edition: int = 1

    @property
    def state(self) -> str:
        """Another text after every change: whoever names it means the flow as it is now."""
        return f"{self.revision}.{self.edition}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    """A definition that a flow has or had.

    Attributes:
        number: Counted from 1 within the flow. No two ever have the same, deleted ones included.
        version: The author's label.
        size: Bytes of the definition.
    """

    number: int
    version: str
    size: int
    created_at: datetime
    created_by: WorkspaceId
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRevision(RevisionView):
    definition: str


class CurrentFlow(NamedTuple):
    """What an execution that is started now is bound to, and what its flow is called."""

    revision_id: RevisionId
    name: str


class FlowStore(Protocol):
    async def create(
        self, workspace_id: WorkspaceId, flow: SavedFlow, *, most: int | None = None, audit: Audit = None
    ) -> None:
        """Raises: NotFound for no such account; LimitReached if it has ``most`` flows already."""
        ...

    async def update(
        self, workspace_id: WorkspaceId, id: FlowId, change: Callable[[SavedFlow], SavedFlow], *, audit: Audit = None
    ) -> SavedFlow:
        """Put what ``change`` makes of the flow as it is at this moment in its place; gives that.

        Another ``revision_id`` makes a new revision.

        Args:
            change: Is called on another thread. What it raises leaves the flow as it was.

        Raises:
            NotFound.
        """
        ...

    async def delete(
        self,
        workspace_id: WorkspaceId,
        id: FlowId,
        *,
        at: datetime,
        check: Callable[[SavedFlow], None] | None = None,
        audit: Audit = None,
    ) -> None:
        """Delete the flow as it is at this moment.

        Args:
            check: Is called with it, on another thread. What it raises leaves the flow as it was.

        Raises:
            NotFound.
        """
        ...

    async def get(self, workspace_id: WorkspaceId, id: FlowId) -> SavedFlow:
        """Raises: NotFound."""
        ...

    async def current(self, workspace_id: WorkspaceId, id: FlowId) -> CurrentFlow:
        """Raises: NotFound."""
        ...

    async def called(self, workspace_id: WorkspaceId, id_or_name: str) -> Sequence[FlowId]:
        """Return the flow of that id, or else the flows of that name, of which two are enough."""
        ...

    async def revision_named(self, workspace_id: WorkspaceId, id: FlowId, version: str | int) -> RevisionId:
        """The revision of that number, or the latest with that label of its author. Raises: NotFound."""
        ...

    async def definition(self, workspace_id: WorkspaceId, revision_id: RevisionId) -> str:
        """Raises: NotFound."""
        ...

    async def revisions(
        self, workspace_id: WorkspaceId, id: FlowId, *, page: Page
    ) -> tuple[Sequence[RevisionView], int]:
        """The newest first, with the total. Raises: NotFound."""
        ...

    async def revision(self, workspace_id: WorkspaceId, id: FlowId, number: int) -> SavedRevision:
        """Raises: NotFound for no such flow, or no such revision of it."""
        ...

    async def revision_before(self, workspace_id: WorkspaceId, id: FlowId, number: int) -> SavedRevision | None:
        """The last one before ``number`` that was not deleted."""
        ...

    async def delete_revision(
        self, workspace_id: WorkspaceId, id: FlowId, number: int, *, at: datetime, audit: Audit = None
    ) -> None:
        """Forget a definition, but not its number. No execution can start with it any more.

        Raises:
            NotFound: For no such flow, or no such revision of it.
            Conflict: It is the current one, or an execution that is bound to it has not ended.
        """
        ...

    async def page(self, workspace_id: WorkspaceId, *, tag: str | None, page: Page) -> tuple[Sequence[FlowView], int]:
        """The oldest first, with the total."""
        ...

    async def purge(self, *, limit: int) -> bool:
        """Forget deleted flows of which no execution is left, with at most ``limit`` definitions.

        Whether there were any: then there may be more.
        """
        ...


class CompiledFlows(Protocol):
    """Flows that are ready to run, by revision."""

    async def get(self, workspace_id: WorkspaceId, revision_id: RevisionId) -> Flow:
        """Raises: NotFound, or InvalidFlow if the language has moved on since it was saved."""
        ...
