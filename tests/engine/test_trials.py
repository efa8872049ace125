"""Trials of single nodes: what a node reads, what it gives, and what a trial leaves out."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.values import AccountId
from flowrunner.engine import trial
from flowrunner.engine.trial import EngineTrials
from flowrunner.plugin import StepContext
from flowrunner.ports.node_trials import Trial, TrialContext
from support.databases import MARA
from support.dependencies import PATIENCE_SECONDS, Acting, Machine, machine, secret
from support.flows import flow_of

FLOW: Final = """\
vars: {n: 1}
nodes:
  first: {type: transform, params: {value: "${input}"}, next: each}
  each:
    type: foreach
    params: {items: "${input}"}
    nodes:
      look:
        type: transform
        params: {value: ["${item}", "${index}", "${nodes.first.result}", "${vars.n}"]}
        next: both
      both:
        type: parallel
        branches: {left: {nodes: {deep: {type: transform, params: {value: ["${item}", "${nodes.look.result}"]}}}}}
    next: {default: logs, error: sorry}
  sorry: {type: transform, params: {value: ["${error.type}", "${error.message}", "${error.node}", "${error.data}"]}}
  logs: {type: transform, params: {script: "for (let i = 0; i < 150; i++) console.log(i); return 1"}, next: waits}
  waits: {type: wait, params: {key: paid}, timeout: 1h, next: skips}
  skips: {type: log, params: {message: x}, if: "false", next: fails}
  fails: {type: fail, params: {error: gone.away, message: It is gone}, next: {error: counts}}
  counts: {type: transform, params: {value: "${(nodes.counts.result ?? 0) + 1}"}, next: calls}
  calls: {type: flow, params: {flow: other, input: {}}, next: counts}
"""


async def tried(engine: Machine, node: str, *, flow: str = FLOW, **given: Any) -> Trial:
    return await EngineTrials(engine.deps).run(
        flow_of(flow), node, TrialContext(**given), workspace_id=MARA, by=AccountId(MARA)
    )


@pytest.mark.parametrize(
    ("node", "given", "result"),
    [
        ("first", {"input": [1]}, [1]),
        ("first", {"flow_input": {"a": 1}}, None),
        (
            "each/look", {"item": "x", "index": 3, "results": {"first": 7}, "vars": {"n": 5}}, ["x", 3, 7, 5],
        ),
        ("each/look", {"item": "x", "results": {"first": 7}}, ["x", 0, 7, 1]),
        ("each/both[left]/deep", {"item": "x", "results": {"look": 8}}, ["x", 8]),
        (
            "sorry", {"error": {"type": "http.503", "message": "busy", "node": "each", "data": {"a": 1}}},
            ["http.503", "busy", "each", {"a": 1}],
        ),
        ("counts", {}, 1),
        ("counts", {"results": {"counts": 41}}, 42),
    ],
)  # fmt: skip
async def test_a_node_reads_what_is_given(engine: Machine, node: str, given: dict[str, Any], result: Any) -> None:
    found = await tried(engine, node, **given)

    assert (found.status, found.result, found.action) == ("completed", result, "default")
    assert (found.node_type, found.has_effects, found.params) == ("transform", False, {"value": result})


async def test_a_node_that_waits_opens_skips_or_fails_does_nothing_more(engine: Machine) -> None:
    waits, opens = await tried(engine, "waits"), await tried(engine, "each", input=["a", "b"])
    skips, fails = await tried(engine, "skips"), await tried(engine, "fails")

    assert (waits.status, waits.wait is not None and waits.wait["type"]) == ("waiting", "signal")
    assert waits.until is not None
    assert 3599 <= (waits.until - waits.started_at).total_seconds() <= 3601
    assert (opens.status, opens.scopes) == ("opened", ["0", "1"])
    assert (skips.status, skips.params) == ("skipped", None)
    error: Any = fails.error
    assert (fails.status, error["type"], error["message"]) == ("failed", "gone.away", "It is gone")


async def test_a_trial_shows_the_action_of_an_edge_as_an_execution_would(engine: Machine) -> None:
    await secret(engine, "KEY", "blocked")
    chooses = """
    nodes:
      named: {type: switch, params: {cases: [{when: "true", action: blocked}]}, next: {blocked: other}}
      other: {type: switch, params: {cases: [{when: "true", action: blocked}]}}
    """

    named, other = await tried(engine, "named", flow=chooses), await tried(engine, "other", flow=chooses)

    assert (named.action, other.action) == ("blocked", "***")


async def test_a_trial_keeps_the_first_lines(engine: Machine) -> None:
    found = await tried(engine, "logs")

    assert [line.message for line in found.lines] == [str(n) for n in range(100)]
    assert {line.level for line in found.lines} == {"info"}


async def test_a_trial_has_a_limited_time(engine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MOST_SECONDS", 0.0)

    found = await tried(engine, "logs")

    error: Any = found.error
    assert (found.status, error["type"]) == ("failed", "timeout")


async def test_a_node_that_ignores_cancellation_does_not_keep_its_trial(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "MOST_SECONDS", 0.05)
    begun, let_go, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(value: Any, context: StepContext) -> Any:
        begun.set()
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()
        gone.set()

    async with machine(path, types=[Acting("act", stubborn)]) as engine:
        flow = flow_of("nodes: {a: {type: act}}", {name: one.spec() for name, one in engine.types.items()})
        trials = EngineTrials(engine.deps)

        async def try_it() -> Trial:
            return await trials.run(flow, "a", TrialContext(), workspace_id=MARA, by=AccountId(MARA))

        async with asyncio.timeout(PATIENCE_SECONDS):
            found = await try_it()
            monkeypatch.setattr(trial, "MOST_SECONDS", 60.0)
            begun.clear()
            # The request ends while the node runs.
            asking = asyncio.create_task(try_it())
            await begun.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        let_go.set()
        await gone.wait()

    error: Any = found.error
    assert (found.status, error["type"]) == ("failed", "timeout")


@pytest.mark.parametrize(
    ("node", "message", "hint"),
    [
        ("look", "the flow has no such node", "did you mean 'each/look'?"),
        ("frist", "the flow has no such node", "did you mean 'first'?"),
        ("each/deep", "the flow has no such node", "did you mean 'each'?"),
        ("", "the flow has no such node", "name it by its path: push, each/push"),
        ("calls", "a node of type flow starts an execution: run the flow instead", None),
    ],
)
async def test_a_node_that_cannot_be_tried_is_a_fault(
    engine: Machine, node: str, message: str, hint: str | None
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await tried(engine, node)

    (fault,) = refused.value.faults
    assert (fault.path, fault.message) == ("node", message)
    assert fault.hint == hint


async def test_results_are_of_nodes_that_the_node_can_read(engine: Machine) -> None:
    trials, flow = EngineTrials(engine.deps), flow_of(FLOW)

    assert trials.type_of(flow, "each/both[left]/deep", ["look", "first", "deep"]) == "transform"
    with pytest.raises(InvalidInput) as refused:
        trials.type_of(flow, "first", ["look", "frist", "each"])

    assert [(fault.path, fault.code, fault.hint) for fault in refused.value.faults] == [
        ("results", "unknown_node", None), ("results", "unknown_node", "did you mean 'first'?")]  # fmt: skip
