"""One flow in a transaction: read it, and write it with its revision, its triggers and its tool."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from flowrunner.domain.errors import AmbiguousName, Conflict, Fault, InvalidFlows, LimitReached, NotFound, quoted
from flowrunner.domain.flow_names import forms_of
from flowrunner.domain.flow_tools import MOST_TOOLS, FlowTool
from flowrunner.domain.limits import check_count
from flowrunner.domain.triggers import Chain
from flowrunner.domain.values import AccountId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.flows import Deployment, FlowChange, NamedChange, SavedFlow
from flowrunner.storage import triggers
from flowrunner.storage.rows import from_ms, from_ms_or_none, to_ms, to_ms_or_none
from flowrunner.storage.transaction import Row, Statement, Transaction, existing_row, listed, one_row

GET: Final = """
SELECT f.id, f.name, f.description, f.version, f.tags, f.created_at, f.updated_at, r.definition, r.id,
       r.number, f.edition, coalesce(r.created_by, r.workspace_id), f.disabled_at,
       f.tool_name, f.tool_inputs
  FROM flows f JOIN revisions r ON r.id = f.revision_id
 WHERE f.id = :id AND f.workspace_id = :workspace_id AND f.deleted_at IS NULL
"""
# `:wanted` has a number, a name and a size for each flow, as JSON: other writes wait while a deployment looks for them.
# Those of `:but` are to be deleted.
# Two rows are enough to know that a name is ambiguous. A definition of another size is not read: it is another one.
# PostgreSQL uses an index only for comparisons in its collation.
NAMED: Final = Statement(
    sqlite="""
SELECT w.value ->> 0, f.id, f.name, f.description, f.version, f.tags, f.created_at, f.updated_at,
       CASE WHEN w.value ->> 2 IS NULL OR r.size = w.value ->> 2 THEN r.definition ELSE '' END, r.id,
       r.number, f.edition, coalesce(r.created_by, r.workspace_id), f.disabled_at,
       f.tool_name, f.tool_inputs
  FROM json_each(:wanted) w CROSS JOIN flows f CROSS JOIN revisions r
 WHERE f.id IN (SELECT id FROM flows
                 WHERE workspace_id = :workspace_id AND name = w.value ->> 1 AND deleted_at IS NULL
                   AND id NOT IN (SELECT value FROM json_each(:but))
                 ORDER BY id LIMIT 2)
   AND r.id = f.revision_id
 ORDER BY f.id
""",
    postgres="""
SELECT w.number, f.id, f.name, f.description, f.version, f.tags, f.created_at, f.updated_at,
       CASE WHEN w.size IS NULL OR r.size = w.size THEN r.definition ELSE '' END, r.id,
       r.number, f.edition, coalesce(r.created_by, r.workspace_id), f.disabled_at,
       f.tool_name, f.tool_inputs
  FROM (SELECT CAST(value ->> 0 AS bigint) AS number, value ->> 1 AS name, CAST(value ->> 2 AS bigint) AS size
          FROM json_array_elements(CAST(:wanted AS json))) AS w
 CROSS JOIN LATERAL (SELECT * FROM flows
                      WHERE workspace_id = :workspace_id AND name COLLATE "C" = w.name AND deleted_at IS NULL
                        AND id NOT IN (SELECT json_array_elements_text(CAST(:but AS json)))
                      ORDER BY id LIMIT 2) AS f
  JOIN revisions r ON r.id = f.revision_id
 ORDER BY f.id
""",
)
# Only in a workspace that exists: deleting one deletes its flows, and none may be created after that.
CREATE: Final = Statement.on_rows(
    """
INSERT INTO flows (id, workspace_id, name, description, version, tags, revision_id, created_at, updated_at,
                   disabled_at, tool_name, tool_inputs, secret_names, secrets_of, config_names)
SELECT new.id, new.workspace_id, new.name, new.description, new.version, new.tags, new.revision_id, new.created_at,
       new.updated_at, new.disabled_at, new.tool_name, new.tool_inputs, new.secret_names, new.revision_id,
       new.config_names
  FROM {new}
 WHERE EXISTS (SELECT 1 FROM workspaces w WHERE w.id = new.workspace_id AND w.deleted_at IS NULL)
""",
    bigint="created_at updated_at disabled_at",
)
THERE: Final = Statement.with_texts(
    "SELECT id, name FROM flows WHERE id IN (:ids) AND workspace_id = :workspace_id AND deleted_at IS NULL", "ids"
)
# Revisions stay: open executions continue with theirs, and the history stays readable.
DELETE: Final = Statement.with_texts(
    """
UPDATE flows SET deleted_at = :at WHERE id IN (:ids) AND workspace_id = :workspace_id AND deleted_at IS NULL
""",
    "ids",
)
COUNT: Final = "SELECT count(*) FROM flows WHERE workspace_id = :workspace_id AND deleted_at IS NULL"
UPDATE: Final = Statement.on_rows(
    """
UPDATE flows
   SET name = new.name, description = new.description, version = new.version, tags = new.tags,
       revision_id = new.revision_id, edition = new.edition, updated_at = new.updated_at,
       disabled_at = new.disabled_at, tool_name = new.tool_name, tool_inputs = new.tool_inputs
  FROM {new}
 WHERE flows.id = new.id AND flows.workspace_id = new.workspace_id AND flows.deleted_at IS NULL
""",
    bigint="edition updated_at disabled_at",
)
ADD_REVISION: Final = Statement.on_rows(
    """
INSERT INTO revisions (id, workspace_id, flow_id, number, version, size, definition, created_at, created_by)
SELECT new.revision_id, new.workspace_id, new.id, new.revision, new.version, new.size, new.definition, new.updated_at,
       new.saved_by
  FROM {new}
""",
    bigint="revision size updated_at",
)
KEEP_NAMES: Final = Statement.on_rows("""
UPDATE flows SET secret_names = new.secret_names, secrets_of = new.revision_id, config_names = new.config_names
  FROM {new}
 WHERE flows.id = new.id AND flows.workspace_id = new.workspace_id AND flows.revision_id = new.revision_id
""")
OTHER_TOOLS: Final = """
SELECT count(*) FROM flows
 WHERE workspace_id = :workspace_id AND tool_name IS NOT NULL AND deleted_at IS NULL AND id <> :id
"""
TAKEN_TOOL: Final = """
SELECT name FROM flows
 WHERE workspace_id = :workspace_id AND tool_name = :tool_name AND deleted_at IS NULL AND id <> :id
"""


async def get(tx: Transaction, values: Mapping[str, Any]) -> SavedFlow:
    """Raises: NotFound."""
    row = await existing_row(tx, GET, values, "flow")
    return _saved_flow(row)


async def named(tx: Transaction, workspace_id: WorkspaceId, name: str, size: int | None) -> SavedFlow | None:
    """Return the flow with a name, without its definition if that has another size. Raises: AmbiguousName."""
    (found,) = await _all_named(tx, workspace_id, [(name, size)])
    return found


async def _all_named(
    tx: Transaction,
    workspace_id: WorkspaceId,
    wanted: Sequence[tuple[str, int | None]],
    *,
    but: Collection[FlowId] = (),
) -> Sequence[SavedFlow | None]:
    """Return the flows with names and sizes, as `named` does for each.

    Args:
        but: Flows that are left out.
    """
    # No name has a NUL, which PostgreSQL does not take.
    forms = [
        (number, form.replace("\0", "\ufffd"), size)
        for number, (name, size) in enumerate(wanted)
        for form in forms_of(name)
    ]
    rows: dict[tuple[int, str], list[Row]] = {}
    values = {"workspace_id": workspace_id, "wanted": msgspec.json.encode(forms).decode(), "but": listed(but)}
    for number, *row in await tx.rows(NAMED, values):
        rows.setdefault((number, row[1]), []).append(tuple(row))
    flows: list[SavedFlow | None] = []
    for number, (name, _) in enumerate(wanted):
        found = next((rows[number, form] for form in forms_of(name) if (number, form) in rows), ())
        if len(found) > 1:
            raise AmbiguousName(name)
        flows.append(_saved_flow(found[0]) if found else None)
    return flows


async def plan(
    tx: Transaction,
    workspace_id: WorkspaceId,
    changes: Sequence[NamedChange],
    delete: Sequence[FlowId],
    most: int | None,
) -> Deployment:
    """Return what `write` will do for the changes, and which flows there are to delete.

    Raises: Conflict, LimitReached; InvalidFlows with the faults of all.
    """
    faults: list[tuple[str, str, Fault]] = []
    deleted, planned = await _there(tx, workspace_id, delete), []
    gone, gone_names = [id for id in dict.fromkeys(delete) if id in deleted], set(deleted.values())
    found = await _all_named(tx, workspace_id, [(change.name, change.size) for change in changes], but=gone)
    for change, before in zip(changes, found, strict=True):
        if before is None and not gone_names.isdisjoint(forms_of(change.name)):
            raise Conflict(f"The flow {quoted(change.name)} is to be both saved and deleted")
        try:
            after = change.change(before)
        except InvalidFlows as error:
            faults += error.faults
            continue
        planned.append(FlowChange(before, after if before is None or after == before else after.after(before)))
    if faults:
        raise InvalidFlows(faults)
    created = sum(change.before is None for change in planned)
    await check_room(tx, workspace_id, created - len(gone), most)
    return Deployment(planned, gone)


async def write_deployment(tx: Transaction, workspace_id: WorkspaceId, planned: Deployment, at: datetime) -> None:
    """Raises: as `write`."""
    # Before the others: one of these may become the tool that a deleted one was.
    await delete(tx, workspace_id, planned.deleted, at)
    await write(tx, workspace_id, planned.changes)


async def _there(tx: Transaction, workspace_id: WorkspaceId, ids: Sequence[FlowId]) -> Mapping[FlowId, str]:
    """Return the names of the flows with these ids that there are."""
    if not ids:
        return {}
    rows = await tx.rows(THERE, {"workspace_id": workspace_id, "ids": listed(ids)})
    return {FlowId(id): name for id, name in rows}


async def delete(tx: Transaction, workspace_id: WorkspaceId, ids: Sequence[FlowId], at: datetime) -> int:
    """Delete the flows together, because other writes wait meanwhile; return how many there were."""
    if not ids:
        return 0
    values = {"workspace_id": workspace_id, "ids": listed(ids), "at": to_ms(at)}
    count = await tx.run(DELETE, values)
    if count:
        await triggers.end_all(tx, ids, at=at)
    return count


async def check_room(tx: Transaction, workspace_id: WorkspaceId, created: int, most: int | None) -> None:
    """Raises: LimitReached if the workspace would have more flows than before, and more than ``most``."""
    if most is not None and created > 0:
        count = (await one_row(tx, COUNT, {"workspace_id": workspace_id}))[0]
        check_count("flows", count + created - 1, most, limit="workspace_flows")


async def write(tx: Transaction, workspace_id: WorkspaceId, changes: Sequence[FlowChange]) -> None:
    """Write all changes that change something. Raises: NotFound, Conflict, LimitReached, InvalidFlow."""
    has_more_triggers, created, updated = False, [], []
    for before, after in changes:
        if before == after:
            continue
        if after.tool is not None and (before is None or before.tool is None or before.tool.name != after.tool.name):
            await check_tool(tx, values_of(workspace_id, after))
        # One after the other: a flow may become the tool that another one of them was.
        is_tool = after.tool is not None or (before is not None and before.tool is not None)
        if before is None and is_tool:
            has_more_triggers |= await _create(tx, workspace_id, [after])
        elif before is None:
            created.append(after)
        elif is_tool:
            has_more_triggers |= await _update(tx, workspace_id, [(before, after)])
        else:
            updated.append((before, after))
    # Together: other writes wait for this transaction.
    if updated:
        has_more_triggers |= await _update(tx, workspace_id, updated)
    if created:
        has_more_triggers |= await _create(tx, workspace_id, created)
    if has_more_triggers:
        await triggers.check_number(tx, workspace_id)
    # Once all are there: flows of one deployment may refer to each other.
    chained = [after.id for _, after in changes if _has_chain(after)]
    if chained:
        await triggers.check_chains(tx, workspace_id, chained)


async def _create(tx: Transaction, workspace_id: WorkspaceId, flows: Sequence[SavedFlow]) -> bool:
    """Create flows; return whether they have triggers."""
    rows = [values_of(workspace_id, flow) for flow in flows]
    if await tx.run_many(CREATE, rows) < len(rows):
        raise NotFound("workspace")
    await tx.run_many(ADD_REVISION, rows)
    return await triggers.add(tx, workspace_id, flows)


async def _update(tx: Transaction, workspace_id: WorkspaceId, changes: Sequence[tuple[SavedFlow, SavedFlow]]) -> bool:
    """Write changes of flows; return whether one of them has more triggers than before."""
    await tx.run_many(UPDATE, [values_of(workspace_id, after) for _, after in changes])
    revised = [values_of(workspace_id, after) for before, after in changes if before.revision_id != after.revision_id]
    await tx.run_many(ADD_REVISION, revised)
    await tx.run_many(KEEP_NAMES, revised)
    for before, after in changes:
        if after.triggers is None and (before.disabled_at is None) != (after.disabled_at is None):
            await triggers.rearm(tx, after.id, at=after.updated_at)
    return await triggers.arm(tx, workspace_id, [after for _, after in changes if after.triggers is not None])


async def keep_names(tx: Transaction, values: Mapping[str, Any], secrets: Sequence[str], config: Sequence[str]) -> None:
    await tx.run_many(KEEP_NAMES, [{**values, "secret_names": " ".join(secrets), "config_names": " ".join(config)}])


async def check_tool(tx: Transaction, values: Mapping[str, Any]) -> None:
    """Raises: Conflict if another flow of the workspace is the tool; LimitReached if it has too many."""
    (count,) = await one_row(tx, OTHER_TOOLS, values)
    if count >= MOST_TOOLS:
        message = f"A workspace has at most {MOST_TOOLS} flows that are tools: remove 'mcp: true' from one of them"
        raise LimitReached(message, limit="tools", most=MOST_TOOLS)
    taken = await tx.row(TAKEN_TOOL, values)
    if taken is not None:
        tool = values["tool_name"]
        raise Conflict(f"The flow {quoted(taken[0])} is the tool '{tool}' already: give one of the two another name")


def depends_on_others(flow: SavedFlow) -> bool:
    """Return whether other flows of the workspace decide if the flow may be written."""
    return flow.tool is not None or _has_chain(flow)


def _has_chain(flow: SavedFlow) -> bool:
    return any(isinstance(trigger.spec, Chain) for trigger in (flow.triggers or {}).values())


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
        disabled_at=from_ms_or_none(row[12]),
        tool=None if row[13] is None else FlowTool(row[13], row[14]),
    )


def values_of(workspace_id: WorkspaceId, flow: SavedFlow) -> dict[str, Any]:
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
        "secret_names": " ".join(flow.secret_names),
        "config_names": " ".join(flow.config_names),
        "edition": flow.edition,
        "definition": flow.definition,
        "size": len(flow.definition.encode()),
        "created_at": to_ms(flow.created_at),
        "updated_at": to_ms(flow.updated_at),
        "disabled_at": to_ms_or_none(flow.disabled_at),
    }
