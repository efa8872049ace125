"""Edits that remove faults of a document, where what the author means is certain."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import yaml

from flowrunner.domain.errors import Fault, Fix
from flowrunner.language.yaml_source import is_text, lines_of

_SUGGESTION: Final = re.compile(r"did you mean (?:'(?P<name>[^']+)'|(?P<value>[^\s'?]+))\?")
_QUOTED: Final = re.compile(r"'([^']*)'")
_LAST_QUOTED: Final = re.compile(r"'([^']*)'$")
_NAMES: Final = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*")
_PLAIN: Final = re.compile(r"[A-Za-z_][\w.-]*")
_DOUBLED: Final = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_SINGLE_BRACES: Final = ", with single braces"
_NO_BLANK: Final = "put a blank after the colon: "
_NO_BLANK_IN_YAML: Final = "a blank is missing after the colon"
_NOT_TEXT: Final = ("quote it", "put it in quotes")


@dataclass(frozen=True, slots=True)
class _Scalar:
    """A scalar within one line; ``quote`` is empty for a plain one."""

    end: int
    quote: str
    value: str


def with_fixes(text: str, faults: Sequence[Fault]) -> Sequence[Fault]:
    """Return the faults, each with the edit that removes it if there is one."""
    if not any(map(_may_have_one, faults)):
        return faults
    finder = _Finder(lines_of(text), _scalars(text))
    return [replace(fault, fix=finder.fix(fault)) if _may_have_one(fault) else fault for fault in faults]


def _may_have_one(fault: Fault) -> bool:
    if fault.line is None or fault.column is None:
        return False
    hint = fault.hint or ""
    return (
        _suggested(fault) is not None
        or hint.startswith((*_NOT_TEXT, _NO_BLANK))
        or hint.endswith(_SINGLE_BRACES)
        or fault.message.endswith(_NO_BLANK_IN_YAML)
    )


def _suggested(fault: Fault) -> str | None:
    found = _SUGGESTION.search(fault.hint or fault.message)
    return None if found is None else found["name"] or found["value"]


def _scalars(text: str) -> Mapping[tuple[int, int], _Scalar]:
    """Return the scalars that lie within one line, by line and column, up to the first error in the text."""
    found: dict[tuple[int, int], _Scalar] = {}
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.ScalarEvent) and event.style not in ("|", ">"):
                start, end = event.start_mark, event.end_mark
                if start is not None and end is not None and start.line == end.line:
                    found.setdefault(
                        (start.line + 1, start.column + 1), _Scalar(end.column + 1, event.style or "", event.value)
                    )
    except (yaml.YAMLError, UnicodeEncodeError):
        # What comes before the error can be edited.
        pass
    return found


@dataclass(frozen=True, slots=True)
class _Finder:
    lines: Sequence[str]
    scalars: Mapping[tuple[int, int], _Scalar]

    def fix(self, fault: Fault) -> Fix | None:
        line, column = fault.line or 1, fault.column or 1
        hint, scalar = fault.hint or "", self.scalars.get((line, column))
        if fault.message.endswith(_NO_BLANK_IN_YAML):
            return Fix(line, column, column, " ")
        if hint.endswith(_SINGLE_BRACES):
            return self._in_line(line, column, scalar, _DOUBLED, lambda found: f"${{{found[1]}}}")
        suggested = _suggested(fault)
        if fault.code.startswith("expression."):
            return None if suggested is None else self._name(fault, suggested, scalar)
        if scalar is None:
            return None
        if hint.startswith(_NO_BLANK):
            return None if scalar.quote else Fix(line, column, scalar.end, hint.removeprefix(_NO_BLANK))
        if hint.startswith(_NOT_TEXT):
            return None if scalar.quote else Fix(line, column, scalar.end, json.dumps(scalar.value, ensure_ascii=False))
        named = _QUOTED.findall(fault.message)
        if suggested is None or (named and scalar.value not in named):
            # The fault is not about this word alone.
            return None
        return Fix(line, column, scalar.end, _written(suggested, scalar.quote))

    def _name(self, fault: Fault, suggested: str, scalar: _Scalar | None) -> Fix | None:
        """Return the edit of a name in an expression, if it stands there once."""
        wrong = _LAST_QUOTED.search(fault.message)
        if wrong is None or not _NAMES.fullmatch(wrong[1]) or not _NAMES.fullmatch(suggested):
            return None
        pattern = re.compile(rf"(?<![\w$]){re.escape(wrong[1])}(?![\w$])")
        return self._in_line(fault.line or 1, fault.column or 1, scalar, pattern, lambda found: suggested)

    def _in_line(
        self,
        line: int,
        column: int,
        scalar: _Scalar | None,
        pattern: "re.Pattern[str]",
        written: Callable[[re.Match[str]], str],
    ) -> Fix | None:
        """Return the edit of the only match within a scalar, or in the line if a text of several lines is there."""
        if line > len(self.lines):
            return None
        text = self.lines[line - 1]
        matches = list(pattern.finditer(text, column - 1, len(text) if scalar is None else scalar.end - 1))
        if len(matches) != 1:
            return None
        return Fix(line, matches[0].start() + 1, matches[0].end() + 1, written(matches[0]))


def _written(word: str, quote: str) -> str:
    """Return a word as YAML, in the quotes of the one that it replaces."""
    if quote == "'":
        return f"'{word.replace(chr(39), chr(39) * 2)}'"
    if quote or not (_PLAIN.fullmatch(word) or word[:1].isdigit()) or not is_text(word):
        return json.dumps(word, ensure_ascii=False)
    return word
