"""Operations on workspaces, their members, tokens and secrets."""

from typing import Literal

from flowrunner.client.calls import Call, Listing, call, listing
from flowrunner.client.models import (
    AcceptedInvitation,
    Account,
    AuditEntry,
    Invitation,
    ListedSecret,
    Member,
    Message,
    NewInvitation,
    OpenInvitation,
    Retention,
    Secret,
    SharedWorkspace,
    Token,
    Usage,
    Workspace,
)
from flowrunner.client.operations import Group, K, list_operation, operation
from flowrunner.client.requests import key_or_new, segment

Role = Literal["viewer", "operator", "editor", "admin"]


class Workspaces(Group[K]):
    """Workspaces. An id may also be a slug."""

    @list_operation("listWorkspaces")
    def list(self) -> Listing[Workspace]:
        """List the caller's workspaces, the personal one first."""
        return listing("/workspaces", Workspace)

    @operation("createWorkspace")
    def create(self, name: str, *, slug: str | None = None, idempotency_key: str | None = None) -> Call[Workspace]:
        """Create a workspace, with the caller as its admin. This requires a login."""
        return call(
            Workspace, "POST", "/workspaces", body={"name": name, "slug": slug}, key=key_or_new(idempotency_key)
        )

    @operation("getWorkspace")
    def get(self, id: str) -> Call[Workspace]:
        """Return a workspace."""
        return call(Workspace, "GET", _workspace(id))

    @operation("updateWorkspace")
    def update(
        self,
        id: str,
        *,
        name: str | None = None,
        slug: str | None = None,
        requires_second_factor: bool | None = None,
        dry_run: bool | None = None,
    ) -> Call[Workspace]:
        """Change what is given of a workspace."""
        body = {"name": name, "slug": slug, "requires_second_factor": requires_second_factor}
        return call(Workspace, "PUT", _workspace(id), query={"dry_run": dry_run}, body=body)

    @operation("deleteWorkspace")
    def delete(self, id: str, *, name: str | None = None) -> Call[Message]:
        """Delete a workspace with all that it holds.

        Args:
            name: Its name, unless it is empty.
        """
        return call(Message, "DELETE", _workspace(id), query={"name": name})

    @operation("getUsage")
    def usage(self, id: str) -> Call[Usage]:
        """Return what a workspace holds, beside its limits."""
        return call(Usage, "GET", f"{_workspace(id)}/usage")

    @operation("leaveWorkspace")
    def leave(self, id: str) -> Call[Message]:
        """End the caller's own membership. This requires a login."""
        return call(Message, "POST", f"{_workspace(id)}/leave")

    @list_operation("listEntriesOfWorkspace")
    def audit(
        self,
        id: str,
        *,
        actor: str | None = None,
        action: str | None = None,
        object_kind: str | None = None,
        object_id: str | None = None,
        outcome: Literal["done", "failed", "denied"] | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Listing[AuditEntry]:
        """List the audit entries of a workspace, the newest first, for its admins."""
        return listing(
            f"{_workspace(id)}/audit", AuditEntry, actor=actor, action=action, object_kind=object_kind,
            object_id=object_id, outcome=outcome, since=since, until=until,
        )  # fmt: skip

    @operation("getWorkspaceRetention")
    def retention(self, id: str) -> Call[Retention]:
        """Return how long ended executions of the flows are kept that have no rule of their own."""
        return call(Retention, "GET", f"{_workspace(id)}/retention")

    @operation("setWorkspaceRetention")
    def set_retention(
        self,
        id: str,
        *,
        max_age_seconds: int | None = None,
        max_count: int | None = None,
        dry_run: bool | None = None,
    ) -> Call[Retention]:
        """Replace the rule of a workspace. What is not given is as it is otherwise."""
        body = {"max_age_seconds": max_age_seconds, "max_count": max_count}
        return call(Retention, "PUT", f"{_workspace(id)}/retention", query={"dry_run": dry_run}, body=body)

    # Members

    @list_operation("listMembers")
    def members(self, id: str) -> Listing[Member]:
        """List the members."""
        return listing(f"{_workspace(id)}/members", Member)

    @operation("addMember")
    def add_member(self, id: str, account: str, role: Role, *, idempotency_key: str | None = None) -> Call[Member]:
        """Add an account as a member.

        Args:
            account: The id or the e-mail address of the account.
        """
        body, key = {"account": account, "role": role}, key_or_new(idempotency_key)
        return call(Member, "POST", f"{_workspace(id)}/members", body=body, key=key)

    @operation("changeMember")
    def change_member(self, id: str, account_id: str, role: Role) -> Call[Member]:
        """Change the role of a member."""
        return call(Member, "PUT", f"{_workspace(id)}/members/{segment(account_id)}", body={"role": role})

    @operation("removeMember")
    def remove_member(self, id: str, account_id: str) -> Call[Message]:
        """Remove a member. Its tokens for the workspace end at once."""
        return call(Message, "DELETE", f"{_workspace(id)}/members/{segment(account_id)}")

    @operation("createInvitation")
    def invite(
        self,
        id: str,
        email: str,
        role: Role,
        *,
        expires_in: str | None = None,
        idempotency_key: str | None = None,
    ) -> Call[NewInvitation]:
        """Invite an e-mail address, which may have no account yet. The link is in this answer only."""
        body, key = {"email": email, "role": role, "expires_in": expires_in}, key_or_new(idempotency_key)
        return call(NewInvitation, "POST", f"{_workspace(id)}/invitations", body=body, key=key)

    @list_operation("listInvitations")
    def invitations(self, id: str) -> Listing[Invitation]:
        """List the invitations that are neither accepted nor expired, the oldest first."""
        return listing(f"{_workspace(id)}/invitations", Invitation)

    @operation("revokeInvitation")
    def revoke_invitation(self, id: str, invitation_id: str) -> Call[Message]:
        """Revoke an invitation. Its link no longer works."""
        return call(Message, "DELETE", f"{_workspace(id)}/invitations/{segment(invitation_id)}")

    @operation("lookUpInvitation")
    def look_up_invitation(self, token: str) -> Call[OpenInvitation]:
        """Return the invitation of a link, whose token follows its `#`."""
        return call(OpenInvitation, "POST", "/invitations/lookup", body={"token": token})

    @operation("acceptInvitation")
    def accept_invitation(self, token: str) -> Call[AcceptedInvitation]:
        """Become a member, with the account that has the invited address. This requires a login."""
        return call(AcceptedInvitation, "POST", "/invitations/accept", body={"token": token})

    @operation("signUp")
    def sign_up(self, token: str, *, name: str, password: str) -> Call[Account]:
        """Create the account of an invited address."""
        body = {"token": token, "name": name, "password": password}
        return call(Account, "POST", "/invitations/sign-up", body=body)

    # Tokens and secrets

    @list_operation("listWorkspaceTokens")
    def tokens(self, id: str) -> Listing[Token]:
        """List the API tokens of all members that reach the workspace."""
        return listing(f"{_workspace(id)}/tokens", Token)

    @operation("revokeWorkspaceToken")
    def revoke_token(self, id: str, token_id: str) -> Call[Message]:
        """Revoke an API token that reaches the workspace, of any member."""
        return call(Message, "DELETE", f"{_workspace(id)}/tokens/{segment(token_id)}")

    @list_operation("listWorkspaceSecrets")
    def secrets(self, id: str) -> Listing[ListedSecret]:
        """List the secrets of a workspace, without their values."""
        return listing(f"{_workspace(id)}/secrets", ListedSecret)

    @operation("createWorkspaceSecret")
    def set_secret(self, id: str, key: str, value: str, *, idempotency_key: str | None = None) -> Call[Secret]:
        """Create a secret of a workspace, or replace the value of one."""
        path, sent = f"{_workspace(id)}/secrets", key_or_new(idempotency_key)
        return call(Secret, "POST", path, body={"key": key, "value": value}, key=sent)

    @operation("deleteWorkspaceSecret")
    def delete_secret(self, id: str, key: str) -> Call[Message]:
        """Delete a secret of a workspace."""
        return call(Message, "DELETE", f"{_workspace(id)}/secrets/{segment(key)}")

    # For admins of the installation

    @list_operation("listAllWorkspaces")
    def list_all(self) -> Listing[SharedWorkspace]:
        """List all shared workspaces of the installation, without anything that they hold."""
        return listing("/admin/workspaces", SharedWorkspace)

    @operation("appointMember")
    def appoint(self, id: str, account: str, role: Role, *, idempotency_key: str | None = None) -> Call[Member]:
        """Add an account, such as the caller's own, to any workspace. This requires a login."""
        body, key = {"account": account, "role": role}, key_or_new(idempotency_key)
        return call(Member, "POST", f"/admin/workspaces/{segment(id)}/members", body=body, key=key)


def _workspace(id: str) -> str:
    return f"/workspaces/{segment(id)}"
