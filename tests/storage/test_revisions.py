"""Lists, deletion and retention of the revisions of a flow."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from flowrunner.domain.errors import Conflict, NotFound
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId
from flowrunner.ports.flows import RevisionView, SavedFlow
from flowrunner.ports.journal import DuplicateRequest
from flowrunner.ports.page import Page
from flowrunner.storage.database import Database
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flows import HAS_OPEN_EXECUTIONS, SqlFlows
from flowrunner.storage.journal import SqlJournal
from support.databases import MARA, MARA_ACCOUNT, NOON, OMAR, Place, completion, creation, rows_of

from .samples import ALL, flow


def always(flow: SavedFlow) -> Callable[[SavedFlow], SavedFlow]:
    """Return a change into this flow, whatever there was."""
    return lambda before: flow


async def add_revised(flows: SqlFlows, id: str) -> None:
    """Create a flow with the revisions 1 to 4, an hour apart, and another flow."""
    await flows.create(MARA, flow(f"{id}-other", revision="rev-other"))
    await flows.create(MARA, flow(id))
    for n in range(2, 5):
        later = replace(flow(id, revision=f"rev-{n}", definition=f"é{n}"), version=f"v{n}")
        await flows.update(MARA, FlowId(id), always(replace(later, updated_at=hours_after(n))))


def hours_after(hours: int) -> datetime:
    return NOON + timedelta(hours=hours)


@pytest.fixture
async def revised(flows: SqlFlows) -> SqlFlows:
    await add_revised(flows, "flow-1")
    return flows


async def test_revisions_are_listed_the_newest_first(revised: SqlFlows) -> None:
    page, total = await revised.revisions(MARA, FlowId("flow-1"), page=Page(limit=2, offset=1))

    assert total == 4
    third = RevisionView(
        number=3, version="v3", size=3, created_at=hours_after(3), created_by=MARA_ACCOUNT, is_current=False
    )
    assert page[0] == third
    assert [(r.number, r.is_current) for r in page] == [(3, False), (2, False)]
    page, _ = await revised.revisions(MARA, FlowId("flow-1"), page=Page(limit=1, offset=0))
    assert [(r.number, r.is_current) for r in page] == [(4, True)]
    assert await revised.revisions(MARA, FlowId("flow-1"), page=Page(limit=1, offset=9)) == ([], 4)


async def test_a_revision_is_read_with_its_definition_and_so_is_the_one_before(revised: SqlFlows) -> None:
    id = FlowId("flow-1")
    assert (await revised.revision(MARA, id, 2)).definition == "é2"
    before = await revised.revision_before(MARA, id, 2)
    assert before is not None
    assert (before.number, before.definition) == (1, "nodes: …")
    assert await revised.revision_before(MARA, id, 1) is None
    for number in (0, 5):
        with pytest.raises(NotFound, match="Revision"):
            await revised.revision(MARA, id, number)


async def test_a_revision_is_named_by_its_number_or_as_the_newest_with_a_label(revised: SqlFlows) -> None:
    id = FlowId("flow-1")
    same = replace(flow(id, revision="rev-5", definition="é5"), version="v3", updated_at=hours_after(5))
    await revised.update(MARA, id, always(same))

    assert [await revised.revision_named(MARA, id, name) for name in (3, "v2", "v3")] == ["rev-3", "rev-2", "rev-5"]
    for name in (6, "3", "v9", 2**70):
        with pytest.raises(NotFound):
            await revised.revision_named(MARA, id, name)


async def test_revisions_belong_to_their_account_and_flow(revised: SqlFlows) -> None:
    for workspace_id, id in ((OMAR, FlowId("flow-1")), (MARA, FlowId("flow-9"))):
        for attempt in (
            revised.revisions(workspace_id, id, page=ALL),
            revised.revision(workspace_id, id, 1),
            revised.delete_revision(workspace_id, id, 1, at=NOON),
        ):
            with pytest.raises(NotFound, match="Flow"):
                await attempt
        assert await revised.revision_before(workspace_id, id, 2) is None
    assert (await revised.revisions(MARA, FlowId("flow-1-other"), page=ALL))[1] == 1


async def test_a_deleted_revision_is_gone_and_its_number_stays_taken(revised: SqlFlows, path: Place) -> None:
    id = FlowId("flow-1")
    await revised.delete_revision(MARA, id, 3, at=NOON)

    assert [r.number for r in (await revised.revisions(MARA, id, page=ALL))[0]] == [4, 2, 1]
    before = await revised.revision_before(MARA, id, 4)
    assert before is not None
    assert before.number == 2
    for attempt in (
        revised.revision(MARA, id, 3),
        revised.delete_revision(MARA, id, 3, at=NOON),
        revised.delete_revision(MARA, id, 9, at=NOON),
        revised.definition(MARA, RevisionId("rev-3")),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert rows_of(path, "SELECT number, definition FROM revisions WHERE id = 'rev-3'") == [(3, None)]
    assert (await revised.update(MARA, id, lambda before: flow(revision="rev-5"))).revision == 5


async def test_the_current_revision_cannot_be_deleted(revised: SqlFlows) -> None:
    with pytest.raises(Conflict, match="current"):
        await revised.delete_revision(MARA, FlowId("flow-1"), 4, at=NOON)

    assert await revised.definition(MARA, RevisionId("rev-4")) == "é4"


async def test_a_revision_stays_until_its_executions_have_ended(journal: SqlJournal, database: Database) -> None:
    flows, id, epoch = SqlFlows(database), FlowId("flow-9"), await journal.claim()
    await add_revised(flows, id)
    await journal.append(creation("e1", epoch=epoch, flow_id=id))

    with pytest.raises(Conflict, match="ended"):
        await flows.delete_revision(MARA, id, 1, at=NOON)
    await flows.delete_revision(MARA, id, 2, at=NOON)
    await journal.append(completion("e1", epoch=epoch))
    await flows.delete_revision(MARA, id, 1, at=NOON)

    assert [r.number for r in (await flows.revisions(MARA, id, page=ALL))[0]] == [4, 3]


async def test_nothing_is_started_with_a_revision_that_was_deleted(
    journal: SqlJournal, database: Database, path: Place
) -> None:
    flows, id, epoch = SqlFlows(database), FlowId("flow-9"), await journal.claim()
    await add_revised(flows, id)
    await journal.append(creation("e1", epoch=epoch, flow_id=id, key="k", digest="d"))
    await journal.append(completion("e1", epoch=epoch))
    await flows.delete_revision(MARA, id, 1, at=NOON)

    # Like a process that has read the flow's revision just before.
    with pytest.raises(NotFound, match="Revision"):
        await journal.append(creation("e2", epoch=epoch, flow_id=id))
    with pytest.raises(DuplicateRequest):
        await journal.append(creation("e3", epoch=epoch, flow_id=id, key="k", digest="d"))

    assert rows_of(path, "SELECT id FROM executions") == [("e1",)]
    assert (await SqlExecutions(database).get(MARA, ExecutionId("e1"))).result == b"null"


@pytest.mark.only("sqlite")
def test_a_revision_is_known_to_be_needed_without_reading_executions(path: Path) -> None:
    values = {"id": "f", "number": 1, "workspace_id": "a"}
    with closing(sqlite3.connect(path)) as connection:
        plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + HAS_OPEN_EXECUTIONS, values)]

    assert any("COVERING INDEX executions_open" in step for step in plan), plan
