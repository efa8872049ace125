"""Rules of the flow language: the files under `rules`, run on a real engine."""

from pathlib import Path

import pytest

from flowrunner.ports.sandbox import Sandbox
from language.backend import local
from language.rule_runs import RULE_RUNS, RuleRun, each_of, faults_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@each_of(RULE_RUNS)
async def test_the_rule_holds(run: RuleRun, tmp_path: Path, sandbox: Sandbox) -> None:
    assert not await faults_of(run, local(tmp_path / "flowrunner.db"), sandbox)
