"""The log of interrupted executions."""

from structlog.testing import capture_logs

from flowrunner.dispatch.interruptions import Interruptions
from flowrunner.domain.values import ExecutionId


async def test_what_one_reason_interrupts_is_one_line_with_the_first_ids_and_the_number() -> None:
    interruptions = Interruptions()
    with capture_logs() as lines:
        for number in range(300):
            interruptions.add(ExecutionId(f"exec-{number}"), "it has moved on")
        interruptions.add(ExecutionId("exec-other"), "the database is away")
        interruptions.write()
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
        ]
    ]
