"""Servers and workers on PostgreSQL and Temporal: workers are killed and paused, and others go on.

`make chaos` does more of it, under twenty times the load, for as long as it is told.
"""

import math
import os
import random
from pathlib import Path
from typing import Final

import pytest

from chaos.campaign import campaign, shuffled

SEED: Final = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
FAULTS: Final = {
    "worker killed": 8,
    "worker paused": 1,
    "server killed at its answer": 1,
    "timeout": 1,
    "reset_peer": 1,
}
AT_ONCE: Final = [("worker killed", "server killed"), ("worker killed", "PostgreSQL killed")]


@pytest.mark.timeout(1200)
async def test_whatever_is_under_way_survives_kills_and_pauses_of_workers(tmp_path: Path) -> None:
    strikes = shuffled(FAULTS, random.Random(SEED), pairs=AT_ONCE)
    report = await campaign(
        "temporal", tmp_path, seed=SEED, strikes=strikes, seconds=math.inf, executions=100, longest_pause=12.0,
        most_open=30,
    )  # fmt: skip
    print(f"\nCHAOS_SEED={SEED}\n{report}")

    assert report.violations == []
    assert report.kills_of("worker") >= 10
    assert report.pairs == len(AT_ONCE)
    assert report.share_with_work > 0.5, "the faults hit an idle server: this run shows nothing"
