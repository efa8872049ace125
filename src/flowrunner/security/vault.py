"""Secrets at rest: each account's values under a key of its own, and that under the master key."""

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.values import AccountId
from flowrunner.ports import Audit, Clock, Reseal, SealedSecret, SecretStore, SecretView, WrappedKey
from flowrunner.security.hidden_values import HiddenValues
from flowrunner.security.keys import KEY_BYTES, MASTER, KeyRing
from flowrunner.security.redaction import SecretRedactor

logger = structlog.get_logger()

_FORMAT: Final = "flowrunner.secret.v1"
_KEY_FORMAT: Final = "flowrunner.data-key.v1"
_NONCE_BYTES: Final = 12
# A replaced value is hidden for so long at least: what has just ended may still be told of, and clocks differ.
LEAST_KEPT: Final = timedelta(minutes=1)


class WrongKey(FlowRunnerError):
    """Something sealed cannot be opened: the key is another one, or the data was tampered with."""


def seal(key: bytes, plain: bytes, *, context: str) -> bytes:
    """Nonce and ciphertext; opens only with the same key and ``context``."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, context.encode())


def unseal(key: bytes, sealed: bytes, *, context: str) -> bytes:
    """Raises: WrongKey."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError):
        raise WrongKey("A secret cannot be decrypted with the present keys") from None


def _context(*parts: str | int) -> str:
    # Lengths are part of it, so that no two sets of parts read the same.
    return "".join(f"{len(str(part))}:{part}" for part in parts)


def _seal_secret(account_id: AccountId, key: str, value: bytes, version: int, data_key: bytes) -> SealedSecret:
    sealed = seal(data_key, value, context=_context(_FORMAT, account_id, key, version))
    return SealedSecret(key=key, key_version=version, sealed=sealed)


class MasterKeys(KeyRing):
    """The key that wraps every account's data key, and others that open some."""

    def __init__(self, present: bytes, others: Iterable[bytes] = ()) -> None:
        super().__init__(MASTER, present, others)

    def wrap(self, account_id: AccountId, version: int, data_key: bytes) -> WrappedKey:
        # Read once: it may be replaced meanwhile, on another thread.
        id = self.id
        wrapped = seal(self._keys[id], data_key, context=_context(_KEY_FORMAT, account_id, version, id))
        return WrappedKey(version=version, master_key_id=id, wrapped=wrapped)

    def unwrap(self, account_id: AccountId, key: WrappedKey) -> bytes:
        """Raises: WrongKey."""
        if key.master_key_id not in self._keys:
            raise WrongKey("The master key of a data key is missing")
        context = _context(_KEY_FORMAT, account_id, key.version, key.master_key_id)
        return unseal(self._keys[key.master_key_id], key.wrapped, context=context)


class AesVault:
    """Fills `ports.Vault`."""

    def __init__(self, store: SecretStore, master_keys: MasterKeys, clock: Clock) -> None:
        self._store = store
        self._master_keys = master_keys
        self._clock = clock
        self._hidden: dict[AccountId, HiddenValues] = {}
        # Accounts of which every value that is stored is hidden.
        self._complete: set[AccountId] = set()
        # Accounts of which values that are not stored any more may be hidden.
        self._unsettled: set[AccountId] = set()

    async def set(
        self, account_id: AccountId, key: str, value: str, *, at: datetime, most: int | None = None, audit: Audit = None
    ) -> tuple[SecretView, bool]:
        def seal(newest: WrappedKey | None) -> tuple[SealedSecret, WrappedKey]:
            # Made within the transaction that stores them, so that no rotation comes in between.
            if newest is None:
                data_key = secrets.token_bytes(KEY_BYTES)
                newest = self._master_keys.wrap(account_id, 1, data_key)
            else:
                data_key = self._master_keys.unwrap(account_id, newest)
            return _seal_secret(account_id, key, value.encode(), newest.version, data_key), newest

        # Hidden before it can be used: an execution may read it the moment it is stored.
        await (await self._look(account_id)).learn([value])
        try:
            return await self._store.save(account_id, seal, at=at, most=most, audit=audit)
        finally:
            self._changed(account_id)

    async def delete(self, account_id: AccountId, key: str, *, audit: Audit = None) -> None:
        try:
            await self._store.delete(account_id, key, audit=audit)
        finally:
            self._changed(account_id)

    def _changed(self, account_id: AccountId) -> None:
        self._complete.discard(account_id)
        self._unsettled.add(account_id)

    async def reveal(self, account_id: AccountId, names: Collection[str]) -> Mapping[str, str]:
        found = {
            secret.key: self._open(account_id, secret, data_key)
            for secret, data_key in await self._store.sealed(account_id)
            if secret.key in names
        }
        # Another process may have set it a moment ago.
        await (await self._look(account_id)).learn(found.values())
        return found

    def _open(self, account_id: AccountId, secret: SealedSecret, data_key: WrappedKey | None) -> str:
        """Raises: WrongKey."""
        if data_key is None:
            raise WrongKey("A secret's data key is missing")
        key = self._master_keys.unwrap(account_id, data_key)
        context = _context(_FORMAT, account_id, secret.key, secret.key_version)
        return unseal(key, secret.sealed, context=context).decode()

    async def redactor(self, account_id: AccountId) -> SecretRedactor:
        return (await self._look(account_id)).redactor

    async def _look(self, account_id: AccountId) -> HiddenValues:
        hidden = self._hidden.setdefault(account_id, HiddenValues())
        if account_id not in self._complete:
            stored = await self._readable(account_id)
            await hidden.compare(stored, at=self._clock.now())
            self._complete.add(account_id)
            if hidden.has_replaced:
                self._unsettled.add(account_id)
        return hidden

    async def _readable(self, account_id: AccountId) -> list[str]:
        """Every value that can be opened. One that cannot is of no use to anybody, and must not keep
        the account's flows from running."""
        values = []
        for secret, data_key in await self._store.sealed(account_id):
            try:
                values.append(self._open(account_id, secret, data_key))
            except WrongKey as error:
                logger.error("vault.unreadable", account_id=account_id, key=secret.key, error=str(error))
        return values

    def look_again(self) -> None:
        """Have redactors learn the values that other processes have set meanwhile."""
        self._complete.clear()

    async def forget_replaced(self) -> None:
        """Forget replaced and deleted values that no open execution can show: all began after the replacement.

        Raises: Unavailable.
        """
        unsettled, self._unsettled = self._unsettled, set()
        try:
            for account_id in unsettled & self._hidden.keys():
                await self._forget_replaced(account_id)
        except BaseException:
            self._unsettled |= unsettled
            raise

    async def _forget_replaced(self, account_id: AccountId) -> None:
        self._complete.discard(account_id)
        hidden = await self._look(account_id)
        if not hidden.has_replaced:
            return
        open_since = await self._store.open_since(account_id) or self._clock.now()
        await hidden.forget(before=open_since - LEAST_KEPT)

    def forget(self, account_id: AccountId) -> None:
        self._hidden.pop(account_id, None)
        self._complete.discard(account_id)
        self._unsettled.discard(account_id)

    # Rotation

    def rewrap(self, account_id: AccountId, data_key: WrappedKey) -> WrappedKey:
        """The data key under the present master key; as it is, if it is so already or cannot be opened."""
        if data_key.master_key_id == self._master_keys.id:
            return data_key
        try:
            opened = self._master_keys.unwrap(account_id, data_key)
        except WrongKey as error:
            logger.error("vault.unreadable", account_id=account_id, version=data_key.version, error=str(error))
            return data_key
        return self._master_keys.wrap(account_id, data_key.version, opened)

    def reseal(self, account_id: AccountId, version: int) -> Reseal:
        """Moves an account's secrets to a data key of that version; one that cannot be opened stays as it is."""

        def reseal(sealed: Sequence[tuple[SealedSecret, WrappedKey | None]]) -> tuple[WrappedKey, list[SealedSecret]]:
            data_key = secrets.token_bytes(KEY_BYTES)
            resealed = []
            for secret, before in sealed:
                try:
                    value = self._open(account_id, secret, before).encode()
                except WrongKey as error:
                    logger.error("vault.unreadable", account_id=account_id, key=secret.key, error=str(error))
                    continue
                resealed.append(_seal_secret(account_id, secret.key, value, version, data_key))
            return self._master_keys.wrap(account_id, version, data_key), resealed

        return reseal
