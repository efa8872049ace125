"""Triggers of flows, and their arming with every change of a flow."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

import msgspec

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.chain_loops import ChainGraph, StoredChain, check_counts
from flowrunner.domain.errors import Conflict, Fault, InvalidFlow, quoted
from flowrunner.domain.limits import check_count
from flowrunner.domain.schedules import next_start
from flowrunner.domain.triggers import Chain, Schedule, Trigger, TriggerId, TriggerType, WebhookTrigger
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.flows import CurrentFlow, SavedFlow
from flowrunner.ports.page import Page
from flowrunner.ports.triggers import HookTrigger, TriggerView
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms_or_none, to_ms
from flowrunner.storage.transaction import Row, Statement, Transaction, existing_row, listed, one_row
from flowrunner.storage.trigger_events import notify_of_trigger
from flowrunner.stored_json import StoredJson

ALL: Final = """
SELECT t.id, t.workspace_id, t.flow_id, f.name, t.name, t.type, t.spec, t.url_token, t.paused_at, t.removed_at,
       f.disabled_at, t.due_at, t.next_at, t.last_at, t.last_execution_id, t.failures, t.error, t.skipped, t.missed,
       f.revision_id,
       EXISTS (SELECT 1 FROM executions x WHERE x.id = t.last_execution_id AND x.completed_at IS NULL),
       t.listens_to IS NOT NULL
       AND NOT EXISTS (SELECT 1 FROM flows s WHERE s.id = t.listens_to
                          AND s.workspace_id = t.workspace_id AND s.deleted_at IS NULL)
       AND NOT EXISTS (SELECT 1 FROM flows s WHERE s.name = t.listens_to
                          AND s.workspace_id = t.workspace_id AND s.deleted_at IS NULL)
  FROM triggers t JOIN flows f ON f.id = t.flow_id
"""
# For users, the triggers of a deleted flow are gone with it.
OF_WORKSPACE: Final = """
 WHERE t.workspace_id = :workspace_id AND f.deleted_at IS NULL
   AND (CAST(:flow_id AS text) IS NULL OR t.flow_id = :flow_id) AND (CAST(:type AS text) IS NULL OR t.type = :type)
"""
AFTER: Final = " AND (t.flow_id, t.name) > (:after_flow, :after_name)"
PAGE: Final = f"{ALL}{OF_WORKSPACE}{AFTER} ORDER BY t.flow_id, t.name LIMIT :limit OFFSET :offset"
COUNT: Final = """
SELECT count(*) FROM triggers t JOIN flows f ON f.id = t.flow_id
 WHERE t.workspace_id = :workspace_id AND f.deleted_at IS NULL
   AND (CAST(:flow_id AS text) IS NULL OR t.flow_id = :flow_id) AND (CAST(:type AS text) IS NULL OR t.type = :type)
"""
GET: Final = f"{ALL} WHERE t.id = :id AND t.workspace_id = :workspace_id AND f.deleted_at IS NULL"
BY_ID: Final = f"{ALL} WHERE t.id = :id AND f.deleted_at IS NULL"
# Each request to a webhook reads it, so it has only what that needs, and what a start would read of the flow.
BY_URL: Final = """
SELECT t.id, t.workspace_id, t.flow_id, t.name, f.revision_id, f.name, f.disabled_at IS NOT NULL,
       (SELECT paused_at IS NOT NULL FROM engine), t.paused_at IS NULL AND t.removed_at IS NULL
  FROM triggers t JOIN flows f ON f.id = t.flow_id
 WHERE t.url_token = :token AND f.deleted_at IS NULL
"""
# To arm them, without what only a list shows: a deployment has thousands, and other writes wait for it.
OF_FLOWS: Final = Statement.with_texts(
    """
SELECT t.id, t.workspace_id, t.flow_id, f.name, t.name, t.type, t.spec, t.url_token, t.paused_at, t.removed_at,
       f.disabled_at, t.due_at, t.next_at, t.last_at, t.last_execution_id, t.failures, t.error, t.skipped, t.missed,
       f.revision_id, false, false
  FROM triggers t JOIN flows f ON f.id = t.flow_id
 WHERE t.flow_id IN (:flow_ids)
""",
    "flow_ids",
)
COUNT_PRESENT: Final = "SELECT count(*) FROM triggers WHERE workspace_id = :workspace_id AND removed_at IS NULL"
COUNT_OF_FLOW: Final = "SELECT count(*) FROM triggers WHERE flow_id = :flow_id AND removed_at IS NULL"

ADD: Final = Statement.on_rows(
    """
INSERT INTO triggers (id, workspace_id, flow_id, name, type, spec, url_token, created_at, due_at, next_at, listens_to,
                      listens_status, is_of_children)
SELECT new.id, new.workspace_id, new.flow_id, new.name, new.type, new.spec, new.url_token, new.at, new.due_at,
       new.next_at, new.listens_to, new.listens_status, new.is_of_children
  FROM {new}
""",
    bigint="at due_at next_at",
    boolean="is_of_children",
)
# The state of the earlier type says nothing about the new one.
REPLACE: Final = Statement.on_rows("""
UPDATE triggers
   SET type = new.type, spec = new.spec, url_token = new.url_token, removed_at = NULL, due_at = NULL, next_at = NULL,
       failures = 0, error = NULL
  FROM {new}
 WHERE triggers.id = new.id
""")
ARM: Final = Statement.on_rows(
    """
UPDATE triggers SET due_at = new.due_at, next_at = new.next_at, listens_to = new.listens_to,
       listens_status = new.listens_status, is_of_children = new.is_of_children
  FROM {new}
 WHERE triggers.id = new.id
""",
    bigint="due_at next_at",
    boolean="is_of_children",
)
REMOVE: Final = Statement.on_rows(
    """
UPDATE triggers
   SET removed_at = new.at, due_at = NULL, next_at = NULL, listens_to = NULL, listens_status = NULL
  FROM {new}
 WHERE triggers.id = new.id
""",
    bigint="at",
)
REMOVE_ALL: Final = Statement.with_texts(
    """
UPDATE triggers
   SET removed_at = :at, due_at = NULL, next_at = NULL, listens_to = NULL, listens_status = NULL
 WHERE flow_id IN (:flow_ids) AND removed_at IS NULL
""",
    "flow_ids",
)
# Each save may remove as many as a document may have.
FORGET_REMOVED: Final = """
DELETE FROM triggers
 WHERE id IN (SELECT id FROM triggers WHERE flow_id = :flow_id AND removed_at IS NOT NULL
               ORDER BY removed_at DESC, id DESC LIMIT 500 OFFSET :most_removed)
"""
MOVE: Final = "UPDATE triggers SET workspace_id = :target WHERE flow_id = :id"
PURGE: Final = """
DELETE FROM triggers WHERE id IN (SELECT id FROM triggers WHERE flow_id = :id LIMIT :limit)
"""
# A pause and its end begin a new count of failures.
PAUSE: Final = "UPDATE triggers SET paused_at = :paused_at, failures = 0, error = NULL WHERE id = :id"
ROTATE: Final = "UPDATE triggers SET url_token = :url_token WHERE id = :id AND type = 'webhook'"

# Paused triggers and those of disabled flows count as well: they may be armed without another check. A flow that is
# about to move counts where it moves to.
CHAINS: Final = """
SELECT t.id, t.flow_id, f.name, t.name, t.type, t.spec
  FROM triggers t JOIN flows f ON f.id = t.flow_id
 WHERE t.workspace_id = :workspace_id AND t.type = 'execution' AND t.removed_at IS NULL
"""
CHAINS_OF_FLOW: Final = """
SELECT t.id, t.flow_id, f.name, t.name, t.type, t.spec
  FROM triggers t JOIN flows f ON f.id = t.flow_id
 WHERE t.flow_id = :flow_id AND t.type = 'execution' AND t.removed_at IS NULL
"""
# Triggers of a workspace that its documents have, and those of a flow that its document no longer has.
MOST_TRIGGERS: Final = 10_000
MOST_REMOVED: Final = 100
# 160 bits, so that URLs cannot be guessed.
_TOKEN_BYTES: Final = 20


class SqlTriggers:
    """Implements `ports.TriggerStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, workspace_id: WorkspaceId, *, flow_id: FlowId | None, type: TriggerType | None, page: Page
    ) -> tuple[Sequence[TriggerView], int]:
        values: dict[str, Any] = {"workspace_id": workspace_id, "flow_id": flow_id, "type": type}
        values["after_flow"], values["after_name"] = page.pair
        rows, total = await self._database.read(lambda tx: page_and_total(tx, page, PAGE, COUNT, values))
        return [view(row) for row in rows], total

    async def get(self, workspace_id: WorkspaceId, id: TriggerId) -> TriggerView:
        return await self._database.read(lambda tx: _get(tx, workspace_id, id))

    async def by_token(self, token: str) -> HookTrigger | None:
        row = await self._database.read(lambda tx: tx.row(BY_URL, {"token": token}))
        if row is None:
            return None
        flow = CurrentFlow(RevisionId(row[4]), row[5], is_disabled=bool(row[6]), is_paused=bool(row[7]))
        return HookTrigger(
            id=TriggerId(row[0]),
            workspace_id=WorkspaceId(row[1]),
            flow_id=FlowId(row[2]),
            name=row[3],
            revision_id=flow.revision_id,
            is_armed=bool(row[8]) and not flow.is_disabled,
            flow=flow,
        )

    async def set_paused(
        self, workspace_id: WorkspaceId, id: TriggerId, *, paused: bool, at: datetime, audit: AuditEntry | None = None
    ) -> TriggerView:
        async def set_paused(tx: Transaction) -> tuple[TriggerView, bool]:
            before = await _get(tx, workspace_id, id)
            is_change = paused != (before.paused_at is not None)
            if is_change:
                await tx.run(PAUSE, {"id": id, "paused_at": to_ms(at) if paused else None})
                await _arm(tx, [await _get(tx, workspace_id, id)], at=at)
                if paused:
                    await notify_of_trigger(tx, "trigger.paused", id, at=at)
            return await _get(tx, workspace_id, id), is_change

        changed, _ = await self._database.write(set_paused, audit=lambda result: audit if result[1] else None)
        return changed

    async def rotate(self, workspace_id: WorkspaceId, id: TriggerId, *, audit: Audit = None) -> TriggerView:
        async def rotate(tx: Transaction) -> TriggerView:
            await _get(tx, workspace_id, id)
            if await tx.run(ROTATE, {"id": id, "url_token": _new_token()}) == 0:
                raise Conflict("Only a webhook has a URL")
            return await _get(tx, workspace_id, id)

        return await self._database.write(rotate, audit=audit)


async def add(tx: Transaction, workspace_id: WorkspaceId, flows: Sequence[SavedFlow]) -> bool:
    """Add and arm the triggers of flows that were created; return whether there are any."""
    rows = [
        _new_row(workspace_id, flow, id, trigger) for flow in flows for id, trigger in (flow.triggers or {}).items()
    ]
    # Together: other writes wait for this transaction.
    await tx.run_many(ADD, rows)
    return bool(rows)


async def arm(tx: Transaction, workspace_id: WorkspaceId, flows: Sequence[SavedFlow]) -> bool:
    """Arm the triggers of flows that were changed, and end those that their documents no longer have.

    An unchanged trigger keeps its next due time. Flows are armed together, because other writes wait meanwhile.

    Returns:
        Whether one of the flows has more of them than before.
    """
    if not flows:
        return False
    stored: dict[FlowId, dict[str, TriggerView]] = {flow.id: {} for flow in flows}
    for old in await _of_flows(tx, stored):
        stored[old.flow_id][old.name] = old
    has_more, kept = False, set[TriggerId]()
    added: list[dict[str, Any]] = []
    replaced: list[dict[str, Any]] = []
    removed: list[dict[str, Any]] = []
    for flow in flows:
        before, triggers = stored[flow.id], flow.triggers or {}
        has_more |= len(triggers) > sum(old.removed_at is None for old in before.values())
        for new_id, trigger in triggers.items():
            known = before.pop(trigger.name, None)
            if known is None:
                added.append(_new_row(workspace_id, flow, new_id, trigger))
                continue
            kept.add(known.id)
            if known.removed_at is not None or known.type != trigger.type or known.spec != _stored_spec(trigger):
                replaced.append(_columns(trigger, url_token=known.url_token) | {"id": known.id})
        removed += [{"id": old.id, "at": to_ms(flow.updated_at)} for old in before.values() if old.removed_at is None]
    await tx.run_many(REPLACE, replaced)
    await tx.run_many(ADD, added)
    await tx.run_many(REMOVE, removed)
    for id, left in stored.items():
        if len(left) > MOST_REMOVED:
            await tx.run(FORGET_REMOVED, {"flow_id": id, "most_removed": MOST_REMOVED})
    at = {flow.id: flow.updated_at for flow in flows}
    present = [each for each in await _of_flows(tx, stored) if each.id in kept] if kept else []
    armed = [_armed(each, at[each.flow_id]) for each in present]
    await tx.run_many(ARM, [values for values in armed if values is not None])
    return has_more


def _new_row(workspace_id: WorkspaceId, flow: SavedFlow, id: TriggerId, trigger: Trigger) -> dict[str, Any]:
    at = flow.updated_at
    armed = _armed_columns(id, _stored_spec(trigger), is_on=flow.disabled_at is None, at=at)
    names = {"workspace_id": workspace_id, "flow_id": flow.id, "name": trigger.name, "at": to_ms(at)}
    return _columns(trigger) | names | armed


def _columns(trigger: Trigger, *, url_token: str | None = None) -> dict[str, Any]:
    """Return what the document says of a trigger. Args: url_token: The one that a webhook has already."""
    token = url_token or _new_token() if trigger.type == "webhook" else None
    return {"type": trigger.type, "spec": _encode(trigger), "url_token": token}


async def check_number(tx: Transaction, workspace_id: WorkspaceId, *, added: int = 0) -> None:
    """Raises: LimitReached if a workspace has, with so many more, more triggers than it may have."""
    (count,) = await one_row(tx, COUNT_PRESENT, {"workspace_id": workspace_id})
    check_count("triggers", count + added - 1, MOST_TRIGGERS, limit="triggers")


async def rearm(tx: Transaction, flow_id: FlowId, *, at: datetime) -> None:
    """Arm or disarm the triggers of a flow that was enabled or disabled."""
    await _arm(tx, [trigger for trigger in await _of_flows(tx, [flow_id]) if trigger.removed_at is None], at=at)


async def end_all(tx: Transaction, flow_ids: Collection[FlowId], *, at: datetime) -> None:
    """End the triggers of flows that were deleted from their workspace."""
    await tx.run(REMOVE_ALL, {"flow_ids": listed(flow_ids), "at": to_ms(at)})


async def _of_flows(tx: Transaction, flow_ids: Collection[FlowId]) -> Sequence[TriggerView]:
    return [view(row) for row in await tx.rows(OF_FLOWS, {"flow_ids": listed(flow_ids)})]


async def of_ids(tx: Transaction, ids: Collection[TriggerId]) -> Mapping[TriggerId, TriggerView]:
    """Return those of the triggers that exist, and whose flow was not deleted."""
    found = {}
    for id in ids:
        row = await tx.row(BY_ID, {"id": id})
        if row is not None:
            found[id] = view(row)
    return found


async def check_chains(tx: Transaction, workspace_id: WorkspaceId, flow_ids: Sequence[FlowId]) -> None:
    """Check the chains of a workspace, of which some flows have changed.

    Raises:
        LimitReached: If the workspace has too many.
        InvalidFlow: If the end of an execution of one of the flows would start another one of it.
    """
    _check_chains(_chains(await tx.rows(CHAINS, {"workspace_id": workspace_id})), flow_ids)


async def check_move(tx: Transaction, flow_id: FlowId, *, to: WorkspaceId) -> None:
    """Check the triggers of a workspace as if it had a flow of another one. Raises: as `check_chains`."""
    (count,) = await one_row(tx, COUNT_OF_FLOW, {"flow_id": flow_id})
    if count:
        await check_number(tx, to, added=count)
    own = _chains(await tx.rows(CHAINS_OF_FLOW, {"flow_id": flow_id}))
    if own:
        _check_chains([*_chains(await tx.rows(CHAINS, {"workspace_id": to})), *own], [flow_id])


def _chains(rows: Sequence[Row]) -> list[StoredChain]:
    return [
        StoredChain(FlowId(of), flow_name, name, spec.flow)
        for id, of, flow_name, name, type, text in rows
        if isinstance(spec := _spec(id, type, text), Chain)
    ]


def _check_chains(chains: Sequence[StoredChain], flow_ids: Sequence[FlowId]) -> None:
    check_counts(chains)
    graph = ChainGraph(chains)
    for flow_id in flow_ids:
        loop = graph.loop_of(flow_id)
        if loop is not None:
            by = quoted(loop.by_way_of)
            message = f"the chain is a loop: an end of this flow would start it again, by way of {by}"
            hint = "let another event end the chain, or call the flow from a node"
            path = f"triggers.{loop.chain.name}.flow"
            error = InvalidFlow([Fault(path=path, code="trigger.loop", message=message, hint=hint)])
            error.flow_name = loop.chain.flow_name
            raise error


async def _arm(tx: Transaction, triggers: Sequence[TriggerView], *, at: datetime) -> None:
    """Arm triggers for their next starts, or for none while they or their flows are disabled."""
    armed = [_armed(trigger, at) for trigger in triggers]
    await tx.run_many(ARM, [values for values in armed if values is not None])


def _armed(trigger: TriggerView, at: datetime) -> dict[str, Any] | None:
    """Return the columns of a trigger that is armed; None if it stays as it is."""
    is_on = trigger.paused_at is None and trigger.flow_disabled_at is None
    if is_on and isinstance(trigger.spec, Schedule) and trigger.due_at is not None:
        return None
    return _armed_columns(trigger.id, trigger.spec, is_on=is_on, at=at)


def _armed_columns(id: TriggerId, spec: Schedule | Chain | None, *, is_on: bool, at: datetime) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": id,
        **dict.fromkeys(("due_at", "next_at", "listens_to", "listens_status")),
        "is_of_children": False,
    }
    match spec:
        case Schedule() as schedule if is_on:
            if (start := next_start(id, schedule, at)) is not None:
                values |= {"due_at": to_ms(start.due_at), "next_at": to_ms(start.starts_at)}
        case Chain() as chain if is_on:
            values |= {
                "listens_to": chain.flow,
                "listens_status": " ".join(chain.status),
                "is_of_children": chain.children,
            }
    return values


def _new_token() -> str:
    return secrets.token_urlsafe(_TOKEN_BYTES)


def _encode(trigger: Trigger) -> str:
    return msgspec.json.encode(_stored_spec(trigger)).decode()


def _stored_spec(trigger: Trigger) -> Schedule | Chain | None:
    # Everything about a webhook is in its document, because a request compiles it anyway.
    return None if isinstance(trigger.spec, WebhookTrigger) else trigger.spec


_SPECS: Final[Mapping[str, StoredJson[Schedule | Chain | None]]] = {
    type: StoredJson(of, column="triggers.spec")
    for type, of in (("schedule", Schedule), ("execution", Chain), ("webhook", None))
}


def _spec(id: str, type: str, text: str) -> Schedule | Chain | None:
    """Return what is stored of a trigger; None if it cannot be read, until its flow is saved again."""
    return _SPECS[type].read(text, id=id)


async def _get(tx: Transaction, workspace_id: WorkspaceId, id: TriggerId) -> TriggerView:
    row = await existing_row(tx, GET, {"id": id, "workspace_id": workspace_id}, "trigger")
    return view(row)


def view(row: Row) -> TriggerView:
    return TriggerView(
        id=TriggerId(row[0]),
        workspace_id=WorkspaceId(row[1]),
        flow_id=FlowId(row[2]),
        flow_name=row[3],
        name=row[4],
        type=cast("TriggerType", row[5]),
        spec=_spec(row[0], row[5], row[6]),
        url_token=row[7],
        paused_at=from_ms_or_none(row[8]),
        removed_at=from_ms_or_none(row[9]),
        flow_disabled_at=from_ms_or_none(row[10]),
        due_at=from_ms_or_none(row[11]),
        next_at=from_ms_or_none(row[12]),
        last_at=from_ms_or_none(row[13]),
        last_execution_id=None if row[14] is None else ExecutionId(row[14]),
        failures=row[15],
        error=row[16],
        skipped=row[17],
        missed=row[18],
        revision_id=RevisionId(row[19]),
        has_open_execution=bool(row[20]),
        listens_in_vain=bool(row[21]),
    )
