"""Flows and the revisions of their definitions."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache, partial
from typing import Any, Final

import msgspec

from flowrunner.domain.errors import Conflict, NotFound, quoted
from flowrunner.domain.flow_tools import MOST_TOOLS, FlowTool, PublishedFlow
from flowrunner.domain.limits import check_count
from flowrunner.domain.triggers import Chain
from flowrunner.domain.values import AccountId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.flows import (
    ALL_FLOWS,
    CurrentFlow,
    FlowChange,
    FlowFilter,
    FlowView,
    NamedChange,
    RevisionView,
    SavedFlow,
    SavedRevision,
)
from flowrunner.ports.page import Page
from flowrunner.storage import triggers
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.text_search import FoldedText, contains
from flowrunner.storage.transaction import Statement, Transaction, one_row

# Only in a workspace that exists: deleting one deletes its flows, and none may be created after that.
CREATE: Final = """
INSERT INTO flows (id, workspace_id, name, description, version, tags, revision_id, created_at, updated_at,
                   disabled_at, tool_name, tool_inputs)
SELECT :id, :workspace_id, :name, :description, :version, :tags, :revision_id, :created_at, :updated_at,
       CAST(:disabled_at AS bigint), CAST(:tool_name AS text), CAST(:tool_inputs AS text)
 WHERE EXISTS (SELECT 1 FROM workspaces WHERE id = :workspace_id AND deleted_at IS NULL)
"""
COUNT: Final = "SELECT count(*) FROM flows WHERE workspace_id = :workspace_id AND deleted_at IS NULL"
UPDATE: Final = """
UPDATE flows
   SET name = :name, description = :description, version = :version, tags = :tags,
       revision_id = :revision_id, edition = :edition, updated_at = :updated_at,
       disabled_at = :disabled_at, tool_name = :tool_name, tool_inputs = :tool_inputs
 WHERE id = :id AND workspace_id = :workspace_id AND deleted_at IS NULL
"""
ADD_REVISION: Final = """
INSERT INTO revisions (id, workspace_id, flow_id, number, version, size, definition, created_at, created_by)
VALUES (:revision_id, :workspace_id, :id, :revision, :version, :size, :definition, :updated_at, :saved_by)
"""
KEEP_NAMES: Final = """
UPDATE flows SET secret_names = :secret_names, secrets_of = :revision_id
 WHERE id = :id AND workspace_id = :workspace_id AND revision_id = :revision_id
"""
UNINDEXED: Final = """
SELECT f.workspace_id, f.id, r.id, r.definition FROM flows f JOIN revisions r ON r.id = f.revision_id
 WHERE f.deleted_at IS NULL AND (f.secrets_of IS NULL OR f.secrets_of <> f.revision_id) LIMIT :limit
"""
# Revisions stay: open executions continue with theirs, and the history stays readable.
DELETE: Final = """
UPDATE flows SET deleted_at = :at WHERE id = :id AND workspace_id = :workspace_id AND deleted_at IS NULL
"""
GET: Final = """
SELECT f.id, f.name, f.description, f.version, f.tags, f.created_at, f.updated_at, r.definition, r.id,
       r.number, f.edition, coalesce(r.created_by, r.workspace_id), f.disabled_at,
       f.tool_name, f.tool_inputs
  FROM flows f JOIN revisions r ON r.id = f.revision_id
 WHERE f.id = :id AND f.workspace_id = :workspace_id AND f.deleted_at IS NULL
"""
# Two rows are enough to know that a name is ambiguous. A definition of another size is not read: it is another one.
_NAMED: Final = """
SELECT f.id, f.name, f.description, f.version, f.tags, f.created_at, f.updated_at,
       CASE WHEN CAST(:size AS bigint) IS NULL OR r.size = :size THEN r.definition ELSE '' END, r.id,
       r.number, f.edition, coalesce(r.created_by, r.workspace_id), f.disabled_at,
       f.tool_name, f.tool_inputs
  FROM flows f JOIN revisions r ON r.id = f.revision_id
 WHERE f.workspace_id = :workspace_id AND f.name = :name AND f.deleted_at IS NULL
 ORDER BY f.id LIMIT 2
"""
# PostgreSQL uses an index only for comparisons in its collation.
NAMED: Final = Statement(sqlite=_NAMED, postgres=_NAMED.replace("f.name = :name", 'f.name COLLATE "C" = :name'))
CURRENT: Final = """
SELECT revision_id, name, disabled_at IS NOT NULL, (SELECT paused_at IS NOT NULL FROM engine)
  FROM flows WHERE id = :id AND workspace_id = :workspace_id AND deleted_at IS NULL
"""
# Two rows are enough to know that a name is ambiguous.
CALLED: Final = """
SELECT id FROM flows
 WHERE workspace_id = :workspace_id AND deleted_at IS NULL AND (id = :id OR name = :id)
 ORDER BY id <> :id, id LIMIT 2
"""
REVISION_NAMED: Final = """
SELECT r.id FROM revisions r JOIN flows f ON f.id = r.flow_id
 WHERE f.id = :id AND f.workspace_id = :workspace_id AND f.deleted_at IS NULL AND r.deleted_at IS NULL
   AND (r.number = :number OR r.version = :label)
 ORDER BY r.number DESC LIMIT 1
"""
DEFINITION: Final = """
SELECT definition FROM revisions WHERE id = :id AND workspace_id = :workspace_id AND deleted_at IS NULL
"""

TOOLS: Final = """
SELECT id, name, description, tool_name, tool_inputs FROM flows
 WHERE workspace_id = :workspace_id AND tool_name IS NOT NULL AND deleted_at IS NULL AND disabled_at IS NULL
 ORDER BY tool_name
"""
OTHER_TOOLS: Final = """
SELECT count(*) FROM flows
 WHERE workspace_id = :workspace_id AND tool_name IS NOT NULL AND deleted_at IS NULL AND id <> :id
"""
TAKEN_TOOL: Final = """
SELECT name FROM flows
 WHERE workspace_id = :workspace_id AND tool_name = :tool_name AND deleted_at IS NULL AND id <> :id
"""

REVISIONS: Final = """
SELECT r.number, r.version, r.size, r.created_at, coalesce(r.created_by, r.workspace_id), r.id = f.revision_id
  FROM flows f JOIN revisions r ON r.flow_id = f.id
 WHERE f.id = :id AND f.workspace_id = :workspace_id AND f.deleted_at IS NULL AND r.deleted_at IS NULL
   AND r.number < :before
 ORDER BY r.number DESC LIMIT :limit OFFSET :offset
"""
COUNT_REVISIONS: Final = """
SELECT count(*) FROM flows f JOIN revisions r ON r.flow_id = f.id
 WHERE f.id = :id AND f.workspace_id = :workspace_id AND f.deleted_at IS NULL AND r.deleted_at IS NULL
"""
# The newest revision in a range of numbers.
REVISION: Final = """
SELECT r.number, r.version, r.size, r.created_at, coalesce(r.created_by, r.workspace_id), r.id = f.revision_id,
       r.definition
  FROM flows f JOIN revisions r ON r.flow_id = f.id
 WHERE f.id = :id AND f.workspace_id = :workspace_id AND f.deleted_at IS NULL AND r.deleted_at IS NULL
   AND r.number BETWEEN :first AND :last
 ORDER BY r.number DESC LIMIT 1
"""
HAS_OPEN_EXECUTIONS: Final = """
SELECT EXISTS (
    SELECT 1 FROM executions x
     WHERE x.status IN ('running', 'waiting')
       AND x.revision_id = (SELECT id FROM revisions
                             WHERE flow_id = :id AND number = :number AND workspace_id = :workspace_id))
"""
DELETE_REVISION: Final = """
UPDATE revisions SET deleted_at = :at, definition = NULL
 WHERE flow_id = :id AND number = :number AND workspace_id = :workspace_id AND deleted_at IS NULL
"""

# No execution of a deleted flow can start, so once none is left it is no longer needed. Some of a flow that is moving
# may be in another workspace.
UNNEEDED: Final = """
SELECT id FROM flows
 WHERE deleted_at IS NOT NULL AND moving_from IS NULL
   AND NOT EXISTS (SELECT 1 FROM executions x WHERE x.workspace_id = flows.workspace_id AND x.flow_id = flows.id)
 LIMIT :limit
"""
PURGE_REVISIONS: Final = """
DELETE FROM revisions WHERE id IN (SELECT id FROM revisions WHERE flow_id = :id LIMIT :limit)
"""
PURGE: Final = "DELETE FROM flows WHERE id = :id"

# The conditions of a filter, by their parameters.
_CONDITIONS: Final[Mapping[str, Statement]] = {
    "name": Statement(sqlite="AND name = :name", postgres="AND name = :name"),
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
# The columns that a text is searched in. They are one text, so that each letter is replaced once.
_SEARCHED: Final = Statement(sqlite="(name || char(10) || description)", postgres="(name || chr(10) || description)")
# The page and the total in one row, with the page as one JSON text, because a query releases and acquires the
# interpreter's lock for every row. The total of one page is 0 if nobody asks for it.
_PAGE_IN_SQLITE: Final = """
SELECT (SELECT count(*) FROM flows WHERE workspace_id = :workspace_id AND deleted_at IS NULL {conditions} AND :counts),
       json_group_array(json_array(id, name, description, version, json(tags), created_at, updated_at,
                                   (SELECT number FROM revisions WHERE id = revision_id), disabled_at))
  FROM (SELECT * FROM flows WHERE workspace_id = :workspace_id AND deleted_at IS NULL {conditions}
           AND id > :after ORDER BY id LIMIT :limit OFFSET :offset)
"""
_PAGE_IN_POSTGRES: Final = """
SELECT (SELECT count(*) FROM flows WHERE workspace_id = :workspace_id AND deleted_at IS NULL {conditions} AND :counts),
       coalesce((SELECT json_agg(json_build_array(id, name, description, version, tags::json, created_at, updated_at,
                                                  (SELECT number FROM revisions WHERE id = revision_id), disabled_at)
                                 ORDER BY id)
                   FROM (SELECT * FROM flows WHERE workspace_id = :workspace_id AND deleted_at IS NULL {conditions}
                            AND id > :after ORDER BY id LIMIT :limit OFFSET :offset) AS page), '[]')
"""


@cache
def page_of(given: frozenset[str], *, replaced: int | None = None) -> Statement:
    """Return the statement for a page and the total.

    Args:
        given: The conditions of the filter.
        replaced: The number of letters to replace for the wanted text; None if there is none.
    """
    wanted = [_CONDITIONS[name] for name in sorted(given)]
    sqlite, postgres = [each.sqlite for each in wanted], [each.postgres for each in wanted]
    if replaced is not None:
        sqlite += ["AND", contains(_SEARCHED.sqlite, replaced).sqlite]
        postgres += ["AND", contains(_SEARCHED.postgres, replaced).postgres]
    return Statement(
        sqlite=_PAGE_IN_SQLITE.replace("{conditions}", " ".join(sqlite)),
        postgres=_PAGE_IN_POSTGRES.replace("{conditions}", " ".join(postgres)),
    )


class SqlFlows:
    """Implements `ports.FlowStore`.

    Attributes:
        armed, listening: Set after changes that may have armed triggers, for two jobs that each clear their own.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.armed, self.listening = asyncio.Event(), asyncio.Event()

    def _note_armed(self) -> None:
        self.armed.set()
        self.listening.set()

    async def create(
        self, workspace_id: WorkspaceId, flow: SavedFlow, *, most: int | None = None, audit: Audit = None
    ) -> None:
        async def create(tx: Transaction) -> None:
            await _check_room(tx, workspace_id, 1, most)
            await _write(tx, workspace_id, FlowChange(None, flow))
            await _check_chains(tx, flow)

        await self._database.write(create, audit=audit)
        self._note_armed()

    async def save_named(
        self, workspace_id: WorkspaceId, changes: Sequence[NamedChange], *, most: int | None = None, audit: Audit = None
    ) -> Sequence[FlowChange]:
        # There is one such transaction at a time, so nobody else creates a flow with the name after the look.
        async def save(tx: Transaction) -> Sequence[FlowChange]:
            planned = await _planned(tx, workspace_id, changes, most)
            for change in planned:
                await _write(tx, workspace_id, change)
            # Once all are there: flows of one deployment may refer to each other.
            for _, after in planned:
                await _check_chains(tx, after)
            return planned

        saved = await self._database.write(save, audit=audit)
        self._note_armed()
        return saved

    async def plan_named(
        self, workspace_id: WorkspaceId, changes: Sequence[NamedChange], *, most: int | None = None
    ) -> Sequence[FlowChange]:
        async def plan(tx: Transaction) -> Sequence[FlowChange]:
            planned = await _planned(tx, workspace_id, changes, most)
            for _, after in planned:
                if after.tool is not None:
                    await check_tool(tx, _values(workspace_id, after))
            return planned

        return await self._database.read_long(plan)

    async def named(self, workspace_id: WorkspaceId, name: str) -> SavedFlow:
        found = await self._database.read(lambda tx: _named(tx, workspace_id, name, None))
        if found is None:
            raise NotFound("flow")
        return found

    async def update(
        self,
        workspace_id: WorkspaceId,
        id: FlowId,
        change: Callable[[SavedFlow], SavedFlow],
        *,
        audit: Audit = None,
    ) -> SavedFlow:
        async def update(tx: Transaction) -> SavedFlow:
            before = await _get(tx, {"id": id, "workspace_id": workspace_id})
            after = change(before).after(before)
            await _write(tx, workspace_id, FlowChange(before, after))
            await _check_chains(tx, after)
            return after

        updated = await self._database.write(update, audit=audit)
        self._note_armed()
        return updated

    async def delete(
        self,
        workspace_id: WorkspaceId,
        id: FlowId,
        *,
        at: datetime,
        check: Callable[[SavedFlow], None] | None = None,
        audit: Audit = None,
    ) -> None:
        async def delete(tx: Transaction) -> None:
            values = {"id": id, "workspace_id": workspace_id, "at": to_ms(at)}
            if check is not None:
                check(await _get(tx, values))
            if await tx.run(DELETE, values) == 0:
                raise NotFound("flow")
            await triggers.end_all(tx, id, at=at)

        await self._database.write(delete, audit=audit)

    async def get(self, workspace_id: WorkspaceId, id: FlowId) -> SavedFlow:
        return _saved_flow(await self._one(GET, workspace_id, id))

    async def current(self, workspace_id: WorkspaceId, id: FlowId) -> CurrentFlow:
        revision_id, name, is_disabled, is_paused = await self._one(CURRENT, workspace_id, id)
        return CurrentFlow(RevisionId(revision_id), name, bool(is_disabled), bool(is_paused))

    async def called(self, workspace_id: WorkspaceId, id_or_name: str) -> Sequence[FlowId]:
        values = {"id": id_or_name, "workspace_id": workspace_id}
        found = [FlowId(id) for (id,) in await self._database.read(lambda tx: tx.rows(CALLED, values))]
        return found[:1] if id_or_name in found else found

    async def tools(self, workspace_id: WorkspaceId) -> Sequence[PublishedFlow]:
        rows = await self._database.read(lambda tx: tx.rows(TOOLS, {"workspace_id": workspace_id}))
        return [PublishedFlow(FlowId(row[0]), row[1], row[2], FlowTool(row[3], row[4])) for row in rows]

    async def check_tool(self, workspace_id: WorkspaceId, flow: SavedFlow) -> None:
        if flow.tool is not None:
            values = _values(workspace_id, flow)
            await self._database.read(lambda tx: check_tool(tx, values))

    async def revision_named(self, workspace_id: WorkspaceId, id: FlowId, version: str | int) -> RevisionId:
        # The columns hold no larger numbers.
        number = version if isinstance(version, int) and abs(version) < 2**63 else None
        label = version if isinstance(version, str) else None
        values = {"id": id, "workspace_id": workspace_id, "number": number, "label": label}
        row = await self._database.read(lambda tx: tx.row(REVISION_NAMED, values))
        if row is None:
            raise NotFound("revision")
        return RevisionId(row[0])

    async def definition(self, workspace_id: WorkspaceId, revision_id: RevisionId) -> str:
        definition: str = (await self._one(DEFINITION, workspace_id, revision_id))[0]
        return definition

    async def revisions(
        self, workspace_id: WorkspaceId, id: FlowId, *, page: Page
    ) -> tuple[Sequence[RevisionView], int]:
        values = {"id": id, "workspace_id": workspace_id, "before": page.before}
        counted = replace(page, counts=True)
        rows, total = await self._database.read(
            lambda tx: page_and_total(tx, counted, REVISIONS, COUNT_REVISIONS, values)
        )
        # A flow has at least its current revision.
        if total == 0:
            raise NotFound("flow")
        return [RevisionView(**_revision(row)) for row in rows], total

    async def revision(self, workspace_id: WorkspaceId, id: FlowId, number: int) -> SavedRevision:
        found = await self._last_revision(workspace_id, id, number, number)
        if found is None:
            # Raises if the flow is missing too.
            await self._one(CURRENT, workspace_id, id)
            raise NotFound("revision")
        return found

    async def revision_before(self, workspace_id: WorkspaceId, id: FlowId, number: int) -> SavedRevision | None:
        return await self._last_revision(workspace_id, id, 1, number - 1)

    async def _last_revision(
        self, workspace_id: WorkspaceId, id: FlowId, first: int, last: int
    ) -> SavedRevision | None:
        values = {"id": id, "workspace_id": workspace_id, "first": first, "last": last}
        row = await self._database.read(lambda tx: tx.row(REVISION, values))
        return None if row is None else SavedRevision(**_revision(row), definition=row[6])

    async def delete_revision(
        self, workspace_id: WorkspaceId, id: FlowId, number: int, *, at: datetime, audit: Audit = None
    ) -> None:
        values = {"id": id, "workspace_id": workspace_id, "number": number, "at": to_ms(at)}

        async def delete(tx: Transaction) -> None:
            await _check_deletable(tx, values)
            if await tx.run(DELETE_REVISION, values) == 0:
                raise NotFound("revision")

        await self._database.write(delete, audit=audit)

    async def check_deletable(self, workspace_id: WorkspaceId, id: FlowId, number: int) -> None:
        await self.revision(workspace_id, id, number)
        values = {"id": id, "workspace_id": workspace_id, "number": number}
        await self._database.read(lambda tx: _check_deletable(tx, values))

    async def page(
        self, workspace_id: WorkspaceId, wanted: FlowFilter = ALL_FLOWS, *, page: Page
    ) -> tuple[Sequence[FlowView], int]:
        # Descriptions and tags of 1,000 flows may be 100 MB as JSON, so long pages are read in portions.
        # A text is searched on another thread, because the database limits the rows that it reads, not their length.
        is_long = page.limit > _FLOWS_AT_ONCE or bool(wanted.text)
        read = self._database.read_long if is_long else self._database.read
        text = FoldedText.of(wanted.text) if wanted.text else None
        values: dict[str, Any] = {
            "workspace_id": workspace_id,
            "name": wanted.name,
            "tags": msgspec.json.encode(wanted.tags).decode(),
            "counts": page.counts,
            "after": page.after,
            **({} if text is None else text.values),
        }
        given = {"name"} if wanted.name is not None else set()
        given |= {"tags"} if wanted.tags else set()
        statement = page_of(frozenset(given), replaced=None if text is None else len(text.replaced))
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

    async def purge(self, *, limit: int) -> bool:
        unneeded = await self._database.read_long(lambda tx: tx.rows(UNNEEDED, {"limit": limit}))

        async def purge(tx: Transaction) -> None:
            left = limit
            for (id,) in unneeded:
                left -= await tx.run(PURGE_REVISIONS, {"id": id, "limit": left})
                if left == 0:
                    return
                await tx.run(triggers.PURGE, {"id": id})
                await tx.run(PURGE, {"id": id})

        if unneeded:
            await self._database.write(purge)
        return bool(unneeded)

    async def unread(self, *, limit: int) -> Sequence[tuple[WorkspaceId, FlowId, RevisionId, str]]:
        rows = await self._database.read_long(lambda tx: tx.rows(UNINDEXED, {"limit": limit}))
        return [(WorkspaceId(row[0]), FlowId(row[1]), RevisionId(row[2]), row[3]) for row in rows]

    async def keep_secret_names(
        self, workspace_id: WorkspaceId, id: FlowId, revision_id: RevisionId, names: Sequence[str]
    ) -> None:
        values = {"workspace_id": workspace_id, "id": id, "revision_id": revision_id, "secret_names": _joined(names)}
        await self._database.write(lambda tx: tx.run(KEEP_NAMES, values))

    async def _one(self, statement: str, workspace_id: WorkspaceId, id: str) -> tuple[Any, ...]:
        values = {"id": id, "workspace_id": workspace_id}
        row: tuple[Any, ...] | None = await self._database.read(lambda tx: tx.row(statement, values))
        if row is None:
            raise NotFound("flow")
        return row


async def _check_deletable(tx: Transaction, values: Mapping[str, Any]) -> None:
    """Raises: Conflict if the revision is current, or an open execution runs it."""
    if (await _get(tx, values)).revision == values["number"]:
        raise Conflict("The current revision cannot be deleted: delete the flow, or save another first")
    if (await one_row(tx, HAS_OPEN_EXECUTIONS, values))[0]:
        raise Conflict("Executions of this revision have not ended: cancel them, or wait for their end")


async def _planned(
    tx: Transaction, workspace_id: WorkspaceId, changes: Sequence[NamedChange], most: int | None
) -> Sequence[FlowChange]:
    planned = []
    for change in changes:
        before = await _named(tx, workspace_id, change.name, change.size)
        after = change.change(before)
        planned.append(FlowChange(before, after if before is None or after == before else after.after(before)))
    await _check_room(tx, workspace_id, sum(change.before is None for change in planned), most)
    return planned


async def _check_room(tx: Transaction, workspace_id: WorkspaceId, created: int, most: int | None) -> None:
    """Raises: LimitReached if the workspace would have more than ``most`` flows."""
    if most is not None and created:
        count = (await one_row(tx, COUNT, {"workspace_id": workspace_id}))[0]
        check_count("flows", count + created - 1, most, limit="workspace_flows")


async def _write(tx: Transaction, workspace_id: WorkspaceId, change: FlowChange) -> None:
    before, after = change
    if before == after:
        return
    values = _values(workspace_id, after)
    if after.tool is not None and (before is None or before.tool is None or before.tool.name != after.tool.name):
        await check_tool(tx, values)
    if before is not None:
        await tx.run(UPDATE, values)
    elif await tx.run(CREATE, values) == 0:
        raise NotFound("workspace")
    if before is None or before.revision_id != after.revision_id:
        await tx.run(ADD_REVISION, values)
        await tx.run(KEEP_NAMES, {**values, "secret_names": _joined(after.secret_names)})
    if after.triggers is not None:
        if after.triggers or before is not None:
            await triggers.arm(tx, workspace_id, after.id, after.triggers, at=after.updated_at)
    elif before is not None and (before.disabled_at is None) != (after.disabled_at is None):
        await triggers.rearm(tx, after.id, at=after.updated_at)


async def check_tool(tx: Transaction, values: Mapping[str, Any]) -> None:
    """Raises: Conflict if another flow of the workspace is the tool, or it has too many."""
    (count,) = await one_row(tx, OTHER_TOOLS, values)
    if count >= MOST_TOOLS:
        raise Conflict(f"{count} flows of the workspace are tools already, the most that are possible: remove one")
    taken = await tx.row(TAKEN_TOOL, values)
    if taken is not None:
        tool = values["tool_name"]
        raise Conflict(f"The flow {quoted(taken[0])} is the tool '{tool}' already: give one of the two another name")


async def _check_chains(tx: Transaction, flow: SavedFlow) -> None:
    """Raises: InvalidFlow if the flow's triggers make a loop."""
    if any(isinstance(trigger.spec, Chain) for trigger in (flow.triggers or {}).values()):
        await triggers.check_chains(tx, flow.id)


async def _named(tx: Transaction, workspace_id: WorkspaceId, name: str, size: int | None) -> SavedFlow | None:
    rows = await tx.rows(NAMED, {"workspace_id": workspace_id, "name": name, "size": size})
    if len(rows) > 1:
        raise Conflict(f"Several flows are called {quoted(name)}: rename one of them, or use the id of the flow")
    return _saved_flow(rows[0]) if rows else None


async def _get(tx: Transaction, values: Mapping[str, Any]) -> SavedFlow:
    row = await tx.row(GET, values)
    if row is None:
        raise NotFound("flow")
    return _saved_flow(row)


def _joined(names: Sequence[str]) -> str:
    return " ".join(names)


def _saved_flow(row: tuple[Any, ...]) -> SavedFlow:
    return SavedFlow(
        id=FlowId(row[0]),
        name=row[1],
        description=row[2],
        version=row[3],
        tags=msgspec.json.decode(row[4]),
        created_at=from_ms(row[5]),
        updated_at=from_ms(row[6]),
        definition=row[7],
        revision_id=RevisionId(row[8]),
        revision=row[9],
        edition=row[10],
        saved_by=AccountId(row[11]),
        disabled_at=None if row[12] is None else from_ms(row[12]),
        tool=None if row[13] is None else FlowTool(row[13], row[14]),
    )


def _revision(row: tuple[Any, ...]) -> dict[str, Any]:
    return {
        "number": row[0],
        "version": row[1],
        "size": row[2],
        "created_at": from_ms(row[3]),
        "created_by": AccountId(row[4]),
        "is_current": bool(row[5]),
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


_FLOWS_AT_ONCE: Final = 100
_ROWS: Final = msgspec.json.Decoder(list[_FlowRow])


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
        disabled_at=None if row.disabled_at is None else from_ms(row.disabled_at),
    )


def _values(workspace_id: WorkspaceId, flow: SavedFlow) -> dict[str, Any]:
    return {
        "id": flow.id,
        "workspace_id": workspace_id,
        "name": flow.name,
        "tool_name": None if flow.tool is None else flow.tool.name,
        "tool_inputs": None if flow.tool is None else flow.tool.inputs,
        "description": flow.description,
        "version": flow.version,
        "tags": msgspec.json.encode(flow.tags).decode(),
        "revision_id": flow.revision_id,
        "revision": flow.revision,
        "saved_by": flow.saved_by,
        "edition": flow.edition,
        "definition": flow.definition,
        "size": len(flow.definition.encode()),
        "created_at": to_ms(flow.created_at),
        "updated_at": to_ms(flow.updated_at),
        "disabled_at": None if flow.disabled_at is None else to_ms(flow.disabled_at),
    }
