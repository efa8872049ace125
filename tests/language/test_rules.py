"""The rules of the flow language, each by example: the files under `rules`, played on a real engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from flowrunner.sandbox.pool import JailedSandbox
from language.backend import BACKENDS
from language.case import Case, all_cases
from language.stage import stage

FOUND = list(all_cases())

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[JailedSandbox]:
    opened = JailedSandbox(2)
    yield opened
    await opened.close()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", [pytest.param(found.case, id=found.name) for found in FOUND])
async def test_the_rule_holds(case: Case, backend: str, tmp_path: Path, sandbox: JailedSandbox) -> None:
    async with stage(BACKENDS[backend], tmp_path, sandbox, case) as opened:
        await opened.play()

        assert not opened.faults, "\n".join([case.rule, *opened.faults])
