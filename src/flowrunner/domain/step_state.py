"""The states of steps and scopes within an execution."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from flowrunner.domain.events import ErrorValue, NodeWaiting, ScopeEnded, ScopesOpened, SignalReceived, Step
from flowrunner.domain.flow import Graph, Node
from flowrunner.domain.status import StepStatus
from flowrunner.domain.values import JSON
from flowrunner.domain.waits import ApprovalWait, WaitFor

# Runs of the node that one approval notifies.
MOST_NOTICES: Final = 100
# Memory for the results and errors of all runs of a step's own scopes.
MAX_HELD_BYTES: Final = 64 * 1024 * 1024


@dataclass(slots=True)
class ScopeProgress:
    """The progress of a step's own scopes.

    Attributes:
        inputs: Inputs of the scopes that have not started, by key, in the order of their starts.
        active: Keys of the running ones.
        results: Results of the completed ones, by key.
        errors: Errors of the failed ones, by key.
        failed_at: The step whose error was the last of those.
        failed_bytes: Memory of its input.
        kept_results: Results of the scopes that were open before these, by key, if they are kept.
        kept_errors: Errors of those.
        details: Those of the event, or those that are kept.
        parts: Collected parts, by key; for a loop that opens its scopes one by one, those of all scopes so far.
        part_bytes: Size of all parts.
        held_part_bytes: Memory of all parts.
        held_bytes: Memory of the results and errors.
    """

    opened: ScopesOpened
    inputs: dict[str, JSON]
    active: dict[str, None] = field(default_factory=dict)
    results: dict[str, JSON] = field(default_factory=dict)
    errors: dict[str, ErrorValue] = field(default_factory=dict)
    failed_at: "StepState | None" = None
    failed_bytes: int = 0
    kept_results: dict[str, JSON] = field(default_factory=dict)
    kept_errors: dict[str, ErrorValue] = field(default_factory=dict)
    details: JSON = None
    parts: dict[str, JSON] = field(default_factory=dict)
    part_bytes: int = 0
    held_part_bytes: int = 0
    held_bytes: int = 0

    @property
    def is_over_limit(self) -> bool:
        """Return whether the results and errors take more memory than allowed."""
        return self.held_bytes > MAX_HELD_BYTES

    @property
    def may_continue(self) -> bool:
        """Return whether enough scopes have ended for the step to continue."""
        ended = len(self.results) + len(self.errors)
        return ended == len(self.opened.keys) or (
            not self.opened.ignore_failures and len(self.results) >= self.opened.needed
        )

    @property
    def fatal(self) -> ErrorValue | None:
        """Return the error after which too few scopes can still complete; None if there is none."""
        if self.opened.ignore_failures or len(self.errors) <= len(self.opened.keys) - self.opened.needed:
            return None
        return next(reversed(self.errors.values()))

    @property
    def may_start_more(self) -> bool:
        """Return whether another scope may start."""
        return bool(self.inputs) and len(self.active) < self.opened.concurrency

    def first_node(self, key: str, graph: Graph) -> Node:
        """Return the node that the scope ``key`` begins with."""
        starts = self.opened.starts
        return graph.nodes[starts[self.opened.keys.index(key)] if starts else graph.start]

    @property
    def has_begun(self) -> bool:
        return len(self.inputs) < len(self.opened.keys)


@dataclass(slots=True)
class StepState:
    """The state of the latest run of a node.

    Attributes:
        input: The step's input.
        attempted_at: The start of the current attempt.
        attempts: Attempts so far, the current one included.
        failures: Attempts that ended with an error, which retries are counted by.
        interruptions: Attempts that a crash interrupted; of a loop, since its last round began.
        due_at: The moment of a retry, of the end of a wait, or of its scopes' start or timeout.
        waiting: The event of its wait.
        wait_seq: The number of that event.
        waits_since: Its time.
        is_link_revoked: The link to its approval is void.
        notices: Runs of the node that its approval notifies, so far.
        noticed_at: Start of the last of them.
        notice: The scope of the one that runs.
        signal: Payload of the signal of a step that resumes.
        answers: Answers to its approval so far.
        open: Its own scopes, while they are open.
        failed_at: The step inside it whose error became its own.
        before: The previous run of the node, until this one has ended.
        collected_bytes: Size of the result if it is a collected list; otherwise 0.
        held_bytes: Memory of the result or error; until it has one, of its wait or of the inputs of its scopes.
    """

    step: Step
    node_type: str
    status: StepStatus
    started_at: datetime
    input: JSON
    attempted_at: datetime
    attempts: int = 1
    failures: int = 0
    interruptions: int = 0
    due_at: datetime | None = None
    waiting: NodeWaiting | None = None
    wait_seq: int = 0
    waits_since: datetime | None = None
    is_link_revoked: bool = False
    notices: int = 0
    noticed_at: datetime | None = None
    notice: str | None = None
    signal: JSON = None
    answers: tuple[SignalReceived, ...] = ()
    open: ScopeProgress | None = None
    action: str | None = None
    is_last: bool = False
    result: JSON = None
    error: ErrorValue | None = None
    failed_at: "StepState | None" = None
    before: "StepState | None" = None
    collected_bytes: int = 0
    held_bytes: int = 0

    @property
    def all_held_bytes(self) -> int:
        """Return the memory that is free once the step is dropped."""
        size = self.held_bytes
        if self.open is not None:
            size += self.open.held_bytes + self.open.held_part_bytes + self.open.failed_bytes
        return size if self.before is None else size + self.before.held_bytes

    def collected(self, others: Mapping[str, JSON]) -> JSON:
        """Return the list of parts collected from the step's scopes, in their order.

        Args:
            others: Values for scopes without a part, by key.
        """
        parts = {**(self.open.parts if self.open is not None else {}), **others}
        return [parts[key] for key in sorted(parts, key=int)]

    @property
    def wait_for(self) -> WaitFor | None:
        """Return the wait of the step; None if it does not wait."""
        return None if self.waiting is None else self.waiting.wait_for

    @property
    def approval(self) -> ApprovalWait | None:
        """Return the approval that the step waits for; None if it waits for none."""
        return self.wait_for if isinstance(self.wait_for, ApprovalWait) else None

    @property
    def next_notice(self) -> str | None:
        """Return the scope of the next run of the node that its approval notifies; None if there is none."""
        wait = self.approval
        if wait is None or wait.notify is None or self.status is not StepStatus.WAITING:
            return None
        if self.notice is not None or self.notices == MOST_NOTICES:
            return None
        if self.is_link_revoked or (self.notices and wait.remind_seconds is None):
            return None
        return self.step.child_scope(f"notify.{self.notices + 1}")

    @property
    def waits_externally(self) -> bool:
        """Return whether the step waits for a signal or an answer to an approval from outside."""
        return self.waiting is not None and self.waiting.is_external


@dataclass(slots=True)
class Frame:
    """The state of one run of a scope.

    Attributes:
        owner: The step whose scope it is; None for the flow itself and its handlers.
        key: Key of the scope within its owner.
        item: The scope's input.
        cursor: The current node; None before the first.
        steps: The latest step of each visited node, by node.
        flowing: Input of the next node: the last result, or the item.
        error: Error of the last step that failed with no attempts left, which `${error}` reads.
        ended: The event of its end.
    """

    scope: str
    owner: Step | None
    key: str
    item: JSON
    flowing: JSON
    cursor: str | None = None
    steps: dict[str, StepState] = field(default_factory=dict)
    error: ErrorValue | None = None
    ended: ScopeEnded | None = None

    @property
    def current(self) -> StepState | None:
        return None if self.cursor is None else self.steps[self.cursor]
