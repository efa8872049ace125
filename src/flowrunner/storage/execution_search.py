"""Search for executions: statements made of the conditions of a filter, over one index each.

One condition of a filter selects the index, which ends with the id. The others are examined row by row, for no more
than `MOST_EXAMINED` rows of the index: a page may then be short, and the next one goes on after the last of these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

from flowrunner.domain.execution import Status
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.executions import ExecutionFilter
from flowrunner.ports.page import Listed, Page
from flowrunner.storage.transaction import Transaction, one_row

# Rows of an index alone are counted in a tenth of the time in which rows of the table are examined.
MOST_COUNTED: Final = 10_000
MOST_EXAMINED: Final = 2_500

# Conditions that more executions fit than a term: their indexes are not used beside one.
_COMMONER: Final = frozenset({"error_type", "failed_node", "flow_id"})
# Conditions that are columns of an index between the workspace and the id, the most selective first.
_INDEXED: Final[Mapping[str, str]] = {
    "rerun_of": "AND x.rerun_of = :rerun_of",
    "trigger_id": "AND x.trigger_id = :trigger_id",
    "error_type": "AND x.error_type = :error_type",
    "failed_node": "AND x.failed_node = :failed_node",
    "flow_id": "AND x.flow_id = :flow_id",
}
# The same and others, in a form that no index is used for.
_EXAMINED: Final[Mapping[str, str]] = {
    "rerun_of": "AND coalesce(x.rerun_of, '') = :rerun_of",
    "trigger_id": "AND coalesce(x.trigger_id, '') = :trigger_id",
    "error_type": "AND coalesce(x.error_type, '') = :error_type",
    "failed_node": "AND coalesce(x.failed_node, '') = :failed_node",
    "flow_id": "AND coalesce(x.flow_id, '') = :flow_id",
    "statuses": "AND :statuses LIKE '%,' || x.status || ',%'",
    "is_unrepaired": """
AND NOT EXISTS (SELECT 1 FROM executions later
                 WHERE later.original_id = coalesce(x.original_id, x.id) AND later.status = 'completed'
                   AND later.id > CASE WHEN x.original_id IS NULL THEN '' ELSE x.id END
                   AND later.workspace_id = x.workspace_id)
""",
}
# The terms of a filter by their numbers: the first one selects the index of terms, the others are looked up in it.
_EXAMINED_TERM: Final = """
AND (SELECT count(*) FROM execution_terms o
      WHERE o.workspace_id = :workspace_id AND o.name = :name_{letter} AND o.value = :value_{letter}
        AND o.execution_id = {id}) = 1
"""
_LETTERS: Final = "abcdefghij"
# Conditions on the id, which every index ends with.
_RANGES: Final[Mapping[str, str]] = {"first_id": "AND {id} >= :first_id", "end_id": "AND {id} < :end_id"}
_FROM: Final = "SELECT id FROM ("
_NUMBER_OF: Final = "SELECT count(*) FROM ("
# An index with the status is searched for each one that is wanted, because such a range is in the order of the ids.
_OF_STATUS: Final = {status: f"AND x.status = '{status.value}' AND :is_{status.value}" for status in Status}

# The index of terms is searched for the rarest one.
NUMBER_OF_TERM: Final = """
SELECT count(*) FROM (SELECT 1 FROM execution_terms
                       WHERE workspace_id = :workspace_id AND name = :name AND value = :value LIMIT :examined) AS found
"""
COUNTS: Final = """
SELECT status, CAST(sum(number) AS bigint) FROM execution_counts WHERE workspace_id = :workspace_id GROUP BY status
"""
COUNTS_OF_FLOW: Final = """
SELECT status, CAST(sum(number) AS bigint) FROM execution_counts
 WHERE workspace_id = :workspace_id AND flow_id = :flow_id GROUP BY status
"""


@dataclass(frozen=True, slots=True)
class _Order:
    """The order of a list: what comes after a cursor, what is looked at until the last row, and how it is sorted."""

    after: str
    until: str
    by: str
    by_id: str


_NEWEST_FIRST: Final = _Order("AND {id} < :cursor", "AND {id} >= :last_id", "ORDER BY {id} DESC", "ORDER BY id DESC")
_OLDEST_FIRST: Final = _Order("AND {id} > :cursor", "AND {id} <= :last_id", "ORDER BY {id}", "ORDER BY id")


@dataclass(frozen=True, slots=True)
class _Source:
    """The rows of an index: the beginning of a statement that reads their ids, and the column of these."""

    ids: str
    id: str


_EXECUTIONS: Final = _Source("SELECT x.id FROM executions x WHERE x.workspace_id = :workspace_id", "x.id")
_TERMS: Final = _Source(
    """
SELECT t.execution_id AS id FROM execution_terms t
 WHERE t.workspace_id = :workspace_id AND t.name = :name_a AND t.value = :value_a
""",
    "t.execution_id",
)
_EXECUTIONS_OF_TERMS: Final = _Source(
    """
SELECT t.execution_id AS id FROM execution_terms t JOIN executions x ON x.id = t.execution_id
 WHERE t.workspace_id = :workspace_id AND t.name = :name_a AND t.value = :value_a
""",
    "t.execution_id",
)


@dataclass(frozen=True, slots=True)
class Search:
    """The statements of a search.

    Attributes:
        page: The ids of a page, in order.
        last: The last id to examine, if there are as many; None if every row of the index fits.
        number: The number of those that fit, up to one more than `MOST_COUNTED`; None if they are examined.
    """

    page: str
    last: str | None
    number: str | None


@cache
def search_of(given: frozenset[str], *, terms: int = 0, has_cursor: bool, is_reversed: bool) -> Search:
    """Return the statements for the conditions of a filter.

    Args:
        given: Names of `ExecutionFilter` that have a value.
        terms: The number of its terms.
    """
    order = _OLDEST_FIRST if is_reversed else _NEWEST_FIRST
    index = next((name for name in _INDEXED if name in given and not (terms and name in _COMMONER)), None)
    by_term = terms > 0 and index is None
    by_status = "statuses" in given and not by_term and index in (None, "flow_id")
    indexed = {index, "statuses"} if by_status else {index}
    examined = [_EXAMINED[name] for name in sorted(given & _EXAMINED.keys() - indexed)]
    source = indexes = _TERMS if by_term else _EXECUTIONS
    if by_term and examined:
        source = _EXECUTIONS_OF_TERMS
    examined += [_EXAMINED_TERM.replace("{letter}", letter) for letter in _LETTERS[by_term:terms]]
    ranges = [_RANGES[name] for name in sorted(given & _RANGES.keys())] + [order.after] * has_cursor
    bounds = [*([] if index is None else [_INDEXED[index]]), *ranges]
    ids = partial(_of_statuses if by_status else _of_all, bounds, order)
    page = partial(ids, source, ("LIMIT :limit OFFSET :offset", "LIMIT :most"))
    if examined:
        last = ids(indexes, ("LIMIT 1 OFFSET :examined - 1", "LIMIT :examined"), [])
        return Search(page=page([order.until, *examined]), last=last, number=None)
    counted = ids(source, ("LIMIT :counted + 1", "LIMIT :counted + 1"), [])
    return Search(page=page([]), last=None, number="\n".join((_NUMBER_OF, counted, ") AS found")))


def _of_all(
    bounds: Sequence[str], order: _Order, source: _Source, limits: tuple[str, str], conditions: Sequence[str]
) -> str:
    return "\n".join((source.ids, *bounds, *conditions, order.by, limits[0])).replace("{id}", source.id)


def _of_statuses(
    bounds: Sequence[str], order: _Order, source: _Source, limits: tuple[str, str], conditions: Sequence[str]
) -> str:
    """Return the statement for several statuses. Args: limits: That of all together, and of each status."""
    branches = [
        "\n".join((_FROM, source.ids, _OF_STATUS[status], *bounds, *conditions, order.by, limits[1], ") AS branch"))
        for status in Status
    ]
    merged = "\n".join((_FROM, "\nUNION ALL\n".join(branches), ") AS branches", order.by_id, limits[0]))
    return merged.replace("{id}", source.id)


async def search(
    tx: Transaction, workspace_id: WorkspaceId, wanted: ExecutionFilter, page: Page
) -> Listed[ExecutionId]:
    """Return the ids of a page, from one snapshot."""
    given = frozenset(name for name in (*_EXAMINED, *_RANGES) if getattr(wanted, name))
    statements = search_of(
        given, terms=len(frozenset(wanted.terms)), has_cursor=bool(page.cursor), is_reversed=page.is_reversed
    )
    async with tx.snapshot():
        values = _values(workspace_id, wanted, page) | await _terms(tx, workspace_id, wanted)
        if statements.last is not None:
            return await _examine(tx, statements, values, page)
        found = [ExecutionId(id) for (id,) in await tx.rows(statements.page, values)]
        total, is_exact = None, True
        if page.counts and not wanted.terms and given <= {"flow_id", "statuses"}:
            counts: dict[str, int] = dict(await tx.rows(COUNTS if wanted.flow_id is None else COUNTS_OF_FLOW, values))
            total = sum(counts.get(status, 0) for status in wanted.statuses or Status)
        elif page.counts and statements.number is not None:
            number = (await one_row(tx, statements.number, values))[0]
            total, is_exact = min(number, MOST_COUNTED), number <= MOST_COUNTED
    next_cursor = found[page.limit - 1] if len(found) > page.limit else None
    return Listed(items=found[: page.limit], total=total, is_exact=is_exact, next_cursor=next_cursor)


async def _terms(tx: Transaction, workspace_id: WorkspaceId, wanted: ExecutionFilter) -> dict[str, Any]:
    """Return the terms of a filter as parameters, the rarest first."""
    terms = list(dict.fromkeys(wanted.terms))
    if len(terms) > 1:
        numbers = {}
        for name, value in terms:
            values = {"workspace_id": workspace_id, "name": name, "value": value, "examined": MOST_EXAMINED}
            numbers[name, value] = (await one_row(tx, NUMBER_OF_TERM, values))[0]
        terms.sort(key=numbers.__getitem__)
    return {
        key: text
        for letter, (name, value) in zip(_LETTERS, terms, strict=False)
        for key, text in ((f"name_{letter}", name), (f"value_{letter}", value))
    }


async def _examine(tx: Transaction, statements: Search, values: dict[str, Any], page: Page) -> Listed[ExecutionId]:
    """Return the ids of a page that fit among the rows that may be examined."""
    assert statements.last is not None, "rows are examined"
    last = await tx.row(statements.last, values)
    # Ids are between these two.
    values["last_id"] = last[0] if last is not None else "~" if page.is_reversed else ""
    if page.counts:
        # All that fit are read at once, because examining the rows again takes as long.
        values |= {"limit": MOST_EXAMINED, "offset": 0, "most": MOST_EXAMINED}
    found = [ExecutionId(id) for (id,) in await tx.rows(statements.page, values)]
    total = len(found) if page.counts else None
    if page.counts:
        found = found[page.offset : page.offset + page.limit + 1]
    has_more = len(found) > page.limit
    next_cursor = found[page.limit - 1] if has_more else None if last is None else values["last_id"]
    return Listed(items=found[: page.limit], total=total, is_exact=last is None, next_cursor=next_cursor)


def _values(workspace_id: WorkspaceId, wanted: ExecutionFilter, page: Page) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(wanted, name) for name in (*_INDEXED, *_RANGES)}
    return values | {
        "workspace_id": workspace_id,
        "statuses": f",{','.join(wanted.statuses)},",
        **{f"is_{status}": status in wanted.statuses for status in Status},
        "cursor": page.cursor,
        # One more than is shown tells whether there is another page.
        "limit": page.limit + 1,
        "offset": page.offset,
        "most": page.limit + 1 + page.offset,
        "examined": MOST_EXAMINED,
        "counted": MOST_COUNTED,
    }
