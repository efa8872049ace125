"""A comparison of the steps that the API shows with the state that the engine derives from the same events."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from flowrunner.domain.events import NodeCompleted, NodeStarted, Step
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.transitions import apply
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.steps import ScopeEvents, StoredEvent
from flowrunner.services.step_index import StepIndex
from flowrunner.services.step_values import StepReading
from flowrunner.storage.journal import event_of_row
from flowrunner.storage.rows import from_ms
from support.databases import Place, rows_of

_WHOLE = 2**60


class GivenEvents:
    """Implements `ports.StepEvents` for given events."""

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self._events = events

    async def after(self, id: ExecutionId, seq: int, *, limit: int, are_small: bool = False) -> Sequence[StoredEvent]:
        return [event for event in self._events if event.seq > seq][:limit]

    async def numbered(self, id: ExecutionId, seqs: Sequence[int]) -> Sequence[StoredEvent]:
        return [event for event in self._events if event.seq in set(seqs)]

    async def of_scopes(self, id: ExecutionId, seq: int, *, until: int, scopes: Collection[str]) -> ScopeEvents:
        raise NotImplementedError


def differing_steps(place: Place) -> list[str]:
    """Return how the indexed steps of each execution differ from its replayed events."""
    found = []
    for (id,) in rows_of(place, "SELECT id FROM executions ORDER BY id"):
        rows = rows_of(place, "SELECT seq, at, type, data FROM events WHERE execution_id = ? ORDER BY seq", id)
        found += [f"{id}: {difference}" for difference in asyncio.run(_differences(rows))]
    return found


async def _differences(rows: Sequence[Any]) -> list[str]:
    events = [StoredEvent(seq, from_ms(at), type, data.encode()) for seq, at, type, data in rows]
    state, index, reading = ExecutionState(), StepIndex(), StepReading()
    inputs: dict[str, Any] = {}
    ends: dict[str, tuple[str, Any]] = {}
    for row, stored in zip(rows, events, strict=True):
        event = event_of_row(*row)
        apply(state, event, stored.at)
        index.add([stored])
        match event:
            case NodeStarted(attempt=1):
                step = Step(event.node, event.iteration, event.scope)
                inputs[str(step)] = state.at(step).input
            case NodeCompleted():
                step = Step(event.node, event.iteration, event.scope)
                ends[str(step)] = state.at(step).status.value, state.at(step).result
    entries = list(index.entries())
    for entry in entries:
        reading.value(entry.input, most=_WHOLE)
        reading.value(entry.result, most=_WHOLE)
    await reading.read(GivenEvents(events), ExecutionId("any"))
    found = [] if [str(entry.step) for entry in entries] == list(inputs) else ["the steps are not the same"]
    for entry in entries:
        name = str(entry.step)
        if msgspec.json.decode(reading.text(entry.input, most=_WHOLE)) != inputs[name]:
            found.append(f"{name} has another input")
        is_final = entry.status in ("completed", "skipped")
        if is_final != (name in ends):
            found.append(f"{name} is {entry.status}")
        elif is_final:
            assert entry.result is not None
            shown = entry.status, msgspec.json.decode(reading.text(entry.result, most=_WHOLE))
            if shown != ends[name]:
                found.append(f"{name} has another end")
        if state.ending is not None and entry.ended_at is None:
            found.append(f"{name} is still {entry.status}")
    return found
