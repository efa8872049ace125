"""The workspace in which a request acts: the one that it names, if its credential reaches it."""

from dataclasses import replace
from typing import Any

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import NotFound
from flowrunner.domain.limits import UNLIMITED
from flowrunner.domain.values import AccountId, WorkspaceId, personal_workspace
from flowrunner.domain.workspace import Membership
from flowrunner.services.workspaces import Workspaces
from support.dependencies import SteppingClock

from .callers import caller_of

OWN, OTHER = personal_workspace(AccountId("account-omar")), personal_workspace(AccountId("account-mara"))


async def nothing(*_: object) -> None:
    """Nothing has changed."""


@pytest.fixture
def workspaces() -> Workspaces:
    store: Any = None
    return Workspaces(
        store, SteppingClock(), limits=UNLIMITED, most=1,
        on_access_change=nothing, on_change=nothing, on_delete=nothing, cancel_open=nothing,
    )  # fmt: skip


def member(*joined: Membership) -> Caller:
    return replace(caller_of(AccountId("account-omar")), memberships=joined)


def test_a_workspace_of_an_account_is_named_by_the_account(workspaces: Workspaces) -> None:
    guest = member(Membership(OTHER, OTHER, "viewer"))

    assert workspaces.at_account(member(), "account-omar").workspace_id == OWN
    assert workspaces.at_account(guest, "account-mara").workspace_id == OTHER


@pytest.mark.parametrize(
    "joined",
    [
        (),
        # It was given a name of its own, and is that of no account any more.
        (Membership(OTHER, "data-team", "admin"),),
        (Membership(WorkspaceId("workspace-1"), "account-mara", "admin"),),
    ],
    ids=["no member", "a shared one", "another one of that name"],
)
def test_a_workspace_that_is_not_of_the_account_is_not_found_by_it(
    workspaces: Workspaces, joined: tuple[Membership, ...]
) -> None:
    with pytest.raises(NotFound):
        workspaces.at_account(member(*joined), "account-mara")
