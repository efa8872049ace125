"""The caches of compiled flows and input schemas, bounded in memory."""

import gc
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.values import RevisionId, WorkspaceId
from flowrunner.language import read_stored_flow
from flowrunner.schemas import RustSchemas
from flowrunner.services.admission import InputForms
from flowrunner.services.flow_changes import FlowDraft
from flowrunner.services.flows import Flows
from flowrunner.services.weighed_cache import WeighedCache, memory_of
from support.databases import OMAR_ACCOUNT
from support.dependencies import Machine
from support.flows import specs

from .callers import caller_of

MIB = 1024 * 1024
A, B, C = WorkspaceId("a"), WorkspaceId("b"), WorkspaceId("c")


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def test_the_flows_of_one_account_take_no_more_memory_than_its_share_and_displace_no_other_s(
    flows: Flows, engine: Machine, mara: Caller, traced: None
) -> None:
    small = "metadata: {name: N}\nnodes:\n  a: {type: transform, params: {value: 'x\U0001f600'}}\n"
    # Each character of such a text takes four bytes in memory.
    large = small.replace("x\U0001f600", "x" * 1_000_000 + "\U0001f600")
    omar = caller_of(OMAR_ACCOUNT)
    other = (await flows.create(omar, FlowDraft(definition=small))).revision_id
    mine = [(await flows.create(mara, FlowDraft(definition=large))).revision_id for _ in range(12)]
    kept = await engine.library.get(omar.workspace_id, other)
    before = held()

    for revision_id in mine:
        await engine.library.get(mara.workspace_id, revision_id)

    assert held() - before < 34 * MIB
    assert await engine.library.get(omar.workspace_id, other) is kept
    last = await engine.library.get(mara.workspace_id, mine[-1])
    assert await engine.library.get(mara.workspace_id, mine[-1]) is last


async def test_a_flow_weighs_what_it_takes() -> None:
    for params in (
        "{message: '" + "x" * 100_000 + "'}",
        "{message: '" + "é${input.a}ж" * 1000 + "'}",
        "{message: [" + ", ".join(["{}", "[1.5]"] * 2000) + "]}",
        "{message: [" + ", ".join(["'${input.a + vars.b}'"] * 1000) + "]}",
    ):
        definition = "nodes:\n  a: {type: log, params: " + params + "}\n"
        read_stored_flow(definition, specs())
        gc.collect()
        tracemalloc.start()

        flow = read_stored_flow(definition, specs())

        taken = held()
        tracemalloc.stop()
        assert memory_of(flow) == pytest.approx(taken, rel=0.05, abs=10_000)


def test_all_accounts_together_keep_no_more_than_there_is_memory_for() -> None:
    cache = WeighedCache[int, str](most=10, share=6)
    for key in range(3):
        cache.keep(A, key, f"a{key}", 2)
    cache.keep(B, 0, "b0", 4)
    assert cache.get(A, 0) == "a0"

    cache.keep(C, 0, "c0", 5)

    # B is the least recently active account: only its value is dropped, which frees enough memory.
    assert cache.get(B, 0) is None
    assert [cache.get(A, key) for key in range(3)] == ["a0", None, "a2"]
    assert cache.get(C, 0) == "c0"
    assert cache.weight == 9


def test_a_value_that_takes_more_than_a_share_is_not_kept_and_a_replaced_one_does_not_count() -> None:
    cache = WeighedCache[int, str](most=10, share=6)
    cache.keep(A, 0, "first", 6)
    cache.keep(A, 0, "second", 5)
    cache.keep(A, 1, "too large", 7)

    assert (cache.get(A, 0), cache.get(A, 1), cache.weight) == ("second", None, 5)


async def test_input_schemas_whose_patterns_fill_their_caches_take_no_more_memory_than_an_account_s_share() -> None:
    forms, draw = InputForms(RustSchemas()), random.Random(1)
    text = ["".join(draw.choice("ab") for _ in range(300)) for _ in range(3)]
    before = resident()

    for number in range(6):
        patterns = ", ".join(f'{{pattern: "[ab]*a[ab]{{{150 + n}}}c"}}' for n in range(100))
        flow = read_stored_flow(
            f"inputs: {{i: {{anyOf: [{patterns}]}}}}\nnodes: {{a: {{type: log, params: {{message: m}}}}}}", specs()
        )
        for value in text:
            with pytest.raises(InvalidInput):
                await forms.check(A, RevisionId(f"r{number}"), flow, {"i": value})

    assert resident() - before < 100 * MIB


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
