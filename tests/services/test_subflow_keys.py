"""The idempotency key of a step that starts an execution."""

from flowrunner.domain.account import Caller
from flowrunner.domain.causes import ChildOf
from flowrunner.domain.values import ExecutionId
from flowrunner.services.flow_changes import FlowDraft
from flowrunner.services.flows import Flows
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
