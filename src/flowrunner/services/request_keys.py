"""Requests with an idempotency key: the first one is done, and its repeats get the first answer."""

import asyncio
import hashlib
from datetime import timedelta
from typing import Final

import msgspec

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Conflict
from flowrunner.domain.request_keys import ClaimedKey, KeptAnswer, RequestKey, key_was_reused
from flowrunner.domain.values import JSON, rfc3339
from flowrunner.ports.clock import Clock
from flowrunner.ports.request_keys import ForgettableKey, RequestKeyStore
from flowrunner.services.short_commits import ShortDeletions

KEPT_FOR: Final = timedelta(hours=24)
# Longer answers are not kept.
MAX_ANSWER_CHARACTERS: Final = 8 * 1024
# How long a repeat waits for the answer of a request that is being done.
_LOOKS: Final = 20
_LOOK_SECONDS: Final = 0.1
# Keys that are read together before these are deleted.
_FOUND_AT_ONCE: Final = 5000


def digest_of_request(asked: JSON) -> str:
    """Return the digest that tells whether two requests with the same idempotency key are equal."""
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()


class RequestKeys:
    def __init__(self, store: RequestKeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def answer_before(self, caller: Caller, request: RequestKey) -> KeptAnswer | None:
        """Return the answer to the first request with this key; None if there was none.

        Raises:
            InvalidInput: If the first one asked for something else.
            Conflict: If its answer is not known.
        """
        found = await self._store.find(caller.account_id, request.key, request.sent)
        looks = 0
        while found is not None and found.answer is None and looks < _LOOKS and self._is_new(found):
            await asyncio.sleep(_LOOK_SECONDS)
            found, looks = await self._store.find(caller.account_id, request.key, request.sent), looks + 1
        if found is None:
            return None
        if found.digest != request.digest:
            raise key_was_reused()
        if found.answer is None:
            raise Conflict(
                f"The request with this Idempotency-Key was done at {rfc3339(found.claimed_at)}, and its answer was "
                "not kept. Read what it has changed"
            )
        return found.answer

    def _is_new(self, found: ClaimedKey) -> bool:
        """Return whether its request may still be in progress."""
        return self._clock.now() - found.claimed_at < _LOOKS * timedelta(seconds=_LOOK_SECONDS)

    async def keep(self, caller: Caller, request: RequestKey, answer: KeptAnswer | None) -> None:
        """Keep the answer to a request that was done, unless it is long. None keeps no answer, only the key."""
        if answer is not None and len(answer.body) > MAX_ANSWER_CHARACTERS:
            answer = None
        await self._store.keep(caller.account_id, caller.workspace_id, request, answer, at=self._clock.now())

    async def forget(self, caller: Caller, key: str) -> None:
        """Forget a key, in its stored form, whose request or repeat was rejected after the key was claimed."""
        if (found := await self._store.find(caller.account_id, key)) is not None:
            await self._store.forget([ForgettableKey(caller.account_id, key, found.request_id)])

    async def purge(self) -> None:
        """Forget old keys, and those of deleted workspaces and accounts, with their answers."""
        before = self._clock.now() - KEPT_FOR
        deletions = ShortDeletions(self._store.forget)
        while keys := await self._store.old(claimed_before=before, limit=_FOUND_AT_ONCE):
            await deletions.run(keys)
        while keys := await self._store.without_owner(limit=_FOUND_AT_ONCE):
            await deletions.run(keys)
