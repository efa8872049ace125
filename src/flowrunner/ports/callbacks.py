"""The store of callbacks and of their deliveries, and the sender of e-mails."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NewType, Protocol, TypeAlias

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.callbacks import Format
from flowrunner.domain.values import JSON, ExecutionId, FlowId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import Seal, SealedSecret, WrappedKey

CallbackId = NewType("CallbackId", str)
DeliveryId = NewType("DeliveryId", str)
DeliveryState: TypeAlias = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackView:
    """A callback without its secrets.

    Attributes:
        address: The URL without the parts that could be credentials.
        flow_id: The only flow that it reports; None for all.
        tag: Report only flows with this tag; None for all.
        children: Report child executions, too.
        template: The message, in the format `template`.
        disabled_at: When it was disabled; None if it is enabled.
        disabled_reason: Why the server has disabled it; None if a person has.
        failures: Failed attempts in a row.
        failing_since: The first of them.
        has_flow: The flow that it reports, if that is one, is in its workspace.
        last_error: The `error` of the message that was tried last; None if it has none, or only older messages than
            the newest ones were tried.
    """

    id: CallbackId
    workspace_id: WorkspaceId
    name: str
    events: Sequence[str]
    format: Format
    address: str
    flow_id: FlowId | None = None
    tag: str | None = None
    children: bool = False
    template: JSON = None
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    failures: int = 0
    failing_since: datetime | None = None
    has_flow: bool = True
    last_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedCallback:
    """A callback with its sealed URL and signing secret."""

    view: CallbackView
    workspace_name: str
    sealed: SealedSecret
    data_key: WrappedKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """A message to a receiver.

    Attributes:
        seq: Number of the execution's event that it reports.
        details: The details of an event that belongs to no execution.
        is_readable: False if there are details that cannot be read.
        noted_at: When the event was recorded.
        retry_until: No attempt begins later; None before the first one.
        next_at: When the next attempt is due; None if there is none.
        status_code: Status of the receiver's last answer.
        error: Kind of the last failure, without any text of the receiver; of a delivered e-mail, the recipients that
            the server has refused.
    """

    id: DeliveryId
    workspace_id: WorkspaceId
    callback_id: CallbackId
    event: str
    execution_id: ExecutionId | None = None
    seq: int | None = None
    subject: str | None = None
    details: Mapping[str, JSON] | None = None
    is_readable: bool = True
    noted_at: datetime
    state: DeliveryState = "pending"
    attempts: int = 0
    retry_until: datetime | None = None
    next_at: datetime | None = None
    last_at: datetime | None = None
    status_code: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAttempt:
    """The outcome of an attempt.

    Attributes:
        has_succeeded: The receiver took the message.
        next_at: When to try again; None for never.
        paused_until: The receiver gets no message before.
        is_of_receiver: The receiver caused the failure, which therefore counts for its callback.
    """

    id: DeliveryId
    callback_id: CallbackId
    at: datetime
    has_succeeded: bool
    retry_until: datetime
    next_at: datetime | None = None
    paused_until: datetime | None = None
    is_of_receiver: bool = True
    status_code: int | None = None
    error: str | None = None


class CallbackStore(Protocol):
    """Callbacks of workspaces."""

    async def create(self, callback: CallbackView, seal: Seal, *, most: int, audit: Audit = None) -> None:
        """Raises: NotFound for no such workspace; LimitReached if it has ``most`` already."""
        ...

    async def page(self, workspace_id: WorkspaceId, *, page: Page) -> tuple[Sequence[CallbackView], int]:
        """Return a page of callbacks, the oldest first, and the total."""
        ...

    async def get(self, workspace_id: WorkspaceId, id: CallbackId) -> SealedCallback:
        """Raises: NotFound."""
        ...

    async def change(
        self,
        workspace_id: WorkspaceId,
        id: CallbackId,
        change: Callable[[CallbackView], CallbackView],
        *,
        seal: Seal | None = None,
        sealed: bytes | None = None,
        audit: Audit = None,
    ) -> CallbackView:
        """Replace a callback by the result of ``change``; return it.

        Args:
            seal: Makes its new credentials from the present ones, which are ``sealed``.

        Raises: NotFound; Conflict if other credentials were stored meanwhile.
        """
        ...

    async def delete(self, workspace_id: WorkspaceId, id: CallbackId, *, audit: Audit = None) -> None:
        """Delete a callback with its deliveries, of which there may be few: other writes wait. Raises: NotFound."""
        ...

    async def of_deleted_workspaces(self, *, limit: int) -> Sequence[tuple[WorkspaceId, CallbackId]]:
        """Return at most ``limit`` callbacks whose workspaces were deleted; nothing is sent by them."""
        ...

    async def disable(
        self, id: CallbackId, *, at: datetime, reason: str, notice: Mapping[str, JSON], audit: AuditEntry | None = None
    ) -> None:
        """Disable a callback after its failures, and report that to other callbacks; one that is disabled stays so.

        Its first pending deliveries fail; `fail_pending` must follow for the others.
        """
        ...


class CallbackDeliveryStore(Protocol):
    """Deliveries of callbacks.

    A commit that ends an execution, lets it wait or asks for an approval adds the deliveries that report it.
    """

    async def some(self, workspace_id: WorkspaceId, id: CallbackId, *, limit: int) -> Sequence[DeliveryId]:
        """Return at most ``limit`` deliveries of a callback, in no order."""
        ...

    async def delete(self, workspace_id: WorkspaceId, ids: Sequence[DeliveryId]) -> None: ...

    async def page(
        self, workspace_id: WorkspaceId, id: CallbackId, *, page: Page
    ) -> tuple[Sequence[DeliveryView], int]:
        """Return a page of deliveries, the newest first, and the total. Raises: NotFound."""
        ...

    async def redeliver(
        self, workspace_id: WorkspaceId, id: CallbackId, delivery_id: DeliveryId, *, audit: Audit = None
    ) -> DeliveryView:
        """Make a delivery due again. Raises: NotFound."""
        ...

    async def add(self, delivery: DeliveryView) -> None:
        """Add a delivery without an event. Raises: NotFound if its callback was deleted."""
        ...

    async def next_due(self, *, after: CallbackId, limit: int) -> tuple[datetime | None, bool, CallbackId | None]:
        """Return when the next delivery of some callbacks is due, and whether any callback is enabled.

        Args:
            after, limit: As for `due_callbacks`, which says too what the last value is.
        """
        ...

    async def due_callbacks(
        self, *, now: datetime, after: CallbackId, limit: int
    ) -> tuple[Sequence[tuple[WorkspaceId, CallbackId]], CallbackId | None]:
        """Return callbacks with due deliveries, in the order of their ids, from after one of them.

        Args:
            limit: Callbacks with deliveries, due or not, that are looked at.

        Returns:
            The callbacks, and the last one that was looked at; None instead of that if there are no more.
        """
        ...

    async def due(self, id: CallbackId, *, now: datetime, limit: int) -> Sequence[DeliveryView]:
        """Return deliveries of a callback that are due, in the order in which they became due."""
        ...

    async def record(self, attempt: DeliveryAttempt) -> None:
        """Record the outcome of an attempt."""
        ...

    async def fail_pending(self, id: CallbackId, *, at: datetime, disabled_before: datetime) -> bool:
        """Fail some pending deliveries of a callback that was given up; return whether there may be more.

        That is one that `disable` has disabled, or that a person has disabled before ``disabled_before``.
        """
        ...

    async def given_up(self, *, disabled_before: datetime) -> Sequence[CallbackId]:
        """Return callbacks that were given up, as for `fail_pending`, and that have pending deliveries."""
        ...

    async def old(self, *, before: datetime, limit: int) -> Sequence[DeliveryId]:
        """Return deliveries that ended before then, the first ones first."""
        ...

    async def surplus(
        self, *, after: CallbackId, most: int, limit: int
    ) -> tuple[Sequence[DeliveryId], CallbackId | None]:
        """Return at most ``limit`` ended deliveries beyond the newest of their callbacks.

        Also return the callback after which to go on once they are deleted; None at the end.

        Args:
            after: Leave out callbacks up to this id.
        """
        ...

    async def delete_ended(self, ids: Sequence[DeliveryId]) -> None:
        """Delete deliveries, except those that are due again."""
        ...
