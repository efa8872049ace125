"""The server is killed again and again under load, and keeps its promises.

`make chaos` does more of it, under more than twice the load, for as long as it is told.
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
    "server killed": 4,
    "server killed at its answer": 4,
    "server killed while it starts": 1,
    "server paused": 1,
}


@pytest.mark.timeout(1200)
async def test_whatever_is_under_way_survives_kills_of_the_server(tmp_path: Path) -> None:
    strikes = shuffled(FAULTS, random.Random(SEED))
    report = await campaign(
        "sqlite", tmp_path, seed=SEED, strikes=strikes, seconds=math.inf, executions=100, longest_pause=1.5
    )
    print(f"\nCHAOS_SEED={SEED}\n{report}")

    assert report.violations == []
    assert report.kills_of("server") >= 10
    assert report.share_with_work > 0.5, "the faults hit an idle server: this run shows nothing"
