"""The rounds of a workflow, without a Temporal server."""

from types import SimpleNamespace

import pytest
from temporalio import workflow

from flowrunner.dispatch.temporal.workflow import AdvanceResult, ExecutionWorkflow


async def test_an_advance_that_was_cut_off_is_repeated_at_once_and_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = [AdvanceResult(is_cut_off=True), AdvanceResult(due_in_seconds=5.0), AdvanceResult(is_over=True)]
    waited: list[float | None] = []

    async def advance(_: str) -> AdvanceResult:
        return results.pop(0)

    async def wait(_: str, seconds: float | None) -> None:
        waited.append(seconds)

    run = ExecutionWorkflow()
    monkeypatch.setattr(run, "_advance", advance)
    monkeypatch.setattr(run, "_wait", wait)
    monkeypatch.setattr(workflow, "info", lambda: SimpleNamespace(is_continue_as_new_suggested=lambda: False))

    await run.run("exec-1")

    assert (waited, results) == ([5.0], [])
