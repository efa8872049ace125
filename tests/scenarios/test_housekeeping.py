"""What servers delete by themselves."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowrunner.bootstrap import housekeeping
from flowrunner.bootstrap.housekeeping import active_jobs, run_jobs
from flowrunner.settings import Settings
from flowrunner.storage.retention import SqlRetention
from support.asgi import program_at


async def test_what_cannot_be_deleted_keeps_nothing_else_from_being_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "SETTLING_SECONDS", 0.0)
    has_purged = asyncio.Event()

    async def fail(**more: object) -> None:
        raise OSError("planted")

    async def purge(**more: object) -> int:
        has_purged.set()
        return 0

    async with program_at(tmp_path / "data") as program:
        monkeypatch.setattr(program.services.retention, "purge", fail)
        monkeypatch.setattr(program.services.audit, "purge", purge)
        jobs = active_jobs(Settings(data_dir=tmp_path / "data"), program)

        async with asyncio.timeout(60), run_jobs(jobs, program):
            await has_purged.wait()
            failed = 'flowrunner_background_failures_total{name="retention.executions"} 1.0'
            while failed not in (await program.metrics.text())[0].decode():  # noqa: ASYNC110 # the job counts it
                await asyncio.sleep(0.01)


async def test_executions_and_audit_entries_are_each_kept_for_their_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "SETTLING_SECONDS", 0.0)
    settings = Settings(data_dir=tmp_path / "data", retention=86400.0, audit_retention=3 * 86400.0)
    kept: dict[str, timedelta] = {}
    has_purged = {"executions": asyncio.Event(), "audit": asyncio.Event()}

    async def purge_executions(*, ended_before: datetime, **_: object) -> tuple[int, bool]:
        # Retention purges with the time of its clock, a moment ago.
        kept["executions"] = timedelta(days=round((datetime.now(UTC) - ended_before) / timedelta(days=1)))
        has_purged["executions"].set()
        return 0, False

    async def purge_audit(*, older_than: timedelta) -> int:
        kept["audit"] = older_than
        has_purged["audit"].set()
        return 0

    async with program_at(tmp_path / "data", retention=86400.0) as program:
        monkeypatch.setattr(SqlRetention, "purge", staticmethod(purge_executions))
        monkeypatch.setattr(program.services.audit, "purge", purge_audit)
        async with asyncio.timeout(60), run_jobs(active_jobs(settings, program), program):
            for event in has_purged.values():
                await event.wait()

    assert kept == {"executions": timedelta(days=1), "audit": timedelta(days=3)}


async def test_each_service_that_purges_is_asked_to_by_a_job_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    purged: Counter[str] = Counter()

    def purging(name: str) -> Callable[..., Awaitable[int]]:
        async def purge(**more: object) -> int:
            purged[name] += 1
            return 0

        return purge

    async with program_at(tmp_path / "data") as program:
        services = {name: getattr(program.services, name) for name in dir(program.services)}
        names = [name for name, service in services.items() if hasattr(service, "purge")]
        for name in names:
            monkeypatch.setattr(services[name], "purge", purging(name))
        jobs = [job for job in active_jobs(Settings(), program) if job.name.startswith(("retention.", "store"))]
        for job in jobs:
            await job.run()

    assert len(names) > 10
    assert purged == dict.fromkeys(names, 1)
    assert {job.where for job in jobs} == {"one"}


async def test_uses_counts_of_rejections_and_links_that_were_asked_for_are_written_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def writing(what: str) -> Callable[[], Awaitable[None]]:
        async def write() -> None:
            written.append(what)

        return write

    async def write_counts(*, at_once: bool = False) -> None:
        written.append(f"counts {at_once}")

    async with program_at(tmp_path / "data") as program:
        monkeypatch.setattr(program.token_uses, "write", writing("tokens"))
        monkeypatch.setattr(program.services.sessions.session_uses, "write", writing("sessions"))
        monkeypatch.setattr(program.vault.uses, "write", writing("secrets"))
        monkeypatch.setattr(program.services.refused_hooks, "write", writing("refusals"))
        monkeypatch.setattr(program.services.password_resets, "settle", writing("links"))
        monkeypatch.setattr(program.services.audit, "write_rejection_counts", write_counts)

    assert written == ["links", "tokens", "sessions", "secrets", "refusals", "counts True"]
