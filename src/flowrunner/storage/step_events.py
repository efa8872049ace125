"""Events of an execution for the views of its steps."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from flowrunner.domain.events import ROOT
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.event_codec import PartialDecoder
from flowrunner.ports.journal import PAGE_OF_EVENTS_BYTES
from flowrunner.ports.steps import ScopeEvents, StoredEvent
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms
from flowrunner.storage.transaction import Row, Statement, Transaction, listed

# The first of these events, up to and including the one that reaches the number of characters (in PostgreSQL: bytes);
# `storage.journal` says why the two differ.
PAGE_WITHOUT_LOGS: Final = Statement(
    sqlite="""
WITH RECURSIVE page (seq, characters) AS (
  SELECT seq, length(data) FROM events
   WHERE execution_id = :id
     AND seq = (SELECT seq FROM events
                 WHERE execution_id = :id AND seq > :after AND type NOT IN ('l', 'log') ORDER BY seq LIMIT 1)
   UNION ALL
  SELECT e.seq, page.characters + length(e.data)
    FROM page JOIN events e ON e.execution_id = :id
     AND e.seq = (SELECT n.seq FROM events n
                   WHERE n.execution_id = :id AND n.seq > page.seq AND n.type NOT IN ('l', 'log')
                   ORDER BY n.seq LIMIT 1)
   WHERE page.characters < :characters LIMIT :limit)
SELECT seq, at, type, data FROM events
 WHERE execution_id = :id AND seq > :after AND seq <= (SELECT max(seq) FROM page) AND type NOT IN ('l', 'log')
 ORDER BY seq
""",
    postgres="""
SELECT seq, at, type, data
  FROM (SELECT seq, at, type, data, sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS before
          FROM events
         WHERE execution_id = :id AND seq > :after AND type NOT IN ('l', 'log') ORDER BY seq LIMIT :limit) AS page
 WHERE before < :characters ORDER BY seq
""",
)
# For events whose sizes need no limit: computing them takes longer than reading the events.
PAGE_OF_SMALL: Final = """
SELECT seq, at, type, data FROM events
 WHERE execution_id = :id AND seq > :after AND type NOT IN ('l', 'log') ORDER BY seq LIMIT :limit
"""
NUMBERED: Final = Statement(
    sqlite="""
SELECT seq, at, type, data FROM events
 WHERE execution_id = :id AND seq IN (SELECT value FROM json_each(:seqs)) ORDER BY seq
""",
    postgres="""
SELECT seq, at, type, data FROM events
 WHERE execution_id = :id AND seq = ANY(ARRAY(SELECT json_array_elements_text(CAST(:seqs AS json))::bigint))
 ORDER BY seq
""",
)

# Selects the events of the wanted scopes, and the ends of scopes in them that have a part of a collected list.
_IS_WANTED: Final = """
CASE type
WHEN 'l' THEN false
WHEN 'log' THEN false
WHEN 'scope.ended' THEN {ended} IN ({wanted}) OR ({has_part} AND {around} IN ({wanted_around}))
ELSE coalesce({scope} IN ({wanted}), true) END
"""
# The parts of the statements below. The end of a scope begins with the scope and the outcome: finding them without
# reading the event as JSON takes a third of the time.
_PARTS: Final = {
    "{has_part}": "{position}(data, '\"part_bytes\":') > 0",
    "{ended}": 'substr(data, 11, {position}(data, \'","outcome":"\') - 11)',
    "{outcome}": 'substr(data, {position}(data, \'","outcome":"\') + 13, 2)',
    # The scope around a scope, followed by a slash, and the step that has opened it, followed by a bracket:
    # `each.1[4]/` and `each.1[4]/both.1[` of `each.1[4]/both.1[left]`.
    # Testing an event for a slash takes less time than testing its scope.
    "{around}": "CASE {position}(data, '/') WHEN 0 THEN '' ELSE rtrim({ended}, replace({ended}, '/', '')) END",
    "{owner}": "CASE {position}(data, '/') WHEN 0 THEN substr({ended}, 1, {position}({ended}, '['))"
    " ELSE rtrim({ended}, replace({ended}, '[', '')) END",
    "{is_wanted}": _IS_WANTED,
    "{wanted}": "SELECT {texts}",
    "{wanted_around}": "SELECT CASE text WHEN '' THEN '' ELSE text || '/' END FROM (SELECT {texts}) AS wanted",
}
# SQLite reads no JSON of more than 1,000 levels, which a result may have: the scope of such an event is unknown here.
_SQLITE: Final = {
    "{position}": "instr",
    "{scope}": "CASE WHEN length(data) < 2000 OR json_valid(data) THEN coalesce(data ->> '$.scope', '') END",
    "{texts}": "value AS text FROM json_each(:scopes)",
}
# PostgreSQL text cannot hold NUL, which a value may contain; `storage.execution_logs` says more.
_POSTGRES: Final = {
    "{position}": "strpos",
    "{scope}": "coalesce(replace(data, '\\u0000', '\\ufffd')::json ->> 'scope', '')",
    "{texts}": "json_array_elements_text(CAST(:scopes AS json)) AS text",
}
_OF_SCOPES: Final = Statement(
    sqlite="""
WITH RECURSIVE page (seq, characters) AS (
  SELECT seq, length(data) FROM events
   WHERE execution_id = :id
     AND seq = (SELECT seq FROM events
                 WHERE execution_id = :id AND seq > :after AND seq <= :until AND {is_wanted} ORDER BY seq LIMIT 1)
   UNION ALL
  SELECT e.seq, page.characters + length(e.data)
    FROM page JOIN events e ON e.execution_id = :id
     AND e.seq = (SELECT seq FROM events
                   WHERE execution_id = :id AND seq > page.seq AND seq <= :until AND {is_wanted} ORDER BY seq LIMIT 1)
   WHERE page.characters < :characters LIMIT :limit)
SELECT seq, at, type, data, type <> 'scope.ended' AND {scope} IS NULL FROM events
 WHERE execution_id = :id AND seq IN (SELECT seq FROM page) ORDER BY seq
""",
    # The size is counted in characters, as `of_scopes` counts it.
    postgres="""
SELECT seq, at, type, data, type <> 'scope.ended' AND {scope} IS NULL
  FROM (SELECT seq, at, type, data, sum(length(data)) OVER (ORDER BY seq) - length(data) AS before
          FROM events
         WHERE execution_id = :id AND seq > :after AND seq <= :until AND {is_wanted} ORDER BY seq LIMIT :limit) AS page
 WHERE before < :characters ORDER BY seq
""",
)
_ENDED_SCOPES: Final = """
SELECT {owner}, {outcome}, count(*)
  FROM events
 WHERE execution_id = :id AND seq > :after AND seq <= :until AND type = 'scope.ended' AND NOT {has_part}
   AND {around} IN ({wanted_around}) AND {ended} NOT IN ({wanted})
 GROUP BY 1, 2
"""
_OUTCOMES: Final = {"co": "completed", "fa": "failed", "ca": "cancelled"}


def _statement(sqlite: str, postgres: str) -> Statement:
    return Statement(sqlite=_filled(sqlite, _PARTS | _SQLITE), postgres=_filled(postgres, _PARTS | _POSTGRES))


def _filled(text: str, parts: Mapping[str, str]) -> str:
    while any(name in text for name in parts):
        for name, part in parts.items():
            text = text.replace(name, part)
    return text


OF_SCOPES: Final = _statement(_OF_SCOPES.sqlite, _OF_SCOPES.postgres)
ENDED_SCOPES: Final = _statement(_ENDED_SCOPES, _ENDED_SCOPES)
_EVENTS_AT_ONCE: Final = 1000


class _Scope(msgspec.Struct):
    scope: str = ROOT


_SCOPE: Final = PartialDecoder(_Scope)


class SqlStepEvents:
    """Implements `ports.StepEvents`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, id: ExecutionId, seq: int, *, limit: int, are_small: bool = False) -> Sequence[StoredEvent]:
        values = {"id": id, "after": seq, "limit": limit, "characters": PAGE_OF_EVENTS_BYTES}
        statement = PAGE_OF_SMALL if are_small else PAGE_WITHOUT_LOGS
        rows = await self._database.read_long(lambda tx: tx.rows(statement, values))
        return list(map(_event, rows))

    async def numbered(self, id: ExecutionId, seqs: Sequence[int]) -> Sequence[StoredEvent]:
        values = {"id": id, "seqs": msgspec.json.encode(seqs).decode()}
        rows = await self._database.read_long(lambda tx: tx.rows(NUMBERED, values))
        return list(map(_event, rows))

    async def of_scopes(self, id: ExecutionId, seq: int, *, until: int, scopes: Collection[str]) -> ScopeEvents:
        values = {"id": id, "after": seq, "scopes": listed(sorted(scopes))}
        limits = {"limit": _EVENTS_AT_ONCE, "characters": PAGE_OF_EVENTS_BYTES}

        async def read(tx: Transaction) -> ScopeEvents:
            rows = await tx.rows(OF_SCOPES, {**values, **limits, "until": until})
            size = sum(len(row[3]) for row in rows)
            is_cut = len(rows) == _EVENTS_AT_ONCE or size >= PAGE_OF_EVENTS_BYTES
            last_seq = rows[-1][0] if is_cut else until
            ended = await tx.rows(ENDED_SCOPES, {**values, "until": last_seq})
            # No step has opened the scope of a handler.
            counts = {(owner[:-1], _OUTCOMES[outcome]): count for owner, outcome, count in ended if owner}
            wanted = [row[:4] for row in rows if not row[4] or _SCOPE.decode(row[2], row[3]).scope in scopes]
            return ScopeEvents(list(map(_event, wanted)), counts, last_seq)

        return await self._database.read_long(read)


def _event(row: Row) -> StoredEvent:
    seq, at, type, data = row
    return StoredEvent(seq, from_ms(at), type, data.encode())
