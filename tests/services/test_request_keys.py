"""Repeats of requests: what a repeat waits for, and what it is told."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

import pytest

from flowrunner.domain.errors import Conflict, InvalidInput
from flowrunner.domain.request_keys import ClaimedKey, KeptAnswer, RequestKey
from flowrunner.domain.values import AccountId
from flowrunner.services import request_keys
from flowrunner.services.request_keys import RequestKeys
from support.databases import NOON
from support.dependencies import SteppingClock

from .callers import caller_of

ANSWER: Final = KeptAnswer(201, {"location": "/x"}, "{}")
REQUEST: Final = RequestKey("stored", "req-2", "digest")


class Store:
    """A store of one key. Attributes: looks: How often it was read."""

    def __init__(self, found: Iterator[ClaimedKey | None]) -> None:
        self._found = found
        self.looks = 0

    async def find(self, account_id: str, key: str, earlier: str | None = None) -> ClaimedKey | None:
        self.looks += 1
        return next(self._found)


def claims(*answers: KeptAnswer | None, digest: str = "digest", age: float = 0.0) -> Sequence[ClaimedKey]:
    return [ClaimedKey("req-1", digest, NOON - timedelta(seconds=age), answer) for answer in answers]


async def answer(found: Sequence[ClaimedKey | None], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, int]:
    """Return the answer, or the error, and how often was looked for it."""
    monkeypatch.setattr(request_keys, "_LOOK_SECONDS", 1e-3)
    store: Any = Store(iter(found))
    clock = SteppingClock(NOON)
    try:
        return await RequestKeys(store, clock).answer_before(caller_of(AccountId("a")), REQUEST), store.looks
    except (Conflict, InvalidInput) as error:
        return type(error), store.looks


@pytest.mark.parametrize(
    ("found", "expected", "looks"),
    [
        ([None], None, 1),
        (claims(ANSWER), ANSWER, 1),
        (claims(ANSWER, age=7200), ANSWER, 1),
        # Its request may still be done: it is waited for.
        (claims(None, None, ANSWER), ANSWER, 3),
        ([*claims(None), None], None, 2),
        (claims(ANSWER, digest="of another request"), InvalidInput, 1),
        (claims(None, ANSWER, digest="of another request"), InvalidInput, 2),
        # Nobody is doing it any more: its answer was not kept.
        (claims(None, age=60), Conflict, 1),
    ],
)
async def test_a_repeat_gets_the_first_answer_and_waits_only_while_it_may_come(
    found: Sequence[ClaimedKey | None], expected: Any, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await answer(found, monkeypatch) == (expected, looks)


async def test_a_repeat_waits_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RequestKeys, "_is_new", lambda self, found: True)

    error, looks = await answer(claims(*[None] * 99), monkeypatch)

    assert (error, looks) == (Conflict, 21)
