"""Engine processes and their server are killed under load, and nothing is lost, repeated or stuck.

`CHAOS_ON=processes CHAOS_STRIKES=110 make chaos` does more of it.
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
    "engine process killed": 6,
    "engine process paused": 1,
    "server killed": 1,
    "server killed at its answer": 1,
}


@pytest.mark.timeout(1200)
async def test_whatever_is_under_way_survives_kills_of_engine_processes(tmp_path: Path) -> None:
    strikes = shuffled(FAULTS, random.Random(SEED))
    report = await campaign(
        "processes", tmp_path, seed=SEED, strikes=strikes, seconds=math.inf, executions=40, longest_pause=3.0
    )
    print(f"\nCHAOS_SEED={SEED}\n{report}")

    assert report.violations == []
    assert report.kills_of("engine process") >= 6
