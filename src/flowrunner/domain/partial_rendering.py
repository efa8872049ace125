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


def render_parts(
    template: Template, scope: Scope, values: Values, missing: Mapping[tuple[str, str], str]
) -> tuple[JSON, Sequence[PartError]]:
    """Return the value of a template, with null for the parts that have none, and the first of these.

    Args:
        missing: Errors by the names, as `Mentions.needed` has them, of what does not exist.
    """
    parts = _Parts(Rendering(scope, values, MAX_RENDERED, MAX_RENDERED), missing)
    return parts.part(template, ""), parts.errors


@dataclass(slots=True)
class _Parts:
    rendering: Rendering
    missing: Mapping[tuple[str, str], str]
    errors: list[PartError] = field(default_factory=list)

    def part(self, template: Template, path: str) -> JSON:
        match template:
            case MapOf(pairs):
                return {key: self.part(item, f"{path}.{key}".removeprefix(".")) for key, item in pairs}
            case ListOf(items):
                return [self.part(item, f"{path}[{number}]") for number, item in enumerate(items)]
            case _:
                # Of values that are too large together, the one that exceeds the size is the only error.
                return None if self.rendering.left < 0 else self.leaf(template, path)

    def leaf(self, template: Template, path: str) -> JSON:
        if self.missing:
            lacks = sorted(mentions_of(template).needed & self.missing.keys())
            if lacks:
                self.fail(template, path, self.missing[lacks[0]], is_fatal=True)
                return None
        try:
            value = template.render(self.rendering)
            if not isinstance(value, ExpressionFailed):
                return value
            error = value
        except ExpressionFailed as raised:
            error = raised
        self.fail(template, path, str(error), is_fatal=not isinstance(template, Condition))
        return None

    def fail(self, template: Template, path: str, message: str, *, is_fatal: bool) -> None:
        if len(self.errors) < _MOST_ERRORS:
            reads = _reads(template, self.rendering.scope)
            self.errors.append(PartError(path=path, message=message, reads=reads, is_fatal=is_fatal))


def _reads(template: Template, scope: Scope) -> Mapping[str, JSON]:
    mentions = mentions_of(template)
    reads = {root: scope[root] for root in sorted(mentions.roots - {"secrets"}) if root in scope}
    nodes = reads.get("nodes")
    if isinstance(nodes, dict) and not mentions.any_node:
        reads["nodes"] = _small_ones({name: nodes.get(name) for name in sorted(mentions.nodes)})
    return _small_ones(reads)


def _small_ones(values: Mapping[str, JSON]) -> dict[str, JSON]:
    return {name: value for name, value in values.items() if left_after(value, _MOST_READ) >= 0}
