"""Injects faults for as long as it is told, and says what came of it.

    python -m chaos    # make chaos

CHAOS_SECONDS says for how long on each installation, CHAOS_STRIKES how often instead, CHAOS_ON on which of `sqlite
processes postgres postgres-processes temporal`, CHAOS_SEED what is drawn, CHAOS_FAULTS, separated by commas, which
faults, and CHAOS_PATIENCE how many seconds everything has to end.

The report is also written to build/chaos.json. The exit code is 1 if anything was violated.
"""

import asyncio
import json
import math
import os
import random
import sys
import tempfile
from itertools import chain, islice
from pathlib import Path
from typing import Final

from chaos.campaign import PATIENCE_SECONDS, campaign, deck
from chaos.faults import LONG_CUT, POSSIBLE
from chaos.installation import KINDS, ON_A_FILE
from chaos.report import Report

REPORT: Final = Path("build/chaos.json")
# From so many seconds on there is time for a connection that is cut off for a minute.
_LONG_SECONDS: Final = 300.0


async def run(
    kinds: list[str], faults: list[str], *, seconds: float, strikes: int, seed: int, patience: float
) -> list[Report]:
    reports = []
    for kind in KINDS:
        if kind not in kinds:
            continue
        print(f"CHAOS_ON={kind} CHAOS_SEED={seed}", flush=True)
        first = [(LONG_CUT,)] if seconds >= _LONG_SECONDS and kind not in ON_A_FILE and not (faults or strikes) else []
        with tempfile.TemporaryDirectory(prefix="flowrunner-chaos-") as directory:
            report = await campaign(
                kind,
                Path(directory),
                seed=seed,
                strikes=islice(chain(first, deck(faults or POSSIBLE[kind], random.Random(seed))), strikes or None),
                seconds=seconds,
                executions=0,
                patience=patience,
            )
        print(report, flush=True)
        reports.append(report)
    return reports


def main() -> int:
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1, 2**32))
    seconds = float(os.environ.get("CHAOS_SECONDS") or 300)
    kinds = (os.environ.get("CHAOS_ON") or " ".join(KINDS)).split()
    strikes = int(os.environ.get("CHAOS_STRIKES") or 0)
    faults = [name for name in os.environ.get("CHAOS_FAULTS", "").split(",") if name]
    patience = float(os.environ.get("CHAOS_PATIENCE") or PATIENCE_SECONDS)
    seconds = math.inf if strikes else seconds
    reports = asyncio.run(run(kinds, faults, seconds=seconds, strikes=strikes, seed=seed, patience=patience))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps([report.as_json() for report in reports], indent=2) + "\n")
    print(REPORT)
    return 1 if any(report.violations for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
