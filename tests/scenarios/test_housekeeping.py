"""What the active server deletes by itself."""

import asyncio
from datetime import timedelta
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


async def test_executions_and_audit_entries_are_each_kept_for_their_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_SETTLING_SECONDS", 0.0)
    settings = Settings(data_dir=tmp_path / "data", retention=86400.0, audit_retention=3 * 86400.0)
    kept: dict[str, timedelta] = {}
    has_come_to_the_last = asyncio.Event()

    async def purge_executions(*, older_than: timedelta) -> int:
        kept["executions"] = older_than
        return 0

    async def purge_audit(*, older_than: timedelta) -> int:
        kept["audit"] = older_than
        has_come_to_the_last.set()
        return 0

    async with program_at(tmp_path / "data") as program:
        monkeypatch.setattr(program.services.executions, "purge", purge_executions)
        monkeypatch.setattr(program.services.audit, "purge", purge_audit)
        keeping = asyncio.create_task(run_retention(settings, program))
        async with asyncio.timeout(10):
            await has_come_to_the_last.wait()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    assert kept == {"executions": timedelta(days=1), "audit": timedelta(days=3)}
