"""Whether the tests find a bug that was planted."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mutants.planted import Bug
from support.server import clean_environment

ROOT: Final = Path(__file__).resolve().parent.parent.parent
_CAMPAIGN: Final = {"CHAOS_ON": "postgres", "CHAOS_STRIKES": "15", "CHAOS_PATIENCE": "30"}
_RUN_SECONDS: Final = 900.0
# What pytest and campaigns say where they find something, and not where they cannot run.
_FINDS: Final = ("E  ", "  VIOLATION: ")


@dataclass(frozen=True, slots=True)
class Finding:
    """The findings of a run of the tests: None where there are none."""

    found: str | None
    output: str


def plant_and_run(bug: Bug) -> Finding:
    """Plant the bug and have it looked for by those who have to find it."""
    with tempfile.TemporaryDirectory(prefix="flowrunner-mutant-") as directory:
        return run(bug, bug.plant(Path(directory)))


def run(bug: Bug, sources: Path) -> Finding:
    """Look for the bug in a program."""
    environment = {"PYTHONPATH": f"{sources}:{ROOT / 'tests'}"}
    if bug.is_caught_by_a_campaign:
        command, environment = ["-m", "chaos"], {**environment, **_CAMPAIGN, "CHAOS_FAULTS": bug.caught_by}
    else:
        command = ["-m", "pytest", "-x", "-q", bug.caught_by]
    ran = subprocess.run(
        [sys.executable, *command],
        # The report of a campaign belongs with the program.
        cwd=sources.parent if bug.is_caught_by_a_campaign else ROOT,
        env=clean_environment(**environment), capture_output=True, text=True, check=False,
        timeout=_RUN_SECONDS,
    )  # fmt: skip
    output = ran.stdout + ran.stderr
    finds = [line for line in output.splitlines() if line.startswith(_FINDS)]
    return Finding(finds[0].strip() if ran.returncode == 1 and finds else None, output)
