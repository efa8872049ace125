"""Command `audit verify`."""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from flowrunner.bootstrap.maintenance import verify_audit
from flowrunner.bounded_json import BoundedDecoder
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.values import rfc3339
from flowrunner.ports.audit import chain_hash, details_text
from flowrunner.settings import Settings

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def verify(settings: Settings, *, database: str | None, expect: str | None) -> bool:
    """Return whether the log is intact. Raises: FlowRunnerError if it cannot be checked."""
    copy = None if database is None else Path(database)
    report = asyncio.run(verify_audit(settings, copy=copy, expected=_expected(expect)))
    if report.broken is not None:
        seq, reason = report.broken
        click.echo(f"BROKEN at entry {seq}: {reason}. {_intact(report.rows, ' before it')}.")
        return False
    seq, hash = report.last
    click.echo(f"{_intact(report.rows)}. The last is {seq}:{hash.hex()}")
    return True


def _intact(entries: int, which: str = "") -> str:
    return f"{counted(entries, 'entry', 'entries')}{which} {'is' if entries == 1 else 'are'} intact"


def _expected(expect: str | None) -> tuple[int, str] | None:
    """Return the number and the hash of an entry. Raises: FlowRunnerError."""
    if expect is None:
        return None
    found = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", expect.strip().lower())
    if found is None:
        raise FlowRunnerError("--expect takes the number and the hash of an entry, such as 17:0f3a…")
    return int(found[1]), found[2]


# Files of entries


class _WrittenObject(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    id: str


class _WrittenEntry(msgspec.Struct, forbid_unknown_fields=True):
    """An entry as the API writes it."""

    seq: int
    at: str
    actor: str | None
    credential: str
    address: str
    action: str
    object: _WrittenObject
    workspace_id: str | None
    outcome: str
    details: dict[str, Any]
    previous_hash: str
    hash: str

    def is_hashed(self) -> bool:
        """Return whether its hash is that of its values, as they are written. Raises: ValueError."""
        time = (datetime.fromisoformat(self.at) - _EPOCH) // _MILLISECOND
        previous = bytes.fromhex(self.previous_hash)
        if (rfc3339(_EPOCH + time * _MILLISECOND), previous.hex()) != (self.at, self.previous_hash):
            return False
        about = (self.object.kind, self.object.id, self.workspace_id, self.outcome, details_text(self.details))
        values = (self.seq, time, self.actor, self.credential, self.address, self.action, *about)
        return chain_hash(previous, values).hex() == self.hash


@dataclass(slots=True)
class _FileReport:
    """Entries of a file that were checked.

    Attributes:
        parts: The number of parts without a gap.
        last: Number and hash of the latest entry.
    """

    entries: int = 0
    parts: int = 0
    last: tuple[int, str] = (0, "")


def verify_file(lines: Iterable[bytes], *, expect: str | None, allow_gaps: bool) -> bool:
    """Return whether the entries in a file are intact, in either order. Raises: FlowRunnerError if it has none."""
    expected, report = _expected(expect), _FileReport()
    is_seen = expected is None
    for line, found in _faults(lines, report, allow_gaps=allow_gaps):
        is_expected = expected is not None and line.seq == expected[0]
        is_seen = is_seen or (is_expected and (line.seq, line.hash) == expected)
        is_other = is_expected and not is_seen
        fault = found or ((line.seq, "its hash is not the expected one") if is_other else None)
        if fault is not None:
            click.echo(f"BROKEN at entry {fault[0]}: {fault[1]}.")
            return False
        report.entries += 1
        report.last = max(report.last, (line.seq, line.hash))
    if report.entries == 0:
        raise FlowRunnerError(
            "The file has no entry: `flowrunner audit list --installation --all -o ndjson` writes them"
        )
    if expected is not None and not is_seen:
        click.echo(f"BROKEN at entry {expected[0]}: it is missing. {_intact(report.entries)}.")
        return False
    seq, hash = report.last
    gaps = "" if report.parts == 1 else f", in {report.parts} parts with gaps between them"
    click.echo(f"{_intact(report.entries)}{gaps}. The last is {seq}:{hash}")
    return True


def _faults(
    lines: Iterable[bytes], report: _FileReport, *, allow_gaps: bool
) -> Iterator[tuple[_WrittenEntry, tuple[int, str] | None]]:
    """Yield each entry, with the number of an entry and what is wrong with that one.

    Raises: FlowRunnerError: A line is no entry.
    """
    decoder, before, step = BoundedDecoder[_WrittenEntry](_WrittenEntry), None, 0
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = decoder.decode(text)
            json.loads(text, object_pairs_hook=_reject_repeated)
            fault = None if line.is_hashed() else (line.seq, "it is not what was hashed")
        except (ValueError, TypeError, OverflowError, msgspec.MsgspecError, RecursionError):
            raise FlowRunnerError(f"Line {number} of the file is no entry of the audit log") from None
        if before is None:
            report.parts = 1
        elif line.seq == before.seq or step * (line.seq - before.seq) < 0:
            fault = fault or (line.seq, "it is out of order")
        else:
            step = 1 if line.seq > before.seq else -1
            earlier, later = (before, line) if step == 1 else (line, before)
            if later.seq == earlier.seq + 1:
                if later.previous_hash != earlier.hash:
                    fault = fault or (earlier.seq, "its hash is not the one that the next entry has")
            elif allow_gaps:
                report.parts += 1
            else:
                why = "it is missing (--allow-gaps accepts that in a file of a workspace, or one that was filtered)"
                fault = fault or (earlier.seq + 1, why)
        yield line, fault
        before = line


def _reject_repeated(members: Sequence[tuple[str, Any]]) -> None:
    """Raises: ValueError. Of members with one name, only the last one is hashed."""
    if len({name for name, _ in members}) < len(members):
        raise ValueError
