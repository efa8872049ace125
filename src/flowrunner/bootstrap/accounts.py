"""The services around accounts and workspaces, and their assembly."""

from flowrunner.bootstrap.authentication import LoginParts
from flowrunner.bootstrap.resources import Resources
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.values import AccountId, WorkspaceId, personal_workspace
from flowrunner.services.accounts import Accounts
from flowrunner.services.bundle import AccountServices
from flowrunner.services.configuration import Configuration
from flowrunner.services.executions import Executions
from flowrunner.services.exports import WorkspaceExports
from flowrunner.services.invitation_links import InvitationLinks
from flowrunner.services.invitations import Invitations
from flowrunner.services.preferences import Preferences
from flowrunner.services.secrets import Secrets
from flowrunner.services.store import StoreEntries
from flowrunner.services.workspaces import Workspaces
from flowrunner.storage.exports import SqlExports
from flowrunner.storage.invitations import SqlInvitations
from flowrunner.storage.preferences import SqlPreferences


def assemble_accounts(
    opened: Resources, executions: Executions, limits: WorkspaceLimits, logins: LoginParts
) -> AccountServices:
    settings, stored, stores, clock, hasher = opened.settings, opened.stored, opened.stores, opened.clock, opened.hasher
    database = stored.database
    known, invitations = logins.known_callers, SqlInvitations(database)

    async def on_workspace_delete(id: WorkspaceId) -> None:
        await known.workspace_changed(id)
        await executions.cancel_all(id)
        stored.vault.forget(id)

    async def on_delete(account_id: AccountId) -> None:
        await on_workspace_delete(personal_workspace(account_id))

    return AccountServices(
        preferences=Preferences(SqlPreferences(database), clock),
        audit=logins.audit,
        accounts=Accounts(
            stores.accounts,
            logins.passwords,
            hasher,
            logins.login_mails,
            clock,
            confirmations=logins.confirmations,
            on_sessions_end=known.sessions_ended,
            on_delete=on_delete,
        ),
        workspaces=Workspaces(
            stores.workspaces,
            clock,
            limits=limits,
            most=settings.account_workspaces,
            on_access_change=known.sessions_ended,
            on_change=known.workspace_changed,
            on_delete=on_workspace_delete,
            cancel_open=executions.cancel_open,
            providers=settings.sign_on,
        ),
        invitations=Invitations(
            invitations,
            stores.accounts,
            logins.mails,
            clock,
            mailed=logins.mailed_tokens,
            public_url=settings.public_url,
        ),
        invitation_links=InvitationLinks(
            invitations,
            stores.accounts,
            hasher,
            clock,
            mailed=logins.mailed_tokens,
            confirmations=logins.confirmations,
            sign_up=settings.sign_up,
            accepts_passwords=settings.password_login,
            most_administered=settings.account_workspaces,
            on_access_change=known.sessions_ended,
        ),
        exports=WorkspaceExports(
            SqlExports(database),
            stores.workspaces,
            secrets=stored.secrets,
            config=stores.config,
            entries=stores.store,
            triggers=stores.triggers,
            callbacks=stores.callbacks,
            audit=stores.audit,
            clock=clock,
        ),
        secrets=Secrets(stored.secrets, stored.vault, clock),
        configuration=Configuration(stores.config, stored.vault, clock),
        store=StoreEntries(stores.store, stored.vault, clock),
        keys=stored.keys,
    )
