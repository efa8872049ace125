"""Reading of executions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.status import Status
from flowrunner.domain.values import AccountId, ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.page import Listed, Page

# Characters of an error in a list; the execution itself has the whole error.
LONGEST_LISTED_ERROR: Final = 2000
# Characters of an error's type, and of the name of a failed node, that lists show and find.
LONGEST_LISTED_NAME: Final = 200


@static_dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionView:
    """An execution as lists show it.

    Attributes:
        flow_name: The present name of its flow; None while the flow is in another workspace than the execution.
        revision: Number of the flow's revision that it runs.
        error_type: Type of the error; None also for a failure that an earlier version recorded without it.
        failed_node: Node of the error; None as ``error_type``.
        log_counts: Lines of its log by level, as a JSON text; None before the end, or for an end in an earlier version.
        trigger_id: The trigger that started it.
        rerun_of: The execution that it repeats.
        repaired_by: A later, completed execution that repeats it, or the one that it repeats.
        labels: Its labels, as a JSON text; None if it has none.
        waiting_at: The first wait, `{type, node}` as a JSON text, or `{type}` if it waits for a slot; None unless it
            waits for that or for an action from outside, or if an earlier version recorded the wait.
        started_by: The account whose request has started it; None if no account asked for it.
    """

    id: ExecutionId
    flow_id: FlowId
    status: Status
    started_at: datetime
    completed_at: datetime | None
    error: str | None
    flow_name: str | None = None
    revision: int | None = None
    error_type: str | None = None
    failed_node: str | None = None
    log_counts: bytes | None = None
    trigger_id: str | None = None
    rerun_of: ExecutionId | None = None
    repaired_by: ExecutionId | None = None
    labels: bytes | None = None
    parent_id: ExecutionId | None = None
    waiting_at: bytes | None = None
    started_by: AccountId | None = None


@static_dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFilter:
    """The executions that a list selects; None, or no status, selects all.

    Attributes:
        flow_id: Those of a flow.
        statuses: Those with one of these.
        first_id: Those with this id or a later one: ids sort by creation time.
        end_id: Those with an earlier id.
        error_type: Those that failed with this type of error.
        failed_node: Those that failed at this node.
        trigger_id: Those that a trigger started.
        rerun_of: Those that repeat an execution.
        parent_id: Those of sub-flows that an execution waits for, or has waited for.
        is_unrepaired: Those without a completed repeat.
        is_latest: Those without a later repeat: of an execution and its repeats the last one.
        has_no_parent: Those that no execution waits for, as it does for those of its sub-flows.
        terms: Those with all of these labels, searchable inputs and jobs, which `domain.labels` makes.
    """

    flow_id: FlowId | None = None
    statuses: Sequence[Status] = ()
    first_id: str | None = None
    end_id: str | None = None
    error_type: str | None = None
    failed_node: str | None = None
    trigger_id: str | None = None
    rerun_of: ExecutionId | None = None
    parent_id: ExecutionId | None = None
    is_unrepaired: bool = False
    is_latest: bool = False
    has_no_parent: bool = False
    terms: Sequence[tuple[str, str]] = ()


@static_dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionDetail(ExecutionView):
    """An execution with its input and result, which are JSON texts; the result is None before the end.

    Attributes:
        config: The configuration values that it reads, as a JSON text; None if its flow names none.
        last_seq: The number of its last event.
        revision_id: The revision of the flow that it runs, which may have been deleted.
        waiting_for: The waits of its steps or of the execution itself, as a JSON text.
        failure: The `Failed` event of a failed execution, as a JSON text.
    """

    last_seq: int
    input: bytes
    result: bytes | None
    revision_id: RevisionId
    config: bytes | None = None
    waiting_for: bytes | None = None
    failure: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of the log; ``data`` is a JSON text, or None."""

    seq: int
    timestamp: datetime
    level: str
    message: str
    node_id: str | None
    node_type: str | None
    data: bytes | None
    step: str | None = None
    attempt: int = 1


@static_dataclass(frozen=True, slots=True, kw_only=True)
class ListedLines(Listed[LogLine]):
    """A page of lines of the log. Attributes: last_seq: Number of the execution's last event when it was read."""

    last_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """The lines that a list selects; None, or no level, selects all.

    Attributes:
        levels: Those with one of these levels.
        node: Those of a node.
        step: Those of a step by its full name, and of the steps inside it.
        attempt: Those that an attempt with this number of any step wrote.
        text: Those with this text in their message, in upper or lower case.
    """

    levels: Sequence[LogLevel] = ()
    node: str | None = None
    step: str | None = None
    attempt: int | None = None
    text: str | None = None


class ExecutionReader(Protocol):
    async def get(self, workspace_id: WorkspaceId, id: ExecutionId) -> ExecutionDetail:
        """Raises: NotFound."""
        ...

    async def request(
        self, workspace_id: WorkspaceId, idempotency_key: str, earlier: str | None = None
    ) -> tuple[ExecutionId, str | None] | None:
        """Return the execution started with the key, in this form or an ``earlier`` one, and the digest of its request.

        Returns: None if the key is free.
        """
        ...

    async def keys(self, workspace_id: WorkspaceId, *, first: str, end: str) -> Collection[str]:
        """Return the keys of starts that sort from ``first`` on and before ``end``, as texts."""
        ...

    async def page(self, workspace_id: WorkspaceId, wanted: ExecutionFilter, page: Page) -> Listed[ExecutionView]:
        """Return a page of executions, the newest first.

        A long error is cut one character after `LONGEST_LISTED_ERROR`. The total is exact if the filter has a flow and
        statuses only; otherwise it may be a lower bound.
        """
        ...

    async def summaries(self, ids: Sequence[ExecutionId]) -> Sequence[tuple[WorkspaceId, ExecutionView]]:
        """Return executions of any workspaces, as lists show them, with their workspaces."""
        ...

    async def logs(
        self, workspace_id: WorkspaceId, id: ExecutionId, wanted: LogFilter, page: Page, *, most: int
    ) -> ListedLines:
        """Return the first ``most`` lines of a page, in the order of their events. Raises: NotFound, InvalidInput."""
        ...

    async def logs_after(
        self, workspace_id: WorkspaceId, id: ExecutionId, wanted: LogFilter, *, after: int, until: int, limit: int
    ) -> Sequence[LogLine]:
        """Return the lines after the event ``after``, up to the event ``until``.

        Raises: NotFound if the execution is being deleted, from its first event on.
        """
        ...
