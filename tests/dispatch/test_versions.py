"""Executions that have begun under one version of the workflow go on under another."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from dispatch import record_histories
from dispatch.cluster import Cluster, Front
from dispatch.newer_workflow import CarelessWorkflow, NewerWorkflow
from flowrunner.dispatch.temporal import worker
from flowrunner.dispatch.temporal.workflow import ExecutionWorkflow
from flowrunner.domain.status import Status

HISTORIES: Final = sorted((Path(__file__).with_name("histories")).glob("*.json"))
TWICE: Final = """
nodes:
  first: {type: wait, params: {key: first}, next: second}
  second: {type: wait, params: {key: second}}
"""


def replayer(workflow: type) -> Replayer:
    return Replayer(workflows=[workflow], workflow_runner=UnsandboxedWorkflowRunner())


def history(file: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json("exec-1", file.read_text())


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
async def test_a_kept_history_is_what_the_present_workflow_does(file: Path) -> None:
    await replayer(ExecutionWorkflow).replay_workflow(history(file))


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
async def test_a_change_that_asks_leaves_what_has_begun_as_it_was(file: Path) -> None:
    await replayer(NewerWorkflow).replay_workflow(history(file))


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
async def test_a_change_that_does_not_ask_is_found(file: Path) -> None:
    with pytest.raises(NondeterminismError):
        await replayer(CarelessWorkflow).replay_workflow(history(file))


def test_every_scenario_has_left_a_history_and_no_name_of_a_machine() -> None:
    names = {scenario.__name__ for scenario in record_histories.SCENARIOS}

    assert {file.stem.partition("-")[0] for file in HISTORIES} == names
    for file in HISTORIES:
        assert identities(json.loads(file.read_text())) <= {"worker"}


def identities(value: Any) -> set[str]:
    match value:
        case dict():
            here = {value["identity"]} if isinstance(value.get("identity"), str) else set()
            return here.union(*map(identities, value.values()))
        case list():
            return set().union(*map(identities, value))
        case _:
            return set()


async def test_executions_go_on_while_workers_are_replaced_by_newer_ones(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.save(TWICE)
    async with machines.worker():
        begun = [await front.start() for _ in range(3)]
        for id in begun:
            await front.until_waiting_for(id, "first")
        monkeypatch.setattr(worker, "ExecutionWorkflow", NewerWorkflow)
        async with machines.worker():
            for id in begun:
                await front.signals.send(front.caller, id, "first", 1)
            begun += [await front.start() for _ in range(3)]
    # The older one is gone, and what it has begun goes on.
    async with machines.worker():
        for id in begun[3:]:
            await front.signals.send(front.caller, id, "first", 1)
        for id in begun:
            await front.signals.send(front.caller, id, "second", 1)

        assert await front.until_ended(*begun) == [Status.COMPLETED] * 6
