"""The events of executions and their summaries, in the database."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from flowrunner.domain.errors import NotFound
from flowrunner.domain.events import Event, Logged
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId, WorkspaceId, memory_of_json
from flowrunner.ports.concurrency import ConcurrencySlot
from flowrunner.ports.event_codec import decode_event, encode_event, type_of
from flowrunner.ports.journal import PAGE_OF_EVENTS_BYTES, Append, Recorded, StoredExecution, TakeEvents, Unreadable
from flowrunner.ports.memory import LARGE_BYTES, Loading
from flowrunner.storage.appends import EPOCH, AcquireOp, AppendOp
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms
from flowrunner.storage.transaction import Row, Statement, Transaction, change_nothing, existing_row, one_row
from flowrunner.storage.usage import FreeStorage

# The fencing tokens of single executions lie between the epoch of a claim and the next epoch. So a token identifies the
# claim under which it was made, and changing one row takes over all executions.
TOKENS_PER_EPOCH: Final = 10**11
CLAIM: Final = "UPDATE engine SET epoch = epoch + :tokens RETURNING epoch"
# A process that advances all executions alone needs no active slots. Only executions that workers had in memory or had
# queued hold one or wait for one: none in most installations.
RELEASE_SLOTS: Final = """
UPDATE executions SET is_active = false, queued_at = NULL
 WHERE id IN (SELECT id FROM executions WHERE is_active AND completed_at IS NULL
               UNION ALL
              SELECT id FROM executions WHERE queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL
               LIMIT :limit)
"""

HEADER: Final = """
SELECT workspace_id, flow_id, revision_id, status,
       EXISTS (SELECT 1 FROM workspaces WHERE id = workspace_id AND deleted_at IS NOT NULL),
       parent_id, concurrency_key, concurrency_limit, is_queued, size, last_seq
  FROM executions WHERE id = :id
"""
# The first of these events, up to and including the one that reaches the number of characters (in PostgreSQL: bytes).
# The events behind it are not read; SQLite would read them all for a window function.
PAGE_OF_EVENTS: Final = Statement(
    sqlite="""
WITH RECURSIVE page (seq, characters) AS (
  SELECT seq, length(data) FROM events
   WHERE execution_id = :id AND seq = (SELECT min(seq) FROM events WHERE execution_id = :id AND seq > :after)
   UNION ALL
  SELECT e.seq, page.characters + length(e.data)
    FROM page JOIN events e ON e.execution_id = :id AND e.seq = page.seq + 1
   WHERE page.characters < :characters LIMIT :limit)
SELECT seq, at, type, data FROM events
 WHERE execution_id = :id AND seq > :after AND seq <= (SELECT max(seq) FROM page) ORDER BY seq
""",
    postgres="""
SELECT seq, at, type, data
  FROM (SELECT seq, at, type, data, sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS before
          FROM events WHERE execution_id = :id AND seq > :after ORDER BY seq LIMIT :limit) AS page
 WHERE before < :characters ORDER BY seq
""",
)
FIRST_EVENT: Final = "SELECT 1 FROM events WHERE execution_id = :id AND seq = 1"
# The maximum number of rows that one statement reads or changes if there may be any number of them, and of characters
# of events.
_PAGE: Final = 1000
_CHARACTERS_A_PAGE: Final = 2 * 1024 * 1024
# Events, and their characters, that are decoded before other tasks of the event loop run. Each event has less than a
# megabyte.
_EVENTS_A_PORTION: Final = 200
_CHARACTERS_A_PORTION: Final = 256 * 1024


class SqlJournal:
    """Implements `ports.Journal`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._free_storage = FreeStorage()

    def append(self, append: Append) -> Awaitable[None]:
        # Submitted by the call itself: no later operation overtakes it.
        return self._written(self._database.submit(AppendOp(append, self._free_storage)))

    async def _written(self, submitted: Awaitable[None]) -> None:
        try:
            await submitted
        except asyncio.CancelledError:
            await self._settle()
            raise

    async def _settle(self) -> None:
        """Wait until all that was submitted before is written or has failed. A cancellation does not shorten this."""
        # Operations are written in the order in which they are submitted.
        last = asyncio.ensure_future(self._database.write(change_nothing))
        while not last.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((last,))
        # Mark an exception as retrieved: the operations before have failed, too.
        last.exception()

    async def claim(self) -> int:
        released = 0

        async def release_slots(tx: Transaction) -> None:
            nonlocal released
            released = await tx.run(RELEASE_SLOTS, {"limit": _PAGE})

        async def claim(tx: Transaction) -> int:
            epoch: int = (await one_row(tx, CLAIM, {"tokens": TOKENS_PER_EPOCH}))[0]
            await release_slots(tx)
            return epoch

        epoch = await self._database.claim(claim)
        while released == _PAGE:
            await self._database.write(release_slots)
        return epoch

    async def epoch(self) -> int:
        async def epoch(tx: Transaction) -> int:
            epoch: int = (await one_row(tx, EPOCH))[0]
            return epoch

        return await self._database.claim(epoch)

    async def acquire(self, id: ExecutionId, epoch: int) -> int:
        fencing_token = epoch + 1 + secrets.randbelow(TOKENS_PER_EPOCH - 1)
        await self._database.submit(AcquireOp(id, fencing_token, epoch))
        return fencing_token

    async def load(self, id: ExecutionId, take: TakeEvents, loading: Loading | None = None) -> StoredExecution:
        async def begin(tx: Transaction) -> tuple[StoredExecution | None, list[Row]]:
            header = await tx.row(HEADER, {"id": id})
            stored = None if header is None else _stored(id, header)
            if stored is None or stored.size > LARGE_BYTES:
                return stored, []
            return stored, await _page(tx, id, after=0)

        stored, rows = await self._database.read_long(begin)
        if stored is None:
            raise NotFound("execution")
        async with contextlib.AsyncExitStack() as reading:
            if stored.size > LARGE_BYTES:
                if loading is not None:
                    await reading.enter_async_context(loading.reading(stored.workspace_id))
                rows = await self._database.read_long(partial(_page, id=id, after=0))
                if loading is not None:
                    await loading.take(stored.workspace_id, _memory_of(rows, stored.size))
            await self._pass_events(stored, rows, take)
        return stored

    async def _pass_events(self, stored: StoredExecution, rows: list[Row], take: TakeEvents) -> None:
        """Pass all events of an execution to ``take``, given its first page. Raises: NotFound, Unreadable."""
        count = 0
        while rows and rows[0][0] == count + 1:
            async for portion in _in_portions(rows):
                await take([(event_of_row(*row), from_ms(row[1])) for row in portion])
            count += len(rows)
            if count >= stored.last_seq and len(rows) < _PAGE:
                break
            rows = await self._database.read_long(partial(_page, id=stored.id, after=count))
        if count < max(stored.last_seq, 1):
            if not stored.status.is_final:
                raise Unreadable(f"Event {count + 1} of this execution is missing")
            # Retention is deleting it, from its first event on.
            raise NotFound("execution")

    async def stored(self, id: ExecutionId) -> StoredExecution:
        header = await self._database.read(lambda tx: existing_row(tx, HEADER, {"id": id}, "execution"))
        return _stored(id, header)

    async def events(self, id: ExecutionId, *, after: int, limit: int) -> Sequence[Recorded]:
        values = {"id": id, "after": after, "limit": limit, "characters": PAGE_OF_EVENTS_BYTES}
        rows = await self._database.read_long(lambda tx: tx.rows(PAGE_OF_EVENTS, values))
        return list(map(_recorded, rows))

    async def is_whole(self, id: ExecutionId) -> bool:
        return await self._database.read(lambda tx: tx.row(FIRST_EVENT, {"id": id})) is not None

    def announce(self, id: ExecutionId) -> None:
        self._database.notify([id])


async def _page(tx: Transaction, id: ExecutionId, after: int) -> list[Row]:
    values = {"id": id, "after": after, "limit": _PAGE, "characters": _CHARACTERS_A_PAGE}
    return await tx.rows(PAGE_OF_EVENTS, values)


def _memory_of(rows: Sequence[Row], size: int) -> int:
    """Estimate the memory of all events of an execution from its first rows."""
    texts = [data for *_, data in rows]
    memory = characters = 0
    for text in texts:
        characters += len(text)
        memory += memory_of_json(text)
    return memory if characters >= size or not characters else memory * size // characters


async def _in_portions(rows: list[Row]) -> AsyncIterator[list[Row]]:
    """Yield the rows of events in portions, letting other tasks run in between."""
    begin = characters = 0
    for end, (*_, data) in enumerate(rows, start=1):
        characters += len(data)
        if end - begin >= _EVENTS_A_PORTION or characters >= _CHARACTERS_A_PORTION:
            yield rows[begin:end]
            begin, characters = end, 0
            await asyncio.sleep(0)
    if begin < len(rows):
        yield rows[begin:]


def _stored(id: ExecutionId, header: Sequence[Any]) -> StoredExecution:
    (
        workspace_id,
        flow_id,
        revision_id,
        status,
        is_gone,
        parent_id,
        concurrency_key,
        concurrency_limit,
        is_queued,
        size,
        last_seq,
    ) = header
    return StoredExecution(
        id=id,
        workspace_id=WorkspaceId(workspace_id),
        flow_id=FlowId(flow_id),
        revision_id=RevisionId(revision_id),
        status=Status(status),
        workspace_is_gone=bool(is_gone),
        size=size,
        last_seq=last_seq,
        parent_id=None if parent_id is None else ExecutionId(parent_id),
        slot=None if concurrency_key is None else ConcurrencySlot(concurrency_key, concurrency_limit, bool(is_queued)),
    )


def event_of_row(seq: int, at: int, type: str, data: str) -> Event:
    """Return the event of a row. Raises: Unreadable."""
    name = type_of(type)
    if name is None:
        raise Unreadable(
            f"Event {seq} of this execution is of a kind that this version of FlowRunner does not know: {type[:100]}",
            newer_since=from_ms(at),
        )
    try:
        return decode_event(type, data)
    except (msgspec.MsgspecError, UnicodeError) as error:
        # The cause may quote the event, so it must appear in the log of the server only.
        raise Unreadable(f"Event {seq} of this execution ({name}) cannot be read") from error


def _recorded(row: Row) -> Recorded:
    seq, at, _, data = row
    try:
        event = event_of_row(*row)
    except Unreadable as error:
        event = Logged(level="warn", message=str(error))
        data = encode_event(event).decode()
    return Recorded(seq, from_ms(at), event, data.encode())
