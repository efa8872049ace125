"""Node types that touch nothing outside, each by itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowrunner.nodes import built_in
from flowrunner.nodes.delay import parse_moment
from flowrunner.plugin import NodeFailure, Outcome, Suspend
from flowrunner.security.egress import EgressClient
from support.contexts import PlainContext
from support.databases import NOON

TYPES = built_in()


async def run(client: EgressClient, type: str, params: Any, *, input: Any = None) -> tuple[Any, PlainContext]:
    context = PlainContext(client, input=input)
    return await TYPES[type].run(TYPES[type].read(params), context), context


def test_every_node_type_goes_by_its_name() -> None:
    assert sorted(TYPES) == [
        "approval", "condition", "delay", "fail", "flow", "foreach", "http.request", "log", "parallel", "return", "set",
        "switch", "transform", "wait", "webhook", "while",
    ]  # fmt: skip
    assert all(TYPES[name].type == name for name in TYPES)


@pytest.mark.parametrize("value", [None, 0, "", [], {"a": [{"b": None}]}, "${not an expression any more}"])
async def test_a_transform_gives_its_value(client: EgressClient, value: Any) -> None:
    assert (await run(client, "transform", {"value": value}))[0] == value


@pytest.mark.parametrize("level", ["debug", "info", "warn", "error"])
async def test_a_log_adds_a_line_and_gives_its_input(client: EgressClient, level: str) -> None:
    result, context = await run(client, "log", {"message": "m", "level": level, "data": [1]}, input={"a": 1})

    assert result == {"a": 1}
    assert context.lines == [(level, "m", [1])]


async def test_a_delay_suspends_for_its_duration_and_gives_its_input(client: EgressClient) -> None:
    result, _ = await run(client, "delay", {"duration": "90s"}, input="x")

    assert result == Suspend(until=NOON + timedelta(seconds=90), result="x", about={"type": "delay"})


async def test_a_delay_suspends_until_its_moment(client: EgressClient) -> None:
    result, _ = await run(client, "delay", {"until": "2027-03-01T10:00:00+02:00"}, input="x")

    assert result == Suspend(until=datetime(2027, 3, 1, 8, tzinfo=UTC), result="x", about={"type": "delay"})


@pytest.mark.parametrize("text", ["", "soon", "2027-13-01T00:00:00Z", "2027-01-01T00:00:00", "2027-01-01", "12:00Z"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a moment|no time zone"):
        parse_moment(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_outside_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="outside the years"):
        parse_moment(text)


async def test_a_return_ends_the_flow_with_its_value(client: EgressClient) -> None:
    assert (await run(client, "return", {"value": [1]}))[0] == Outcome([1], is_last=True)
    assert (await run(client, "return", {}))[0] == Outcome(None, is_last=True)


async def test_a_fail_fails_with_its_own_error(client: EgressClient) -> None:
    with pytest.raises(NodeFailure) as failure:
        await run(client, "fail", {"error": "orders.failed", "message": "m", "data": {"a": 1}})

    assert (failure.value.type, failure.value.message, failure.value.data) == ("orders.failed", "m", {"a": 1})


@pytest.mark.parametrize(
    ("type", "params"),
    [
        ("transform", {}),
        ("transform", {"value": 1, "script": "x"}),
        ("log", {}),
        ("log", {"message": 5}),
        ("log", {"message": "m", "level": "warning"}),
        ("log", {"message": "m" * 10_001}),
        ("delay", {}),
        ("delay", {"duration": "1s", "until": "2027-01-01T00:00:00Z"}),
        ("delay", {"duration": 5}),
        ("delay", {"duration": "-1s"}),
        ("delay", {"duration": "11000d"}),
        ("delay", {"until": "tomorrow"}),
        ("return", {"result": 1}),
        ("fail", {"error": ""}),
        ("fail", {"error": "a..b"}),
        ("fail", {"error": "a b"}),
        ("fail", {"error": "x" * 201}),
        ("fail", {"message": 5}),
    ],
)
def test_parameters_that_make_no_sense_are_refused_when_saved_and_when_run(type: str, params: Any) -> None:
    assert TYPES[type].check(params)
    with pytest.raises(NodeFailure) as failure:
        TYPES[type].read(params)
    assert failure.value.type == "input.invalid"
    assert type in failure.value.message


def test_all_faults_of_parameters_are_told_at_once() -> None:
    faults = TYPES["log"].check({"level": "loud", "mesage": "m"})

    assert {fault.keys: fault.code for fault in faults} == {
        ("message",): "required",
        ("level",): "param",
        ("mesage",): "unknown_key",
    }
    assert [fault.hint for fault in faults if fault.code == "unknown_key"] == ["did you mean 'message'?"]


def test_pure_nodes_may_run_twice() -> None:
    assert {name for name, node_type in TYPES.items() if node_type.repeatable({"method": "POST"})} == {
        "approval", "condition", "delay", "fail", "foreach", "log", "parallel", "return", "set", "switch", "transform",
        "wait", "while",
    }  # fmt: skip
