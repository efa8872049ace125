"""The diagrams of docs/states.md, compared with the transition tables and with what the code allows."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from docs.pages import DOCS, first_words, section
from flowrunner.domain.causes import Requested
from flowrunner.domain.events import (
    ErrorValue,
    Event,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopesOpened,
    SignalReceived,
    Started,
    Step,
)
from flowrunner.domain.status import STEP_TRANSITIONS, TRANSITIONS, Status, StepStatus
from flowrunner.domain.transitions import IllegalEvent, replay
from flowrunner.domain.waits import SignalWait

E = TypeVar("E")

STATES = DOCS / "states.md"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_the_diagram_of_an_execution_shows_every_transition_and_no_other() -> None:
    arrows = arrows_of("An execution")

    assert between(arrows) == {(before.value, after.value) for before in TRANSITIONS for after in TRANSITIONS[before]}
    assert [after for before, after in arrows if before == "[*]"] == ["running"]
    assert {before for before, after in arrows if after == "[*]"} == {s.value for s in Status if s.is_final}


def test_the_diagram_of_a_step_shows_every_transition_and_no_other() -> None:
    arrows = arrows_of("A step")
    table = STEP_TRANSITIONS

    assert between(arrows) == {(before.value, after.value) for before in table for after in table[before]}
    assert [after for before, after in arrows if before == "[*]"] == ["running"]
    assert {before for before, after in arrows if after == "[*]"} == {s.value for s in StepStatus if not table[s]}


def test_every_state_is_explained() -> None:
    assert set(first_words(section(STATES, "An execution"))) == {s.value for s in Status}
    assert set(first_words(section(STATES, "A step"))) == {s.value for s in StepStatus}


def test_a_step_changes_exactly_as_its_table_says() -> None:
    started, failed = event(NodeStarted), event(NodeFailed, error=ErrorValue(type="e", message=""))
    completed = event(NodeCompleted, action="default", result=None)
    waiting = event(NodeWaiting, wait_for=SignalWait("go"))
    opened = event(ScopesOpened, keys=(), inputs=(), concurrency=1, needed=0)
    retrying, skipped = replace(failed, retry_at=NOON), replace(completed, skipped=True)
    assert waiting.signal_key is not None
    signal = SignalReceived(key=waiting.signal_key, payload=None)
    changes: Sequence[Event] = (
        replace(started, attempt=2), replace(started, attempt=2, interrupted=True),
        failed, completed, waiting, opened, retrying, skipped, signal,
    )  # fmt: skip
    paths: dict[StepStatus, Sequence[Event]] = {
        StepStatus.RUNNING: (started,),
        StepStatus.RETRYING: (started, retrying),
        StepStatus.WAITING: (started, waiting),
        StepStatus.RESUMING: (started, waiting, signal),
        StepStatus.OPEN: (started, opened),
        StepStatus.COMPLETED: (started, completed),
        StepStatus.SKIPPED: (started, skipped),
        StepStatus.FAILED: (started, failed),
    }

    for status, path in paths.items():
        assert status_after(path) is status
        assert set(followers(path, changes)) == STEP_TRANSITIONS[status], status
    assert paths.keys() == STEP_TRANSITIONS.keys()


def followers(path: Sequence[Event], changes: Sequence[Event]) -> Iterator[StepStatus]:
    """Yield the status after each change that may follow; a signal that no step waits for changes none."""
    for change in changes:
        try:
            after = status_after([*path, change])
        except IllegalEvent:
            continue
        if not isinstance(change, SignalReceived) or after is not status_after(path):
            yield after


def status_after(path: Sequence[Event]) -> StepStatus:
    start = Started(node="a", node_type="test", input={}, cause=Requested(by=None))
    return replay([(happened, NOON) for happened in (start, *path)]).at(Step("a", 1)).status


def event(kind: Callable[..., E], **values: Any) -> E:
    return kind(node="a", node_type="test", iteration=1, attempt=1, **values)


def arrows_of(title: str) -> Sequence[tuple[str, str]]:
    (diagram,) = re.findall(r"^```mermaid\n(.*?)^```$", section(STATES, title), re.MULTILINE | re.DOTALL)
    arrows = re.findall(r"^\s*(\S+) --> (\S+)$", diagram, re.MULTILINE)
    assert len(arrows) == len(set(arrows))
    return arrows


def between(arrows: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    return {arrow for arrow in arrows if "[*]" not in arrow}
