"""Secrets, the data keys that encrypt them, and the redactor that hides their values."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeAlias

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.flows import FlowName
from flowrunner.ports.page import Page

# A longer text is searched for secrets on a thread.
LONG_BYTES: Final = 32 * 1024


class WrongKey(FlowRunnerError):
    """Sealed data cannot be decrypted: the key is wrong, or the data was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretView:
    """A secret without its value.

    Attributes:
        last_used_at: When an execution last read it, up to a few minutes late; None if none has.
        used_by: Flows whose current revision names it. Only in a page.
    """

    key: str
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None = None
    used_by: Sequence[FlowName] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A secret at rest: its value encrypted under version ``key_version`` of the workspace's data key."""

    key: str
    key_version: int
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A data key encrypted under the master key whose id is ``master_key_id``."""

    version: int
    master_key_id: str
    wrapped: bytes


# Seals a secret under the workspace's newest data key, or under a first one that it makes.
Seal: TypeAlias = Callable[[WrappedKey | None], tuple[SealedSecret, WrappedKey]]
# Makes the next data key, and seals the workspace's values under it, in their order; a value that cannot be opened
# becomes None.
Reseal: TypeAlias = Callable[
    [Sequence[tuple[SealedSecret, WrappedKey | None]]], tuple[WrappedKey, Sequence[SealedSecret | None]]
]


class SecretStore(Protocol):
    """Encrypted secrets and their keys. Callbacks are called within the transaction, on another thread."""

    async def save(
        self,
        workspace_id: WorkspaceId,
        seal: Seal,
        *,
        at: datetime,
        most: int | None = None,
        must_be_new: bool = False,
        audit: Audit = None,
    ) -> tuple[SecretView, bool]:
        """Write or replace a secret; return it and whether it is new.

        Raises: NotFound if the workspace does not exist; SecretExists if it exists and ``must_be_new``;
            LimitReached if the secret is new and there are ``most``.
        """
        ...

    async def delete(self, workspace_id: WorkspaceId, key: str, *, audit: Audit = None) -> None:
        """Raises: NotFound."""
        ...

    async def list(self, workspace_id: WorkspaceId) -> Sequence[SecretView]: ...

    async def page(self, workspace_id: WorkspaceId, *, page: Page) -> tuple[Sequence[SecretView], int]:
        """Return a page of secrets by name, with the flows that use each, and the total."""
        ...

    async def note_uses(self, uses: Mapping[tuple[WorkspaceId, str], datetime]) -> None:
        """Record when secrets were last used."""
        ...

    async def sealed(
        self, workspace_id: WorkspaceId, names: Collection[str] | None = None
    ) -> Sequence[tuple[SealedSecret, WrappedKey | None]]:
        """Return a consistent snapshot of secrets with their data keys; None for a missing data key.

        Args:
            names: Names of the secrets; None for all.
        """
        ...

    async def open_since(self, workspace_id: WorkspaceId) -> datetime | None:
        """Return the start of the workspace's oldest open execution; None if there is none."""
        ...

    async def master_key_ids(self) -> Set[str]:
        """Return the ids of the master keys that encrypt the data keys."""
        ...

    async def rewrap(
        self,
        after: tuple[WorkspaceId, int] | None,
        rewrap: Callable[[WorkspaceId, WrappedKey], WrappedKey],
        *,
        limit: int,
    ) -> tuple[WorkspaceId, int] | None:
        """Replace the next ``limit`` data keys with the results of ``rewrap``; return the last one, or None at the end.

        Args:
            after: The data key to continue after; None for the first ones.
        """
        ...

    async def reseal_next(self, rotation: int, reseal: Callable[[WorkspaceId, int], Reseal]) -> WorkspaceId | None:
        """Give a new data key to a workspace that has had none since the rotation; return it, or None if there is none.

        Args:
            reseal: Called with the workspace and the version of its new key.
        """
        ...


class Redactor(Protocol):
    """Replacement of a workspace's secret values in texts and JSON.

    Attributes:
        lock: Held while a long text is searched on a thread.
    """

    lock: asyncio.Lock

    def redact(self, value: JSON) -> JSON:
        """Return the value with `***` for every secret, at any depth, keys included. Raises: RedactionLimit."""
        ...

    async def redact_soon(self, value: JSON) -> JSON:
        """Redact as `redact` does, but search a long value on a thread, one at a time per workspace."""
        ...

    def found_in(self, encoded: bytes) -> bool:
        """Return whether a JSON text may contain a secret; False is certain. Raises: RedactionLimit."""
        ...


class SecretReader(Protocol):
    """The secrets of workspaces, as executions use them."""

    async def redactor(self, workspace_id: WorkspaceId) -> Redactor:
        """Return the redactor of the workspace's secrets, replaced values that an open execution may show included."""
        ...

    async def reveal(self, workspace_id: WorkspaceId, names: Collection[str]) -> Mapping[str, str]:
        """Return the values of the named secrets that exist. Raises: WrongKey if one cannot be decrypted."""
        ...


class Vault(SecretReader, Protocol):
    async def set(
        self,
        workspace_id: WorkspaceId,
        key: str,
        value: str,
        *,
        at: datetime,
        most: int | None = None,
        must_be_new: bool = False,
        audit: Audit = None,
    ) -> tuple[SecretView, bool]:
        """Save a secret as `SecretStore.save` does; the redactor knows the value before it can be read."""
        ...

    async def delete(self, workspace_id: WorkspaceId, key: str, *, audit: Audit = None) -> None:
        """Delete a secret as `SecretStore.delete` does."""
        ...

    def forget(self, workspace_id: WorkspaceId) -> None: ...


class ValueSealer(Protocol):
    """Encryption of values other than the secrets of flows, under the data keys of their workspaces."""

    def sealer(self, workspace_id: WorkspaceId, key: str, value: str) -> Seal:
        """Return the function that seals a value for another store. The key must differ from the name of any secret."""
        ...

    def open(self, workspace_id: WorkspaceId, secret: SealedSecret, data_key: WrappedKey | None) -> str:
        """Return a sealed value. Raises: WrongKey."""
        ...
