"""Entries of the workspace's store: read, list, write and delete by people, and housekeeping."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.errors import Fault, InvalidInput, invalid
from flowrunner.domain.store import (
    MAX_KEY_CHARACTERS,
    MAX_NAMESPACE_CHARACTERS,
    StoreChange,
    StoreKey,
    is_key_text,
    key_faults,
    value_faults,
)
from flowrunner.domain.values import JSON
from flowrunner.ports.clock import Clock
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import SecretReader
from flowrunner.ports.store import EntryStore, EntryView
from flowrunner.services.audit import name_in_entry
from flowrunner.services.preconditions import ANY, Precondition
from flowrunner.services.short_commits import commit_in_portions


class StoreEntries:
    """Use cases of a workspace's store."""

    def __init__(self, store: EntryStore, vault: SecretReader, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def get(self, caller: Caller, at: StoreKey) -> EntryView:
        """Raises: NotFound, InvalidInput."""
        _check_place(at)
        return await self._store.get(caller.workspace_id, at, now=self._now())

    async def page(
        self, caller: Caller, *, namespace: str | None, prefix: str, page: Page
    ) -> tuple[Sequence[EntryView], int]:
        """Return a page of entries by namespace and key, without their values, and the total. Raises: InvalidInput."""
        for name, text, most in (
            ("namespace", namespace or "", MAX_NAMESPACE_CHARACTERS),
            ("prefix", prefix, MAX_KEY_CHARACTERS),
        ):
            if not is_key_text(text, most):
                message = f"must have at most {most} characters, without control characters"
                raise InvalidInput([Fault(path=name, code="name", message=message)])
        return await self._store.page(
            caller.workspace_id, namespace=namespace, prefix=prefix, page=page, now=self._now()
        )

    async def set(
        self, caller: Caller, at: StoreKey, value: JSON, *, ttl_ms: int | None, condition: Precondition = ANY
    ) -> tuple[EntryView, bool]:
        """Write or replace an entry; return it and whether it is new.

        Raises: NotFound, InvalidInput, PreconditionFailed, LimitReached.
        """
        redactor = await self._vault.redactor(caller.workspace_id)
        if redactor.redact([at.namespace, at.key]) != [at.namespace, at.key]:
            raise invalid("key", "must not contain a secret", hint="write a hash of it")
        # Without secrets, as values of steps are; a long one is not searched.
        if not value_faults(len(encoded := msgspec.json.encode(value))):
            encoded = msgspec.json.encode(await redactor.redact_soon(value))
        if faults := [*key_faults(at), *value_faults(len(encoded))]:
            raise InvalidInput(faults)
        now, shown = self._now(), await self._shown(caller, at)

        def audit(saved: tuple[EntryView, bool]) -> AuditEntry:
            return act(caller, "store.created" if saved[1] else "store.replaced", "store", shown, at=now)

        change = StoreChange(operation="set", at=at, value=encoded.decode(), ttl_ms=ttl_ms)
        return await self._store.save(
            caller.workspace_id, change, now=now, check=lambda before: _check(condition, before), audit=audit
        )

    async def delete(self, caller: Caller, at: StoreKey, *, condition: Precondition = ANY) -> None:
        """Raises: NotFound, InvalidInput, PreconditionFailed."""
        _check_place(at)
        now = self._now()
        entry = act(caller, "store.deleted", "store", await self._shown(caller, at), at=now)
        await self._store.delete(
            caller.workspace_id, at, now=now, check=lambda before: _check(condition, before), audit=entry
        )

    async def purge(self) -> None:
        """Delete expired entries, those of deleted workspaces, and the kept results of steps of ended executions."""
        await commit_in_portions(lambda: self._store.purge(now=self._now()))

    async def _shown(self, caller: Caller, at: StoreKey) -> str:
        return await name_in_entry(self._vault, caller.workspace_id, f"{at.namespace}/{at.key}")

    def _now(self) -> datetime:
        return self._clock.now()


def _check_place(at: StoreKey) -> None:
    if faults := key_faults(at):
        raise InvalidInput(faults)


def _check(condition: Precondition, before: EntryView | None) -> None:
    condition.check(None if before is None else before.state, "entry")
