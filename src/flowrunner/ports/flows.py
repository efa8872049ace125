"""The store of flows and their revisions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias, assert_never

from flowrunner.domain.flow import Flow
from flowrunner.domain.flow_tools import FlowTool, PublishedFlow
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.triggers import Trigger, TriggerId
from flowrunner.domain.values import AccountId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page

FlowSort: TypeAlias = Literal["created_at", "name", "updated_at"]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class FlowName(NamedTuple):
    """A flow by its id and name."""

    id: FlowId
    name: str


@static_dataclass(frozen=True, slots=True, kw_only=True)
class FlowView:
    """A flow without its definition.

    Attributes:
        disabled_at: When it was disabled, since which it starts no executions; None if it is enabled.
    """

    id: FlowId
    name: str
    description: str
    version: str
    tags: Sequence[str]
    created_at: datetime
    updated_at: datetime
    revision: int = 1
    disabled_at: datetime | None = None


@static_dataclass(frozen=True, slots=True, kw_only=True)
class SavedFlow(FlowView):
    """A flow with its definition.

    Attributes:
        revision: Number of the definition's revision, set by the store.
        saved_by: The account that saved that revision.
        edition: Number of changes of any kind, the creation included, set by the store.
        triggers: The triggers of a definition that is to be saved, each with the id that it gets if it is new; None if
            the definition stays.
        tool: How agents find the flow; None if they do not.
        secret_names: The secrets that the definition names. The store writes them with a new revision, and leaves them
            out when it reads a flow.
        config_names: The configuration values that it names, in the same way.
    """

    definition: str
    revision_id: RevisionId
    saved_by: AccountId
    edition: int = 1
    triggers: Mapping[TriggerId, Trigger] | None = field(default=None, compare=False, repr=False)
    secret_names: Sequence[str] = field(default=(), compare=False)
    config_names: Sequence[str] = field(default=(), compare=False)
    tool: FlowTool | None = None

    @property
    def state(self) -> str:
        """Return a text that differs after every change, for preconditions such as `If-Match`."""
        return f"{self.revision}.{self.edition}"

    def after(self, before: "SavedFlow") -> "SavedFlow":
        """Return this flow with the numbers that follow those of the stored one."""
        is_new_revision = self.revision_id != before.revision_id
        return replace(self, revision=before.revision + is_new_revision, edition=before.edition + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    """A definition that a flow has or had.

    Attributes:
        number: Number within the flow, from 1; the number of a deleted revision is not used again.
        version: The author's label.
        size: Bytes of the definition.
    """

    number: int
    version: str
    size: int
    created_at: datetime
    created_by: AccountId
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRevision(RevisionView):
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedChange:
    """A change of the flow that has a name, or its creation.

    Attributes:
        change: Returns the new flow, given the stored one, or None if no flow has the name; raises `InvalidFlows` if it
            cannot be. Called on another thread.
        size: Bytes of the new definition. A stored definition of another size is not read, and is then empty. None
            reads it in any case.
    """

    name: str
    change: Callable[[SavedFlow | None], SavedFlow]
    size: int | None


class FlowChange(NamedTuple):
    """A flow before and after a change; both are equal if it changes nothing.

    Attributes:
        before: None if the flow is created.
    """

    before: SavedFlow | None
    after: SavedFlow


class Deployment(NamedTuple):
    """The changes of flows by their names in one transaction, and the flows that it deletes."""

    changes: Sequence[FlowChange]
    deleted: Sequence[FlowId]


class CurrentFlow(NamedTuple):
    """The current revision of a flow, the flow's name, and whether it may start executions.

    Attributes:
        is_paused: The installation starts none.
    """

    revision_id: RevisionId
    name: str
    is_disabled: bool
    is_paused: bool


@static_dataclass(frozen=True, slots=True, kw_only=True)
class FlowFilter:
    """The flows that a list selects, and their order.

    Attributes:
        name: Those with this name.
        text: Those with this text in their name or description, regardless of case.
        tags: Those with all of these tags.
        sort: The order, which `Page.is_reversed` reverses. Names sort by code point; equal ones by id.
    """

    name: str | None = None
    text: str | None = None
    tags: Sequence[str] = ()
    sort: FlowSort = "created_at"

    def position(self, flow: FlowView) -> str:
        """Return the position of a flow in this order: the cursor of the page after it."""
        match self.sort:
            case "created_at":
                return flow.id
            case "name":
                return f"{flow.id}:{flow.name}"
            case "updated_at":
                return f"{flow.id}:{(flow.updated_at - _EPOCH) // timedelta(milliseconds=1)}"
            case _:
                assert_never(self.sort)


ALL_FLOWS: Final = FlowFilter()


class Definitions(Protocol):
    """The documents of flows."""

    async def definition(self, workspace_id: WorkspaceId, revision_id: RevisionId) -> str:
        """Raises: NotFound."""
        ...


class FlowStore(Definitions, Protocol):
    async def create(
        self, workspace_id: WorkspaceId, flow: SavedFlow, *, most: int | None = None, audit: Audit = None
    ) -> None:
        """Raises: NotFound if the workspace does not exist; LimitReached if it has ``most`` flows already."""
        ...

    async def update(
        self, workspace_id: WorkspaceId, id: FlowId, change: Callable[[SavedFlow], SavedFlow], *, audit: Audit = None
    ) -> SavedFlow:
        """Replace the flow with the result of ``change`` in one transaction; return the new flow.

        Another ``revision_id`` adds a revision.

        Args:
            change: Called on another thread with the stored flow. An exception leaves the flow unchanged.

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
        """Delete the flow.

        Args:
            check: Called on another thread with the stored flow. An exception leaves the flow unchanged.

        Raises:
            NotFound.
        """
        ...

    async def get(self, workspace_id: WorkspaceId, id: FlowId) -> SavedFlow:
        """Raises: NotFound."""
        ...

    async def deploy(
        self,
        workspace_id: WorkspaceId,
        changes: Sequence[NamedChange],
        *,
        at: datetime,
        delete: Sequence[FlowId] = (),
        most: int | None = None,
        audit: Audit = None,
    ) -> Deployment:
        """Make all changes and delete flows in one transaction, or nothing if one of the changes raises.

        A flow that stays equal is not written.

        Args:
            delete: Those that the workspace does not have are ignored.

        Raises:
            NotFound: If the workspace does not exist.
            Conflict: If several flows have one of the names, a change is one of a deleted flow, or a flow cannot be a
                tool.
            InvalidFlow: If chains of triggers are a loop.
            LimitReached: If the workspace would have more than ``most`` flows.
        """
        ...

    async def plan_deployment(
        self,
        workspace_id: WorkspaceId,
        changes: Sequence[NamedChange],
        *,
        at: datetime,
        delete: Sequence[FlowId] = (),
        most: int | None = None,
    ) -> Deployment:
        """Return what `deploy` would do, and write nothing. Raises: as `deploy`."""
        ...

    async def check_writable(self, workspace_id: WorkspaceId, changes: Sequence[FlowChange]) -> None:
        """Raises: as `deploy` where other flows decide: Conflict for a tool, InvalidFlow for a chain."""
        ...

    async def named(self, workspace_id: WorkspaceId, name: str) -> SavedFlow:
        """Raises: NotFound; Conflict if several flows have the name."""
        ...

    async def current(self, workspace_id: WorkspaceId, id: FlowId) -> CurrentFlow:
        """Raises: NotFound."""
        ...

    async def called(self, workspace_id: WorkspaceId, id_or_name: str) -> Sequence[FlowId]:
        """Return the flow with that id, or otherwise at most two flows with that name."""
        ...

    async def tools(self, workspace_id: WorkspaceId) -> Sequence[PublishedFlow]:
        """Return the flows that agents find as tools and may start, sorted by the names of the tools."""
        ...

    async def revision_named(self, workspace_id: WorkspaceId, id: FlowId, version: str | int) -> RevisionId:
        """Return the revision with that number, or the latest one with that label. Raises: NotFound."""
        ...

    async def revisions(
        self, workspace_id: WorkspaceId, id: FlowId, *, page: Page
    ) -> tuple[Sequence[RevisionView], int]:
        """Return a page of revisions, the newest first, and the total. Raises: NotFound."""
        ...

    async def revision(self, workspace_id: WorkspaceId, id: FlowId, number: int) -> SavedRevision:
        """Raises: NotFound if the flow or the revision does not exist."""
        ...

    async def revision_before(self, workspace_id: WorkspaceId, id: FlowId, number: int) -> SavedRevision | None:
        """Return the latest revision before ``number`` that was not deleted; None if there is none."""
        ...

    async def delete_revision(
        self, workspace_id: WorkspaceId, id: FlowId, number: int, *, at: datetime, audit: Audit = None
    ) -> None:
        """Delete a definition and keep its number reserved. No execution can start with it afterwards.

        Raises:
            NotFound: If the flow or the revision does not exist.
            Conflict: If the revision is current, or an open execution runs it.
        """
        ...

    async def check_deletable(self, workspace_id: WorkspaceId, id: FlowId, number: int) -> None:
        """Raises: as `delete_revision`."""
        ...

    async def page(
        self, workspace_id: WorkspaceId, wanted: FlowFilter = ALL_FLOWS, *, page: Page
    ) -> tuple[Sequence[FlowView], int]:
        """Return a page of flows, the oldest first, and the total."""
        ...

    async def unread(self, *, limit: int) -> Sequence[tuple[WorkspaceId, FlowId, RevisionId, str]]:
        """Return flows whose current revision has no recorded names of secrets and values yet, with its definition."""
        ...

    async def keep_names(
        self,
        workspace_id: WorkspaceId,
        id: FlowId,
        revision_id: RevisionId,
        *,
        secrets: Sequence[str],
        config: Sequence[str],
    ) -> None:
        """Record the secrets and configuration values that a revision names, if it is still the current one."""
        ...

    async def purge(self, *, limit: int) -> bool:
        """Erase deleted flows that have no executions left, at most ``limit`` definitions.

        Return whether any were erased, so that there may be more.
        """
        ...


class CompiledFlows(Protocol):
    """Compiled flows by revision."""

    async def get(self, workspace_id: WorkspaceId, revision_id: RevisionId) -> Flow:
        """Raises: NotFound; InvalidFlow if the language no longer accepts the definition."""
        ...
