"""Who calls, in tests of the use cases."""

from flowrunner.domain.account import Caller, Role
from flowrunner.domain.values import AccountId, SessionId
from support.databases import NOON


def caller_of(account_id: AccountId, *, role: Role = "user", session: str = "s-1") -> Caller:
    return Caller(account_id=account_id, role=role, session_id=SessionId(session), expires_at=NOON)
