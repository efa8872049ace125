"""Rendering part by part: the parts that have a value, and why the others have none."""

from collections import defaultdict
from typing import Any

from flowrunner.domain.expression import ExpressionFailed, compile_template
from flowrunner.domain.expression.templates import Code
from flowrunner.domain.partial_rendering import PartError, render_parts
from flowrunner.domain.values import JSON

from .test_expressions import Somewhere

SCOPE: dict[str, Any] = {
    "input": {"a": 1}, "secrets": {"key": "s3cret"}, "trigger": {"id": "t"},
    "nodes": {"one": {"result": 1}, "two": {"result": 2}, "large": {"result": "x" * 20_000}},
}  # fmt: skip


def rendered(value: Any) -> tuple[JSON, list[PartError]]:
    found, errors = render_parts(compile_template(value, Somewhere(), ()), SCOPE, {}, {("secrets", "none"): "no"})
    return found, list(errors)


def test_a_part_without_a_value_is_null_and_named_by_its_place() -> None:
    value, errors = rendered({"a": ["${input.a}", "${input.gone.b}"], "b": {"c": "${input.a.x.y}", "d": "${input.a}"}})

    assert value == {"a": [1, None], "b": {"c": None, "d": 1}}
    assert [(error.path, error.reads, error.is_fatal) for error in errors] == [
        ("a[1]", {"input": {"a": 1}}, True), ("b.c", {"input": {"a": 1}}, True)]  # fmt: skip


def test_an_error_shows_the_nodes_that_the_part_names_and_no_secrets_nor_large_values() -> None:
    _, (error,) = rendered("${nodes.two.result.x.y} ${secrets.key} ${nodes.large.result}")

    assert error.reads == {"nodes": {"two": {"result": 2}}}


def test_an_error_of_a_part_that_may_read_any_node_shows_all_of_them() -> None:
    scope = {**SCOPE, "nodes": {"one": {"result": 1}}}
    failed = defaultdict[Code, JSON | ExpressionFailed](lambda: ExpressionFailed("no"))
    _, (error,) = render_parts(compile_template("${nodes[input.a].x.y}", Somewhere(), ()), scope, failed, {})

    assert error.reads == {"input": {"a": 1}, "nodes": {"one": {"result": 1}}}


def test_the_first_five_parts_without_a_value_are_reported() -> None:
    value, errors = rendered(["${input.gone.b}"] * 7)

    assert value == [None] * 7
    assert [error.path for error in errors] == [f"[{n}]" for n in range(5)]


def test_a_part_that_reads_what_does_not_exist_hides_itself_alone() -> None:
    value, errors = rendered({"a": "${secrets.none}", "b": "${input.a}", "c": "x ${secrets.key}"})

    assert value == {"a": None, "b": 1, "c": "x s3cret"}
    assert [(error.path, error.message, error.reads) for error in errors] == [("a", "no", {})]
