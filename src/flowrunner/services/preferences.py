"""What an account prefers in the interface: saved views, columns, the theme. The server does not read it."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import PreconditionFailed, invalid
from flowrunner.domain.values import JSON
from flowrunner.ports.clock import Clock
from flowrunner.ports.preferences import PreferenceStore
from flowrunner.services.preconditions import ANY, Precondition

MOST_BYTES: Final = 64 * 1024
_NONE: Final = b"{}"


class Preferences:
    def __init__(self, store: PreferenceStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def get(self, caller: Caller) -> bytes:
        """Return the preferences of the caller's account, an empty object at first, as a JSON text."""
        return await self._store.get(caller.account_id) or _NONE

    async def put(self, caller: Caller, preferences: Mapping[str, JSON], *, condition: Precondition = ANY) -> bytes:
        """Replace the preferences and return them. Raises: InvalidInput if they are too large; PreconditionFailed."""
        data = msgspec.json.encode(preferences)
        if len(data) > MOST_BYTES:
            raise invalid("preferences", f"must have at most {MOST_BYTES} bytes", code="too_large")

        def check(present: bytes | None) -> None:
            state = state_of(present or _NONE)
            if not condition.allows(state):
                raise PreconditionFailed("The preferences have changed since", state=state)

        await self._store.put(caller.account_id, data, at=self._clock.now(), check=check)
        return data


def state_of(preferences: bytes) -> str:
    """Return a text that differs after every change."""
    return blake2b(preferences, digest_size=12).hexdigest()
