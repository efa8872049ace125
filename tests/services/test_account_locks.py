"""Locks of accounts: the key is the account, in whatever workspace its requests act."""

from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.services.account_locks import AccountLocks, Locks
from services.callers import caller_of, member_caller_of
from support.databases import MARA_ACCOUNT, OMAR_ACCOUNT


def test_an_account_has_one_lock_in_all_of_its_workspaces() -> None:
    locks = AccountLocks()
    own = locks.of(caller_of(MARA_ACCOUNT))

    assert locks.of(member_caller_of(MARA_ACCOUNT, WorkspaceId("ws-1"), "editor")) is own
    assert locks.of(member_caller_of(MARA_ACCOUNT, WorkspaceId("ws-2"), "viewer")) is own
    assert locks.of(caller_of(OMAR_ACCOUNT)) is not own


def test_a_lock_that_nobody_holds_is_forgotten() -> None:
    locks: Locks[ExecutionId] = Locks()
    held = locks.of(ExecutionId("exec-1"))

    assert locks.of(ExecutionId("exec-1")) is held
    del held
    assert len(locks._locks) == 0
