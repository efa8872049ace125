"""The rules of the flow language, each by example: the files under `rules`, played on a real engine."""

from pathlib import Path

import pytest

from flowrunner.ports import Sandbox
from language.backend import local
from language.rule_runs import PLAYS, Play, each_of, faults_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@each_of(PLAYS)
async def test_the_rule_holds(play: Play, tmp_path: Path, sandbox: Sandbox) -> None:
    assert not await faults_of(play, local(tmp_path / "flowrunner.db"), sandbox)
