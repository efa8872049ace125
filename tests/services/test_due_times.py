"""Searches for due times: one at a time for each account, and few for all of them."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.values import AccountId
from flowrunner.services import backfills, triggers
from flowrunner.services.backfills import Backfills
from flowrunner.services.flows import Flows
from flowrunner.services.triggers import Triggers
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.triggers import SqlTriggers
from services.callers import caller_of
from services.test_schedules import world
from support.databases import NOON
from support.dependencies import Machine

FIRST, END = NOON - timedelta(days=1), NOON


class Searches:
    """Counts the searches that run together, of each account and of all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def counted(self, find: Callable[..., Any], *names: str) -> Callable[..., Any]:
        def search(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                for name in names:
                    self._running[name] += 1
                    self.most[name] = max(self.most[name], self._running[name])
            time.sleep(0.01)
            found = find(*args, **kwargs)
            with self._lock:
                self._running.subtract(names)
            return found

        return search


async def test_s63_an_account_searches_for_due_times_once_at_a_time() -> None:
    searches, service = Searches(), Triggers(*cast("Any", (None, None, None)))

    def search(name: str) -> Any:
        return service.search(caller_of(AccountId(name)), searches.counted(lambda: name, name, "all"))

    found = await asyncio.gather(*(search(name) for name in ["a"] * 6 + ["b"] * 3 + ["c"] * 3))

    assert found == ["a"] * 6 + ["b"] * 3 + ["c"] * 3
    assert searches.most == {"a": 1, "b": 1, "c": 1, "all": 2}


async def test_s63_due_times_and_backfills_share_the_searches_of_an_account(
    engine: Machine, flows: Flows, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, searches = await world(engine, flows, mara, 'cron: "0 0 29 2 *"'), Searches()
    store = SqlTriggers(engine.database)
    service = Triggers(store, one.servers[0], engine.clock)
    planner = Backfills(service, cast("Any", None), SqlExecutions(engine.database), engine.clock)
    monkeypatch.setattr(triggers, "_starts", searches.counted(triggers._starts, "all"))
    monkeypatch.setattr(backfills, "_between", searches.counted(backfills._between, "all"))
    trigger = await one.trigger()

    found = await asyncio.gather(
        *(service.next_times(mara, trigger.id, count=100) for _ in range(4)),
        *(planner.plan(mara, trigger.id, FIRST, END) for _ in range(4)),
    )

    assert [len(times) for times in cast("Any", found[:4])] == [100] * 4
    assert searches.most == {"all": 1}


async def test_a_backfill_has_the_first_moment_of_its_period_and_not_the_end(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    one = await world(engine, flows, mara, "every: 15m")
    store = SqlTriggers(engine.database)
    service = Triggers(store, one.servers[0], engine.clock)
    planner = Backfills(service, cast("Any", None), SqlExecutions(engine.database), engine.clock)
    trigger, hour = await one.trigger(), timedelta(hours=1)

    periods = [await planner.plan(mara, trigger.id, NOON - n * hour, NOON - (n - 1) * hour) for n in (2, 1)]

    # Periods that follow each other share no due time, and leave none out.
    assert [plan.total for plan in periods] == [4, 4]
    found = [time for plan in periods for time in plan.first]
    assert found == [NOON - 2 * hour + n * timedelta(minutes=15) for n in range(8)]
