"""Rotation of keys: requested by an admin, carried out in the background, resumed after a crash."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.ports.clock import Clock
from flowrunner.ports.keys import KeyKind, KeyRotation, KeyRotationStore, KeyRotator
from flowrunner.ports.page import Page

# The delay until a rotation that waits for other processes is advanced again, and otherwise.
_WAITING: Final = timedelta(seconds=2)
_IDLE: Final = timedelta(seconds=60)


class KeyRotations:
    """Requests of rotations, and their progress.

    Attributes:
        requested: Set with each request.
    """

    def __init__(self, store: KeyRotationStore, rotator: KeyRotator, clock: Clock) -> None:
        self._store = store
        self._rotator = rotator
        self._clock = clock
        self._due_at = clock.now()
        self.requested = asyncio.Event()

    async def request(self, caller: Caller | None, kinds: Collection[KeyKind]) -> Sequence[KeyRotation]:
        """Request a rotation for each kind of key; the requests are durable when this returns.

        Args:
            caller: None for a command on the server, which can read the data directory.

        Raises: Forbidden.
        """
        if caller is not None:
            authorise(caller, Right.ADMIN)
        rotations = []
        for kind in kinds:
            now = self._clock.now()

            def audit(requested: tuple[KeyRotation, bool], now: datetime = now) -> AuditEntry | None:
                rotation, is_new = requested
                return _entry(caller, "keys.rotation.requested", rotation, now) if is_new else None

            replaces = self._rotator.present(kind)
            rotation, _ = await self._store.request(kind, replaces=replaces, at=now, audit=audit)
            rotations.append(rotation)
        self._due_at = self._clock.now()
        self.requested.set()
        return rotations

    async def page(self, page: Page) -> tuple[Sequence[KeyRotation], int]:
        return await self._store.page(page)

    async def advance(self) -> None:
        """Advance every open rotation as far as possible. After a crash, the stored state says what remains."""
        is_waiting = False
        for rotation in await self._store.under_way():
            if await self._rotator.advance(rotation):
                now = self._clock.now()
                entry = _entry(None, "keys.rotation.completed", rotation, now)
                await self._store.complete(rotation.id, at=now, audit=entry)
            is_waiting = is_waiting or self._rotator.is_waiting
        await self._rotator.follow()
        if not self.requested.is_set():
            # Otherwise another one was requested meanwhile, and is due.
            self._due_at = self._clock.now() + (_WAITING if is_waiting else _IDLE)

    async def next_due(self) -> datetime:
        """Return when `advance` is due: at once after a request, and repeatedly."""
        return self._due_at


def _entry(caller: Caller | None, action: str, rotation: KeyRotation, at: datetime) -> AuditEntry:
    return act(caller, action, "key_rotation", str(rotation.id), at=at, details={"kind": rotation.kind})
