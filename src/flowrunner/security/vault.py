"""Secrets at rest: each account's values under a key of its own, and that under the master key."""

import hashlib
import secrets
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.values import AccountId
from flowrunner.ports import SealedSecret, SecretStore, SecretView, WrappedKey
from flowrunner.security.redaction import SecretRedactor

logger = structlog.get_logger()

_FORMAT: Final = "flowrunner.secret.v1"
_KEY_FORMAT: Final = "flowrunner.data-key.v1"
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32


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


def _open(account_id: AccountId, secret: SealedSecret, keys: Mapping[int, bytes]) -> str:
    """Raises: WrongKey."""
    if secret.key_version not in keys:
        raise WrongKey("A secret's data key is missing")
    context = _context(_FORMAT, account_id, secret.key, secret.key_version)
    return unseal(keys[secret.key_version], secret.sealed, context=context).decode()


class MasterKey:
    """The key that wraps every account's data key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError("a master key has 32 bytes")
        self._key = key
        self.id = hashlib.sha256(b"flowrunner master key id" + key).hexdigest()[:16]

    def wrap(self, account_id: AccountId, version: int, data_key: bytes) -> WrappedKey:
        sealed = seal(self._key, data_key, context=_context(_KEY_FORMAT, account_id, version, self.id))
        return WrappedKey(version=version, master_key_id=self.id, wrapped=sealed)

    def unwrap(self, account_id: AccountId, key: WrappedKey) -> bytes:
        """Raises: WrongKey."""
        context = _context(_KEY_FORMAT, account_id, key.version, key.master_key_id)
        return unseal(self._key, key.wrapped, context=context)


class AesVault:
    """Fills `ports.Vault`."""

    def __init__(self, store: SecretStore, master_key: MasterKey) -> None:
        self._store = store
        self._master_key = master_key
        self._redactors: dict[AccountId, SecretRedactor] = {}
        # Accounts whose redactor knows every value that is stored.
        self._complete: set[AccountId] = set()

    async def set(self, account_id: AccountId, key: str, value: str, *, at: datetime) -> tuple[SecretView, bool]:
        version, data_key = await self._newest_data_key(account_id)
        sealed = seal(data_key, value.encode(), context=_context(_FORMAT, account_id, key, version))
        # Hidden before it can be used: an execution may read it the moment it is stored.
        (await self.redactor(account_id)).add([value])
        return await self._store.save(account_id, SealedSecret(key=key, key_version=version, sealed=sealed), at=at)

    async def reveal(self, account_id: AccountId, names: Collection[str]) -> Mapping[str, str]:
        sealed = [secret for secret in await self._store.sealed(account_id) if secret.key in names]
        if not sealed:
            return {}
        keys = await self._data_keys(account_id)
        return {secret.key: _open(account_id, secret, keys) for secret in sealed}

    async def redactor(self, account_id: AccountId) -> SecretRedactor:
        redactor = self._redactors.setdefault(account_id, SecretRedactor())
        if account_id not in self._complete:
            redactor.add(await self._readable(account_id))
            self._complete.add(account_id)
        return redactor

    async def _readable(self, account_id: AccountId) -> list[str]:
        """Every value that can be opened. One that cannot is of no use to anybody, and must not keep
        the account's flows from running."""
        keys: Mapping[int, bytes] = {}
        values = []
        for secret in await self._store.sealed(account_id):
            try:
                keys = keys or await self._data_keys(account_id)
                values.append(_open(account_id, secret, keys))
            except WrongKey as error:
                logger.error("vault.unreadable", account_id=account_id, key=secret.key, error=str(error))
        return values

    def forget(self, account_id: AccountId) -> None:
        self._redactors.pop(account_id, None)
        self._complete.discard(account_id)

    async def _data_keys(self, account_id: AccountId) -> Mapping[int, bytes]:
        return {
            key.version: self._master_key.unwrap(account_id, key) for key in await self._store.data_keys(account_id)
        }

    async def _newest_data_key(self, account_id: AccountId) -> tuple[int, bytes]:
        stored = await self._store.data_keys(account_id)
        newest = stored[-1] if stored else None
        if newest is None:
            made = self._master_key.wrap(account_id, 1, secrets.token_bytes(_KEY_BYTES))
            newest = await self._store.add_data_key(account_id, made)
        return newest.version, self._master_key.unwrap(account_id, newest)
