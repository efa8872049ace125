"""Durations in answers: whole milliseconds, of days too."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest

from flowrunner.api.execution_answers import ExecutionAnswer
from flowrunner.api.node_trials import TrialAnswer
from flowrunner.api.overview import RecentExecutionAnswer
from flowrunner.api.steps import AttemptAnswer, StepListItem
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId, milliseconds
from flowrunner.ports.executions import ExecutionView
from flowrunner.ports.node_trials import Trial
from flowrunner.ports.overview import RecentExecution
from flowrunner.services.steps import AttemptView, StepView
from support.databases import NOON

DAYS: Final = timedelta(days=2, hours=3, seconds=1, microseconds=7_999)
WRITTEN: Final = (51 * 3600 + 1) * 1000 + 7


@pytest.mark.parametrize(
    ("duration", "written"),
    [
        (timedelta(0), 0),
        (timedelta(microseconds=999), 0),
        (timedelta(milliseconds=1), 1),
        (timedelta(seconds=59, milliseconds=999), 59_999),
        (DAYS, WRITTEN),
        (timedelta(days=400), 400 * 86_400_000),
    ],
)
def test_a_duration_is_written_in_whole_milliseconds(duration: timedelta, written: int) -> None:
    assert milliseconds(duration) == written


def step() -> Any:
    return StepListItem.of(
        StepView(
            id=1, step="a.1", node="a", node_type="delay", scope="", parent=None, status="completed", attempts=1,
            started_at=NOON, completed_at=NOON + DAYS, queued=DAYS, action=None, error=None, input=None, result=None,
            wait=None, scopes=None, input_edited_by=None,
        )
    )  # fmt: skip


def attempt() -> Any:
    return AttemptAnswer.of(
        AttemptView(attempt=1, status="completed", started_at=NOON, completed_at=NOON + DAYS, retry_at=None, error=None)
    )


def recent() -> Any:
    return RecentExecutionAnswer.of(
        RecentExecution(id=ExecutionId("exec-1"), status=Status.COMPLETED, started_at=NOON, completed_at=NOON + DAYS)
    )


def execution() -> Any:
    view = ExecutionView(
        id=ExecutionId("exec-1"), flow_id=FlowId("flow-1"), status=Status.COMPLETED, started_at=NOON,
        completed_at=NOON + DAYS, error=None,
    )  # fmt: skip
    return ExecutionAnswer.of(view)


def trial() -> Any:
    return TrialAnswer.of(
        Trial(status="completed", has_effects=False, node_type="log", started_at=NOON, ended_at=NOON + DAYS)
    )


@pytest.mark.parametrize(
    ("made", "field"),
    [
        (step, "duration"), (step, "queued"), (attempt, "duration"), (recent, "duration"), (execution, "duration"),
        (trial, "duration"),
    ],
)  # fmt: skip
def test_an_answer_has_all_of_a_long_duration(made: Callable[[], Any], field: str) -> None:
    assert getattr(made(), field) == WRITTEN
