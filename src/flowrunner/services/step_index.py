"""A compact index of the steps of an execution, made from its events without keeping their values."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.events import (
    HANDLERS,
    ON_FAILURE,
    ON_FINISH,
    ROOT,
    Admitted,
    Cancelled,
    Completed,
    Failed,
    InputEdited,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
    Started,
    Step,
)
from flowrunner.domain.waits import ApprovalWait, parse_signal_key
from flowrunner.ports.event_codec import PartialDecoder, decode_event, type_of
from flowrunner.ports.steps import StoredEvent
from flowrunner.services.step_entries import (
    AttemptEntry,
    OpenScope,
    OwnScopes,
    ScopeCounts,
    ScopeInputs,
    StepEntry,
    StoredPlace,
    StoredValue,
    WaitEntry,
)

# Waits of a step that are kept, the latest ones: a node that polls waits very often.
KEPT_WAITS: Final = 20
# Bytes of memory that an entry and a place are estimated at.
_ENTRY_BYTES: Final = 900
_ATTEMPT_BYTES: Final = 200
_PLACE_BYTES: Final = 150


class NotIndexable(FlowRunnerError):
    """The events of an execution do not follow from each other, or cannot be read."""


class _ErrorType(msgspec.Struct):
    type: str = ""


class _Fields(msgspec.Struct, gc=False):
    """The fields of any event that the index needs; values are not decoded."""

    node: str = ""
    node_type: str = ""
    iteration: int = 1
    attempt: int = 1
    scope: str = ROOT
    input: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    action: str = "default"
    skipped: bool = False
    collected: dict[str, msgspec.Raw] | None = None
    keys: list[str] = msgspec.field(default_factory=list)
    inputs: list[msgspec.Raw] = msgspec.field(default_factory=list)
    not_before: datetime | None = None
    error: _ErrorType | None = None
    retry_at: datetime | None = None
    outcome: str = ""
    part_bytes: int | None = None
    key: str | None = None
    by: str | None = None


_FIELDS: Final = PartialDecoder(_Fields)
# Names of ended attempts and steps.
COMPLETED, SKIPPED, FAILED, CANCELLED = "completed", "skipped", "failed", "cancelled"


class StepIndex:
    """The steps of an execution, or of some of its scopes, in the order of their starts.

    Attributes:
        seq: Number of the last event that is indexed.
        has_signals: Steps may have received signals by a key that others wait for, too.
        weight: Estimated bytes of memory.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.weight = 0
        self.ids: list[int] = []
        self.has_ended = False
        self.has_signals = False
        self._steps: dict[int, StepEntry] = {}
        self._by_name: dict[str, int] = {}
        self._by_scope: dict[str, list[int]] = {}
        self._scopes: dict[str, OpenScope] = {}
        self._waiting: dict[str, list[StepEntry]] = {}
        self._early: dict[str, list[tuple[int, int]]] = {}
        self._names: dict[str, str] = {}
        self._edited: dict[str, tuple[StoredValue, str | None]] = {}

    def __getitem__(self, id: int) -> StepEntry:
        return self._steps[id]

    def get(self, id: int) -> StepEntry | None:
        return self._steps.get(id)

    def named(self, name: str) -> StepEntry | None:
        """Return the step with a full name, such as `each.1[4]/push.1`."""
        id = self._by_name.get(name)
        return None if id is None else self._steps[id]

    def in_scope(self, scope: str) -> Sequence[int]:
        """Return the ids of the steps that belong to a scope itself, not to a scope inside it."""
        return self._by_scope.get(scope, ())

    def entries(self) -> Iterator[StepEntry]:
        return iter(self._steps.values())

    def add(self, events: Sequence[StoredEvent]) -> None:
        """Add the next events. Raises: NotIndexable."""
        for event in events:
            if event.seq <= self.seq:
                continue
            try:
                self._apply(event)
            except (KeyError, ValueError, msgspec.MsgspecError, UnicodeError) as error:
                raise NotIndexable(f"Event {event.seq} of this execution cannot be read") from error
            self.seq = event.seq

    def add_ended(self, ended: Mapping[tuple[str, str], int]) -> None:
        """Count scopes whose steps are not indexed here. Raises: NotIndexable."""
        for (name, outcome), number in ended.items():
            owner = self.named(name)
            if owner is None:
                raise NotIndexable(f"Nothing has opened the ended scopes of {name}")
            # The scope of a node that an approval notifies is not counted.
            if owner.scopes is not None:
                owner.scopes.add(outcome, number)

    def _apply(self, event: StoredEvent) -> None:
        type = type_of(event.type)
        if type is None or type == Logged.type:
            # A log line, or an event of a newer version, belongs to nothing that is shown here.
            return
        fields = _FIELDS.decode(event.type, event.data)
        apply = _OF_STEP.get(type)
        if apply is not None:
            name = f"{fields.node}.{fields.iteration}"
            apply(self, event, fields, f"{fields.scope}/{name}" if fields.scope else name)
            return
        match type:
            case ScopeEnded.type:
                self._end_scope(event, fields)
            case SignalReceived.type:
                self._receive(event, fields.key or "")
            case Started.type:
                self._scopes[ROOT] = OpenScope(_whole(event, "input", fields.input), event.at)
            case Admitted.type:
                self._scopes[ROOT].ready_at = event.at
            case Completed.type | Failed.type | Cancelled.type:
                self.has_ended = True
                for scope in list(self._scopes):
                    self._leave(scope, event.at)

    def _edit(self, event: StoredEvent, fields: _Fields, name: str) -> None:
        self._edited[name] = _whole(event, "input", fields.input), fields.by
        self.weight += _PLACE_BYTES

    def _start(self, event: StoredEvent, fields: _Fields, name: str) -> None:
        known_id = self._by_name.get(name)
        if known_id is not None:
            known = self._steps[known_id]
            if known.attempts[-1].ended_at is None:
                known.attempts[-1].status = "interrupted"
            known.status, known.error_type = "running", None
        else:
            scope = self._scopes.get(fields.scope) or self._enter(fields.scope)
            text = self._names.setdefault(fields.scope, fields.scope)
            step = Step(self._names.setdefault(fields.node, fields.node), fields.iteration, text)
            known = StepEntry(
                id=event.seq,
                step=step,
                node_type=self._names.setdefault(fields.node_type, fields.node_type),
                parent=None if scope.owner is None else scope.owner.id,
                ready_at=scope.ready_at,
                started_at=event.at,
                input=scope.value,
            )
            if name in self._edited:
                known.input, known.input_edited_by = self._edited.pop(name)
            scope.current = known
            self.ids.append(event.seq)
            self._steps[event.seq] = known
            self._by_name[name] = event.seq
            self._by_scope.setdefault(text, []).append(event.seq)
            self.weight += _ENTRY_BYTES + 2 * len(fields.scope)
        self.weight += _ATTEMPT_BYTES
        known.attempts.append(AttemptEntry(fields.attempt, event.at))

    def _enter(self, scope: str) -> OpenScope:
        if scope in HANDLERS:
            root = self._scopes[ROOT]
            entered = OpenScope(root.value, root.ready_at)
        else:
            path, key = _owner_and_key(scope)
            owner = self._steps[self._by_name[path]]
            own = owner.own
            if own is not None:
                own.active.add(key)
                entered = OpenScope(StoredValue((own.inputs.take(key),)), own.opened_at, owner)
            elif owner.status == "waiting":
                # The scope of the node that its approval notifies.
                owner.notice = scope
                entered = OpenScope(owner.input, owner.waits[-1].since, owner)
            else:
                raise ValueError(scope)
        self._scopes[scope] = entered
        return entered

    def _complete(self, event: StoredEvent, fields: _Fields, name: str) -> None:
        entry = self._steps[self._by_name[name]]
        entry.action = self._names.setdefault(fields.action, fields.action)
        entry.result = _whole(event, "result", fields.result)
        if fields.collected is not None:
            others = {
                int(key): StoredPlace(event.seq, "collected", len(raw), len(event.data), name=key)
                for key, raw in fields.collected.items()
            }
            parts = {**(entry.own.parts if entry.own is not None else {}), **others}
            entry.result = StoredValue(tuple(parts[key] for key in sorted(parts)), is_list=True)
            self.weight += _PLACE_BYTES * len(others)
        self._end(entry, SKIPPED if fields.skipped else COMPLETED, event.at)
        self._scopes[fields.scope].value = entry.result

    def _fail(self, event: StoredEvent, fields: _Fields, name: str) -> None:
        entry = self._steps[self._by_name[name]]
        attempt = entry.attempts[-1]
        attempt.error_seq, attempt.error_size, attempt.retry_at = event.seq, len(event.data), fields.retry_at
        entry.error_type = fields.error.type if fields.error is not None else ""
        if fields.retry_at is None:
            self._end(entry, FAILED, event.at)
        else:
            self._stop_waiting(entry)
            attempt.status, attempt.ended_at, entry.status = FAILED, event.at, "retrying"

    def _end(self, entry: StepEntry, status: str, at: datetime) -> None:
        self._stop_waiting(entry)
        entry.status, entry.ended_at = status, at
        entry.attempts[-1].status, entry.attempts[-1].ended_at = status, at
        entry.own = None
        scope = self._scopes.get(entry.step.scope)
        if scope is not None:
            scope.ready_at = at

    def _wait(self, event: StoredEvent, fields: _Fields, name: str) -> None:
        entry, waiting = self._steps[self._by_name[name]], decode_event(event.type, event.data)
        assert isinstance(waiting, NodeWaiting), "the type decides"
        wait = WaitEntry(event.seq, event.at, waiting.signal_key, len(event.data))
        if isinstance(waiting.wait_for, ApprovalWait):
            wait.missing = waiting.wait_for.needed
        entry.waits = [*entry.waits[1 - KEPT_WAITS :], wait]
        self.weight += _ATTEMPT_BYTES
        entry.status = "waiting"
        if wait.key is None:
            return
        early = self._early.get(wait.key)
        if early:
            wait.received_seq, wait.received_size = early.pop(0)
            entry.status = "running"
        else:
            self._waiting.setdefault(wait.key, []).append(entry)

    def _receive(self, event: StoredEvent, key: str) -> None:
        self.has_signals = self.has_signals or parse_signal_key(key)[0] not in ("approval", "flow")
        waiting = self._waiting.get(key)
        if not waiting:
            self._early.setdefault(key, []).append((event.seq, len(event.data)))
            return
        if waiting[0].waits[-1].missing > 1 and _approves(event):
            waiting[0].waits[-1].missing -= 1
            return
        entry = waiting.pop(0)
        entry.status = "running"
        entry.waits[-1].received_seq, entry.waits[-1].received_size = event.seq, len(event.data)

    def _stop_waiting(self, entry: StepEntry) -> None:
        key = entry.waits[-1].key if entry.waits else None
        if entry.status == "waiting" and key is not None:
            self._waiting[key].remove(entry)

    def _open(self, event: StoredEvent, fields: _Fields, name: str) -> None:
        entry = self._steps[self._by_name[name]]
        positions = dict(zip(fields.keys, range(len(fields.inputs)), strict=True))
        inputs = ScopeInputs(event.seq, len(event.data), list(map(len, fields.inputs)), positions)
        before = entry.own
        entry.own = OwnScopes(max(event.at, fields.not_before or event.at), inputs)
        if before is not None:
            entry.own.parts = before.parts
        entry.scopes = entry.scopes or ScopeCounts()
        entry.scopes.total += len(fields.keys)
        self.weight += _PLACE_BYTES * len(positions)

    def _end_scope(self, event: StoredEvent, fields: _Fields) -> None:
        scope = self._scopes.get(fields.scope)
        if scope is None:
            # Its steps are not indexed here.
            owner = self._steps[self._by_name[_owner_and_key(fields.scope)[0]]]
            scope = OpenScope(owner.input, event.at, owner)
        self._leave(fields.scope, event.at)
        if scope.owner is None:
            # The handlers run after the flow itself, in its place, and those of any end after those of a failure.
            if fields.scope == ROOT and fields.outcome == COMPLETED:
                scope.value = _whole(event, "result", fields.result)
            self._scopes[fields.scope] = scope
            self._scopes[ROOT].ready_at = event.at
            return
        own, counts = scope.owner.own, scope.owner.scopes
        if own is None and scope.owner.waits:
            return
        if own is None or counts is None:
            raise ValueError(fields.scope)
        counts.add(fields.outcome, 1)
        if fields.outcome == COMPLETED and fields.part_bytes is not None:
            own.parts[int(_owner_and_key(fields.scope)[1])] = _whole(event, "result", fields.result).places[0]
            self.weight += _PLACE_BYTES

    def _leave(self, scope: str, at: datetime) -> None:
        """Close a scope and those inside it, and mark their open steps as cancelled."""
        left = self._scopes.pop(scope, None)
        if left is None:
            return
        current = left.current
        if current is not None and current.ended_at is None:
            for key in list(current.own.active if current.own is not None else ()):
                self._leave(current.step.child_scope(key), at)
            if current.notice is not None:
                self._leave(current.notice, at)
            self._end(current, CANCELLED, at)
        if left.owner is not None:
            left.owner.notice = None
            if left.owner.own is not None:
                left.owner.own.active.discard(_owner_and_key(scope)[1])


# What each event of a step changes, by its type. The last argument is the full name of the step.
_OF_STEP: Final[Mapping[str, Callable[[StepIndex, StoredEvent, _Fields, str], None]]] = {
    InputEdited.type: StepIndex._edit,
    NodeStarted.type: StepIndex._start,
    NodeCompleted.type: StepIndex._complete,
    NodeFailed.type: StepIndex._fail,
    NodeWaiting.type: StepIndex._wait,
    ScopesOpened.type: StepIndex._open,
}


def with_outer_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Return scopes and all that they are in, up to the flow itself, and what runs before them."""
    found = {ROOT}
    for inner in scopes:
        scope = inner
        while scope not in found:
            found.add(scope)
            scope = scope_of(_owner_and_key(scope)[0])
    if ON_FINISH in found:
        # It begins when that has ended.
        found.add(ON_FAILURE)
    return frozenset(found)


def scope_of(step: str) -> str:
    """Return the scope of a step's full name: `each.1[4]` of `each.1[4]/push.1`."""
    return step.rpartition("/")[0]


def _owner_and_key(scope: str) -> tuple[str, str]:
    """Return the full name of the step that owns a scope, and the scope's key: `each.1` and `4` of `each.1[4]`."""
    path, _, key = scope.rpartition("[")
    return path, key.removesuffix("]")


def _whole(event: StoredEvent, member: str, raw: msgspec.Raw) -> StoredValue:
    return StoredValue((StoredPlace(event.seq, member, len(raw), len(event.data)),))


def _approves(event: StoredEvent) -> bool:
    """Return whether an answer to an approval is an approval."""
    received = decode_event(event.type, event.data)
    assert isinstance(received, SignalReceived), "the type decides"
    return isinstance(received.payload, dict) and received.payload.get("approved") is True
