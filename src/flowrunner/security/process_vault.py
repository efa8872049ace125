"""Secrets in a process that has no keys: another one decrypts them."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from typing import Final

from flowrunner.domain.values import WorkspaceId
from flowrunner.ports.clock import Clock
from flowrunner.security.hidden_values import HiddenValues
from flowrunner.security.redaction import SecretRedactor
from flowrunner.security.redactors import Redactors

_AT_ONCE: Final = timedelta(microseconds=1)


class ProcessVault:
    """Implements `ports.SecretReader`.

    Args:
        hidden: Returns all values that are redacted for a workspace. Later changes are passed to `hide`.
        reveal: See `ports.SecretReader`.
    """

    def __init__(
        self,
        *,
        hidden: Callable[[WorkspaceId], Awaitable[Collection[str]]],
        reveal: Callable[[WorkspaceId, Collection[str]], Awaitable[Mapping[str, str]]],
        clock: Clock,
    ) -> None:
        self._ask_hidden = hidden
        self._ask_reveal = reveal
        self._clock = clock
        self._redactors = Redactors(lambda _: HiddenValues())

    async def redactor(self, workspace_id: WorkspaceId) -> SecretRedactor:
        hidden = self._redactors.of(workspace_id)
        if not hidden.is_complete:
            await hidden.learn(await self._ask_hidden(workspace_id))
            hidden.is_complete = True
        self._redactors.keep(workspace_id, hidden)
        return hidden

    async def reveal(self, workspace_id: WorkspaceId, names: Collection[str]) -> Mapping[str, str]:
        found = await self._ask_reveal(workspace_id, names)
        await self._redactors.of(workspace_id).learn(found.values())
        return found

    async def hide(self, workspace_id: WorkspaceId, values: Collection[str]) -> None:
        """Redact these values, and no others, when this returns, if there is a redactor: a new one asks for all."""
        hidden, now = self._redactors.get(workspace_id), self._clock.now()
        if hidden is None:
            return
        await hidden.compare(values, at=now)
        await hidden.forget(before=now + _AT_ONCE)

    def forget(self, workspace_id: WorkspaceId) -> None:
        """Forget the values of a workspace that was deleted."""
        self._redactors.forget(workspace_id)
