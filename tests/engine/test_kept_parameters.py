"""Parameters without expressions are read once for all runs of a node, if its type allows that."""

from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.domain.events import Completed, NodeCompleted
from flowrunner.plugin import JSON, NodeType, Params, StepContext
from support.dependencies import machine

from .events import ending, of_type

FLOW: Final = """
nodes:
  each:
    type: foreach
    params: {items: [1, 2, 3], concurrency: 1}
    nodes:
      a: {type: reading, params: {value: VALUE}}
"""


class ReadingParams(Params):
    value: Any = None


class Reading(NodeType[ReadingParams]):
    """Counts how often its parameters are read."""

    type = "reading"
    Params = ReadingParams
    keeps_params = True

    def __init__(self) -> None:
        self.reads = 0

    def read(self, params: JSON) -> ReadingParams:
        self.reads += 1
        return super().read(params)

    async def run(self, params: ReadingParams, context: StepContext) -> JSON:
        value: JSON = params.value
        return value


class ReadingAgain(Reading):
    keeps_params = False


@pytest.mark.parametrize(
    ("kind", "value", "reads", "results"),
    [
        (Reading, "{n: 7}", 1, [{"n": 7}] * 3),
        (Reading, "'${item}'", 3, [1, 2, 3]),
        (ReadingAgain, "{n: 7}", 3, [{"n": 7}] * 3),
    ],
)
async def test_parameters_without_expressions_are_read_once(
    path: Path, kind: type[Reading], value: str, reads: int, results: list[JSON]
) -> None:
    reading = kind()
    async with machine(path, types=[reading]) as engine:
        events = await engine.run(FLOW.replace("VALUE", value))

    assert isinstance(ending(events), Completed)
    assert [event.result for event in of_type(NodeCompleted, events) if event.node == "a"] == results
    assert reading.reads == reads
