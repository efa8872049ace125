"""The attempts that crashes interrupt: how many a step gets, and when an execution continues after the next crash."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

from flowrunner.domain.events import ROOT, Step
from flowrunner.domain.execution import ExecutionState, budget_of

# Seconds from the start of an interrupted attempt to the next one, by the attempts that crashes had interrupted before.
# A first crash delays nothing. Later ones do, so that a node which ends its process each time does not stop all others,
# and a process that crashes for another reason interrupts the same attempt less often.
SECONDS_AFTER: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
# With one more crash the node fails: it is probably the cause.
MAX_INTERRUPTIONS: Final = len(SECONDS_AFTER)
# The random share of a delay: otherwise all that one crash interrupted would meet its cause again.
_JITTER: Final = 0.5


def put_off_until(state: ExecutionState, cut_off: Mapping[Step, int], *, now: datetime, draw: float) -> datetime | None:
    """Return the moment at which a process continues an execution that it has loaded; None for at once.

    Args:
        state: Its state, before the process has started any step.
        cut_off: See `decide.about_to_resume`.
        draw: A uniform sample from [0, 1), the same for each call after one load.
    """
    latest = None
    for step in chain(state.running, cut_off):
        if state.root.ended is not None and budget_of(step.scope) == ROOT:
            # A cancellation has ended it meanwhile; only the handlers are left.
            continue
        current = state.at(step)
        if current.interruptions >= len(SECONDS_AFTER):
            # It fails.
            continue
        seconds = SECONDS_AFTER[current.interruptions] * (1.0 - _JITTER * draw)
        until = current.attempted_at + timedelta(seconds=seconds)
        # An attempt that seems to start later is from before the clock was set back.
        if current.attempted_at <= now < until:
            latest = until if latest is None else max(latest, until)
    return latest
