"""The configuration values of workspaces, which the expressions of their flows read."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Protocol

import msgspec

from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.flows import FlowName
from flowrunner.ports.page import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigView:
    """A configuration value.

    Attributes:
        edition: Number of changes, the creation included.
        used_by: Flows whose current revision names it. Only in a page.
    """

    name: str
    value: JSON
    created_at: datetime
    updated_at: datetime
    edition: int = 1
    used_by: Sequence[FlowName] = ()

    @property
    def state(self) -> str:
        """Return a text that differs after every change, for preconditions such as `If-Match`."""
        # One that is deleted and created again within a millisecond has the same time and edition.
        value = blake2b(msgspec.json.encode(self.value), digest_size=6).hexdigest()
        return f"{round(self.created_at.timestamp() * 1000)}.{self.edition}.{value}"


# Called within the transaction, on another thread, with the stored value or None. An exception changes nothing.
Check = Callable[[ConfigView | None], None]


class ConfigReader(Protocol):
    async def values(self, workspace_id: WorkspaceId, names: Collection[str]) -> Mapping[str, JSON]:
        """Return the values with these names that exist. Without names nothing is read."""
        ...


class ConfigStore(ConfigReader, Protocol):
    async def save(
        self, workspace_id: WorkspaceId, name: str, value: JSON, *, at: datetime, check: Check, audit: Audit = None
    ) -> tuple[ConfigView, bool]:
        """Write or replace a value; return it and whether it is new.

        Raises: NotFound if the workspace does not exist; LimitReached if there would be more than `MAX_VALUES`, or more
            than `MAX_CHARACTERS` together.
        """
        ...

    async def delete(self, workspace_id: WorkspaceId, name: str, *, check: Check, audit: Audit = None) -> None:
        """Raises: NotFound."""
        ...

    async def get(self, workspace_id: WorkspaceId, name: str) -> ConfigView:
        """Raises: NotFound."""
        ...

    async def page(self, workspace_id: WorkspaceId, *, page: Page) -> tuple[Sequence[ConfigView], int]:
        """Return a page of values by name, with the flows that use each, and the total."""
        ...

    async def names(self, workspace_id: WorkspaceId) -> Collection[str]: ...
