"""Answers that are made to exhaust whoever reads them: each ends at its limit, and takes little memory."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from docs.pages import ROOT
from security.answers import BOMBS, Bomber
from support.scoreboard import Scoreboard

MOST_GROWTH_BYTES: Final = 32 * 1024 * 1024
# The timeout of a node for an answer that does not end otherwise.
ENDLESS_SECONDS: Final = 1.0
# The same for other answers, some of which take their server a while to make beside other tests.
PATIENCE_SECONDS: Final = 60.0

CHILD: Final = """
import asyncio, ipaddress, json, sys, time
from pathlib import Path
from flowrunner.plugin import NodeFailure
from flowrunner.security.egress import EgressClient
from flowrunner.security.egress_policy import EgressPolicy

def memory(field):
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith(field))
    return int(line.split()[1]) * 1024

async def ending(client, url, seconds):
    try:
        async with asyncio.timeout(seconds):
            answer = await client.request("GET", url, headers={})
            return "answer" if len(answer.body) <= 1024 * 1024 else f"{len(answer.body)} bytes"
    except NodeFailure as failure:
        return failure.type
    except TimeoutError:
        return "timeout"

async def main(base, patience):
    client = EgressClient(EgressPolicy([ipaddress.ip_network("127.0.0.0/8")]))
    await ending(client, base + "/warm", patience[0])
    for number, seconds in enumerate(patience):
        Path("/proc/self/clear_refs").write_text("5")
        before, begun = memory("VmRSS"), time.monotonic()
        how = await ending(client, f"{base}/{number}", seconds)
        took = time.monotonic() - begun
        print(json.dumps([how, took, memory("VmHWM") - before]), flush=True)
    await client.close()

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


@pytest.fixture
def bomber() -> Iterator[Bomber]:
    found = Bomber()
    yield found
    found.close()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure memory")
def test_s36_answers_end_at_their_limits_and_take_little_memory(bomber: Bomber, scoreboard: Scoreboard) -> None:
    patience = [ENDLESS_SECONDS if "timeout" in endings else PATIENCE_SECONDS for _, endings in BOMBS.values()]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, bomber.url, json.dumps(patience)],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = dict(zip(BOMBS, map(json.loads, done.stdout.splitlines()), strict=True))

    wrong = {
        name: (ending, round(seconds, 2), growth // 1024**2)
        for name, (ending, seconds, growth) in found.items()
        if ending not in BOMBS[name][1] or seconds > PATIENCE_SECONDS or growth > MOST_GROWTH_BYTES
    }
    scoreboard.count("answer bombs that pass a limit", cases=len(found), failures=len(wrong))
    assert wrong == {}
