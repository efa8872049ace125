"""Fixtures that all runs of a module share."""

from collections.abc import AsyncIterator

import pytest_asyncio

from flowrunner.sandbox.pool import JailedSandbox


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[JailedSandbox]:
    opened = JailedSandbox(2)
    yield opened
    await opened.close()
