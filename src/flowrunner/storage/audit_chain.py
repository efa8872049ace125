"""The hash chain of the audit log: each row contains a hash over itself and the row before, so that edits are detected.

An entry is written in the transaction of the act that it records. There is one writer at a time, so the last row can be
read first. Acts beyond the share of their account are counted in a table of their own, and become one entry later.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.audit import AuditEntry, AuditRow
from flowrunner.domain.values import AccountId, WorkspaceId, rfc3339
from flowrunner.ports.audit import chain_hash, details_text
from flowrunner.storage.key_claims import claim
from flowrunner.storage.mail_queue import queue_mail
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.transaction import Statement, Transaction, one_row
from flowrunner.stored_json import StoredJson

LAST: Final = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1"
ANCHOR: Final = "SELECT seq, hash FROM audit_anchor"
ADD: Final = Statement(
    sqlite="""
INSERT INTO audit (seq, at, actor, credential, address, action, object_kind, object_id, workspace_id, outcome, details,
       previous, hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
""",
    postgres="""
INSERT INTO audit (seq, at, actor, credential, address, action, object_kind, object_id, workspace_id, outcome, details,
       previous, hash)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::text[], $10::text[], $11::text[], $12::bytea[], $13::bytea[])
 ORDER BY 1
""",
)
ROWS: Final = """
SELECT seq, at, actor, credential, address, action, object_kind, object_id, workspace_id, outcome, details,
       previous, hash
  FROM audit WHERE seq > :after ORDER BY seq LIMIT :limit
"""

# In the transaction of the acts, so that none is lost.
COUNT_ACTS: Final = """
INSERT INTO audit_counts (account_id, workspace_id, action, outcome, since, count)
VALUES (:account_id, :workspace_id, :action, :outcome, :since, :count)
    ON CONFLICT (account_id, workspace_id, action, outcome) DO UPDATE SET count = audit_counts.count + excluded.count
"""
ACT_COUNTS: Final = """
SELECT account_id, workspace_id, action, outcome, since, count
  FROM audit_counts WHERE since < :before OR since > :at
 ORDER BY account_id, workspace_id, action, outcome LIMIT :limit
"""
FORGET_ACTS: Final = """
DELETE FROM audit_counts
 WHERE account_id = :account_id AND workspace_id = :workspace_id AND action = :action AND outcome = :outcome
"""

_HASHED_COLUMNS: Final = 11
_ROWS_AT_ONCE: Final = 5000
_DETAILS: Final = StoredJson[dict[str, Any]](dict[str, Any], column="audit.details")


async def add_to_chain(tx: Transaction, entries: Iterable[AuditEntry]) -> None:
    """Append the entries in the open transaction, claim the keys of their requests, and queue their e-mails.

    Those beyond the share of their account are counted instead: see `chain_counts`.

    Raises: RequestKeyTaken if an earlier request has the key.
    """
    shares = tx.audit_shares
    assert shares is not None, "the transaction writes"
    written: list[AuditEntry] = []
    counted: dict[tuple[str, str, str, str], list[AuditEntry]] = {}
    for entry in entries:
        if entry.request is not None:
            assert entry.actor is not None, "a request with a key has a caller"
            assert entry.workspace_id is not None, "and acts somewhere"
            await claim(tx, entry.actor, entry.workspace_id, entry.request, at=entry.at)
        for mail in entry.mails:
            await queue_mail(tx, mail)
        if shares.has_room(entry):
            written.append(entry)
        else:
            assert entry.actor is not None, "only accounts have shares"
            counted.setdefault((entry.actor, entry.workspace_id or "", entry.action, entry.outcome), []).append(entry)
    if written:
        await _append(tx, written)
    for key, acts in sorted(counted.items()):
        await tx.run(COUNT_ACTS, _key(key) | {"since": to_ms(acts[0].at), "count": len(acts)})


async def chain_counts(tx: Transaction, *, since_before: datetime, at: datetime, limit: int) -> bool:
    """Append an entry with the number for each kind of act that was only counted; return whether there are more.

    Args:
        since_before: Only counts that began before then; those that began after ``at`` are of a clock that was set
            back.
    """
    times = {"before": to_ms(since_before), "at": to_ms(at), "limit": limit}
    rows = await tx.rows(ACT_COUNTS, times)
    for row in rows:
        await tx.run(FORGET_ACTS, _key(row[:4]))
    entries = [
        AuditEntry(
            at=at,
            actor=AccountId(account_id),
            action=f"{action}.more",
            object=("account", account_id),
            workspace_id=WorkspaceId(workspace_id) if workspace_id else None,
            outcome=outcome,
            details={"count": count, "since": rfc3339(from_ms(since))},
        )
        for account_id, workspace_id, action, outcome, since, count in rows
    ]
    if entries:
        await _append(tx, entries)
    return len(rows) == limit


def _key(values: Sequence[str]) -> dict[str, Any]:
    return dict(zip(("account_id", "workspace_id", "action", "outcome"), values, strict=True))


async def _append(tx: Transaction, entries: Sequence[AuditEntry]) -> None:
    seq, previous = await tx.row(LAST) or await one_row(tx, ANCHOR)
    rows = []
    for entry in entries:
        seq += 1
        row = (
            seq,
            to_ms(entry.at),
            *(
                # PostgreSQL text cannot hold NUL, and both databases must have the same chain.
                text and text.replace("\0", "\ufffd")
                for text in (
                    entry.actor,
                    entry.credential,
                    entry.address,
                    entry.action,
                    *entry.object,
                    entry.workspace_id,
                    entry.outcome,
                )
            ),
            details_text(entry.details),
        )
        hash = chain_hash(previous, row)
        rows.append((*row, previous, hash))
        previous = hash
    await tx.run_many(ADD, rows)


def audit_row(row: Sequence[Any]) -> AuditRow:
    entry = AuditEntry(
        at=from_ms(row[1]),
        actor=None if row[2] is None else AccountId(row[2]),
        credential=row[3],
        address=row[4],
        action=row[5],
        object=(row[6], row[7]),
        workspace_id=None if row[8] is None else WorkspaceId(row[8]),
        outcome=row[9],
        details=_DETAILS.read(row[10], id=str(row[0])) or {},
    )
    return AuditRow(seq=row[0], entry=entry, previous=row[11], hash=row[12])


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """Result of a check of the chain.

    Attributes:
        broken: The first row that was changed, with the reason; None if none was.
        last: Number and hash of the last row; of the anchor if there is no row.
    """

    rows: int
    broken: tuple[int, str] | None
    last: tuple[int, bytes]


async def check_chain(tx: Transaction, *, expected: tuple[int, str] | None = None) -> ChainReport:
    """Check the whole chain.

    Args:
        expected: Number and hexadecimal hash of a row that was recorded outside the database.
    """
    async with tx.snapshot():
        return await _check(tx, expected)


async def _check(tx: Transaction, expected: tuple[int, str] | None) -> ChainReport:
    seq, hash = await one_row(tx, ANCHOR)
    count = 0
    is_seen = expected is None or expected == (seq, hash.hex())
    after = -(2**62)
    while rows := await tx.rows(ROWS, {"after": after, "limit": _ROWS_AT_ONCE}):
        after = rows[-1][0]
        for row, fault in _faults(rows, seq, hash):
            if fault is not None:
                return ChainReport(rows=count, broken=(row[0], fault), last=(seq, hash))
            count, seq, hash = count + 1, row[0], row[12]
            if expected is not None and seq == expected[0]:
                if hash.hex() != expected[1]:
                    return ChainReport(rows=count, broken=(seq, "its hash is not the expected one"), last=(seq, hash))
                is_seen = True
    broken = None
    if expected is not None and not is_seen:
        broken = expected[0], "it is missing, though it was there"
    return ChainReport(rows=count, broken=broken, last=(seq, hash))


def _faults(rows: Iterable[Sequence[Any]], seq: int, hash: bytes) -> Iterator[tuple[Sequence[Any], str | None]]:
    for row in rows:
        fault = None
        if row[0] != seq + 1:
            fault = f"row {seq + 1} before it is missing"
        elif row[11] != hash:
            fault = "it does not follow from the row before"
        elif row[12] != chain_hash(hash, row[:_HASHED_COLUMNS]):
            fault = "it is not what was hashed"
        yield row, fault
        seq, hash = row[0], row[12]
