"""How many files this process may open."""

import contextlib
import os
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def without_files(*, left: int) -> Iterator[None]:
    """Let this process open so many more files, and no others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = {int(name) for name in os.listdir("/proc/self/fd")}
    fillers = [os.open(os.devnull, os.O_RDONLY) for number in range(max(opened)) if number not in opened]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(opened) + left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)
