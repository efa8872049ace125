"""Error types that the nodes of FlowRunner raise, which the language knows."""

import re
from pathlib import Path
from typing import Final

import pytest

import flowrunner
from flowrunner.language import study_flow
from flowrunner.language.error_types import class_of_error, is_misspelt_error
from support.flows import specs

RAISED: Final = sorted(
    {
        type
        for part in ("nodes", "engine", "security")
        for file in (Path(flowrunner.__file__).parent / part).glob("*.py")
        for type in re.findall(r'NodeFailure\(\s*"([a-z_.]+)"', file.read_text())
    }
)


@pytest.mark.parametrize("type", RAISED)
def test_no_error_that_a_node_raises_is_misspelt_or_unknown(type: str) -> None:
    assert not is_misspelt_error(type, None)
    assert class_of_error(type) == type


@pytest.mark.parametrize("type", ["store.changed", "store.not_a_number", "store.out_of_range"])
def test_the_errors_of_the_store_are_known(type: str) -> None:
    assert class_of_error(type) == type


def test_the_errors_of_all_nodes_that_ask_and_call_are_found() -> None:
    assert {"llm.schema", "llm.error", "agent.turns", "mcp.tool", "http.invalid_answer", "limit.store_value"} <= set(
        RAISED
    )


def test_the_retry_that_the_documentation_recommends_has_no_warnings() -> None:
    document = """
nodes:
  ask:
    type: llm
    params: {base_url: http://model/v1, model: m, prompt: p, response_schema: {type: object}}
    retry: {max: 2, errors: [llm.schema, http.429, http.5xx, timeout, connection]}
    next: {error.llm.schema: again, error.llm.error: again}
  again:
    type: transform
    params: {value: 1}
"""
    text = (Path(__file__).parents[2] / "docs/flow-language.md").read_text()

    assert "retry: {max: 2, errors: [llm.schema, http.429, http.5xx, timeout, connection]}" in text
    assert study_flow(document, specs()).faults == []
