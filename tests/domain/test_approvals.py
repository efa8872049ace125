"""Rules of approvals: the accounts that may answer, and the answers that end the wait."""

from dataclasses import replace

import pytest

from flowrunner.domain.approvals import has_role, is_named, is_settled
from flowrunner.domain.waits import ApprovalWait
from flowrunner.domain.workspace import WORKSPACE_ROLES
from support.databases import account

WAIT = ApprovalWait("Pay?")
YES, NO = {"approved": True}, {"approved": False}


@pytest.mark.parametrize(
    ("roles", "may"),
    [
        (None, {"operator", "editor", "admin"}),
        (["operator"], {"operator", "editor", "admin"}),
        (["user"], {"operator", "editor", "admin"}),
        (["editor"], {"editor", "admin"}),
        (["admin"], {"admin"}),
        (["admin", "user"], {"operator", "editor", "admin"}),
        # An event holds whatever a node type of another package has named.
        (["viewer", "manager"], set()),
        ([], set()),
    ],
)
def test_a_role_may_answer_with_those_above_it_and_a_viewer_never(roles: list[str] | None, may: set[str]) -> None:
    assert {role for role in WORKSPACE_ROLES if has_role(replace(WAIT, roles=roles), role)} == may


@pytest.mark.parametrize(
    ("members", "is_one"),
    [
        (None, True),
        (["account-mara"], True),
        (["account-omar"], False),
        (["account-omar", "mara@example.com"], True),
        ([" MARA@Example.COM"], True),
        (["mara@example.org"], False),
        # No address: it is nobody's.
        (["mara @example.com", "@", ""], False),
        ([], False),
    ],
)
def test_members_are_named_by_id_or_by_address(members: list[str] | None, is_one: bool) -> None:
    mara = account("account-mara", email="mara@example.com")

    assert is_named(replace(WAIT, members=members), mara) is is_one
    # An account may claim the address of somebody else, but not an id.
    is_by_address = members is not None and is_one and mara.id not in members
    assert is_named(replace(WAIT, members=members), replace(mara, is_email_confirmed=False)) is (
        is_one and not is_by_address
    )


@pytest.mark.parametrize(
    ("count", "answers", "is_enough"),
    [
        (None, [], False),
        (None, [YES], True),
        (1, [YES], True),
        (2, [YES], False),
        (2, [YES, YES], True),
        (3, [YES, YES], False),
        (3, [YES, NO], True),
        (3, [NO], True),
    ],
)
def test_enough_approvals_or_one_rejection_end_the_wait(
    count: int | None, answers: list[dict[str, bool]], is_enough: bool
) -> None:
    assert is_settled(replace(WAIT, count=count), answers) is is_enough
