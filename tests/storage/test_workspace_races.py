"""Two changes of a workspace at once, on PostgreSQL by two processes: nothing is left without an owner."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import pytest

from flowrunner.domain.errors import Conflict, FlowRunnerError, NotFound
from flowrunner.domain.values import AccountId, SessionId, TokenId, WorkspaceId
from flowrunner.domain.workspace import Workspace
from flowrunner.ports.sessions import NewSession
from flowrunner.ports.tokens import TokenView
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.database import Database
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.sessions import SqlSessions
from flowrunner.storage.tokens import SqlTokens
from flowrunner.storage.workspaces import SqlWorkspaces
from support.databases import MARA, NOON, OMAR, Place, account, creation, open_database, rows_of

from .samples import flow, sealing

ROUNDS: Final = 10
LATER: Final = NOON + timedelta(hours=1)


@dataclass
class Pair:
    """The database of each of two processes; a file has one."""

    path: Place
    one: Database
    other: Database
    number: int = 0

    async def team(self) -> WorkspaceId:
        """Create a workspace with two admins."""
        self.number += 1
        id = WorkspaceId(f"workspace-{self.number}")
        made = Workspace(id=id, name="Team", slug=f"team-{self.number}", role="admin", created_at=NOON)
        await SqlWorkspaces(self.one).create(made, admin=AccountId(MARA), most=ROUNDS)
        await self.add(id, AccountId(OMAR))
        return id

    async def add(self, id: WorkspaceId, member: AccountId, database: Database | None = None) -> None:
        await SqlWorkspaces(database or self.one).set_member(
            id, member, "admin", at=NOON, is_new=True, most_members=99, most_joined=99
        )

    async def both(self, first: Awaitable[object], second: Awaitable[object]) -> list[type[BaseException] | None]:
        """Await both together; return the types of their errors."""
        order = [first, second] if self.number % 2 else [second, first]
        results = await asyncio.gather(*order, return_exceptions=True)
        errors = [type(result) if isinstance(result, BaseException) else None for result in results]
        assert all(error is None or issubclass(error, FlowRunnerError) for error in errors), results
        return errors if self.number % 2 else errors[::-1]

    def count(self, statement: str, *values: object) -> int:
        return int(rows_of(self.path, f"SELECT count(*) FROM {statement}", *values)[0][0])

    async def delete(self, id: WorkspaceId) -> None:
        await SqlWorkspaces(self.other).delete(id, at=LATER, only_if_empty=False)


@pytest.fixture
async def pair(path: Place) -> AsyncIterator[Pair]:
    one = open_database(path)
    other = open_database(path) if isinstance(path, str) else one
    for id in (MARA, OMAR):
        await SqlAccounts(one).create(account(id), password_hash="hash")
        opened = NewSession(id=SessionId(f"session-{id}"), account_id=AccountId(id), role="admin", expires_at=LATER)
        await SqlSessions(one).open(opened, at=NOON, password_hash="hash")
    yield Pair(path, one, other)
    await one.close()
    if other is not one:
        await other.close()


async def test_of_two_last_admins_who_leave_at_once_one_stays(pair: Pair) -> None:
    for _ in range(ROUNDS):
        id = await pair.team()
        errors = await pair.both(
            SqlWorkspaces(pair.one).remove_member(id, AccountId(MARA)),
            SqlWorkspaces(pair.other).remove_member(id, AccountId(OMAR)),
        )

        assert sorted(error is None for error in errors) == [False, True]
        assert Conflict in errors
        assert pair.count("members WHERE workspace_id = ? AND role = 'admin'", id) == 1


async def test_no_token_is_left_to_a_member_that_is_removed_while_it_creates_one(pair: Pair) -> None:
    for n in range(ROUNDS):
        id = await pair.team()
        token = TokenView(
            id=TokenId(f"t{n}"),
            account_id=AccountId(OMAR),
            workspace_id=id,
            name="T",
            scopes=("read",),
            created_at=NOON,
        )
        errors = await pair.both(
            SqlTokens(pair.one).create(
                AccountId(OMAR), token, digest=str(n), by=SessionId(f"session-{OMAR}"), most=ROUNDS
            ),
            SqlWorkspaces(pair.other).remove_member(id, AccountId(OMAR)),
        )

        assert errors[0] in (None, NotFound)
        assert errors[1] is None
        assert pair.count("api_tokens WHERE workspace_id = ?", id) == 0
        assert await SqlTokens(pair.one).find(str(n)) is None


async def test_no_flow_and_no_secret_outlive_a_workspace_that_is_deleted_meanwhile(pair: Pair) -> None:
    for n in range(ROUNDS):
        id = await pair.team()
        errors = await pair.both(
            SqlFlows(pair.one).create(id, flow(f"flow-{n}", revision=f"rev-{n}")),
            pair.delete(id),
        )
        assert errors[0] in (None, NotFound)
        assert errors[1] is None
        id = await pair.team()
        errors = await pair.both(SqlSecrets(pair.one).save(id, sealing(b"s"), at=NOON), pair.delete(id))
        assert errors[0] in (None, NotFound)
        assert errors[1] is None

    assert pair.count("flows WHERE deleted_at IS NULL") == 0
    assert pair.count("secrets") == pair.count("data_keys") == 0


async def test_no_execution_starts_after_its_workspace_was_deleted(pair: Pair) -> None:
    journal = SqlJournal(pair.one)
    epoch = await journal.claim()
    for n in range(ROUNDS):
        id = await pair.team()
        await SqlFlows(pair.one).create(id, flow(f"flow-{n}", revision=f"rev-{n}"))

        async def delete(id: WorkspaceId = id) -> int:
            await pair.delete(id)
            # What its deletion cancels.
            return pair.count("executions WHERE workspace_id = ?", id)

        deleting = asyncio.create_task(delete())
        append = creation(f"e{n}", epoch=epoch, workspace_id=id, flow_id=f"flow-{n}")
        started = await asyncio.gather(journal.append(append), return_exceptions=True)

        assert await deleting == pair.count("executions WHERE workspace_id = ?", id)
        assert (list(started) == [None]) == (await deleting == 1), started


async def test_no_account_that_was_deleted_is_a_member(pair: Pair) -> None:
    for n in range(ROUNDS):
        id, gone = await pair.team(), AccountId(f"account-{n}")
        await SqlAccounts(pair.one).create(account(gone, email=f"{n}@example.com"), password_hash="hash")
        errors = await pair.both(
            pair.add(id, gone), SqlAccounts(pair.other).delete(gone, at=LATER)
        )  # fmt: skip

        assert errors[0] in (None, NotFound)
        assert errors[1] is None
        assert pair.count("members WHERE account_id = ?", gone) == 0


async def test_a_personal_workspace_has_no_members_after_its_account_was_deleted(pair: Pair) -> None:
    for n in range(ROUNDS):
        pair.number += 1
        gone = AccountId(f"account-{n}")
        await SqlAccounts(pair.one).create(account(gone, email=f"{n}@example.com"), password_hash="hash")
        errors = await pair.both(
            pair.add(WorkspaceId(gone), AccountId(OMAR)), SqlAccounts(pair.other).delete(gone, at=LATER)
        )

        assert errors[0] in (None, NotFound)
        assert errors[1] is None
        assert pair.count("members WHERE workspace_id = ?", gone) == 0
        assert pair.count("workspaces WHERE id = ? AND deleted_at IS NULL", gone) == 0
