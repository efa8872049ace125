"""Messages to executions in the database."""

from datetime import timedelta

import pytest

from flowrunner.domain.errors import NotFound
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.dispatch import Cancel
from flowrunner.storage.database import Database
from flowrunner.storage.inbox import SqlInbox
from flowrunner.storage.journal import SqlJournal
from support.databases import NOON, Place, change, completion, creation, rows_of

ID = ExecutionId("e1")
CANCEL = Cancel(reason="test")
MINUTE = timedelta(minutes=1)


async def test_a_message_waits_until_the_owner_of_the_execution_rejects_it(
    journal: SqlJournal, database: Database
) -> None:
    inbox, epoch = SqlInbox(database), await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    fencing_token = await journal.acquire(ID, epoch)
    number = await inbox.send(ID, CANCEL, at=NOON)
    assert [message.number for message in await inbox.unread([ID])] == [number]

    await inbox.reject(number, fencing_token + 1)
    assert await inbox.answer(number) is None
    await inbox.reject(number, fencing_token)

    assert await inbox.answer(number) is False
    assert await inbox.unread([ID]) == []


async def test_only_the_owner_of_the_execution_discards_a_message(
    journal: SqlJournal, database: Database, path: Place
) -> None:
    inbox, epoch = SqlInbox(database), await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    fencing_token = await journal.acquire(ID, epoch)
    number = await inbox.send(ID, CANCEL, at=NOON)

    await inbox.discard(number, fencing_token + 1)
    assert rows_of(path, "SELECT number FROM execution_inbox") == [(number,)]
    await inbox.discard(number, fencing_token)

    assert rows_of(path, "SELECT number FROM execution_inbox") == []


async def test_a_message_is_either_taken_or_withdrawn(journal: SqlJournal, database: Database) -> None:
    inbox, epoch = SqlInbox(database), await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    fencing_token = await journal.acquire(ID, epoch)
    taken, withdrawn = [await inbox.send(ID, CANCEL, at=NOON) for _ in range(2)]
    await inbox.discard(taken, fencing_token)

    assert not await inbox.cancel(taken)
    assert await inbox.cancel(withdrawn)

    assert await inbox.answer(taken) is True
    assert await inbox.unread([ID]) == []
    assert not await inbox.cancel(withdrawn)


async def test_a_message_that_cannot_be_read_stops_no_other_one(
    journal: SqlJournal, database: Database, path: Place
) -> None:
    inbox, epoch = SqlInbox(database), await journal.claim()
    for id in ("e1", "e2"):
        await journal.append(creation(id, epoch=epoch))
    broken, other = [await inbox.send(ExecutionId(id), CANCEL, at=NOON) for id in ("e1", "e2")]
    change(path, "UPDATE execution_inbox SET content = '{' WHERE number = ?", broken)

    assert [message.number for message in await inbox.unread([ID, ExecutionId("e2")])] == [other]
    assert await inbox.answer(broken) is None
    assert await inbox.cancel(broken)


async def test_a_message_to_no_execution_is_rejected(journal: SqlJournal, database: Database) -> None:
    with pytest.raises(NotFound):
        await SqlInbox(database).send(ID, CANCEL, at=NOON)


async def test_messages_that_an_open_execution_has_not_read_are_looked_for_after_a_while(
    journal: SqlJournal, database: Database
) -> None:
    inbox, epoch = SqlInbox(database), await journal.claim()
    for id in ("late", "new", "over", "refused"):
        await journal.append(creation(id, epoch=epoch))
    fencing_token = await journal.acquire(ExecutionId("refused"), epoch)
    for id, at in (("late", NOON), ("over", NOON), ("refused", NOON), ("new", NOON + MINUTE)):
        number = await inbox.send(ExecutionId(id), CANCEL, at=at)
        if id == "refused":
            await inbox.reject(number, fencing_token)
    await journal.append(completion("over", epoch=epoch))

    assert await inbox.waiting(since=NOON + MINUTE / 2, limit=9) == ["late"]

    # What was rejected, or whose execution has ended, is deleted later on; what waits is not.
    assert await inbox.purge(before=NOON + MINUTE / 2, limit=1)
    assert await inbox.purge(before=NOON + MINUTE / 2, limit=1)
    assert not await inbox.purge(before=NOON + MINUTE / 2, limit=1)
    assert await database.read(lambda tx: tx.rows("SELECT execution_id FROM execution_inbox ORDER BY 1")) == [
        ("late",),
        ("new",),
    ]
