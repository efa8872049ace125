"""Tuning of the interpreter and its memory for long-running processes."""

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator
from typing import Final

# From <malloc.h>: the option for the block size from which memory is mapped and unmapped as one piece.
_M_MMAP_THRESHOLD: Final = -3
_LARGE_BLOCK: Final = 256 * 1024


def unmap_large_blocks() -> None:
    """Return each large block of memory to the system as soon as it is free. Only glibc needs this setting."""
    with contextlib.suppress(AttributeError, OSError):
        # By default, glibc raises its threshold after the first long values and keeps such blocks in its heap, where
        # later allocations prevent their release.
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


@contextlib.contextmanager
def frozen_gc() -> Iterator[None]:
    """Tune the interpreter while the process serves."""
    # The objects that exist now remain until then: the collector need not visit them each time.
    gc.collect()
    gc.freeze()
    threshold = gc.get_threshold()
    gc.set_threshold(20_000, 20, 50)
    # Database threads release the interpreter lock between rows and should get it back quickly.
    sys.setswitchinterval(0.001)
    try:
        yield
    finally:
        # A server that steps down and is promoted again would otherwise keep the objects of the first time.
        gc.set_threshold(*threshold)
        gc.unfreeze()
