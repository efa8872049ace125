"""The rules of CONTRIBUTING.md for docstrings, documentation and class names that a program can check."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from docs.pages import ROOT, all_pages

SOURCE: Final = ROOT / "src" / "flowrunner"
QUESTIONS: Final = re.compile(r"(What|Whether|Whose|Which|Where|How|Why|Who|Whoever|Nobody|Somebody)\b")
# Metaphors and dated phrases, which the glossary and plain words have replaced.
BANNED: Final = re.compile(
    r"\b(anew|likewise|for ever|hardly|whoever|as many as may be|such a one|as it were|courier|nursery|rehears\w+"
    r"|lets? in|keeps? out|may be had|comes? to an end|is told of|are told of|Fills `ports)\b",
    re.IGNORECASE,
)
MOST_QUESTIONS: Final = 0.01


@pytest.fixture(scope="module")
def definitions() -> Iterator[Sequence[tuple[Path, ast.AST]]]:
    """All nodes of all modules, which take seconds to parse."""
    found = [(path, node) for path in sorted(SOURCE.rglob("*.py")) for node in ast.walk(ast.parse(path.read_text()))]
    yield found
    # They take a hundred megabytes.
    found.clear()


@pytest.fixture(scope="module")
def docstrings(definitions: Sequence[tuple[Path, ast.AST]]) -> Sequence[tuple[Path, str]]:
    return [
        (path, text)
        for path, node in definitions
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if (text := ast.get_docstring(node)) is not None
    ]


def test_docstrings_begin_with_a_verb_or_a_noun_and_not_with_a_question(
    docstrings: Sequence[tuple[Path, str]],
) -> None:
    asking = [
        f"{path.relative_to(SOURCE)}: {text.splitlines()[0]}" for path, text in docstrings if QUESTIONS.match(text)
    ]

    assert len(docstrings) > 1000
    assert len(asking) <= MOST_QUESTIONS * len(docstrings), "\n".join(asking)


def test_docstrings_have_no_banned_words(docstrings: Sequence[tuple[Path, str]]) -> None:
    assert [
        f"{path.relative_to(SOURCE)}: {found[0]}" for path, text in docstrings for found in [banned(text)] if found
    ] == []


def test_pages_have_no_banned_words() -> None:
    # Decisions keep the words of their time.
    pages = [page for page in all_pages() if page.parent.name != "decisions" and page.name != "CHANGELOG.md"]

    assert [f"{page.name}: {found[0]}" for page in pages for found in [banned(page.read_text())] if found] == []


def test_no_class_name_is_shared_by_two_modules(definitions: Sequence[tuple[Path, ast.AST]]) -> None:
    modules = defaultdict(set)
    for path, node in definitions:
        if isinstance(node, ast.ClassDef):
            # The client is a program of its own, and has the server's words for the same things.
            program = "client" if path.is_relative_to(SOURCE / "client") else "server"
            modules[program, node.name].add(str(path.relative_to(SOURCE)))
    shared = {name: sorted(paths) for name, paths in modules.items() if len(paths) > 1}

    assert shared == {}


def banned(text: str) -> re.Match[str] | None:
    return BANNED.search(" ".join(text.split()))


@pytest.mark.parametrize("text", ["It waits for\n    ever.", "Nobody is told of it.", "Hardly used"])
def test_a_banned_word_is_found_across_lines_and_in_either_case(text: str) -> None:
    assert banned(text)


def test_the_changelog_says_nothing_twice() -> None:
    lines = Counter(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if len(line) > 30)

    assert [line for line, times in lines.items() if times > 1] == []


# A number before one of these nouns may be 1. Limits in bytes and characters are never that small.
COUNTED: Final = re.compile(
    r" (\w+ )?(seconds|days|executions|flows|requests|attempts|times|items|entries|secrets|nodes|edges|members|tokens"
    r"|steps|values|elements|rounds|events|triggers|keys|files|tests|accounts|workspaces|jobs|lookups|others|rows|scopes|recipients"
    r"|inputs|lines)\b"
)
# Numbers that are more than 1 where they are shown, and a verb.
NEVER_ONE: Final = {
    ("legacy/rewriting.py", "number"),  # a multiple of 1000
    ("nodes/loops.py", "len(items)"),  # more than the limit
    ("services/flow_batches.py", "triggers"),
    ("http/query_names.py", "times"),
    ("cli/stored.py", "counted(executions, 'execution has', 'executions have')"),
    ("domain/transitions.py", "current.step"),
    ("flowrunner/plugin.py", "self.type"),
}


def test_numbers_before_nouns_that_may_be_one_are_written_by_the_function_for_it(
    definitions: Sequence[tuple[Path, ast.AST]],
) -> None:
    found = [
        (path, ast.unparse(number.value), text.value)
        for path, node in definitions
        if isinstance(node, ast.JoinedStr)
        for number, text in pairwise(node.values)
        if isinstance(number, ast.FormattedValue) and isinstance(text, ast.Constant) and COUNTED.match(str(text.value))
    ]
    # A constant is known to be more than 1.
    variable = [one for one in found if not re.search(r"\b_?[A-Z][A-Z_]+\b", one[1])]
    allowed = [one for one in variable if ("/".join(one[0].parts[-2:]), one[1]) in NEVER_ONE]

    assert [one for one in variable if one not in allowed] == []
    assert len({("/".join(path.parts[-2:]), number) for path, number, _ in allowed}) == len(NEVER_ONE)
