"""The values that are hidden for an account: when they begin to be, when they are forgotten, and at what cost."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import pytest

from flowrunner.security.hidden_values import MOST_REPLACED, MOST_REPLACED_BYTES, HiddenValues
from flowrunner.security.redaction import FEW, PreparedNeedles, SecretRedactor
from support.databases import NOON

LONG: Final = 8000
LATER: Final = NOON + timedelta(hours=1)


@pytest.fixture
def hidden() -> HiddenValues:
    return HiddenValues()


async def test_a_value_is_hidden_when_learning_it_is_over(hidden: HiddenValues) -> None:
    await asyncio.gather(*(hidden.learn([f"value number {n}"]) for n in range(50)))

    assert hidden.redact([f"value number {n}" for n in range(50)]) == ["***"] * 50


async def test_a_value_is_hidden_though_another_caller_has_gone_while_it_was_learned(hidden: HiddenValues) -> None:
    gone = asyncio.create_task(hidden.learn(["the first value"]))
    await asyncio.sleep(0)
    gone.cancel()

    await hidden.learn(["the second value"])

    assert hidden.redact("the first value, the second value") == "***, ***"


async def test_a_value_that_comes_back_while_it_is_forgotten_stays_hidden(hidden: HiddenValues) -> None:
    await hidden.learn(["the value"])
    await hidden.compare([], at=NOON)
    forgetting = asyncio.create_task(hidden.forget(before=LATER))
    await asyncio.sleep(0)

    await hidden.learn(["the value"])
    await forgetting

    assert hidden.redact("the value") == "***"


@pytest.mark.parametrize("way", ["set again", "stored again"])
async def test_a_value_that_has_come_back_is_not_forgotten_as_a_replaced_one(hidden: HiddenValues, way: str) -> None:
    await hidden.learn(["the value"])
    await hidden.compare([], at=NOON)

    await (hidden.learn(["the value"]) if way == "set again" else hidden.compare(["the value"], at=NOON))
    await hidden.forget(before=LATER)

    assert hidden.redact("the value") == "***"
    assert not hidden.has_replaced


async def test_the_search_is_built_on_a_thread_and_once_for_all_who_wait(
    hidden: HiddenValues, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    prepare = hidden.prepare

    def noted(values: Iterable[str]) -> PreparedNeedles:
        threads.append(threading.get_ident())
        return prepare(values)

    monkeypatch.setattr(hidden, "prepare", noted)
    await asyncio.gather(*(hidden.learn([f"value number {n}"]) for n in range(50)))
    await hidden.learn(["value number 7"])

    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_the_oldest_of_too_many_replaced_values_are_forgotten(hidden: HiddenValues) -> None:
    values = [f"value number {number}" for number in range(MOST_REPLACED + 1)]
    await hidden.learn(values)
    await hidden.compare(["what is stored", values[MOST_REPLACED]], at=NOON)
    assert hidden.redact([*values, "what is stored"]) == ["***"] * (MOST_REPLACED + 2)

    await hidden.compare(["what is stored"], at=LATER)
    await hidden.learn(["one more"])

    shown = hidden.redact([*values, "what is stored", "one more"])
    assert shown == values[: MOST_REPLACED // 4 + 1] + ["***"] * (MOST_REPLACED * 3 // 4 + 2)


async def test_replaced_values_are_bounded_in_bytes(hidden: HiddenValues) -> None:
    for number in range(2 * MOST_REPLACED_BYTES // LONG):
        await hidden.compare([_long(number)], at=NOON + timedelta(seconds=number))

    assert MOST_REPLACED_BYTES // 2 < sum(map(len, hidden.values)) <= MOST_REPLACED_BYTES + 2 * LONG
    assert hidden.redact(_long(2 * MOST_REPLACED_BYTES // LONG - 1)) == "***"


async def test_a_value_more_beside_many_costs_as_little_as_beside_few(hidden: HiddenValues) -> None:
    await hidden.learn(f"value number {number}" for number in range(1000))
    before = time.process_time()
    await hidden.learn(f"another value {number}" for number in range(1000))
    cost_of_all = time.process_time() - before

    before = time.process_time()
    for number in range(FEW):
        await hidden.learn([f"one more value {number}"])

    assert time.process_time() - before < cost_of_all * 3
    texts = ["value number 7", "another value 9", "one more value 0", f"one more value {FEW - 1}"]
    assert hidden.redact([*texts, " ".join(texts), "no value"]) == ["***"] * 4 + [
        "*** *** *** ***",
        "no value",
    ]


@pytest.mark.parametrize("gone", [0, 50, 99, 100])
def test_what_replaces_a_value_among_many_is_hidden_and_that_value_no_longer(gone: int) -> None:
    values = [f"value number {number:03}" for number in range(100)]
    redactor = SecretRedactor()
    redactor.add(values)
    redactor.add(["one more value"])
    before = [*values, "one more value"]
    after = [value for value in before if value != before[gone]] + ["a new value", "another new value"]

    redactor.use(redactor.prepare(after))

    assert redactor.redact([*after, before[gone]]) == ["***"] * len(after) + [before[gone]]


def _long(number: int) -> str:
    return f"{number:08}" + "a" * (LONG - 8)


def test_a_long_value_whose_beginning_is_escaped_is_found_beside_many_others() -> None:
    long = "secret " + hashlib.sha512(b"a long value").hexdigest() * 3
    redactor = SecretRedactor()
    redactor.add([long, *(f"value number {number}" for number in range(FEW))])

    redactor.add(["one more"])

    assert redactor.redact(f"%73{long[1:]} is not shown") == "*** is not shown"
