"""Workspaces: what a team shares, and the roles of its members."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from flowrunner.domain.errors import Fault
from flowrunner.domain.values import AccountId, WorkspaceId

# From the fewest rights to the most; each includes those of the roles before it.
WorkspaceRole: TypeAlias = Literal["viewer", "operator", "editor", "admin"]
WORKSPACE_ROLES: Final[tuple[WorkspaceRole, ...]] = ("viewer", "operator", "editor", "admin")

# What becomes of a personal workspace when its account is deleted: it is deleted too, or another account becomes an
# admin of it, or those of its members who are admins keep it.
OfDeletedAccount: TypeAlias = Literal["delete", "give", "keep"]

MAX_NAME_CHARACTERS: Final = 200
MAX_SLUG_CHARACTERS: Final = 63
# The id of a workspace is not a slug, so that one cannot be taken for the other.
_SLUG: Final = re.compile(r"(?!(?:account|workspace)-[0-9a-z]{36}$)[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]")
_NO_SLUG_CHARACTER: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A workspace as one of its members sees it.

    Attributes:
        slug: A name for URLs and headers, unique in the installation; the id for a personal workspace.
        role: The member's role.
        requires_second_factor: A member's login with a password needs a second factor there.
    """

    id: WorkspaceId
    name: str
    slug: str
    role: WorkspaceRole
    created_at: datetime
    requires_second_factor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedWorkspace:
    """A workspace as an admin of the installation sees it: nothing of what it holds.

    Attributes:
        members: The number of its members.
        admins: The number of those who can manage it.
    """

    id: WorkspaceId
    name: str
    slug: str
    created_at: datetime
    members: int
    admins: int


@dataclass(frozen=True, slots=True)
class Membership:
    """A workspace that an account is a member of, its personal one excepted.

    Attributes:
        slug: As of `Workspace`.
        requires_second_factor: A login with a password needs a second factor there.
    """

    workspace_id: WorkspaceId
    slug: str
    role: WorkspaceRole
    requires_second_factor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An account in a workspace.

    Attributes:
        is_owner: The workspace is the account's personal one.
        added_at: When it became a member; for an owner, when the workspace was created.
        role_from: Name of the provider whose groups decide the role at each login; None if none does. Only in lists.
    """

    account_id: AccountId
    name: str
    email: str
    role: WorkspaceRole
    added_at: datetime
    is_owner: bool = False
    is_email_confirmed: bool = False
    role_from: str | None = None


def includes(role: WorkspaceRole, other: WorkspaceRole) -> bool:
    """Return whether a role has all the rights of another."""
    return WORKSPACE_ROLES.index(role) >= WORKSPACE_ROLES.index(other)


def slug_of(name: str) -> str:
    """Return the slug that a name suggests; it may be too short for one."""
    return _NO_SLUG_CHARACTER.sub("-", name.lower()).strip("-")[:MAX_SLUG_CHARACTERS].rstrip("-")


def workspace_faults(*, name: str | None, slug: str | None) -> list[Fault]:
    """Return the faults of a workspace's new name and slug, of those that are given."""
    faults = []
    if name is not None and (not name.strip() or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS):
        message = f"must have 1 to {MAX_NAME_CHARACTERS} printable characters"
        faults.append(Fault(path="name", code="name", message=message))
    if slug is not None and not _SLUG.fullmatch(slug):
        message = (
            f"must have 3 to {MAX_SLUG_CHARACTERS} lower-case letters, digits and single hyphens between them, "
            "and not the form of an id"
        )
        faults.append(Fault(path="slug", code="slug", message=message))
    return faults
