"""Runs without a server in this process: their answers, and their end where nothing can happen any more."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from flowrunner.domain.events import Cancelled, Completed, Event
from flowrunner.flowtest.local_runner import STUCK, Answers, ApprovalAnswer
from flowrunner.flowtest.memory import GivenFlows
from flowrunner.local.runner import open_local_runner
from flowrunner.local.runtime import open_runtime
from support.flows import flow_of

ASK: Final = """\
nodes:
  ask:
    type: approval
    params: {prompt: Go?, count: 2, form: {type: object, properties: {n: {type: integer, default: 3}}}}
    next: {approved: end, rejected: "no"}
  end: {type: return, params: {value: ["${nodes.ask.result.answers.length}", "${nodes.ask.result.data}"]}}
  "no": {type: return, params: {value: refused}}
"""
SIGNALS: Final = """\
nodes:
  one: {type: wait, params: {key: paid}, next: two}
  two: {type: wait, params: {key: paid}, next: three}
  three: {type: wait, params: {key: paid}, next: end}
  end: {type: return, params: {value: ["${nodes.one.result}", "${nodes.two.result}", "${nodes.three.result}"]}}
"""
APPROVED: Final = ApprovalAnswer(approved=True)


async def run(text: str, *others: str, **answers: Any) -> tuple[Event, Sequence[Mapping[str, Any]], int]:
    """Return the last event, the waits that were left, and the number of executions that were watched."""
    flows, watched = GivenFlows(), set[str]()

    def watch(execution_id: str, records: object) -> None:
        watched.add(execution_id)

    given, *_ = [flows.add(flow_of(each), {}) for each in (text, *others)]
    async with open_runtime() as (_, runtime):
        async with open_local_runner(
            runtime, flows, {}, {}, answers=Answers(**answers), egress_allow=(), watch=watch
        ) as runner:
            events = await runner.run(given, {})
            return events[-1], runner.unanswered, len(watched)


async def test_an_approval_is_answered_by_as_many_accounts_as_it_needs() -> None:
    end, unanswered, _ = await run(ASK, approvals={"ask": ApprovalAnswer(approved=True, data={"n": 7})})

    assert (end, unanswered) == (Completed(result=[2, {"n": 7}]), ())


async def test_an_answer_has_the_defaults_of_its_form_and_one_rejection_rejects() -> None:
    assert (await run(ASK, approvals={"ask": ApprovalAnswer(approved=True, data={})}))[0] == Completed(
        result=[2, {"n": 3}]
    )
    assert (await run(ASK, approvals={"ask": ApprovalAnswer(approved=False)}))[0] == Completed(result="refused")


async def test_an_answer_that_does_not_fit_ends_the_run_with_the_reason() -> None:
    end, *_ = await run(ASK, approvals={"ask": ApprovalAnswer(approved=True, data={"n": "x"})})

    assert isinstance(end, Cancelled)
    assert end.reason == "the answer to 'ask' does not fit its form: data.n: must be a whole number"


@pytest.mark.parametrize(
    ("payloads", "result"), [([1, 2, 3], [1, 2, 3]), ([1, 2], [1, 2, 2]), ([0], [0, 0, 0]), ([None], [None] * 3)]
)
async def test_signals_are_used_in_order_and_the_last_one_again(payloads: list[Any], result: list[Any]) -> None:
    end, unanswered, watched = await run(SIGNALS, signals={"paid": payloads, "other": [9]})

    assert (end, unanswered, watched) == (Completed(result=result), (), 1)


@pytest.mark.parametrize(
    ("text", "others"),
    [
        (SIGNALS, ()),
        ("nodes: {call: {type: flow, params: {flow: child, input: {}}}}", ("metadata: {name: child}\n" + SIGNALS,)),
        # A handler that waits as well is ended by force.
        (SIGNALS + "  last: {type: wait, params: {key: never}}\non_finish: last\n", ()),
    ],
    ids=["a signal", "a flow", "a handler"],
)
async def test_a_run_that_waits_for_what_is_not_given_ends_with_its_waits(text: str, others: tuple[str, ...]) -> None:
    end, unanswered, watched = await run(text, *others, approvals={"other": APPROVED})

    assert isinstance(end, Cancelled)
    assert end.reason == STUCK
    assert unanswered
    assert {wait["type"] for wait in unanswered} <= {"signal", "flow"}
    assert watched == 1 + len(others)
