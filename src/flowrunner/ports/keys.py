"""Replacement of keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from flowrunner.domain.audit import AuditEntry
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page

KeyKind: TypeAlias = Literal["master", "data", "signing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotation:
    """A replacement of all keys of one kind, complete when nothing needs the old ones.

    Attributes:
        replaces: The key in the file when the rotation was requested; None for data keys.
        replaced_by: The new key; None until it is created.
        switched_at: The moment from which every process uses the new key; each process has loaded it by then.
        needed_until: The moment until which tokens signed with the old key are valid; None if not yet known.
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
    """The key of one kind that a process uses, and the next one if it is loaded: ids, or prefixes of ids."""

    present: str
    next: str | None = None

    def uses(self, id: str) -> bool:
        return id.startswith(self.present)

    def has(self, id: str) -> bool:
        return self.uses(id) or (self.next is not None and id.startswith(self.next))


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The file-based keys that a process holds."""

    master: HeldKeys
    signing: HeldKeys


class KeyRotationStore(Protocol):
    async def request(
        self, kind: KeyKind, *, replaces: str | None, at: datetime, audit: Audit = None
    ) -> tuple[KeyRotation, bool]:
        """Return a new rotation, or the one of this kind that is still open, and whether it is new."""
        ...

    async def keep_until(self, id: int, at: datetime) -> datetime:
        """Record that the old key is needed until then, or until the last token, or link in an e-mail, has expired.

        Return the latest of these times.
        """
        ...

    async def replace_by(self, id: int, key_id: str) -> str:
        """Record the new key, unless one is recorded already; return the recorded one."""
        ...

    async def switch(self, id: int, *, at: datetime) -> None:
        """Record that every process uses the new key from now on."""
        ...

    async def replacements(self) -> Sequence[KeyRotation]:
        """Return the rotations of file-based keys that have a new key, in the order of their requests."""
        ...

    async def holders(self) -> Sequence[KeyHolder]:
        """Return the live processes that have reported their keys."""
        ...

    async def complete(self, id: int, *, at: datetime, audit: AuditEntry) -> None:
        """Mark a rotation as complete; only the first call writes the audit entry."""
        ...

    async def under_way(self) -> Sequence[KeyRotation]:
        """Return the open rotations, in the order of their requests."""
        ...

    async def page(self, page: Page) -> tuple[Sequence[KeyRotation], int]:
        """Return a page of rotations, the newest first, and the total."""
        ...


class KeyRotator(Protocol):
    """The replacement of keys in steps, which survives a crash after any of them.

    Attributes:
        is_waiting: Other processes have not loaded a key yet, or do not use it yet; check again in a few seconds.
    """

    @property
    def is_waiting(self) -> bool: ...

    def present(self, kind: KeyKind) -> str | None:
        """Return the id of the key in use; None for data keys."""
        ...

    async def advance(self, rotation: KeyRotation) -> bool:
        """Advance a rotation as far as possible; return whether it is complete."""
        ...

    async def follow(self) -> None:
        """Load new keys from the directory, switch to the ones due, and drop the ones no longer needed."""
        ...
