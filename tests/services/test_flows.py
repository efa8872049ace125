"""Flows and their revisions: save, change, compare and restore."""

import asyncio
import json
import unicodedata
from dataclasses import replace
from typing import Any

import pytest

from flowrunner.domain import flow_names
from flowrunner.domain.account import Caller
from flowrunner.domain.errors import InvalidFlow, InvalidInput, NotFound, PreconditionFailed
from flowrunner.domain.limits import UNLIMITED
from flowrunner.domain.triggers import Chain
from flowrunner.domain.values import AccountId
from flowrunner.ports.flows import FlowFilter, SavedFlow
from flowrunner.ports.page import Page
from flowrunner.schemas import RustSchemas
from flowrunner.services import flow_changes
from flowrunner.services.flow_changes import FlowDraft
from flowrunner.services.flows import Flows
from flowrunner.services.language import Language
from flowrunner.services.preconditions import Precondition
from flowrunner.storage.config import SqlConfig
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.usage import SqlUsage
from support.databases import rows_of
from support.dependencies import Machine
from support.flows import specs

from .callers import member_caller_of

SMALL = "metadata: {name: N, description: D, version: '1', tags: [a]}\nnodes: {a: {type: return}}\n"
ALL = Page(limit=1000, offset=0)


async def test_a_flow_takes_its_metadata_from_its_definition(flows: Flows, mara: Caller) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))

    assert (saved.name, saved.description, saved.version, list(saved.tags)) == ("N", "D", "1", ["a"])
    assert replace(await flows.get(mara, saved.id), tags=()) == replace(saved, tags=())


async def test_fields_of_the_request_override_the_definition(flows: Flows, mara: Caller) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL, name="M", description="", tags=[]))

    assert (saved.name, saved.description, list(saved.tags), saved.version) == ("M", "", [], "1")


async def test_the_audit_log_says_who_has_switched_a_flow_off(flows: Flows, engine: Machine, mara: Caller) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))
    for draft in (FlowDraft(disabled=True), FlowDraft(disabled=False), FlowDraft(name="M")):
        await flows.update(mara, saved.id, draft)

    told = rows_of(engine.path, "SELECT actor, details FROM audit WHERE action = 'flow.updated' ORDER BY seq")
    assert [(actor, json.loads(details)) for actor, details in told] == [
        (mara.account_id, {"revision": 1, "disabled": True}),
        (mara.account_id, {"revision": 1, "disabled": False}),
        (mara.account_id, {"revision": 1}),
    ]


async def test_a_flow_needs_a_name_from_somewhere(flows: Flows, mara: Caller) -> None:
    for draft in (FlowDraft(definition="nodes: {a: {type: return}}"), FlowDraft(definition=SMALL, name="  ")):
        with pytest.raises(InvalidInput):
            await flows.create(mara, draft)

    assert await flows.page(mara, page=ALL) == ([], 0)


async def test_a_flow_with_faults_is_not_saved(flows: Flows, mara: Caller) -> None:
    with pytest.raises(InvalidFlow):
        await flows.create(mara, FlowDraft(definition="metadata: {name: N}\nnodes: {a: {type: nothing}}"))
    saved = await flows.create(mara, FlowDraft(definition=SMALL))
    with pytest.raises(InvalidFlow):
        await flows.update(mara, saved.id, FlowDraft(definition="nodes: []"))

    assert replace(await flows.get(mara, saved.id), tags=()) == replace(saved, tags=())


@pytest.mark.parametrize("character", ["\0", "\n", "\x7f", "\x85", "\u200f", "\u2028", "\u202e", "\u2069"])
async def test_a_new_name_has_no_characters_that_nobody_sees(flows: Flows, mara: Caller, character: str) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))
    name = f"a{character}b"

    for change in (
        flows.create(mara, FlowDraft(definition=SMALL, name=name)),
        flows.update(mara, saved.id, FlowDraft(name=name)),
        flows.put_named(mara, name, FlowDraft(definition="nodes: {a: {type: return}}")),
    ):
        with pytest.raises(InvalidInput, match=f"U\\+{ord(character):04X}"):
            await change


@pytest.mark.parametrize("name", ["\u200b", "\u200b \u2060", "\ufeff", "\u3164\u3164", "\u2800"])
async def test_a_new_name_is_not_of_invisible_characters_alone(flows: Flows, mara: Caller, name: str) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))

    for change in (
        flows.create(mara, FlowDraft(definition=SMALL, name=name)),
        flows.update(mara, saved.id, FlowDraft(name=name)),
        flows.put_named(mara, name, FlowDraft(definition="nodes: {a: {type: return}}")),
    ):
        with pytest.raises(InvalidInput, match="has only invisible characters"):
            await change


@pytest.mark.parametrize("name", ["👩\u200d💻", "می\u200cخواهم", "\u00ad-"])
async def test_invisible_characters_between_others_are_part_of_a_name(flows: Flows, mara: Caller, name: str) -> None:
    assert (await flows.create(mara, FlowDraft(definition=SMALL, name=name))).name == name


async def test_a_stored_name_stays_as_it_is(flows: Flows, mara: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(flow_names, "_DIRECTIONS", frozenset())
        saved = await flows.create(mara, FlowDraft(definition=SMALL, name="a\u202eb"))

    changed = await flows.update(mara, saved.id, FlowDraft(description="E"))

    assert (changed.name, changed.description) == ("a\u202eb", "E")


async def test_two_forms_of_a_name_are_one_flow(flows: Flows, mara: Caller) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    plain = "nodes: {a: {type: return}}\n"

    saved = await flows.create(mara, FlowDraft(definition=plain, name=decomposed))
    changed = await flows.put_named(mara, decomposed, FlowDraft(definition=f"{plain}# x"))
    same = await flows.update(mara, saved.id, FlowDraft(name=decomposed))

    assert changed.before is not None
    assert {flow.name for flow in (saved, changed.after, same)} == {composed}
    assert {(await flows.named(mara, form)).id for form in (composed, decomposed)} == {saved.id}
    for form in (composed, decomposed):
        assert (await flows.page(mara, FlowFilter(name=form), page=ALL))[1] == 1


async def test_a_flow_that_was_saved_with_another_form_is_found_by_it(
    flows: Flows, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    plain = "nodes: {a: {type: return}}\n"
    with monkeypatch.context() as earlier:
        earlier.setattr(flow_changes, "composed", str)
        saved = await flows.create(mara, FlowDraft(definition=plain, name=decomposed))

    changed = await flows.put_named(mara, decomposed, FlowDraft(definition=f"{plain}# x"))
    other = await flows.put_named(mara, composed, FlowDraft(definition=plain))

    assert (changed.after.id, changed.after.name) == (saved.id, decomposed)
    assert (other.before, other.after.name) == (None, composed)


async def test_a_chain_names_its_flow_in_the_form_in_which_names_are_saved(flows: Flows, mara: Caller) -> None:
    flow = unicodedata.normalize("NFD", "Café")
    definition = f"{SMALL}triggers: {{after: {{type: execution, flow: {flow}}}}}\n"

    (trigger,) = ((await flows.create(mara, FlowDraft(definition=definition))).triggers or {}).values()

    assert trigger.spec == Chain(flow=unicodedata.normalize("NFC", flow), status=("completed",), children=False)


@pytest.mark.parametrize("name", ["Bestellungen täglich", "مرحبا", "日次処理", "\U0001f9d1\u200d\U0001f680"])
async def test_a_name_is_in_any_script(flows: Flows, mara: Caller, name: str) -> None:
    assert (await flows.create(mara, FlowDraft(definition=SMALL, name=name))).name == name


async def test_a_change_of_the_name_alone_makes_no_revision(flows: Flows, mara: Caller) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))

    renamed = await flows.update(mara, saved.id, FlowDraft(name="M"))
    same = await flows.update(mara, saved.id, FlowDraft(definition=SMALL, name="M"))
    changed = await flows.update(mara, saved.id, FlowDraft(definition=SMALL + "# x", name="M"))

    assert renamed.revision_id == same.revision_id == saved.revision_id != changed.revision_id
    assert (renamed.name, renamed.definition, renamed.version) == ("M", SMALL, "1")
    assert renamed.updated_at > saved.updated_at


async def test_a_flow_was_saved_by_the_member_who_wrote_its_revision_and_not_by_one_who_renamed_it(
    flows: Flows, mara: Caller
) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))
    omar = member_caller_of(AccountId("account-omar"), mara.workspace_id, "editor")

    renamed = await flows.update(omar, saved.id, FlowDraft(name="M"))
    changed = await flows.update(omar, saved.id, FlowDraft(definition=SMALL + "# x"))

    assert (renamed.saved_by, changed.saved_by) == (mara.account_id, omar.account_id)


async def test_changes_of_different_parts_at_once_all_happen(flows: Flows, mara: Caller) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))
    plain = "nodes: {a: {type: return}}"

    await asyncio.gather(
        flows.update(mara, saved.id, FlowDraft(definition=plain)),
        flows.update(mara, saved.id, FlowDraft(name="M")),
        flows.update(mara, saved.id, FlowDraft(description="E")),
        flows.update(mara, saved.id, FlowDraft(tags=["b"])),
    )

    after = await flows.get(mara, saved.id)
    assert (after.definition, after.name, after.description, list(after.tags)) == (plain, "M", "E", ["b"])
    assert after.revision_id != saved.revision_id


async def test_another_s_flow_does_not_exist(flows: Flows, mara: Caller, omar: Caller) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))

    with pytest.raises(NotFound):
        await flows.get(omar, saved.id)
    with pytest.raises(NotFound):
        await flows.update(omar, saved.id, FlowDraft(name="M"))
    with pytest.raises(NotFound):
        await flows.delete(omar, saved.id)


async def save(flows: Flows, caller: Caller, flow: SavedFlow, definition: str, **options: Any) -> SavedFlow:
    return await flows.update(caller, flow.id, FlowDraft(definition=definition), **options)


async def test_a_restored_revision_is_a_new_one_and_the_history_stays(flows: Flows, mara: Caller) -> None:
    first = await flows.create(mara, FlowDraft(definition=SMALL))
    second = await save(flows, mara, first, SMALL.replace("'1'", "'2'").replace("N,", "M,"))

    restored = await flows.restore(mara, first.id, 1)

    assert (restored.revision, restored.definition, restored.version, restored.name) == (3, SMALL, "1", "N")
    assert restored.revision_id not in (first.revision_id, second.revision_id)
    revisions, total = await flows.revisions(mara, first.id, page=ALL)
    assert ([(r.number, r.version, r.is_current) for r in revisions], total) == (
        [(3, "1", True), (2, "2", False), (1, "1", False)],
        3,
    )
    assert (await flows.revision(mara, first.id, 2)).definition == second.definition
    # A definition that is current already makes no revision.
    assert (await flows.restore(mara, first.id, 1)).revision == 3


async def test_a_revision_that_the_language_no_longer_knows_is_not_restored(
    flows: Flows, engine: Machine, mara: Caller
) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))
    await save(flows, mara, saved, SMALL + "# 2")
    known = {name: spec for name, spec in specs().items() if name != "return"}

    older = Language(known, RustSchemas(), engine.deps.sandbox)
    store, secrets = SqlFlows(engine.database), SqlSecrets(engine.database)
    usage = SqlUsage(engine.database)
    outdated = Flows(store, secrets, SqlConfig(engine.database), older, engine.clock, usage=usage, limits=UNLIMITED)
    with pytest.raises(InvalidFlow):
        await outdated.restore(mara, saved.id, 1)

    assert (await flows.get(mara, saved.id)).revision == 2


async def test_a_change_to_a_stale_state_is_rejected(flows: Flows, mara: Caller) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))
    seen = {saved.state}
    # A change of the name alone makes no revision, but a stale one is still rejected.
    renamed = await flows.update(mara, saved.id, FlowDraft(name="M"), condition=Precondition(states={*seen, "0.0"}))

    for attempt in (
        save(flows, mara, saved, SMALL + "# 2", condition=Precondition(states=seen)),
        flows.update(mara, saved.id, FlowDraft(name="O"), condition=Precondition(states=seen)),
        flows.restore(mara, saved.id, 1, condition=Precondition(states=seen)),
        flows.delete(mara, saved.id, condition=Precondition(states=seen)),
        flows.delete(mara, saved.id, condition=Precondition(states=())),
    ):
        with pytest.raises(PreconditionFailed) as error:
            await attempt
        assert (error.value.revision, error.value.state) == (1, renamed.state)
    assert replace(await flows.get(mara, saved.id), tags=()) == replace(renamed, tags=())
    await flows.delete(mara, saved.id, condition=Precondition(states={renamed.state}))


async def test_of_many_changes_of_one_state_one_wins(flows: Flows, mara: Caller) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))

    results = await asyncio.gather(
        *(save(flows, mara, saved, f"{SMALL}# {n}", condition=Precondition(states={saved.state})) for n in range(50)),
        return_exceptions=True,
    )

    won = [r for r in results if isinstance(r, SavedFlow)]
    assert len(won) == 1
    assert sum(isinstance(r, PreconditionFailed) for r in results) == 49
    assert (await flows.get(mara, saved.id)).definition == won[0].definition
    assert (await flows.revisions(mara, saved.id, page=ALL))[1] == 2


async def test_no_change_is_lost_if_each_concurrent_writer_retries(flows: Flows, mara: Caller) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))

    async def add(line: int) -> None:
        while True:
            seen = await flows.get(mara, saved.id)
            try:
                await save(
                    flows, mara, seen, f"{seen.definition}# {line}\n", condition=Precondition(states={seen.state})
                )
            except PreconditionFailed:
                continue
            return

    await asyncio.gather(*(add(n) for n in range(20)))

    after = await flows.get(mara, saved.id)
    assert sorted(after.definition.removeprefix(SMALL).split()) == sorted(["#"] * 20 + [str(n) for n in range(20)])
    assert after.state == "21.21"


async def test_revisions_are_compared_with_the_one_before_or_any_other(flows: Flows, mara: Caller) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))
    for n in (2, 3):
        await save(flows, mara, saved, f"{SMALL}# {n}\n")

    found, against = await flows.compare(mara, saved.id, 3, against=None)
    assert (against, found.text.split("\n")[-3:]) == (2, ["-# 2", "+# 3", ""])
    found, against = await flows.compare(mara, saved.id, 1, against=3)
    assert (against, found.text.split("\n")[-2:]) == (3, ["-# 3", ""])
    found, against = await flows.compare(mara, saved.id, 1, against=None)
    assert (against, found.text.split("\n")[:2]) == (None, ["--- /dev/null", "+++ revision 1"])
    await flows.delete_revision(mara, saved.id, 2)
    assert (await flows.compare(mara, saved.id, 3, against=None))[1] == 1
    for number, start in ((3, 2), (2, None), (3, 9)):
        with pytest.raises(NotFound, match="Revision"):
            await flows.compare(mara, saved.id, number, against=start)


async def test_another_s_revisions_do_not_exist(flows: Flows, mara: Caller, omar: Caller) -> None:
    saved = await flows.create(mara, FlowDraft(definition=SMALL))
    await save(flows, mara, saved, SMALL + "# 2")

    for attempt in (
        flows.revisions(omar, saved.id, page=ALL),
        flows.revision(omar, saved.id, 1),
        flows.compare(omar, saved.id, 2, against=1),
        flows.restore(omar, saved.id, 1),
        flows.delete_revision(omar, saved.id, 1),
    ):
        with pytest.raises(NotFound, match="Flow"):
            await attempt
    assert (await flows.get(mara, saved.id)).state == "2.2"


async def test_other_flows_of_a_name_are_found_two_at_most(flows: Flows, mara: Caller) -> None:
    saved = [await flows.create(mara, FlowDraft(definition=SMALL)) for _ in range(4)]

    for flow in saved:
        others = await flows.others_with_its_name(mara, flow)
        assert len(others) == 2
        assert flow.id not in others
