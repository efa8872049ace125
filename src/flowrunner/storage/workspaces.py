"""Workspaces, and the roles of their members."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.counted import counted
from flowrunner.domain.errors import Conflict, LimitReached
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.domain.workspace import Member, Membership, SharedWorkspace, Workspace, WorkspaceRole, includes
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page
from flowrunner.ports.workspaces import ObjectKind
from flowrunner.storage.database import Database
from flowrunner.storage.deleted_workspaces import deleted_with_open, empty_deleted
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.tables import deletions
from flowrunner.storage.transaction import Refused, Row, Statement, Transaction, existing_row, listed, one_row

CREATE: Final = """
INSERT INTO workspaces (id, name, slug, created_at) VALUES (:id, :name, :slug, :created_at)
"""
# A personal workspace has the name of its account, and its id as slug.
GET: Final = """
SELECT w.id, coalesce(w.name, a.name, ''), coalesce(w.slug, w.id), m.role, w.created_at,
       w.second_factor_required_at IS NOT NULL
  FROM memberships m JOIN workspaces w ON w.id = m.workspace_id LEFT JOIN accounts a ON a.id = w.id
 WHERE m.account_id = :account_id AND m.workspace_id = :workspace_id
"""
PAGE: Final = """
SELECT w.id, coalesce(w.name, a.name, ''), coalesce(w.slug, w.id), m.role, w.created_at,
       w.second_factor_required_at IS NOT NULL
  FROM memberships m JOIN workspaces w ON w.id = m.workspace_id LEFT JOIN accounts a ON a.id = w.id
 WHERE m.account_id = :account_id AND (CAST(:only AS text) IS NULL OR m.workspace_id = :only)
   AND CASE WHEN m.is_owner THEN '0' ELSE '1' END || w.id > :after
 ORDER BY m.is_owner DESC, w.id LIMIT :limit OFFSET :offset
"""
COUNT: Final = """
SELECT count(*) FROM memberships
 WHERE account_id = :account_id AND (CAST(:only AS text) IS NULL OR workspace_id = :only)
"""
ALL: Final = """
SELECT w.id, coalesce(w.name, ''), coalesce(w.slug, w.id), w.created_at,
       (SELECT count(*) FROM memberships m WHERE m.workspace_id = w.id),
       (SELECT count(*) FROM memberships m WHERE m.workspace_id = w.id AND m.role = 'admin')
  FROM workspaces w
 WHERE w.deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id = w.id AND a.deleted_at IS NULL)
   AND w.id > :after
 ORDER BY w.id LIMIT :limit OFFSET :offset
"""
COUNT_ALL: Final = """
SELECT count(*) FROM workspaces w
 WHERE w.deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id = w.id AND a.deleted_at IS NULL)
"""
COUNT_ADMINISTERED: Final = """
SELECT count(*) FROM memberships WHERE account_id = :account_id AND role = 'admin' AND NOT is_owner
"""
MEMBERSHIPS: Final = """
SELECT m.workspace_id, coalesce(w.slug, w.id), m.role, w.second_factor_required_at IS NOT NULL
  FROM memberships m JOIN workspaces w ON w.id = m.workspace_id
 WHERE m.account_id = :account_id AND NOT m.is_owner ORDER BY m.workspace_id
"""
IS_PERSONAL: Final = """
SELECT a.id IS NOT NULL FROM workspaces w LEFT JOIN accounts a ON a.id = w.id AND a.deleted_at IS NULL
 WHERE w.id = :workspace_id AND w.deleted_at IS NULL
"""
SLUG_TAKEN: Final = "SELECT 1 FROM workspaces WHERE slug = :slug AND id <> :workspace_id AND deleted_at IS NULL"
UPDATE: Final = """
UPDATE workspaces
   SET name = coalesce(:name, name), slug = coalesce(:slug, slug),
       second_factor_required_at = CASE WHEN :required THEN coalesce(second_factor_required_at, :at)
                                        WHEN NOT :required THEN NULL
                                        ELSE second_factor_required_at END
 WHERE id = :workspace_id AND deleted_at IS NULL
"""
DELETE: Final = "UPDATE workspaces SET deleted_at = :at WHERE id = :id AND deleted_at IS NULL"
ERASE: Final = deletions("workspace")
# The workspace of an object, among those that the caller reaches.
_WORKSPACE_OF: Final[Mapping[ObjectKind, str]] = {
    "flow": "SELECT workspace_id FROM flows WHERE id = :id AND workspace_id IN (:among)",
    "execution": "SELECT workspace_id FROM executions WHERE id = :id AND workspace_id IN (:among)",
    "job": "SELECT workspace_id FROM jobs WHERE id = :id AND workspace_id IN (:among)",
    "trigger": "SELECT workspace_id FROM triggers WHERE id = :id AND workspace_id IN (:among)",
    "callback": "SELECT workspace_id FROM callbacks WHERE id = :id AND workspace_id IN (:among)",
}
WORKSPACE_OF: Final = {kind: Statement.with_texts(text, "among") for kind, text in _WORKSPACE_OF.items()}
MEMBER: Final = """
SELECT a.id, a.name, a.email, m.role, m.added_at, m.is_owner, a.email_confirmed_at
  FROM memberships m JOIN accounts a ON a.id = m.account_id
 WHERE m.workspace_id = :workspace_id AND m.account_id = :account_id
"""
MEMBERS: Final = """
SELECT a.id, a.name, a.email, m.role, m.added_at, m.is_owner, a.email_confirmed_at
  FROM memberships m JOIN accounts a ON a.id = m.account_id
 WHERE m.workspace_id = :workspace_id AND CASE WHEN m.is_owner THEN '0' ELSE '1' END || a.id > :after
 ORDER BY m.is_owner DESC, a.id LIMIT :limit OFFSET :offset
"""
LINKED: Final = Statement.with_texts(
    """
SELECT m.account_id, i.issuer FROM memberships m JOIN identities i ON i.account_id = m.account_id
 WHERE m.workspace_id = :workspace_id AND i.issuer IN (:issuers)
""",
    "issuers",
)
COUNT_MEMBERS: Final = "SELECT count(*) FROM memberships WHERE workspace_id = :workspace_id"
COUNT_JOINED: Final = "SELECT count(*) FROM memberships WHERE account_id = :account_id AND NOT is_owner"
# An address identifies only the account that has confirmed it: any account may claim one.
ACCOUNT_NAMED: Final = """
SELECT id FROM accounts
 WHERE (id = :name OR (email = :name AND email_confirmed_at IS NOT NULL)) AND deleted_at IS NULL
"""
# The id counts before a slug that somebody has chosen like it.
NAMED: Final = """
SELECT id FROM workspaces WHERE (id = :name OR slug = :name) AND deleted_at IS NULL ORDER BY id <> :name LIMIT 1
"""
IS_ACCOUNT: Final = "SELECT 1 FROM accounts WHERE id = :account_id AND deleted_at IS NULL"
ROLE: Final = "SELECT role FROM members WHERE workspace_id = :workspace_id AND account_id = :account_id"
ADD_MEMBER: Final = """
INSERT INTO members (workspace_id, account_id, role, added_at) VALUES (:workspace_id, :account_id, :role, :at)
"""
CHANGE_ROLE: Final = "UPDATE members SET role = :role WHERE workspace_id = :workspace_id AND account_id = :account_id"
REMOVE: Final = "DELETE FROM members WHERE workspace_id = :workspace_id AND account_id = :account_id"
REMOVE_TOKENS: Final = "DELETE FROM api_tokens WHERE workspace_id = :workspace_id AND account_id = :account_id"
# Not only void while their account is no admin: they would be valid again with the role.
END_INVITATIONS: Final = "DELETE FROM invitations WHERE workspace_id = :workspace_id AND invited_by = :account_id"
# A disabled account manages nothing; the owner of a personal workspace remains an admin of it in any case.
OTHER_ADMIN: Final = """
SELECT 1 FROM memberships m JOIN accounts a ON a.id = m.account_id
 WHERE m.workspace_id = :workspace_id AND m.role = 'admin' AND m.account_id <> :account_id
   AND (a.disabled_at IS NULL OR m.is_owner) LIMIT 1
"""
OPEN: Final = Statement.with_indexes("""
SELECT count(*) FROM executions INDEXED BY executions_status
 WHERE workspace_id = :workspace_id AND status IN ('running', 'waiting')
""")
CONTENTS: Final = """
SELECT (SELECT count(*) FROM flows WHERE workspace_id = :workspace_id AND deleted_at IS NULL),
       (SELECT count(*) FROM secrets WHERE workspace_id = :workspace_id),
       (SELECT count(*) FROM config_values WHERE workspace_id = :workspace_id),
       (SELECT CAST(coalesce(sum(number), 0) AS bigint) FROM store_counts WHERE workspace_id = :workspace_id),
       (SELECT count(*) FROM memberships WHERE workspace_id = :workspace_id),
       (SELECT CAST(coalesce(sum(stored), 0) AS bigint) FROM usage WHERE workspace_id = :workspace_id)
"""
_CONTENTS: Final = ("flows", "secrets", "config_values", "store_keys", "members", "stored")
# Reads each entry, of which there may be 100,000.
STORE_BYTES: Final = """
SELECT CAST(coalesce(sum(size), 0) AS bigint) FROM store_entries WHERE workspace_id = :workspace_id
"""
# The contents that prevent the deletion of a workspace whose name was not sent, each with its name for one.
_WORTH_ASKING: Final = {
    "flows": "flow", "secrets": "secret", "config_values": "configuration value", "store_keys": "stored value",
    "open_executions": "open execution",
}  # fmt: skip


class SqlWorkspaces:
    """Implements `ports.WorkspaceStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, workspace: Workspace, *, admin: AccountId, most: int, audit: Audit = None) -> None:
        values = {
            "id": workspace.id,
            "name": workspace.name,
            "slug": workspace.slug,
            "created_at": to_ms(workspace.created_at),
        }

        async def create(tx: Transaction) -> None:
            await _check_administered(tx, admin, most)
            with _rules(workspace.slug):
                await tx.run(CREATE, values)
            member = {"workspace_id": workspace.id, "account_id": admin, "role": "admin", "at": values["created_at"]}
            await tx.run(ADD_MEMBER, member)

        await self._database.write(create, audit=audit)

    async def get(self, account_id: AccountId, id: WorkspaceId) -> Workspace:
        return await self._database.read(lambda tx: _get(tx, account_id, id))

    async def page(
        self, account_id: AccountId, *, only: WorkspaceId | None = None, page: Page
    ) -> tuple[Sequence[Workspace], int]:
        values = {"account_id": account_id, "only": only, "after": page.after}
        rows, total = await self._database.read(lambda tx: page_and_total(tx, page, PAGE, COUNT, values))
        return [_workspace(row) for row in rows], total

    async def all(self, *, page: Page) -> tuple[Sequence[SharedWorkspace], int]:
        values = {"after": page.after}
        rows, total = await self._database.read(lambda tx: page_and_total(tx, page, ALL, COUNT_ALL, values))
        return [
            SharedWorkspace(
                id=WorkspaceId(id), name=name, slug=slug, created_at=from_ms(at), members=members, admins=admins
            )
            for id, name, slug, at, members, admins in rows
        ], total

    async def update(
        self,
        account_id: AccountId,
        id: WorkspaceId,
        *,
        name: str | None = None,
        slug: str | None = None,
        requires_second_factor: bool | None = None,
        at: datetime,
        audit: Audit = None,
    ) -> Workspace:
        values = {"workspace_id": id, "name": name, "slug": slug, "required": requires_second_factor, "at": to_ms(at)}

        async def update(tx: Transaction) -> Workspace:
            await _check_names(tx, id, name=name, slug=slug)
            with _rules(slug):
                await tx.run(UPDATE, values)
            return await _get(tx, account_id, id)

        return await self._database.write(update, audit=audit)

    async def check_update(self, id: WorkspaceId, *, name: str | None, slug: str | None) -> None:
        async def check(tx: Transaction) -> None:
            await _check_names(tx, id, name=name, slug=slug)
            if await tx.row(SLUG_TAKEN, {"workspace_id": id, "slug": slug}) is not None:
                raise _taken(slug)

        await self._database.read(check)

    async def delete(self, id: WorkspaceId, *, at: datetime, only_if_empty: bool, audit: Audit = None) -> None:
        async def delete(tx: Transaction) -> None:
            await _check_is_shared(tx, id, "is deleted with its account")
            found = await _contents(tx, id) if only_if_empty else {}
            if any(found.get(name) for name in _WORTH_ASKING):
                *first, last = (counted(found[name], one) for name, one in _WORTH_ASKING.items())
                raise Conflict(
                    f"The workspace has {', '.join(first)} and {last}: send its name to delete it with all of them"
                )
            values = {"id": id, "at": to_ms(at)}
            await tx.run(DELETE, values)
            for statement in ERASE:
                await tx.run(statement, values)

        await self._database.write(delete, audit=audit)

    async def empty_deleted(self, *, now: datetime, limit: int) -> bool:
        return await empty_deleted(self._database, now=now, limit=limit)

    async def deleted_with_open(self) -> Sequence[WorkspaceId]:
        return await deleted_with_open(self._database)

    async def workspace_of(self, kind: ObjectKind, id: str, among: Sequence[WorkspaceId]) -> WorkspaceId | None:
        values = {"id": id, "among": listed(among)}
        row = await self._database.read(lambda tx: tx.row(WORKSPACE_OF[kind], values))
        return None if row is None else WorkspaceId(row[0])

    async def members(self, id: WorkspaceId, *, page: Page) -> tuple[Sequence[Member], int]:
        values = {"workspace_id": id, "after": page.after}
        rows, total = await self._database.read(lambda tx: page_and_total(tx, page, MEMBERS, COUNT_MEMBERS, values))
        return [_member(row) for row in rows], total

    async def linked(self, id: WorkspaceId, issuers: Sequence[str]) -> Mapping[AccountId, str]:
        values = {"workspace_id": id, "issuers": listed(issuers)}
        rows = await self._database.read(lambda tx: tx.rows(LINKED, values))
        return {AccountId(account): issuer for account, issuer in rows}

    async def account_named(self, name: str) -> AccountId | None:
        row = await self._database.read(lambda tx: tx.row(ACCOUNT_NAMED, {"name": name}))
        return None if row is None else AccountId(row[0])

    async def named(self, name: str) -> WorkspaceId:
        row = await self._database.read(lambda tx: existing_row(tx, NAMED, {"name": name}, "workspace"))
        return WorkspaceId(row[0])

    async def set_member(
        self,
        id: WorkspaceId,
        account_id: AccountId,
        role: WorkspaceRole,
        *,
        at: datetime,
        is_new: bool,
        most_members: int,
        most_joined: int,
        most_administered: int | None = None,
        audit: Audit = None,
    ) -> Member:
        values = {"workspace_id": id, "account_id": account_id, "role": role, "at": to_ms(at)}

        async def add(tx: Transaction) -> Member:
            await _add_member(tx, values, most_members=most_members, most_joined=most_joined)
            if role == "admin":
                await _check_administered(tx, account_id, most_administered, is_counted=True)
            return _member(await one_row(tx, MEMBER, values))

        async def change(tx: Transaction) -> Member:
            await _check_is_not_owner(tx, id, account_id, "remains an admin of it")
            before = await existing_row(tx, ROLE, values, "member")
            if role != "admin":
                await _check_admin_remains(tx, values)
            elif before[0] != role:
                await _check_administered(tx, account_id, most_administered)
            await tx.run(CHANGE_ROLE, values)
            if role != "admin":
                await tx.run(END_INVITATIONS, values)
            return _member(await one_row(tx, MEMBER, values))

        return await self._database.write(add if is_new else change, audit=audit)

    async def remove_member(self, id: WorkspaceId, account_id: AccountId, *, audit: Audit = None) -> None:
        values = {"workspace_id": id, "account_id": account_id}

        async def remove(tx: Transaction) -> None:
            await _check_is_not_owner(tx, id, account_id, "cannot leave it")
            await existing_row(tx, ROLE, values, "member")
            await _check_admin_remains(tx, values)
            await tx.run(REMOVE, values)
            await tx.run(REMOVE_TOKENS, values)
            await tx.run(END_INVITATIONS, values)

        await self._database.write(remove, audit=audit)

    async def contents(self, id: WorkspaceId) -> Mapping[str, int]:
        async def read(tx: Transaction) -> Mapping[str, int]:
            bytes = (await one_row(tx, STORE_BYTES, {"workspace_id": id}))[0]
            return {**await _contents(tx, id), "store_bytes": bytes}

        return await self._database.read_long(read)


async def _get(tx: Transaction, account_id: AccountId, id: WorkspaceId) -> Workspace:
    row = await existing_row(tx, GET, {"account_id": account_id, "workspace_id": id}, "workspace")
    return _workspace(row)


async def join(
    tx: Transaction,
    id: WorkspaceId,
    account_id: AccountId,
    role: WorkspaceRole,
    *,
    at: datetime,
    most_members: int,
    most_joined: int,
    most_administered: int,
) -> None:
    """Make an account a member, or raise the role of one that has a lower one. Raises: NotFound, Conflict."""
    values = {"workspace_id": id, "account_id": account_id, "role": role, "at": to_ms(at)}
    member = await tx.row(MEMBER, values)
    if member is None:
        await _add_member(tx, values, most_members=most_members, most_joined=most_joined)
    elif not includes(_member(member).role, role):
        await tx.run(CHANGE_ROLE, values)
    else:
        return
    if role == "admin":
        await _check_administered(tx, account_id, most_administered, is_counted=True)


async def _check_administered(
    tx: Transaction, account_id: AccountId, most: int | None, *, is_counted: bool = False
) -> None:
    """Raises: LimitReached if the account is an admin of too many. Args: is_counted: It is of one more now."""
    (count,) = await one_row(tx, COUNT_ADMINISTERED, {"account_id": account_id})
    if most is not None and count - is_counted >= most:
        message = f"An account is an admin of at most {counted(most, 'workspace')}: leave or delete one first"
        raise LimitReached(message, limit="account_workspaces", most=most)


async def _add_member(tx: Transaction, values: Mapping[str, Any], *, most_members: int, most_joined: int) -> None:
    await _check_is_not_owner(tx, values["workspace_id"], values["account_id"], "is an admin of it already")
    await existing_row(tx, IS_ACCOUNT, values, "account")
    if await tx.row(ROLE, values) is not None:
        raise Conflict("This account is a member already: change its role instead")
    if (await one_row(tx, COUNT_MEMBERS, values))[0] >= most_members:
        message = f"A workspace has at most {counted(most_members, 'member')}: remove one first"
        raise LimitReached(message, limit="members", most=most_members)
    if (await one_row(tx, COUNT_JOINED, values))[0] >= most_joined:
        joined = counted(most_joined, "workspace")
        message = f"This account is a member of {joined}: it must leave one before it joins another"
        raise LimitReached(message, limit="memberships", most=most_joined)
    await tx.run(ADD_MEMBER, values)


async def memberships(tx: Transaction, account_id: AccountId) -> tuple[Membership, ...]:
    """Return the workspaces of others in which an account has a role."""
    rows = await tx.rows(MEMBERSHIPS, {"account_id": account_id})
    return tuple(Membership(WorkspaceId(id), slug, role, bool(required)) for id, slug, role, required in rows)


@contextmanager
def _rules(slug: str | None) -> Iterator[None]:
    """Turn the rejection of a slug by the schema into the error for the caller."""
    try:
        yield
    except Refused as error:
        if "slug" in str(error):
            raise _taken(slug) from error
        raise


def _taken(slug: str | None) -> Conflict:
    return Conflict(f"The slug '{slug}' is taken: choose another")


async def _check_names(tx: Transaction, id: WorkspaceId, *, name: str | None, slug: str | None) -> None:
    """Raises: NotFound; Conflict if name or slug of a personal workspace is given."""
    if name is not None or slug is not None:
        await _check_is_shared(tx, id, "is called after its account: rename the account instead")


async def _contents(tx: Transaction, id: WorkspaceId) -> dict[str, int]:
    values = {"workspace_id": id}
    counts = dict(zip(_CONTENTS, await one_row(tx, CONTENTS, values), strict=True))
    return counts | {"open_executions": (await one_row(tx, OPEN, values))[0]}


async def _check_is_shared(tx: Transaction, id: WorkspaceId, rule: str) -> None:
    """Raises: NotFound; Conflict if the workspace is personal."""
    row = await existing_row(tx, IS_PERSONAL, {"workspace_id": id}, "workspace")
    if row[0]:
        raise Conflict(f"A personal workspace {rule}")


async def _check_is_not_owner(tx: Transaction, id: WorkspaceId, account_id: AccountId, rule: str) -> None:
    """Raises: NotFound if there is no such workspace; Conflict."""
    row = await existing_row(tx, IS_PERSONAL, {"workspace_id": id}, "workspace")
    if row[0] and account_id == AccountId(id):
        raise Conflict(f"The owner of a personal workspace {rule}")


async def _check_admin_remains(tx: Transaction, values: Mapping[str, Any]) -> None:
    if await tx.row(OTHER_ADMIN, values) is None and await tx.row(ROLE, values) == ("admin",):
        raise Conflict("The last admin of a workspace cannot leave or be demoted: make another member admin first")


def _workspace(row: Row) -> Workspace:
    return Workspace(
        id=WorkspaceId(row[0]),
        name=row[1],
        slug=row[2],
        role=row[3],
        created_at=from_ms(row[4]),
        requires_second_factor=bool(row[5]),
    )


def _member(row: Row) -> Member:
    return Member(
        account_id=AccountId(row[0]),
        name=row[1],
        email=row[2],
        role=row[3],
        added_at=from_ms(row[4]),
        is_owner=bool(row[5]),
        is_email_confirmed=row[6] is not None,
    )
