"""Workspaces: where a request acts, who shares one, and in which role."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.email_address import normal_email
from flowrunner.domain.errors import InvalidInput, NotFound, Unavailable, UnknownAccount, invalid
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.sign_on import Provider
from flowrunner.domain.values import JSON, AccountId, WorkspaceId, personal_workspace
from flowrunner.domain.workspace import (
    Member,
    SharedWorkspace,
    Workspace,
    WorkspaceRole,
    slug_of,
    workspace_faults,
)
from flowrunner.ids import new_id
from flowrunner.ports.clock import Clock
from flowrunner.ports.page import Page
from flowrunner.ports.workspaces import ObjectKind, WorkspaceStore
from flowrunner.services.rates import SlidingWindow
from flowrunner.services.short_commits import PURGED_AT_ONCE, commit_in_portions

MAX_MEMBERS: Final = 1_000
# Workspaces of others in which an account has a role: they are read with each new token.
MAX_JOINED: Final = 200
# Names without an account that an account may ask for in an hour: an answer says which addresses have an account.
MOST_UNKNOWN_NAMES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceUsage:
    """The contents of a workspace, beside its limits.

    Attributes:
        store_bytes: Bytes of the values in its store.
        stored: Bytes of its flows, secrets, configuration values, store and executions.
    """

    flows: int
    secrets: int
    config_values: int
    store_keys: int
    store_bytes: int
    open_executions: int
    members: int
    stored: int
    limits: WorkspaceLimits


class Workspaces:
    """Use cases of workspaces.

    Args:
        most: Workspaces of which an account may be an admin, its personal one excepted.
        on_access_change: Called with an account after its role in a workspace has changed or ended.
        on_change: Called with a workspace that has a new slug, or that requires something else of logins.
        on_delete: Called with a workspace that was deleted.
        cancel_open: Called with a deleted workspace that still has open executions.
        providers: Those of single sign-on, whose groups may decide about roles.
    """

    def __init__(
        self,
        store: WorkspaceStore,
        clock: Clock,
        *,
        limits: WorkspaceLimits,
        most: int,
        on_access_change: Callable[[AccountId], Awaitable[None]],
        on_change: Callable[[WorkspaceId], Awaitable[None]],
        on_delete: Callable[[WorkspaceId], Awaitable[None]],
        cancel_open: Callable[[WorkspaceId], Awaitable[None]],
        providers: Sequence[Provider] = (),
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._most = most
        self._on_access_change = on_access_change
        self._on_change = on_change
        self._on_delete = on_delete
        self._cancel_open = cancel_open
        self._providers = providers
        self._unknown_names: SlidingWindow[AccountId] = SlidingWindow(
            MOST_UNKNOWN_NAMES,
            limit="account_unknown_names",
            message="An account may ask for {most} unknown accounts an hour: check the address, or ask for an id",
            length=timedelta(hours=1),
        )

    def at(self, caller: Caller, named: str) -> Caller:
        """Return the caller acting in the workspace with this id or slug.

        Raises:
            NotFound: There is no such workspace, or the credential does not reach it.
        """
        id = WorkspaceId(named)
        if caller.role_in(id) is None:
            id = next((joined.workspace_id for joined in caller.memberships if joined.slug == named), id)
        if caller.role_in(id) is None:
            raise NotFound("workspace")
        return caller.acting_in(id)

    def at_account(self, caller: Caller, id: str) -> Caller:
        """Return the caller acting in the personal workspace of an account.

        Raises:
            NotFound: There is no such account, or the credential does not reach its workspace.
        """
        wanted = personal_workspace(AccountId(id))
        is_shared = any(joined.workspace_id == wanted != joined.slug for joined in caller.memberships)
        if is_shared or caller.role_in(wanted) is None:
            raise NotFound("account")
        return caller.acting_in(wanted)

    async def at_object(self, caller: Caller, kind: ObjectKind, id: str) -> Caller:
        """Return the caller acting in the workspace of an object.

        If the object is in none that the credential reaches, the caller acts in the implied workspace, where the
        object is not found.
        """
        if len(caller.reach) == 1:
            return caller
        found = await self._store.workspace_of(kind, id, caller.reach)
        return caller if found is None else caller.acting_in(found)

    async def create(self, caller: Caller, *, name: str, slug: str | None) -> Workspace:
        """Create a workspace with the caller as its admin. Raises: InvalidInput, Conflict."""
        _check(name=name, slug=slug)
        now = self._clock.now()
        id = WorkspaceId(new_id("workspace", now))
        suggested = slug or slug_of(name)
        if workspace_faults(name=None, slug=suggested):
            raise invalid("slug", "is required: no slug can be made of this name", code="required")
        workspace = Workspace(id=id, name=name, slug=suggested, role="admin", created_at=now)
        entry = act(caller, "workspace.created", "workspace", id, at=now, workspace_id=id)
        await self._store.create(workspace, admin=caller.account_id, most=self._most, audit=entry)
        await self._on_access_change(caller.account_id)
        return workspace

    async def get(self, caller: Caller) -> Workspace:
        """Return the workspace that the request acts in. Raises: NotFound."""
        return await self._store.get(caller.account_id, caller.workspace_id)

    async def page(self, caller: Caller, *, page: Page) -> tuple[Sequence[Workspace], int]:
        """Return a page of the workspaces that the credential reaches, the personal one first, and the total."""
        return await self._store.page(caller.account_id, only=caller.confined_to, page=page)

    async def update(
        self,
        caller: Caller,
        *,
        name: str | None,
        slug: str | None,
        requires_second_factor: bool | None = None,
        dry_run: bool = False,
    ) -> Workspace:
        """Change the given fields; a dry run returns what would be saved. Raises: InvalidInput, Conflict, NotFound."""
        _check(name=name, slug=slug)
        id, now = caller.workspace_id, self._clock.now()
        fields = {"name": name, "slug": slug, "requires_second_factor": requires_second_factor}
        if dry_run:
            await self._store.check_update(id, name=name, slug=slug)
            given_fields: dict[str, Any] = {field: value for field, value in fields.items() if value is not None}
            return replace(await self._store.get(caller.account_id, id), **given_fields)
        given: list[JSON] = [field for field, value in fields.items() if value is not None]
        entry = self._entry(caller, "workspace.updated", {"given": given})
        changed = await self._store.update(
            caller.account_id,
            id,
            name=name,
            slug=slug,
            requires_second_factor=requires_second_factor,
            at=now,
            audit=entry,
        )
        if slug is not None or requires_second_factor is not None:
            await self._on_change(id)
        return changed

    async def delete(self, caller: Caller, *, name: str | None) -> None:
        """Delete the workspace, with all that it holds if its name is given.

        Raises:
            NotFound.
            Conflict: If it is personal, or not empty although no name is given.
            InvalidInput: If the name is another.
        """
        id = caller.workspace_id
        found = await self._store.get(caller.account_id, id)
        if name is not None and name != found.name:
            raise invalid("name", "is not the name of this workspace", code="wrong")
        entry = self._entry(caller, "workspace.deleted", {})
        await self._store.delete(id, at=self._clock.now(), only_if_empty=name is None, audit=entry)
        await self._on_delete(id)

    async def empty_deleted(self) -> None:
        """Delete what is left of deleted workspaces, and cancel their executions that a process has left.

        Raises: Unavailable.
        """
        now = self._clock.now()
        await commit_in_portions(lambda: self._store.empty_deleted(now=now, limit=PURGED_AT_ONCE))
        # Other processes may have them in memory, and would advance them until they end by themselves.
        for id in await self._store.deleted_with_open():
            await self._cancel_open(id)

    async def usage(self, caller: Caller) -> WorkspaceUsage:
        return WorkspaceUsage(**await self._store.contents(caller.workspace_id), limits=self._limits)

    # Members

    async def members(self, caller: Caller, *, page: Page) -> tuple[Sequence[Member], int]:
        id = caller.workspace_id
        members, total = await self._store.members(id, page=page)
        names = [id, *(joined.slug for joined in caller.memberships if joined.workspace_id == id)]
        deciding = {one.issuer: one.name for one in self._providers if one.decides_about(*names)}
        if deciding:
            linked = await self._store.linked(id, list(deciding))
            members = [replace(one, role_from=deciding.get(linked.get(one.account_id, ""))) for one in members]
        return members, total

    async def add(self, caller: Caller, account: str, role: WorkspaceRole) -> Member:
        """Add a member.

        Args:
            account: The id or e-mail address of an account.

        Raises: NotFound if there is no such account; Conflict; TooManyRequests.
        """
        account_id = await self._account_named(caller, account)
        return await self._set(caller, caller.workspace_id, account_id, role, is_new=True, most_administered=self._most)

    async def change(self, caller: Caller, account_id: AccountId, role: WorkspaceRole) -> Member:
        """Change the role of a member. Raises: NotFound, Conflict."""
        id, most = caller.workspace_id, self._most
        return await self._set(caller, id, account_id, role, is_new=False, most_administered=most)

    async def remove(self, caller: Caller, account_id: AccountId) -> None:
        """Remove a member; its API tokens and sockets for the workspace end. Raises: NotFound, Conflict."""
        entry = self._entry(caller, "member.removed", {}, of=account_id)
        await self._store.remove_member(caller.workspace_id, account_id, audit=entry)
        await self._on_access_change(account_id)

    async def leave(self, caller: Caller) -> None:
        """Remove the caller's own account. Raises: Forbidden; Conflict for the owner and the last admin."""
        # What the workspace requires of its members is not required of those who leave.
        authorise(replace(caller, acts_in=None), Right.SESSION)
        await self.remove(caller, caller.account_id)

    async def appoint(self, caller: Caller, workspace: str, account: str, role: WorkspaceRole) -> Member:
        """Add a member to any workspace, on behalf of the installation.

        Args:
            workspace: The id or slug of a workspace.

        Raises: Forbidden, NotFound, Conflict.
        """
        authorise(caller, Right.APPOINT)
        id = await self._store.named(workspace)
        account_id = await self._account_named(caller, account)
        return await self._set(caller, id, account_id, role, is_new=True, most_administered=None)

    async def all(self, caller: Caller, *, page: Page) -> tuple[Sequence[SharedWorkspace], int]:
        """Return a page of all workspaces but the personal ones, and the total. Raises: Forbidden."""
        authorise(caller, Right.ADMIN)
        return await self._store.all(page=page)

    async def _account_named(self, caller: Caller, name: str) -> AccountId:
        try:
            address = normal_email(name) if "@" in name else name
        except ValueError:
            raise invalid("account", "is neither the id nor the e-mail address of an account") from None
        # Counted until the answer is known: concurrent requests must not exceed the limit together.
        self._unknown_names.take(caller.account_id, at=self._clock.now())
        try:
            known = await self._store.account_named(address)
        except Unavailable:
            self._unknown_names.give_back(caller.account_id)
            raise
        if known is None:
            raise UnknownAccount
        self._unknown_names.give_back(caller.account_id)
        return known

    async def _set(
        self,
        caller: Caller,
        id: WorkspaceId,
        account_id: AccountId,
        role: WorkspaceRole,
        *,
        is_new: bool,
        most_administered: int | None,
    ) -> Member:
        action = "member.added" if is_new else "member.changed"
        entry = self._entry(caller, action, {"role": role}, of=account_id, workspace_id=id)
        member = await self._store.set_member(
            id,
            account_id,
            role,
            at=self._clock.now(),
            is_new=is_new,
            most_members=MAX_MEMBERS,
            most_joined=MAX_JOINED,
            most_administered=most_administered,
            audit=entry,
        )
        await self._on_access_change(account_id)
        return member

    def _entry(
        self,
        caller: Caller,
        action: str,
        details: dict[str, JSON],
        *,
        of: AccountId | None = None,
        workspace_id: WorkspaceId | None = None,
    ) -> AuditEntry:
        kind, id = ("workspace", caller.workspace_id) if of is None else ("account", of)
        return act(caller, action, kind, id, at=self._clock.now(), workspace_id=workspace_id, details=details)


def _check(*, name: str | None, slug: str | None) -> None:
    faults = workspace_faults(name=name, slug=slug)
    if faults:
        raise InvalidInput(faults)
