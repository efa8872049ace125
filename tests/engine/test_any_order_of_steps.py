"""Steps that set variables run one after the other, whatever is added, ended and cancelled meanwhile."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.events import ErrorValue, Step
from flowrunner.engine import step_tasks
from flowrunner.engine.mailbox import Mailbox, Result
from flowrunner.engine.step_tasks import StepTasks

DONE: Final = ErrorValue(type="done", message="its outcome does not matter here")


@dataclass
class Node:
    """The part of a node that matters here."""

    sets_variables: bool
    pure: bool = False
    is_quick: bool = False
    timeout_seconds: None = None
    type: str = "test"


@dataclass
class World:
    """The steps of an execution, each with what lets it end."""

    nodes: dict[Step, Node] = field(default_factory=dict)
    started: list[Step] = field(default_factory=list)
    running: dict[Step, asyncio.Event] = field(default_factory=dict)
    attempts: int = 1

    def at(self, step: Step) -> "World":
        return self

    async def run(self, step: Step) -> ErrorValue:
        self.started.append(step)
        self.running[step] = asyncio.Event()
        try:
            await self.running[step].wait()
        finally:
            del self.running[step]
        return DONE


class Slot:
    """A slot for long values that no step takes."""

    is_held = False

    def __init__(self, *_: object) -> None:
        pass

    async def leave(self) -> None:
        pass


@pytest.fixture(scope="module", autouse=True)
def parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_tasks, "node_of", lambda flow, state, step: state.nodes[step])
        patch.setattr(step_tasks, "run_step", lambda loaded, step, *_, **__: loaded.state.run(step))
        patch.setattr(step_tasks, "LongValueSlot", Slot)
        yield


class Loaded:
    """An execution of which only the state matters."""

    def __init__(self, world: World) -> None:
        self.state = world

    def __getattr__(self, name: str) -> Any:
        return self


Act = tuple[str, int]
ACTS: Final = st.lists(
    st.tuples(st.sampled_from(("set", "other", "end", "cancel", "abandon", "launch")), st.integers(0, 9)), max_size=30
)


async def play(acts: Sequence[Act]) -> None:
    world, mailbox = World(), Mailbox()
    tasks = StepTasks(cast("Any", Loaded(world)), mailbox)
    wanted: list[Step] = []
    given_up: set[Step] = set()
    never: set[Step] = set()

    async def turn() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        for message in mailbox.take():
            assert isinstance(message, Result)
            if tasks.is_awaited(message):
                tasks.abandon(message.step)
        tasks.launch()
        await asyncio.sleep(0)

    for act, number in acts:
        left = [step for step in wanted if step in tasks]
        if act in ("set", "other"):
            step = Step(f"n{len(wanted)}", 1)
            world.nodes[step] = Node(sets_variables=act == "set")
            wanted.append(step)
            tasks.add(step)
        elif act == "launch":
            await turn()
        elif act == "end" and world.running:
            list(world.running.values())[number % len(world.running)].set()
            await turn()
        elif act in ("cancel", "abandon") and left:
            chosen = left[number % len(left)]
            given_up.add(chosen)
            if act == "cancel" and chosen not in world.started:
                never.add(chosen)
            (tasks.cancel if act == "cancel" else tasks.abandon)(chosen)
        setting = [step for step in world.running if world.nodes[step].sets_variables and step in tasks]
        assert len(setting) <= 1
    for _ in range(2 * len(wanted) + 2):
        await turn()
        for ended in list(world.running.values()):
            ended.set()

    assert len(tasks) == 0
    assert never & {*world.started} == set()
    assert [step for step in wanted if step not in given_up and step not in world.started] == []
    assert len(world.started) == len({*world.started})
    in_line = [step for step in wanted if world.nodes[step].sets_variables]
    began = [step for step in world.started if world.nodes[step].sets_variables]
    assert began == [step for step in in_line if step in world.started]


@given(ACTS)
def test_every_step_runs_once_and_those_that_set_variables_one_after_the_other(acts: list[Act]) -> None:
    asyncio.run(play(acts))


def test_a_step_that_is_cancelled_while_it_waits_in_line_never_starts() -> None:
    asyncio.run(play([("set", 0), ("set", 0), ("launch", 0), ("cancel", 1), ("end", 0), ("launch", 0)]))
