"""Flows and the revisions of their definitions."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from flowrunner.domain.errors import Conflict, NotFound
from flowrunner.domain.flow_names import forms_of
from flowrunner.domain.flow_tools import FlowTool, PublishedFlow
from flowrunner.domain.values import AccountId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.flows import (
    ALL_FLOWS,
    CurrentFlow,
    Deployment,
    FlowChange,
    FlowFilter,
    FlowView,
    NamedChange,
    RevisionView,
    SavedFlow,
    SavedRevision,
)
from flowrunner.ports.page import Page
from flowrunner.storage import flow_changes, triggers
from flowrunner.storage.database import Database
from flowrunner.storage.deleted_workspaces import check_not_deleted
from flowrunner.storage.flow_pages import NAME_IN_POSTGRES, read_page
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.transaction import Row, Statement, Transaction, existing_row, one_row

UNINDEXED: Final = """
SELECT f.workspace_id, f.id, r.id, r.definition FROM flows f JOIN revisions r ON r.id = f.revision_id
 WHERE f.deleted_at IS NULL AND (f.secrets_of IS NULL OR f.secrets_of <> f.revision_id) LIMIT :limit
"""
CURRENT: Final = """
SELECT revision_id, name, disabled_at IS NOT NULL, (SELECT paused_at IS NOT NULL FROM engine)
  FROM flows WHERE id = :id AND workspace_id = :workspace_id AND deleted_at IS NULL
"""
# Two rows are enough to know that a name is ambiguous.
_CALLED: Final = """
SELECT id FROM flows
 WHERE workspace_id = :workspace_id AND deleted_at IS NULL AND (id = :id OR {name} = :id)
 ORDER BY id <> :id, id LIMIT 2
"""
CALLED: Final = Statement(sqlite=_CALLED.format(name="name"), postgres=_CALLED.format(name=NAME_IN_POSTGRES))
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

# No execution of a deleted flow can start, so the flow is no longer needed once it has none. While a flow is being
# moved, some of its executions may be in another workspace.
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


class _Undone(Exception):
    """A write that was only tried."""


class SqlFlows:
    """Implements `ports.FlowStore`.

    Attributes:
        armed, listening: Set after changes that may have armed triggers, for two jobs, each of which clears its own.
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
            await flow_changes.check_room(tx, workspace_id, 1, most)
            await flow_changes.write(tx, workspace_id, [FlowChange(None, flow)])

        await self._database.write(create, audit=audit)
        self._note_armed()

    async def deploy(
        self,
        workspace_id: WorkspaceId,
        changes: Sequence[NamedChange],
        *,
        at: datetime,
        delete: Sequence[FlowId] = (),
        most: int | None = None,
        audit: Audit = None,
    ) -> Deployment:
        # One such transaction runs at a time, so no other one creates a flow with the name after the lookup.
        async def deploy(tx: Transaction) -> Deployment:
            planned = await flow_changes.plan(tx, workspace_id, changes, delete, most)
            await flow_changes.write_deployment(tx, workspace_id, planned, at)
            return planned

        deployed = await self._database.write(deploy, audit=audit)
        self._note_armed()
        return deployed

    async def plan_deployment(
        self,
        workspace_id: WorkspaceId,
        changes: Sequence[NamedChange],
        *,
        at: datetime,
        delete: Sequence[FlowId] = (),
        most: int | None = None,
    ) -> Deployment:
        planned = await self._database.read_long(lambda tx: flow_changes.plan(tx, workspace_id, changes, delete, most))
        if not planned.deleted:
            await self.check_writable(workspace_id, planned.changes)
        elif any(flow_changes.depends_on_others(after) or after.triggers for _, after in planned.changes):
            await self._try(partial(flow_changes.write_deployment, workspace_id=workspace_id, planned=planned, at=at))
        return planned

    async def check_writable(self, workspace_id: WorkspaceId, changes: Sequence[FlowChange]) -> None:
        added = sum(len(after.triggers or ()) for before, after in changes if before is None)
        if added:
            await self._database.read(lambda tx: triggers.check_number(tx, workspace_id, added=added))
        if any(flow_changes.depends_on_others(after) for _, after in changes):
            await self._try(partial(flow_changes.write, workspace_id=workspace_id, changes=changes))

    async def _try(self, write: Callable[[Transaction], Awaitable[None]]) -> None:
        """Raises: as `deploy` where other flows decide."""

        # Written and undone: the changes may depend on each other, as two flows that become one tool do.
        async def write_and_undo(tx: Transaction) -> None:
            await write(tx)
            raise _Undone

        with contextlib.suppress(_Undone):
            await self._database.write(write_and_undo)

    async def named(self, workspace_id: WorkspaceId, name: str) -> SavedFlow:
        found = await self._database.read(lambda tx: flow_changes.named(tx, workspace_id, name, None))
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
            before = await flow_changes.get(tx, {"id": id, "workspace_id": workspace_id})
            after = change(before).after(before)
            await flow_changes.write(tx, workspace_id, [FlowChange(before, after)])
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
            if check is not None:
                check(await flow_changes.get(tx, {"id": id, "workspace_id": workspace_id}))
            if not await flow_changes.delete(tx, workspace_id, [id], at):
                raise NotFound("flow")

        await self._database.write(delete, audit=audit)

    async def get(self, workspace_id: WorkspaceId, id: FlowId) -> SavedFlow:
        return await self._database.read(lambda tx: flow_changes.get(tx, {"id": id, "workspace_id": workspace_id}))

    async def current(self, workspace_id: WorkspaceId, id: FlowId) -> CurrentFlow:
        revision_id, name, is_disabled, is_paused = await self._one(CURRENT, workspace_id, id)
        return CurrentFlow(RevisionId(revision_id), name, bool(is_disabled), bool(is_paused))

    async def called(self, workspace_id: WorkspaceId, id_or_name: str) -> Sequence[FlowId]:
        async def read(tx: Transaction) -> list[Row]:
            rows: list[Row] = []
            for form in forms_of(id_or_name):
                rows = rows or await tx.rows(CALLED, {"id": form, "workspace_id": workspace_id})
            if not rows:
                await check_not_deleted(tx, workspace_id)
            return rows

        found = [FlowId(id) for (id,) in await self._database.read(read)]
        return found[:1] if id_or_name in found else found

    async def tools(self, workspace_id: WorkspaceId) -> Sequence[PublishedFlow]:
        rows = await self._database.read(lambda tx: tx.rows(TOOLS, {"workspace_id": workspace_id}))
        return [PublishedFlow(FlowId(row[0]), row[1], row[2], FlowTool(row[3], row[4])) for row in rows]

    async def revision_named(self, workspace_id: WorkspaceId, id: FlowId, version: str | int) -> RevisionId:
        # The columns hold no larger numbers.
        number = version if isinstance(version, int) and abs(version) < 2**63 else None
        label = version if isinstance(version, str) else None
        values = {"id": id, "workspace_id": workspace_id, "number": number, "label": label}
        row = await self._database.read(lambda tx: existing_row(tx, REVISION_NAMED, values, "revision"))
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
        return await read_page(self._database, workspace_id, wanted, page)

    async def purge(self, *, limit: int) -> bool:
        unneeded = await self._database.read_long(lambda tx: tx.rows(UNNEEDED, {"limit": limit}))

        async def purge(tx: Transaction) -> None:
            left = limit
            for (id,) in unneeded:
                for statement in (PURGE_REVISIONS, triggers.PURGE):
                    left -= await tx.run(statement, {"id": id, "limit": left})
                    if left == 0:
                        return
                await tx.run(PURGE, {"id": id})

        if unneeded:
            await self._database.write(purge)
        return bool(unneeded)

    async def unread(self, *, limit: int) -> Sequence[tuple[WorkspaceId, FlowId, RevisionId, str]]:
        rows = await self._database.read_long(lambda tx: tx.rows(UNINDEXED, {"limit": limit}))
        return [(WorkspaceId(row[0]), FlowId(row[1]), RevisionId(row[2]), row[3]) for row in rows]

    async def keep_names(
        self,
        workspace_id: WorkspaceId,
        id: FlowId,
        revision_id: RevisionId,
        *,
        secrets: Sequence[str],
        config: Sequence[str],
    ) -> None:
        values = {"workspace_id": workspace_id, "id": id, "revision_id": revision_id}
        await self._database.write(lambda tx: flow_changes.keep_names(tx, values, secrets, config))

    async def _one(self, statement: str, workspace_id: WorkspaceId, id: str) -> tuple[Any, ...]:
        values = {"id": id, "workspace_id": workspace_id}
        row = await self._database.read(lambda tx: existing_row(tx, statement, values, "flow"))
        return row


async def _check_deletable(tx: Transaction, values: Mapping[str, Any]) -> None:
    """Raises: Conflict if the revision is current, or an open execution runs it."""
    if (await flow_changes.get(tx, values)).revision == values["number"]:
        raise Conflict("The current revision cannot be deleted: delete the flow, or save another first")
    if (await one_row(tx, HAS_OPEN_EXECUTIONS, values))[0]:
        raise Conflict("Executions of this revision have not ended: cancel them, or wait for their end")


def _revision(row: tuple[Any, ...]) -> dict[str, Any]:
    return {
        "number": row[0],
        "version": row[1],
        "size": row[2],
        "created_at": from_ms(row[3]),
        "created_by": AccountId(row[4]),
        "is_current": bool(row[5]),
    }
