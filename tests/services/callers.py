"""Callers in tests of the services."""

from dataclasses import replace

from flowrunner.domain.account import ApiToken, Caller, Role, Scope, Session
from flowrunner.domain.values import AccountId, SessionId, TokenId, WorkspaceId
from flowrunner.domain.workspace import Membership, WorkspaceRole
from support.databases import NOON


def caller_of(account_id: AccountId, *, role: Role = "user", session: str = "s-1") -> Caller:
    credential = Session(SessionId(session), logged_in_at=NOON)
    return Caller(account_id=account_id, role=role, credential=credential, expires_at=NOON)


def member_caller_of(account_id: AccountId, workspace_id: WorkspaceId, role: WorkspaceRole) -> Caller:
    """Return a member of a workspace, whose request acts there."""
    joined = Membership(workspace_id, workspace_id, role)
    return replace(caller_of(account_id), memberships=(joined,), acts_in=workspace_id)


def token_caller_of(account_id: AccountId, *scopes: Scope, role: Role = "user") -> Caller:
    """Return a program that authenticates with one of the account's API tokens."""
    credential = ApiToken(TokenId("token-1"), frozenset(scopes))
    return Caller(account_id=account_id, role=role, credential=credential, expires_at=NOON)
