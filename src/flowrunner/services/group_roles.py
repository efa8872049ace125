"""Roles in workspaces that an account has by its groups at a provider of single sign-on."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from flowrunner.domain.account import Account
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Conflict, NotFound
from flowrunner.domain.sign_on import Provider, ProviderAccount
from flowrunner.domain.values import AccountId
from flowrunner.domain.workspace import WorkspaceRole
from flowrunner.ports.clock import Clock
from flowrunner.ports.sign_on import IdentityStore
from flowrunner.ports.workspaces import WorkspaceStore
from flowrunner.services.workspaces import MAX_JOINED, MAX_MEMBERS

logger = structlog.get_logger()


class GroupRoles:
    """The roles of groups, as the settings of each provider map them.

    Args:
        on_access_change: Called with an account whose roles have changed.
    """

    def __init__(
        self,
        store: IdentityStore,
        workspaces: WorkspaceStore,
        clock: Clock,
        *,
        on_access_change: Callable[[AccountId], Awaitable[None]],
    ) -> None:
        self._store = store
        self._workspaces = workspaces
        self._clock = clock
        self._on_access_change = on_access_change

    async def apply(self, provider: Provider, account: Account, found: ProviderAccount) -> None:
        """Give the account the roles of its groups, and take those that it has no more."""
        if not provider.groups:
            return
        if found.groups is None:
            logger.warning("sign_on.groups_unknown", provider=provider.id, account_id=account.id)
            return
        has_changed = False
        for name, role in provider.roles_of(found.groups).items():
            has_changed |= await self._apply_role(provider, account, name, role)
        if has_changed:
            await self._on_access_change(account.id)

    async def _apply_role(self, provider: Provider, account: Account, name: str, role: WorkspaceRole | None) -> bool:
        place = await self._store.role_in(account.id, name)
        if place is None:
            logger.warning("sign_on.workspace_unknown", provider=provider.id, workspace=name)
            return False
        id, before = place
        if role == before:
            return False
        now = self._clock.now()
        action = "member.removed" if role is None else "member.added" if before is None else "member.changed"
        entry = AuditEntry(
            at=now, action=action, object=("account", account.id), workspace_id=id,
            details={} if role is None else {"role": role},
        )  # fmt: skip
        audit = by_provider(entry, provider)
        try:
            if role is None:
                await self._workspaces.remove_member(id, account.id, audit=audit)
            else:
                await self._workspaces.set_member(
                    id, account.id, role, at=now, is_new=before is None, most_members=MAX_MEMBERS,
                    most_joined=MAX_JOINED, audit=audit,
                )  # fmt: skip
        except (Conflict, NotFound) as error:
            # Such as the last admin of a workspace, who keeps the role.
            logger.warning("sign_on.role_kept", provider=provider.id, workspace_id=id, reason=str(error))
            return False
        return True


def by_provider(entry: AuditEntry, provider: Provider) -> AuditEntry:
    """Return the entry of a change that a login by a provider makes, with its name."""
    if entry.credential:
        return replace(entry, details={**entry.details, "provider": provider.id})
    return replace(entry, credential=f"provider:{provider.id}")
