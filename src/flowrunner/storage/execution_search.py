"""Search for executions: statements made of the conditions of a filter, over one index each.

One condition of a filter selects the index, which ends with the id: the condition that the fewest executions fit, by
the first entries of each index. The others are tested row by row, for at most `MOST_EXAMINED` rows of the index: a page
may then be short, and the next one continues after the last of these.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import msgspec

from flowrunner.domain.status import Status
from flowrunner.domain.values import WorkspaceId
from flowrunner.ports.executions import LONGEST_LISTED_ERROR, ExecutionFilter
from flowrunner.ports.page import Listed, Page
from flowrunner.storage.transaction import Row, Statement, Transaction, listed, one_row

# Counting rows of an index takes a tenth of the time of examining rows of the table.
MOST_COUNTED: Final = 10_000
MOST_EXAMINED: Final = 1_000
# For a count, all of these are examined, even if the page is full earlier.
MOST_EXAMINED_TO_COUNT: Final = 500
# Limit of the entries, of all indexes together, that are counted to choose an index.
MOST_SAMPLED: Final = 6_000
# A page with this offset is read from its far end: the entries before it are counted, and few are sorted.
FAR: Final = 1_000

# The executions that repair an execution `x` which failed or was cancelled: completed repeats of it, or later ones of
# its chain of reruns.
REPAIRS: Final = """
FROM executions later
WHERE later.original_id = coalesce(x.original_id, x.id) AND later.status = 'completed'
  AND later.id > CASE WHEN x.original_id IS NULL THEN '' ELSE x.id END
  AND later.workspace_id = x.workspace_id
"""
_IS_UNREPAIRED: Final = "AND (SELECT count(*) FROM (SELECT 1 {repairs} LIMIT 1) AS repairs) = 0"
# With each status, so that one entry of the index is read for each, however many repeats there are.
_IS_LATEST: Final = """
AND (SELECT count(*) FROM (
       SELECT 1 FROM executions later
        WHERE later.original_id = coalesce(x.original_id, x.id) AND later.status IN ({statuses})
          AND later.id > x.id AND later.workspace_id = x.workspace_id
        LIMIT 1) AS repeats) = 0
"""
# Conditions that are columns of an index before the id, beside the workspace. Statuses have one alone and with the
# flow.
_INDEXED: Final[Mapping[str, str]] = {
    "parent_id": "AND e.parent_id = :parent_id",
    "rerun_of": "AND e.rerun_of = :rerun_of",
    "trigger_id": "AND e.trigger_id = :trigger_id",
    "error_type": "AND e.error_type = :error_type",
    "failed_node": "AND e.failed_node = :failed_node",
    "flow_id": "AND e.flow_id = :flow_id",
}
# The same conditions and others, on an execution that an index has found.
_EXAMINED: Final[Mapping[str, str]] = {
    "parent_id": "AND x.parent_id = :parent_id",
    "rerun_of": "AND x.rerun_of = :rerun_of",
    "trigger_id": "AND x.trigger_id = :trigger_id",
    "error_type": "AND x.error_type = :error_type",
    "failed_node": "AND x.failed_node = :failed_node",
    "flow_id": "AND x.flow_id = :flow_id",
    "statuses": "AND :statuses LIKE '%,' || x.status || ',%'",
    "has_no_parent": "AND x.parent_id IS NULL",
    "is_unrepaired": _IS_UNREPAIRED.replace("{repairs}", REPAIRS),
    "is_latest": _IS_LATEST.replace("{statuses}", ", ".join(f"'{status.value}'" for status in Status)),
}
# Lookups of one row each. They count it, because PostgreSQL would turn an EXISTS into a join with the whole table.
_EXAMINED_EXECUTION: Final = "AND (SELECT count(*) FROM executions x WHERE x.id = {id} {conditions}) = 1"
_EXAMINED_TERM: Final = """
AND (SELECT count(*) FROM execution_terms o
      WHERE o.workspace_id = :workspace_id AND o.name = :name_{letter} AND o.value = :value_{letter}
        AND o.execution_id = {id}) = 1
"""
# The terms of a filter by their numbers.
_LETTERS: Final = "abcdefghij"
# Conditions on the id, which every index ends with. SQLite uses one of each for the index, and would examine a second
# one row by row; so these two are also those of the cursor and of the last row to examine.
_RANGES: Final[Mapping[str, str]] = {"first_id": "AND {id} >= :first_id", "end_id": "AND {id} < :end_id"}
_FROM: Final = "SELECT id FROM ("
_NUMBER_OF: Final = "SELECT count(*) FROM ("
_NUMBERS: Final = "SELECT {numbers}"
_FURTHEST: Final = "SELECT {nearest} FROM ({ids}) AS lasts"
# One row, because a query releases and acquires the interpreter's lock for every row. The ids have no order.
_IN_ONE_ROW: Final = Statement(
    sqlite="SELECT json_group_array(id) FROM ({ids})",
    postgres="SELECT coalesce(json_agg(id), '[]') FROM ({ids}) AS found",
)
_IDS: Final = msgspec.json.Decoder(list[str])
_NUMBER: Final = "(SELECT count(*) FROM ({ids}) AS entries)"
# An index with the status is searched once for each wanted status, because such a range is in the order of the ids. If
# the filter names none, all are wanted, so that the executions of a workspace need no index of their own.
_OF_STATUS: Final = {status: f"AND e.status = '{status.value}' AND :is_{status.value}" for status in Status}

COUNTS: Final = """
SELECT status, CAST(sum(number) AS bigint) FROM execution_counts WHERE workspace_id = :workspace_id GROUP BY status
"""
# The total for a filter of a flow and statuses only.
_COUNTED: Final = """
SELECT CAST(coalesce(sum(number), 0) AS bigint) FROM execution_counts WHERE workspace_id = :workspace_id
"""
_COUNTED_STATUSES: Final = "AND :statuses LIKE '%,' || status || ',%'"


@dataclass(frozen=True, slots=True)
class _Order:
    """The order of a list: the sorting, the bound that the id of its last row is, and the nearest of several bounds."""

    by: str
    by_id: str
    bound: str
    nearest: str


_NEWEST_FIRST: Final = _Order("ORDER BY {id} DESC", "ORDER BY id DESC", "first_id", "max(id)")
_OLDEST_FIRST: Final = _Order("ORDER BY {id}", "ORDER BY id", "end_id", "min(id)")
# The order of a count: PostgreSQL reads an index only if the entries have its order.
_ANY_ORDER: Final = replace(_NEWEST_FIRST, by_id="")


@dataclass(frozen=True, slots=True)
class _Source:
    """The rows of an index: the beginning of a statement that reads their ids, and the column of these."""

    ids: str
    id: str


_EXECUTIONS: Final = _Source("SELECT e.id FROM executions e WHERE e.workspace_id = :workspace_id", "e.id")
_TERMS: Final = _Source(
    """
SELECT t.execution_id AS id FROM execution_terms t
 WHERE t.workspace_id = :workspace_id AND t.name = :name_{letter} AND t.value = :value_{letter}
""",
    "t.execution_id",
)


@dataclass(frozen=True, slots=True)
class Search:
    """The statements of a search.

    Attributes:
        page: The ids of a page, in order.
        last: The last id to examine, if there are that many; None if every row of the index fits.
        number: The number of rows that fit; None if they are examined.
        is_bounded: The number is at most one more than `MOST_COUNTED`.
        furthest: A bound of the ids of a page far from the first one; None if the rows are those of one index.
        up_to_furthest: The number of rows that fit up to this bound.
        from_furthest: The ids of such a page, read from this bound in the other direction.
    """

    page: str
    last: str | None = None
    number: str | None = None
    is_bounded: bool = False
    furthest: str | None = None
    up_to_furthest: str = ""
    from_furthest: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """The columns that a search returns for each execution, beginning with the id, and the joins for them.

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
def _in_one_row(ids: str) -> Statement:
    return Statement(
        sqlite=_IN_ONE_ROW.sqlite.replace("{ids}", ids), postgres=_IN_ONE_ROW.postgres.replace("{ids}", ids)
    )


def indexes_of(given: frozenset[str], terms: int) -> Sequence[str]:
    """Return the indexes that a search can use: names of conditions, and the letters of terms.

    Of two with the same number of fitting entries, the earlier one is better: looking up a term is faster than looking
    up an execution.
    """
    names = [name for name in _INDEXED if name in given]
    if "statuses" in given and "flow_id" not in given:
        names.append("statuses")
    return [*names, *_LETTERS[:terms]]


@cache
def numbers_of(given: frozenset[str], *, terms: int) -> str:
    """Return the statement that counts the first entries of each index that a search can use."""
    ranges = [_RANGES[name] for name in sorted(given & _RANGES.keys())]
    limits = ("LIMIT :sampled", "LIMIT :sampled")
    counted = [_Entries.of(name, given, ranges).ids(_ANY_ORDER, limits) for name in indexes_of(given, terms)]
    return _NUMBERS.replace("{numbers}", ", ".join(_NUMBER.replace("{ids}", ids) for ids in counted))


@dataclass(frozen=True, slots=True)
class _Entries:
    """The entries of an index that fit a filter. Args: by_status: The entries of each wanted status are read apart."""

    source: _Source
    conditions: Sequence[str]
    by_status: bool

    @classmethod
    def of(cls, index: str | None, given: frozenset[str], ranges: Sequence[str]) -> "_Entries":
        if index is not None and index in _LETTERS:
            return cls(_Source(_TERMS.ids.replace("{letter}", index), _TERMS.id), ranges, by_status=False)
        by_status = index in ("statuses", None) or (index == "flow_id" and "statuses" in given)
        conditions = [] if index is None or index not in _INDEXED else [_INDEXED[index]]
        return cls(_EXECUTIONS, [*conditions, *ranges], by_status)

    def ids(self, order: _Order, limits: tuple[str, str], examined: Sequence[str] = ()) -> str:
        """Return the statement for their ids. Args: limits: The limit of all together, and the one of each status."""
        parts = [*examined, order.by]
        if not self.by_status:
            text = "\n".join((self.source.ids, *self.conditions, *parts, limits[0]))
        else:
            branches = [
                "\n".join((_FROM, *self._of_status(status), *parts, limits[1], ") AS branch")) for status in Status
            ]
            text = "\n".join((_FROM, "\nUNION ALL\n".join(branches), ") AS branches", order.by_id, limits[0]))
        return text.replace("{id}", self.source.id)

    def numbers_by_status(self) -> str:
        """Return the statement for their number, which takes half of the time of counting their ids."""
        numbers = [_NUMBER.replace("{ids}", "\n".join(self._of_status(status))) for status in Status]
        return _NUMBERS.replace("{numbers}", " + ".join(numbers)).replace("{id}", self.source.id)

    def _of_status(self, status: Status) -> Sequence[str]:
        return self.source.ids, _OF_STATUS[status], *self.conditions


# The limits of a far page, with the entries between the furthest bound and the page, which are not shown.
_BEYOND_PAGE: Final = ("LIMIT :limit OFFSET :beyond", "LIMIT :beyond_and_page")


@cache
def search_of(given: frozenset[str], *, index: str | None, terms: int = 0, is_reversed: bool = False) -> Search:
    """Return the statements for the conditions of a filter.

    Args:
        given: Names of `ExecutionFilter` that have a value; a cursor is a bound of the ids.
        index: One of `indexes_of`; None if there is none.
        terms: The number of its terms.
    """
    order = _OLDEST_FIRST if is_reversed else _NEWEST_FIRST
    entries = _Entries.of(index, given, [_RANGES[name] for name in sorted(given & _RANGES.keys())])
    indexed = {index, "statuses"} if entries.by_status else {index}
    conditions = " ".join(_EXAMINED[name] for name in sorted(given & _EXAMINED.keys() - indexed))
    examined = [_EXAMINED_EXECUTION.replace("{conditions}", conditions)] if conditions else []
    examined += [_EXAMINED_TERM.replace("{letter}", letter) for letter in _LETTERS[:terms] if letter != index]
    limits = ("LIMIT :limit OFFSET :offset", "LIMIT :most")
    if examined:
        bounds = given & _RANGES.keys() | {order.bound}
        rows = _Entries.of(index, given, [_RANGES[name] for name in sorted(bounds)])
        last = entries.ids(order, ("LIMIT 1 OFFSET :examined - 1", "LIMIT :examined"))
        return Search(page=rows.ids(order, limits, examined), last=last)
    search = Search(page=entries.ids(order, limits))
    if entries.by_status:
        # A page that ends with entry number `:most` has nothing beyond entry number `:most` of any one status.
        # PostgreSQL takes a parameter beside a small number for one of 32 bits.
        lasts = entries.ids(replace(order, by_id=""), ("", "LIMIT 1 OFFSET CAST(:most AS bigint) - 1"))
        furthest = _FURTHEST.replace("{nearest}", order.nearest).replace("{ids}", lasts)
        ranges = [_RANGES[name] for name in sorted(given & _RANGES.keys() | {order.bound})]
        near, other_way = _Entries.of(index, given, ranges), _NEWEST_FIRST if is_reversed else _OLDEST_FIRST
        number, ids = near.numbers_by_status(), near.ids(other_way, _BEYOND_PAGE)
        search = replace(
            search,
            furthest=furthest,
            up_to_furthest=number.replace(f":{order.bound}", ":furthest"),
            from_furthest=ids.replace(f":{order.bound}", ":furthest"),
        )
    if not terms and given <= {"flow_id", "statuses"}:
        counted = ["AND flow_id = :flow_id"] * ("flow_id" in given) + [_COUNTED_STATUSES] * ("statuses" in given)
        return replace(search, number="\n".join((_COUNTED, *counted)))
    ids = entries.ids(_ANY_ORDER, ("LIMIT :counted + 1", "LIMIT :counted + 1"))
    return replace(search, number=f"{_NUMBER_OF}{ids}) AS found", is_bounded=True)


async def search(
    tx: Transaction, workspace_id: WorkspaceId, wanted: ExecutionFilter, page: Page, listing: Listing
) -> Listed[Row]:
    """Return the rows of a page, from one snapshot."""
    whole, wanted = wanted, _from_cursor(wanted, page)
    given = frozenset(name for name in _CONDITIONS if getattr(wanted, name))
    terms = sorted(frozenset(wanted.terms)) if wanted.terms else []
    values = _values(workspace_id, wanted, page, terms)
    indexes = indexes_of(given, len(terms))
    if len(indexes) > 1:
        async with tx.snapshot():
            values["sampled"] = MOST_SAMPLED // len(indexes)
            numbers = await one_row(tx, numbers_of(given, terms=len(terms)), values)
            index = indexes[numbers.index(min(numbers))]
            statements = search_of(given, index=index, terms=len(terms), is_reversed=page.is_reversed)
            return await _examine(tx, statements, values, page, listing)
    only = indexes[0] if indexes else None
    statements = search_of(given, index=only, terms=len(terms), is_reversed=page.is_reversed)
    if statements.last is not None:
        async with tx.snapshot():
            return await _examine(tx, statements, values, page, listing)
    total: int | None = None
    counting = statements
    if page.counts and page.cursor:
        # The total includes the rows before the cursor.
        given = frozenset(name for name in _CONDITIONS if getattr(whole, name))
        counting = search_of(given, index=only, terms=len(terms))
        assert counting.number is not None, "as with the cursor, nothing is examined"
        async with tx.snapshot():
            rows = await tx.rows(_listed(listing, statements.page, None), values)
            total = (await one_row(tx, counting.number, _values(workspace_id, whole, page, terms)))[0]
    else:
        number = statements.number if page.counts else None
        is_far = page.offset >= FAR and statements.furthest is not None
        # Otherwise one statement, because beginning and ending a transaction takes as long as another one.
        async with tx.snapshot() if is_far else nullcontext():
            ids = await _ids_of_far_page(tx, statements, values, page) if is_far else statements.page
            rows = await tx.rows(_listed(listing, ids, number), values)
            if number is not None:
                # An empty first page says that there are none, also if one has begun since.
                total = rows[0][-1] if rows else (await one_row(tx, number, values))[0] if page.offset else 0
    is_exact = not counting.is_bounded or total is None or total <= MOST_COUNTED
    rows.sort(key=_id_of, reverse=not page.is_reversed)
    return Listed(
        items=rows[: page.limit],
        total=total if is_exact else MOST_COUNTED,
        is_exact=is_exact,
        next_cursor=rows[page.limit - 1][0] if len(rows) > page.limit else None,
    )


async def _ids_of_far_page(tx: Transaction, statements: Search, values: dict[str, Any], page: Page) -> str:
    """Return the statement for the ids of a page that is far from the first one, and add its bounds to the values."""
    assert statements.furthest is not None, "the rows are those of several indexes"
    (furthest,) = await one_row(tx, statements.furthest, values)
    if furthest is None:
        return statements.page
    values["furthest"] = _after(furthest) if page.is_reversed else furthest
    (number,) = await one_row(tx, statements.up_to_furthest, values)
    values["beyond"] = number - values["most"]
    values["beyond_and_page"] = values["beyond"] + values["limit"]
    return statements.from_furthest


def _from_cursor(wanted: ExecutionFilter, page: Page) -> ExecutionFilter:
    """Return the filter for the ids after the cursor of the page."""
    cursor = page.after_id("exec")
    if not cursor:
        return wanted
    if page.is_reversed:
        return replace(wanted, first_id=max(wanted.first_id or "", _after(cursor)))
    return replace(wanted, end_id=cursor if wanted.end_id is None else min(wanted.end_id, cursor))


def _after(id: str) -> str:
    """Return the first text after an id that can be another id."""
    return id + "\x01"


def _id_of(row: Row) -> str:
    id: str = row[0]
    return id


async def _examine(
    tx: Transaction, statements: Search, values: dict[str, Any], page: Page, listing: Listing
) -> Listed[Row]:
    """Return the rows of a page, out of those that may be examined."""
    assert statements.last is not None, "rows are examined"
    last = await tx.row(statements.last, values)
    if last is not None:
        values |= {"end_id": _after(last[0])} if page.is_reversed else {"first_id": last[0]}
    if page.counts:
        # Reads all fitting rows at once, because examining the rows again takes as long.
        values |= {"limit": MOST_EXAMINED_TO_COUNT, "offset": 0, "most": MOST_EXAMINED_TO_COUNT}
    found = _IDS.decode((await one_row(tx, _in_one_row(statements.page), values))[0])
    found.sort(reverse=not page.is_reversed)
    total = len(found) if page.counts else None
    if page.counts:
        found = found[page.offset : page.offset + page.limit + 1]
    has_more = len(found) > page.limit
    next_cursor = found[page.limit - 1] if has_more else None if last is None else last[0]
    ids = {"ids": listed(found[: page.limit])}
    rows = await tx.rows(listing.of_ids, values | ids) if found else []
    rows.sort(key=_id_of, reverse=not page.is_reversed)
    return Listed(items=rows, total=total, is_exact=last is None and not page.cursor, next_cursor=next_cursor)


def _values(
    workspace_id: WorkspaceId, wanted: ExecutionFilter, page: Page, terms: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    # One more than is shown, to know whether there is another page.
    limit = page.limit + 1
    values: dict[str, Any] = {
        "workspace_id": workspace_id,
        "limit": limit,
        "offset": page.offset,
        "most": limit + page.offset,
        "examined": min(MOST_EXAMINED, MOST_EXAMINED_TO_COUNT) if page.counts else MOST_EXAMINED,
        "counted": MOST_COUNTED,
        "error_characters": LONGEST_LISTED_ERROR + 1,
    }
    if wanted == _ALL:
        return values | _EVERY_STATUS
    values |= {name: getattr(wanted, name) for name in _INDEXED}
    # Ids are between these two.
    values |= {"first_id": wanted.first_id or "", "end_id": "~" if wanted.end_id is None else wanted.end_id}
    values["statuses"] = f",{','.join(wanted.statuses)},"
    values |= {f"is_{status}": status in wanted.statuses for status in Status} if wanted.statuses else _EVERY_STATUS
    for letter, (name, value) in zip(_LETTERS, terms, strict=False):
        values |= {f"name_{letter}": name, f"value_{letter}": value}
    return values


def values_after(workspace_id: WorkspaceId, id: str, *, limit: int) -> dict[str, Any]:
    """Return the parameters of `IDS_AFTER`, for the executions after one of them."""
    limits = {"limit": limit, "offset": 0, "most": limit}
    return {"workspace_id": workspace_id, "first_id": _after(id)} | limits | _EVERY_STATUS


_ALL: Final = ExecutionFilter()
_EVERY_STATUS: Final = {f"is_{status}": True for status in Status}
# The ids of a workspace's executions, in their order.
IDS_AFTER: Final = search_of(frozenset({"first_id"}), index=None, is_reversed=True).page
_CONDITIONS: Final = (*_EXAMINED, *_RANGES)
