"""Deployments of many flows at once."""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import InvalidFlows, InvalidInput, LimitReached, Unavailable
from flowrunner.domain.limits import UNLIMITED, WorkspaceLimits
from flowrunner.language import Reading
from flowrunner.schemas import RustSchemas
from flowrunner.services import flow_batches
from flowrunner.services.flow_batches import FlowBatches, FlowDocument
from flowrunner.services.flow_changes import FlowDraft
from flowrunner.services.flows import Flows
from flowrunner.services.language import Language
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.usage import SqlUsage
from support.databases import rows_of
from support.dependencies import Machine
from support.flows import specs

HOURLY = "nodes: {a: {type: return}}\ntriggers: {hourly: {type: schedule, every: 1h}}\n"
DESCRIBED = "metadata: {description: D, tags: [a]}\nnodes: {a: {type: return}}\n"


class CountedLanguage(Language):
    """The language, and the documents that it has read."""

    def __init__(self, engine: Machine) -> None:
        super().__init__(specs(), RustSchemas(), engine.deps.sandbox)
        self.read_texts: list[str] = []

    async def study(self, text: str) -> Reading:
        self.read_texts.append(text)
        return await super().study(text)


@pytest.fixture
def language(engine: Machine) -> CountedLanguage:
    return CountedLanguage(engine)


@pytest.fixture
def batches(engine: Machine, flows: Flows) -> FlowBatches:
    usage = SqlUsage(engine.database)
    return FlowBatches(flows, SqlFlows(engine.database), engine.clock, usage=usage, limits=UNLIMITED)


def documents(**definitions: str) -> Sequence[FlowDocument]:
    return [FlowDocument(name=name, definition=text) for name, text in definitions.items()]


async def test_a_document_that_was_deployed_is_not_read_again(
    batches: FlowBatches, flows: Flows, language: CountedLanguage, mara: Caller
) -> None:
    await batches.save(mara, documents(a=DESCRIBED, b=HOURLY, c="nodes: {a: {type: return}}\n# c"))
    language.read_texts.clear()

    same = await batches.save(mara, documents(a=DESCRIBED, b=HOURLY))
    changed = await batches.save(mara, documents(a=DESCRIBED, c=DESCRIBED + "# c"))

    assert language.read_texts == [DESCRIBED + "# c"]
    assert [change.before == change.after for change, *_ in same.documents] == [True, True]
    assert [change.before == change.after for change, *_ in changed.documents] == [True, False]


async def test_a_dry_run_names_the_flows_that_it_would_delete_and_that_others_call(
    batches: FlowBatches, mara: Caller
) -> None:
    old = await batches.save(mara, documents(old=DESCRIBED))
    calls = documents(calls="nodes: {a: {type: flow, params: {flow: old}}}\n")

    kept = await batches.save(mara, calls, dry_run=True)
    without = await batches.save(mara, calls, delete=[old.documents[0].change.after.id], dry_run=True)

    assert [list(plan.documents[0].missing_flows) for plan in (kept, without)] == [[], ["old"]]


async def test_an_outage_after_the_commit_does_not_hide_a_deployment(
    engine: Machine, batches: FlowBatches, flows: Flows, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise Unavailable("The database does not answer")

    monkeypatch.setattr(flows, "called", fail)

    saved = await batches.save(mara, documents(a=DESCRIBED))

    assert rows_of(engine.path, "SELECT id FROM flows") == [(saved.documents[0].change.after.id,)]


async def test_the_flows_of_a_deployment_have_a_limited_number_of_triggers(
    engine: Machine, batches: FlowBatches, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_batches, "MAX_TRIGGERS", 2)

    with pytest.raises(InvalidInput) as refused:
        await batches.save(mara, documents(a=HOURLY, b=HOURLY, c=HOURLY))
    none = rows_of(engine.path, "SELECT name FROM flows")
    await batches.save(mara, documents(a=HOURLY, b=HOURLY, c=DESCRIBED))

    assert [(fault.path, fault.code) for fault in refused.value.faults] == [("flows", "too_long")]
    assert none == []


async def test_a_deployment_keeps_to_the_number_of_flows_that_a_workspace_may_have(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    limited = FlowBatches(
        flows, SqlFlows(engine.database), engine.clock, usage=SqlUsage(engine.database), limits=WorkspaceLimits(flows=2)
    )

    for dry_run in (True, False):
        with pytest.raises(LimitReached):
            await limited.save(mara, documents(a=DESCRIBED, b=DESCRIBED, c=DESCRIBED), dry_run=dry_run)
    none = rows_of(engine.path, "SELECT name FROM flows")
    await limited.save(mara, documents(a=DESCRIBED, b=DESCRIBED))

    assert none == []
    assert rows_of(engine.path, "SELECT count(*) FROM flows") == [(2,)]


async def test_a_description_that_was_changed_beside_the_document_comes_back(
    batches: FlowBatches, flows: Flows, mara: Caller
) -> None:
    ((first, *_),) = (await batches.save(mara, documents(a=DESCRIBED))).documents
    await flows.update(mara, first.after.id, FlowDraft(description="another", tags=["b"]))

    ((again, *_),) = (await batches.save(mara, documents(a=DESCRIBED))).documents

    assert (again.after.description, list(again.after.tags)) == ("D", ["a"])


async def test_a_deployment_removes_the_description_and_tags_that_its_document_no_longer_has(
    batches: FlowBatches, mara: Caller
) -> None:
    await batches.save(mara, documents(a=DESCRIBED))

    ((again, *_),) = (await batches.save(mara, documents(a=DESCRIBED.partition("\n")[2]))).documents

    assert (again.after.description, list(again.after.tags)) == ("", [])


async def test_a_deployment_without_a_change_adds_nothing_to_the_audit_log(
    batches: FlowBatches, engine: Machine, mara: Caller
) -> None:
    for _ in range(2):
        await batches.save(mara, documents(a=DESCRIBED))

    assert rows_of(engine.path, "SELECT action FROM audit WHERE action LIKE 'flow.%'") == [("flow.created",)]


async def test_a_deployment_may_not_exceed_the_storage_limit(flows: Flows, engine: Machine, mara: Caller) -> None:
    usage = SqlUsage(engine.database)
    limits = replace(UNLIMITED, stored=await usage.stored(mara.workspace_id) + 2 * len(DESCRIBED) - 1)
    batches = FlowBatches(flows, SqlFlows(engine.database), engine.clock, usage=usage, limits=limits)

    with pytest.raises(LimitReached):
        await batches.save(mara, documents(a=DESCRIBED, b=DESCRIBED))
    await batches.save(mara, documents(a=DESCRIBED))


async def test_flows_of_one_document_have_triggers_of_their_own(batches: FlowBatches, mara: Caller) -> None:
    a, b = (await batches.save(mara, documents(a=HOURLY, b=HOURLY))).documents

    assert not (a.change.after.triggers or {}).keys() & (b.change.after.triggers or {}).keys()


async def test_faults_are_found_each_time(batches: FlowBatches, mara: Caller) -> None:
    for _ in range(2):
        with pytest.raises(InvalidFlows):
            await batches.save(mara, documents(a=DESCRIBED, b="nodes: {a: {type: nothing}}"))


async def test_what_is_remembered_belongs_to_one_workspace(
    batches: FlowBatches, language: CountedLanguage, mara: Caller, omar: Caller
) -> None:
    await batches.save(mara, documents(a=DESCRIBED))

    await batches.save(omar, documents(a=DESCRIBED), dry_run=True)

    assert mara.workspace_id != omar.workspace_id
    assert language.read_texts == [DESCRIBED, DESCRIBED]


async def test_the_documents_of_all_flows_are_returned_in_however_many_portions(
    batches: FlowBatches, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_batches, "_NAMES_AT_ONCE", 2)
    saved = documents(**dict.fromkeys("abcde", DESCRIBED))
    await batches.save(mara, saved)

    found = await batches.documents(mara)

    assert [(document.name, document.definition) async for document in found] == [
        (document.name, document.definition) for document in saved
    ]


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_a_flow_that_is_deleted_or_gets_a_namesake_meanwhile_hides_no_other_one(
    batches: FlowBatches, flows: Flows, mara: Caller, monkeypatch: pytest.MonkeyPatch, is_deleted: bool
) -> None:
    monkeypatch.setattr(flow_batches, "_NAMES_AT_ONCE", 1)
    saved = await batches.save(mara, documents(**dict.fromkeys("abc", DESCRIBED)))
    read_page, (first, *_) = SqlFlows.page, (document.change.after.id for document in saved.documents)

    async def change_after_the_first(self: SqlFlows, *args: Any, **options: Any) -> Any:
        page = await read_page(self, *args, **options)
        if is_deleted and [flow.id for flow in page[0]] == [first]:
            await flows.delete(mara, first)
        return page

    monkeypatch.setattr(SqlFlows, "page", change_after_the_first)
    found = await batches.documents(mara)
    if not is_deleted:
        await flows.create(mara, FlowDraft(definition=DESCRIBED, name="a"))

    assert [document.name async for document in found] == ["b", "c"]


async def test_two_forms_of_a_name_are_the_same_flow(batches: FlowBatches, mara: Caller) -> None:
    forms = [unicodedata.normalize(form, "Café") for form in ("NFC", "NFD")]

    with pytest.raises(InvalidFlows):
        await batches.save(mara, documents(**dict.fromkeys(forms, DESCRIBED)))
    saved = [await batches.save(mara, documents(**{form: DESCRIBED})) for form in forms]

    changes = [document.change for batch in saved for document in batch.documents]
    assert {change.after.id for change in changes} == {changes[0].after.id}
    assert len(changes) == 2
