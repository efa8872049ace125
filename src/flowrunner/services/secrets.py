"""Secrets: written, listed by name and deleted; no way leads back to a value."""

import re
from collections.abc import Sequence
from typing import Final

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.errors import Fault, InvalidInput, NotFound
from flowrunner.domain.limits import check_count
from flowrunner.domain.values import WorkspaceId
from flowrunner.ports import Clock, SecretStore, SecretView, Vault

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# A shorter value would be found, and hidden, in text that has nothing to do with it.
MIN_VALUE_CHARACTERS: Final = 8
MAX_VALUE_BYTES: Final = 8 * 1024
MAX_SECRETS: Final = 200


class Secrets:
    def __init__(self, store: SecretStore, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def set(self, caller: Caller, workspace_id: WorkspaceId, key: str, value: str) -> tuple[SecretView, bool]:
        """Write or replace a secret; the flag says whether it is new. Raises: NotFound, InvalidInput, Conflict."""
        _own(caller, workspace_id)
        faults = []
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
        # Also looked at here, as a value is among the hidden ones before it is saved.
        keys = {secret.key for secret in await self._store.list(workspace_id)} - {key}
        check_count("secrets", len(keys), MAX_SECRETS, limit="secrets")
        now = self._clock.now()

        def audit(saved: tuple[SecretView, bool]) -> AuditEntry:
            _, is_new = saved
            # The value is among those that are hidden by now, should somebody have given it as the name too.
            shown = str(redactor.redact(key))
            return act(caller, "secret.created" if is_new else "secret.replaced", "secret", shown, at=now)

        redactor = await self._vault.redactor(workspace_id)
        return await self._vault.set(workspace_id, key, value, at=now, most=MAX_SECRETS, audit=audit)

    async def list(self, caller: Caller, workspace_id: WorkspaceId) -> Sequence[SecretView]:
        """Raises: NotFound."""
        _own(caller, workspace_id)
        return await self._store.list(workspace_id)

    async def delete(self, caller: Caller, workspace_id: WorkspaceId, key: str) -> None:
        """Raises: NotFound."""
        _own(caller, workspace_id)
        shown = str((await self._vault.redactor(workspace_id)).redact(key))
        entry = act(caller, "secret.deleted", "secret", shown, at=self._clock.now())
        await self._vault.delete(workspace_id, key, audit=entry)


def _own(caller: Caller, workspace_id: WorkspaceId) -> None:
    # An admin manages accounts, and still has no business with their secrets.
    if caller.workspace_id != workspace_id:
        raise NotFound("account")
