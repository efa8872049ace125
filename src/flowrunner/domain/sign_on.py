"""Providers of single sign-on (OpenID Connect), and what their groups mean here."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from flowrunner.domain.account import Role
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.workspace import WORKSPACE_ROLES, WorkspaceRole

# Why a login by a provider has failed; the login page has a sentence for each.
SignOnFault: TypeAlias = Literal[
    "expired",
    "refused",
    "invalid",
    "unavailable",
    "no_account",
    "no_email",
    "email_taken",
    "disabled",
    "taken",
    "too_many_links",
    "too_many_failures",
    "not_ready",
]

_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_MOST_PROVIDERS: Final = 20
_KEYS: Final = frozenset({
    "name", "issuer", "client_id", "client_secret", "scopes", "groups_claim", "create_accounts", "role", "groups",
})  # fmt: skip
# Over TLS, or on this machine; without a user, a query and a fragment.
_ISSUER: Final = re.compile(
    r"(?:https://[^\s/?#@\\]+|http://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?)(?:/[^\s?#@\\]*)?"
)
# A path of this server, which no browser takes for another host: `//host`, `/\host`, and what URL parsers remove.
_PATH: Final = re.compile(r"/(?:[^/\\\x00-\x20\x7f][^\\\x00-\x20\x7f]*)?")
_MOST_PATH_CHARACTERS: Final = 2_000


class SignOnFailed(FlowRunnerError):
    """A login by a provider has failed.

    Args:
        fault: What the person is told; the message is for the operator.

    Attributes:
        next: Where the browser goes that was linking an account, which is logged in; None: to the login page.
    """

    def __init__(self, fault: SignOnFault, message: str) -> None:
        super().__init__(message)
        self.fault: SignOnFault = fault
        self.next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRole:
    """The role that the members of a provider's group have in a workspace, which is named by its id or slug."""

    group: str
    workspace: str
    role: WorkspaceRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider of single sign-on.

    Attributes:
        id: Its name in addresses.
        name: Its name on the login page.
        creates_accounts: The first login of somebody unknown creates an account, with this role.
        groups: The roles of groups. What the provider says about a workspace that is named here counts.
    """

    id: str
    name: str
    issuer: str
    client_id: str
    client_secret: str | None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    groups_claim: str = "groups"
    creates_accounts: bool = False
    role: Role = "user"
    groups: tuple[GroupRole, ...] = ()

    def __repr__(self) -> str:
        return f"Provider({self.id!r})"

    def decides_about(self, *names: str) -> bool:
        """Return whether its groups have the roles in a workspace with one of these names: its id and its slug."""
        return any(mapping.workspace in names for mapping in self.groups)

    def roles_of(self, groups: Collection[str]) -> Mapping[str, WorkspaceRole | None]:
        """Return the highest role in each workspace that the provider decides about; None for no role."""
        roles: dict[str, WorkspaceRole | None] = {}
        for mapping in self.groups:
            before = roles.setdefault(mapping.workspace, None)
            if mapping.group in groups and (before is None or _rank(mapping.role) > _rank(before)):
                roles[mapping.workspace] = mapping.role
        return roles


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAccount:
    """An account as its provider has confirmed it.

    Attributes:
        email: None unless the provider has verified it.
        groups: None if the provider did not say, as opposed to none.
    """

    issuer: str
    subject: str
    email: str | None = None
    name: str | None = None
    groups: frozenset[str] | None = None


def _rank(role: WorkspaceRole) -> int:
    return WORKSPACE_ROLES.index(role)


def own_path(text: str | None) -> str:
    """Return where a browser goes after a login: a path of this server, or else `/`."""
    if text is None or len(text) > _MOST_PATH_CHARACTERS or not text.isascii() or not _PATH.fullmatch(text):
        return "/"
    # The API answers no person, and a login that ends with another one would not end.
    return "/" if text.startswith(("/api/", "/hooks/", "/sign-on/")) else text


def providers_of(document: Mapping[str, Any]) -> tuple[Provider, ...]:
    """Return the providers that a document describes. Raises: ValueError without any value, which may be a secret."""
    if len(document) > _MOST_PROVIDERS:
        raise ValueError(f"has more than {_MOST_PROVIDERS} providers")
    found = tuple(_provider(id, value) for id, value in document.items())
    if len({provider.issuer for provider in found}) != len(found):
        raise ValueError("has two providers with one issuer: their accounts could not be told apart")
    return found


def _provider(id: str, value: Any) -> Provider:
    if not _ID.fullmatch(id):
        raise ValueError("has a provider whose name is not made of a-z, 0-9 and '-'")
    if not isinstance(value, Mapping):
        raise ValueError(f"'{id}' must be a table, such as [{id}]")
    if unknown := sorted(value.keys() - _KEYS):
        raise ValueError(f"'{id}' has the unknown key '{unknown[0][:40]}'; known keys: {', '.join(sorted(_KEYS))}")
    texts = {key: value.get(key) for key in ("issuer", "client_id")}
    for key, text in texts.items():
        if not isinstance(text, str) or not text:
            raise ValueError(f"'{id}' needs '{key}'")
    secret, scopes = value.get("client_secret"), value.get("scopes", ["openid", "profile", "email"])
    if not (secret is None or (isinstance(secret, str) and secret)):
        raise ValueError(f"'client_secret' of '{id}' must be a text")
    if not _is_texts(scopes) or "openid" not in scopes:
        raise ValueError(f"'scopes' of '{id}' must be a list that has 'openid'")
    role, creates = value.get("role", "user"), value.get("create_accounts", False)
    if role not in ("user", "viewer") or not isinstance(creates, bool):
        raise ValueError(f"'role' of '{id}' must be user or viewer, and 'create_accounts' true or false")
    names = {key: value.get(key, default) for key, default in (("name", id), ("groups_claim", "groups"))}
    if not _is_texts(list(names.values())):
        raise ValueError(f"'name' and 'groups_claim' of '{id}' must be texts")
    return Provider(
        id=id,
        name=str(names["name"])[:100],
        issuer=_issuer(id, str(texts["issuer"])),
        client_id=str(texts["client_id"]),
        client_secret=secret,
        scopes=tuple(scopes),
        groups_claim=str(names["groups_claim"]),
        creates_accounts=creates,
        role=role,
        groups=_groups(id, value.get("groups", [])),
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and text for text in value)


def _issuer(id: str, text: str) -> str:
    if not _ISSUER.fullmatch(text):
        raise ValueError(f"'issuer' of '{id}' must be an address such as https://login.example.com, without a query")
    return text


def _groups(id: str, value: Any) -> tuple[GroupRole, ...]:
    if not isinstance(value, list):
        raise ValueError(f"'groups' of '{id}' must be tables, such as [[{id}.groups]]")
    found = []
    for entry in value:
        if not isinstance(entry, Mapping) or entry.keys() != {"group", "workspace", "role"}:
            raise ValueError(f"each of 'groups' of '{id}' has exactly group, workspace and role")
        if not _is_texts([entry["group"], entry["workspace"]]) or entry["role"] not in WORKSPACE_ROLES:
            raise ValueError(f"'groups' of '{id}' need texts, and a role of {', '.join(WORKSPACE_ROLES)}")
        found.append(GroupRole(group=entry["group"], workspace=entry["workspace"], role=entry["role"]))
    return tuple(found)
