"""Locks of accounts: the key is the account, in whatever workspace its requests act."""

import asyncio

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Unauthorized
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.services.account_locks import AccountLocks, Locks
from flowrunner.services.readmission import READMIT
from services.callers import caller_of, member_caller_of
from support.databases import MARA_ACCOUNT, OMAR_ACCOUNT


async def test_an_account_has_one_lock_in_all_of_its_workspaces() -> None:
    locks = AccountLocks()
    as_members = [
        member_caller_of(MARA_ACCOUNT, WorkspaceId("ws-1"), "editor"),
        member_caller_of(MARA_ACCOUNT, WorkspaceId("ws-2"), "viewer"),
    ]

    async def take_turn(caller: Caller) -> None:
        async with locks.of(caller):
            pass

    async with locks.of(caller_of(MARA_ACCOUNT)):
        waiting = [asyncio.create_task(take_turn(caller)) for caller in as_members]
        await take_turn(caller_of(OMAR_ACCOUNT))
        assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("at", [1, 2], ids=["begin", "end"])
async def test_a_turn_whose_request_is_admitted_no_more_ends_and_the_next_begins(at: int) -> None:
    locks, mara = AccountLocks(), caller_of(MARA_ACCOUNT)
    admissions = 0

    async def admit_again() -> None:
        nonlocal admissions
        admissions += 1
        if admissions == at:
            raise Unauthorized("The session has ended")

    READMIT.set(admit_again)
    with pytest.raises(Unauthorized):
        async with locks.of(mara):
            pass
    READMIT.set(None)
    async with locks.of(mara):
        pass

    assert admissions == at


def test_a_lock_that_nobody_holds_is_forgotten() -> None:
    locks: Locks[ExecutionId] = Locks()
    held = locks.of(ExecutionId("exec-1"))

    assert locks.of(ExecutionId("exec-1")) is held
    del held
    assert len(locks._locks) == 0
