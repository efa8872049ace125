"""What long values took in memory is given back when they are gone."""

import json
import platform
import subprocess
import sys

import pytest

# Long values that come and go, with something in between that stays, as requests and executions bring them.
_LONG_VALUES = """
import json
from pathlib import Path
from flowrunner.bootstrap.interpreter import unmap_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

unmap_large_blocks()
before = resident()
bytearray(2_000_000)
long, stays = [], []
for _ in range(128):
    long.append(bytearray(1_000_000))
    stays.append(b"x" * 100_000)
most = resident()
long.clear()
print(json.dumps([most - before, resident() - before]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others give it back by themselves")
def test_s61_memory_of_long_values_is_given_back_to_the_system() -> None:
    ran = subprocess.run([sys.executable, "-c", _LONG_VALUES], check=True, capture_output=True, timeout=60)

    most, left = json.loads(ran.stdout)
    assert most > 100 * 2**20
    # What stays is 12 MiB of it.
    assert left < 30 * 2**20
