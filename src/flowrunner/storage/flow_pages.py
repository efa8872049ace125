"""Pages of the flows of a workspace, selected by a filter."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any, Final, NamedTuple

import msgspec

from flowrunner.domain.errors import invalid
from flowrunner.domain.flow_names import composed
from flowrunner.domain.values import FlowId, WorkspaceId
from flowrunner.ports.flows import FlowFilter, FlowSort, FlowView
from flowrunner.ports.page import Page, number_of
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms, from_ms_or_none
from flowrunner.storage.text_search import FoldedText, contains
from flowrunner.storage.transaction import Statement, listed, one_row

_FLOWS_AT_ONCE: Final = 100

# As in the index of names, whose order must not depend on where the database was made.
NAME_IN_POSTGRES: Final = 'name COLLATE "C"'
# The conditions of a filter, by their parameters.
_CONDITIONS: Final[Mapping[str, Statement]] = {
    "name": Statement(
        sqlite="AND name IN (:name, :composed)", postgres=f"AND {NAME_IN_POSTGRES} IN (:name, :composed)"
    ),
    "tags": Statement(
        sqlite="""
AND NOT EXISTS (SELECT 1 FROM json_each(:tags) wanted
                 WHERE wanted.value NOT IN (SELECT value FROM json_each(flows.tags)))
""",
        postgres="""
AND NOT EXISTS (SELECT 1 FROM json_array_elements_text(CAST(:tags AS json)) AS wanted (tag)
                 WHERE wanted.tag NOT IN (SELECT json_array_elements_text(replace(tags, '\\u0000', '\\ufffd')::json)))
""",
    ),
}
# The columns in which a text is searched. They are one text, so that each letter is replaced once.
_SEARCHED: Final = Statement(sqlite="(name || char(10) || description)", postgres="(name || chr(10) || description)")
# The page and the total in one row, with the page as one JSON text, because a query releases and acquires the
# interpreter's lock for every row. The total of a page is 0 if the caller does not ask for it.
_PAGE_IN_SQLITE: Final = """
SELECT (SELECT count(*) FROM flows WHERE workspace_id = :workspace_id AND deleted_at IS NULL {conditions} AND :counts),
       json_group_array(json_array(id, name, description, version, json(tags), created_at, updated_at,
                                   (SELECT number FROM revisions WHERE id = revision_id), disabled_at))
  FROM (SELECT * FROM flows WHERE workspace_id = :workspace_id AND deleted_at IS NULL {conditions}
           {after} ORDER BY {order} LIMIT :limit OFFSET :offset)
"""
_PAGE_IN_POSTGRES: Final = """
SELECT (SELECT count(*) FROM flows WHERE workspace_id = :workspace_id AND deleted_at IS NULL {conditions} AND :counts),
       coalesce((SELECT json_agg(json_build_array(id, name, description, version, tags::json, created_at, updated_at,
                                                  (SELECT number FROM revisions WHERE id = revision_id), disabled_at)
                                 ORDER BY {order})
                   FROM (SELECT * FROM flows WHERE workspace_id = :workspace_id AND deleted_at IS NULL {conditions}
                            {after} ORDER BY {order} LIMIT :limit OFFSET :offset) AS page), '[]')
"""


class _FlowOrder(NamedTuple):
    """An order of the list, in one of its directions: the flows after a position, and the sorting."""

    after: Statement
    order: Statement


def _by(*columns: str, comparison: str) -> _FlowOrder:
    """Return the order by columns whose last values are `:after_…`. Args: comparison: `>`, or `<` for the reverse."""
    direction = "" if comparison == ">" else " DESC"
    values = [f":after_{column}" for column in columns]
    in_postgres = [NAME_IN_POSTGRES if column == "name" else column for column in columns]

    def after(names: Sequence[str]) -> str:
        return f"AND ({', '.join(names)}) {comparison} ({', '.join(values)})"

    def order(names: Sequence[str]) -> str:
        return ", ".join(f"{name}{direction}" for name in names)

    return _FlowOrder(
        Statement(sqlite=after(columns), postgres=after(in_postgres)),
        Statement(sqlite=order(columns), postgres=order(in_postgres)),
    )


_COLUMNS: Final[Mapping[FlowSort, tuple[str, ...]]] = {
    "created_at": ("id",),
    "name": ("name", "id"),
    "updated_at": ("updated_at", "id"),
}
_ORDERS: Final = {
    (sort, is_reversed): _by(*columns, comparison="<" if is_reversed else ">")
    for sort, columns in _COLUMNS.items()
    for is_reversed in (False, True)
}


class _FlowRow(msgspec.Struct, array_like=True):
    id: str
    name: str
    description: str
    version: str
    tags: list[str]
    created_at: int
    updated_at: int
    revision: int
    disabled_at: int | None


_ROWS: Final = msgspec.json.Decoder(list[_FlowRow])


async def read_page(
    database: Database, workspace_id: WorkspaceId, wanted: FlowFilter, page: Page
) -> tuple[Sequence[FlowView], int]:
    """Return a page of flows and the total. Raises: InvalidInput: The cursor is of a list in another order."""
    # Descriptions and tags of 1,000 flows may be 100 MB as JSON, so long pages are read in portions.
    # A text is searched on another thread, because the database limits the rows that it reads, not their length.
    is_long = page.limit > _FLOWS_AT_ONCE or bool(wanted.text)
    read = database.read_long if is_long else database.read
    text = FoldedText.of(wanted.text) if wanted.text else None
    values: dict[str, Any] = {
        "workspace_id": workspace_id,
        "name": wanted.name,
        "composed": None if wanted.name is None else composed(wanted.name),
        "tags": listed(wanted.tags),
        "counts": page.counts,
        **_position(wanted.sort, page),
        **({} if text is None else text.values),
    }
    given = {"name"} if wanted.name is not None else set()
    given |= {"tags"} if wanted.tags else set()
    statement = _page_of(
        frozenset(given),
        replaced=None if text is None else len(text.replaced),
        sort=wanted.sort,
        is_reversed=page.is_reversed,
        is_first=not page.after,
    )
    flows: list[FlowView] = []
    total = 0
    while True:
        most = min(page.limit - len(flows), _FLOWS_AT_ONCE)
        values |= {"limit": most, "offset": page.offset + len(flows)}
        counted, rows = await read(partial(one_row, statement=statement, values=dict(values)))
        total += counted
        found = [_flow_view(row) for row in _ROWS.decode(rows)]
        flows += found
        if len(found) < most or len(flows) == page.limit:
            return flows, total
        values["counts"] = False


def _position(sort: FlowSort, page: Page) -> dict[str, str | int]:
    """Return the values after which the page begins; none for the first one. Raises: InvalidInput."""
    if not page.after:
        return {}
    if sort == "created_at":
        return {"after_id": page.after_id("flow")}
    id, other = page.pair
    if sort == "updated_at":
        return {"after_id": id, "after_updated_at": number_of(other)}
    if ":" not in page.after:
        raise invalid("cursor", "must be the `next_cursor` of an earlier page in this order")
    return {"after_id": id, "after_name": other}


@cache
def _page_of(
    given: frozenset[str],
    *,
    replaced: int | None = None,
    sort: FlowSort = "created_at",
    is_reversed: bool = False,
    is_first: bool = False,
) -> Statement:
    """Return the statement for a page and the total.

    Args:
        given: The conditions of the filter.
        replaced: The number of letters to replace for the wanted text; None if there is none.
        is_first: The page begins with the first flow.
    """
    after, order = _ORDERS[sort, is_reversed]
    wanted = [_CONDITIONS[name] for name in sorted(given)]
    sqlite, postgres = [each.sqlite for each in wanted], [each.postgres for each in wanted]
    if replaced is not None:
        sqlite += ["AND", contains(_SEARCHED.sqlite, replaced).sqlite]
        postgres += ["AND", contains(_SEARCHED.postgres, replaced).postgres]

    def filled(template: str, conditions: Sequence[str], beginning: str, sorting: str) -> str:
        text = template.replace("{conditions}", " ".join(conditions)).replace("{order}", sorting)
        return text.replace("{after}", "" if is_first else beginning)

    return Statement(
        sqlite=filled(_PAGE_IN_SQLITE, sqlite, after.sqlite, order.sqlite),
        postgres=filled(_PAGE_IN_POSTGRES, postgres, after.postgres, order.postgres),
    )


def _flow_view(row: _FlowRow) -> FlowView:
    return FlowView(
        id=FlowId(row.id),
        name=row.name,
        description=row.description,
        version=row.version,
        tags=row.tags,
        created_at=from_ms(row.created_at),
        updated_at=from_ms(row.updated_at),
        revision=row.revision,
        disabled_at=from_ms_or_none(row.disabled_at),
    )
