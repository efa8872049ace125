"""The lines that `flowrunner run --local` prints while a flow runs."""

from datetime import timedelta

import pytest

from flowrunner.cli.run import Progress
from flowrunner.domain.events import Event, NodeCompleted, NodeStarted
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import Recorded
from support.databases import NOON


def recorded(event: Event, seconds: float) -> Recorded:
    return Recorded(seq=1, at=NOON + timedelta(seconds=seconds), event=event, data=b"{}")


def test_the_time_of_a_step_does_not_depend_on_a_step_of_the_same_name_in_a_child_execution(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parent, child, progress = ExecutionId("parent"), ExecutionId("child"), Progress(quiet=False, colour=False)
    started = NodeStarted(node="a", node_type="log", iteration=1, attempt=1)
    completed = NodeCompleted(node="a", node_type="log", iteration=1, attempt=1, action="default", result=None)

    progress.watch(parent, [recorded(started, 0)])
    progress.watch(child, [recorded(started, 4), recorded(completed, 5)])
    progress.watch(parent, [recorded(completed, 6)])

    lines = [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["start a.1 (log)", "[1] start a.1 (log)", "[1] done  a.1 in 1.000 s", "done  a.1 in 6.000 s"]


def test_a_skipped_node_has_not_done_anything(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = NodeCompleted(
        node="a", node_type="log", iteration=1, attempt=1, action="skipped", result=None, skipped=True
    )

    Progress(quiet=False, colour=False).watch(ExecutionId("one"), [recorded(skipped, 0)])

    assert capsys.readouterr().err.splitlines()[0].partition(" ")[2] == "skip  a.1"
