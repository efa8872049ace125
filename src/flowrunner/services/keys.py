"""Rotation of keys: asked for by an admin, done in the background, finished after a kill."""

import asyncio
import contextlib
from collections.abc import Collection, Sequence

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.ports import Clock, KeyKind, KeyRotation, KeyRotationStore, KeyRotator, Page


class Keys:
    def __init__(self, store: KeyRotationStore, rotator: KeyRotator, clock: Clock) -> None:
        self._store = store
        self._rotator = rotator
        self._clock = clock
        self._is_asked_for = asyncio.Event()

    async def request(self, caller: Caller | None, kinds: Collection[KeyKind]) -> Sequence[KeyRotation]:
        """Have keys replaced; that it will happen is certain when this returns.

        Args:
            caller: None is whoever can read the data directory.

        Raises: Forbidden.
        """
        if caller is not None:
            authorise(caller, Right.ADMIN)
        rotations = [
            await self._store.request(kind, replaces=self._rotator.present(kind), at=self._clock.now())
            for kind in kinds
        ]
        self._is_asked_for.set()
        return rotations

    async def page(self, page: Page) -> tuple[Sequence[KeyRotation], int]:
        return await self._store.page(page)

    async def advance(self) -> None:
        """Do what can be done at this time of every rotation that is under way."""
        self._is_asked_for.clear()
        for rotation in await self._store.under_way():
            if await self._rotator.advance(rotation):
                await self._store.complete(rotation.id, at=self._clock.now())

    async def wait(self, *, seconds: float) -> None:
        """Until a rotation is asked for, but not longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_asked_for.wait()
