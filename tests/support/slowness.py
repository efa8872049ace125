"""How slow the machine is now: a bound on processor time means that of an ordinary machine."""

import os
import subprocess
import sys
from typing import Final

# Processor time of the reference on a machine with 3 GHz whose memory is not shared with others.
_ORDINARY_SECONDS: Final = 1.0
# It computes, allocates and reads memory, as a server does, which is what neighbours make slow.
_REFERENCE: Final = "import flowrunner.bootstrap.program"


def slowness() -> float:
    """Return how many times as much processor time Python needs here and now as on an ordinary machine, at least 1."""
    before = os.times()
    subprocess.run([sys.executable, "-c", _REFERENCE], check=True)
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return max(1.0, seconds / _ORDINARY_SECONDS)
