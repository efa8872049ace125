"""Secrets: write, list by name and delete. No use case returns a value."""

import re
from collections.abc import Sequence
from typing import Final

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.errors import Fault, InvalidInput
from flowrunner.domain.limits import check_count
from flowrunner.ports.clock import Clock
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import SecretStore, SecretView, Vault
from flowrunner.services.audit import name_in_entry

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# A shorter value would also be found and hidden in unrelated text.
MIN_VALUE_CHARACTERS: Final = 8
MAX_VALUE_BYTES: Final = 8 * 1024
MAX_SECRETS: Final = 200


class Secrets:
    def __init__(self, store: SecretStore, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def set(self, caller: Caller, key: str, value: str, *, must_be_new: bool = False) -> tuple[SecretView, bool]:
        """Write or replace a secret; return it and whether it is new.

        Raises: NotFound, InvalidInput, Conflict; SecretExists if it exists and ``must_be_new``.
        """
        workspace_id, faults = caller.workspace_id, []
        if not _KEY.fullmatch(key):
            message = "must be 1 to 128 letters, digits and underscores, and not start with a digit"
            faults.append(Fault(path="key", code="key", message=message))
        if len(value) < MIN_VALUE_CHARACTERS:
            message = f"must have at least {MIN_VALUE_CHARACTERS} characters, so that it can be hidden in logs"
            faults.append(Fault(path="value", code="too_short", message=message))
        if len(value.encode("utf-8", "surrogatepass")) > MAX_VALUE_BYTES:
            faults.append(Fault(path="value", code="too_long", message=f"must have at most {MAX_VALUE_BYTES} bytes"))
        if faults:
            raise InvalidInput(faults)
        # The store checks the count too; this check keeps a rejected value out of the redactor.
        keys = {secret.key for secret in await self._store.list(workspace_id)} - {key}
        check_count("secrets", len(keys), MAX_SECRETS, limit="secrets")
        now = self._clock.now()

        def audit(saved: tuple[SecretView, bool]) -> AuditEntry:
            _, is_new = saved
            # The redactor knows the value by now, and hides it if the caller used it as the name too.
            shown = str(redactor.redact(key))
            return act(caller, "secret.created" if is_new else "secret.replaced", "secret", shown, at=now)

        redactor = await self._vault.redactor(workspace_id)
        return await self._vault.set(
            workspace_id, key, value, at=now, most=MAX_SECRETS, must_be_new=must_be_new, audit=audit
        )

    async def page(self, caller: Caller, *, page: Page) -> tuple[Sequence[SecretView], int]:
        """Return a page of secrets by name, with the flows that use each, and the total."""
        return await self._store.page(caller.workspace_id, page=page)

    async def delete(self, caller: Caller, key: str) -> None:
        """Raises: NotFound."""
        workspace_id = caller.workspace_id
        shown = await name_in_entry(self._vault, workspace_id, key)
        entry = act(caller, "secret.deleted", "secret", shown, at=self._clock.now())
        await self._vault.delete(workspace_id, key, audit=entry)
