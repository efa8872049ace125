"""Numbers and last uses that are counted in memory, and written from time to time: an outage loses none."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import TokenId
from flowrunner.ports.hooks import Refusals
from flowrunner.ports.secrets import SealedSecret, WrappedKey
from flowrunner.security.vault import AesVault, MasterKeys
from flowrunner.services.hook_refusals import MOST_KEPT, RefusedHooks
from flowrunner.services.tokens import TokenUses
from support.databases import MARA, NOON
from support.dependencies import SteppingClock

LATER = NOON + timedelta(minutes=1)


class Store:
    """A store that cannot write until it `is_back`."""

    def __init__(self) -> None:
        self.is_back = False
        self.written: list[Any] = []
        self.secrets: list[tuple[SealedSecret, WrappedKey]] = []

    async def note_uses(self, uses: Mapping[Any, Any]) -> None:
        self._write(dict(uses))

    async def add_refusals(self, counts: Mapping[TriggerId, Refusals], *, most: int) -> None:
        self._write(dict(counts))

    async def sealed(self, *_: object) -> Sequence[tuple[SealedSecret, WrappedKey]]:
        return self.secrets

    def _write(self, content: Any) -> None:
        if not self.is_back:
            raise Unavailable("The database does not answer")
        self.written.append(content)


async def test_an_outage_loses_no_refused_request() -> None:
    store: Any = Store()
    refused = RefusedHooks(store)

    def add(id: str, *reasons: str, at: datetime = NOON) -> None:
        for reason in reasons:
            refused.add(TriggerId(id), reason, at=at)

    add("a", *map(str, range(MOST_KEPT)))
    add("b", "1")
    with pytest.raises(Unavailable):
        await refused.write()
    add("a", "later", at=LATER)
    add("c", "1", at=LATER)
    store.is_back = True
    for _ in range(2):
        await refused.write()

    [counts] = store.written
    assert {id: found.count for id, found in counts.items()} == {"a": MOST_KEPT + 1, "b": 1, "c": 1}
    assert [one.reason for one in counts["a"].last] == [*map(str, range(1, MOST_KEPT)), "later"]


async def test_an_outage_loses_no_last_use_of_a_token() -> None:
    store: Any = Store()
    uses = TokenUses(store.note_uses)
    for id in ("a", "b"):
        uses.note(TokenId(id), NOON)
    with pytest.raises(Unavailable):
        await uses.write()
    uses.note(TokenId("a"), LATER)
    store.is_back = True
    for _ in range(2):
        await uses.write()

    assert store.written == [{"a": LATER, "b": NOON}]


async def test_an_outage_loses_no_last_use_of_a_secret() -> None:
    store: Any = Store()
    vault = AesVault(store, MasterKeys(os.urandom(32)), SteppingClock(NOON))
    store.secrets = [vault.sealer(MARA, "KEY", "a value of some length")(None)]
    await vault.reveal(MARA, ["KEY"])
    with pytest.raises(Unavailable):
        await vault.uses.write()
    store.is_back = True
    for _ in range(2):
        await vault.uses.write()

    assert [list(uses) for uses in store.written] == [[(MARA, "KEY")]]
