"""Patience with processes that come to something in their own time."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> float:
    """How long it took until the condition held."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds, "it never came to that"
        time.sleep(0.02)
    return time.monotonic() - start
