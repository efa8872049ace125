"""Signals and cancellations during outages of the database: a caller repeats none that may have been recorded."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dispatch.cluster import Cluster, Front
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import SignalReceived
from flowrunner.domain.status import Status
from flowrunner.ports.dispatch import Signal
from flowrunner.ports.inbox import Inbox

FOR_EVER = "nodes: {ask: {type: wait, params: {key: go}}}"
SIGNAL = Signal(key="go", payload=1)


def away(call: Callable[..., Awaitable[Any]], times: int) -> Callable[..., Awaitable[Any]]:
    """A call that does its work, except that its answer is lost so often."""
    left = iter(range(times))

    async def answer_lost(*arguments: Any, **named: Any) -> Any:
        done = await call(*arguments, **named)
        if next(left, None) is not None:
            raise Unavailable("The database cannot be reached at the moment")
        return done

    return answer_lost


async def test_a_signal_is_answered_after_an_outage_while_its_sender_waits(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.save(FOR_EVER)
    id = await front.start()
    monkeypatch.setattr(front.side.inbox, "answer", away(front.side.inbox.answer, 3))

    async with machines.worker():
        await front.signals.send(front.caller, id, "go", 1)
        assert await front.until_ended(id) == [Status.COMPLETED]

    assert len([event for event in await front.events(id) if isinstance(event, SignalReceived)]) == 1


@pytest.mark.parametrize("lost", ["send", "answer", "cancel"])
async def test_the_outcome_of_a_message_whose_answer_is_lost_is_said_to_be_unknown(
    front: Front, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    await front.save(FOR_EVER)
    id = await front.start()
    inbox: Inbox = front.side.inbox
    monkeypatch.setattr("flowrunner.dispatch.temporal.dispatcher._ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(inbox, lost, away(getattr(inbox, lost), 1_000))

    with pytest.raises(Unavailable, match="Outcome unknown: the signal may have been recorded"):
        await front.signals.send(front.caller, id, "go", 1)
    with pytest.raises(Unavailable, match="Outcome unknown: the execution may have been cancelled"):
        await front.dispatcher.cancel(id, reason="")


async def test_a_rejected_signal_is_a_conflict_although_its_message_cannot_be_deleted(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.save(FOR_EVER)
    id = await front.start()
    monkeypatch.setattr(front.side.inbox, "cancel", away(front.side.inbox.cancel, 1_000))

    async def rejected(number: int) -> bool:
        return False

    monkeypatch.setattr(front.side.inbox, "answer", rejected)

    assert await front.dispatcher._send_and_wait(id, SIGNAL) is False
