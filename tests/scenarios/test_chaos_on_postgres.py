"""Two servers on PostgreSQL, and whatever happens to them, to it, and to the connections between them.

`make chaos` does more of it, under more than five times the load, for as long as it is told.
"""

import math
import os
import random
from pathlib import Path
from typing import Final

import pytest

from chaos.campaign import campaign, shuffled
from chaos.faults import TOXICS

SEED: Final = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
FAULTS: Final = {
    "server killed at its answer": 2,
    "server killed while it starts": 1,
    "server paused": 1,
    "PostgreSQL killed": 2,
    "PostgreSQL killed during a recovery": 2,
    "PostgreSQL paused": 1,
    **dict.fromkeys(TOXICS, 1),
}
AT_ONCE: Final = [("server killed", "PostgreSQL killed")] * 6


@pytest.mark.timeout(1200)
async def test_whatever_is_under_way_survives_kills_pauses_and_broken_connections(tmp_path: Path) -> None:
    strikes = shuffled(FAULTS, random.Random(SEED), pairs=AT_ONCE)
    report = await campaign(
        "postgres", tmp_path, seed=SEED, strikes=strikes, seconds=math.inf, executions=100, longest_pause=4.0
    )
    print(f"\nCHAOS_SEED={SEED}\n{report}")

    assert report.violations == []
    assert report.kills_of("server") >= 10
    assert report.kills_of("PostgreSQL") >= 10
    assert report.pairs == len(AT_ONCE)
    assert len([fault for fault in report.faults if fault.endswith(" to postgres")]) == len(TOXICS)
    assert report.share_with_work > 0.5, "the faults hit an idle server: this run shows nothing"
