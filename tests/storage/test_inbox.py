"""Messages to executions in the database."""

import pytest

from flowrunner.domain.errors import NotFound
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.dispatch import Cancel
from flowrunner.storage.database import Database
from flowrunner.storage.inbox import SqlInbox
from flowrunner.storage.journal import SqlJournal
from support.databases import NOON, Place, creation, rows_of

ID = ExecutionId("e1")
CANCEL = Cancel(reason="test")


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


async def test_a_message_to_no_execution_is_rejected(journal: SqlJournal, database: Database) -> None:
    with pytest.raises(NotFound):
        await SqlInbox(database).send(ID, CANCEL, at=NOON)
