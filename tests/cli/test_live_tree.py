"""What is shown of the nodes of an execution while it runs: a tree on a terminal, and lines elsewhere."""

import os
import pty
import shutil
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import click
import pytest

from flowrunner.api.event_messages import message_of
from flowrunner.cli import live
from flowrunner.cli.live import LiveTree, PlainLines, View
from flowrunner.domain.events import (
    ErrorValue,
    Event,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
)
from flowrunner.domain.values import ExecutionId
from flowrunner.domain.waits import ApprovalWait, SignalWait, TimeWait
from flowrunner.ports.journal import Recorded
from support.databases import NOON

BUSY: Final = ErrorValue(type="http.503", message="busy")


def of(step: str, type: str = "log", attempt: int = 1) -> dict[str, Any]:
    """Return the place of a step such as `each.1[0]/push.1`, as its events name it."""
    scope, _, name = step.rpartition("/")
    node, _, iteration = name.rpartition(".")
    return {"node": node, "node_type": type, "iteration": int(iteration), "attempt": attempt, "scope": scope}


def started(step: str, **more: Any) -> NodeStarted:
    return NodeStarted(**of(step, **more))


def completed(step: str, action: str = "default") -> NodeCompleted:
    return NodeCompleted(**of(step), action=action, result=None)


def opened(step: str, *keys: str) -> ScopesOpened:
    return ScopesOpened(**of(step, "foreach"), keys=keys, inputs=[None] * len(keys), concurrency=2, needed=len(keys))


def ended(scope: str) -> ScopeEnded:
    return ScopeEnded(scope=scope, outcome="completed")


def messages(events: Sequence[Event]) -> Iterator[Mapping[str, Any]]:
    """Return what the server sends of the events, which are half a second apart."""
    for n, event in enumerate(events):
        recorded = Recorded(seq=n + 1, at=NOON + timedelta(seconds=n / 2), event=event, data=b"{}")
        yield message_of(ExecutionId("exec-1"), recorded)


def show(view: View, events: Sequence[Event]) -> None:
    for each in messages(events):
        view.add(each)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal has 100 columns, and no time passes beside that of the events."""
    monkeypatch.setattr(live, "_terminal_size", lambda: os.terminal_size((100, 24)))
    monkeypatch.setattr(live, "monotonic", lambda: 7.0)


TREES: Final[Sequence[tuple[Sequence[Event], Sequence[str]]]] = [
    ([started("a.1")], ["a.1 running 0 ms"]),
    ([started("a.1"), completed("a.1")], ["a.1 completed 500 ms"]),
    (
        [started("a.1"), completed("a.1", "rejected"), started("b.1")],
        ["a.1 completed 500 ms --rejected-->", "b.1 running 0 ms"],
    ),
    ([started("a.1"), NodeFailed(**of("a.1"), error=BUSY, retry_at=NOON)], ["a.1 retrying 0 ms busy"]),
    (
        [started("a.1"), NodeFailed(**of("a.1"), error=BUSY, retry_at=NOON), started("a.1", attempt=2)],
        ["a.1 running 0 ms"],
    ),
    ([started("a.1"), NodeFailed(**of("a.1"), error=BUSY)], ["a.1 failed 500 ms busy"]),
    (
        [started("a.1"), NodeWaiting(**of("a.1"), wait_for=SignalWait("paid"))],
        ["a.1 waiting 0 ms for the signal 'paid'"],
    ),
    (
        [started("a.1"), NodeWaiting(**of("a.1"), wait_for=ApprovalWait("Ship it?"))],
        ['a.1 waiting 0 ms for an approval: "Ship it?"'],
    ),
    ([started("a.1"), NodeWaiting(**of("a.1"), wait_for=TimeWait(NOON))], ["a.1 waiting 0 ms (delay)"]),
    # A node has the number of its runs that have ended, and those that run are below it.
    (
        [
            started("each.1"),
            opened("each.1", "0", "1", "2"),
            started("each.1[0]/a.1"),
            started("each.1[1]/a.1"),
            completed("each.1[0]/a.1"),
            ended("each.1[0]"),
        ],
        ["each.1 running 0 ms 1/3", "[1] a.1 running 0 ms"],
    ),
    (
        [
            started("each.1"),
            opened("each.1", "0", "1"),
            started("each.1[1]/in.1"),
            opened("each.1[1]/in.1", "0", "1", "2"),
            started("each.1[1]/in.1[0]/a.1"),
            ended("each.1[1]/in.1[0]"),
            started("each.1[1]/in.1[1]/a.1"),
            ended("each.1[1]/in.1[1]"),
            started("each.1[1]/in.1[2]/a.1"),
        ],
        ["each.1 running 0 ms 0/2", "[1] in.1 running 0 ms 2/3", "[2] a.1 running 0 ms"],
    ),
    (
        [
            started("each.1"),
            opened("each.1", "1", "10"),
            started("each.1[1]/a.1"),
            started("each.1[10]/a.1"),
            ended("each.1[1]"),
        ],
        ["each.1 running 0 ms 1/2", "[10] a.1 running 0 ms"],
    ),
    (
        [
            started("fork.1"),
            opened("fork.1", "left", "right"),
            started("fork.1[left]/a.1"),
            NodeFailed(**of("fork.1[left]/a.1"), error=BUSY),
            ScopeEnded(scope="fork.1[left]", outcome="failed", error=BUSY),
        ],
        ["fork.1 running 0 ms 1/2"],
    ),
    # The flow itself ends so before its handlers run.
    (
        [started("a.1"), completed("a.1"), ended(""), started("on_finish/b.1")],
        ["a.1 completed 500 ms", "[on_finish] b.1 running 0 ms"],
    ),
]


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize(("events", "rows"), TREES)
def test_the_tree_has_each_node_as_its_events_leave_it(
    events: Sequence[Event], rows: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with LiveTree(colour=False) as tree:
        show(tree, events)

    lines = click.unstyle(capsys.readouterr().err).splitlines()
    assert [" ".join(line.split()) for line in lines] == rows


@pytest.mark.parametrize(
    ("events", "lines"),
    [
        ([started("each.1[0]/a.1", attempt=2), completed("each.1[0]/a.1")],
         ["start each.1[0]/a.1 (log, attempt 2)", "done  each.1[0]/a.1 in 0.500 s"]),
        ([started("a.1"), started("b.1"), completed("a.1", "no")],
         ["start a.1 (log)", "start b.1 (log)", "done  a.1 --no--> in 1.000 s"]),
        ([NodeFailed(**of("a.1"), error=BUSY, retry_at=NOON + timedelta(seconds=2.5))], ["retry a.1 in 2.5 s"]),
        # The log has a line with it.
        ([NodeFailed(**of("a.1"), error=BUSY), ended("each.1[0]"), opened("each.1", "0")], []),
        ([NodeWaiting(**of("a.1"), wait_for=SignalWait("paid"))], ["wait  a.1 for the signal 'paid'"]),
    ],
)  # fmt: skip
def test_a_line_is_printed_for_each_event_that_a_reader_wants_to_know(
    events: Sequence[Event], lines: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with PlainLines(colour=False) as view:
        show(view, events)

    printed = click.unstyle(capsys.readouterr().err).splitlines()
    assert [line.partition(" ")[2] for line in printed] == lines


def test_the_tree_has_the_size_of_the_terminal_that_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, other = pty.openpty(), pty.openpty()
    for (_, terminal), size in ((shown, (30, 70)), (other, (40, 90))):
        termios.tcsetwinsize(terminal, size)
    with open(shown[1], "w") as err, open(other[1], "w") as out, open(shown[0], "rb"), open(other[0], "rb"):
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setattr(sys, "stdout", out)
        assert live._terminal_size() == (70, 30)
        # Some terminals do not know theirs.
        termios.tcsetwinsize(shown[1], (0, 0))
        assert live._terminal_size() == shutil.get_terminal_size()
