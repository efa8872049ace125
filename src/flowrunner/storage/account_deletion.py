"""Deletion of an account, and of its personal workspace or the transfer of that."""

from collections.abc import Sequence
from typing import Any, Final

from flowrunner.domain.errors import Conflict, PersonalWorkspaceNotEmpty
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.domain.workspace import OfDeletedAccount, slug_of, workspace_faults
from flowrunner.storage.tables import deletions
from flowrunner.storage.transaction import Transaction, existing_row, one_row

NAME: Final = "SELECT name FROM accounts WHERE id = :id AND deleted_at IS NULL"
# Shared workspaces without another admin.
LAST_ADMIN_OF: Final = """
SELECT coalesce(w.name, w.id) FROM members m JOIN workspaces w ON w.id = m.workspace_id
 WHERE m.account_id = :id AND m.role = 'admin' AND w.deleted_at IS NULL
   AND NOT EXISTS (SELECT 1 FROM memberships o JOIN accounts a ON a.id = o.account_id
                    WHERE o.workspace_id = m.workspace_id AND o.role = 'admin' AND o.account_id <> :id
                      AND (a.disabled_at IS NULL OR o.is_owner))
 ORDER BY 1 LIMIT 20
"""
MEMBERS: Final = """
SELECT m.account_id FROM members m JOIN accounts a ON a.id = m.account_id
 WHERE m.workspace_id = :workspace_id AND a.deleted_at IS NULL
"""
COUNT_FLOWS: Final = "SELECT count(*) FROM flows WHERE workspace_id = :workspace_id AND deleted_at IS NULL"
OTHER_ADMIN: Final = """
SELECT 1 FROM members m JOIN accounts a ON a.id = m.account_id
 WHERE m.workspace_id = :workspace_id AND m.role = 'admin' AND a.disabled_at IS NULL AND a.deleted_at IS NULL LIMIT 1
"""
DISABLED_AT: Final = "SELECT disabled_at FROM accounts WHERE id = :account_id AND deleted_at IS NULL"
MAKE_ADMIN: Final = """
INSERT INTO members (workspace_id, account_id, role, added_at) VALUES (:workspace_id, :account_id, 'admin', :at)
    ON CONFLICT (workspace_id, account_id) DO UPDATE SET role = 'admin'
"""
IS_TAKEN: Final = "SELECT 1 FROM workspaces WHERE slug = :slug AND deleted_at IS NULL"
SHARE: Final = "UPDATE workspaces SET name = :name, slug = :slug WHERE id = :workspace_id"
# The rows of the account and its personal workspace stay, because executions refer to them. Personal data is removed.
DELETE: Final = """
UPDATE accounts SET deleted_at = :at, name = '', email = '', password_hash = '', email_confirmed_at = NULL,
       confirmation_digest = NULL, confirmation_expires_at = NULL
 WHERE id = :id AND deleted_at IS NULL
"""
ERASE_ACCOUNT: Final = deletions("account")
ERASE_WORKSPACE: Final = deletions("workspace")

_MOST_SLUGS: Final = 20


async def delete_account(
    tx: Transaction, id: AccountId, *, at: int, workspace: OfDeletedAccount | None, to: AccountId | None
) -> tuple[AccountId, ...]:
    """Delete an account; return the members of its personal workspace, whose rights there have changed.

    Args:
        workspace: What to do with the personal workspace; None deletes it if it has neither flows nor members.
        to: The account that gets the workspace.

    Raises: NotFound, Conflict; Refused if no admin of the installation would remain.
    """
    values = {"id": id, "workspace_id": WorkspaceId(id), "account_id": to, "at": at}
    row = await existing_row(tx, NAME, values, "account")
    alone_in = [name for (name,) in await tx.rows(LAST_ADMIN_OF, values)]
    if alone_in:
        raise Conflict(
            f"This account is the last admin of {_quoted(alone_in)}: make another member admin, or delete the workspace"
        )
    members = [AccountId(member) for (member,) in await tx.rows(MEMBERS, values)]
    if workspace is None:
        await _check_is_empty(tx, values, len(members))
    if workspace == "keep" and await tx.row(OTHER_ADMIN, values) is None:
        raise Conflict("No other member is an admin of the personal workspace: give it to an account instead")
    for statement in ERASE_ACCOUNT:
        await tx.run(statement, values)
    if workspace in ("give", "keep"):
        if to is not None:
            recipient = await existing_row(tx, DISABLED_AT, values, "account")
            if recipient[0] is not None:
                raise Conflict("The account that the workspace is given to is disabled: enable it, or name another one")
            await tx.run(MAKE_ADMIN, values)
            members.append(to)
        await _share(tx, values, row[0])
    else:
        for statement in ERASE_WORKSPACE:
            await tx.run(statement, values)
    # The last step: a trigger ends the personal workspace unless it has members.
    await tx.run(DELETE, values)
    return tuple(members)


async def _check_is_empty(tx: Transaction, values: dict[str, Any], members: int) -> None:
    (flows,) = await one_row(tx, COUNT_FLOWS, values)
    if flows or members:
        raise PersonalWorkspaceNotEmpty(flows=flows, members=members)


async def _share(tx: Transaction, values: dict[str, Any], account_name: str) -> None:
    """Give the personal workspace a name and a slug of its own."""
    name = account_name if not workspace_faults(name=account_name, slug=None) else "Workspace"
    wanted = slug_of(name)
    slugs = [wanted, *(f"{wanted[:60]}-{n}" for n in range(2, _MOST_SLUGS))]
    slug = None
    for candidate in slugs:
        is_valid = not workspace_faults(name=None, slug=candidate)
        if is_valid and await tx.row(IS_TAKEN, {"slug": candidate}) is None:
            slug = candidate
            break
    # Without a slug, it is found by its id.
    await tx.run(SHARE, values | {"name": name, "slug": slug})


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
