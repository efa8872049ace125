"""Accounts, their roles, and the rights of a caller."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from flowrunner.domain.errors import Fault, Forbidden, SecondFactorMissing, WrongSurface
from flowrunner.domain.request_keys import RequestKey
from flowrunner.domain.values import AccountId, JobId, SessionId, TokenId, WorkspaceId, personal_workspace
from flowrunner.domain.workspace import WORKSPACE_ROLES, Membership, WorkspaceRole

Role: TypeAlias = Literal["admin", "user", "viewer"]
# Scopes of an API token, chosen when it is created. No scope implies another.
Scope: TypeAlias = Literal["read", "run", "write", "members", "admin", "mcp"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "run", "write", "members", "admin", "mcp")
# The scopes that have an effect beside `mcp`.
SCOPES_AT_MCP: Final = frozenset[Scope]({"read", "run", "write"})
# A way into the program. A credential is good for one of them.
Surface: TypeAlias = Literal["rest", "mcp"]

MIN_PASSWORD_CHARACTERS: Final = 12
MAX_PASSWORD_CHARACTERS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    id: AccountId
    name: str
    email: str
    role: Role
    created_at: datetime
    updated_at: datetime
    is_disabled: bool = False
    is_email_confirmed: bool = False


class Right(StrEnum):
    """The rights that routes require, one per route."""

    # Refresh and end the login itself, manage what the account logs in with, and leave a workspace. All that a login
    # can do which lacks a second factor that is required there.
    LOGIN = "login"
    # Use the session itself: get a ticket from it, list API tokens.
    SESSION = "session"
    READ = "read"
    # Start executions, and act on running ones.
    RUN = "run"
    WRITE = "write"
    # Manage a workspace: its name, members and API tokens; read its part of the audit log.
    MEMBERS = "members"
    # Invite people. The link of an invitation is a credential.
    INVITE = "invite"
    CREATE_WORKSPACE = "create_workspace"
    DELETE_WORKSPACE = "delete_workspace"
    # Take a copy of all that a workspace holds.
    EXPORT = "export"
    # Change an account's profile, such as its name.
    ACCOUNT = "account"
    # Change an account's password, e-mail address or role.
    CREDENTIALS = "credentials"
    CREATE_ACCOUNT = "create_account"
    # Create and revoke the account's API tokens.
    TOKENS = "tokens"
    # Give an account a role in any workspace.
    APPOINT = "appoint"
    ADMIN = "admin"
    # Use the MCP server. Its tools require further rights.
    MCP = "mcp"


_OF_ADMINS: Final = frozenset({Right.ADMIN, Right.CREATE_ACCOUNT, Right.APPOINT})
_RIGHTS_OF_ROLE: Final[Mapping[Role, frozenset[Right]]] = {
    "viewer": frozenset({Right.LOGIN, Right.SESSION, Right.READ, Right.MCP}),
    "user": frozenset(Right) - _OF_ADMINS,
    "admin": frozenset(Right),
}
# The rights that a role in a workspace gives there. An account has its other rights wherever a request acts.
_RIGHTS_OF_WORKSPACE_ROLE: Final[Mapping[WorkspaceRole, frozenset[Right]]] = {
    "viewer": frozenset({Right.READ}),
    "operator": frozenset({Right.READ, Right.RUN}),
    "editor": frozenset({Right.READ, Right.RUN, Right.WRITE}),
    "admin": frozenset(
        {Right.READ, Right.RUN, Right.WRITE, Right.MEMBERS, Right.INVITE, Right.DELETE_WORKSPACE, Right.EXPORT}
    ),
}
_OF_WORKSPACES: Final = _RIGHTS_OF_WORKSPACE_ROLE["admin"]
# The scopes that an account may give a token. A token that is older than a change of role keeps its scopes, but the
# ones beyond the current role have no effect.
SCOPES_OF_ROLE: Final[Mapping[Role, frozenset[Scope]]] = {
    "viewer": frozenset({"read", "mcp"}),
    "user": frozenset({"read", "run", "write", "members", "mcp"}),
    "admin": frozenset(SCOPES),
}
# No scope grants LOGIN, SESSION, TOKENS, CREDENTIALS, CREATE_ACCOUNT, APPOINT or INVITE: a leaked token must not be
# able to create other credentials. Nor does one grant the creation, deletion or export of workspaces.
_RIGHTS_OF_SCOPE: Final[Mapping[Scope, frozenset[Right]]] = {
    "read": frozenset({Right.READ}),
    "run": frozenset({Right.RUN}),
    "write": frozenset({Right.WRITE}),
    "members": frozenset({Right.MEMBERS}),
    "admin": frozenset({Right.ACCOUNT, Right.ADMIN}),
    "mcp": frozenset({Right.MCP}),
}


@lru_cache(maxsize=512)
def rights_of(
    role: Role, scopes: frozenset[Scope] | None = None, workspace_role: WorkspaceRole = "admin"
) -> frozenset[Right]:
    """Return the rights of an account's role, restricted to the scopes of an API token and the role in a workspace.

    Args:
        scopes: Scopes of the API token; None for a session, which has all rights of the role.
        workspace_role: The account's role in the workspace that the request acts in.
    """
    rights = _RIGHTS_OF_ROLE[role] - (_OF_WORKSPACES - _RIGHTS_OF_WORKSPACE_ROLE[workspace_role])
    if scopes is None:
        return rights
    given = [_RIGHTS_OF_SCOPE[scope] for scope in scopes & SCOPES_OF_ROLE[role]]
    return rights.intersection(frozenset[Right]().union(*given))


# What a login has shown: a password alone, a second factor besides, or an account of a provider of single sign-on.
Proof: TypeAlias = Literal["password", "second_factor", "provider"]


@dataclass(frozen=True, slots=True)
class Session:
    """A session, which a login opens.

    Attributes:
        logged_in_at: The moment of the login; a refresh does not change it.
    """

    id: SessionId
    logged_in_at: datetime
    proof: Proof = "password"


@dataclass(frozen=True, slots=True)
class ApiToken:
    """An API token, with which a program authenticates.

    Attributes:
        workspace_id: The only workspace that it reaches; None for the account's personal one.
    """

    id: TokenId
    scopes: frozenset[Scope]
    workspace_id: WorkspaceId | None = None


@dataclass(frozen=True, slots=True)
class JobRun:
    """A job, which acts with the rights that its account has at that moment."""

    id: JobId


# The expiry of a token that does not expire.
NEVER: Final = datetime.max.replace(tzinfo=UTC)


# Without slots, for what each request asks of a caller: it is computed once.
@dataclass(frozen=True, kw_only=True)
class Caller:
    """The account that makes a request, its current role, the credential that it used, and where the request acts.

    Attributes:
        memberships: The workspaces of others in which the account has a role.
        acts_in: The workspace that the request acts in; None for the one that the credential implies.
        surface: The way that the request takes.
        address: The client's address.
        request: The idempotency key that the first change of the request claims.
        requires_second_factor: The installation requires a second factor with a password.
    """

    account_id: AccountId
    role: Role
    credential: Session | ApiToken | JobRun
    expires_at: datetime
    memberships: tuple[Membership, ...] = ()
    acts_in: WorkspaceId | None = None
    surface: Surface = "rest"
    address: str = ""
    request: RequestKey | None = None
    requires_second_factor: bool = False

    @property
    def lacks_second_factor(self) -> bool:
        """Return whether the login lacks a second factor that is required where the request acts."""
        return self._lacks_second_factor_in(self.acts_in)

    def _lacks_second_factor_in(self, id: WorkspaceId | None) -> bool:
        if not isinstance(self.credential, Session) or self.credential.proof != "password":
            return False
        if self.requires_second_factor or id is None:
            return self.requires_second_factor
        return any(joined.requires_second_factor for joined in self.memberships if joined.workspace_id == id)

    @cached_property
    def workspace_id(self) -> WorkspaceId:
        """The workspace that the request acts in."""
        return self.acts_in or self._implied_workspace

    @property
    def _implied_workspace(self) -> WorkspaceId:
        credential = self.credential
        if isinstance(credential, ApiToken) and credential.workspace_id is not None:
            return credential.workspace_id
        return personal_workspace(self.account_id)

    @property
    def confined_to(self) -> WorkspaceId | None:
        """Return the only workspace that the credential reaches; None for a session, which reaches all."""
        return self._implied_workspace if isinstance(self.credential, ApiToken) else None

    @property
    def job(self) -> JobId | None:
        """Return the job that makes the request; None if it is another one."""
        return self.credential.id if isinstance(self.credential, JobRun) else None

    def role_in(self, workspace_id: WorkspaceId) -> WorkspaceRole | None:
        """Return the account's role in a workspace; None if the credential does not reach it."""
        if self.confined_to not in (None, workspace_id):
            return None
        if workspace_id == personal_workspace(self.account_id):
            return "admin"
        return next((joined.role for joined in self.memberships if joined.workspace_id == workspace_id), None)

    @cached_property
    def reach(self) -> tuple[WorkspaceId, ...]:
        """The workspaces that the credential reaches, the one that it implies first."""
        if self.confined_to is not None:
            return (self.confined_to,)
        return (self._implied_workspace, *(joined.workspace_id for joined in self.memberships))

    @property
    def admitted_to(self) -> tuple[WorkspaceId, ...]:
        """Return the workspaces that the credential reaches without lacking a second factor there."""
        return tuple(id for id in self.reach if not self._lacks_second_factor_in(id))

    def acting_in(self, workspace_id: WorkspaceId) -> "Caller":
        """Return the caller of a request that acts in a workspace which the credential reaches."""
        return self if workspace_id == self.workspace_id else replace(self, acts_in=workspace_id)

    @property
    def own_surface(self) -> Surface:
        """Return the only way that the credential is good for."""
        credential = self.credential
        return "mcp" if isinstance(credential, ApiToken) and "mcp" in credential.scopes else "rest"

    @cached_property
    def rights(self) -> frozenset[Right]:
        if self.surface != self.own_surface:
            return frozenset()
        credential, role = self.credential, self.role_in(self.workspace_id)
        assert role is not None, "a request acts only where its account has a role"
        return rights_of(self.role, credential.scopes if isinstance(credential, ApiToken) else None, role)

    @property
    def is_admin(self) -> bool:
        """Return whether the request has admin rights; an admin's token without that scope has not."""
        return Right.ADMIN in self.rights


_WRONG_SURFACE: Final[Mapping[Surface, str]] = {
    "rest": "This API token has the scope 'mcp', and is good for /mcp only",
    "mcp": "The MCP server takes only API tokens with the scope 'mcp'",
}


def authorise(caller: Caller, right: Right) -> None:
    """Check that the caller has a right; all decisions on rights are made here.

    Raises: Forbidden; SecondFactorMissing, whatever the right but that of the login itself.
    """
    if right is not Right.LOGIN and caller.lacks_second_factor:
        raise SecondFactorMissing
    if right in caller.rights:
        return
    if caller.surface != caller.own_surface:
        raise WrongSurface(_WRONG_SURFACE[caller.surface])
    if right not in rights_of(caller.role):
        needed_role = "admin" if right in _OF_ADMINS else "user"
        raise Forbidden(f"The installation role of this account is '{caller.role}', and this needs '{needed_role}'")
    role = caller.role_in(caller.workspace_id)
    if role is not None and right in _OF_WORKSPACES - _RIGHTS_OF_WORKSPACE_ROLE[role]:
        needed = next(role for role in WORKSPACE_ROLES if right in _RIGHTS_OF_WORKSPACE_ROLE[role])
        raise Forbidden(f"Your role in this workspace is '{role}', and this needs '{needed}'")
    scope = next((scope for scope in SCOPES if right in _RIGHTS_OF_SCOPE[scope]), None)
    if scope is None:
        raise Forbidden("An API token cannot do this: log in with a password")
    raise Forbidden(f"This API token does not have the scope '{scope}'")


def check_scopes(caller: Caller, scopes: Collection[Scope]) -> None:
    """Raises: Forbidden for a scope that would have no effect in a token of the caller."""
    beyond = [scope for scope in SCOPES if scope in scopes and scope not in SCOPES_OF_ROLE[caller.role]]
    if beyond:
        raise Forbidden(f"Your role does not allow a token with the scope '{beyond[0]}'")


def check_needs_no_admin(*, has_new_role: bool, has_new_state: bool, confirms_email: bool) -> None:
    """Raises: Forbidden for a change of an account that only an admin makes."""
    if has_new_role:
        raise Forbidden("Only an admin can change a role")
    if has_new_state:
        raise Forbidden("Only an admin can disable an account")
    if confirms_email:
        raise Forbidden("Only an admin can confirm an address without its mailbox")


def name_faults(name: str) -> list[Fault]:
    """Return the fault of a name with nothing but spaces; empty if it is accepted."""
    return [] if name.strip() else [Fault(path="name", code="required", message="Name is required")]


def password_faults(password: str, *, email: str, name: str) -> list[Fault]:
    """Return the faults of a new password; empty if it is accepted.

    Length matters, not the mix of characters (OWASP ASVS 5.0, V6.2). A password that repeats one piece, is a run of
    characters, is well known, or is built around the account's own words is rejected.
    """

    def fault(code: str, message: str) -> list[Fault]:
        return [Fault(path="password", code=code, message=message)]

    if len(password) < MIN_PASSWORD_CHARACTERS:
        return fault("too_short", f"must have at least {MIN_PASSWORD_CHARACTERS} characters")
    if len(password) > MAX_PASSWORD_CHARACTERS:
        return fault("too_long", f"must have at most {MAX_PASSWORD_CHARACTERS} characters")
    folded = password.casefold()
    if len(set(folded)) < 4:
        return fault("too_simple", "must not repeat a few characters")
    if _is_run(folded):
        return fault("too_simple", "must not be a run of characters")
    words = (*_COMMON_WORDS, email.partition("@")[0].casefold(), name.casefold())
    rest = folded
    for word in sorted((word for word in words if len(word) >= 4), key=len, reverse=True):
        rest = rest.replace(word, "")
    if _is_little(rest) or folded in _COMMON_PASSWORDS or folded == email.casefold():
        return fault("too_common", "is too easy to guess: add more words, unrelated to each other")
    # Repeating a piece makes a password no harder to guess.
    piece = (folded + folded).index(folded, 1)
    if piece < min(MIN_PASSWORD_CHARACTERS, len(folded)):
        return fault("too_simple", "must not repeat a few characters")
    return []


def _is_little(rest: str) -> bool:
    """Return whether the text around common words is a usual addition: a year, 123456, an exclamation mark."""
    digits = "".join(filter(str.isdecimal, rest))
    if len(digits) > 1 and _is_run(digits):
        rest = rest.replace(digits, "")
    letters = sum(character.isalpha() for character in rest)
    return len(rest) < 6 and (len(rest) < 5 or letters < 4)


def _is_run(text: str) -> bool:
    """Return whether each character is as far from the one before, as in 123456 and 7777."""
    return len({ord(b) - ord(a) for a, b in pairwise(text)}) == 1


# The words that most leaked long passwords are built around.
_COMMON_WORDS: Final = (
    "password", "passwort", "qwerty", "qwertyuiop", "letmein", "welcome", "administrator",
    "admin", "iloveyou", "flowrunner", "changeme", "1234567890", "123456789", "abc123", "1q2w3e4r",
)  # fmt: skip

# The long ones of the 3,000 most leaked passwords, and keyboard patterns of the first 30,000 (frequency list of
# zxcvbn).
_COMMON_PASSWORDS: Final = frozenset({
    "010203040506", "014702580369", "102030405060", "111222333000", "111222333444555", "112233445566",
    "122333444455555", "123123qweqwe", "123321456654", "123321qweewq", "123456654321", "12345678900987654321",
    "1234567887654321", "12345678987654321", "123456789987654321", "1234567890987654321", "123456789qwe",
    "123456789qwerty", "123456qwerty", "1234567qwertyu", "1234qwerasdf", "1234qwerasdfzxcv", "123qwe456rty",
    "123qweasdzxc", "123qwerty123", "12qw34er56ty", "159753456852", "1a2s3d4f5g6h", "1q2w3e4r5t6y",
    "1qa2ws3ed4rf", "1qa2ws3ed4rf5tg", "1qaz2wsx3edc", "1qaz2wsx3edc4rfv", "1qazxsw23edc", "1qazxsw23edcvfr4",
    "4815162342lost", "a1s2d3f4g5h6", "asdfgh123456", "asdfghjkl123", "gfhjkmgfhjkm", "leavemealone",
    "lost4815162342", "mailcreated5240", "polniypizdec0211", "q1w2e3r4t5y6", "q1w2e3r4t5y6u7", "q1w2e3r4t5y6u7i8",
    "q1w2e3r4t5y6u7i8o9p0", "qawsedrftgyh", "qaz123wsx456", "qazwsxedc123", "qazwsxedcrfv", "qazwsxedcrfvtgb",
    "qazxswedc123", "qazxswedcvfr", "qwaszxerdfcv", "qweasdzxc123", "qwerasdfzxcv", "qwerty123456",
    "qwerty123456789", "qwertyasdfgh", "qwertyytrewq", "qwertasdfgzxcvb", "sojdlg123aljg", "z1x2c3v4b5n6m7",
    "zaq1xsw2cde3", "zaqwsxcderfv", "zxcasdqwe123", "zxcvbn123456", "zxcvbnm123456789",
})  # fmt: skip
