"""Signals to the executions that a filter selects, of which an outage or a kill may leave some for the repeat."""

from dataclasses import replace
from typing import Any

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.labels import label_term
from flowrunner.domain.request_keys import RequestKey
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.ports.executions import ExecutionFilter
from flowrunner.services.bulk_executions import Selection
from flowrunner.services.bulk_signals import BulkSignals
from flowrunner.services.signals import Signals
from support.databases import rows_of
from support.dependencies import Machine

TWICE = """
nodes:
  paid: {type: wait, params: {key: paid}, next: again}
  again: {type: wait, params: {key: paid}}
"""
ORDER = Selection(filter=ExecutionFilter(terms=[label_term("order:7", "label")]))


class Interrupted:
    """The service that sends signals, which an outage interrupts after some."""

    def __init__(self, signals: Signals, *, after: int) -> None:
        self._signals, self._left = signals, after

    async def send(self, caller: Caller, id: ExecutionId, key: str, payload: JSON, **more: Any) -> None:
        if self._left == 0:
            raise Unavailable("an outage")
        self._left -= 1
        await self._signals.send(caller, id, key, payload, **more)


async def test_a_repeat_after_an_outage_goes_on_with_the_others(engine: Machine, mara: Caller) -> None:
    flow_id = await engine.save(TWICE)
    ids = sorted([(await engine.executions.run(mara, flow_id, {}, labels={"order": "7"})).id for _ in range(3)])
    for id in ids:
        await engine.until_parked(id)
    caller = replace(mara, request=RequestKey("digest", "request-1", "asked", sent="k"))
    interrupted = BulkSignals(engine.executions, Interrupted(engine.signals, after=2))  # type: ignore[arg-type] # it sends, too

    with pytest.raises(Unavailable):
        await interrupted.send(caller, ORDER, "paid", 1, idempotency_key="k")

    # The key is not used up: a repeat would be answered that it was done.
    assert rows_of(engine.path, "SELECT count(*) FROM request_keys") == [(0,)]
    sent = await BulkSignals(engine.executions, engine.signals).send(caller, ORDER, "paid", 1, idempotency_key="k")
    assert (sent.taken, sent.refused) == (ids, [])
    received = "SELECT execution_id, count(*) FROM events WHERE type = 'signal.received' GROUP BY execution_id"
    assert dict(rows_of(engine.path, received)) == dict.fromkeys(ids, 1)
