"""Encrypted secrets: each workspace has its own data key, which the master key encrypts."""

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from flowrunner.domain.values import WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.clock import Clock
from flowrunner.ports.secrets import Reseal, Seal, SealedSecret, SecretStore, SecretView, WrappedKey, WrongKey
from flowrunner.security.hidden_values import HiddenValues
from flowrunner.security.keys import KEY_BYTES, MASTER, KeyRing
from flowrunner.security.redaction import SecretRedactor
from flowrunner.security.redactors import Redactors
from flowrunner.write_behind import WriteBehind

logger = structlog.get_logger()

_FORMAT: Final = "flowrunner.secret.v1"
_KEY_FORMAT: Final = "flowrunner.data-key.v1"
_NONCE_BYTES: Final = 12
# Minimum time for which a replaced value is redacted: events of finished executions may be pending, and clocks differ.
LEAST_KEPT: Final = timedelta(minutes=1)


def seal(key: bytes, plain: bytes, *, context: str) -> bytes:
    """Encrypt data; return nonce and ciphertext. Decryption requires the same key and ``context``."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, context.encode())


def unseal(key: bytes, sealed: bytes, *, context: str) -> bytes:
    """Decrypt sealed data. Raises: WrongKey."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError):
        raise WrongKey("A secret cannot be decrypted with the current keys") from None


def _context(*parts: str | int) -> str:
    # Lengths are included, so that different parts never give the same context.
    return "".join(f"{len(str(part))}:{part}" for part in parts)


def _seal_secret(workspace_id: WorkspaceId, key: str, value: bytes, version: int, data_key: bytes) -> SealedSecret:
    sealed = seal(data_key, value, context=_context(_FORMAT, workspace_id, key, version))
    return SealedSecret(key=key, key_version=version, sealed=sealed)


class MasterKeys(KeyRing):
    """The master key that wraps all data keys, and other keys that can still unwrap some."""

    def __init__(self, present: bytes, others: Iterable[bytes] = ()) -> None:
        super().__init__(MASTER, present, others)

    def wrap(self, workspace_id: WorkspaceId, version: int, data_key: bytes) -> WrappedKey:
        # Read once, because another thread may replace it.
        id = self.id
        wrapped = seal(self._keys[id], data_key, context=_context(_KEY_FORMAT, workspace_id, version, id))
        return WrappedKey(version=version, master_key_id=id, wrapped=wrapped)

    def unwrap(self, workspace_id: WorkspaceId, key: WrappedKey) -> bytes:
        """Decrypt a data key. Raises: WrongKey."""
        if key.master_key_id not in self._keys:
            raise WrongKey("The master key of a data key is missing")
        context = _context(_KEY_FORMAT, workspace_id, key.version, key.master_key_id)
        return unseal(self._keys[key.master_key_id], key.wrapped, context=context)


class HiddenValuesWatcher(Protocol):
    """Processes that redact the same values as this one."""

    async def hide(self, workspace_id: WorkspaceId, values: Collection[str]) -> None:
        """Have them redact these values of a workspace, and no others, when this returns."""
        ...

    def forget(self, workspace_id: WorkspaceId) -> None: ...


class AesVault:
    """Implements `ports.Vault`.

    Attributes:
        watcher: Other processes that redact the same values; None if there are none.
        uses: The last use of each secret.
    """

    def __init__(self, store: SecretStore, master_keys: MasterKeys, clock: Clock) -> None:
        self.watcher: HiddenValuesWatcher | None = None
        self._store = store
        self._master_keys = master_keys
        self._clock = clock
        self._redactors = Redactors(lambda workspace_id: HiddenValues(partial(self._hide, workspace_id)))
        # Grows when stored values may have changed: what was read before may be outdated.
        self._changes = 0
        # Redactors of values that may no longer be stored: reading what is stored would not find them again.
        self._with_replaced: dict[WorkspaceId, HiddenValues] = {}
        self.uses: WriteBehind[tuple[WorkspaceId, str], datetime] = WriteBehind(store.note_uses)

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
        hidden, is_new = await self._hidden_values(workspace_id), False
        # Redacted before it is stored, because an execution may read it immediately afterwards.
        await hidden.learn([value])
        try:
            view, is_new = await self._store.save(
                workspace_id,
                self.sealer(workspace_id, key, value),
                at=at,
                most=most,
                must_be_new=must_be_new,
                audit=audit,
            )
        finally:
            self._changed(hidden)
            if not is_new:
                self._with_replaced[workspace_id] = hidden
        return view, is_new

    def sealer(self, workspace_id: WorkspaceId, key: str, value: str) -> Seal:
        def seal(newest: WrappedKey | None) -> tuple[SealedSecret, WrappedKey]:
            # Runs within the transaction that stores the secret, so that no rotation intervenes.
            if newest is None:
                data_key = secrets.token_bytes(KEY_BYTES)
                newest = self._master_keys.wrap(workspace_id, 1, data_key)
            else:
                data_key = self._master_keys.unwrap(workspace_id, newest)
            return _seal_secret(workspace_id, key, value.encode(), newest.version, data_key), newest

        return seal

    async def delete(self, workspace_id: WorkspaceId, key: str, *, audit: Audit = None) -> None:
        # An open execution may still show the value.
        hidden = await self._hidden_values(workspace_id)
        try:
            await self._store.delete(workspace_id, key, audit=audit)
        finally:
            self._changed(hidden)
            self._with_replaced[workspace_id] = hidden

    def _changed(self, hidden: HiddenValues) -> None:
        self._changes += 1
        hidden.is_complete = False

    async def reveal(self, workspace_id: WorkspaceId, names: Collection[str]) -> Mapping[str, str]:
        found = {
            secret.key: self.open(workspace_id, secret, data_key)
            for secret, data_key in await self._store.sealed(workspace_id, names)
        }
        now = self._clock.now()
        for key in found:
            self.uses.note((workspace_id, key), now)
        # Another process may just have set the value.
        await (await self._hidden_values(workspace_id)).learn(found.values())
        return found

    def open(self, workspace_id: WorkspaceId, secret: SealedSecret, data_key: WrappedKey | None) -> str:
        if data_key is None:
            raise WrongKey("A secret's data key is missing")
        key = self._master_keys.unwrap(workspace_id, data_key)
        context = _context(_FORMAT, workspace_id, secret.key, secret.key_version)
        return unseal(key, secret.sealed, context=context).decode()

    async def redactor(self, workspace_id: WorkspaceId) -> SecretRedactor:
        return await self._hidden_values(workspace_id)

    async def hidden(self, workspace_id: WorkspaceId) -> Collection[str]:
        """Return the values that a process has to redact which begins to show something of the workspace.

        Those that the watcher is being told of are among them: it may have looked at its processes before.
        """
        return (await self._hidden_values(workspace_id)).known

    async def _hidden_values(self, workspace_id: WorkspaceId) -> HiddenValues:
        hidden = self._redactors.of(workspace_id)
        if not hidden.is_complete:
            changes = self._changes
            stored = await self._readable(workspace_id)
            await hidden.compare(stored, at=self._clock.now())
            hidden.is_complete = changes == self._changes
            if hidden.has_replaced:
                self._with_replaced[workspace_id] = hidden
        self._redactors.keep(workspace_id, hidden)
        return hidden

    async def _hide(self, workspace_id: WorkspaceId, values: Collection[str]) -> None:
        if self.watcher is not None:
            await self.watcher.hide(workspace_id, values)

    async def _readable(self, workspace_id: WorkspaceId) -> list[str]:
        """Return all values that can be decrypted. The others must not block the workspace's flows."""
        values = []
        for secret, data_key in await self._store.sealed(workspace_id):
            try:
                values.append(self.open(workspace_id, secret, data_key))
            except WrongKey as error:
                logger.error("vault.unreadable", workspace_id=workspace_id, key=secret.key, error=str(error))
        return values

    def mark_stale(self) -> None:
        """Have redactors load the values that other processes have set since."""
        self._changes += 1
        for hidden in self._redactors:
            hidden.is_complete = False

    async def forget_replaced(self) -> None:
        """Forget replaced and deleted values that no open execution can contain, because all started later.

        Raises: Unavailable.
        """
        pending, self._with_replaced = self._with_replaced, {}
        try:
            for workspace_id, hidden in pending.items():
                hidden.is_complete = False
                await self._forget_replaced(workspace_id)
        except BaseException:
            self._with_replaced = pending | self._with_replaced
            raise

    async def _forget_replaced(self, workspace_id: WorkspaceId) -> None:
        hidden = await self._hidden_values(workspace_id)
        if not hidden.has_replaced:
            return
        open_since = await self._store.open_since(workspace_id) or self._clock.now()
        await hidden.forget(before=open_since - LEAST_KEPT)

    def forget(self, workspace_id: WorkspaceId) -> None:
        self._changes += 1
        self._redactors.forget(workspace_id)
        self._with_replaced.pop(workspace_id, None)
        if self.watcher is not None:
            self.watcher.forget(workspace_id)

    # Rotation

    def rewrap(self, workspace_id: WorkspaceId, data_key: WrappedKey) -> WrappedKey:
        """Wrap a data key under the current master key. It stays unchanged if it already is, or is unreadable."""
        if data_key.master_key_id == self._master_keys.id:
            return data_key
        try:
            opened = self._master_keys.unwrap(workspace_id, data_key)
        except WrongKey as error:
            logger.error("vault.unreadable", workspace_id=workspace_id, version=data_key.version, error=str(error))
            return data_key
        return self._master_keys.wrap(workspace_id, data_key.version, opened)

    def reseal(self, workspace_id: WorkspaceId, version: int) -> Reseal:
        """Return a function that moves secrets to a data key of this version."""

        def reseal(
            sealed: Sequence[tuple[SealedSecret, WrappedKey | None]],
        ) -> tuple[WrappedKey, list[SealedSecret | None]]:
            data_key = secrets.token_bytes(KEY_BYTES)
            resealed: list[SealedSecret | None] = []
            for secret, before in sealed:
                try:
                    value = self.open(workspace_id, secret, before).encode()
                except WrongKey as error:
                    logger.error("vault.unreadable", workspace_id=workspace_id, key=secret.key, error=str(error))
                    resealed.append(None)
                    continue
                resealed.append(_seal_secret(workspace_id, secret.key, value, version, data_key))
            return self._master_keys.wrap(workspace_id, version, data_key), resealed

        return reseal
