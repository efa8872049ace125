"""Work that is done once, one at a time or a few at a time, however many ask for it at the same moment."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final

import pytest

from flowrunner.api.http.state import Once
from flowrunner.domain.events import Logged
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.engine import recorder
from flowrunner.engine.node_context import LongValueSlot
from flowrunner.metrics import Metrics
from flowrunner.schemas import RustSchemas
from flowrunner.security.redaction import SecretRedactor
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
