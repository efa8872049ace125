"""The events that a rerun keeps, on random flows and by example."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.simulation import (
    Behaviour,
    Plan,
    ScopePlan,
    Simulation,
    Timed,
    flow_with,
    node,
    plans,
    repeatable,
    simulation,
)
from domain.test_decide import as_if_undisturbed, crashes, is_handler
from flowrunner.domain.causes import Requested
from flowrunner.domain.events import (
    ROOT,
    Cancelled,
    Completed,
    ErrorValue,
    Event,
    Failed,
    InputEdited,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    ScopeEnded,
    ScopesOpened,
    Started,
    Step,
)
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.flow import Graph
from flowrunner.domain.rerun import (
    NoFailedElements,
    NoSuchStep,
    find_step,
    kept_before,
    kept_elements,
    misfit,
    with_input,
    with_time_left,
)
from flowrunner.domain.transitions import apply, replay
from support.conformance import SHARE

MANY = settings(max_examples=round(400 * SHARE))


EDITED: Final = {"edited": True}
NOON: Final = datetime(2027, 1, 1, 12, tzinfo=UTC)


def steps_of(journal: Sequence[Timed]) -> list[Step]:
    started = [e for e, _ in journal if isinstance(e, NodeStarted) and e.attempt == 1]
    return [Step(e.node, e.iteration, e.scope) for e in started if not is_handler(e.scope)]


def ended_in(journal: Sequence[Timed]) -> set[Step]:
    return {
        Step(e.node, e.iteration, e.scope)
        for e, _ in journal
        if isinstance(e, NodeCompleted) or (isinstance(e, NodeFailed) and e.retry_at is None)
    }


def rerun(run: Simulation, start: Step, crashes: Sequence[bool] = ()) -> tuple[Simulation, list[Timed]]:
    """Return the execution that repeats ``run`` from a step, before it continues, and the events that it keeps."""
    kept = kept_before(run.journal, start)
    again = Simulation(run.plan, list(crashes))
    again.begin(kept)
    return again, kept


@MANY
@given(plans(), st.integers(0, 2**16), crashes, st.sampled_from([3, 30, None]))
def test_kept_steps_can_continue_and_are_not_repeated(
    plan: Plan, chosen: int, crashes: list[bool], cut: int | None
) -> None:
    plan = repeatable(plan)
    run = Simulation(plan)
    if run.run(most_events=cut) is None:
        run.cancel()
        run.run()
    if not (steps := steps_of(run.journal)):
        return
    start = random.Random(chosen).choice(steps)

    undisturbed, kept = rerun(run, start)
    undisturbed.run()
    again, _ = rerun(run, start, crashes)
    ending = again.run()

    done = ended_in(kept)
    assert start not in done
    assert not done & set(steps_of(again.journal[1 + len(kept) :]))
    assert isinstance(ending, Completed | Failed)
    assert as_if_undisturbed(again.journal) == as_if_undisturbed(undisturbed.journal)
    assert replay(again.journal) == again.state


@MANY
@given(plans(), st.integers(0, 2**16), crashes)
def test_an_edited_input_is_that_of_its_step_alone_after_any_crash(
    plan: Plan, chosen: int, crashes: list[bool]
) -> None:
    run = Simulation(repeatable(plan))
    run.run()
    start = random.Random(chosen).choice(steps_of(run.journal))
    edited = InputEdited(**start._asdict(), input=EDITED)
    kept = with_input(kept_before(run.journal, start), edited, run.journal[-1][1])
    again = Simulation(run.plan, list(crashes))
    again.begin(kept)

    again.run()

    state = ExecutionState()
    inputs: dict[Step, list[object]] = defaultdict(list)
    for event, at in again.journal:
        apply(state, event, at)
        if isinstance(event, NodeStarted):
            step = Step(event.node, event.iteration, event.scope)
            inputs[step].append(state.at(step).input)
    assert all(given == EDITED for given in inputs.pop(start, []))
    if start.scope == ROOT:
        assert not state.edited
    assert state == again.state


def mixed_loop(seed: int) -> Plan:
    """Return a flow with a loop of which some elements fail."""
    chance = random.Random(seed)
    inside = Graph(start="in", nodes={"in": node("in", {"default": "on"}), "on": node("on")})
    run = simulation(
        node("before", {"default": "each"}),
        node("each", {"default": "after", "error": "after"}, child_scopes={"": inside}),
        node("after"),
    )
    outcomes = ["default", "default", "default", "!http.404", "~0.5", "?60"]
    chance.shuffle(outcomes)
    behaviours = {**run.plan.behaviours, "in": Behaviour(outcomes, is_mixed=True), "on": Behaviour(["default"])}
    loop = ScopePlan(
        kind="foreach",
        runs=chance.randint(2, 6),
        concurrency=chance.randint(1, 4),
        ignore_failures=chance.random() < 0.6,
        seconds=chance.choice((None, 5000.0)),
    )
    return Plan(run.flow, behaviours, {"each": loop}, seed=seed)


@MANY
@given(
    st.one_of(plans(), st.builds(mixed_loop, st.integers(0, 2**32))),
    st.integers(0, 2**16),
    crashes,
    st.sampled_from([3, 30, None]),
)
def test_elements_that_completed_are_not_repeated_and_all_others_are(
    plan: Plan, chosen: int, crashes: list[bool], cut: int | None
) -> None:
    plan = repeatable(plan)
    run = Simulation(plan, list(crashes[::-1]))
    if run.run(most_events=cut) is None:
        run.cancel()
        run.run()
    loops = {
        Step(e.node, e.iteration, e.scope)
        for e, _ in run.journal
        if isinstance(e, ScopesOpened) and not is_handler(e.scope)
    }
    if not loops:
        return
    loop = random.Random(chosen).choice(sorted(loops))
    try:
        kept = kept_elements(run.journal, loop)
    except NoFailedElements:
        return
    undisturbed, again = Simulation(plan), Simulation(plan, list(crashes))
    undisturbed.begin(kept)
    undisturbed.run()
    again.begin(kept)
    ending = again.run()

    opened = [e for e, _ in run.journal if isinstance(e, ScopesOpened) and Step(e.node, e.iteration, e.scope) == loop]
    scopes = {loop.child_scope(key) for event in opened for key in event.keys}
    completed = {e.scope for e, _ in run.journal if isinstance(e, ScopeEnded) and e.outcome == "completed"} & scopes
    inside = {
        step for step in ended_in(run.journal) if any((step.scope + "/").startswith(f"{one}/") for one in completed)
    }
    new = set(steps_of(again.journal[1 + len(kept) :]))
    # What completed elements have done is kept, all of it, and nothing of the others.
    assert inside <= ended_in(kept)
    assert not ended_in(kept) & new
    assert not any((step.scope + "/").startswith(f"{one}/") for step in ended_in(kept) for one in scopes - completed)
    assert loop not in new
    # The first step of each other one runs, unless the loop ends before.
    begun = {step.scope for step in new}
    if loop in ended_in(again.journal) and again.state.ending is not None:
        ended = [
            e for e, _ in again.journal if isinstance(e, NodeCompleted) and Step(e.node, e.iteration, e.scope) == loop
        ]
        assert not ended or scopes - completed <= begun
    assert isinstance(ending, Completed | Failed)
    assert as_if_undisturbed(again.journal) == as_if_undisturbed(undisturbed.journal)
    assert replay(again.journal) == again.state


@MANY
@given(plans(has_limits=False), st.integers(0, 2**16))
def test_a_flow_without_races_ends_the_same_way_when_it_runs_again(plan: Plan, chosen: int) -> None:
    # The first of several scopes to fail or complete decides the outcome, and in a rerun another may be the first.
    plan = replace(
        plan, scope_plans={name: replace(i, concurrency=1, needed=None) for name, i in plan.scope_plans.items()}
    )
    run = Simulation(plan)
    ending = run.run()
    start = random.Random(chosen).choice(steps_of(run.journal))

    again, _ = rerun(run, start)

    assert again.run() == ending


def loop(kind: str, runs: int) -> Simulation:
    inside = Graph(start="in", nodes={"in": node("in")})
    run = simulation(
        node("before", {"default": "each"}),
        node("each", {"default": "after"}, child_scopes={"": inside}),
        node("after"),
    )
    behaviours = {**run.plan.behaviours, "in": run.plan.behaviours["after"]}
    return Simulation(Plan(run.flow, behaviours, {"each": ScopePlan(kind=kind, runs=runs, concurrency=2)}))


@pytest.mark.parametrize(
    ("kind", "start", "runs_again"),
    [
        # The others keep their results.
        ("foreach", "each.1[1]/in.1", ["each.1[1]/in.1", "after.1"]),
        # Later iterations depend on the earlier one.
        ("while", "each.1[1]/in.1", ["each.1[1]/in.1", "each.1[2]/in.1", "after.1"]),
        ("while", "each.1[0]/in.1", ["each.1[0]/in.1", "each.1[1]/in.1", "each.1[2]/in.1", "after.1"]),
        ("while", "each.1", ["each.1", "each.1[0]/in.1", "each.1[1]/in.1", "each.1[2]/in.1", "after.1"]),
        ("while", "after", ["after.1"]),
        ("while", "before", ["before.1", "each.1", *(f"each.1[{n}]/in.1" for n in range(3)), "after.1"]),
    ],
)
def test_the_steps_that_depend_on_a_step_run_again(kind: str, start: str, runs_again: list[str]) -> None:
    run = loop(kind, 3)
    run.run()

    again, kept = rerun(run, find_step(run.journal, start))

    assert again.run() == run.state.ending
    assert [str(step) for step in steps_of(again.journal[1 + len(kept) :])] == runs_again


def test_a_step_is_found_as_it_is_written_or_as_the_latest_run_of_a_node() -> None:
    run = loop("foreach", 3)
    run.run()

    assert find_step(run.journal, "each.1[1]/in.1") == Step("in", 1, "each.1[1]")
    assert find_step(run.journal, "in") == Step("in", 1, "each.1[2]")
    assert find_step(run.journal, "after") == Step("after", 1)
    with pytest.raises(NoSuchStep, match="has not reached a step 'nowhere'"):
        find_step(run.journal, "nowhere")


def test_a_rerun_cannot_start_in_a_handler() -> None:
    run = Simulation(
        Plan(
            flow_with(node("a"), node("h"), on_finish="h"),
            simulation(node("a"), node("h")).plan.behaviours,
        )
    )
    run.run()

    with pytest.raises(NoSuchStep):
        find_step(run.journal, "h")
    again, kept = rerun(run, find_step(run.journal, "a"))
    again.run()
    assert kept == []
    assert not isinstance(again.state.ending, Cancelled)


def test_of_two_edits_of_an_input_the_last_one_counts() -> None:
    run = simulation(node("a", {"default": "b"}), node("b"))
    run.run()
    start = Step("b", 1)
    kept = kept_before(run.journal, start)
    for number in (1, 2):
        kept = with_input(kept, InputEdited(node="b", iteration=1, input=number), run.journal[-1][1])

    again = Simulation(run.plan)
    again.begin(kept)
    again.run()

    assert [event.input for event, _ in kept if isinstance(event, InputEdited)] == [2]
    assert again.state.at(start).input == 2


def test_an_input_cannot_be_edited_of_a_step_to_which_the_kept_results_do_not_lead() -> None:
    run = simulation(node("a", {"default": "b"}), node("b"), node("c"))
    run.run()
    start, edited = Step("b", 1), InputEdited(node="b", iteration=1, input=1)
    kept = kept_before(run.journal, start)
    other = flow_with(node("a", {"default": "c"}), node("b"), node("c"))

    assert misfit(with_input(kept, edited, run.journal[-1][1]), start, run.flow) is None
    assert misfit(kept, start, other) is None
    assert misfit(with_input(kept, edited, run.journal[-1][1]), start, other) == (
        "the kept results do not lead to its node 'b', whose input was edited"
    )


def failing_loop(*, ignore_failures: bool, concurrency: int) -> Simulation:
    """Return an execution whose loop of four elements fails at the second and the fourth."""
    run = loop("foreach", 4)
    outcomes = {"each.1[1]/in.1": "!http.404", "each.1[3]/in.1": "!http.404"}

    class ByStep(Behaviour):
        def outcome(self, step: Step, failures: int) -> str:
            return outcomes.get(str(step), "default")

    plan = ScopePlan(kind="foreach", runs=4, concurrency=concurrency, ignore_failures=ignore_failures)
    return Simulation(Plan(run.flow, {**run.plan.behaviours, "in": ByStep([])}, {"each": plan}))


@pytest.mark.parametrize(
    ("ignore_failures", "concurrency", "runs_again"),
    [
        (True, 2, ["each.1[1]/in.1", "each.1[3]/in.1", "after.1"]),
        # The loop ended with its first failure, so the others have not begun.
        (False, 1, ["each.1[1]/in.1", "each.1[2]/in.1", "each.1[3]/in.1", "after.1"]),
    ],
)
def test_a_rerun_of_the_failed_elements_repeats_them_and_what_follows_the_loop(
    ignore_failures: bool, concurrency: int, runs_again: list[str]
) -> None:
    run = failing_loop(ignore_failures=ignore_failures, concurrency=concurrency)
    run.run()

    kept = kept_elements(run.journal, find_step(run.journal, "each"))
    again = Simulation(loop("foreach", 4).plan)
    again.begin(kept)
    ending = again.run()

    assert isinstance(ending, Completed)
    assert [str(step) for step in steps_of(again.journal[1 + len(kept) :])] == runs_again


def test_a_step_without_failed_elements_is_refused() -> None:
    run = loop("foreach", 3)
    run.run()

    with pytest.raises(NoFailedElements, match=r"All elements of 'each\.1' have completed"):
        kept_elements(run.journal, Step("each", 1))
    with pytest.raises(NoFailedElements, match=r"'after\.1' is no loop"):
        kept_elements(run.journal, Step("after", 1))


def test_loops_that_go_on_have_the_time_that_they_had_left() -> None:
    run = failing_loop(ignore_failures=True, concurrency=1)
    run.plan.scope_plans["each"] = replace(run.plan.scope_plans["each"], seconds=60.0)  # type: ignore[index] # a dict
    run.run()
    start, later = Step("each", 1), run.now + timedelta(days=1)

    def until(kept: Sequence[Timed]) -> list[datetime | None]:
        return [event.until for event, _ in kept if isinstance(event, ScopesOpened)]

    assert until(with_time_left(kept_elements(run.journal, start), later)) == [later + timedelta(seconds=60)]
    assert until(with_time_left(kept_before(run.journal, Step("in", 1, "each.1[1]")), later)) == [
        later + timedelta(seconds=60)
    ]
    # It has ended, so its time limit is what it was.
    assert until(with_time_left(kept_before(run.journal, Step("after", 1)), later)) == [run.now + timedelta(seconds=60)]


def test_lines_of_the_log_are_kept_with_the_steps_that_have_written_them() -> None:
    def events(node: str, scope: str = ROOT) -> list[Event]:
        common: Any = {"node": node, "node_type": "log", "iteration": 1, "scope": scope}
        return [
            NodeStarted(**common, attempt=1),
            Logged(**common, level="info", message=f"{scope} {node}"),
            # About the execution as a whole, such as the line of a crash.
            Logged(level="info", message="of the flow"),
            NodeCompleted(**common, attempt=1, action="default", result=None),
        ]

    each: Any = {"node": "each", "node_type": "foreach", "iteration": 1, "attempt": 1}
    opened = ScopesOpened(**each, keys=["0", "1"], inputs=[0, 1], concurrency=2, needed=2)
    left, right = "each.1[0]", "each.1[1]"
    happened = [
        Started(node="a", node_type="log", input=None, cause=Requested(by=None)),
        *events("a"), NodeStarted(**each), opened, *events("x", right), *events("x", left), *events("y", right),
        ScopeEnded(scope=ROOT, outcome="failed", error=ErrorValue(type="e", message="m")), *events("h", "on_failure"),
    ]  # fmt: skip

    def kept(start: Step) -> list[str]:
        found = kept_before([(event, NOON) for event in happened], start)
        return [event.message for event, _ in found if isinstance(event, Logged)]

    assert kept(Step("a", 1)) == []
    assert kept(Step("each", 1)) == [" a"]
    # What the other element has done meanwhile stays done.
    assert kept(Step("x", 1, left)) == [" a", f"{right} x", f"{right} y"]
    assert kept(Step("y", 1, right)) == [" a", f"{right} x", f"{left} x"]
