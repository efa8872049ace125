"""How many requests of one account may be under way, so that slow ones hold up nobody else's."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from flowrunner.domain.values import AccountId
from flowrunner.plugin import HttpAnswer, HttpClient

# The client itself keeps up to four times as many connections.
MOST_REQUESTS_OF_AN_ACCOUNT: Final = 256


@dataclass(slots=True)
class Requests:
    """The requests of all accounts. Turns are kept only while somebody has or awaits one."""

    http: HttpClient
    most: int = MOST_REQUESTS_OF_AN_ACCOUNT
    _turns: "WeakValueDictionary[AccountId, asyncio.Semaphore]" = field(default_factory=WeakValueDictionary)

    def of(self, account_id: AccountId) -> "AccountHttp":
        turns = self._turns.get(account_id)
        if turns is None:
            turns = self._turns[account_id] = asyncio.Semaphore(self.most)
        return AccountHttp(self.http, turns)


@dataclass(frozen=True, slots=True)
class AccountHttp:
    """Fills `plugin.HttpClient` for the nodes of one account."""

    http: HttpClient
    turns: asyncio.Semaphore

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        max_redirects: int = 0,
    ) -> HttpAnswer:
        async with self.turns:
            return await self.http.request(method, url, headers=headers, body=body, max_redirects=max_redirects)
