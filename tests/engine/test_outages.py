"""Executions of which something cannot be had at the moment: a secret, or their events."""

from collections.abc import Collection, Mapping

import pytest

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import Completed
from flowrunner.domain.values import AccountId
from flowrunner.engine import world
from flowrunner.security.vault import AesVault
from support.world import Machine, secret


@pytest.mark.parametrize("node", ["{type: webhook, params: {url: 'http://peer/', body: '${secrets.KEY}'}}",
                                  "{type: transform, params: {value: '${secrets.KEY}'}}"])  # fmt: skip
async def test_a_secret_that_cannot_be_read_at_the_moment_is_waited_for(
    engine: Machine, monkeypatch: pytest.MonkeyPatch, node: str
) -> None:
    monkeypatch.setattr(world, "_RETRY_SECONDS", 0.01)
    vault, reads = engine.vault, 0

    async def reveal(account_id: AccountId, names: Collection[str]) -> Mapping[str, str]:
        nonlocal reads
        reads += 1
        if reads < 3:
            raise Unavailable("The database cannot be read at the moment")
        return await AesVault.reveal(vault, account_id, names)

    monkeypatch.setattr(vault, "reveal", reveal)
    await secret(engine, "KEY", "a-value-of-some-length")

    events = await engine.run(f"nodes: {{a: {node}}}")

    assert isinstance(events[-1], Completed)
    assert reads == 3
