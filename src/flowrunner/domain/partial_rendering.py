"""Rendering of a template part by part: the parts that have a value, and why the others have none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from flowrunner.domain.expression import MAX_RENDERED, Condition, ExpressionFailed, Scope, Template, Values
from flowrunner.domain.expression.templates import ListOf, MapOf, Rendering
from flowrunner.domain.prepared import mentions_of
from flowrunner.domain.values import JSON, left_after

_MOST_ERRORS: Final = 5
# Of a name that an error shows, as `left_after` counts it: an execution may hold a hundred megabytes.
_MOST_READ: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PartError:
    """A part of a template that has no value.

    Attributes:
        path: Its place in the template: `headers.Accept`, `items[0]`; empty for the whole.
        reads: The values of the names that it reads, but for `secrets` and for large ones.
        is_fatal: The node fails because of it. False for a condition, which the node may not need.
    """

    path: str
    message: str
    reads: Mapping[str, JSON] = field(default_factory=dict)
    is_fatal: bool = True


def render_parts(template: Template, scope: Scope, values: Values) -> tuple[JSON, Sequence[PartError]]:
    """Return the value of a template, with null for the parts that have none, and the first of these."""
    errors: list[PartError] = []
    return _part(template, "", Rendering(scope, values, MAX_RENDERED, MAX_RENDERED), errors), errors


def _part(template: Template, path: str, rendering: Rendering, errors: list[PartError]) -> JSON:
    match template:
        case MapOf(pairs):
            return {key: _part(item, f"{path}.{key}".removeprefix("."), rendering, errors) for key, item in pairs}
        case ListOf(items):
            return [_part(item, f"{path}[{number}]", rendering, errors) for number, item in enumerate(items)]
        case _:
            # Of values that are too large together, the one that exceeds the size is the only error.
            return None if rendering.left < 0 else _leaf(template, path, rendering, errors)


def _leaf(template: Template, path: str, rendering: Rendering, errors: list[PartError]) -> JSON:
    try:
        value = template.render(rendering)
        if not isinstance(value, ExpressionFailed):
            return value
        error = value
    except ExpressionFailed as raised:
        error = raised
    if len(errors) < _MOST_ERRORS:
        reads, is_fatal = _reads(template, rendering.scope), not isinstance(template, Condition)
        errors.append(PartError(path=path, message=str(error), reads=reads, is_fatal=is_fatal))
    return None


def _reads(template: Template, scope: Scope) -> Mapping[str, JSON]:
    mentions = mentions_of(template)
    reads = {root: scope[root] for root in sorted(mentions.roots - {"secrets"}) if root in scope}
    nodes = reads.get("nodes")
    if isinstance(nodes, dict) and not mentions.any_node:
        reads["nodes"] = _small_ones({name: nodes.get(name) for name in sorted(mentions.nodes)})
    return _small_ones(reads)


def _small_ones(values: Mapping[str, JSON]) -> dict[str, JSON]:
    return {name: value for name, value in values.items() if left_after(value, _MOST_READ) >= 0}
