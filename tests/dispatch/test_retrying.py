"""Retries of calls that fail while something else is unavailable."""

import asyncio
import gc
import weakref
from functools import partial

import pytest

from flowrunner.dispatch.attempts import attempt_until_outage, raise_first
from flowrunner.domain.errors import NotFound, Unavailable
from flowrunner.retrying import retry, rising


def nothing(error: Exception, attempts: int) -> None: ...


def no_delay(attempts: int) -> float:
    return 0.0


class Failing:
    """A call that raises these errors, one at a time, and then returns 7."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return 7


async def test_a_call_is_repeated_after_each_delay_until_it_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[object] = []

    async def sleep(seconds: float) -> None:
        happened.append(seconds)

    monkeypatch.setattr("flowrunner.retrying.asyncio.sleep", sleep)
    result = await retry(
        Failing(Unavailable("1"), Unavailable("2")),
        on=Unavailable,
        delay=rising(0.5, 3.0),
        on_failure=lambda error, attempts: happened.append((str(error), attempts)),
    )

    assert (result, happened) == (7, [("1", 1), 0.5, ("2", 2), 3.0])


class Held:
    """A value of a caller, such as those of an execution."""


async def test_an_error_that_was_retried_keeps_no_values_of_its_callers() -> None:
    # It is kept, as the future of a request keeps its error.
    error = Unavailable("1")

    async def caller() -> weakref.ref[Held]:
        held = Held()
        await retry(Failing(error), on=Unavailable, delay=no_delay, on_failure=nothing)
        return weakref.ref(held)

    gc.disable()
    try:
        assert (await caller())() is None
    finally:
        gc.enable()


async def test_an_error_of_another_kind_ends_the_retries() -> None:
    with pytest.raises(NotFound):
        await retry(Failing(Unavailable("1"), NotFound("flow")), on=Unavailable, delay=no_delay, on_failure=nothing)


async def test_the_callback_gives_up_by_raising() -> None:
    call = Failing(*(Unavailable(str(n)) for n in range(9)))

    def give_up(error: Exception, attempts: int) -> None:
        if attempts == 3:
            raise error

    with pytest.raises(Unavailable, match="2"):
        await retry(call, on=Unavailable, delay=no_delay, on_failure=give_up)
    assert len(call.errors) == 6


def test_delays_rise_and_then_stay() -> None:
    delay = rising(0.1, 0.3, 1.0)

    assert [delay(attempts) for attempts in range(1, 6)] == [0.1, 0.3, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("is_outage", [False, True])
async def test_an_outage_is_when_all_work_fails_and_not_when_half_of_it_does(is_outage: bool) -> None:
    done = []

    async def work(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)
        if is_outage or number % 2:
            raise Unavailable("not this one")

    errors, has_ended = await attempt_until_outage(partial(work, number) for number in range(60))

    assert has_ended is is_outage
    assert len(errors) == (len(done) if is_outage else 30)
    # The others are under way when the eighth has failed.
    assert len(done) <= 15 if is_outage else len(done) == 60


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_errors_one_that_is_a_bug_is_raised_rather_than_an_outage(order: int) -> None:
    errors = [Unavailable("away"), ZeroDivisionError("a bug")]

    with pytest.raises(ZeroDivisionError):
        raise_first(errors[::order])
    with pytest.raises(Unavailable):
        raise_first(errors[:1])
    raise_first([])
