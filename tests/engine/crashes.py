"""Crash plans of executions, run in processes that die at chosen writes."""

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

from flowrunner.domain.errors import Conflict, NotFound, Unavailable
from flowrunner.domain.events import ROOT, ScopeEnded
from flowrunner.domain.values import JSON, ExecutionId, FlowId, WorkspaceId
from flowrunner.ports.concurrency import ConcurrencyLimits, ConcurrencySlot
from flowrunner.ports.dispatch import PARENT_HAS_ENDED, PARENT_HAS_GONE_ON
from flowrunner.ports.journal import Append, Journal, Recorded, StoredExecution, TakeEvents
from flowrunner.ports.sandbox import Sandbox
from flowrunner.services.reruns import RerunRequest
from flowrunner.storage.database import Database
from services.callers import caller_of
from support.conformance import SEED
from support.databases import MARA_ACCOUNT, NOON, Place, new_database_file, reading, rows_of
from support.dependencies import PATIENCE_SECONDS, Answer, FakeHttp, Machine, SteppingClock, answer, machine, never
from support.invariants import check_accepted, check_database, check_effects, fields_of

# Before: nothing was written. After: it was, and whoever waits for the answer never gets it. Between
# the two there is a moment only for a journal that does not write in one transaction.
Moment = Literal["before", "between", "after"]

Wrap = Callable[[Journal, "Fate", Database], Journal]
Opens = Callable[..., contextlib.AbstractAsyncContextManager[Machine]]


@dataclass
class Fate:
    """When the processes of one scenario die.

    Attributes:
        crash_at: Which writes are the last of their process; the first is 1. Counted again from 1 after each crash.
    """

    crash_at: Sequence[int]
    moment: Moment
    writes: int = 0
    deaths: int = 0
    is_dead: bool = False
    died: asyncio.Event = field(default_factory=asyncio.Event)

    def is_last_write(self) -> bool:
        self.writes += 1
        return self.deaths < len(self.crash_at) and self.writes == self.crash_at[self.deaths]

    async def point(self, moment: Moment) -> None:
        """A place where a process may die."""
        if self.is_dead:
            await asyncio.Event().wait()
        if moment == self.moment and self.is_last_write():
            await self.die()

    async def die(self) -> None:
        """From here on nothing of this process happens any more."""
        self.deaths += 1
        self.is_dead = True
        self.died.set()
        await asyncio.Event().wait()

    def be_born(self) -> None:
        self.is_dead, self.writes = False, 0
        self.died.clear()


class CrashingJournal:
    """A journal whose process dies at a write. Fills `ports.Journal`."""

    def __init__(self, inner: Journal, fate: Fate) -> None:
        self._inner = inner
        self.fate = fate

    async def append(self, append: Append) -> None:
        await self.point("before")
        await self._inner.append(append)
        await self.point("after")

    async def claim(self) -> int:
        await self.point("before")
        epoch = await self._inner.claim()
        await self.point("after")
        return epoch

    async def epoch(self) -> int:
        return await self._inner.epoch()

    async def acquire(self, id: ExecutionId, epoch: int) -> int:
        await self.point("before")
        token = await self._inner.acquire(id, epoch)
        await self.point("after")
        return token

    async def point(self, moment: Moment) -> None:
        await self.fate.point(moment)

    async def load(self, id: ExecutionId, take: TakeEvents, loading: Any = None) -> StoredExecution:
        return await self._inner.load(id, take)

    async def stored(self, id: ExecutionId) -> StoredExecution:
        return await self._inner.stored(id)

    async def events(self, id: ExecutionId, *, after: int, limit: int) -> Sequence[Recorded]:
        return await self._inner.events(id, after=after, limit=limit)

    def announce(self, id: ExecutionId) -> None:
        """There is no other process."""


class CrashingLimits:
    """Limits of concurrency whose process dies at an admission. Implements `ports.ConcurrencyLimits`."""

    def __init__(self, inner: ConcurrencyLimits, fate: Fate) -> None:
        self._inner = inner
        self._fate = fate

    async def has_free_slot(self, slot: ConcurrencySlot) -> bool:
        return await self._inner.has_free_slot(slot)

    async def admit(self, key: str) -> tuple[ExecutionId, WorkspaceId] | None:
        await self._fate.point("before")
        admitted = await self._inner.admit(key)
        await self._fate.point("after")
        return admitted

    async def holding_slot(self, key: str) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        return await self._inner.holding_slot(key)

    async def queued_keys(self) -> Sequence[str]:
        return await self._inner.queued_keys()

    async def last_queued(self, key: str) -> ExecutionId | None:
        return await self._inner.last_queued(key)

    async def older_with_key(self, id: ExecutionId) -> Sequence[ExecutionId]:
        return await self._inner.older_with_key(id)


class NotThere(Exception):
    """The failure of a part without which the rest of a plan is meaningless."""


@dataclass
class Scenario:
    """One run of a plan, with all that outlives its processes: database, peer, clock, and the caller's records.

    Attributes:
        place: A database with nothing in it, or where the file of one is to be.
        opens: Gives a process on it: `machine`, or one like it.
        accepted: The id of each execution whose start was answered, by its name in the plan.
        refused: What was asked for and refused.
    """

    place: Place
    fate: Fate
    plan: "CrashPlan"
    sandbox: Sandbox | None = None
    wrap: Wrap = lambda inner, fate, database: CrashingJournal(inner, fate)
    opens: Opens = machine
    patience_seconds: float = PATIENCE_SECONDS
    clock: SteppingClock = field(default_factory=SteppingClock)
    http: FakeHttp = field(default_factory=FakeHttp)
    accepted: dict[str, ExecutionId] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    _parts_done: int = 0

    def __post_init__(self) -> None:
        self.http.is_cut = lambda: self.fate.is_dead
        for url, answers in self.plan.answers.items():
            self.http.at(url, *answers)

    def _journal(self, inner: Journal, database: Database) -> Journal:
        return self.wrap(inner, self.fate, database)

    async def play(self) -> list[str]:
        """Go through everything, with as many lives as it takes; gives the violations found afterwards."""
        if isinstance(self.place, Path):
            new_database_file(self.place)
        # One connection for what is looked up in all lives: each reads the whole schema before its first query.
        with reading(self.place) if isinstance(self.place, Path) else contextlib.nullcontext():
            while not await self._live():
                self.fate.be_born()
        keys = [request.key for request in self.http.requests]
        with reading(self.place):
            return [
                *check_database(self.place),
                *check_accepted(self.place, self.accepted.values()),
                *check_effects(self.place, keys),
            ]

    async def _live(self) -> bool:
        """One process; whether it got through all the parts that were left, and a start with nothing left to do."""
        living, dying = asyncio.ensure_future(self._act()), asyncio.ensure_future(self.fate.died.wait())
        await asyncio.wait((living, dying), return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if self.fate.is_dead:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
            return False
        await living
        return True

    async def _act(self) -> None:
        async with self._process() as process:
            saved = {id for (id,) in await process.rows("SELECT id FROM flows")}
            for name, definition in self.plan.flows.items():
                if name not in saved:
                    await process.save(definition, name)
            # What is then missing is for the checks to find.
            with contextlib.suppress(TimeoutError, NotThere):
                for part in self.plan.parts[self._parts_done :]:
                    async with asyncio.timeout(self.patience_seconds):
                        await part(self, process)
                    self._parts_done += 1
            self._parts_done = len(self.plan.parts)
        async with self._process() as process:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.patience_seconds):
                    await _nothing_is_open(process)

    def _process(self) -> contextlib.AbstractAsyncContextManager[Machine]:
        return self.opens(
            self.place,
            clock=self.clock,
            http=self.http,
            wrap=self._journal,
            wrap_concurrency=lambda inner: CrashingLimits(inner, self.fate),
            sandbox=self.sandbox,
        )

    def id_of(self, name: str) -> ExecutionId:
        """Raises: NotThere if the execution was refused."""
        if name not in self.accepted:
            raise NotThere(name)
        return self.accepted[name]

    # What came of it

    def outcome(self) -> "Outcome":
        """What a caller, an operator and the other side see of it, with names in place of the ids."""
        with reading(self.place):
            names = self._names()
            rows = rows_of(
                self.place, "SELECT execution_id, type, data FROM readable_events ORDER BY execution_id, seq"
            )
        executions: dict[str, Any] = {}
        for id, type, data in rows:
            event = fields_of(data)
            steps, _ = executions.setdefault(names[id], ({}, None))
            if type == "node.completed":
                name = f"{event['scope']}/{event['node']}.{event['iteration']}".lstrip("/")
                steps[name] = _renamed(event["result"], names)
            elif type.startswith("execution."):
                executions[names[id]] = (steps, (type, _essence(event, names)))
        effects = {(r.method, r.url, _renamed(r.key, names)) for r in self.http.requests}
        outcome = Outcome(executions, effects, frozenset(self.refused))
        return outcome if self.plan.is_exact else outcome.ends()

    def _names(self) -> dict[str, str]:
        names: dict[str, str] = {id: name for name, id in self.accepted.items()}
        first_events = rows_of(self.place, "SELECT execution_id, data FROM events WHERE seq = 1 ORDER BY execution_id")
        for id, data in first_events:
            parent = fields_of(data)["parent"]
            if parent is not None:
                names[id] = f"{names[parent['execution_id']]}>{parent['step']}#{parent['failures'] + 1}"
        return names


@dataclass(frozen=True)
class Outcome:
    """Of each execution the results of its steps and its end; all requests; what was refused."""

    executions: Mapping[str, tuple[Mapping[str, Any], tuple[str, Any]]]
    effects: Set[tuple[str, str, str]]
    refused: Set[str]

    def ends(self) -> "Outcome":
        """Why each execution has ended, and nothing else."""
        ends: dict[str, Any] = {
            name: ({}, (type, essence[0])) for name, (_, (type, essence)) in self.executions.items()
        }
        return Outcome(ends, frozenset(), self.refused)


def _essence(event: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """What an end says, without what differs between runs that went as well."""
    match event:
        case {"error": {"type": kind, "message": message}, **rest}:
            return kind, _renamed(message, names), rest.get("step")
        case {"result": result}:
            return _renamed(result, names)
        case {"reason": reason}:
            # Whether the other has gone on or ended by the time that this is found is all the same.
            return "left behind" if reason in (PARENT_HAS_ENDED, PARENT_HAS_GONE_ON) else reason
        case _:
            return None


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    text = json.dumps(value)
    for id, name in names.items():
        text = text.replace(id, name)
    return json.loads(text, object_hook=_without_times)


def _without_times(value: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name not in ("timing_ms", "at")}


async def _nothing_is_open(process: Machine) -> None:
    async def none_is() -> bool:
        return await process.rows("SELECT count(*) FROM executions WHERE completed_at IS NULL") == [(0,)]

    await process.until(none_is)


# The parts of plans. Each part may be begun any number of times.

Part = Callable[[Scenario, Machine], Awaitable[None]]
ADMIN: Final = caller_of(MARA_ACCOUNT, role="admin")


@dataclass(frozen=True)
class CrashPlan:
    """What somebody does with a server.

    Attributes:
        flows: Definitions by name.
        answers: What the other side answers, by URL; 200 where nothing is said.
        is_exact: It ends with the same results of the same steps whatever happens. Without that, only why its
            executions end is the same: attempts that were cut off count towards a limit.
    """

    flows: Mapping[str, str]
    parts: Sequence[Part]
    answers: Mapping[str, Sequence[Answer]] = field(default_factory=dict)
    is_exact: bool = True


def run(name: str, flow: str, input: Mapping[str, JSON] | None = None) -> Part:
    """Ask for an execution until there is an answer, as a careful caller does."""

    async def ask(scenario: Scenario, process: Machine) -> None:
        while name not in scenario.accepted:
            try:
                accepted = await process.executions.run(
                    ADMIN, FlowId(flow), input or {}, idempotency_key=f"key-of-{name}"
                )
            except Unavailable:
                continue
            except Conflict:
                scenario.refused.add(name)
                return
            except NotFound:
                raise NotThere(name) from None
            scenario.accepted[name] = accepted.id

    return ask


def rerun(name: str, of: str, **how: Any) -> Part:
    async def ask(scenario: Scenario, process: Machine) -> None:
        of_id, asked = scenario.id_of(of), RerunRequest(**how)
        accepted = await process.reruns.rerun(ADMIN, of_id, asked, idempotency_key=f"key-of-{name}")
        scenario.accepted[name] = accepted.id

    return ask


def until_waiting(name: str) -> Part:
    """Until nothing of an execution goes on by itself."""

    async def wait(scenario: Scenario, process: Machine) -> None:
        id = scenario.id_of(name)

        async def waits() -> bool:
            try:
                return await process.status(id) is not None and await process.is_idle(id) and process.in_memory == 0
            except NotFound:
                return False

        await process.until(waits)

    return wait


def until_all_wait(count: int) -> Part:
    """Until so many executions wait for something."""

    async def wait(scenario: Scenario, process: Machine) -> None:
        async def wait_all() -> bool:
            found = await process.rows("SELECT count(*) FROM executions WHERE is_idle")
            return found == [(count,)] and process.in_memory == 0

        await process.until(wait_all)

    return wait


def until_requested(url: str) -> Part:
    async def wait(scenario: Scenario, process: Machine) -> None:
        await process.until_requested(url)

    return wait


def time_passes(**amount: float) -> Part:
    """Advance the clock to so long after the beginning of the plan."""

    async def pass_by(scenario: Scenario, process: Machine) -> None:
        ahead = NOON + timedelta(**amount) - scenario.clock.now()
        scenario.clock.advance(seconds=max(ahead.total_seconds(), 0.0))
        process.look_at_timers()

    return pass_by


def signal(name: str, key: str, payload: JSON = None) -> Part:
    async def send(scenario: Scenario, process: Machine) -> None:
        # One that was not answered and is sent again may find that it has done its work.
        with contextlib.suppress(Conflict):
            await process.signals.send(ADMIN, scenario.id_of(name), key, payload)

    return send


def approve(name: str, node: str) -> Part:
    async def answer_it(scenario: Scenario, process: Machine) -> None:
        # Whether it waits for an answer at all is for the checks to find.
        with contextlib.suppress(Conflict, NotFound):
            await process.signals.answer(ADMIN, scenario.id_of(name), node, approved=True, data=None)

    return answer_it


def cancel(name: str) -> Part:
    async def end(scenario: Scenario, process: Machine) -> None:
        id = scenario.id_of(name)
        # Asked a second time, it would cut off the handlers of its end.
        if not any(isinstance(event, ScopeEnded) and event.scope == ROOT for event in await process.events(id)):
            with contextlib.suppress(Conflict):
                await process.dispatcher.cancel(id, reason="by hand")

    return end


def until_ended(*names: str) -> Part:
    async def wait(scenario: Scenario, process: Machine) -> None:
        for name in names:
            with contextlib.suppress(NotFound):
                await process.until_ended(scenario.id_of(name), seconds=scenario.patience_seconds)

    return wait


ORDINARY: Final = CrashPlan(
    flows={
        "ordinary": """
            nodes:
              fetch: {type: http.request, params: {url: "http://peer/flaky"}, retry: {max: 3, delay: 1ms}, next: shape}
              shape: {type: transform, params: {value: {got: "${input.status_code}"}}, next: rest}
              rest: {type: delay, params: {duration: 1h}, next: tell}
              tell: {type: webhook, params: {url: "http://peer/tell"}, next: {default: done, error: done}}
              done: {type: return, params: {value: "${nodes.shape.result.got}"}}
            """,
        "slow": """
            nodes:
              hang: {type: http.request, params: {url: 'http://peer/hang'}, next: after}
              after: {type: return}
            """,
    },
    answers={"http://peer/flaky": [answer(503), answer()], "http://peer/hang": [never]},
    parts=[
        run("first", "ordinary"),
        until_waiting("first"),
        time_passes(hours=2),
        until_ended("first"),
        run("second", "slow"),
        until_requested("http://peer/hang"),
        cancel("second"),
    ],
)


class RefusingFate(Fate):
    """A write at a chosen moment is answered as refused, in a process that lives on.

    Refused before, nothing was written; refused after, it was, and nobody can tell.
    """

    async def point(self, moment: Moment) -> None:
        if moment == self.moment and self.is_last_write():
            self.deaths += 1
            raise Unavailable("The database cannot be written at the moment")


# More than a plan has writes: a guard against a loop that never ends.
MOST_WRITES: Final = 200

# Gives a database with nothing in it, or where the file of one is to be, by a name. It is used for one scenario
# until the next one is asked for.
Fresh = Callable[[str], Place]


# By kind of database, what opens processes on it, and the plan.
_undisturbed: Final[dict[tuple[type, Opens, int], Outcome]] = {}


async def undisturbed(fresh: Fresh, plan: CrashPlan, sandbox: Sandbox, opens: Opens = machine) -> Outcome:
    """Return the outcome of a plan without a crash, which is found out once."""
    place = fresh("undisturbed")
    key = (type(place), opens, id(plan))
    if key not in _undisturbed:
        scenario = Scenario(place, Fate([], "before"), plan, sandbox, opens=opens)
        assert await scenario.play() == []
        _undisturbed[key] = scenario.outcome()
    return _undisturbed[key]


async def die_at_writes(
    fresh: Fresh,
    plan: CrashPlan,
    moment: Moment,
    sandbox: Sandbox,
    *,
    writes: Sequence[int] = range(1, MOST_WRITES),
    opens: Opens = machine,
) -> None:
    """Assert that a plan ends as it does undisturbed if the process dies at a write, for each of ``writes`` until
    the plan completes without a crash."""
    expected = await undisturbed(fresh, plan, sandbox, opens)
    for n in writes:
        fate = Fate([n], moment)
        scenario = Scenario(fresh(str(n)), fate, plan, sandbox, opens=opens)

        violations = await scenario.play()

        assert violations == [], f"process died {moment} write {n}: {violations}"
        found = scenario.outcome()
        assert found == expected, f"process died {moment} write {n}: {found} instead of {expected}"
        if fate.deaths == 0:
            break
    else:
        raise AssertionError("the plan never went through")
    assert n > 5, "the plan has fewer writes than it must have"


Deaths = tuple[Moment, Sequence[int]]


def random_deaths(name: str, *, count: int) -> Sequence[Deaths]:
    """When one process after the other dies in a plan, so many times over: the same for the same seed."""
    # Nothing is kept secret by it.
    chance = random.Random(f"{SEED} {name}")
    return [
        (chance.choice(("before", "after")), [chance.randint(1, 15) for _ in range(chance.randint(2, 4))])
        for _ in range(count)
    ]


async def die_again_and_again(
    fresh: Fresh, plan: CrashPlan, sandbox: Sandbox, deaths: Sequence[Deaths], *, opens: Opens = machine
) -> None:
    """Asserts the same of processes that die several times, whose writes are counted from 1 again after each."""
    expected = await undisturbed(fresh, plan, sandbox, opens)
    for number, (moment, writes) in enumerate(deaths):
        scenario = Scenario(fresh(str(number)), Fate(writes, moment), plan, sandbox, opens=opens)

        violations = await scenario.play()

        assert violations == [], f"processes died {moment} writes {writes}"
        assert scenario.outcome() == expected, f"processes died {moment} writes {writes}"
