"""What an execution needs before it starts: a place in the limit of its flow, and input that the flow takes."""

from collections.abc import Mapping
from typing import Any

import pytest

from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.values import JSON, FlowId
from flowrunner.ports.concurrency import ConcurrencySlot
from flowrunner.services.admission import concurrency_slot_of
from support.databases import MARA
from support.dependencies import Machine
from support.flows import flow_of


async def slot_of(
    engine: Machine,
    key: str | None,
    input: Mapping[str, JSON] | None = None,
    *,
    config: Mapping[str, JSON] | None = None,
    id: str = "flow-1",
    name: str = "orders",
    version: str = "1",
) -> ConcurrencySlot | None:
    written = "" if key is None else f', key: "{key}"'
    flow = flow_of(
        f"metadata: {{name: written, version: '{version}'}}\nlimits: {{concurrency: {{max: 3{written}}}}}\n"
        "vars: {region: eu}\nnodes: {a: {type: return}}\n"
    )
    return await concurrency_slot_of(
        flow, MARA, FlowId(id), input or {}, name=name, config=config or {}, sandbox=engine.deps.sandbox
    )


async def test_a_flow_without_a_limit_needs_no_slot(engine: Machine) -> None:
    flow = flow_of("nodes: {a: {type: return}}")

    found = await concurrency_slot_of(flow, MARA, FlowId("flow-1"), {}, name="", config={}, sandbox=engine.deps.sandbox)

    assert found is None


async def test_a_limit_without_a_key_is_one_for_all_executions_of_the_flow(engine: Machine) -> None:
    slots = [await slot_of(engine, None, {"n": 1}), await slot_of(engine, None, {"n": 2}, name="other")]

    assert slots[0] is not None
    assert (slots[0].most, slots[0].key.partition(":")[0]) == (3, "flow-1")
    assert slots[0] == slots[1] != await slot_of(engine, None, id="flow-2")


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("${input.n}", {"input": {"n": 1}}, {"input": {"n": "1"}}),
        ("${flow.input.n}", {"input": {"n": 1}}, {"input": {"n": 2}}),
        ("${flow.id}", {"id": "flow-1"}, {"id": "flow-2"}),
        ("${flow.name}", {"name": "a"}, {"name": "b"}),
        ("${flow.version}", {"version": "1"}, {"version": "2"}),
        ("${config.N}", {"config": {"N": 1}}, {"config": {"N": 2}}),
        ("${input.n % 2}", {"input": {"n": 1}}, {"input": {"n": 2}}),
        ("${vars.region}-${input.n}", {"input": {"n": 1}}, {"input": {"n": 2}}),
    ],
)
async def test_executions_with_the_same_value_of_the_key_share_a_limit(
    engine: Machine, key: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    first, again, second = [await slot_of(engine, key, **given) for given in (one, one, other)]

    assert first == again
    assert first != second


@pytest.mark.parametrize(
    ("key", "code", "message"),
    [
        ("${input.a.b}", "invalid", "The key of limits.concurrency has no value: "),
        ("${config.GONE}", "invalid", "The key of limits.concurrency has no value: "),
        ("${input.long}", "too_large", "The key of limits.concurrency is longer than"),
    ],
)
async def test_a_key_without_a_value_is_a_fault_of_the_input(
    engine: Machine, key: str, code: str, message: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await slot_of(engine, key, {"a": None, "long": "x" * 100_000})

    (fault,) = refusal.value.faults
    assert fault.path == "input"
    assert fault.message.startswith(message)
    assert fault.code == code
