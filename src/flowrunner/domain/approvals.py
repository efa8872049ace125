"""Rules of approvals: the accounts that may answer, and the answers that end the wait."""

from collections.abc import Mapping, Sequence
from typing import Final

from flowrunner.domain.account import Account
from flowrunner.domain.email_address import normal_email
from flowrunner.domain.values import JSON
from flowrunner.domain.waits import ApprovalWait
from flowrunner.domain.workspace import WORKSPACE_ROLES, WorkspaceRole, includes

# The lowest role that may answer at all.
LOWEST_ROLE: Final[WorkspaceRole] = "operator"
# The roles that an approval can name. `user` is an older name.
_ROLES: Final[Mapping[str, WorkspaceRole]] = {"user": LOWEST_ROLE} | {
    role: role for role in WORKSPACE_ROLES if includes(role, LOWEST_ROLE)
}

# The author of an answer by a link, beside the ids of accounts.
BY_LINK: Final = "link"


def has_role(wait: ApprovalWait, role: WorkspaceRole) -> bool:
    """Return whether a role in the workspace is one of those that may answer, or above one of them."""
    named = (LOWEST_ROLE,) if wait.roles is None else [_ROLES[name] for name in wait.roles if name in _ROLES]
    return any(includes(role, needed) for needed in named)


def is_named(wait: ApprovalWait, account: Account) -> bool:
    """Return whether an account is one of the members that may answer, by its id or its confirmed address."""
    return wait.members is None or any(
        member == account.id or (account.is_email_confirmed and has_address(member, account)) for member in wait.members
    )


def has_address(member: str, account: Account) -> bool:
    """Return whether a member that an approval names is the address of an account, confirmed or not."""
    return "@" in member and _normal(member) == account.email


def _normal(email: str) -> str | None:
    try:
        return normal_email(email)
    except ValueError:
        return None


def is_settled(wait: ApprovalWait, answers: Sequence[JSON]) -> bool:
    """Return whether the answers so far end the wait: one rejection, or as many approvals as are needed."""
    return len(answers) >= wait.needed or not all(isinstance(a, dict) and a.get("approved") is True for a in answers)
