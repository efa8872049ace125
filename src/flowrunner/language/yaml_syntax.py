"""Faults of texts that are not valid YAML, with their places and hints."""

import re
from collections.abc import Sequence
from typing import Final

import yaml

from flowrunner.domain.errors import Fault

# Characters of a line that are examined.
_MOST_EXAMINED: Final = 1000
# An expression with no quote open before it in its line.
_UNQUOTED: Final = re.compile(r"""^(?:[^"'\n]|"[^"\n]*"|'[^'\n]*')*?\$\{""", re.MULTILINE)
_KEY_AND_VALUE: Final = re.compile(r"\s*(?:- )?[^\s:#][^:]*:\s+[^\s#]")
_NO_BLANK: Final = re.compile(r"\s*(?:- )?[A-Za-z_]\w*:(?=[^\s/])")
# `{a: b: c}`, up to the second colon.
_COLON_IN_TEXT: Final = re.compile(r"[{,]\s*[\w.-]+:\s[^,{}]*:\s?$")
_WORD: Final = re.compile(r"\w+")
_UP_TO_APOSTROPHE: Final = re.compile(r"\w+'$")
_QUOTE_EXPRESSION: Final = 'quote the expression: {a: "${x}"}'


def syntax_fault(text: str, error: yaml.MarkedYAMLError) -> Fault:
    """Return the fault for an error of the parser."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem, context = str(error.problem or error.context or "it cannot be parsed"), str(error.context or "")
    opened = error.context_mark
    if opened is not None and context == "while scanning a quoted scalar":
        return _fault(opened.line + 1, opened.column + 1, "the quote that begins here does not end")
    if "Unicode character escape" in problem:
        return Fault(
            path="", code="yaml.character", line=line, column=max(column - 2, 1),
            message="the escape is not a character, but half of a surrogate pair or no code point",
            hint=r"write both halves, \ud83d\ude00, or the character itself",
        )  # fmt: skip
    lines = [line[:_MOST_EXAMINED] for line in text.splitlines()[max(0, line - 2) : line]]
    if "mapping values" in problem and (near := _misplaced(lines, line)):
        return near
    opened_line = opened.line + 1 if opened is not None else line
    return _fault(line, column, problem, _hint(lines, column, problem, context, opened_line))


def _fault(line: int, column: int, problem: str, hint: str | None = None) -> Fault:
    message = f"this is not valid YAML: {problem}"
    return Fault(path="", code="yaml.syntax", message=message, line=line, column=column, hint=hint)


def _misplaced(lines: Sequence[str], number: int) -> Fault | None:
    """Return the fault of the previous line, if it is the cause of a misplaced key."""
    if len(lines) < 2:
        return None
    before, last = lines
    if joined := _NO_BLANK.match(before):
        return _fault(number - 1, joined.end() + 1, "a blank is missing after the colon", "write 'key: value'")
    is_deeper = _indentation(last) > _indentation(before)
    if is_deeper and _KEY_AND_VALUE.match(before):
        problem = f"the line is indented further than the one before it, which has a value already: line {number - 1}"
        return _fault(number, _indentation(last) + 1, problem, "begin both in the same column")
    return None


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _hint(lines: Sequence[str], column: int, problem: str, context: str, opened_line: int) -> str | None:
    around = "\n".join(lines)
    at = lines[-1][column - 1 :] if lines else ""
    if "token" in problem and "\t" in around:
        return "indent with spaces: YAML does not allow tabs there"
    if _UNQUOTED.search(around):
        return _QUOTE_EXPRESSION
    if "cannot start any token" in problem:
        return f"quote the text: it begins with {at[:1]}"
    if context in ("while scanning an alias", "while scanning an anchor"):
        return "quote the text: it begins with * or &"
    if context == "while parsing a quoted scalar":
        return "within double quotes a backslash begins an escape: write it twice, or use single quotes"
    if "mapping values" in problem:
        return 'quote the text: it holds ": "'
    if "expected ',' or" in problem and _COLON_IN_TEXT.search(lines[-1][: column + 1] if lines else ""):
        return 'quote the text: it holds ": "'
    # The apostrophe has ended the text, and the parser meets the rest of the word.
    started, rest = _UP_TO_APOSTROPHE.search(lines[-1][: column - 1] if lines else ""), _WORD.match(at)
    if problem.startswith("did not find expected") and started and rest:
        doubled = f"{started[0]}'{rest[0]}"
        return f"write the apostrophe twice within single quotes, as in {doubled}, or use double quotes around the text"
    if "expected ',' or" in problem:
        return f"close the bracket that was opened in line {opened_line}, or put a comma here"
    if "expected key" in problem and re.search(r"""[:-] +["']""", lines[-1][: column - 1] if lines else ""):
        return "the text continues after its closing quote: put quotes around all of it"
    if "expected key" in problem or "expected '-'" in problem:
        return "begin the line in the same column as the others beside it"
    if "block sequence" in problem:
        return "begin the list in a line of its own"
    if context == "while scanning a block scalar":
        return "begin the text in the next line, indented further"
    return None
