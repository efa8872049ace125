"""Callers in tests of the services."""

from flowrunner.domain.account import ApiToken, Caller, Role, Scope, Session
from flowrunner.domain.values import AccountId, SessionId, TokenId
from support.databases import NOON


def caller_of(account_id: AccountId, *, role: Role = "user", session: str = "s-1") -> Caller:
    credential = Session(SessionId(session), logged_in_at=NOON)
    return Caller(account_id=account_id, role=role, credential=credential, expires_at=NOON)


def token_caller_of(account_id: AccountId, *scopes: Scope, role: Role = "user") -> Caller:
    """Return a program that authenticates with one of the account's API tokens."""
    credential = ApiToken(TokenId("token-1"), frozenset(scopes))
    return Caller(account_id=account_id, role=role, credential=credential, expires_at=NOON)
