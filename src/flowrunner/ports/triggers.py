"""The store of triggers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import quoted
from flowrunner.domain.schedules import NextStart
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.triggers import FAILING_AFTER, Chain, Schedule, TriggerId, TriggerState, TriggerType
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.flows import CurrentFlow
from flowrunner.ports.page import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerView:
    """A trigger as it is stored.

    Attributes:
        spec: When it starts executions; None for a webhook, or if what is stored cannot be read.
        url_token: The secret part of its URL; None unless it is a webhook.
        removed_at: When it was removed from the flow's document, or the flow was deleted.
        flow_disabled_at: When the flow was disabled.
        due_at: The next due time; None if there is none at the moment.
        next_at: When the execution of that due time starts.
        last_at: When it last started an execution.
        failures: Failed starts since the last one that succeeded.
        error: Why the last start failed.
        skipped: Due times without a start, because an execution was open.
        missed: Due times without a start, because they were found too late.
        has_open_execution: The execution that it started last has not ended.
        listens_in_vain: It is armed for the ends of a flow that its workspace does not have, or no longer.
    """

    id: TriggerId
    workspace_id: WorkspaceId
    flow_id: FlowId
    flow_name: str
    name: str
    type: TriggerType
    spec: Schedule | Chain | None
    url_token: str | None
    paused_at: datetime | None
    removed_at: datetime | None
    flow_disabled_at: datetime | None
    due_at: datetime | None
    next_at: datetime | None
    last_at: datetime | None
    last_execution_id: ExecutionId | None
    failures: int
    error: str | None
    skipped: int
    missed: int
    revision_id: RevisionId
    has_open_execution: bool
    listens_in_vain: bool

    @property
    def position(self) -> str:
        """Return its position in lists: the cursor of the page after it."""
        return f"{self.flow_id}:{self.name}"

    @property
    def state(self) -> TriggerState:
        if self.removed_at is not None:
            return "ended"
        if self.paused_at is not None or self.flow_disabled_at is not None:
            return "paused"
        if self.type == "schedule" and self.next_at is None:
            return "ended"
        return "failing" if self.failures >= FAILING_AFTER else "armed"

    @property
    def warning(self) -> str | None:
        """Return why it starts nothing although it is armed, and what to do; None if it may start something."""
        if not self.listens_in_vain or not isinstance(self.spec, Chain):
            return None
        named = quoted(self.spec.flow)
        return f"Starts nothing: the workspace has no flow {named} (any more). Name another one in the flow's document"

    @property
    def is_armed(self) -> bool:
        """Return whether it starts executions, possibly in vain."""
        return self.state in ("armed", "failing")


@static_dataclass(frozen=True, slots=True, kw_only=True)
class HookTrigger:
    """The part of a webhook trigger that a request to it needs.

    Attributes:
        is_armed: It starts executions, possibly in vain.
        flow: Its flow, if that was read, too.
    """

    id: TriggerId
    workspace_id: WorkspaceId
    flow_id: FlowId
    name: str
    revision_id: RevisionId
    is_armed: bool
    flow: CurrentFlow | None = None


@static_dataclass(frozen=True, slots=True, kw_only=True)
class TriggerFire:
    """The change of a trigger in the transaction of the start that it causes.

    Attributes:
        due_at: The due time of a schedule, which must be the stored one; None for other starts.
        next: The due time that follows it.
        missed: The due times before it that start nothing.
        ended: The execution whose end is taken from the outbox; None for other starts.
        delivery: The request of a webhook; None for other starts, and for a replay.
        request: The content of that request, to be stored with the start; None if it is stored already.
    """

    trigger_id: TriggerId
    at: datetime
    due_at: datetime | None = None
    next: NextStart | None = None
    missed: int = 0
    ended: ExecutionId | None = None
    delivery: str | None = None
    request: bytes | None = None


class TriggerHasMoved(Exception):
    """The rejection of a start whose trigger has changed, because another process was faster."""


@static_dataclass(frozen=True, slots=True, kw_only=True)
class CompletedStart:
    """The latest completed execution of a schedule.

    Attributes:
        id: The execution that a due time has started, or a start by hand.
        completed: The execution that has completed: the same, or the rerun that has repaired it.
        size: The length of the completed one's last event, with its result.
    """

    id: ExecutionId
    completed: ExecutionId
    size: int


class ScheduleStore(Protocol):
    """The armed schedules, by the time at which they start an execution."""

    async def earliest(self) -> datetime | None:
        """Return when the first one is due; None if none is armed, or while the installation is paused."""
        ...

    async def due(self, *, at: datetime, limit: int, outside: Collection[WorkspaceId] = ()) -> Sequence[TriggerView]:
        """Return due ones, the one that has been due longest first. Args: outside: Leave these workspaces out."""
        ...

    async def last_completed(self, workspace_id: WorkspaceId, id: TriggerId, *, most: int) -> CompletedStart | None:
        """Return the latest of the ``most`` latest executions of a schedule that has completed, or was repaired.

        Those of backfills do not count. Return None if there is none.
        """
        ...

    async def advance(
        self, id: TriggerId, *, due_at: datetime, next: NextStart | None, missed: int = 0, skipped: int = 0
    ) -> bool:
        """Skip a due time; return False, and change nothing, if it is no longer the stored one."""
        ...

    async def fail(
        self,
        workspace_id: WorkspaceId,
        id: TriggerId,
        *,
        due_at: datetime,
        next: NextStart | None,
        missed: int = 0,
        error: str,
    ) -> int:
        """Skip a due time whose start has failed; return the failures in a row.

        Return 0, and change nothing, if the due time has changed, or the trigger is in another workspace now: the
        start failed because its flow was being moved.
        """
        ...


class TriggerStore(Protocol):
    async def page(
        self, workspace_id: WorkspaceId, *, flow_id: FlowId | None, type: TriggerType | None, page: Page
    ) -> tuple[Sequence[TriggerView], int]:
        """Return a page of triggers and the total. Those of the oldest flow come first, sorted by name."""
        ...

    async def get(self, workspace_id: WorkspaceId, id: TriggerId) -> TriggerView:
        """Raises: NotFound."""
        ...

    async def by_token(self, token: str) -> HookTrigger | None:
        """Return the webhook with this URL, and its flow; None if there is none."""
        ...

    async def set_paused(
        self, workspace_id: WorkspaceId, id: TriggerId, *, paused: bool, at: datetime, audit: AuditEntry | None = None
    ) -> TriggerView:
        """Pause a trigger, or arm it again as of ``at``, unless it is so already; return it. Raises: NotFound."""
        ...

    async def rotate(self, workspace_id: WorkspaceId, id: TriggerId, *, audit: Audit = None) -> TriggerView:
        """Give a webhook another URL; return it. Raises: NotFound; Conflict if the trigger is no webhook."""
        ...


@static_dataclass(frozen=True, slots=True, kw_only=True)
class EndedExecution:
    """The end of an execution, from the outbox, for a trigger that waits for it.

    Attributes:
        trigger: None if it is gone.
    """

    trigger_id: TriggerId
    execution_id: ExecutionId
    trigger: TriggerView | None


class EndStore(Protocol):
    """The ends of executions for which triggers wait. Database triggers write them in the transactions of the ends."""

    async def state(self) -> tuple[bool, bool]:
        """Return whether there are ends, and whether a trigger waits for any; a paused installation has no ends."""
        ...

    async def ends(
        self, *, limit: int, outside: Collection[WorkspaceId] = (), resting: Collection[TriggerId] = ()
    ) -> Sequence[EndedExecution]:
        """Return ends that have started nothing yet, in the order of the executions' ids.

        Args:
            outside: Leave out ends for the triggers of these workspaces.
            resting: Leave out ends for these triggers.
        """
        ...

    async def discard(self, end: EndedExecution) -> None: ...

    async def fail(self, end: EndedExecution, *, error: str) -> None:
        """Discard an end whose start has failed, and keep the reason with its trigger."""
        ...
