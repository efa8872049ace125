"""Lists, details and logs of executions."""

import re
from collections.abc import Collection, Sequence
from typing import Any, Final, TypeVar

import msgspec

from flowrunner.domain.explain import FOR_ROOM, ROOM
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.event_codec import PartialDecoder
from flowrunner.ports.executions import (
    LONGEST_LISTED_ERROR,
    ExecutionDetail,
    ExecutionFilter,
    ExecutionView,
    ListedLines,
    LogFilter,
    LogLine,
)
from flowrunner.ports.page import Listed, Page, number_of
from flowrunner.storage.database import Database
from flowrunner.storage.execution_logs import log_line, log_search
from flowrunner.storage.execution_search import REPAIRS, Listing, search
from flowrunner.storage.rows import from_ms, from_ms_or_none
from flowrunner.storage.transaction import Row, Statement, Transaction, existing_row, listed, one_row

# Earlier versions have stored keys as they were sent.
REQUEST: Final = """
SELECT id, request_digest FROM executions
 WHERE workspace_id = :workspace_id AND idempotency_key IN (:idempotency_key, :earlier)
"""
KEYS: Final = """
SELECT idempotency_key FROM executions
 WHERE workspace_id = :workspace_id AND idempotency_key >= :first AND idempotency_key < :end
"""
_WAITS_FOR_ROOM: Final = "x.queued_at IS NOT NULL AND NOT x.is_active AND x.completed_at IS NULL"
# The columns of `_view`. Of the waits, which may be long, the beginning is enough for `_FIRST_WAIT`.
_COLUMNS: Final = """
SELECT x.id, x.flow_id, x.status, x.started_at, x.completed_at, substr(x.error, 1, :error_characters), f.name, r.number,
       x.error_type, x.failed_node, x.log_counts, x.trigger_id, x.rerun_of,
       CASE WHEN x.status IN ('failed', 'cancelled')
            THEN (SELECT min(later.id) {repairs}) END,
       x.labels, x.parent_id,
       CASE WHEN {room} THEN 'room'
            WHEN x.status = 'waiting' OR x.is_queued AND x.completed_at IS NULL THEN substr(x.waiting_for, 1, 1000) END,
       x.started_by
""".replace("{repairs}", REPAIRS).replace("{room}", _WAITS_FOR_ROOM)
# While a flow is being moved, its name belongs to another workspace.
_JOINS: Final = """
  LEFT JOIN flows f ON f.id = x.flow_id AND f.workspace_id = x.workspace_id
  LEFT JOIN revisions r ON r.id = x.revision_id
"""
_SOURCE: Final = f" FROM executions x {_JOINS}"
# The input is in the first event and the result in the last one; neither is stored twice.
_OF_DETAIL: Final = f""",
       first.type, first.data, last.type, last.data, x.waiting_for, x.revision_id, {_WAITS_FOR_ROOM}, x.last_seq
"""
_WITH_ID: Final = """
  JOIN events first ON first.execution_id = x.id AND first.seq = 1
  LEFT JOIN events last
    ON last.execution_id = x.id AND last.seq = x.last_seq AND x.status IN ('completed', 'failed')
 WHERE x.id = :id AND x.workspace_id = :workspace_id
"""
GET: Final = _COLUMNS + _OF_DETAIL + _SOURCE + _WITH_ID

# The executions of a page, in any order.
_WITH_IDS: Final = "WHERE x.id IN (:ids)"
LISTED: Final = Statement.with_texts(_COLUMNS + _SOURCE + _WITH_IDS, "ids")

_LISTING: Final = Listing(columns=_COLUMNS, joins=_JOINS, of_ids=LISTED)

# The same in all workspaces, with the workspace of each.
SUMMARIES: Final = Statement.with_texts(f"{_COLUMNS}, x.workspace_id{_SOURCE}{_WITH_IDS}", "ids")

LAST_SEQ: Final = """
SELECT x.last_seq FROM executions x JOIN events first ON first.execution_id = x.id AND first.seq = 1
 WHERE x.id = :id AND x.workspace_id = :workspace_id
"""


class SqlExecutions:
    """Implements `ports.ExecutionReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, workspace_id: WorkspaceId, id: ExecutionId) -> ExecutionDetail:
        values = {"id": id, "workspace_id": workspace_id, "error_characters": _WHOLE}
        row = await self._database.read(lambda tx: existing_row(tx, GET, values, "execution"))
        first_type, first, last_type, last, waiting_for, revision_id, waits_for_room, last_seq = row[_WIDTH:]
        status, start = _STATUSES[row[2]], _ENDS.decode(first_type, first)
        return _view(
            row,
            ExecutionDetail,
            last_seq=last_seq,
            input=bytes(start.input),
            config=None if start.config == _NULL else bytes(start.config),
            result=bytes(_ENDS.decode(last_type, last).result) if status is Status.COMPLETED else None,
            failure=last.encode() if status is Status.FAILED else None,
            waiting_for=FOR_ROOM if waits_for_room else None if waiting_for is None else waiting_for.encode(),
            revision_id=RevisionId(revision_id),
        )

    async def request(
        self, workspace_id: WorkspaceId, idempotency_key: str, earlier: str | None = None
    ) -> tuple[ExecutionId, str | None] | None:
        values = {
            "workspace_id": workspace_id,
            "idempotency_key": idempotency_key,
            "earlier": earlier or idempotency_key,
        }
        row = await self._database.read(lambda tx: tx.row(REQUEST, values))
        return None if row is None else (ExecutionId(row[0]), row[1])

    async def keys(self, workspace_id: WorkspaceId, *, first: str, end: str) -> Collection[str]:
        values = {"workspace_id": workspace_id, "first": first, "end": end}
        return {key for (key,) in await self._database.read_long(lambda tx: tx.rows(KEYS, values))}

    async def page(self, workspace_id: WorkspaceId, wanted: ExecutionFilter, page: Page) -> Listed[ExecutionView]:
        # One more character of an error than is shown, so that the reader sees the truncation.
        found = await self._database.read(lambda tx: search(tx, workspace_id, wanted, page, _LISTING))
        views = [_view(row, ExecutionView) for row in found.items]
        return Listed(items=views, total=found.total, is_exact=found.is_exact, next_cursor=found.next_cursor)

    async def summaries(self, ids: Sequence[ExecutionId]) -> Sequence[tuple[WorkspaceId, ExecutionView]]:
        values = {"ids": listed(ids), "error_characters": LONGEST_LISTED_ERROR + 1}
        rows = await self._database.read(lambda tx: tx.rows(SUMMARIES, values))
        return [(WorkspaceId(row[_WIDTH]), _view(row, ExecutionView)) for row in rows]

    async def logs(
        self, workspace_id: WorkspaceId, id: ExecutionId, wanted: LogFilter, page: Page, *, most: int
    ) -> ListedLines:
        search, values = log_search(workspace_id, id, wanted)
        values["after"] = number_of(page.cursor) if page.cursor else 0

        async def logs(tx: Transaction) -> tuple[int, list[Row], list[Row], int]:
            async with tx.snapshot():
                execution = await existing_row(tx, LAST_SEQ, values, "execution")
                values["until"] = last_seq = execution[0]
                rows = await tx.rows(search.page, {**values, "limit": most, "offset": page.offset})
                is_last = len(rows) < most
                # The lines of the page are not searched for again: a filter reads all events of the execution.
                if is_last and not page.cursor and (rows or not page.offset):
                    return last_seq, rows, [], page.offset + len(rows)
                total = (await one_row(tx, search.count, values))[0] if page.counts else 0
                # The number of the page's last line, if another one follows.
                last = {**values, "limit": 2, "offset": page.offset + page.limit - 1}
                return last_seq, rows, [] if is_last else await tx.rows(search.numbers, last), total

        last_seq, rows, end, total = await self._database.read_long(logs)
        return ListedLines(
            items=[log_line(*row) for row in rows],
            last_seq=last_seq,
            total=total if page.counts else None,
            next_cursor=str(end[0][0]) if len(end) > 1 else None,
        )

    async def logs_after(
        self, workspace_id: WorkspaceId, id: ExecutionId, wanted: LogFilter, *, after: int, until: int, limit: int
    ) -> Sequence[LogLine]:
        search, values = log_search(workspace_id, id, wanted)
        values |= {"after": after, "until": until, "limit": limit, "offset": 0}

        async def logs(tx: Transaction) -> list[Row]:
            async with tx.snapshot():
                await existing_row(tx, LAST_SEQ, values, "execution")
                return await tx.rows(search.page, values)

        return [log_line(*row) for row in await self._database.read_long(logs)]


# The number of `_COLUMNS`, and a number of characters that no error has.
_WIDTH: Final = 18
_WHOLE: Final = 2**30


# Calling the enumeration takes ten times as long.
_STATUSES: Final = {status.value: status for status in Status}


V = TypeVar("V", bound=ExecutionView)


def _view(row: Row, kind: type[V], **more: Any) -> V:
    return kind(
        id=ExecutionId(row[0]),
        flow_id=FlowId(row[1]),
        status=_STATUSES[row[2]],
        started_at=from_ms(row[3]),
        completed_at=from_ms_or_none(row[4]),
        error=row[5],
        flow_name=row[6],
        revision=row[7],
        error_type=row[8],
        failed_node=row[9],
        log_counts=None if row[10] is None else row[10].encode(),
        trigger_id=row[11],
        rerun_of=None if row[12] is None else ExecutionId(row[12]),
        repaired_by=None if row[13] is None else ExecutionId(row[13]),
        labels=None if row[14] is None else row[14].encode(),
        parent_id=None if row[15] is None else ExecutionId(row[15]),
        waiting_at=None if row[16] is None else _first_wait(row[16]),
        started_by=row[17],
        **more,
    )


# The type and the node of the first one of `domain.explain.waiting_for`, within the characters that are read. The wait
# of the execution itself has no node.
_FIRST_WAIT: Final = re.compile(r'\[(\{"type":"(?:concurrency"|[^"\\]{1,200}","node":"(?:[^"\\]|\\.)*"))')


def _first_wait(beginning: str) -> bytes | None:
    if beginning == "room":
        return ROOM
    found = _FIRST_WAIT.match(beginning)
    return None if found is None else f"{found[1]}}}".encode()


_NULL: Final = msgspec.Raw(b"null")


class _Ends(msgspec.Struct):
    """Input, configuration values and result of an execution, not decoded."""

    input: msgspec.Raw = _NULL
    config: msgspec.Raw = _NULL
    result: msgspec.Raw = _NULL


_ENDS: Final = PartialDecoder(_Ends)
