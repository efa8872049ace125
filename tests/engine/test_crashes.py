"""Exhaustive: the process dies at the n-th write, for every n until the plan completes without a crash."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Final
from zlib import crc32

import pytest

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import Completed
from flowrunner.domain.status import Status
from flowrunner.plugin import HttpAnswer
from flowrunner.sandbox.pool import JailedSandbox
from support.conformance import SEED, WHOLE
from support.databases import contents_of, rows_of
from support.dependencies import FakeHttp, Request, answer, machine
from support.invariants import check_database, fields_of

from .crash_plans import CRASH_PLANS
from .crashes import (
    MOST_WRITES,
    CrashingJournal,
    CrashPlan,
    Fate,
    Fresh,
    Moment,
    RefusingFate,
    Scenario,
    die_again_and_again,
    die_at_writes,
    random_deaths,
    run,
    until_ended,
)

TWICE: Final = ["an ordinary day", "a flow that goes on without the one it waited for"]


@pytest.fixture
def fresh(tmp_path: Path) -> Fresh:
    return lambda name: tmp_path / f"{name}.db"


@pytest.mark.parametrize(
    ("name", "moment"),
    # Each plan at one of the moments, and on the next day at the other one.
    [
        (name, moment)
        for name in CRASH_PLANS
        for n, moment in enumerate(("before", "after"))
        if WHOLE or (crc32(name.encode()) + int(SEED) + n) % 2 == 0
    ],
)
async def test_a_crash_at_any_write_does_not_change_the_outcome_of_a_plan(
    fresh: Fresh, sandbox: JailedSandbox, name: str, moment: Moment
) -> None:
    # In CI every other write: four days have all of them, before and after.
    writes = range(1, MOST_WRITES) if WHOLE else range(1 + int(SEED) // 2 % 2, MOST_WRITES, 2)

    await die_at_writes(fresh, CRASH_PLANS[name], moment, sandbox, writes=writes)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", TWICE)
async def test_a_crash_during_the_recovery_from_a_crash_changes_nothing_either(
    fresh: Fresh, sandbox: JailedSandbox, name: str, moment: Moment
) -> None:
    deaths = [
        (moment, (first, second, 1))
        for first in range(1, 12)
        for second in (1, 2, 3)
        if WHOLE or second == first % 3 + 1
    ]

    await die_again_and_again(fresh, CRASH_PLANS[name], sandbox, deaths)


@pytest.mark.parametrize("name", CRASH_PLANS)
async def test_crashes_at_random_writes_change_nothing_either(fresh: Fresh, sandbox: JailedSandbox, name: str) -> None:
    deaths = random_deaths(name, count=40 if WHOLE else 1)

    await die_again_and_again(fresh, CRASH_PLANS[name], sandbox, deaths)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", ["an ordinary day", "cancelling a flow that waits for another"])
async def test_a_write_that_is_refused_is_made_up_for_without_a_restart(
    tmp_path: Path, sandbox: JailedSandbox, name: str, moment: Moment
) -> None:
    for n in range(2, MOST_WRITES):
        fate = RefusingFate([n], moment)
        scenario = Scenario(tmp_path / f"{n}.db", fate, CRASH_PLANS[name], sandbox)
        try:
            violations = await scenario.play()
        except Unavailable:
            # A process that cannot claim the journal does not start.
            continue
        assert violations == [], f"refused {moment} write {n}"
        if fate.deaths == 0:
            break
    else:
        pytest.fail("the plan never went through")


MANY: Final = 1000
LONG_LOOP: Final = CrashPlan(
    flows={
        "loop": """
            nodes:
              each:
                type: foreach
                params: {items: "${flow.input.items}", concurrency: 20}
                nodes:
                  push: {type: webhook, params: {url: "http://peer/${item}"}, output: "${item}", next: note}
                  note: {type: transform, params: {value: "${input}"}}
            """
    },
    parts=[run("loop", "loop", {"items": list(range(MANY))}), until_ended("loop")],
)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_crashes_in_the_middle_of_a_loop_of_a_thousand_elements_repeat_none_that_was_recorded(
    tmp_path: Path, sandbox: JailedSandbox, moment: Moment
) -> None:
    path = tmp_path / "flowrunner.db"
    fate = Fate([9, 30, 17, 3], moment)
    scenario = Scenario(path, fate, LONG_LOOP, sandbox)
    recorded: list[set[str]] = []

    def requested() -> Counter[str]:
        return Counter(request.key for request in scenario.http.requests)

    class Watched(CrashingJournal):
        async def claim(self) -> int:
            rows = rows_of(
                path, "SELECT data FROM readable_events WHERE type = 'node.completed' AND data ->> '$.node' = 'push'"
            )
            recorded.append({f"{fields_of(row[0])['scope']}/push.1" for row in rows})
            before.append(requested())
            return await super().claim()

    before: list[Counter[str]] = []
    scenario.wrap = lambda inner, fate, database: Watched(inner, fate)

    assert await scenario.play() == []

    assert fate.deaths == 4
    assert len(recorded[-2]) > 50, "the crashes came before there was anything to lose"
    last = requested()
    id = scenario.accepted["loop"]
    for done, seen in zip(recorded, before, strict=True):
        assert {step for step in done if last[f"{id}.{step}"] != seen[f"{id}.{step}"]} == set()
    assert set(last) == {f"{id}.each.1[{n}]/push.1" for n in range(MANY)}
    assert sum(last.values()) <= MANY + 20 * fate.deaths, "more were under way at once than may be"
    assert scenario.outcome().executions["loop"][1] == ("execution.completed", list(range(MANY)))


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_execution_whose_start_was_refused_never_stands_still(tmp_path: Path, moment: Moment) -> None:
    """Refused after it was written, it exists and must end, although nobody was told of it."""
    path = tmp_path / "flowrunner.db"
    fate = RefusingFate([2], moment)
    async with machine(path, wrap=lambda inner, database: CrashingJournal(inner, fate)) as process:
        await process.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}}}")
        with pytest.raises(Unavailable):
            await process.start()

        async def none_is_open() -> bool:
            return rows_of(path, "SELECT count(*) FROM executions WHERE completed_at IS NULL") == [(0,)]

        await process.until(none_is_open)

    assert rows_of(path, "SELECT count(*) FROM executions") == [(0 if moment == "before" else 1,)]


async def test_a_process_that_was_paused_and_comes_back_does_no_harm(tmp_path: Path) -> None:
    """Two processes on one file: the first sleeps in a request while the second takes over."""
    path = tmp_path / "flowrunner.db"
    let_go = asyncio.Event()

    async def late(request: Request) -> HttpAnswer:
        await let_go.wait()
        return answer(body='"late"')

    http = FakeHttp()
    http.at("http://peer/", late, answer(body='"in time"'))
    async with machine(path, http=http) as paused:
        await paused.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}, output: '${result.body}'}}")
        await paused.start()
        await paused.until_requested("http://peer/")
        async with machine(path, http=http) as second:
            assert await second.until_ended() is Status.COMPLETED
            before = contents_of(path)
            let_go.set()
            await asyncio.sleep(0.1)
            with pytest.raises(Unavailable, match="Another server is active"):
                await paused.start(id="exec-2")

            assert contents_of(path) == before
            assert (await second.events())[-1] == Completed(result="in time")
    assert check_database(path) == []
