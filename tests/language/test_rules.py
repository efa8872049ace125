"""Rules of the flow language: the files under `rules`, run on a real engine."""

from pathlib import Path
from typing import Final

import pytest

from flowrunner.ports.sandbox import Sandbox
from language.backend import local
from language.rule_runs import RULE_RUNS, RuleRun, each_of, faults_of, one_of_each_rule
from support.conformance import part_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


CRASHING: Final = [run for run in RULE_RUNS if run.crashes_at_rest]
CRASHING_TODAY: Final = {
    run.name for run in (*one_of_each_rule(CRASHING), *part_of((run.name, run) for run in CRASHING))
}


# Of the runs that crash, one of each rule, and a third of all.
@each_of(run for run in RULE_RUNS if not run.crashes_at_rest or run.name in CRASHING_TODAY)
async def test_the_rule_holds(run: RuleRun, tmp_path: Path, sandbox: Sandbox) -> None:
    assert not await faults_of(run, local(tmp_path / "flowrunner.db"), sandbox)
