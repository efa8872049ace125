"""Log lines of executions, which are events of their own type."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import msgspec

from flowrunner.domain.events import ROOT, Step
from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.event_codec import PartialDecoder
from flowrunner.ports.executions import LogFilter, LogLine
from flowrunner.storage.rows import from_ms
from flowrunner.storage.text_search import FoldedText, contains
from flowrunner.storage.transaction import Statement

# The lines that a filter selects, in the compact form and the older one: see `ports.event_codec`.
# SQLite reads no JSON of more than 1,000 levels, which the data of a line may have: no filter leaves out such a line.
_SQLITE: Final = """
SELECT {columns} FROM events
 WHERE execution_id = :id AND type IN ('l', 'log')
   AND EXISTS (SELECT 1 FROM executions WHERE id = :id AND workspace_id = :workspace_id)
   AND CASE WHEN :levels IS NULL AND :node IS NULL AND :step IS NULL AND :attempt IS NULL AND :text IS NULL THEN true
       WHEN length(data) > 2000 AND NOT json_valid(data) THEN true
       ELSE (:levels IS NULL OR instr(:levels, ',' || coalesce(data ->> '$.l', data ->> '$.level', 'info') || ',') > 0)
       AND (:node IS NULL OR coalesce(data ->> '$.n', data ->> '$.node') = :node)
       AND (:step IS NULL OR instr(data ->> '$.scope', :step || '[') = 1
            OR coalesce(data ->> '$.scope' || '/', '') || coalesce(data ->> '$.n', data ->> '$.node')
               || '.' || coalesce(data ->> '$.i', data ->> '$.iteration') = :step)
       AND (:attempt IS NULL OR (coalesce(data ->> '$.i', data ->> '$.iteration') IS NOT NULL
                                 AND coalesce(data ->> '$.a', data ->> '$.attempt', 1) = :attempt))
       AND (:text IS NULL OR {contains}) END
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
   AND (CAST(:step AS text) IS NULL OR strpos(line ->> 'scope', :step || '[') = 1
        OR coalesce((line ->> 'scope') || '/', '') || coalesce(line ->> 'n', line ->> 'node')
           || '.' || coalesce(line ->> 'i', line ->> 'iteration') = :step)
   AND (CAST(:attempt AS bigint) IS NULL
        OR (coalesce(line ->> 'i', line ->> 'iteration') IS NOT NULL
            AND coalesce(line ->> 'a', line ->> 'attempt', '1') = CAST(CAST(:attempt AS bigint) AS text)))
   AND (CAST(:text AS text) IS NULL OR {contains})
"""
_PAGE: Final = " AND seq > :after AND seq <= :until ORDER BY seq LIMIT :limit OFFSET :offset"


_MESSAGE: Final = Statement(
    sqlite="coalesce(data ->> '$.m', data ->> '$.message')", postgres="coalesce(line ->> 'm', line ->> 'message')"
)


@dataclass(frozen=True, slots=True)
class LogStatements:
    """The statements for the lines that a filter selects: for a page of them, their numbers, and their total."""

    page: Statement
    numbers: Statement
    count: Statement


@cache
def _statements(replaced: int) -> LogStatements:
    """Return the statements. Args: replaced: The number of letters to replace for the wanted text."""
    message = Statement(
        sqlite=contains(_MESSAGE.sqlite, replaced).sqlite, postgres=contains(_MESSAGE.postgres, replaced).postgres
    )

    def statement(columns: str, rest: str = "") -> Statement:
        sqlite, postgres = (text.replace("{columns}", columns) for text in (_SQLITE, _POSTGRES))
        return Statement(
            sqlite=sqlite.replace("{contains}", message.sqlite) + rest,
            postgres=postgres.replace("{contains}", message.postgres) + rest,
        )

    return LogStatements(
        page=statement("seq, at, type, data", _PAGE), numbers=statement("seq", _PAGE), count=statement("count(*)")
    )


_NULL: Final = msgspec.Raw(b"null")


def log_search(workspace_id: WorkspaceId, id: ExecutionId, wanted: LogFilter) -> tuple[LogStatements, dict[str, Any]]:
    """Return the statements for the lines of an execution that a filter selects, and their parameters."""
    text = FoldedText.of(wanted.text or "")
    return _statements(len(text.replaced)), {
        **text.values,
        "workspace_id": workspace_id,
        "id": id,
        "levels": f",{','.join(wanted.levels)}," if wanted.levels else None,
        "node": wanted.node,
        "step": wanted.step,
        "attempt": wanted.attempt,
        "text": text.text or None,
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
    attempt: int = 1


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
        attempt=log.attempt,
    )
