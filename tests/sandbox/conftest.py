"""A sandbox of real processes for each test that asks for one."""

from collections.abc import AsyncIterator

import pytest

from flowrunner.sandbox.pool import JailedSandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[JailedSandbox]:
    found = JailedSandbox()
    yield found
    await found.close()
