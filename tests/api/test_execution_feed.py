"""Summaries of all executions that change, over one WebSocket."""

import asyncio
import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from api.shapes import NAP, SMALLEST
from flowrunner.api import execution_feed
from flowrunner.api.execution_feed import ExecutionFeed
from flowrunner.broadcast import LocalBroadcast
from flowrunner.domain.events import Completed, Event, Logged, Started
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId
from flowrunner.ports.executions import ExecutionView
from flowrunner.ports.journal import Recorded
from support.client import Client
from support.databases import MARA, NOON, OMAR, REQUESTED
from support.receiver import Receiver

PATIENCE: Final = 60
ASKS_BESIDE_A_CALL: Final = """
nodes:
  both:
    type: parallel
    branches:
      people: {nodes: {ask: {type: approval, params: {prompt: Ship it?}}}}
      machines: {nodes: {call: {type: http.request, params: {url: "URL/slow?seconds=2"}}}}
"""


@contextlib.contextmanager
def listening(client: Client, **query: str) -> Iterator[ClientConnection]:
    url = f"{client.url.replace('http', 'ws', 1)}/ws/executions?{urlencode(query)}"
    with connect(url, proxy=None, open_timeout=PATIENCE, additional_headers=client.bearer()) as socket:
        yield socket


def received(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(timeout=PATIENCE))


def until_ended(socket: ClientConnection, id: str) -> list[Any]:
    """The messages up to the one that says that an execution has ended."""
    found = [received(socket)]
    while not (found[-1].get("id") == id and "completed_at" in found[-1]):
        found.append(received(socket))
    return found


def test_each_execution_that_changes_is_shown_as_in_the_list(account: Client) -> None:
    flow = account.new_flow(SMALLEST, name="Watched")
    with listening(account) as socket:
        ready = received(socket)
        id = account.run(flow)
        last = until_ended(socket, id)[-1]

    assert ready.keys() == {"type", "cursor"}
    assert (last["type"], last["workspace_id"], last["flow_name"]) == ("execution", account.account_id, "Watched")
    (listed,) = account.get("/api/v1/executions").json["executions"]
    assert {name: value for name, value in last.items() if name not in ("type", "workspace_id", "cursor")} == listed


def test_an_execution_that_waits_is_shown_with_the_place(account: Client) -> None:
    flow = account.new_flow("nodes: {ask: {type: approval, params: {prompt: 'Ship it?'}}}")
    with listening(account) as socket:
        received(socket)
        id = account.run(flow)
        found = [received(socket)]
        while found[-1]["status"] != "waiting":
            found.append(received(socket))
        account.post(f"/api/v1/executions/{id}/approvals/ask", {"approved": True})
        last = until_ended(socket, id)[-1]

    assert found[-1]["waiting_at"] == {"type": "approval", "node": "ask"}
    assert "waiting_at" not in last


def test_an_execution_that_waits_once_its_other_branch_has_ended_is_shown_then(
    account: Client, receiver: Receiver
) -> None:
    flow = account.new_flow(ASKS_BESIDE_A_CALL.replace("URL", receiver.url))
    with listening(account) as socket:
        received(socket)
        id = account.run(flow)
        found = [received(socket)]
        while found[-1]["status"] != "waiting":
            found.append(received(socket))

    assert {message["id"] for message in found} == {id}
    assert found[0]["status"] == "running"
    assert found[-1]["waiting_at"] == {"type": "approval", "node": "ask"}


def test_who_comes_back_gets_what_changed_meanwhile(account: Client) -> None:
    flow = account.new_flow(SMALLEST)
    with listening(account) as socket, listening(account) as other:
        received(other)
        cursor = received(socket)["cursor"]
        socket.close()
        ids = [account.run(flow) for _ in range(2)]
        for id in ids:
            account.ended(id)
        until_ended(other, ids[-1])
        with listening(account, after=cursor) as again:
            begin, *messages = [received(again), *until_ended(again, ids[-1])]

    assert begin["type"] == "ready"
    assert {message["id"] for message in messages} == set(ids)


@pytest.mark.parametrize("after", ["", "nonsense", "0.0", "a.b", "00000000.1", "٣.٣"])
def test_an_unknown_cursor_asks_to_read_the_list_again(account: Client, after: str) -> None:
    with listening(account, after=after) as socket:
        begin = received(socket)

    assert begin["type"] == "reset"


def test_nobody_sees_the_executions_of_others(account: Client, other: Client) -> None:
    with listening(other) as theirs, listening(account) as mine:
        received(theirs)
        received(mine)
        id = account.run(account.new_flow(SMALLEST))
        until_ended(mine, id)
        own = other.run(other.new_flow(SMALLEST))

        assert {message["id"] for message in until_ended(theirs, own)} == {own}


def test_a_workspace_that_is_named_is_the_only_one(account: Client, other: Client) -> None:
    team = account.post("/api/v1/workspaces", {"name": "T", "slug": f"t-{account.account_id[-8:]}"}).json["id"]
    flow = account.request(
        "POST", "/api/v1/flows", json.dumps({"name": "N", "definition": SMALLEST}).encode(),
        {"Content-Type": "application/json", "Flowrunner-Workspace": team},
    ).json["id"]  # fmt: skip
    with listening(account) as every, listening(account, workspace=team) as one:
        received(every)
        received(one)
        mine, shared = account.run(account.new_flow(SMALLEST)), account.run(flow)
        account.ended(mine)
        in_all = until_ended(every, shared)
        while {mine, shared} - {message["id"] for message in in_all}:
            in_all.append(received(every))

        assert {message["id"] for message in until_ended(one, shared)} == {shared}
    with pytest.raises(InvalidStatus) as refused, listening(other, workspace=team):
        pass
    assert refused.value.response.status_code == 404


def test_a_step_that_changes_nothing_in_the_summary_sends_nothing(account: Client) -> None:
    with listening(account) as socket:
        received(socket)
        id = account.run(account.new_flow(NAP))
        first = received(socket)
        account.waiting_at(id, "nap")
        other = account.run(account.new_flow(SMALLEST))

        assert (first["id"], first["status"]) == (id, "running")
        assert {message["id"] for message in until_ended(socket, other)} == {other}


# Without a server: what takes very many executions, or a very slow client


class Stored:
    """Summaries of executions, the number of which is counted."""

    def __init__(self) -> None:
        self.asked: list[ExecutionId] = []

    async def summaries(self, ids: Sequence[ExecutionId]) -> Sequence[tuple[WorkspaceId, ExecutionView]]:
        self.asked += ids
        return [
            (
                MARA if number % 2 == 0 else OMAR,
                ExecutionView(
                    id=id, flow_id=FlowId("f"), status=Status.COMPLETED, started_at=NOON, completed_at=NOON, error=None
                ),
            )
            for number, id in enumerate(ids)
        ]


def feed_of(stored: Stored) -> tuple[ExecutionFeed, LocalBroadcast]:
    broadcast = LocalBroadcast()
    return ExecutionFeed(stored, broadcast), broadcast  # type: ignore[arg-type] # only summaries are read


def published(broadcast: LocalBroadcast, count: int, event: Event | None = None) -> None:
    for number in range(count):
        record = Recorded(1, NOON, event or Completed(result=None), b"{}")
        broadcast.publish(ExecutionId(f"exec-{number:05}"), [record])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution_feed, "_FLUSH_SECONDS", 0.0)


async def texts(feed: Any) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return [json.loads(message.text) for message in await anext(feed)]


async def seen_after(feed: ExecutionFeed, cursor: str) -> list[str]:
    """Return the ids that a listener gets first when it comes back, and check that it need not read the list."""
    messages = feed.follow([MARA], cursor)
    assert [message["type"] for message in await texts(messages)] == ["ready"]
    ids = [message["id"] for message in await texts(messages)]
    await messages.aclose()
    return ids


@pytest.mark.usefixtures("quick")
async def test_nothing_is_read_while_nobody_listens_and_each_change_once_for_all() -> None:
    stored = Stored()
    feed, broadcast = feed_of(stored)
    published(broadcast, 3)
    first, second = feed.follow([MARA], None), feed.follow([MARA, OMAR], None)
    assert [message["type"] for message in [*await texts(first), *await texts(second)]] == ["ready", "ready"]

    published(broadcast, 3)
    published(broadcast, 3, Logged(level="info", message="x"))
    mine, both = await texts(first), await texts(second)

    assert len(stored.asked) == 3
    assert [message["id"] for message in mine] == ["exec-00000", "exec-00002"]
    assert len(both) == 3
    for one in (first, second):
        await one.aclose()


@pytest.mark.usefixtures("quick")
async def test_too_many_changes_at_once_ask_to_read_the_list_again() -> None:
    feed, broadcast = feed_of(Stored())
    messages = feed.follow([MARA], None)
    (ready,) = await texts(messages)
    published(broadcast, 1001)

    (reset,) = await texts(messages)
    again = feed.follow([MARA], ready["cursor"])

    assert reset["type"] == "reset"
    assert (await texts(again))[0]["type"] == "reset"
    broadcast.mark_all_stale()
    assert (await texts(messages))[0]["type"] == "reset"
    for one in (messages, again):
        await one.aclose()


@pytest.mark.usefixtures("quick")
async def test_who_comes_back_after_more_messages_than_are_kept_reads_the_list_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution_feed, "_KEPT_MESSAGES", 3)
    feed, broadcast = feed_of(Stored())
    messages = feed.follow([MARA, OMAR], None)
    (ready,) = await texts(messages)
    published(broadcast, 4)
    found: list[Any] = []
    while len(found) < 4:
        found += await texts(messages)

    late, too_late = (feed.follow([MARA, OMAR], last["cursor"]) for last in (found[0], ready))

    begin, *missed = await texts(late)
    assert (begin["type"], [message["id"] for message in missed]) == ("ready", [each["id"] for each in found[1:]])
    assert [message["type"] for message in await texts(too_late)] == ["reset"]
    for one in (messages, late, too_late):
        await one.aclose()


@pytest.mark.usefixtures("quick")
async def test_all_that_changes_together_is_sent_in_however_many_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution_feed, "_READ_TOGETHER", 2)
    feed, broadcast = feed_of(Stored())
    messages = feed.follow([MARA, OMAR], None)
    await texts(messages)
    published(broadcast, 5)

    found: list[str] = []
    while len(found) < 5:
        found += [message["id"] for message in await texts(messages)]

    assert found == [f"exec-{number:05}" for number in range(5)]
    await messages.aclose()


@pytest.mark.usefixtures("quick")
async def test_what_changes_between_two_listeners_is_sent_to_the_second() -> None:
    feed, broadcast = feed_of(Stored())
    first = feed.follow([MARA], None)
    (ready,) = await texts(first)
    await first.aclose()
    published(broadcast, 1, Started(node="a", node_type="log", input={}, cause=REQUESTED))

    assert await seen_after(feed, ready["cursor"]) == ["exec-00000"]


@pytest.mark.usefixtures("quick")
async def test_what_is_being_read_while_the_last_listener_goes_is_sent_to_the_next() -> None:
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    class Slow(Stored):
        async def summaries(self, ids: Sequence[ExecutionId]) -> Sequence[tuple[WorkspaceId, ExecutionView]]:
            is_asked.set()
            await may_answer.wait()
            return await super().summaries(ids)

    feed, broadcast = feed_of(Slow())
    first = feed.follow([MARA], None)
    (ready,) = await texts(first)
    published(broadcast, 1)
    async with asyncio.timeout(PATIENCE):
        await is_asked.wait()
    await first.aclose()
    may_answer.set()

    assert await seen_after(feed, ready["cursor"]) == ["exec-00000"]


@pytest.mark.usefixtures("quick")
async def test_what_is_being_read_is_sent_to_a_listener_that_comes_before_the_reading_has_ended() -> None:
    """As the pool of PostgreSQL takes a connection back when a read is cancelled."""
    is_asked = asyncio.Event()

    class Slow(Stored):
        async def summaries(self, ids: Sequence[ExecutionId]) -> Sequence[tuple[WorkspaceId, ExecutionView]]:
            if is_asked.is_set():
                return await super().summaries(ids)
            is_asked.set()
            try:
                return await asyncio.Event().wait()  # type: ignore[return-value] # it is cancelled
            finally:
                for _ in range(10):
                    await asyncio.sleep(0)

    feed, broadcast = feed_of(Slow())
    first = feed.follow([MARA], None)
    (ready,) = await texts(first)
    published(broadcast, 1)
    async with asyncio.timeout(PATIENCE):
        await is_asked.wait()
    await first.aclose()

    assert await seen_after(feed, ready["cursor"]) == ["exec-00000"]


@pytest.mark.usefixtures("quick")
async def test_a_summary_that_cannot_be_read_ends_no_feed() -> None:
    class Failing(Stored):
        async def summaries(self, ids: Sequence[ExecutionId]) -> Sequence[tuple[WorkspaceId, ExecutionView]]:
            found = await super().summaries(ids)
            if len(self.asked) == 1:
                raise KeyError("a status of a newer version")
            return found

    feed, broadcast = feed_of(Failing())
    messages = feed.follow([MARA], None)
    await texts(messages)
    published(broadcast, 1)

    assert [message["type"] for message in await texts(messages)] == ["reset"]
    published(broadcast, 1)
    assert [message["id"] for message in await texts(messages)] == ["exec-00000"]
    await messages.aclose()


@pytest.mark.usefixtures("quick")
async def test_who_comes_back_after_changes_were_no_longer_followed_reads_the_list_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution_feed, "_LINGER_SECONDS", 0.0)
    feed, broadcast = feed_of(Stored())
    first = feed.follow([MARA], None)
    (ready,) = await texts(first)
    await first.aclose()
    async with asyncio.timeout(PATIENCE):
        while broadcast._on_change is not None:  # noqa: ASYNC110 # nothing tells when it is no longer watched
            await asyncio.sleep(0)
    published(broadcast, 1)

    second = feed.follow([MARA], ready["cursor"])

    assert [message["type"] for message in await texts(second)] == ["reset"]
    await second.aclose()
