"""One campaign: load, faults, a time without faults, and then the checks."""

import asyncio
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from websockets.exceptions import WebSocketException

import flowrunner
from chaos.checker import (
    Told,
    attempts_of,
    check_attempts,
    check_children,
    check_ends,
    check_messages,
    check_requests,
    what_the_api_tells,
)
from chaos.faults import FAULTS, WEIGHTS, Blow, Scene
from chaos.flows import CHILD, ENDLESS, KINDS
from chaos.installation import ON_A_FILE, Installation, Kind
from chaos.load import Load
from chaos.report import Report, Struck, Times, digest
from support.client import Client
from support.databases import Place, rows_of
from support.invariants import check_accepted, check_database, check_effects, fields_of, step_of

# Of a hundred faults that are not given, so many come together with another one.
_PAIRS: Final = 25
# What a machine with other work takes; that it is far less, the report says.
_FINE_SECONDS: Final = 240.0
# Between two looks at all machines, each of which they answer: looking all the time would be most of the load.
_LOOK_SECONDS: Final = 0.4
# Without any event for so long, nothing more comes of what is open. Temporal asks for an attempt that failed again and
# again after at most thirty seconds, and a task whose workers have died takes a minute longer.
PATIENCE_SECONDS: Final = 180.0
# Multiples of this time after which what is open has to have ended, whatever goes on meanwhile.
_MOST_PATIENCE: Final = 3
# As a process without its claim says what it could not write.
_LATE_WRITE: Final = re.compile(r"execution\.interrupted .*(Another server is active|owned by another process)")


@dataclass(slots=True)
class Nemesis:
    """Strikes an installation, one blow or a pair at a time, each once all has recovered from the last.

    Attributes:
        struck_at: When each blow began, in seconds since 1970.
        wrong: What must not be and shows at once.
    """

    scene: Scene
    faults: dict[str, Struck] = field(default_factory=lambda: defaultdict(Struck))
    struck_at: list[float] = field(default_factory=list)
    pairs: int = 0
    wrong: list[str] = field(default_factory=list)
    _fine_after: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def strike(self, *names: str) -> None:
        """Have one fault, or several at once, of which those are left out that would strike the same."""
        blows: list[Blow] = []
        self.scene.struck.clear()
        for name in names:
            blow = FAULTS[name](self.scene)
            if not blow.targets & self.scene.struck:
                blows.append(blow)
                self.scene.struck.update(blow.targets)
        has_work = bool(await asyncio.to_thread(self.scene.installation.open_executions))
        self.pairs += len(blows) > 1
        began = time.time()
        self.struck_at.append(began)
        await asyncio.gather(*(blow.strike() for blow in blows))
        is_fine = await self._until_fine()
        for blow in blows:
            struck = self.faults[blow.fault]
            struck.trials += 1
            struck.in_pairs += len(blows) > 1
            struck.with_work += has_work
            self._fine_after[blow.fault].append(time.time() - began)
            struck.fine_after = Times.of(self._fine_after[blow.fault])
            if not is_fine:
                words = await asyncio.to_thread(self.scene.installation.last_words)
                self.wrong.append(f"{blow.fault}: not all was fine after {_FINE_SECONDS} s:\n{words}")

    async def _until_fine(self) -> bool:
        ends_at = time.monotonic() + _FINE_SECONDS
        while time.monotonic() < ends_at:
            for machine in self.scene.installation.machines:
                if machine.server.has_ended():
                    self.wrong.append(f"{machine.name} has ended by itself:\n{machine.server.log[-2000:]}")
                    await asyncio.to_thread(machine.server.spawn)
            machines = self.scene.installation.machines
            if all(await asyncio.gather(*(asyncio.to_thread(machine.is_fine) for machine in machines))):
                return True
            await asyncio.sleep(_LOOK_SECONDS)
        return False


def deck(faults: Sequence[str], draw: random.Random) -> Iterator[tuple[str, ...]]:
    """Faults without end, each of them in every round, now and then two at once."""
    while True:
        names = [name for name in faults for _ in range(WEIGHTS.get(name, 1))]
        draw.shuffle(names)
        while names:
            count = 2 if draw.randrange(100) < _PAIRS else 1
            yield tuple(names[:count])
            del names[:count]


def shuffled(
    counts: Mapping[str, int], draw: random.Random, *, pairs: Sequence[tuple[str, str]] = ()
) -> list[tuple[str, ...]]:
    """Faults, each so often, and pairs of them that come at once, in some order."""
    strikes = [*((name,) for name, count in counts.items() for _ in range(count)), *pairs]
    draw.shuffle(strikes)
    return strikes


async def campaign(
    kind: Kind,
    directory: Path,
    *,
    seed: int,
    strikes: Iterable[tuple[str, ...]],
    seconds: float,
    executions: int,
    longest_pause: float = 0.6,
    most_open: int = 150,
    patience: float = PATIENCE_SECONDS,
) -> Report:
    """Run one on an installation of its own, for as long as there are strikes, and no longer than the seconds.

    Args:
        strikes: Names of faults; several in one strike come at once.
        executions: How many are accepted at least.
        longest_pause: Seconds between two starts of one client at most.
        most_open: With so many open executions, clients start no more.
        patience: For how many seconds after the last fault nothing may go on in any execution while one is open.
    """
    draw, report = random.Random(seed), Report(installation=kind, version=flowrunner.__version__, seed=seed)
    began = time.monotonic()
    installation = Installation(kind, directory)
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(installation.__enter__)
        stack.push_async_callback(asyncio.to_thread, installation.__exit__)
        admin = await asyncio.to_thread(installation.admin)
        assert admin.token is not None, "logged in"
        flows = [
            (admin.new_flow(_at(installation, flow.definition), name=name), flow.deed) for name, flow in KINDS.items()
        ]
        for name, definition in (("child", CHILD), ("endless", ENDLESS)):
            admin.new_flow(_at(installation, definition), name=name)
        await asyncio.to_thread(installation.complete)
        looking = asyncio.create_task(installation.keep_looking())
        stack.push_async_callback(_end, looking)
        load = Load(
            installation.find_url, lambda: len(installation.open_executions()), admin.token, flows, draw,
            executions=executions, longest_pause=longest_pause, most_open=most_open,
            database_may_fail=kind not in ON_A_FILE,
        )  # fmt: skip
        loading = asyncio.create_task(load.run())
        stack.push_async_callback(_end, loading)
        nemesis = Nemesis(Scene(installation, load, draw))
        for strike in strikes:
            if time.monotonic() - began > seconds:
                break
            await nemesis.strike(*strike)

        # From here on nothing disturbs it.
        load.is_over = True
        healing_since = time.monotonic()
        stuck = await _until_ended(installation, loading, patience)
        report.healed_after = round(time.monotonic() - healing_since, 1)
        waits = {id: await installation.what_it_waits_for(id) for id in stuck}
        still_waiting = _who_waits(installation, load)
        looking.cancel()
        told = await asyncio.to_thread(_what_is_told, installation, admin)
        wrong_stops = await asyncio.to_thread(installation.stop)

        place, effects, ledger = installation.place, installation.receiver.effects(), load.ledger
        keys = [effect.key or "" for effect in effects]
        attempts = attempts_of(place)
        foreign = check_effects(place, keys)
        lost = check_accepted(place, ledger.accepted.values(), all_ended=False)
        report.violations = [
            *nemesis.wrong,
            *wrong_stops,
            *lost,
            *(f"{id} is stuck: {wait}" for id, wait in waits.items()),
            *([f"clients and subscribers still wait: {still_waiting}"] if not loading.done() else []),
            *(f"a client was answered {answer}" for answer in ledger.refused),
            *check_database(place),
            *foreign,
            *check_attempts(attempts, Counter(keys)),
            *check_requests(place, ledger),
            *check_ends(place, ledger),
            *check_children(place),
            *(
                check_messages(place, told, ledger)
                if told is not None
                else ["no server tells what there is in the end"]
            ),
        ]
        report.faults, report.pairs = dict(nemesis.faults), nemesis.pairs
        report.accepted, report.ambiguous = len(ledger.accepted), len(ledger.unanswered)
        report.executions = rows_of(place, "SELECT count(*) FROM executions")[0][0]
        report.lost, report.stuck = len(lost), len(stuck)
        report.repeated_nodes = sum("which has completed" in violation for violation in report.violations)
        report.effects, report.repeated_effects = len(keys), len(keys) - len(set(keys))
        report.foreign_keys = sum("that of no step" in violation for violation in foreign)
        report.late_writes = sum(len(_LATE_WRITE.findall(machine.server.log)) for machine in installation.machines)
        report.outages = Times.of(end - start for start, end in installation.outages)
        report.resumed_after = Times.of(_seconds_until_resumed(place, nemesis.struck_at))
        report.ledgers = {
            "clients": digest([ledger.accepted, ledger.unanswered, ledger.refused]),
            "receiver": digest(keys),
            "subscribers": digest(ledger.seen),
        }
        report.seconds = round(time.monotonic() - began, 1)
    return report


def _at(installation: Installation, definition: str) -> str:
    return definition.replace("RECEIVER", installation.receiver.url)


def _who_waits(installation: Installation, load: Load) -> dict[str, str]:
    """Return the subscribers that have not got the end of their execution, with the server that they wait at."""
    names = {machine.server.find_url(): f"{machine.name}, {machine.readiness()}" for machine in installation.servers}
    return {id: f"{names.get(at.split()[0], 'gone')}: {at}" for id, at in load.subscribed.items()}


def _what_is_told(installation: Installation, admin: Client) -> Told | None:
    """None if no server is ready, or it fails at telling."""
    url = installation.find_url()
    if url is None:
        return None
    admin.url = url
    try:
        return what_the_api_tells(admin)
    except (WebSocketException, AssertionError, OSError):
        return None


async def _until_ended(installation: Installation, loading: "asyncio.Task[None]", seconds: float) -> Sequence[str]:
    """Executions that have not ended although nothing has disturbed them, and none has gone on for so long.

    A busy machine takes long for many of them, but each that goes on shows that the others may.
    """
    began = last_at = time.monotonic()
    count = 0
    while (now := time.monotonic()) < min(last_at + seconds, began + _MOST_PATIENCE * seconds):
        still = await asyncio.to_thread(installation.open_executions)
        if loading.done() and not still:
            break
        ((events,),) = await asyncio.to_thread(rows_of, installation.place, "SELECT count(*) FROM events")
        if events != count:
            count, last_at = events, now
        await asyncio.sleep(_LOOK_SECONDS)
    if loading.done():
        await loading
    return still


def _seconds_until_resumed(place: Place, struck_at: Sequence[float]) -> list[float]:
    """From the fault that cut a step off until its next attempt."""
    waits: list[float] = []
    begun_at: dict[tuple[str, str], float] = {}
    for id, at, data in rows_of(
        place,
        "SELECT execution_id, at, data FROM readable_events WHERE type = 'node.started' ORDER BY execution_id, seq",
    ):
        event = fields_of(data)
        step = (id, step_of(event))
        if event["interrupted"] and step in begun_at:
            waits += [at / 1000 - fault for fault in struck_at if begun_at[step] < fault < at / 1000][:1]
        begun_at[step] = at / 1000
    return waits


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
