"""Edits that remove faults: each is checked by making it."""

import itertools
from collections import Counter
from pathlib import Path

import pytest

from domain.test_validation import PROMISES, study
from flowrunner.domain.errors import Fault, Fix
from flowrunner.language.fixes import with_fixes
from support.bad_documents import BAD

# What authors get wrong at first.
MISTAKES = [path.read_text() for path in sorted((Path(__file__).parents[1] / "cli" / "mistakes").rglob("*.yaml"))]


def fixed(text: str, fix: Fix) -> str:
    """The document after the edit."""
    lines = text.split("\n")
    line = lines[fix.line - 1]
    lines[fix.line - 1] = line[: fix.column - 1] + fix.text + line[fix.end_column - 1 :]
    return "\n".join(lines)


def faults_with_fixes(text: str) -> list[Fault]:
    return [fault for fault in with_fixes(text, study(text).faults) if fault.fix is not None]


def kinds(text: str) -> Counter[tuple[str, str]]:
    return Counter((fault.code, fault.message) for fault in study(text).faults)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("nodes: {a: {tpye: return}}", "nodes: {a: {type: return}}"),
        ("nodes: {a: {type: retrun}}", "nodes: {a: {type: return}}"),
        ("nodes: {a: {type: 'retrun'}}", "nodes: {a: {type: 'return'}}"),
        (
            "nodes:\n  fetch: {type: log, params: {message: x}, next: stroe}\n  store: {type: return}\nstart: fetch",
            "nodes:\n  fetch: {type: log, params: {message: x}, next: store}\n  store: {type: return}\nstart: fetch",
        ),
        ("nodes: {a: {type: return, timeout: 30}}", None),
        ("nodes: {a: {type: return, timeout: 30 sec}}", "nodes: {a: {type: return, timeout: 30s}}"),
        (
            "metadata: {name: n, version: 1.10}\nnodes: {a: {type: return}}",
            'metadata: {name: n, version: "1.10"}\nnodes: {a: {type: return}}',
        ),
        ("nodes:\n  a:\n    type:return\n    next: b", "nodes:\n  a:\n    type: return\n    next: b"),
        (
            'nodes: {a: {type: return, params: {value: "${inptu.x} of ${vars}"}}}',
            'nodes: {a: {type: return, params: {value: "${input.x} of ${vars}"}}}',
        ),
        (
            'nodes:\n  a: {type: log, params: {message: x}, next: "größ"}\n  größe: {type: return}\nstart: a',
            'nodes:\n  a: {type: log, params: {message: x}, next: "größe"}\n  größe: {type: return}\nstart: a',
        ),
        # Twice in one text: which of the two is meant is not certain.
        ('nodes: {a: {type: return, params: {value: "${inptu.x} ${inptu.y}"}}}', None),
        (
            "vars: {rate: 1}\nnodes:\n  a: {type: return, params: {value: '${rate * 2}'}}\n",
            "vars: {rate: 1}\nnodes:\n  a: {type: return, params: {value: '${vars.rate * 2}'}}\n",
        ),
    ],
)
def test_a_fault_has_a_fix_where_one_is_certain(text: str, after: str | None) -> None:
    found = faults_with_fixes(text)

    assert [fixed(text, fault.fix) for fault in found if fault.fix is not None] == ([] if after is None else [after])


def test_every_fix_removes_its_fault_and_brings_no_other_of_its_kind() -> None:
    tried, wrong = 0, []
    documents = [text for text, *_ in PROMISES.values()]
    for text in itertools.chain(documents, (text for _, text, _ in BAD), MISTAKES):
        for fault in faults_with_fixes(text):
            assert fault.fix is not None
            tried += 1
            before, after = kinds(text), kinds(fixed(text, fault.fix))
            if after[fault.code, fault.message] >= before[fault.code, fault.message]:
                wrong.append((text, fault, fixed(text, fault.fix)))

    assert wrong == []
    assert tried > 50
