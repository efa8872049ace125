"""The state of an execution, derived from its events."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop
from typing import assert_never

from flowrunner.domain.causes import StartCause
from flowrunner.domain.events import HANDLERS, ROOT, Cancelled, Completed, Ending, Failed, Step
from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.status import Status
from flowrunner.domain.step_state import Frame, StepState
from flowrunner.domain.values import JSON


@dataclass(slots=True)
class ExecutionState:
    """The state of one execution after its events; only `transitions.apply` changes it.

    Attributes:
        seq: Number of the last event.
        frames: The flow's own frame, and the frames of all open scopes, by scope.
        ready: Scopes with a decision to make, in the order they became ready.
        running: Steps with an attempt that is recorded as started but not as ended.
        timed: Steps that wait for their ``due_at`` or for a signal, each with a number that gives their order.
        last_timed: The last of these numbers.
        external: Steps that wait for somebody outside; some may have gone on.
        awaited: Heaps of the steps that wait for a signal, by its key; entries may be outdated.
        signals: Signals that no step has taken yet, by key.
        signal_bytes: Memory of those signals.
        held_bytes: Memory of the input, the variables, and the values of all steps that later ones can read.
        measured_bytes: Memory of all values that have been measured, which takes time.
        edited: Inputs that replace those of steps that have not started.
        requests: Digest of the request for each digest of an idempotency key that came with a signal.
        config: Configuration values of the workspace, as they were when it was created.
        vars: Variables set by `set` nodes.
        var_bytes: Memory of each.
        dues: Heap of due moments of steps; entries may be outdated.
        started_attempts: Attempts started so far, by budget: `ROOT` for the flow itself, or the handler. This bounds
            loops.
        log_counts: Number of log events by level.
        is_log_truncated: One of them says that lines are dropped from there on.
    """

    seq: int = 0
    started_at: datetime | None = None
    input: JSON = None
    cause: StartCause | None = None
    is_queued: bool = False
    flow_name: str = ""
    config: Mapping[str, JSON] = field(default_factory=dict)
    frames: dict[str, Frame] = field(default_factory=dict)
    ready: dict[str, None] = field(default_factory=dict)
    running: dict[Step, None] = field(default_factory=dict)
    timed: dict[Step, int] = field(default_factory=dict)
    last_timed: int = 0
    external: dict[Step, None] = field(default_factory=dict, compare=False)
    awaited: dict[str, list[tuple[int, Step]]] = field(default_factory=dict, compare=False)
    signals: dict[str, list[JSON]] = field(default_factory=dict)
    signal_bytes: int = 0
    held_bytes: int = 0
    measured_bytes: int = 0
    edited: dict[Step, JSON] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)
    vars: dict[str, JSON] = field(default_factory=dict)
    var_bytes: dict[str, int] = field(default_factory=dict)
    dues: list[tuple[datetime, Step]] = field(default_factory=list, compare=False)
    started_attempts: dict[str, int] = field(default_factory=dict)
    log_counts: dict[LogLevel, int] = field(default_factory=dict)
    is_log_truncated: bool = False
    ending: Ending | None = None

    @property
    def status(self) -> Status:
        match self.ending:
            case Completed():
                return Status.COMPLETED
            case Failed():
                return Status.FAILED
            case Cancelled():
                return Status.CANCELLED
            case None:
                return Status.WAITING if self.is_idle and self._waits_externally() else Status.RUNNING
            case _:
                assert_never(self.ending)

    def _waits_externally(self) -> bool:
        while self.external:
            step = next(iter(self.external))
            if step in self.timed and self.at(step).waits_externally:
                return True
            del self.external[step]
        return False

    @property
    def is_idle(self) -> bool:
        """Return whether the execution is idle until a moment in time or an event from outside."""
        if self.ending is not None:
            return False
        return self.is_queued or (bool(self.timed) and not self.running and not self.ready)

    @property
    def log_lines(self) -> int:
        """Return the number of log events, which is limited."""
        return sum(self.log_counts.values())

    @property
    def root(self) -> Frame:
        return self.frames[ROOT]

    @property
    def next_due(self) -> StepState | None:
        """Return the step that is due first; None if there is none."""
        while self.dues:
            due_at, step = self.dues[0]
            if step in self.timed and self.at(step).due_at == due_at:
                return self.at(step)
            heappop(self.dues)
        return None

    @property
    def due_at(self) -> datetime | None:
        """Return the moment at which the first step is due; None if there is none."""
        current = self.next_due
        return None if current is None else current.due_at

    def waiting_for(self, key: str) -> StepState | None:
        """Return the first step that waits for the signal with this key; None if none does."""
        entries = self.awaited.get(key)
        while entries:
            number, step = entries[0]
            if self.timed.get(step) == number:
                current = self.at(step)
                if current.waiting is not None and current.waiting.signal_key == key:
                    return current
            heappop(entries)
        self.awaited.pop(key, None)
        return None

    def at(self, step: Step) -> StepState:
        return self.frames[step.scope].steps[step.node]

    def visible(self, scope: str) -> Iterator[Frame]:
        """Yield the frames whose nodes are visible from a scope, the innermost first."""
        frame: Frame | None = self.frames[scope]
        while frame is not None:
            yield frame
            if frame.owner is not None:
                frame = self.frames[frame.owner.scope]
            else:
                frame = self.frames[ROOT] if frame.scope else None

    def within(self, scope: str) -> Iterator[Frame]:
        """Yield the frames of a scope and of all scopes inside it; the handlers are inside the flow."""
        if scope == ROOT:
            yield from self.frames.values()
            return
        frame = self.frames[scope]
        yield frame
        for current in frame.steps.values():
            for key in current.open.active if current.open is not None else ():
                yield from self.within(current.step.child_scope(key))
            if current.notice is not None:
                yield from self.within(current.notice)


def budget_of(scope: str) -> str:
    """Return the step budget of a scope: the handler that it belongs to, or `ROOT` for the flow itself."""
    if not scope:
        return ROOT
    outermost = scope.partition("/")[0]
    return outermost if outermost in HANDLERS else ROOT
