"""The store of workspaces and their members."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.domain.workspace import Member, SharedWorkspace, Workspace, WorkspaceRole
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page

# The kinds of objects whose workspace is found by their id.
ObjectKind: TypeAlias = Literal["flow", "execution", "trigger", "job", "callback"]


class WorkspaceStore(Protocol):
    async def create(self, workspace: Workspace, *, admin: AccountId, most: int, audit: Audit = None) -> None:
        """Create a workspace with its first admin.

        Raises:
            Conflict: If the slug is taken, or the account has ``most`` workspaces already.
        """
        ...

    async def get(self, account_id: AccountId, id: WorkspaceId) -> Workspace:
        """Return a workspace as a member sees it. Raises: NotFound, also if the account is not a member."""
        ...

    async def page(
        self, account_id: AccountId, *, only: WorkspaceId | None = None, page: Page
    ) -> tuple[Sequence[Workspace], int]:
        """Return a page of the workspaces of a member, the personal one first, and the total.

        Args:
            only: The workspace to return if the account is a member of it; None for all.
        """
        ...

    async def all(self, *, page: Page) -> tuple[Sequence[SharedWorkspace], int]:
        """Return a page of all workspaces except the personal ones, by id, and the total."""
        ...

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
        """Change the given fields, and return the workspace as a member sees it.

        Raises: NotFound; Conflict if the slug is taken, or if name or slug of a personal workspace is given.
        """
        ...

    async def check_update(self, id: WorkspaceId, *, name: str | None, slug: str | None) -> None:
        """Raises: What `update` would raise now."""
        ...

    async def delete(self, id: WorkspaceId, *, at: datetime, only_if_empty: bool, audit: Audit = None) -> None:
        """Delete a workspace: remove its members, secrets, values and flows; `empty_deleted` does the rest.

        Raises:
            NotFound.
            Conflict: If it is personal, or not empty although ``only_if_empty``.
        """
        ...

    async def empty_deleted(self, *, now: datetime, limit: int) -> bool:
        """Delete at most ``limit`` triggers, API tokens and jobs of deleted workspaces; return if there may be more.

        As many of their idle executions become due, so that they are cancelled.
        """
        ...

    async def deleted_with_open(self) -> Sequence[WorkspaceId]:
        """Return deleted workspaces that have open executions."""
        ...

    async def workspace_of(self, kind: ObjectKind, id: str, among: Sequence[WorkspaceId]) -> WorkspaceId | None:
        """Return which of these workspaces has the object; None if none has it."""
        ...

    async def members(self, id: WorkspaceId, *, page: Page) -> tuple[Sequence[Member], int]:
        """Return a page of members and the total. The owner comes first, the others by the ids of their accounts."""
        ...

    async def linked(self, id: WorkspaceId, issuers: Sequence[str]) -> Mapping[AccountId, str]:
        """Return the members that are linked to an account of one of these providers, each with an issuer."""
        ...

    async def account_named(self, name: str) -> AccountId | None:
        """Return the account with this id or normalised e-mail address; None if there is none."""
        ...

    async def named(self, name: str) -> WorkspaceId:
        """Return the workspace with this id or slug. Raises: NotFound."""
        ...

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
        """Add a member, or change the role of one, and return it.

        Args:
            is_new: Add the account; otherwise change its role.
            most_administered: Workspaces of which the account may be an admin, its personal one excepted; None for no
                limit.

        Raises:
            NotFound: If the workspace, the account or the member whose role is to change does not exist.
            Conflict: If the account is a member already, is the owner, or no admin would remain; or the workspace
                has ``most_members``, or the account is a member of ``most_joined`` workspaces, or would be an admin of
                more than ``most_administered``.
        """
        ...

    async def remove_member(self, id: WorkspaceId, account_id: AccountId, *, audit: Audit = None) -> None:
        """Remove a member and its API tokens for the workspace.

        Raises: NotFound; Conflict if it is the owner, or no admin would remain.
        """
        ...

    async def contents(self, id: WorkspaceId) -> Mapping[str, int]:
        """Return the number of flows, secrets, configuration values, open executions and members, and the stored bytes.

        The keys are ``flows``, ``secrets``, ``config_values``, ``open_executions``, ``members`` and ``stored``, and
        ``store_keys`` and ``store_bytes`` for the keys of its store and the bytes of their values.
        """
        ...
