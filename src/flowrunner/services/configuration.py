"""Configuration values of a workspace: write, read, list and delete."""

from collections.abc import Sequence

import msgspec

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.config import config_faults
from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.values import JSON
from flowrunner.ports.clock import Clock
from flowrunner.ports.config import ConfigStore, ConfigView
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import SecretReader
from flowrunner.services.audit import name_in_entry
from flowrunner.services.preconditions import ANY, Precondition


class Configuration:
    def __init__(self, store: ConfigStore, vault: SecretReader, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def set(
        self, caller: Caller, name: str, value: JSON, *, condition: Precondition = ANY
    ) -> tuple[ConfigView, bool]:
        """Write or replace a value; return it and whether it is new.

        Raises: NotFound, InvalidInput, PreconditionFailed, LimitReached.
        """
        faults = config_faults(name, value, characters=len(msgspec.json.encode(value).decode()))
        if faults:
            raise InvalidInput(faults)
        now, shown = self._clock.now(), await name_in_entry(self._vault, caller.workspace_id, name)

        def audit(saved: tuple[ConfigView, bool]) -> AuditEntry:
            return act(caller, "config.created" if saved[1] else "config.replaced", "config", shown, at=now)

        def check(before: ConfigView | None) -> None:
            _check(condition, before)

        return await self._store.save(caller.workspace_id, name, value, at=now, check=check, audit=audit)

    async def get(self, caller: Caller, name: str) -> ConfigView:
        """Raises: NotFound."""
        return await self._store.get(caller.workspace_id, name)

    async def page(self, caller: Caller, *, page: Page) -> tuple[Sequence[ConfigView], int]:
        """Return a page of values by name, with the flows that use each, and the total."""
        return await self._store.page(caller.workspace_id, page=page)

    async def delete(self, caller: Caller, name: str, *, condition: Precondition = ANY) -> None:
        """Raises: NotFound, PreconditionFailed."""
        shown = await name_in_entry(self._vault, caller.workspace_id, name)
        entry = act(caller, "config.deleted", "config", shown, at=self._clock.now())
        await self._store.delete(caller.workspace_id, name, check=lambda before: _check(condition, before), audit=entry)


def _check(condition: Precondition, before: ConfigView | None) -> None:
    condition.check(None if before is None else before.state, "configuration value")
