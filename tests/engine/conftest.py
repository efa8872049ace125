"""Every test of this directory runs an engine on a database file of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowrunner.sandbox.pool import JailedSandbox
from support.dependencies import Machine, machine
from support.invariants import check_database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flowrunner.db"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[Machine]:
    """A process without peculiarities. However a test ends, its database must be in order."""
    async with machine(path) as opened:
        yield opened
    assert check_database(path, all_ended=False) == []


@pytest.fixture
async def sandbox() -> AsyncIterator[JailedSandbox]:
    opened = JailedSandbox(1)
    yield opened
    await opened.close()
