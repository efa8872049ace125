"""Tests of many machines are worth something only if they catch what they are for: some of `make mutants`."""

from pathlib import Path

import pytest

from mutants.campaign import plant_and_run
from mutants.planted import BUGS, Bug

QUICK = [bug for bug in BUGS if "test_late_writes" in bug.caught_by]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", QUICK, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Bug) -> None:
    finding = plant_and_run(bug)

    assert finding.found is not None, finding.output


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_bug_can_be_planted(bug: Bug, tmp_path: Path) -> None:
    program = bug.plant(tmp_path) / "flowrunner"

    for change in bug.changes:
        compile((program / change.file).read_text(), change.file, "exec")
