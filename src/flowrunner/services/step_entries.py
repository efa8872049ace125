"""Steps, their attempts and waits, and the places of their values, as the index of an execution holds them."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from flowrunner.domain.events import Step


class StoredPlace(NamedTuple):
    """The place of a JSON value in the events.

    Attributes:
        seq: Number of the event.
        member: Member of the event: `input`, `result`, or `inputs` with a ``position``.
        size: Bytes of the value.
        event_size: Bytes of the event.
        name: Member of the member; only in `collected`.
    """

    seq: int
    member: str
    size: int
    event_size: int
    position: int = 0
    name: str = ""


class StoredValue(msgspec.Struct, frozen=True):
    """A JSON value: a place in the events, or a list of the values at several places."""

    places: Sequence[StoredPlace]
    is_list: bool = False

    @property
    def size(self) -> int:
        inner = sum(place.size for place in self.places)
        return inner + max(len(self.places) - 1, 0) + 2 if self.is_list else inner


# Structs are made in a third of the time of dataclasses: there is one for each attempt, wait and step.
class AttemptEntry(msgspec.Struct):
    """An attempt of a step. Args: error_seq: The event of its failure. error_size: Bytes of that event."""

    number: int
    started_at: datetime
    status: str = "running"
    ended_at: datetime | None = None
    error_seq: int | None = None
    error_size: int = 0
    retry_at: datetime | None = None


class WaitEntry(msgspec.Struct):
    """A wait of a step.

    Attributes:
        seq: The event of the wait.
        missing: The number of signals or answers that end it; one rejection ends it, too.
        received_seq: The event of the signal or the answer that ended it.
    """

    seq: int
    since: datetime
    key: str | None
    size: int
    missing: int = 1
    received_seq: int | None = None
    received_size: int = 0


class ScopeCounts(msgspec.Struct):
    """Numbers of a step's own scopes."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    def add(self, outcome: str, number: int) -> None:
        """Count scopes that have ended."""
        match outcome:
            case "completed":
                self.completed += number
            case "failed":
                self.failed += number
            case _:
                self.cancelled += number


class ScopeInputs(msgspec.Struct):
    """The inputs of the scopes that an event has opened. There may be thousands, so places are made on demand.

    Attributes:
        event_size: Bytes of the event.
        sizes: Bytes of each input, in the order of the event.
        positions: Positions of the inputs that were not taken, by the key of the scope.
    """

    seq: int
    event_size: int
    sizes: Sequence[int]
    positions: dict[str, int]

    def take(self, key: str) -> StoredPlace:
        """Return the place of the input of a scope that starts. Raises: KeyError."""
        position = self.positions.pop(key)
        return StoredPlace(self.seq, "inputs", self.sizes[position], self.event_size, position)


class OwnScopes(msgspec.Struct):
    """The own scopes of a step that has not ended.

    Attributes:
        inputs: Inputs of the scopes that have not started.
        active: Keys of the running scopes.
        parts: Places of the parts collected from them, by key.
    """

    opened_at: datetime
    inputs: ScopeInputs
    active: set[str] = msgspec.field(default_factory=set)
    parts: dict[int, StoredPlace] = msgspec.field(default_factory=dict)


class StepEntry(msgspec.Struct):
    """A step. Its ``id`` is the number of its first event.

    Attributes:
        parent: The step whose scope it belongs to.
        ready_at: The moment from which it could have started.
        notice: The scope of the node that its approval notifies, while that runs.
        input_edited_by: The account that has edited its input for the rerun that begins at it.
    """

    id: int
    step: Step
    node_type: str
    parent: int | None
    ready_at: datetime
    started_at: datetime
    input: StoredValue
    status: str = "running"
    ended_at: datetime | None = None
    action: str | None = None
    error_type: str | None = None
    result: StoredValue | None = None
    attempts: list[AttemptEntry] = msgspec.field(default_factory=list)
    waits: list[WaitEntry] = msgspec.field(default_factory=list)
    scopes: ScopeCounts | None = None
    own: OwnScopes | None = None
    notice: str | None = None
    input_edited_by: str | None = None


class OpenScope(msgspec.Struct):
    """A scope that has not ended. Args: value: The input of its next step. current: Its latest step."""

    value: StoredValue
    ready_at: datetime
    owner: StepEntry | None = None
    current: StepEntry | None = None
