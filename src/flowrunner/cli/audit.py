"""Command `audit verify`."""

import asyncio
import re
from pathlib import Path

import click

from flowrunner.bootstrap.maintenance import verify_audit
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.settings import Settings


def verify(settings: Settings, *, database: str | None, expect: str | None) -> bool:
    """Return whether the log is intact. Raises: FlowRunnerError if it cannot be checked."""
    expected = None
    if expect is not None:
        found = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", expect.strip().lower())
        if found is None:
            raise FlowRunnerError("--expect takes the number and the hash of an entry, such as 17:0f3a…")
        expected = int(found[1]), found[2]
    copy = None if database is None else Path(database)
    report = asyncio.run(verify_audit(settings, copy=copy, expected=expected))
    if report.broken is not None:
        seq, reason = report.broken
        click.echo(f"BROKEN at entry {seq}: {reason}. {_intact(report.rows, ' before it')}.")
        return False
    seq, hash = report.last
    click.echo(f"{_intact(report.rows)}. The last is {seq}:{hash.hex()}")
    return True


def _intact(entries: int, which: str = "") -> str:
    return f"{counted(entries, 'entry', 'entries')}{which} {'is' if entries == 1 else 'are'} intact"
