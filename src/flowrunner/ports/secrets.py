"""Secrets, the keys they are sealed with, and what hides them."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol, TypeAlias

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page

# Longer texts are searched for secrets on a thread.
LONG_BYTES: Final = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretView:
    key: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A secret at rest: its value encrypted under version ``key_version`` of the account's data key."""

    key: str
    key_version: int
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A data key encrypted under the master key whose id is ``master_key_id``."""

    version: int
    master_key_id: str
    wrapped: bytes


# Seals a secret under the account's newest data key, or under a first one that it makes.
Seal: TypeAlias = Callable[[WrappedKey | None], tuple[SealedSecret, WrappedKey]]
# Makes the next data key, and seals under it what can be opened of the account's secrets.
Reseal: TypeAlias = Callable[
    [Sequence[tuple[SealedSecret, WrappedKey | None]]], tuple[WrappedKey, Sequence[SealedSecret]]
]


class SecretStore(Protocol):
    """Whatever it is given to call is called within a transaction, on another thread."""

    async def save(
        self, workspace_id: WorkspaceId, seal: Seal, *, at: datetime, most: int | None = None, audit: Audit = None
    ) -> tuple[SecretView, bool]:
        """Write or replace; the flag says whether it is new.

        Raises: NotFound for no such account; LimitReached if it is new, and there are ``most`` already.
        """
        ...

    async def delete(self, workspace_id: WorkspaceId, key: str, *, audit: Audit = None) -> None:
        """Raises: NotFound."""
        ...

    async def list(self, workspace_id: WorkspaceId) -> Sequence[SecretView]: ...

    async def sealed(self, workspace_id: WorkspaceId) -> Sequence[tuple[SealedSecret, WrappedKey | None]]:
        """Every secret with its data key, as they are at one moment; no data key for one that is damaged."""
        ...

    async def open_since(self, workspace_id: WorkspaceId) -> datetime | None:
        """When the first of the account's open executions began; None if there is none."""
        ...

    async def master_key_ids(self) -> Set[str]:
        """The master keys without which some data key cannot be opened."""
        ...

    async def rewrap(
        self,
        after: tuple[WorkspaceId, int] | None,
        rewrap: Callable[[WorkspaceId, WrappedKey], WrappedKey],
        *,
        limit: int,
    ) -> tuple[WorkspaceId, int] | None:
        """Put what ``rewrap`` makes in the place of some data keys, in their order; the last, or None at the end."""
        ...

    async def reseal_next(self, rotation: int, reseal: Callable[[WorkspaceId, int], Reseal]) -> WorkspaceId | None:
        """Give a new data key to one account that has none since the rotation; None if there is no such account.

        Args:
            reseal: Is told the account and the version of its new key.
        """
        ...


KeyKind: TypeAlias = Literal["master", "data", "signing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotation:
    """Keys of one kind are replaced; over when nothing needs the earlier ones any more.

    Attributes:
        replaces: The key that a file held when it was asked for; None for data keys.
        replaced_by: The key that takes its place; None until that is made.
        switched_at: Since when every process is to use it; each has it by then.
        needed_until: Until when tokens may come that were signed with it; None if nobody knows yet.
    """

    id: int
    kind: KeyKind
    replaces: str | None
    replaced_by: str | None
    switched_at: datetime | None
    requested_at: datetime
    needed_until: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class HeldKeys:
    """The key of a kind that a process uses, and the one that it has ready; ids, or how they begin."""

    present: str
    next: str | None = None

    def uses(self, id: str) -> bool:
        return id.startswith(self.present)

    def has(self, id: str) -> bool:
        return self.uses(id) or (self.next is not None and id.startswith(self.next))


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A process, as far as keys in files are concerned."""

    master: HeldKeys
    signing: HeldKeys


class KeyRotationStore(Protocol):
    async def request(
        self, kind: KeyKind, *, replaces: str | None, at: datetime, audit: Audit = None
    ) -> tuple[KeyRotation, bool]:
        """A new rotation, or the one that has been asked for and has not ended; the flag says whether it is new."""
        ...

    async def keep_until(self, id: int, at: datetime) -> datetime:
        """Note that the earlier key is needed until then, and as long as tokens last that are out now."""
        ...

    async def replace_by(self, id: int, key_id: str) -> str:
        """Say which key takes the place of the earlier one; gives the one that was said first."""
        ...

    async def switch(self, id: int, *, at: datetime) -> None:
        """Have every process use the new key."""
        ...

    async def replacements(self) -> Sequence[KeyRotation]:
        """Rotations of keys in files for which there is a new key, in the order in which they were asked for."""
        ...

    async def holders(self) -> Sequence[KeyHolder]:
        """The processes that have said which keys they have, and live."""
        ...

    async def complete(self, id: int, *, at: datetime, audit: AuditEntry) -> None:
        """The entry is written by whoever is first."""
        ...

    async def under_way(self) -> Sequence[KeyRotation]:
        """In the order in which they were asked for."""
        ...

    async def page(self, page: Page) -> tuple[Sequence[KeyRotation], int]:
        """The newest first, with the total."""
        ...


class KeyRotator(Protocol):
    """Replaces keys, step by step; each step can be the last of a process.

    Attributes:
        is_waiting: Others do not have a key yet, or do not use it; they are looked at every few seconds.
    """

    @property
    def is_waiting(self) -> bool: ...

    def present(self, kind: KeyKind) -> str | None:
        """The id of the key that is in use; None for data keys."""
        ...

    async def advance(self, rotation: KeyRotation) -> bool:
        """Do what can be done at this time; whether the rotation is over."""
        ...

    async def follow(self) -> None:
        """Learn keys that have come into the directory, use the ones that are to be used, and forget what is over."""
        ...


class Redactor(Protocol):
    """Hides the values of an account's secrets.

    Attributes:
        turn: Held while a long text is searched on a thread.
    """

    lock: asyncio.Lock

    def redact(self, value: JSON) -> JSON:
        """The value with `***` for every secret, at any depth, in keys too. Raises: RedactionLimit."""
        ...

    async def redact_soon(self, value: JSON) -> JSON:
        """As `redact`, without holding up others while a long value is searched. The texts of an account take turns."""
        ...

    def found_in(self, encoded: bytes) -> bool:
        """Whether a JSON text may hold a secret; False is certain. Raises: RedactionLimit."""
        ...


class Vault(Protocol):
    async def set(
        self,
        workspace_id: WorkspaceId,
        key: str,
        value: str,
        *,
        at: datetime,
        most: int | None = None,
        audit: Audit = None,
    ) -> tuple[SecretView, bool]:
        """As `SecretStore.save`; the value is hidden by the time it can be read."""
        ...

    async def delete(self, workspace_id: WorkspaceId, key: str, *, audit: Audit = None) -> None:
        """As `SecretStore.delete`."""
        ...

    async def redactor(self, workspace_id: WorkspaceId) -> Redactor:
        """Hides the values of the account's secrets, and replaced ones that an open execution may show."""
        ...

    async def reveal(self, workspace_id: WorkspaceId, names: Collection[str]) -> Mapping[str, str]:
        """The values of the named secrets that exist. Raises: WrongKey if one cannot be opened."""
        ...

    def forget(self, workspace_id: WorkspaceId) -> None: ...
