"""Search for executions: statements made of the conditions of a filter, over one index each.

One condition of a filter selects the index, which ends with the id. The others are examined row by row, for no more
than `MOST_EXAMINED` rows of the index: a page may then be short, and the next one goes on after the last of these.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

import msgspec

from flowrunner.domain.status import Status
from flowrunner.domain.values import WorkspaceId
from flowrunner.ports.executions import LONGEST_LISTED_ERROR, ExecutionFilter
from flowrunner.ports.page import Listed, Page
from flowrunner.storage.transaction import Row, Statement, Transaction, one_row

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
# The total of a filter that has a flow and statuses alone.
_COUNTED: Final = """
SELECT CAST(coalesce(sum(number), 0) AS bigint) FROM execution_counts WHERE workspace_id = :workspace_id
"""
_COUNTED_STATUSES: Final = "AND :statuses LIKE '%,' || status || ',%'"


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
        number: The number of those that fit; None if they are examined.
        is_bounded: The number is one more than `MOST_COUNTED` at most.
    """

    page: str
    last: str | None = None
    number: str | None = None
    is_bounded: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """The columns that a search returns of each execution, the id first, and the joins that they are from.

    Attributes:
        of_ids: The statement that returns them for `:ids`.
    """

    columns: str
    joins: str
    of_ids: Statement


@cache
def _listed(listing: Listing, page: str, number: str | None) -> str:
    """Return the statement for the rows of a page, with the total in each."""
    total = "NULL" if number is None else f"({number})"
    return f"{listing.columns}, {total} FROM ({page}) AS found JOIN executions x ON x.id = found.id {listing.joins}"


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
        return Search(page=page([order.until, *examined]), last=last)
    if not terms and given <= {"flow_id", "statuses"}:
        conditions = ["AND flow_id = :flow_id"] * ("flow_id" in given) + [_COUNTED_STATUSES] * ("statuses" in given)
        return Search(page=page([]), number="\n".join((_COUNTED, *conditions)))
    counted = ids(source, ("LIMIT :counted + 1", "LIMIT :counted + 1"), [])
    return Search(page=page([]), number="\n".join((_NUMBER_OF, counted, ") AS found")), is_bounded=True)


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
    tx: Transaction, workspace_id: WorkspaceId, wanted: ExecutionFilter, page: Page, listing: Listing
) -> Listed[Row]:
    """Return the rows of a page, from one snapshot."""
    given = frozenset(name for name in _CONDITIONS if getattr(wanted, name))
    terms = frozenset(wanted.terms) if wanted.terms else ()
    has_cursor = bool(page.cursor)
    statements = search_of(given, terms=len(terms), has_cursor=has_cursor, is_reversed=page.is_reversed)
    values = _values(workspace_id, wanted, page)
    if statements.last is not None:
        async with tx.snapshot():
            return await _examine(tx, statements, values | await _terms(tx, workspace_id, terms), page, listing)
    values |= await _terms(tx, workspace_id, terms)
    number = statements.number if page.counts else None
    # One statement, because beginning and ending a transaction takes as long as another one.
    rows = await tx.rows(_listed(listing, statements.page, number), values)
    total: int | None = None
    if number is not None:
        total = rows[0][-1] if rows else (await one_row(tx, number, values))[0]
    is_exact = not statements.is_bounded or total is None or total <= MOST_COUNTED
    rows.sort(key=_id_of, reverse=not page.is_reversed)
    return Listed(
        items=rows[: page.limit],
        total=total if is_exact else MOST_COUNTED,
        is_exact=is_exact,
        next_cursor=rows[page.limit - 1][0] if len(rows) > page.limit else None,
    )


def _id_of(row: Row) -> str:
    id: str = row[0]
    return id


async def _terms(tx: Transaction, workspace_id: WorkspaceId, wanted: Collection[tuple[str, str]]) -> dict[str, Any]:
    """Return the terms of a filter as parameters, the rarest first."""
    terms = list(wanted)
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


async def _examine(
    tx: Transaction, statements: Search, values: dict[str, Any], page: Page, listing: Listing
) -> Listed[Row]:
    """Return the rows of a page that fit among those that may be examined."""
    assert statements.last is not None, "rows are examined"
    last = await tx.row(statements.last, values)
    # Ids are between these two.
    values["last_id"] = last[0] if last is not None else "~" if page.is_reversed else ""
    if page.counts:
        # All that fit are read at once, because examining the rows again takes as long.
        values |= {"limit": MOST_EXAMINED, "offset": 0, "most": MOST_EXAMINED}
    found = [id for (id,) in await tx.rows(statements.page, values)]
    total = len(found) if page.counts else None
    if page.counts:
        found = found[page.offset : page.offset + page.limit + 1]
    has_more = len(found) > page.limit
    next_cursor = found[page.limit - 1] if has_more else None if last is None else values["last_id"]
    ids = {"ids": msgspec.json.encode(found[: page.limit]).decode()}
    rows = await tx.rows(listing.of_ids, values | ids) if found else []
    rows.sort(key=_id_of, reverse=not page.is_reversed)
    return Listed(items=rows, total=total, is_exact=last is None, next_cursor=next_cursor)


def _values(workspace_id: WorkspaceId, wanted: ExecutionFilter, page: Page) -> dict[str, Any]:
    # One more than is shown tells whether there is another page.
    limit = page.limit + 1
    values: dict[str, Any] = {
        "workspace_id": workspace_id,
        "flow_id": wanted.flow_id,
        "cursor": page.cursor,
        "limit": limit,
        "offset": page.offset,
        "most": limit + page.offset,
        "examined": MOST_EXAMINED,
        "counted": MOST_COUNTED,
        "error_characters": LONGEST_LISTED_ERROR + 1,
    }
    if wanted == _ALL:
        return values
    values |= {name: getattr(wanted, name) for name in (*_INDEXED, *_RANGES)}
    values["statuses"] = f",{','.join(wanted.statuses)},"
    return values | {f"is_{status}": status in wanted.statuses for status in Status}


_ALL: Final = ExecutionFilter()
_CONDITIONS: Final = (*_EXAMINED, *_RANGES)
