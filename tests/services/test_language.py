"""Reading of flows in a server: completely, and without blocking the event loop."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import InvalidFlow
from flowrunner.language.reading import MAX_EXPRESSIONS
from flowrunner.services.flow_changes import FlowDraft
from flowrunner.services.flows import Flows
from flowrunner.services.language import Language
from support.dependencies import Machine

T = TypeVar("T")

# Each expression takes some microseconds to read, so that all of them together would block noticeably.
LONG = "metadata: {name: N}\nnodes:\n  a: {type: transform, params: {value: '" + "${input.a} " * 9000 + "'}}\n"


async def turns_during(work: Awaitable[T]) -> tuple[T, int]:
    """Return the result of the work, and how often the event loop ran other tasks in the meantime."""
    turns, is_over = 0, False

    async def count() -> None:
        nonlocal turns
        while not is_over:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    try:
        return await work, turns
    finally:
        is_over = True
        await counting


async def test_others_go_on_while_a_long_document_is_read(language: Language) -> None:
    reading, turns = await turns_during(language.study(LONG))

    assert reading.flow is not None
    assert turns > 100


async def test_the_patterns_of_a_short_document_are_made_ready_beside_the_loop(language: Language) -> None:
    patterns = [r"\\w\\W" * 100 + "x" * n for n in range(4)]
    inputs = ", ".join(f'i{n}: {{pattern: "{pattern}"}}' for n, pattern in enumerate(patterns))
    started = time.thread_time()

    reading = await language.study(f"inputs: {{{inputs}}}\nnodes: {{a: {{type: log, params: {{message: m}}}}}}")

    assert time.thread_time() - started < 0.05
    assert {fault.code for fault in reading.faults} == {"pattern"}


async def test_others_go_on_while_a_long_flow_is_made_ready(flows: Flows, engine: Machine, mara: Caller) -> None:
    saved = await flows.create(mara, FlowDraft(definition=LONG))

    flow, turns = await turns_during(engine.library.get(mara.workspace_id, saved.revision_id))

    assert flow.name == "N"
    assert turns > 100


async def test_a_document_has_no_more_expressions_than_can_be_read_in_time(language: Language) -> None:
    most = "nodes: {a: {type: transform, params: {value: '" + "${1}" * MAX_EXPRESSIONS + "'}}}"

    assert (await language.study(most)).flow is not None
    with pytest.raises(InvalidFlow, match="at most 10000 expressions"):
        await language.read(most + "# ${")


async def test_doubled_braces_are_looked_for_in_linear_time(language: Language) -> None:
    value = "${{" + " " * 3000 + "1 " * 41 + " " * 3000 + "}}"
    started = time.thread_time()

    reading = await language.study(f"nodes: {{a: {{type: return, params: {{value: '{value}'}}}}}}")

    assert time.thread_time() - started < 1.0
    assert [fault.code for fault in reading.faults] == ["expression.syntax"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("{script: 'return 1 +'}", "the script is not valid JavaScript (line 1 of it): "),
        (
            "{value: '${input.a +}'}",
            "'${input.a +}' is not valid JavaScript: SyntaxError: the expression is incomplete",
        ),
    ],
)
async def test_a_fault_of_javascript_says_whether_it_is_in_a_script_or_in_an_expression(
    language: Language, params: str, message: str
) -> None:
    (fault,) = (await language.study(f"nodes: {{a: {{type: transform, params: {params}}}}}")).faults

    assert (fault.code, fault.line) == ("expression.syntax", 1)
    assert fault.message.startswith(message)
