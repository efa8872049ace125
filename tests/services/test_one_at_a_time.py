"""Work that is done once, one at a time or a few at a time, however many ask for it at the same moment."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from flowrunner.api.http.state import Once
from flowrunner.dispatch.local import LocalDispatcher
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import Logged
from flowrunner.domain.values import AccountId, ExecutionId, WorkspaceId
from flowrunner.engine import recorder
from flowrunner.engine.node_context import LongValueSlot
from flowrunner.metrics import Metrics
from flowrunner.schemas import RustSchemas
from flowrunner.security.redaction import SecretRedactor
from flowrunner.security.rotation import FileKeyRotator
from flowrunner.services import flows as flow_service
from flowrunner.services.flows import Flows
from flowrunner.services.language import Language
from flowrunner.services.overview import Overviews
from support.databases import NOON
from support.flows import specs

from .callers import caller_of

ASKING: Final = 8
# What a thread waits for, which comes only if another one does the same work beside it.
_MEETING_SECONDS: Final = 0.05


class Work:
    """Work that tells how often it was done, and how many were doing it at the same time."""

    def __init__(self) -> None:
        self.done = self.most = self._now = 0
        self._changing = threading.Lock()
        self._together = threading.Event()

    async def __call__(self, *_: object, **__: object) -> Any:
        async with self.held():
            return self

    @asynccontextmanager
    async def held(self, *_: object) -> AsyncIterator[None]:
        self._begin()
        for _turn in range(3):
            await asyncio.sleep(0)
        yield
        self._end()

    def on_thread(self, *_: object, **__: object) -> None:
        self._begin()
        self._together.wait(_MEETING_SECONDS)
        self._end()

    def _begin(self) -> None:
        with self._changing:
            self.done += 1
            self._now += 1
            self.most = max(self.most, self._now)
            if self._now > 1:
                self._together.set()

    def _end(self) -> None:
        with self._changing:
            self._now -= 1


async def of_all(ask: Callable[[int], Awaitable[object]]) -> None:
    await asyncio.gather(*[ask(number) for number in range(ASKING)])


async def test_what_the_first_request_makes_is_made_once() -> None:
    once, work = Once[Any](), Work()

    await of_all(lambda _: once.get(work))

    assert work.done == 1


async def test_who_asks_for_the_metrics_meanwhile_gets_the_same_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, work = Metrics(), Work()
    monkeypatch.setattr(metrics, "refresh", work)

    await of_all(lambda _: metrics.text())

    assert work.done == 1


async def test_a_step_takes_one_slot_however_often_it_asks() -> None:
    slots, memory = Work(), Work()
    http: Any = SimpleNamespace(hold_long_value=slots.held, hold_memory=memory.held)
    slot = LongValueSlot(http, WorkspaceId("mara"))

    await of_all(lambda _: slot.take(100))
    held = (slots.done, memory.done, slots.most)
    await slot.leave()

    assert held == (1, 1, 1)


async def test_a_step_gives_its_slot_and_memory_back_when_it_leaves_and_takes_none_after_that() -> None:
    open_ones: list[str] = []

    @asynccontextmanager
    async def held(name: str) -> AsyncIterator[None]:
        open_ones.append(name)
        yield
        open_ones.remove(name)

    http: Any = SimpleNamespace(hold_long_value=lambda _: held("slot"), hold_memory=lambda _, size: held(f"{size}"))
    slot = LongValueSlot(http, WorkspaceId("mara"))

    await slot.take(100)
    await slot.take(200)
    before = sorted(open_ones)
    await slot.leave()
    after = list(open_ones)
    await slot.take(300)

    assert (before, after, open_ones, slot.is_held) == (["100", "slot"], [], [], False)


async def test_a_step_that_leaves_while_it_waits_for_a_slot_gives_it_back() -> None:
    slots, asked = asyncio.Lock(), asyncio.Event()

    @asynccontextmanager
    async def held(_: WorkspaceId) -> AsyncIterator[None]:
        asked.set()
        async with slots:
            yield

    http: Any = SimpleNamespace(hold_long_value=held)
    slot = LongValueSlot(http, WorkspaceId("mara"))

    async with slots:
        taking = asyncio.create_task(slot.take())
        await asked.wait()
        await slot.leave()
    await taking

    assert (slots.locked(), slot.is_held) == (False, False)


async def test_one_long_document_is_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox: Any = None
    language, work = Language(specs(), RustSchemas(), sandbox), Work()
    monkeypatch.setattr(language._reader, "read", work.on_thread)

    await of_all(lambda _: language._read("#" * 10_000))

    assert (work.done, work.most) == (ASKING, 1)


async def test_one_long_event_of_a_workspace_is_redacted_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    redactor, work = SecretRedactor(), Work()
    monkeypatch.setattr(recorder, "_storable", work.on_thread)

    await of_all(lambda _: recorder.storable_soon(Logged(level="info", message="x" * 100_000), redactor))

    assert (work.done, work.most) == (ASKING, 1)


async def test_one_pair_of_definitions_is_compared_at_a_time(flows: Flows, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work()
    monkeypatch.setattr(flow_service, "difference", work.on_thread)

    await of_all(lambda n: flows._compare(caller_of(AccountId(f"account-{n}")), ("", "a"), ("", "b")))

    assert (work.done, work.most) == (ASKING, 1)


async def test_few_overviews_are_read_at_a_time_for_all_accounts() -> None:
    work = Work()

    async def activity(*_: object, **__: object) -> Any:
        await work()
        return SimpleNamespace(flows=[])

    reader: Any = SimpleNamespace(activity=activity)
    clock: Any = SimpleNamespace(now=lambda: NOON)
    overviews = Overviews(reader, clock)

    await of_all(lambda n: overviews.of_workspace(caller_of(AccountId(f"account-{n}")), flows=1))

    assert work.done == ASKING
    assert work.most == 2


async def test_few_executions_are_looked_up_at_a_time_to_be_loaded() -> None:
    work = Work()

    async def stored(id: ExecutionId) -> Any:
        await work()
        return SimpleNamespace(workspace_id=WorkspaceId(f"of {id}"))

    parts: Any = SimpleNamespace(stored=stored, now=lambda: NOON)
    dispatcher = LocalDispatcher(
        parts, parts, journal=parts, due=parts, concurrency=parts, children=parts, most_active=9
    )

    async def load(number: int) -> None:
        async with dispatcher._loading_of(ExecutionId(f"exec-{number}")):
            pass

    await of_all(load)

    assert (work.done, work.most) == (ASKING, 4)


async def test_executions_that_others_load_are_few_and_leave_half_of_the_slots_to_other_workspaces() -> None:
    mara, omar, may_end = WorkspaceId("mara"), WorkspaceId("omar"), asyncio.Event()

    async def stored(id: ExecutionId) -> Any:
        return SimpleNamespace(workspace_id=WorkspaceId(id.partition("-")[0]))

    parts: Any = SimpleNamespace(stored=stored, now=lambda: NOON)
    dispatcher = LocalDispatcher(
        parts, parts, journal=parts, due=parts, concurrency=parts, children=parts, most_active=9
    )

    async def load(id: str) -> None:
        async with dispatcher._loading_of(ExecutionId(id)):
            await may_end.wait()

    async with asyncio.TaskGroup() as loads:
        for number in range(20):
            loads.create_task(load(f"{mara}-{number}"))
        for _turn in range(100):
            await asyncio.sleep(0)
        of_one = dispatcher._linked.held(mara)
        for number in range(20):
            loads.create_task(load(f"{omar}-{number}"))
        for _turn in range(100):
            await asyncio.sleep(0)
        of_other = dispatcher._linked.held(omar)
        may_end.set()

    assert (of_one, of_other) == (8, 8)


async def test_the_rotation_of_keys_is_followed_by_one_at_a_time(tmp_path: Path) -> None:
    work = Work()

    async def replacements() -> Any:
        await work()
        raise Unavailable("The database does not answer")

    parts: Any = SimpleNamespace(replacements=replacements)
    rotator = FileKeyRotator(
        tmp_path, rotations=parts, secrets=parts, vault=parts, master_keys=parts, signing_keys=parts, clock=parts,
        token_life=timedelta(1), is_shared=False,
    )  # fmt: skip

    async def follow(_: int) -> None:
        with suppress(Unavailable):
            await rotator.follow()

    await of_all(follow)

    assert (work.done, work.most) == (ASKING, 1)
