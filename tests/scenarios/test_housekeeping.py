"""What the active server deletes by itself."""

import asyncio
from pathlib import Path

import pytest

from flowrunner.bootstrap import housekeeping
from flowrunner.bootstrap.housekeeping import run_retention
from flowrunner.settings import Settings
from support.asgi import program_at


async def test_what_cannot_be_deleted_keeps_nothing_else_from_being_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_SETTLING_SECONDS", 0.0)
    has_come_to_the_last = asyncio.Event()

    async def fail(**more: object) -> None:
        raise OSError("planted")

    async def purge(**more: object) -> int:
        has_come_to_the_last.set()
        return 0

    async with program_at(tmp_path / "data") as program:
        monkeypatch.setattr(program.services.executions, "purge", fail)
        monkeypatch.setattr(program.services.audit, "purge", purge)
        keeping = asyncio.create_task(run_retention(Settings(data_dir=tmp_path / "data"), program))

        async with asyncio.timeout(10):
            await has_come_to_the_last.wait()
        assert not keeping.done()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
