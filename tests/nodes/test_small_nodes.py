"""Node types without network access, each tested alone."""

import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationInfo, field_validator

from flowrunner.domain.expression import ExpressionFailed
from flowrunner.nodes import built_in
from flowrunner.nodes.delay import parse_moment
from flowrunner.plugin import (
    JSON,
    ApprovalWait,
    NodeFailure,
    NodeType,
    Outcome,
    Params,
    RunScopes,
    ScopesEnded,
    Signalled,
    SignalWait,
    StepContext,
    Suspend,
    TimeWait,
)
from flowrunner.security.egress import EgressClient
from support.contexts import PlainContext
from support.databases import NOON
from support.lazy import Lazy

TYPES = built_in()


async def run(
    client: EgressClient, type: str, params: Any, *, input: Any = None, **more: Any
) -> tuple[Any, PlainContext]:
    context = PlainContext(client, input=input, **more)
    return await TYPES[type].run(TYPES[type].read(params), context), context


async def after_signal(client: EgressClient, type: str, event: Signalled) -> Any:
    return await TYPES[type].on_signal(None, PlainContext(client), event)


async def after_scopes(client: EgressClient, type: str, event: ScopesEnded, params: Any = None) -> Any:
    read = None if params is None else TYPES[type].read(params)
    return await TYPES[type].on_scopes_ended(read, PlainContext(client), event)


def test_every_node_type_goes_by_its_name() -> None:
    assert sorted(TYPES) == [
        "agent", "approval", "condition", "delay", "email.receive", "email.send", "fail", "flow", "foreach",
        "http.request", "llm", "log", "mcp", "parallel", "return", "set", "sql", "store", "switch", "transform", "wait",
        "webhook", "while",
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


@pytest.mark.parametrize(
    "value",
    [["x" * 9_000, "x" * 1_000], Lazy(lambda: {"k": list(range(5_000))}), Lazy(lambda: [[1, 2, 3]] * 1_000_000)],
)
def test_a_message_that_is_too_long_as_text_is_refused_before_it_is_written(value: Any) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(NodeFailure, match="must have at most 10000 characters"):
            TYPES["log"].read({"message": value})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1024 * 1024


@pytest.mark.parametrize(
    "params",
    [{"query": {"a": [[]] * 5000}}, {"expect_status": ["a"] * 1000}, {"headers": {f"h{n}": [] for n in range(1000)}}],
)
def test_values_that_are_all_wrong_are_told_by_their_first_hundred(params: Any) -> None:
    started = time.thread_time()

    with pytest.raises(NodeFailure) as failure:
        TYPES["http.request"].read({"url": "http://x", **params})

    assert time.thread_time() - started < 1.0
    assert failure.value.message.count(";") in (99, 100)
    assert failure.value.message.endswith("; other values are wrong too")


async def test_a_delay_suspends_for_its_duration_and_gives_its_input(client: EgressClient) -> None:
    result, _ = await run(client, "delay", {"duration": "90s"}, input="x")

    assert result == Suspend(wait_for=TimeWait(NOON + timedelta(seconds=90)), result="x")


@pytest.mark.parametrize(("seconds", "is_too_short"), [(None, False), (89.9, True), (90.0, False), (91.0, False)])
@pytest.mark.parametrize("params", [{"duration": "90s"}, {"until": "2027-01-01T12:01:30Z"}])
async def test_a_delay_fails_at_the_timeout_of_its_node_if_that_is_before_its_end(
    client: EgressClient, params: Any, seconds: float | None, is_too_short: bool
) -> None:
    result, context = await run(client, "delay", params, input="x", timeout_seconds=seconds)

    deadline = context.now() + timedelta(seconds=seconds) if seconds is not None and is_too_short else None
    end = TimeWait(NOON + timedelta(seconds=90))
    assert result == Suspend(wait_for=end, deadline=deadline, fail_at_deadline=is_too_short, result="x")


@pytest.mark.parametrize("returned", ["", "error.a", "a" * 201, 0, 1, [], {}])
async def test_a_script_of_a_condition_returns_an_action_or_fails(client: EgressClient, returned: Any) -> None:
    with pytest.raises(NodeFailure, match="must return true, false or the name of an action"):
        await run(client, "condition", {"condition_script": returned})


async def test_a_delay_suspends_until_its_moment(client: EgressClient) -> None:
    result, _ = await run(client, "delay", {"until": "2027-03-01T10:00:00+02:00"}, input="x")

    assert result == Suspend(wait_for=TimeWait(datetime(2027, 3, 1, 8, tzinfo=UTC)), result="x")


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


async def test_a_set_gives_variables_their_values(client: EgressClient) -> None:
    assert (await run(client, "set", {"a": 1, "b": None}))[0] == Outcome({"a": 1, "b": None}, vars={"a": 1, "b": None})


CASES: Any = [{"when": False, "action": "a"}, {"when": [1], "action": "b"}, {"when": True, "action": "c"}]


async def test_a_switch_ends_with_the_first_case_that_holds_and_gives_its_input(client: EgressClient) -> None:
    assert (await run(client, "switch", {"cases": CASES}, input=7))[0] == Outcome(7, "b")
    none = {"cases": CASES[:1], "default_action": "else"}
    assert (await run(client, "switch", none))[0] == Outcome(None, "else")
    assert (await run(client, "switch", {"cases": CASES[:1]}))[0] == Outcome(None, "default")
    old = {"conditions": [{"condition": case["when"], "action": case["action"]} for case in CASES]}
    assert (await run(client, "condition", old, input=7))[0] == Outcome(7, "b")


async def test_a_case_after_the_one_that_holds_may_be_an_error_and_one_before_may_not(client: EgressClient) -> None:
    error = {"when": ExpressionFailed("no"), "action": "x"}
    holds = {"when": True, "action": "a"}

    assert (await run(client, "switch", {"cases": [holds, error]}))[0].action == "a"
    with pytest.raises(ExpressionFailed):
        await run(client, "switch", {"cases": [error, holds]})


def test_a_switch_has_the_actions_of_its_cases() -> None:
    cases = [{"when": "x", "action": "a"}, {"when": "y", "action": "b"}]

    assert TYPES["switch"].actions_of({"cases": cases}) == frozenset({"a", "b", "default"})
    assert TYPES["switch"].actions_of({"cases": cases, "default_action": "c"}) == frozenset({"a", "b", "c"})


@pytest.mark.parametrize(
    "cases", [None, "${input}", {"a": "x"}, [{"when": "x", "then": "a"}], [{"when": "x", "action": "${input}"}]]
)
def test_cases_that_do_not_tell_their_actions_may_lead_anywhere(cases: Any) -> None:
    assert TYPES["switch"].actions_of({"cases": cases}) is None


async def test_a_foreach_opens_a_scope_for_each_element(client: EgressClient) -> None:
    opened, _ = await run(client, "foreach", {"items": ["a", None], "concurrency": 5, "on_error": "collect"})

    assert opened == RunScopes(
        keys=["0", "1"], inputs=["a", None], concurrency=5, ignore_failures=True, details="collect"
    )
    assert (await run(client, "foreach", {"items": []}))[0] == RunScopes(keys=[], inputs=[], details="fail")


@pytest.mark.parametrize(
    ("details", "result"), [("collect", [1, {"error": {"type": "x"}}, None]), ("continue", [1, None, None])]
)
async def test_a_foreach_gives_what_its_runs_gave_in_order(client: EgressClient, details: str, result: Any) -> None:
    event = ScopesEnded(["8", "9", "10"], {"10": None, "8": 1}, {"9": {"type": "x"}}, details)

    assert await after_scopes(client, "foreach", event) == result


@pytest.mark.parametrize("items", [None, True, 5, 1.5, "abc", {"a": 1}])
async def test_what_is_no_list_is_gone_through_by_nobody(client: EgressClient, items: Any) -> None:
    with pytest.raises(NodeFailure, match="'items' must be a list") as failure:
        await run(client, "foreach", {"items": items})

    assert failure.value.type == "input.invalid"


async def test_a_list_that_is_too_long_is_refused(client: EgressClient) -> None:
    opened, _ = await run(client, "foreach", {"items": [0] * 100_000})
    assert len(opened.keys) == 100_000
    with pytest.raises(NodeFailure, match="100001 elements") as failure:
        await run(client, "foreach", {"items": [0] * 100_001})

    assert failure.value.type == "limit.items"


async def test_a_while_goes_on_as_long_as_its_condition_holds(client: EgressClient) -> None:
    assert (await run(client, "while", {"when": True}, input=7))[0] == RunScopes(keys=["0"], inputs=[7])
    assert (await run(client, "while", {"when": False}, input=7))[0] == 7
    event = ScopesEnded(["4"], {"4": "given"}, {})
    assert await after_scopes(client, "while", event, {"when": True}) == RunScopes(keys=["5"], inputs=["given"])
    assert await after_scopes(client, "while", event, {"when": False}) == "given"
    later = await after_scopes(client, "while", event, {"when": True, "delay": "3s"})
    assert later == RunScopes(keys=["5"], inputs=["given"], not_before=NOON + timedelta(seconds=3))


async def test_a_while_gives_up_when_it_has_run_often_enough(client: EgressClient) -> None:
    last = await after_scopes(client, "while", ScopesEnded(["3"], {"3": 1}, {}), {"when": True, "max_iterations": 5})
    assert last == RunScopes(keys=["4"], inputs=[1])
    with pytest.raises(NodeFailure, match="has run 5 times") as failure:
        await after_scopes(client, "while", ScopesEnded(["4"], {"4": 1}, {}), {"when": True, "max_iterations": 5})

    assert failure.value.type == "limit.iterations"


@pytest.mark.parametrize(("join", "needed"), [("all", 3), ("any", 1), (1, 1), (2, 2), (3, 3)])
async def test_a_parallel_opens_its_branches_and_says_how_many_it_needs(
    client: EgressClient, join: Any, needed: int
) -> None:
    opened, _ = await run(client, "parallel", {"join": join}, input=7, branches=["a", "b", "c"])

    assert opened == RunScopes(keys=["a", "b", "c"], inputs=[7, 7, 7], concurrency=3, needed=needed)


async def test_a_parallel_cannot_need_more_branches_than_it_has(client: EgressClient) -> None:
    with pytest.raises(NodeFailure, match="'join' asks for 4 of 3 branches"):
        await run(client, "parallel", {"join": 4}, branches=["a", "b", "c"])


async def test_a_parallel_gives_what_its_branches_gave_by_name(client: EgressClient) -> None:
    assert await after_scopes(client, "parallel", ScopesEnded(["a", "b"], {"b": 2}, {"a": None})) == {"b": 2}


async def test_a_wait_suspends_for_its_signal_and_gives_what_it_brings(client: EgressClient) -> None:
    paid = SignalWait("paid")

    assert (await run(client, "wait", {"key": "paid"}))[0] == Suspend(wait_for=paid, action="timeout")
    limited, _ = await run(client, "wait", {"key": "paid", "timeout": "5s"}, timeout_seconds=60.0)
    assert limited.deadline == NOON + timedelta(seconds=5), "its own time counts before the node's"
    limited, _ = await run(client, "wait", {"key": "paid"}, timeout_seconds=60.0)
    assert limited.deadline == NOON + timedelta(seconds=60)
    assert await after_signal(client, "wait", Signalled({"a": 1}, paid)) == {"a": 1}


async def test_an_approval_suspends_with_what_it_asks_and_ends_with_the_answer(client: EgressClient) -> None:
    asked, _ = await run(client, "approval", {"prompt": "p", "form": {"type": "object"}, "roles": ["admin"]})

    wait = ApprovalWait("p", {"type": "object"}, ["admin"])
    assert asked == Suspend(wait_for=wait, action="timeout")
    for approved, action in ((True, "approved"), (False, "rejected")):
        answer: JSON = {"approved": approved, "by": "x", "at": "y", "data": None}
        assert await after_signal(client, "approval", Signalled(answer, wait)) == Outcome(answer, action)


async def test_a_flow_that_there_is_not_is_an_error(client: EgressClient) -> None:
    with pytest.raises(NodeFailure) as failure:
        await run(client, "flow", {"flow": "nothing"})

    assert failure.value.type == "flow.not_found"


@pytest.mark.parametrize("input", [[], "text", 5, True])
async def test_the_input_of_a_flow_is_an_object(client: EgressClient, input: Any) -> None:
    with pytest.raises(NodeFailure, match="is an object"):
        await run(client, "flow", {"flow": "nothing"}, input=input)


@pytest.mark.parametrize(
    ("type", "params"),
    [
        ("delay", {"duration": "${"}), ("delay", {"until": "${"}), ("wait", {"key": "k", "timeout": "${"}),
        ("http.request", {"url": "http://127.0.0.1:1/", "timeout": "${"}),
        ("http.request", {"url": "http://127.0.0.1:1/", "method": "${"}),
        ("webhook", {"url": "http://127.0.0.1:1/", "method": "${x}"}),
    ],
)  # fmt: skip
async def test_a_value_that_only_looks_like_an_expression_is_an_error_of_the_node(
    client: EgressClient, type: str, params: Any
) -> None:
    with pytest.raises(NodeFailure) as failure:
        await run(client, type, params)

    assert failure.value.type in ("input.invalid", "http.invalid_request")


@pytest.mark.parametrize(
    ("type", "params"),
    [
        ("transform", {}),
        ("transform", {"value": 1, "script": "x"}),
        ("log", {}),
        ("log", {"message": None}),
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
        ("fail", {"message": None}),
        ("switch", {}),
        ("switch", {"cases": []}),
        ("switch", {"cases": {"when": "x", "action": "a"}}),
        ("switch", {"cases": [{"when": "x"}]}),
        ("switch", {"cases": [{"action": "a"}]}),
        ("switch", {"cases": [{"when": "x", "action": ""}]}),
        ("switch", {"cases": [{"when": "x", "action": "error"}]}),
        ("switch", {"cases": [{"when": "x", "action": "error.http"}]}),
        ("switch", {"cases": [{"when": "x", "action": "a", "then": "b"}]}),
        ("condition", {"cases": []}),
        ("foreach", {}),
        ("foreach", {"items": [], "concurrency": 0}),
        ("foreach", {"items": [], "concurrency": 1001}),
        ("foreach", {"items": [], "concurrency": True}),
        ("foreach", {"items": [], "on_error": "ignore"}),
        ("foreach", {"items": [], "as": 1}),
        ("while", {}),
        ("while", {"when": "x", "max_iterations": 0}),
        ("while", {"when": "x", "delay": "soon"}),
        ("while", {"when": "x", "delay": 5}),
        ("parallel", {"join": 0}),
        ("parallel", {"join": -1}),
        ("parallel", {"join": "most"}),
        ("parallel", {"join": 1.5}),
        ("flow", {}),
        ("flow", {"flow": ""}),
        ("flow", {"flow": "x", "input": []}),
        ("flow", {"flow": "x", "version": 1.5}),
        ("flow", {"flow": "x", "wait": "yes"}),
        ("wait", {}),
        ("wait", {"key": ""}),
        ("wait", {"key": "x" * 201}),
        ("wait", {"key": "a\nb"}),
        ("wait", {"key": "k", "timeout": "soon"}),
        ("approval", {"form": "x"}),
        ("approval", {"roles": []}),
        ("approval", {"roles": ["viewer"]}),
        ("approval", {"prompt": None}),
        ("approval", {"notify": "n", "remind": "59s"}),
        ("transform", {"mapping": []}),
        ("webhook", {}),
        ("webhook", {"url": ""}),
        ("webhook", {"url": "http://x", "method": "BREW"}),
        ("webhook", {"url": "http://x", "headers": {"a": [1]}}),
        ("webhook", {"url": "http://x", "secret": ""}),
        ("http.request", {"url": "http://x", "body": 1, "form": {}}),
        ("http.request", {"url": "http://x", "auth": {}}),
        ("http.request", {"url": "http://x", "auth": {"token": "t", "api_key": "k"}}),
        ("http.request", {"url": "http://x", "timeout": "0s"}),
        ("http.request", {"url": "http://x", "response": "xml"}),
        ("http.request", {"url": "http://x", "expect_status": "2xx"}),
        ("http.request", {"url": "http://x", "query": {"a": {"b": 1}}}),
    ],
)
def test_parameters_that_make_no_sense_are_refused_when_saved_and_when_run(type: str, params: Any) -> None:
    assert TYPES[type].check(params)
    with pytest.raises(NodeFailure) as failure:
        TYPES[type].read(params)
    assert failure.value.type == "input.invalid"
    assert type in failure.value.message


@pytest.mark.parametrize(
    ("value", "message"), [(5, "must be a duration: "), (1.5, "must be a duration: "), (True, "must be text")]
)
def test_a_duration_without_a_unit_is_told_as_that(value: Any, message: str) -> None:
    (fault,) = TYPES["delay"].check({"duration": value})

    assert fault.message.startswith(message)


@pytest.mark.parametrize(
    ("members", "count", "different"),
    [
        (["a@example.com", "A@Example.com"], 2, 1), (["a@example.com", "b@example.com"], 3, 2),
        (["a@example.com", "b@example.com"], 2, None), (None, 3, None),
        # Ids are compared as they are.
        (["account-a", "account-A"], 2, None), (["account-a", "account-a"], 2, 1),
    ],
)  # fmt: skip
def test_an_approval_needs_no_more_answers_than_members_may_give(
    members: list[str] | None, count: int, different: int | None
) -> None:
    faults = TYPES["approval"].check({"prompt": "ok?", "members": members, "count": count})

    expected = [] if different is None else [f"must be at most the number of different members, {different}"]
    assert [fault.message for fault in faults] == expected


def test_all_faults_of_parameters_are_told_at_once() -> None:
    faults = TYPES["log"].check({"level": "loud", "mesage": "m"})

    # That 'message' is missing, and that 'mesage' is unknown, is one mistake.
    assert {fault.keys: fault.code for fault in faults} == {("level",): "param", ("mesage",): "unknown_key"}
    assert [fault.hint for fault in faults if fault.code == "unknown_key"] == ["did you mean 'message'?"]


def test_a_key_is_meant_by_one_unknown_key_alone() -> None:
    faults = TYPES["log"].check({"mesage": "m", "colour": "red"})

    assert [(fault.keys, fault.hint) for fault in faults] == [
        (("mesage",), "did you mean 'message'?"),
        (("colour",), "known parameters: message, level, data"),
    ]


@pytest.mark.parametrize(
    ("operation", "unknown", "hint"),
    [
        ("increment", "by", "did you mean 'value'?"),
        ("increment", "amount", "did you mean 'value'?"),
        ("get", "default", "write another value where the result is read: ${nodes.<name>.result ?? 0}"),
        ("get", "whatever", "known parameters: operation, key, value, ttl, expected, namespace, prefix, after, limit"),
    ],
)
def test_the_store_knows_what_other_systems_call_its_parameters(operation: str, unknown: str, hint: str) -> None:
    (fault,) = TYPES["store"].check({"operation": operation, "key": "n", unknown: 5})

    assert (fault.keys, fault.code, fault.hint) == ((unknown,), "unknown_key", hint)


@pytest.mark.parametrize("ttl", ["0s", "0ms", "PT0S"])
def test_nothing_is_stored_for_no_time(ttl: str) -> None:
    (fault,) = TYPES["store"].check({"operation": "set", "key": "n", "value": 1, "ttl": ttl})

    assert (fault.keys, fault.message) == (("ttl",), "must be longer than 0s, and ten years at most")


def test_cases_as_a_map_hide_no_fault_of_another_parameter() -> None:
    faults = TYPES["switch"].check({"value": "${input.kind}", "cases": {"eu": "ship"}, "default_action": 7})

    # That 'value' is unknown is the same mistake: cases of another language.
    assert [(fault.keys, fault.code) for fault in faults] == [(("cases",), "param"), (("default_action",), "param")]


def test_nodes_that_change_nothing_outside_may_run_twice() -> None:
    changing = {"method": "POST", "operation": "execute"}
    assert {name for name, node_type in TYPES.items() if node_type.repeatable(changing)} == {
        "agent", "approval", "condition", "delay", "email.receive", "fail", "foreach", "llm", "log", "mcp", "parallel",
        "return", "set",
        "store", "switch", "transform", "wait", "while",
    }  # fmt: skip


MAIL: Any = {"host": "h.example", "from": "a@b.example", "to": "c@d.example", "body": "t"}


# What begins like an expression in the value of one is text from outside, and hides nothing behind it.
@pytest.mark.parametrize(
    ("type", "params"),
    [
        ("email.send", {**MAIL, "subject": "a\x00${"}),
        ("email.send", {**MAIL, "host": "h.example:25${"}),
        ("email.send", {**MAIL, "from": "${@b.example, x@y.example"}),
        ("email.send", {**MAIL, "attachments": [{"filename": "a\x01${", "text": "t"}]}),
        ("http.request", {"url": "http://x", "method": "${"}),
        ("http.request", {"url": "http://x", "timeout": "${"}),
        ("webhook", {"url": "http://x", "secret": "whsec_${"}),
        ("delay", {"duration": "${"}),
        ("delay", {"until": "${"}),
        ("while", {"when": True, "delay": "${"}),
        ("wait", {"key": "k", "timeout": "${"}),
        ("approval", {"notify": "n", "remind": "${"}),
        ("llm", {"base_url": "http://x/v1?${", "model": "m", "prompt": "p"}),
        ("store", {"operation": "set", "key": "k", "value": 1, "ttl": "${"}),
        ("store", {"operation": "increment", "key": "k", "value": "${"}),
    ],
)
def test_a_value_is_checked_although_it_looks_like_an_expression(type: str, params: Any) -> None:
    with pytest.raises(NodeFailure) as failure:
        TYPES[type].read(params)
    assert failure.value.type == "input.invalid"


def test_a_parameter_with_an_expression_is_not_checked_before_its_value_is_known() -> None:
    faults = {
        text: TYPES["foreach"].check({"items": [], "concurrency": text}) for text in ("${input.n}", "$${input.n}")
    }

    assert not faults["${input.n}"]
    assert faults["$${input.n}"]


class Price(Params):
    amount: str

    @field_validator("amount")
    @classmethod
    def has_currency(cls, amount: str, info: ValidationInfo) -> str:
        if not amount.endswith((info.context or {}).get("currency", "EUR")):
            raise ValueError("has no currency")
        return amount


class Pay(NodeType[Price]):
    type = "pay"
    Params = Price

    async def run(self, params: Price, context: StepContext) -> JSON:
        return params.amount


def test_a_validator_of_an_author_gets_a_mapping_as_context_if_any() -> None:
    assert [fault.message for fault in Pay().check({"amount": "5"})] == ["has no currency"]
    assert Pay().check({"amount": "5 EUR"}) == []
    assert Pay().read({"amount": "5 EUR"}).amount == "5 EUR"
