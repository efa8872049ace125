"""A flow's graph as text in the language of Mermaid, which documents on GitHub and elsewhere draw."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Final

from flowrunner.domain.flow import DEFAULT_ACTION
from flowrunner.language.sketch import Sketch, SketchedNode

# Characters that Mermaid reads as its own within quotes, and `#`, with which its entities begin.
_SPECIAL: Final = re.compile(r"[\"#<>&`\\{}\[\]|;\r\n\t]")


def mermaid_of(sketch: Sketch) -> str:
    """Return a flowchart: errors are dotted lines, loops and branches are subgraphs."""
    numbers = count(1)
    names = {node.id: f"n{next(numbers)}" for node in sketch.nodes}
    inside: defaultdict[str | None, list[SketchedNode]] = defaultdict(list)
    for node in sketch.nodes:
        inside[node.parent].append(node)
    lines = ["flowchart TD"]
    _write(inside[None], inside, names, lines, 1)
    for edge in sketch.edges:
        arrow = "-.->" if edge.action.partition(".")[0] == "error" else "-->"
        label = "" if edge.action == DEFAULT_ACTION else f'|"{_text(edge.action)}"|'
        lines.append(f"    {names[edge.source]} {arrow}{label} {names[edge.target]}")
    return "\n".join(lines) + "\n"


def _write(
    nodes: Sequence[SketchedNode],
    inside: Mapping[str | None, Sequence[SketchedNode]],
    names: Mapping[str, str],
    lines: list[str],
    depth: int,
) -> None:
    indent = "    " * depth
    for node in nodes:
        label = _text(node.name) + (f"<br/>{_text(node.type)}" if node.type else "")
        name = names[node.id]
        lines.append(f'{indent}{name}["{label}"]')
        branches: defaultdict[str | None, list[SketchedNode]] = defaultdict(list)
        for held in inside.get(node.id, ()):
            branches[held.branch].append(held)
        for number, (branch, held_nodes) in enumerate(branches.items(), 1):
            title = _text(node.name if branch is None else f"{node.name}: {branch}")
            lines.append(f'{indent}subgraph {name}s{number}["{title}"]')
            _write(held_nodes, inside, names, lines, depth + 1)
            lines.append(f"{indent}end")
            first = next((held for held in held_nodes if held.is_start), held_nodes[0])
            lines.append(f"{indent}{name} -.- {names[first.id]}")


def _text(text: str) -> str:
    """Return a text with Mermaid's entities for what it would read as its own."""
    return _SPECIAL.sub(lambda found: f"#{ord(found[0])};", text)
