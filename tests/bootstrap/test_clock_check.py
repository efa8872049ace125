"""The line of the server log about a clock that was set back."""

import pytest
from structlog.testing import capture_logs

from flowrunner.clock import ClockCheck


@pytest.mark.parametrize(("back", "said"), [(3600.0, [3600.0]), (-3600.0, []), (2.0, [2.0]), (1.9, [])])
async def test_a_clock_that_was_set_back_is_reported_once(back: float, said: list[float]) -> None:
    moments = [1000.0, 1010.0 - back, 1020.0 - back]
    elapsed = [5.0, 15.0, 25.0]
    check = ClockCheck(lambda: moments.pop(0), lambda: elapsed.pop(0))

    with capture_logs() as logs:
        await check.again()
        await check.again()

    assert [(entry["event"], entry["seconds"]) for entry in logs] == [("clock.set_back", each) for each in said]
