"""Log lines of executions, which are events of their own type."""

from typing import Any, Final

import msgspec

from flowrunner.domain.events import ROOT, Step
from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.event_codec import PartialDecoder
from flowrunner.ports.executions import LogFilter, LogLine
from flowrunner.storage.rows import from_ms
from flowrunner.storage.transaction import Statement

# The lines that a filter selects, in the compact form and the older one: see `ports.event_codec`.
# SQLite reads no JSON of more than 1,000 levels, which data of a line may have: such a line is never left out.
_SQLITE: Final = """
SELECT {columns} FROM events
 WHERE execution_id = :id AND type IN ('l', 'log')
   AND EXISTS (SELECT 1 FROM executions WHERE id = :id AND workspace_id = :workspace_id)
   AND CASE WHEN :levels IS NULL AND :node IS NULL AND :text IS NULL THEN true
       WHEN length(data) > 2000 AND NOT json_valid(data) THEN true
       ELSE (:levels IS NULL OR instr(:levels, ',' || coalesce(data ->> '$.l', data ->> '$.level', 'info') || ',') > 0)
       AND (:node IS NULL OR coalesce(data ->> '$.n', data ->> '$.node') = :node)
       AND (:text IS NULL OR instr(lower(coalesce(data ->> '$.m', data ->> '$.message')), lower(:text)) > 0) END
"""
# PostgreSQL text cannot hold NUL, which a message may contain. The replacement is an escape as well, because the match
# may be the end of `\\u0000`, which is a backslash and no NUL.
_POSTGRES: Final = """
SELECT {columns} FROM events, LATERAL (SELECT replace(data, '\\u0000', '\\ufffd')::json AS line) AS parsed
 WHERE execution_id = :id AND type IN ('l', 'log')
   AND EXISTS (SELECT 1 FROM executions WHERE id = :id AND workspace_id = :workspace_id)
   AND (CAST(:levels AS text) IS NULL
        OR strpos(:levels, ',' || coalesce(line ->> 'l', line ->> 'level', 'info') || ',') > 0)
   AND (CAST(:node AS text) IS NULL OR coalesce(line ->> 'n', line ->> 'node') = :node)
   AND (CAST(:text AS text) IS NULL
        OR strpos(lower(coalesce(line ->> 'm', line ->> 'message')), lower(:text)) > 0)
"""
_PAGE: Final = " AND seq > :after AND seq <= :until ORDER BY seq LIMIT :limit OFFSET :offset"


def _statement(columns: str, rest: str = "") -> Statement:
    return Statement(
        sqlite=_SQLITE.replace("{columns}", columns) + rest, postgres=_POSTGRES.replace("{columns}", columns) + rest
    )


LOGS: Final = _statement("seq, at, type, data", _PAGE)
NUMBERS: Final = _statement("seq", _PAGE)
COUNT_LOGS: Final = _statement("count(*)")

_NULL: Final = msgspec.Raw(b"null")


def values_of(workspace_id: WorkspaceId, id: ExecutionId, wanted: LogFilter) -> dict[str, Any]:
    """Return the parameters that select the lines of an execution."""
    return {
        "workspace_id": workspace_id,
        "id": id,
        "levels": f",{','.join(wanted.levels)}," if wanted.levels else None,
        "node": wanted.node,
        "text": wanted.text,
    }


class _Line(msgspec.Struct):
    """A `Logged` event whose data is not decoded."""

    level: LogLevel = "info"
    message: str = ""
    node: str | None = None
    node_type: str | None = None
    data: msgspec.Raw = _NULL
    scope: str = ROOT
    iteration: int | None = None


_LINE: Final = PartialDecoder(_Line)


def log_line(seq: int, at: int, type: str, data: str) -> LogLine:
    log = _LINE.decode(type, data)
    step = None if log.node is None or log.iteration is None else Step(log.node, log.iteration, log.scope)
    return LogLine(
        seq=seq,
        timestamp=from_ms(at),
        level=log.level,
        message=log.message,
        node_id=log.node,
        node_type=log.node_type,
        data=None if log.data == _NULL else bytes(log.data),
        step=None if step is None else str(step),
    )
