"""Replaces keys while they are in use, in steps of which each leaves everything readable.

A rotation is written down before its first step. After a kill the steps that are left follow from
what is there: which key a file holds, and under which keys the rows are.
"""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, assert_never

import structlog

from flowrunner.domain.values import AccountId
from flowrunner.ports import Clock, KeyKind, KeyRotation, KeyRotationStore, SecretStore
from flowrunner.security.credentials import JwtIssuer
from flowrunner.security.keys import MASTER, SIGNING, forget_key, replace_key
from flowrunner.security.vault import AesVault, MasterKeys

logger = structlog.get_logger()

# Data keys in a commit.
_REWRAPPED_AT_ONCE: Final = 200
# Tokens that are signed while the key is being replaced.
_MARGIN: Final = timedelta(minutes=1)


class FileKeyRotator:
    """Fills `ports.KeyRotator`.

    Args:
        token_life: How long a token is valid that is signed now.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        rotations: KeyRotationStore,
        secrets: SecretStore,
        vault: AesVault,
        master_keys: MasterKeys,
        issuer: JwtIssuer,
        clock: Clock,
        token_life: timedelta,
    ) -> None:
        self._data_dir = data_dir
        self._rotations = rotations
        self._secrets = secrets
        self._vault = vault
        self._master_keys = master_keys
        self._issuer = issuer
        self._clock = clock
        self._token_life = token_life

    def present(self, kind: KeyKind) -> str | None:
        match kind:
            case "master":
                return self._master_keys.id
            case "signing":
                return self._issuer.key_id
            case "data":
                return None
            case _:
                assert_never(kind)

    async def advance(self, rotation: KeyRotation) -> bool:
        match rotation.kind:
            case "master":
                return await self._rotate_master(rotation)
            case "signing":
                return await self._rotate_signing(rotation)
            case "data":
                while await self._secrets.reseal_next(rotation.id, self._vault.reseal) is not None:
                    continue
                return True
            case _:
                assert_never(rotation.kind)

    async def _rotate_master(self, rotation: KeyRotation) -> bool:
        if self._master_keys.id == rotation.replaces:
            # From here on everything is wrapped with the new one. It is in its file by then.
            self._master_keys.replace(await asyncio.to_thread(replace_key, self._data_dir, MASTER))
        last: tuple[AccountId, int] | None = None
        while (last := await self._secrets.rewrap(last, self._vault.rewrap, limit=_REWRAPPED_AT_ONCE)) is not None:
            continue
        for id in (self._master_keys.ids | {rotation.replaces or ""}) - {self._master_keys.id, ""}:
            if id in await self._secrets.master_key_ids():
                logger.error("keys.still_needed", kind=MASTER, id=id)
            else:
                await asyncio.to_thread(forget_key, self._data_dir, MASTER, id)
        return True

    async def _rotate_signing(self, rotation: KeyRotation) -> bool:
        earlier, needed_until = rotation.replaces or "", rotation.needed_until
        if self._issuer.key_id == earlier:
            needed_until = await self._keep_until(rotation)
            self._issuer.replace(await asyncio.to_thread(replace_key, self._data_dir, SIGNING))
        if needed_until is None or self._clock.now() < needed_until:
            return False
        self._issuer.forget(earlier)
        await asyncio.to_thread(forget_key, self._data_dir, SIGNING, earlier)
        return True

    async def _keep_until(self, rotation: KeyRotation) -> datetime:
        at = self._clock.now() + self._token_life + _MARGIN
        return await self._rotations.keep_until(rotation.id, at)
