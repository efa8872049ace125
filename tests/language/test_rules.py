"""The rules of the flow language, each by example: the files under `rules`, played on a real engine."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from flowrunner.sandbox.pool import JailedSandbox
from language.backend import BACKENDS
from language.case import Case, all_cases
from language.stage import stage

FOUND = list(all_cases())
# What makes an execution come to rest before it ends; a crash at any other moment is for other tests.
_RESTS = re.compile(r"delay|wait|approval|retry|timeout|limits|type: flow")
PLAYS = [
    (found, crashes)
    for found in FOUND
    for crashes in (False, True)
    if not crashes or _RESTS.search(str(found.case.flow))
]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[JailedSandbox]:
    opened = JailedSandbox(2)
    yield opened
    await opened.close()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("case", "crashes_at_rest"),
    [pytest.param(found.case, crashes, id=found.name + (", crashing" if crashes else "")) for found, crashes in PLAYS],
)
async def test_the_rule_holds(
    case: Case, backend: str, crashes_at_rest: bool, tmp_path: Path, sandbox: JailedSandbox
) -> None:
    async with stage(BACKENDS[backend], tmp_path, sandbox, case, crashes_at_rest=crashes_at_rest) as opened:
        await opened.play()

        assert not opened.faults, "\n".join([case.rule, *opened.faults])
