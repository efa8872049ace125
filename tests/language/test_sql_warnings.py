"""Warnings of queries that text from outside could become a part of."""

import pytest

from flowrunner.language import study_flow
from support.flows import specs

FLOW = """
vars: {{q: "SELECT 1"}}
nodes:
  ask:
    type: {type}
    params: {{url: "${{secrets.DB}}", query: {query}, args: ["${{input.id}}"]}}
"""


@pytest.mark.parametrize("query", ["\"SELECT '${input.id}'\"", '"${input.query}"', '"${vars.q} ${input.id}"'])
@pytest.mark.parametrize("type", ["sql", "postgres"])
def test_an_expression_within_a_query_is_warned_of(type: str, query: str) -> None:
    (fault,) = study_flow(FLOW.format(type=type, query=query), specs()).faults

    assert (fault.is_warning, fault.code, fault.path) == (True, "sql.expression", "nodes.ask.params.query")
    assert fault.hint == "write $1 in the query, and the value under 'args'"


@pytest.mark.parametrize("query", ['"SELECT $1::int"', '"${vars.q}"', '"${ config.REPORT }"', "\"SELECT '$${x}'\""])
def test_a_query_of_the_author_is_not_warned_of(query: str) -> None:
    assert study_flow(FLOW.format(type="sql", query=query), specs()).faults == []
