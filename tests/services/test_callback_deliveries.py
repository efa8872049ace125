"""Attempts to deliver callbacks: how often, in which case a last time, and how a flood is kept from a receiver."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowrunner.domain.callbacks import FAILURES_BEFORE_PAUSE, TEST_EVENT, delay_after
from flowrunner.domain.causes import DEPTH_HEADER, Chained, StartCause
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.plugin import HttpAnswer, HttpClient, NodeFailure
from flowrunner.ports.callbacks import CallbackId, CallbackView, DeliveryAttempt, DeliveryId, DeliveryView
from flowrunner.security.vault import AesVault, MasterKeys
from flowrunner.services import callback_deliveries, callback_messages, waiting_callbacks
from flowrunner.services.callback_deliveries import CallbackDeliveries
from flowrunner.services.callback_messages import CallbackMessages
from flowrunner.services.callback_secrets import Credentials
from flowrunner.storage import surplus
from flowrunner.storage.callback_deliveries import SqlCallbackDeliveries
from flowrunner.storage.callbacks import SqlCallbacks
from flowrunner.storage.database import Database
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.secrets import SqlSecrets
from storage.samples import ALL
from support.databases import (
    MARA,
    NOON,
    OMAR,
    REQUESTED,
    add_flows,
    change,
    creation,
    new_database_file,
    open_database,
)
from support.dependencies import SteppingClock
from support.waiting import PATIENCE_SECONDS


class Network:
    """Receivers by URL: what each answers, and how often it was asked. Implements `ports.HttpClients`."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], Awaitable[HttpAnswer]]] = {}
        self.asked: Counter[str] = Counter()
        self.ids: dict[str, list[str]] = defaultdict(list)

    def of(self, workspace_id: str) -> HttpClient:
        return self  # type: ignore[return-value] # it has the one method that is called

    def hold_long_value(self, workspace_id: str) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def hold_memory(self, workspace_id: str, size: int) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None) -> HttpAnswer:
        self.asked[url] += 1
        self.ids[url].append(headers["webhook-id"])
        return await self.answers[url]()

    def says(self, url: str, status: int, **headers: str) -> None:
        async def answer() -> HttpAnswer:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return HttpAnswer(status=status, headers=named, body=b"", url=url, redirects=0)

        self.answers[url] = answer


class Installation:
    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        # As quick as it may be: what is counted here are requests.
        monkeypatch.setattr(callback_deliveries, "PAUSES", defaultdict(float))
        self.clock, self.network, self.outcomes = SteppingClock(), Network(), Counter[str]()
        self.store, self.pending = SqlCallbacks(database), SqlCallbackDeliveries(database)
        self.vault = AesVault(SqlSecrets(database), MasterKeys(bytes(32)), self.clock)
        self.journal = SqlJournal(database)
        self.messages = CallbackMessages(SqlExecutions(database), self.journal, SqlFlows(database), public_url=None)
        self.deliveries = CallbackDeliveries(
            self.store, self.pending, self.messages, self.vault, self.network, mailer=None,
            clock=self.clock, draw=lambda: 0.5, on_attempt=lambda outcome: self.outcomes.update([outcome]),
        )  # fmt: skip

    async def callback(self, url: str, *, pending: int, **fields: Any) -> CallbackView:
        view = CallbackView(
            id=CallbackId(f"callback-{url}"), name="C", address=url, created_at=NOON, updated_at=NOON,
            **{"format": "standard", "events": ["execution.failed"], "workspace_id": MARA} | fields,
        )  # fmt: skip
        seal = self.vault.sealer(view.workspace_id, view.id, Credentials.new(url).text)
        await self.store.create(view, seal, most=9)
        for n in range(pending):
            await self.pend(view, f"{url}-{n}")
        return view

    async def pend(self, view: CallbackView, id: str, *, noted_at: datetime = NOON) -> None:
        delivery = DeliveryView(
            id=DeliveryId(id), workspace_id=view.workspace_id, callback_id=view.id, event=TEST_EVENT, subject="s",
            details={}, noted_at=noted_at, next_at=NOON,
        )  # fmt: skip
        await self.pending.add(delivery)

    async def states(self, view: CallbackView) -> Counter[str]:
        found, _ = await self.pending.page(view.workspace_id, view.id, page=ALL)
        return Counter(each.state for each in found)

    async def get(self, view: CallbackView) -> CallbackView:
        return (await self.store.get(MARA, view.id)).view


@pytest.fixture
async def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Installation]:
    path = add_flows(new_database_file(tmp_path / "flowrunner.db"))
    database = open_database(path)
    yield Installation(database, monkeypatch)
    await database.close()


async def test_s74_a_receiver_that_fails_gets_a_bounded_number_of_requests_however_many_events_there_are(
    installation: Installation,
) -> None:
    installation.network.says("http://dead", 500)
    view = await installation.callback("http://dead", pending=300)

    await installation.deliveries.deliver_due()

    first = installation.network.asked["http://dead"]
    assert first == FAILURES_BEFORE_PAUSE
    for _ in range(5):
        failing = await installation.get(view)
        assert failing.failures == installation.network.asked["http://dead"]
        due_at, *_ = await installation.pending.next_due()
        assert due_at is not None
        assert due_at > installation.clock.now()
        installation.clock.advance(seconds=(due_at - installation.clock.now()).total_seconds() + 0.01)
        before = installation.network.asked["http://dead"]
        await installation.deliveries.deliver_due()
        # One message tries whether it works again.
        assert installation.network.asked["http://dead"] == before + 1

    installation.network.says("http://dead", 204)
    installation.clock.advance(hours=1)
    await installation.deliveries.deliver_due()
    assert await installation.states(view) == {"delivered": 300}
    assert len(set(installation.network.ids["http://dead"])) == 300
    assert (await installation.get(view)).failures == 0


@pytest.mark.parametrize(
    ("failures", "more"), [(FAILURES_BEFORE_PAUSE - 1, 1), (FAILURES_BEFORE_PAUSE, 0), (FAILURES_BEFORE_PAUSE + 1, 0)]
)
async def test_a_receiver_has_a_pause_from_its_fifth_failure_in_a_row(
    installation: Installation, failures: int, more: int
) -> None:
    installation.network.says("http://dead", 500)
    view = await installation.callback("http://dead", pending=failures)
    await installation.deliveries.deliver_due()

    await installation.pend(view, "new")
    await installation.deliveries.deliver_due()

    assert installation.network.asked["http://dead"] == min(failures, FAILURES_BEFORE_PAUSE) + more


async def test_a_receiver_that_takes_nothing_for_a_day_has_its_callback_disabled_and_others_are_told(
    installation: Installation,
) -> None:
    async def refuse() -> HttpAnswer:
        raise NodeFailure("connection.refused", "The connection was refused: http://10.1.2.3/secret")

    installation.network.answers["http://dead"] = refuse
    installation.network.says("http://alive", 200)
    other = await installation.callback("http://alive", pending=0, events=["callback.disabled"])
    view = await installation.callback("http://dead", pending=1)
    begun_at = installation.clock.now()

    while (await installation.get(view)).disabled_at is None:
        await installation.deliveries.deliver_due()
        assert installation.clock.now() < begun_at + timedelta(days=1, hours=2), "it is never disabled"
        due_at, *_ = await installation.pending.next_due()
        if due_at is not None:
            installation.clock.advance(seconds=max(0.0, (due_at - installation.clock.now()).total_seconds()))

    await installation.deliveries.deliver_due()
    assert installation.clock.now() > begun_at + timedelta(hours=22)
    assert 30 <= installation.network.asked["http://dead"] <= 45
    assert await installation.states(view) == {"failed": 1}
    (delivery,), _ = await installation.pending.page(MARA, view.id, page=ALL)
    # Nothing of the receiver, and no address of this network.
    assert delivery.error == "connection.refused"
    assert installation.network.asked["http://alive"] == 1
    assert await installation.states(other) == {"delivered": 1}


async def test_all_that_is_pending_fails_with_its_callback(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.storage.callback_deliveries._FAILED_AT_ONCE", 2)
    installation.network.says("http://gone", 410)
    view = await installation.callback("http://gone", pending=19)

    await installation.deliveries.deliver_due()

    assert await installation.states(view) == {"failed": 19}


async def test_what_a_crash_has_left_pending_of_a_disabled_callback_fails(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.storage.callback_deliveries._FAILED_AT_ONCE", 2)
    view = await installation.callback("http://gone", pending=9)
    await installation.store.disable(view.id, at=installation.clock.now(), reason="gone", notice={})

    await installation.deliveries.purge()

    assert await installation.states(view) == {"failed": 9}


async def until_disabled(installation: Installation, view: CallbackView, *, hours: int) -> int:
    """Tell of another event every hour; the hours until the callback is disabled."""
    for hour in range(hours):
        await installation.deliveries.deliver_due()
        if (await installation.get(view)).disabled_at is not None:
            return hour
        await installation.pend(view, f"hour-{hour}")
        installation.clock.advance(hours=1.3)
    return hours


async def test_s74_new_events_do_not_keep_a_callback_of_a_dead_receiver_alive(installation: Installation) -> None:
    installation.network.says("http://dead", 500)
    view = await installation.callback("http://dead", pending=40)

    hours = await until_disabled(installation, view, hours=40)

    assert 15 <= hours <= 22
    assert set(await installation.states(view)) == {"failed"}


async def test_a_receiver_that_takes_the_last_attempt_keeps_its_callback(installation: Installation) -> None:
    installation.network.says("http://ill", 500)
    view = await installation.callback("http://ill", pending=1)
    await installation.deliveries.deliver_due()
    for _ in range(9):
        installation.clock.advance(hours=2.6)
        await installation.deliveries.deliver_due()
    assert (await installation.get(view)).failures == 10

    installation.network.says("http://ill", 200)
    installation.clock.advance(minutes=30)
    await installation.deliveries.deliver_due()

    found = await installation.get(view)
    assert (found.disabled_at, found.failures) == (None, 0)
    assert await installation.states(view) == {"delivered": 1}


async def test_s63_a_callback_that_breaks_stops_no_other_one(installation: Installation) -> None:
    async def broken() -> HttpAnswer:
        raise IndexError("in a library")

    installation.network.answers["http://broken"] = broken
    installation.network.says("http://right", 200)
    view = await installation.callback("http://broken", pending=1)
    right = await installation.callback("http://right", pending=20)

    await installation.deliveries.deliver_due()

    assert await installation.states(right) == {"delivered": 20}
    (delivery,), _ = await installation.pending.page(MARA, view.id, page=ALL)
    assert (delivery.state, delivery.error, delivery.attempts) == ("pending", "internal", 1)


async def test_a_delivery_that_cannot_be_read_fails_alone(installation: Installation, tmp_path: Path) -> None:
    installation.network.says("http://right", 200)
    view = await installation.callback("http://right", pending=3)
    change(tmp_path / "flowrunner.db", "UPDATE callback_deliveries SET details = '{' WHERE id = 'http://right-1'")

    await installation.deliveries.deliver_due()

    found, _ = await installation.pending.page(MARA, view.id, page=ALL)
    assert {each.id: (each.state, each.error) for each in found} == {
        "http://right-0": ("delivered", None),
        "http://right-1": ("failed", "unreadable"),
        "http://right-2": ("delivered", None),
    }
    # The receiver is not to blame.
    assert (await installation.get(view)).failures == 0


async def test_s63_a_callback_that_cannot_be_read_cancels_no_delivery_of_another_one(
    installation: Installation, tmp_path: Path
) -> None:
    sent, may_end, has_failed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    get = installation.store.get

    async def slow() -> HttpAnswer:
        sent.set()
        await may_end.wait()
        return HttpAnswer(status=200, headers={}, body=b"", url="http://right", redirects=0)

    async def watched(workspace_id: WorkspaceId, id: CallbackId) -> Any:
        try:
            return await get(workspace_id, id)
        except Exception:
            has_failed.set()
            raise

    installation.network.answers["http://right"] = slow
    installation.store.get = watched  # type: ignore[method-assign] # to see that it fails
    right = await installation.callback("http://right", pending=1)
    delivering = asyncio.create_task(installation.deliveries.deliver_due())
    await sent.wait()
    broken = await installation.callback("http://broken", pending=0)
    # A list for SQLite, which reads more than JSON.
    change(tmp_path / "flowrunner.db", "UPDATE callbacks SET events = '[1,]' WHERE id LIKE '%http://broken'")
    # Only now is it looked at.
    await installation.pend(broken, "broken")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await has_failed.wait()
    may_end.set()
    # The error would have cancelled it by then.
    await asyncio.sleep(2 * callback_deliveries.LOOK_SECONDS)

    assert not delivering.done()
    assert await installation.states(right) == {"delivered": 1}
    assert installation.network.asked == {"http://right": 1}
    delivering.cancel()
    await asyncio.gather(delivering, return_exceptions=True)


async def test_an_attempt_that_cannot_be_recorded_cuts_off_no_message_that_is_being_sent(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_deliveries, "_seconds_after_outages", lambda outages: 0.0)
    is_recorded, record = asyncio.Event(), installation.pending.record
    refused: list[DeliveryId] = []

    async def record_later(attempt: DeliveryAttempt) -> None:
        if not refused and attempt.callback_id == "callback-http://quick":
            refused.append(attempt.id)
            is_recorded.set()
            raise Unavailable("The database cannot be written at the moment")
        await record(attempt)

    async def answer_late() -> HttpAnswer:
        await is_recorded.wait()
        await asyncio.sleep(0.1)
        return HttpAnswer(status=200, headers={}, body=b"", url="http://slow", redirects=0)

    async def answer_the_first_at_once() -> HttpAnswer:
        return await (answer_late() if len(installation.network.ids["http://quick"]) > 1 else quick())

    installation.network.says("http://quick", 200)
    quick = installation.network.answers["http://quick"]
    installation.network.answers |= {"http://slow": answer_late, "http://quick": answer_the_first_at_once}
    monkeypatch.setattr(installation.pending, "record", record_later)
    views = [
        await installation.callback("http://quick", pending=2),
        await installation.callback("http://slow", pending=1),
    ]

    async with asyncio.timeout(PATIENCE_SECONDS):
        await installation.deliveries.deliver_due()

    assert [await installation.states(view) for view in views] == [{"delivered": 2}, {"delivered": 1}]
    assert installation.network.asked == {"http://quick": 3, "http://slow": 1}
    assert Counter(installation.network.ids["http://quick"])[refused[0]] == 2


async def test_s63_slow_receivers_of_a_workspace_leave_room_for_others(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_callbacks, "AT_ONCE", 3)
    monkeypatch.setattr(waiting_callbacks, "OF_A_WORKSPACE", 2)
    done = asyncio.Event()

    async def slow() -> HttpAnswer:
        await done.wait()
        return HttpAnswer(status=200, headers={}, body=b"", url="", redirects=0)

    for n in range(4):
        installation.network.answers[f"http://a{n}"] = slow
        await installation.callback(f"http://a{n}", pending=1)
    installation.network.says("http://other", 200)
    other = await installation.callback("http://other", pending=30, workspace_id=OMAR)

    running = asyncio.create_task(installation.deliveries.deliver_due())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await installation.states(other) != {"delivered": 30}:  # noqa: ASYNC110 # nothing tells
            await asyncio.sleep(0.01)
    assert installation.network.asked == {"http://other": 30, "http://a0": 1, "http://a1": 1}
    done.set()
    await running


async def test_s63_callbacks_with_many_messages_leave_turns_to_those_of_other_workspaces(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_callbacks, "AT_ONCE", 2)
    monkeypatch.setattr(callback_deliveries, "_TURN_SECONDS", 0.0)
    asked, sent_before = installation.network.asked, Counter[str]()

    async def slow() -> HttpAnswer:
        await asyncio.sleep(0.005)
        return HttpAnswer(status=200, headers={}, body=b"", url="", redirects=0)

    async def other() -> HttpAnswer:
        sent_before.update(asked)
        return HttpAnswer(status=200, headers={}, body=b"", url="", redirects=0)

    installation.network.answers |= {"http://a0": slow, "http://a1": slow, "http://other": other}
    many = [await installation.callback(f"http://a{n}", pending=100) for n in range(2)]
    late = await installation.callback("http://other", pending=0, workspace_id=OMAR)

    running = asyncio.create_task(installation.deliveries.deliver_due())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(asked) < 2:  # noqa: ASYNC110 # nothing tells
            await asyncio.sleep(0)
        await installation.pend(late, "late")
        await running

    assert [await installation.states(view) for view in (*many, late)] == [{"delivered": n} for n in (100, 100, 1)]
    assert sent_before["http://a0"] < 100 > sent_before["http://a1"]


@pytest.mark.parametrize("workspaces", [(MARA, OMAR), (MARA, MARA)])
async def test_s63_no_callback_waits_until_all_messages_of_another_one_are_sent(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, workspaces: Sequence[WorkspaceId]
) -> None:
    monkeypatch.setattr(waiting_callbacks, "AT_ONCE", 1)
    monkeypatch.setattr(callback_deliveries, "_TURN_SECONDS", 0.0)
    asked, sent_before = installation.network.asked, dict[str, int]()

    async def answer() -> HttpAnswer:
        for url in asked:
            sent_before.setdefault(url, max(asked.values()))
        return HttpAnswer(status=200, headers={}, body=b"", url="", redirects=0)

    installation.network.answers |= dict.fromkeys(("http://a", "http://b"), answer)
    for url, workspace_id in zip(("http://a", "http://b"), workspaces, strict=True):
        await installation.callback(url, pending=100, workspace_id=workspace_id)

    await installation.deliveries.deliver_due()

    assert asked == {"http://a": 100, "http://b": 100}
    assert max(sent_before.values()) < 100


async def test_a_callback_that_another_process_has_paused_meanwhile_is_not_sent(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_callbacks, "AT_ONCE", 1)
    is_asked = asyncio.Event()

    async def hang() -> HttpAnswer:
        is_asked.set()
        return await asyncio.Future()

    installation.network.answers["http://a"] = hang
    installation.network.says("http://b", 200)
    _, waiting = [await installation.callback(url, pending=1) for url in ("http://a", "http://b")]
    running = asyncio.create_task(installation.deliveries.deliver_due())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await is_asked.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    now = installation.clock.now()
    await installation.pending.record(
        DeliveryAttempt(
            id=DeliveryId("http://b-0"), callback_id=waiting.id, at=now, has_succeeded=False, retry_until=now,
            next_at=now, paused_until=now + timedelta(hours=1), error="timeout",
        )
    )  # fmt: skip
    installation.network.says("http://a", 200)
    await installation.deliveries.deliver_due()

    assert installation.network.asked == {"http://a": 2}


async def test_callbacks_that_are_due_are_not_listed_again_for_each_that_ends(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_callbacks, "AT_ONCE", 1)
    monkeypatch.setattr(callback_deliveries, "LOOK_SECONDS", PATIENCE_SECONDS)
    list_due, looks = installation.pending.due_callbacks, []

    async def due_callbacks(**wanted: Any) -> Any:
        looks.append(wanted)
        return await list_due(**wanted)

    monkeypatch.setattr(installation.pending, "due_callbacks", due_callbacks)
    for n in range(8):
        installation.network.says(f"http://a{n}", 200)
        await installation.callback(f"http://a{n}", pending=1)

    await installation.deliveries.deliver_due()

    assert installation.network.asked.total() == 8
    assert len(looks) == 2


@pytest.mark.parametrize(
    ("cause", "depth"),
    [(REQUESTED, 1), (Chained(trigger=TriggerId("t"), name="t", of=ExecutionId("e0"), depth=4), 5)],
)
async def test_a_message_says_how_many_executions_have_led_to_it(
    installation: Installation, cause: StartCause, depth: int
) -> None:
    created = creation("e1", epoch=await installation.journal.claim(), cause=cause)
    await installation.journal.append(created)
    view = await installation.callback("http://next", pending=0)
    delivery = DeliveryView(
        id=DeliveryId("d"), workspace_id=MARA, callback_id=view.id, event="execution.failed",
        execution_id=ExecutionId("e1"), seq=1, noted_at=NOON,
    )  # fmt: skip

    event = await installation.messages.event_of(delivery, workspace_name="W")
    message = await installation.messages.message(view, event, credentials=Credentials.new("http://next"), now=NOON)

    # A flow that is started by it counts from there, so that two that call each other end.
    assert event.depth == depth
    assert message.headers[DEPTH_HEADER] == str(depth)


async def test_nothing_more_is_sent_once_somebody_has_disabled_the_callback(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_deliveries, "_PORTION", 4)
    view = await installation.callback("http://alive", pending=9)

    async def disable() -> HttpAnswer:
        await installation.store.change(MARA, view.id, lambda before: replace(before, disabled_at=NOON))
        return HttpAnswer(status=200, headers={}, body=b"", url="http://alive", redirects=0)

    installation.network.answers["http://alive"] = disable
    await installation.deliveries.deliver_due()

    # Those that were being sent.
    assert await installation.states(view) == {"delivered": 4, "pending": 5}


@pytest.mark.parametrize(
    ("error", "failing", "failures", "is_given_up", "expected"),
    [
        ("http.500", timedelta(hours=23), 9, True, True),
        ("http.500", timedelta(hours=22), 9, True, False),
        ("http.500", timedelta(hours=24), FAILURES_BEFORE_PAUSE - 1, False, True),
        ("http.500", timedelta(hours=24), FAILURES_BEFORE_PAUSE - 2, False, False),
        ("http.500", timedelta(hours=23), 9, False, False),
        # The receiver is not to blame for a template without a value.
        ("template", timedelta(hours=30), 9, True, False),
        (None, timedelta(hours=30), 9, False, False),
        ("http.500", None, 0, True, False),
    ],
)
def test_a_callback_is_given_up_only_if_its_receiver_has_failed_for_a_day(
    error: str | None, failing: timedelta | None, failures: int, is_given_up: bool, expected: bool
) -> None:
    view = CallbackView(
        id=CallbackId("c"), workspace_id=MARA, name="C", events=(), format="standard", address="", created_at=NOON,
        updated_at=NOON, failures=failures, failing_since=None if failing is None else NOON - failing,
    )  # fmt: skip

    outcome = callback_deliveries.AttemptOutcome(error=error)

    assert callback_deliveries._is_persistent(view, outcome, NOON, is_given_up=is_given_up) is expected


@pytest.mark.parametrize(("seconds", "expected"), [(-1, "old"), (0, None), (1, None)])
def test_a_secret_that_was_replaced_signs_until_its_end(seconds: int, expected: str | None) -> None:
    credentials = replace(Credentials.new("http://a"), secret="old").rotated(until=NOON)

    assert credentials.previous_at(NOON + timedelta(seconds=seconds)) == expected


@pytest.mark.parametrize(("asked", "seconds"), [("120", 120), ("1", 4)])
async def test_a_receiver_may_ask_for_more_time_and_not_for_less(
    installation: Installation, asked: str, seconds: int
) -> None:
    installation.network.says("http://busy", 429, retry_after=asked)
    view = await installation.callback("http://busy", pending=1)

    for _ in range(3):
        installation.clock.advance(hours=1)
        await installation.deliveries.deliver_due()

    (delivery,), _ = await installation.pending.page(MARA, view.id, page=ALL)
    assert delivery.next_at is not None
    assert seconds - 1 <= (delivery.next_at - installation.clock.now()).total_seconds() <= seconds + 1


@pytest.mark.parametrize("status", [302, 304])
async def test_a_receiver_that_is_elsewhere_has_not_taken_a_message(installation: Installation, status: int) -> None:
    installation.network.says("http://moved", status)
    view = await installation.callback("http://moved", pending=1)

    await installation.deliveries.deliver_due()

    (delivery,), _ = await installation.pending.page(MARA, view.id, page=ALL)
    assert (delivery.state, delivery.status_code, delivery.error) == ("pending", status, f"http.{status}")


async def test_a_slow_receiver_delays_no_other_one(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback_deliveries, "LOOK_SECONDS", 0.01)
    done = asyncio.Event()

    async def slow() -> HttpAnswer:
        await done.wait()
        return HttpAnswer(status=200, headers={}, body=b"", url="", redirects=0)

    installation.network.answers["http://slow"] = slow
    installation.network.says("http://late", 200)
    installation.network.says("http://quick", 200)
    await installation.callback("http://slow", pending=1)
    quick = await installation.callback("http://quick", pending=30)

    running = asyncio.create_task(installation.deliveries.deliver_due())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await installation.states(quick) != {"delivered": 30}:  # noqa: ASYNC110 # nothing tells
            await asyncio.sleep(0.01)
        # Nor one whose message comes while nothing but the slow one is being sent.
        late = await installation.callback("http://late", pending=1)
        while await installation.states(late) != {"delivered": 1}:  # noqa: ASYNC110 # nothing tells
            await asyncio.sleep(0.01)
    assert not running.done()
    done.set()
    await running


@pytest.mark.parametrize(
    "template", ["${event.type.of.it}", ["${event.data}"] * 90, None], ids=["path", "long", "none"]
)
async def test_a_template_that_cannot_be_filled_fails_its_message_at_once_and_not_its_callback(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, template: JSON
) -> None:
    monkeypatch.setattr(callback_messages, "MOST_MESSAGE_CHARACTERS", 100)
    view = await installation.callback("http://a", pending=1, format="template", template=template)

    await installation.deliveries.deliver_due()

    (delivery,), _ = await installation.pending.page(MARA, view.id, page=ALL)
    assert (delivery.state, delivery.error, installation.network.asked) == ("failed", "template", {})
    assert (await installation.get(view)).failures == 0


async def test_the_next_look_is_when_a_message_is_due_and_soon_if_that_is_later(installation: Installation) -> None:
    installation.network.says("http://a", 500)
    view = await installation.callback("http://a", pending=1)
    due = await installation.deliveries.next_due()

    for _ in range(3):
        installation.clock.advance(hours=1)
        await installation.deliveries.deliver_due()
    (delivery,), _ = await installation.pending.page(MARA, view.id, page=ALL)
    soon = await installation.deliveries.next_due()

    assert due == NOON
    assert delivery.next_at is not None
    assert soon is not None
    assert soon < delivery.next_at - timedelta(seconds=2)


async def test_nothing_is_looked_for_while_there_is_no_callback(installation: Installation) -> None:
    assert await installation.deliveries.next_due() is None
    await installation.callback("http://a", pending=0)
    next_due = await installation.deliveries.next_due()
    assert next_due is not None
    assert next_due - installation.clock.now() < timedelta(seconds=1)


def test_intervals_double_up_to_an_hour_with_a_fifth_by_chance() -> None:
    assert [delay_after(n, draw=0.5) for n in (1, 2, 3, 12, 13, 100, 10**9)] == [1, 2, 4, 2048, 3600, 3600, 3600]
    assert delay_after(1, draw=0.0) == pytest.approx(0.8)
    assert delay_after(1, draw=1.0) == pytest.approx(1.2)


async def test_the_deliveries_of_every_callback_are_bounded_however_many_callbacks_there_are(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_deliveries, "MOST_KEPT", 1)
    monkeypatch.setattr(surplus, "HOLDERS_AT_ONCE", 1)
    views = []
    for number in range(3):
        installation.network.says(f"http://{number}", 204)
        views.append(view := await installation.callback(f"http://{number}", pending=0))
        for second in range(4):
            await installation.pend(view, f"{number}-{second}", noted_at=NOON + timedelta(seconds=second))
    await installation.deliveries.deliver_due()

    await installation.deliveries.purge()

    # Only the newest one is kept.
    assert [await installation.states(view) for view in views] == [{"delivered": 1}] * 3


async def test_a_purge_goes_on_after_a_callback_that_somebody_has_deleted_meanwhile(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = [await installation.callback(f"http://{n}", pending=1) for n in range(2)]
    change(tmp_path / "flowrunner.db", f"UPDATE workspaces SET deleted_at = 0 WHERE id = '{MARA}'")
    look = installation.pending.some

    async def delete_first(workspace_id: WorkspaceId, id: CallbackId, *, limit: int) -> Sequence[DeliveryId]:
        if id == views[0].id:
            await installation.store.delete(workspace_id, id)
        return await look(workspace_id, id, limit=limit)

    monkeypatch.setattr(installation.pending, "some", delete_first)

    await installation.deliveries.purge()

    assert await installation.store.of_deleted_workspaces(limit=9) == []


class Mailboxes:
    """Implements `ports.Mailer`: keeps when each e-mail was sent."""

    def __init__(self) -> None:
        self.sent: dict[str, list[float]] = defaultdict(list)

    async def send(self, to: Sequence[str], subject: str, text: str, *, message_id: str) -> Mapping[str, int]:
        for address in to:
            self.sent[address.lower()].append(asyncio.get_running_loop().time())
        return {}


async def test_s74_all_callbacks_that_mail_to_one_mailbox_have_one_limit(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause, mailboxes = 0.05, Mailboxes()
    monkeypatch.setattr(callback_deliveries, "PAUSES", {"email": pause})
    monkeypatch.setattr(installation.deliveries, "_mailer", mailboxes)
    urls = ["mailto:ops@example.com", "mailto:OPS@example.com,dev@example.com", "mailto:ops%40example.com"]
    views = [
        await installation.callback(url, pending=2, format="email", workspace_id=workspace_id)
        for url, workspace_id in zip(urls, (MARA, MARA, OMAR), strict=True)
    ]
    others = await installation.callback("mailto:other@example.com", pending=2, format="email")

    begun = asyncio.get_running_loop().time()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await installation.deliveries.deliver_due()

    assert [await installation.states(view) for view in (*views, others)] == [{"delivered": 2}] * 4
    assert {address: len(times) for address, times in mailboxes.sent.items()} == {
        "ops@example.com": 6, "dev@example.com": 2, "other@example.com": 2,
    }  # fmt: skip
    for times in mailboxes.sent.values():
        # A slow machine may be late with one, and so brings it closer to the next one, but is never early.
        assert all(at > begun + (number - 0.1) * pause for number, at in enumerate(times))
    assert mailboxes.sent["other@example.com"][-1] < mailboxes.sent["ops@example.com"][-1]
