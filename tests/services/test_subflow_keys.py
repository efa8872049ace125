"""The idempotency key of a step that starts an execution, and how deep such steps may be."""

from datetime import timedelta

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.causes import ChildOf
from flowrunner.domain.errors import NotFound, TooManyRequests
from flowrunner.domain.values import ExecutionId, FlowId
from flowrunner.plugin import NodeFailure, SubFlow
from flowrunner.services.flow_changes import FlowDraft
from flowrunner.services.flows import Flows
from flowrunner.services.subflows import MAX_DEPTH, MAX_RECURSION, check_depth
from flowrunner.storage.executions import SqlExecutions
from support.databases import rows_of
from support.dependencies import Machine

SMALL = "metadata: {name: Small}\nnodes: {a: {type: log, params: {message: x}}}"


async def test_a_step_however_deep_within_others_has_a_key_that_any_database_takes(
    flows: Flows, engine: Machine, mara: Caller
) -> None:
    flow = await flows.create(mara, FlowDraft(definition=SMALL))
    for name in ("call", "another"):
        step = ChildOf(
            execution_id=ExecutionId("exec-parent"), failures=0, flows=(), is_awaited=False,
            step="/".join(f"{'ü' * 200}.1[{n}]" for n in range(15)) + f"/{name}.1",
        )  # fmt: skip
        await engine.deps.flows.start(mara.workspace_id, step, flow.id, version=None, input={})

    keys = [key for (key,) in rows_of(engine.path, "SELECT idempotency_key FROM executions")]
    assert len(set(keys)) == 2
    assert max(map(len, keys)) <= 255


async def test_a_later_start_with_a_key_reads_nothing_of_the_execution_that_the_first_one_started(
    flows: Flows, engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = await flows.create(mara, FlowDraft(definition=SMALL))

    async def start(step: str) -> SubFlow:
        cause = ChildOf(execution_id=ExecutionId("exec-parent"), step=step, failures=0, flows=(), is_awaited=False)
        return await engine.deps.flows.start(
            mara.workspace_id, cause, flow.id, version=None, input={"text": "x"}, dedupe="1"
        )

    async def get(*_: object) -> None:
        # As if it was deleted at this moment.
        raise NotFound("execution")

    first = await start("a.1")
    monkeypatch.setattr(SqlExecutions, "get", get)

    assert await start("b.1") == SubFlow(first.execution_id, flow.id, is_repeat=True)


async def test_a_full_queue_says_when_the_step_may_try_again(
    flows: Flows, engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = await flows.create(mara, FlowDraft(definition=SMALL))

    async def full(_: object) -> None:
        raise TooManyRequests("full", retry_after=timedelta(seconds=7), limit="workspace_queued", most=5)

    monkeypatch.setattr(engine.executions, "accept", full)
    step = ChildOf(execution_id=ExecutionId("e"), step="a.1", failures=0, flows=())
    with pytest.raises(NodeFailure) as failure:
        await engine.deps.flows.start(mara.workspace_id, step, flow.id, version=None, input={})

    assert (failure.value.type, failure.value.retry_after) == ("limit.workspace_queued", 7.0)


@pytest.mark.parametrize(
    ("flows", "error"),
    [
        ([f"flow-{n}" for n in range(MAX_DEPTH)], "flow.too_deep"),
        (["flow-0"] * MAX_RECURSION, "flow.recursion"),
    ],
)
def test_flows_call_each_other_only_so_deep(flows: list[str], error: str) -> None:
    def check(number: int) -> None:
        above = tuple(map(FlowId, flows[:number]))
        check_depth(ChildOf(execution_id=ExecutionId("e"), step="a.1", failures=0, flows=above), FlowId("flow-0"), "F")

    check(len(flows) - 1)
    with pytest.raises(NodeFailure) as failure:
        check(len(flows))

    assert failure.value.type == error
