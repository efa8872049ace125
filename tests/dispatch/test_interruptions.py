"""The log of interrupted executions."""

import asyncio

import pytest
from structlog.testing import capture_logs

from flowrunner.dispatch import interruptions as log
from flowrunner.dispatch.interruptions import Interruptions
from flowrunner.domain.values import ExecutionId


async def test_what_one_reason_interrupts_is_one_line_with_the_first_ids_and_the_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log, "_SECONDS", 0.0)
    interruptions = Interruptions()
    with capture_logs() as lines:
        for number in range(300):
            interruptions.add(ExecutionId(f"exec-{number}"), "it has moved on")
        interruptions.add(ExecutionId("exec-other"), "the database is away")
        while not lines:  # noqa: ASYNC110 # the log has no event to wait for
            await asyncio.sleep(0)
        # At the end, too, of what is left.
        interruptions.add(ExecutionId("exec-last"), "it stops")
        interruptions.write()

    assert lines == [
        {
            "event": "execution.interrupted",
            "log_level": "warning",
            "execution_ids": ids,
            "count": count,
            "reason": reason,
        }
        for ids, count, reason in [
            ([f"exec-{number}" for number in range(20)], 300, "it has moved on"),
            (["exec-other"], 1, "the database is away"),
            (["exec-last"], 1, "it stops"),
        ]
    ]
