"""Values that wait to be written."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from operator import add

from flowrunner.write_behind import WriteBehind


async def test_a_write_whose_caller_was_cancelled_goes_on_with_the_values_that_it_was_given() -> None:
    begun: list[Mapping[str, int]] = []

    async def store(values: Mapping[str, int]) -> None:
        begun.append(values)
        await asyncio.Event().wait()

    uses = WriteBehind(store, combine=add)
    uses.note("a", 1)
    writing = asyncio.create_task(uses.write())
    await asyncio.sleep(0)
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing

    uses.note("a", 1)
    uses.note("b", 1)

    assert begun == [{"a": 1}]
    assert (len(uses), "b" in uses) == (2, True)
