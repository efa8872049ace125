"""Invitations to workspaces, found by the digests of the tokens in their links."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.account import Account
from flowrunner.domain.errors import Forbidden, LimitReached, LinkNotValid, NotFound
from flowrunner.domain.values import AccountId, InvitationId, WorkspaceId
from flowrunner.ports.accounts import ConfirmationLink
from flowrunner.ports.audit import Audit
from flowrunner.ports.invitations import Invitation, OpenInvitation
from flowrunner.ports.page import Page
from flowrunner.storage.accounts import CONFIRM, account_of, create_account
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.portions import delete_some
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.transaction import Row, Statement, Transaction, one_row
from flowrunner.storage.workspaces import join

REPLACE: Final = "DELETE FROM invitations WHERE workspace_id = :workspace_id AND (email = :email OR expires_at <= :at)"
# The account may have lost the role after the request was authenticated.
MAY_INVITE: Final = """
SELECT 1 FROM memberships m JOIN accounts a ON a.id = m.account_id
 WHERE m.workspace_id = :workspace_id AND m.account_id = :invited_by AND m.role = 'admin'
   AND a.disabled_at IS NULL AND a.deleted_at IS NULL AND a.role <> 'viewer'
"""
COUNT_ALL: Final = "SELECT count(*) FROM invitations WHERE workspace_id = :workspace_id"
SAVE: Final = """
INSERT INTO invitations (id, workspace_id, email, role, digest, invited_by, created_at, expires_at)
VALUES (:id, :workspace_id, :email, :role, :digest, :invited_by, :at, :expires_at)
"""
WORKSPACE_NAME: Final = """
SELECT coalesce(w.name, o.name, '') FROM workspaces w LEFT JOIN accounts o ON o.id = w.id WHERE w.id = :workspace_id
"""
PAGE: Final = """
SELECT id, workspace_id, email, role, invited_by, created_at, expires_at FROM invitations
 WHERE workspace_id = :workspace_id AND expires_at > :now AND id > :after ORDER BY id LIMIT :limit OFFSET :offset
"""
COUNT: Final = "SELECT count(*) FROM invitations WHERE workspace_id = :workspace_id AND expires_at > :now"
DELETE: Final = "DELETE FROM invitations WHERE workspace_id = :workspace_id AND id = :id"
# The inviting account must still be allowed to invite, so that a removed member cannot leave a way back in.
BY_DIGEST: Final = """
SELECT i.id, i.workspace_id, i.email, i.role, i.invited_by, i.created_at, i.expires_at, coalesce(w.name, o.name, ''),
       a.id, a.name, a.email, a.role, a.created_at, a.updated_at, a.disabled_at, a.email_confirmed_at
  FROM invitations i
  JOIN workspaces w ON w.id = i.workspace_id AND w.deleted_at IS NULL
  JOIN accounts a ON a.id = i.invited_by AND a.disabled_at IS NULL AND a.deleted_at IS NULL AND a.role <> 'viewer'
  JOIN memberships m ON m.workspace_id = i.workspace_id AND m.account_id = i.invited_by AND m.role = 'admin'
  LEFT JOIN accounts o ON o.id = w.id
 WHERE i.digest = :digest AND i.expires_at > :now
"""
EXPIRED: Final = "SELECT id FROM invitations WHERE expires_at <= :now LIMIT :limit"
PURGE: Final = Statement.with_texts("DELETE FROM invitations WHERE id IN (:ids)", "ids")


class SqlInvitations:
    """Implements `ports.InvitationStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, invitation: Invitation, *, digest: str, most: int, audit: Audit = None) -> None:
        values = {
            "id": invitation.id,
            "workspace_id": invitation.workspace_id,
            "email": invitation.email,
            "role": invitation.role,
            "digest": digest,
            "invited_by": invitation.invited_by,
            "at": to_ms(invitation.created_at),
            "expires_at": to_ms(invitation.expires_at),
        }

        async def save(tx: Transaction) -> None:
            if await tx.row(MAY_INVITE, values) is None:
                raise Forbidden("This account is no longer an admin of the workspace")
            await tx.run(REPLACE, values)
            if (await one_row(tx, COUNT_ALL, values))[0] >= most:
                message = f"A workspace has at most {most} open invitations: revoke one that is not needed"
                raise LimitReached(message, limit="invitations", most=most)
            await tx.run(SAVE, values)

        await self._database.write(save, audit=audit)

    async def workspace_name(self, id: WorkspaceId) -> str:
        row = await self._database.read(lambda tx: tx.row(WORKSPACE_NAME, {"workspace_id": id}))
        return "" if row is None else str(row[0])

    async def page(self, id: WorkspaceId, *, now: datetime, page: Page) -> tuple[Sequence[Invitation], int]:
        values = {"workspace_id": id, "now": to_ms(now), "after": page.after_id("invitation")}
        rows, total = await self._database.read(lambda tx: page_and_total(tx, page, PAGE, COUNT, values))
        return [_invitation(row) for row in rows], total

    async def delete(self, workspace_id: WorkspaceId, id: InvitationId, *, audit: Audit = None) -> None:
        async def delete(tx: Transaction) -> None:
            if await tx.run(DELETE, {"workspace_id": workspace_id, "id": id}) == 0:
                raise NotFound("invitation")

        await self._database.write(delete, audit=audit)

    async def find(self, digest: str, *, now: datetime) -> OpenInvitation | None:
        row = await self._database.read(lambda tx: tx.row(BY_DIGEST, {"digest": digest, "now": to_ms(now)}))
        if row is None:
            return None
        return OpenInvitation(invitation=_invitation(row), workspace_name=row[7], inviter=account_of(row[8:]))

    async def accept(
        self,
        digest: str,
        account_id: AccountId,
        *,
        at: datetime,
        new: Account | None = None,
        password_hash: str = "",
        link: ConfirmationLink | None = None,
        confirms_email: bool,
        most_members: int,
        most_joined: int,
        most_administered: int,
        audit: Audit = None,
    ) -> Invitation:
        async def accept(tx: Transaction) -> Invitation:
            row = await tx.row(BY_DIGEST, {"digest": digest, "now": to_ms(at)})
            if row is None:
                raise LinkNotValid
            invitation = _invitation(row)
            # Of two requests at the same time, one finds nothing to delete.
            if await tx.run(DELETE, {"workspace_id": invitation.workspace_id, "id": invitation.id}) == 0:
                raise LinkNotValid
            if new is not None:
                await create_account(tx, new, password_hash=password_hash, link=link)
            if confirms_email:
                await tx.run(CONFIRM, {"id": account_id, "email": invitation.email, "at": to_ms(at)})
            await join(
                tx,
                invitation.workspace_id,
                account_id,
                invitation.role,
                at=at,
                most_members=most_members,
                most_joined=most_joined,
                most_administered=most_administered,
            )
            return invitation

        return await self._database.write(accept, audit=audit)

    async def purge(self, *, now: datetime, limit: int) -> bool:
        return await delete_some(self._database, EXPIRED, PURGE, {"now": to_ms(now)}, limit=limit) == limit


def _invitation(row: Row) -> Invitation:
    values: tuple[Any, ...] = row[:7]
    id, workspace_id, email, role, invited_by, created_at, expires_at = values
    return Invitation(
        id=InvitationId(id),
        workspace_id=WorkspaceId(workspace_id),
        email=email,
        role=role,
        invited_by=AccountId(invited_by),
        created_at=from_ms(created_at),
        expires_at=from_ms(expires_at),
    )
