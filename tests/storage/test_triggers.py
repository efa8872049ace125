"""Triggers in the database: their arming with every change of a flow."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from flowrunner.domain.audit import act
from flowrunner.domain.errors import Conflict, LimitReached, NotFound
from flowrunner.domain.expression import Constant
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.prepared import prepared
from flowrunner.domain.triggers import Chain, Schedule, Trigger, TriggerId, TriggerSpec, Verify, WebhookTrigger
from flowrunner.domain.values import FlowId, RevisionId
from flowrunner.ports.audit import AuditFilter
from flowrunner.ports.flows import Deployment, FlowChange, NamedChange, SavedFlow
from flowrunner.ports.triggers import TriggerView
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.audit import SqlAudit
from flowrunner.storage.database import Database
from flowrunner.storage.flow_changes import plan, write, write_deployment
from flowrunner.storage.flow_moves import SqlFlowMoves
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.transaction import Transaction
from flowrunner.storage.triggers import SqlTriggers
from support.databases import MARA, NOON, OMAR, Place, change, rows_of

from .samples import ALL, flow

HOURLY = Schedule(every_seconds=3600)
HOOK = WebhookTrigger(verify=Verify(scheme="none"))
FLOW = FlowId("flow-1")
HOUR = timedelta(hours=1)


def saved(**specs: TriggerSpec) -> SavedFlow:
    """Return the flow with triggers that have these names."""
    input = prepared(Constant({}))
    named = {TriggerId(f"trig-{name}"): Trigger(name=name, spec=spec, input=input) for name, spec in specs.items()}
    return replace(flow(), triggers=named)


@pytest.fixture
def triggers(database: Database) -> SqlTriggers:
    return SqlTriggers(database)


async def named(triggers: SqlTriggers, workspace: Any = MARA) -> dict[str, TriggerView]:
    found, total = await triggers.page(workspace, flow_id=None, type=None, page=ALL)
    assert total == len(found)
    return {trigger.name: trigger for trigger in found}


async def save(flows: SqlFlows, *, hours: float = 0, disabled: bool = False, **specs: TriggerSpec) -> None:
    at = NOON + timedelta(hours=hours)

    def change(before: SavedFlow) -> SavedFlow:
        return replace(before, triggers=saved(**specs).triggers, updated_at=at, disabled_at=at if disabled else None)

    await flows.update(MARA, FLOW, change)


async def test_saving_a_flow_arms_its_triggers(flows: SqlFlows, triggers: SqlTriggers) -> None:
    await flows.create(MARA, saved(often=HOURLY, pushed=HOOK, after=Chain(flow="other")))

    found = await named(triggers)

    assert {name: trigger.state for name, trigger in found.items()} == dict.fromkeys(found, "armed")
    assert (found["often"].due_at, found["often"].next_at) == (NOON + timedelta(hours=1), NOON + timedelta(hours=1))
    assert found["pushed"].url_token is not None
    assert len(found["pushed"].url_token) >= 27
    assert found["after"].spec == Chain(flow="other")


class CountedTransaction:
    """A transaction that counts what is sent to the database."""

    def __init__(self, tx: Any) -> None:
        self._tx = tx
        self.sent: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.sent.append(name)
        return getattr(self._tx, name)


def flow_named(name: str, revision: int, **specs: TriggerSpec) -> SavedFlow:
    """Return a flow whose triggers have ids of their own, as a save gives them."""
    of_one = saved(**specs)
    ids = {TriggerId(f"{name}-{revision}-{id}"): trigger for id, trigger in (of_one.triggers or {}).items()}
    revision_id = RevisionId(f"{name}-{revision}")
    return replace(of_one, id=FlowId(name), name=name, revision_id=revision_id, revision=revision, triggers=ids)


async def test_many_changed_flows_are_written_by_as_many_statements_as_one(
    flows: SqlFlows, database: Database, triggers: SqlTriggers
) -> None:
    """Each has a trigger that stays, one that changes, one that goes and a new one."""
    minutely, sent = Schedule(every_seconds=60), []
    for names in (["a0"], [f"b{n}" for n in range(20)]):
        changes = []
        for name in names:
            before = flow_named(name, 1, stays=HOURLY, changes=HOURLY, goes=HOURLY)
            await flows.create(MARA, before)
            changes.append(FlowChange(before, flow_named(name, 2, stays=HOURLY, changes=minutely, comes=HOURLY)))

        async def writing(tx: Transaction, changes: Sequence[FlowChange] = changes) -> int:
            counted: Any = CountedTransaction(tx)
            await write(counted, MARA, changes)
            return len(counted.sent)

        sent.append(await database.write(writing))

    # The flows, revisions and names; the triggers before, the changed, new and gone ones; those that stay, armed.
    assert sent == [9, 9]
    found, _ = await triggers.page(MARA, flow_id=FlowId("b7"), type=None, page=ALL)
    assert {each.name: (each.state, each.spec, each.due_at) for each in found} == {
        "stays": ("armed", HOURLY, NOON + HOUR),
        "changes": ("armed", minutely, NOON + timedelta(minutes=1)),
        "goes": ("ended", HOURLY, None),
        "comes": ("armed", HOURLY, NOON + HOUR),
    }


async def test_new_flows_are_written_by_as_many_statements_as_one(database: Database, accounts: SqlAccounts) -> None:
    sent = []
    for first, count in ((0, 1), (1, 50)):
        flows = [
            replace(saved(often=HOURLY), id=FlowId(f"flow-{n}"), name=f"n{n}", revision_id=RevisionId(f"rev-{n}"))
            for n in range(first, first + count)
        ]
        # The ids of the triggers are new, too.
        flows = [
            replace(each, triggers={TriggerId(f"{each.id}-{id}"): trigger for id, trigger in triggers.items()})
            for each in flows
            if (triggers := each.triggers)
        ]

        async def writing(tx: Transaction, flows: Sequence[SavedFlow] = flows) -> int:
            counted: Any = CountedTransaction(tx)
            changes = [
                NamedChange(name=flow.name, change=lambda _, flow=flow: flow, size=None)  # type: ignore[misc] # a default
                for flow in flows
            ]
            planned = await plan(counted, MARA, changes, (), None)
            await write(counted, MARA, planned.changes)
            return len(counted.sent)

        sent.append(await database.write(writing))

    # The names; the flows, their revisions, their triggers, and the number of these.
    assert sent == [5, 5]


async def test_many_flows_are_deleted_by_as_many_statements_as_one(
    flows: SqlFlows, database: Database, triggers: SqlTriggers, path: Place
) -> None:
    sent = []
    await flows.create(OMAR, flow_named("foreign", 1, often=HOURLY))
    for names in (["a0"], [f"b{n}" for n in range(20)]):
        for name in names:
            await flows.create(MARA, flow_named(name, 1, often=HOURLY))
        # One that there is not, and one twice.
        ids = [FlowId(name) for name in ("foreign", *names, names[0])]

        async def deleting(tx: Transaction, ids: Sequence[FlowId] = ids) -> Deployment:
            counted: Any = CountedTransaction(tx)
            planned = await plan(counted, MARA, [], ids, None)
            await write_deployment(counted, MARA, planned, NOON)
            sent.append(len(counted.sent))
            return planned

        assert (await database.write(deleting)).deleted == ids[1:-1]

    # The flows that there are, their deletion and that of their triggers, and the names of the flows that are saved.
    assert sent == [4, 4]
    left, _ = await flows.page(MARA, page=ALL)
    assert left == []
    assert rows_of(path, "SELECT flow_id FROM triggers WHERE removed_at IS NULL") == [("foreign",)]


async def test_a_save_wakes_the_jobs_of_schedules_and_of_chains(flows: SqlFlows) -> None:
    await flows.create(MARA, saved(after=Chain(flow="other")))
    assert (flows.armed.is_set(), flows.listening.is_set()) == (True, True)
    flows.armed.clear()
    flows.listening.clear()

    await save(flows, after=Chain(flow="another"))

    assert (flows.armed.is_set(), flows.listening.is_set()) == (True, True)


async def test_a_trigger_that_is_saved_as_it_was_keeps_its_due_time_and_its_url(
    flows: SqlFlows, triggers: SqlTriggers
) -> None:
    await flows.create(MARA, saved(often=HOURLY, pushed=HOOK))
    before = await named(triggers)

    await save(flows, hours=5, often=HOURLY, pushed=HOOK)

    assert await named(triggers) == before


async def test_a_chain_that_cannot_be_read_stops_no_save_and_is_repaired_by_the_next_one_of_its_flow(
    flows: SqlFlows, triggers: SqlTriggers, path: Place
) -> None:
    await flows.create(MARA, saved(after=Chain(flow="other")))
    change(path, "UPDATE triggers SET spec = '{'")

    await flows.create(MARA, replace(flow("flow-2", revision="rev-2"), triggers=saved(then=Chain(flow="x")).triggers))
    assert (await named(triggers))["after"].spec is None
    await save(flows, after=Chain(flow="other"))

    assert (await named(triggers))["after"].spec == Chain(flow="other")


async def test_another_schedule_begins_anew(flows: SqlFlows, triggers: SqlTriggers) -> None:
    await flows.create(MARA, saved(often=HOURLY))
    before = await named(triggers)

    await save(flows, often=Schedule(every_seconds=1800))

    assert (await named(triggers))["often"].next_at == NOON + timedelta(minutes=30)
    assert (await named(triggers))["often"].id == before["often"].id


async def test_a_removed_trigger_is_ended_and_the_same_name_revives_it(flows: SqlFlows, triggers: SqlTriggers) -> None:
    await flows.create(MARA, saved(often=HOURLY, pushed=HOOK))
    before = await named(triggers)

    await save(flows)
    removed = await named(triggers)
    await save(flows, hours=2, often=HOURLY, pushed=HOOK)
    after = await named(triggers)

    assert {name: (trigger.state, trigger.next_at) for name, trigger in removed.items()} == dict.fromkeys(
        ("often", "pushed"), ("ended", None)
    )
    assert after["often"] == replace(
        before["often"], due_at=NOON + timedelta(hours=3), next_at=NOON + timedelta(hours=3)
    )
    assert after["pushed"] == before["pushed"]


async def test_of_a_flow_the_triggers_that_were_removed_last_are_kept(
    flows: SqlFlows, triggers: SqlTriggers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.storage.triggers.MOST_REMOVED", 2)
    await flows.create(MARA, saved(t0=HOURLY, kept=HOOK))

    for n in range(1, 5):
        specs: dict[str, TriggerSpec] = {f"t{n}": HOURLY, "kept": HOOK}
        await flows.update(MARA, FLOW, partial(replace, triggers=saved(**specs).triggers, updated_at=NOON + n * HOUR))

    assert {name: each.state for name, each in (await named(triggers)).items()} == {
        "t2": "ended", "t3": "ended", "t4": "armed", "kept": "armed"
    }  # fmt: skip


async def test_a_workspace_has_a_limited_number_of_triggers(
    flows: SqlFlows, triggers: SqlTriggers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await flows.create(MARA, saved(often=HOURLY, pushed=HOOK, third=HOOK))
    monkeypatch.setattr("flowrunner.storage.triggers.MOST_TRIGGERS", 2)

    # Those that it has already continue, and it may have fewer.
    await save(flows, hours=1, often=Schedule(every_seconds=60), pushed=HOOK, third=HOOK)
    await save(flows, hours=2, often=HOURLY)
    with pytest.raises(LimitReached, match="at most 2 triggers"):
        await save(flows, hours=3, often=HOURLY, pushed=HOOK, third=HOOK)
    another = replace(saved(a=HOOK, b=HOOK), id=FlowId("flow-2"), revision_id=RevisionId("rev-2"))
    with pytest.raises(LimitReached):
        await flows.check_writable(MARA, [FlowChange(None, another)])
    await save(flows, hours=4, often=HOURLY, pushed=HOOK)

    assert {name for name, each in (await named(triggers)).items() if each.state == "armed"} == {"often", "pushed"}


async def test_the_triggers_of_flows_that_a_deployment_deletes_make_room_for_others(
    flows: SqlFlows, monkeypatch: pytest.MonkeyPatch
) -> None:
    await flows.create(MARA, saved(often=HOURLY, pushed=HOOK))
    monkeypatch.setattr("flowrunner.storage.triggers.MOST_TRIGGERS", 2)
    another = replace(saved(a=HOOK, b=HOOK), id=FlowId("flow-2"), revision_id=RevisionId("rev-2"), name="another")
    changes = [NamedChange(name="another", size=None, change=lambda before: another)]

    for delete in ([], [FlowId("flow-none")]):
        with pytest.raises(LimitReached):
            await flows.plan_deployment(MARA, changes, delete=delete, at=NOON)
        with pytest.raises(LimitReached):
            await flows.deploy(MARA, changes, delete=delete, at=NOON)
    await flows.plan_deployment(MARA, changes, delete=[FLOW], at=NOON)
    await flows.deploy(MARA, changes, delete=[FLOW], at=NOON)

    found, _ = await flows.page(MARA, page=ALL)
    assert [each.id for each in found] == ["flow-2"]


async def test_a_pause_survives_saves_and_removal(flows: SqlFlows, triggers: SqlTriggers) -> None:
    await flows.create(MARA, saved(often=HOURLY))
    id = (await named(triggers))["often"].id

    paused = await triggers.set_paused(MARA, id, paused=True, at=NOON)
    await save(flows, hours=1)
    await save(flows, hours=2, often=HOURLY)
    saved_again = await triggers.get(MARA, id)
    resumed = await triggers.set_paused(MARA, id, paused=False, at=NOON + timedelta(hours=7))

    assert (paused.state, paused.next_at) == ("paused", None)
    assert (saved_again.state, saved_again.next_at) == ("paused", None)
    assert (resumed.state, resumed.next_at) == ("armed", NOON + timedelta(hours=8))


async def test_only_a_pause_that_changes_something_is_in_the_audit_log(
    database: Database, flows: SqlFlows, triggers: SqlTriggers
) -> None:
    await flows.create(MARA, saved(often=HOURLY))
    id = (await named(triggers))["often"].id

    for paused in (False, True, True, False, False):
        entry = act(None, "trigger.paused" if paused else "trigger.resumed", "trigger", id, at=NOON, workspace_id=MARA)
        await triggers.set_paused(MARA, id, paused=paused, at=NOON, audit=entry)

    logged = await SqlAudit(database).page(AuditFilter(), ALL)
    assert [row.entry.action for row in logged.items] == ["trigger.resumed", "trigger.paused"]


async def test_a_disabled_flow_disarms_its_triggers(flows: SqlFlows, triggers: SqlTriggers) -> None:
    await flows.create(MARA, saved(often=HOURLY, after=Chain(flow="other")))
    await flows.update(MARA, FLOW, lambda before: replace(before, disabled_at=NOON, updated_at=NOON))
    disabled = await named(triggers)
    later = NOON + timedelta(hours=9)
    await flows.update(MARA, FLOW, lambda before: replace(before, disabled_at=None, updated_at=later))
    enabled = await named(triggers)

    assert {trigger.state for trigger in disabled.values()} == {"paused"}
    assert disabled["often"].next_at is None
    assert {trigger.state for trigger in enabled.values()} == {"armed"}
    assert enabled["often"].next_at == NOON + timedelta(hours=10)


async def test_no_write_arms_a_trigger_of_a_disabled_flow(flows: SqlFlows, triggers: SqlTriggers, path: Place) -> None:
    chain = Chain(flow="other")

    def armed() -> list[Any]:
        return rows_of(path, "SELECT name FROM triggers WHERE due_at IS NOT NULL OR listens_to IS NOT NULL")

    await flows.create(MARA, replace(saved(created=HOURLY, replaced=HOURLY, ends=chain), disabled_at=NOON))
    found = [armed()]
    await save(flows, disabled=True, created=HOURLY, replaced=chain, added=HOURLY)
    found.append(armed())
    await save(flows, disabled=True, ends=HOURLY, added=chain)
    found.append(armed())
    for paused in (True, False):
        await triggers.set_paused(MARA, (await named(triggers))["added"].id, paused=paused, at=NOON)
        found.append(armed())
    await save(flows, ends=HOURLY, added=chain)

    assert found == [[]] * 5
    assert sorted(armed()) == [("added",), ("ends",)]


async def test_a_deleted_flow_has_no_triggers(flows: SqlFlows, triggers: SqlTriggers, database: Database) -> None:
    await flows.create(MARA, saved(often=HOURLY, pushed=HOOK))
    token = (await named(triggers))["pushed"].url_token
    assert token is not None

    await flows.delete(MARA, FLOW, at=NOON)

    assert await named(triggers) == {}
    assert await triggers.by_token(token) is None
    assert await database.read(lambda tx: tx.rows("SELECT 1 FROM triggers WHERE next_at IS NOT NULL")) == []
    # Retention erases the flow with them.
    while await flows.purge(limit=10):
        pass
    assert await database.read(lambda tx: tx.rows("SELECT 1 FROM triggers")) == []


async def test_only_a_rotation_changes_a_url(flows: SqlFlows, triggers: SqlTriggers) -> None:
    await flows.create(MARA, saved(often=HOURLY, pushed=HOOK))
    before = await named(triggers)

    after = await triggers.rotate(MARA, before["pushed"].id)

    assert after.url_token not in (None, before["pushed"].url_token)
    with pytest.raises(Conflict):
        await triggers.rotate(MARA, before["often"].id)


async def test_triggers_belong_to_the_workspace_of_their_flow_and_move_with_it(
    flows: SqlFlows, triggers: SqlTriggers, database: Database
) -> None:
    await flows.create(MARA, saved(often=HOURLY))
    (before,) = (await named(triggers)).values()
    with pytest.raises(NotFound):
        await triggers.get(OMAR, before.id)

    await SqlFlowMoves(database).begin(MARA, FLOW, OMAR, limits=WorkspaceLimits())

    assert await named(triggers) == {}
    assert list((await named(triggers, OMAR)).values()) == [replace(before, workspace_id=OMAR)]


async def test_a_schedule_that_has_nothing_left_is_ended(flows: SqlFlows, triggers: SqlTriggers) -> None:
    await flows.create(MARA, saved(once=Schedule(at=NOON - timedelta(days=1))))

    assert (await named(triggers))["once"].state == "ended"
