"""Rotation of keys while they are in use. Every step leaves all data readable.

A rotation is stored before its first step. After a crash, the remaining steps are derived from the key files, the
stored decisions, and the keys under which the rows are encrypted.

Several processes may use the keys, from one directory or from copies of it. A new key is used only when all processes
have it, and the previous one is dropped only when all processes use the new one.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias, assert_never

import structlog

from flowrunner.domain.values import WorkspaceId
from flowrunner.ports.clock import Clock
from flowrunner.ports.keys import HeldKeys, KeyHolder, KeyKind, KeyRotation, KeyRotationStore
from flowrunner.ports.secrets import SecretStore
from flowrunner.security.keys import (
    MASTER,
    SIGNING,
    KeyRing,
    UnsafeDataDir,
    drop_next_key,
    forget_key,
    key_id,
    next_key,
    put_in_place,
    read_keys,
)
from flowrunner.security.vault import AesVault, MasterKeys

logger = structlog.get_logger()

# Data keys per commit.
_REWRAPPED_AT_ONCE: Final = 200
# Allowance for tokens that are signed during the replacement.
_MARGIN: Final = timedelta(minutes=1)
# Within this time, a process without a database session, such as one that starts or reconnects, becomes visible.
SURE: Final = timedelta(seconds=10)

_Of: TypeAlias = Callable[[KeyHolder], HeldKeys]
_FILES: Final[Mapping[KeyKind, _Of]] = {
    "master": lambda holder: holder.master,
    "signing": lambda holder: holder.signing,
}


class FileKeyRotator:
    """Implements `ports.KeyRotator`.

    Args:
        token_life: The lifetime of a token that is signed now.
        is_shared: Several processes are active, including this one. Each reports its keys to the others.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        rotations: KeyRotationStore,
        secrets: SecretStore,
        vault: AesVault,
        master_keys: MasterKeys,
        signing_keys: KeyRing,
        clock: Clock,
        token_life: timedelta,
        is_shared: bool,
    ) -> None:
        self._data_dir = data_dir
        self._rotations = rotations
        self._secrets = secrets
        self._vault = vault
        self._rings: Mapping[KeyKind, KeyRing] = {MASTER: master_keys, SIGNING: signing_keys}
        self._clock = clock
        self._token_life = token_life
        self._is_shared = is_shared
        self._next: dict[KeyKind, str] = {}
        self._decided: dict[KeyKind, str] = {}
        self._follows_alone = asyncio.Lock()
        # The time since which all processes are known to have reached a step of a rotation.
        self._all_since: dict[tuple[int, str], datetime] = {}
        self._forgotten: set[str] = set()
        self._reported: set[tuple[str, str]] = set()
        self.is_waiting = False

    def present(self, kind: KeyKind) -> str | None:
        return None if kind == "data" else self._rings[kind].id

    @property
    def holder(self) -> KeyHolder:
        """The keys that this process reports to the others."""
        return KeyHolder(*(HeldKeys(self._rings[kind].id, self._next.get(kind)) for kind in (MASTER, SIGNING)))

    async def others(self) -> bool:
        """Return True if other processes are using the keys."""
        return bool(await self._rotations.holders())

    async def follow(self) -> None:
        async with self._follows_alone:
            replacements = await self._rotations.replacements()
            await self._learn()
            for kind, ring in self._rings.items():
                of_kind = [rotation for rotation in replacements if rotation.kind == kind]
                await self._use_what_is_decided(kind, ring, of_kind)
                await self._forget_what_is_over(kind, ring, of_kind)
            for kind, id in await self.foreign_keys():
                hint = (
                    "another process on the database uses a key that is not here: what it signs or encrypts cannot be "
                    "read here. Stop one of the two, copy the directory 'keys' of the other to it, and start it again"
                )
                self._report_once("keys.differ", id, kind=kind, hint=hint)

    async def foreign_keys(self) -> Sequence[tuple[KeyKind, str]]:
        """Return the keys, as prefixes of ids, that other processes use and that are missing here.

        Keys that a rotation has chosen are excluded: `keys.missing` reports them.
        """
        found: dict[tuple[KeyKind, str], None] = {}
        for holder in await self._rotations.holders():
            for kind, of in _FILES.items():
                known = {*self._rings[kind].ids, self._decided.get(kind, "")}
                if not any(of(holder).uses(id) for id in known):
                    found[kind, of(holder).present] = None
        return list(found)

    async def _learn(self) -> None:
        for kind, ring in self._rings.items():
            try:
                keys = await asyncio.to_thread(read_keys, self._data_dir, kind)
            except (OSError, UnsafeDataDir) as error:
                # An operator may be copying or replacing them at this moment.
                self._report_once("keys.unreadable", str(error))
                continue
            for key in keys:
                ring.learn(key)

    async def _use_what_is_decided(self, kind: KeyKind, ring: KeyRing, rotations: Sequence[KeyRotation]) -> None:
        next = next_of(rotations)
        self._next.pop(kind, None)
        if next is not None and next in ring.ids:
            self._next[kind] = next
        decided = [rotation.replaced_by for rotation in rotations if rotation.switched_at is not None]
        if not decided or (id := decided[-1]) is None:
            return
        self._decided[kind] = id
        if id not in ring.ids:
            hint = "other processes use a key that is not here: copy the directory 'keys' from one of them"
            self._report_once("keys.missing", id, kind=kind, hint=hint)
            return
        ring.use(id)
        try:
            await asyncio.to_thread(put_in_place, self._data_dir, kind, id)
        except (OSError, UnsafeDataDir) as error:
            hint = f"put the key {id} into the directory 'keys' as {kind}.key"
            self._report_once("keys.not_written", id, kind=kind, reason=str(error), hint=hint)

    async def _forget_what_is_over(self, kind: KeyKind, ring: KeyRing, rotations: Sequence[KeyRotation]) -> None:
        over = {rotation.replaces for rotation in rotations if rotation.completed_at is not None}
        needed = {ring.id, *(r.replaces for r in rotations if r.completed_at is None), next_of(rotations)}
        for id in (over & ring.ids) - needed - self._forgotten:
            assert id is not None, "keys in files have ids"
            if kind == MASTER and id in await self._secrets.master_key_ids():
                self._report_once("keys.still_needed", id, kind=kind)
                continue
            try:
                await asyncio.to_thread(forget_key, self._data_dir, kind, id)
            except OSError as error:
                self._report_once("keys.not_deleted", id, kind=kind, reason=str(error))
            self._forgotten.add(id)
            if kind == SIGNING:
                ring.forget(id)
            # A master key stays in memory: a concurrent reader may still need it to open what it has just read.

    def _report_once(self, event: str, about: str, **facts: str) -> None:
        # Keys are checked every few seconds, so each event is logged only once.
        if (event, about) not in self._reported:
            self._reported.add((event, about))
            logger.error(event, id=about, **facts)

    async def advance(self, rotation: KeyRotation) -> bool:
        self.is_waiting = False
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
        if not await self._is_used_by_all(rotation):
            return False
        last: tuple[WorkspaceId, int] | None = None
        while (last := await self._secrets.rewrap(last, self._vault.rewrap, limit=_REWRAPPED_AT_ONCE)) is not None:
            continue
        return True

    async def _rotate_signing(self, rotation: KeyRotation) -> bool:
        if not await self._is_used_by_all(rotation):
            return False
        needed_until = rotation.needed_until
        if needed_until is None:
            needed_until = await self._rotations.keep_until(rotation.id, self._clock.now() + self._token_life + _MARGIN)
        return self._clock.now() >= needed_until

    async def _is_used_by_all(self, rotation: KeyRotation) -> bool:
        """Switch to the new key once all processes have it; return True when all of them use it."""
        of, id = _FILES[rotation.kind], rotation.replaced_by
        if id is None:
            id = await self._make(rotation)
            if id is None:
                return False
        await self.follow()
        if rotation.switched_at is None:
            if not await self._all(rotation, "has the new key", lambda holder: of(holder).has(id)):
                return False
            await self._rotations.switch(rotation.id, at=self._clock.now())
            await self.follow()
        # A later rotation may have replaced this key.
        decided = self._decided.get(rotation.kind, id)
        return await self._all(rotation, "uses the new key", lambda holder: of(holder).uses(decided))

    async def _make(self, rotation: KeyRotation) -> str | None:
        """Store the next key in a file and return its id; return None if it cannot be created."""
        kind = rotation.kind
        try:
            made = key_id(kind, await asyncio.to_thread(next_key, self._data_dir, kind))
        except (OSError, UnsafeDataDir) as error:
            hint = f"put 64 random hexadecimal digits into keys/{kind}.next.key, for every server and worker"
            self._report_once("keys.not_made", kind, reason=str(error), hint=hint)
            return None
        chosen = await self._rotations.replace_by(rotation.id, made)
        if chosen != made:
            await asyncio.to_thread(drop_next_key, self._data_dir, kind, made)
        return chosen

    async def _all(self, rotation: KeyRotation, what: str, holds: Callable[[KeyHolder], bool]) -> bool:
        """Return True if all processes have reached the step for long enough that none can be missed."""
        now, holders = self._clock.now(), await self._rotations.holders()
        without = sum(not holds(holder) for holder in holders)
        is_seen = bool(holders) or not self._is_shared
        if without or not is_seen or not holds(self.holder):
            self._all_since.pop((rotation.id, what), None)
            self.is_waiting = True
            if without:
                hint = "if processes have copies of the directory 'keys', copy it again"
                logger.warning("keys.waiting", kind=rotation.kind, until=f"each {what}", processes=without, hint=hint)
            return False
        since = self._all_since.setdefault((rotation.id, what), now)
        is_sure = not holders or now - since >= SURE
        self.is_waiting = not is_sure
        return is_sure


def next_of(rotations: Sequence[KeyRotation]) -> str | None:
    """Return the next key according to the rotations of a kind."""
    return next((rotation.replaced_by for rotation in rotations if rotation.switched_at is None), None)
