"""Formatter of flow documents, which changes the white space between values and nothing else.

The lines of a document stay its lines: no text is folded or joined, and every value and comment is copied as it is
written. So the result can be checked: it must have the same values and comments, and be formatted already.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import yaml

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.surrogates import Surrogates
from flowrunner.language.yaml_source import read_yaml

_STEP: Final = 2
_BREAKS: Final = re.compile("\r\n?")
_HEADER: Final = re.compile(r"([|>])([-+]?)([1-9]?)([-+]?)(.*)")
_FLOW_STARTS: Final = (yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken)
_FLOW_ENDS: Final = (yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


class CannotFormat(FlowRunnerError):
    """The document cannot be laid out without changing what it says."""


def format_yaml(text: str) -> str:
    """Return a document in the usual layout.

    Raises:
        InvalidFlow: If it is not YAML, or exceeds the subset or the limits of flows.
        CannotFormat: If the result would have other values or comments, or would change when formatted again.
    """
    meaning = _meaning(text)
    formatted, comments = _laid_out(text)
    if formatted != text and ((formatted, comments) != _laid_out(formatted) or _meaning(formatted) != meaning):
        raise CannotFormat("the layout cannot be changed without changing the document")
    return formatted


def _meaning(text: str) -> str:
    # Unlike ==, it tells 1 from 1.0 and true, and one order of keys from another.
    return json.dumps(read_yaml(text).value)


def _laid_out(text: str) -> tuple[str, Sequence[str]]:
    """Return the formatted text, and its comments. Raises: CannotFormat."""
    writer = _Writer(_BREAKS.sub("\n", text.removeprefix("\ufeff")))
    try:
        for token in yaml.scan(Surrogates(writer.source).set_apart(), Loader=yaml.CSafeLoader):
            writer.take(token)
    except yaml.YAMLError:
        raise CannotFormat("the layout of the document cannot be read") from None
    return writer.finish(), writer.comments


class _Level(NamedTuple):
    """A block collection.

    Attributes:
        old: Its column as written.
        new: Its column as formatted.
        is_indentless: Whether it is a list at the column of its key, which the parser neither begins nor ends.
    """

    old: int
    new: int
    is_sequence: bool
    is_indentless: bool = False


@dataclass(slots=True)
class _Writer:
    """Copies the tokens of a document, with other white space between them.

    Attributes:
        line: The present line.
        offset: Offset in the source of what is not copied yet.
        open_before: The block collections that were open at the last token.
        flows: Column of the closing bracket of each open flow collection, where that begins a line.
        column: Column of the present line, if it began inside a flow collection.
    """

    source: str
    lines: list[str] = field(default_factory=list)
    line: str | None = None
    offset: int = 0
    levels: list[_Level] = field(default_factory=list)
    open_before: list[_Level] = field(default_factory=list)
    flows: list[int] = field(default_factory=list)
    column: int = 0
    before: yaml.Token | None = None
    is_key: bool = False
    comments: list[str] = field(default_factory=list)

    def take(self, token: yaml.Token) -> None:
        match token:
            case yaml.StreamStartToken() | yaml.StreamEndToken():
                return
            case yaml.BlockMappingStartToken() | yaml.BlockSequenceStartToken():
                is_sequence = isinstance(token, yaml.BlockSequenceStartToken)
                self.levels.append(_Level(token.start_mark.column, self._inner, is_sequence))
                return
            case yaml.BlockEndToken():
                self._end_indentless()
                self.levels.pop()
                return
            case yaml.KeyToken():
                if not self.flows:
                    self._end_indentless()
                if not self._is_written(token):
                    self.is_key = True
                    return
            case yaml.BlockEntryToken() if not (self.levels and self.levels[-1].is_sequence):
                self.levels.append(_Level(token.start_mark.column, self._inner, is_sequence=True, is_indentless=True))
            case yaml.ValueToken() if not self.flows:
                self._end_indentless()
        self._separate(token)
        self._copy(token)
        self.before, self.is_key = token, False
        self.open_before = list(self.levels)

    def finish(self) -> str:
        """Return the formatted text."""
        gap = self.source[self.offset :].rstrip()
        if gap or self.line is not None:
            self._write_gap(f"{gap}\n", column=0, indent=0)
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def _inner(self) -> int:
        """Column of what is inside the innermost block collection."""
        return self.levels[-1].new + _STEP if self.levels else 0

    def _end_indentless(self) -> None:
        if self.levels and self.levels[-1].is_indentless:
            self.levels.pop()

    def _is_written(self, token: yaml.KeyToken) -> bool:
        return self.source[token.start_mark.index : token.end_mark.index] == "?"

    def _separate(self, token: yaml.Token) -> None:
        """Write what is between the last token and this one."""
        gap = self.source[self.offset : token.start_mark.index]
        if self.line is not None and "\n" not in gap:
            self.line += "" if self._is_tight(token) else " "
            return
        if self.flows:
            self.column = self.flows[-1] if isinstance(token, _FLOW_ENDS) else self.flows[-1] + _STEP
            indent = self.column
        elif isinstance(token, yaml.DocumentStartToken | yaml.DocumentEndToken):
            indent = 0
        elif self.levels and (self.is_key or isinstance(token, yaml.KeyToken | yaml.BlockEntryToken | yaml.ValueToken)):
            indent = self.levels[-1].new
        else:
            indent = self._inner
        self._write_gap(gap, token.start_mark.column, indent)
        self.line = " " * indent

    def _is_tight(self, token: yaml.Token) -> bool:
        if isinstance(token, (*_FLOW_ENDS, yaml.FlowEntryToken)):
            # A colon without a value would be read as a part of its key.
            return not isinstance(self.before, yaml.ValueToken)
        return isinstance(token, yaml.ValueToken) or isinstance(self.before, _FLOW_STARTS)

    def _write_gap(self, gap: str, column: int, indent: int) -> None:
        """End the line, and write the comments and blank lines up to a token that begins one.

        Args:
            column: Column of the token as written.
            indent: Column of the token as formatted.
        """
        *pieces, _ = gap.split("\n")
        if self.line is not None and pieces:
            if comment := pieces.pop(0).strip():
                self.comments.append(comment)
                self.line += f" {comment}"
            self.lines.append(self.line.rstrip())
            self.line = None
        is_blank = False
        for piece in pieces:
            if not (comment := piece.strip()):
                is_blank = True
                continue
            if is_blank and self.lines:
                self.lines.append("")
            is_blank = False
            self.comments.append(comment)
            found = len(piece) - len(piece.lstrip())
            self.lines.append(" " * self._column_of_comment(found, column, indent) + comment)
        if is_blank and self.lines:
            self.lines.append("")

    def _column_of_comment(self, found: int, column: int, indent: int) -> int:
        """Return the column of a comment: that of the next token, or of the collection that it closes."""
        if self.flows:
            return self.flows[-1] + _STEP
        if found > column:
            closed = [level for level in self.open_before if column < level.old <= found]
            if closed:
                return closed[-1].new
        return indent

    def _copy(self, token: yaml.Token) -> None:
        assert self.line is not None
        start, end = token.start_mark.index, token.end_mark.index
        if isinstance(token, _FLOW_STARTS):
            if not self.flows:
                self.column = self.levels[-1].new if self.levels else 0
            self.flows.append(self.column)
        elif isinstance(token, _FLOW_ENDS):
            if not self.flows:
                raise CannotFormat("the layout cannot be changed without changing the document")
            self.flows.pop()
        if isinstance(token, yaml.ScalarToken) and token.style in ("|", ">"):
            self._copy_block(start)
            return
        first, *rest = self.source[start:end].split("\n")
        self.line += first
        indent = self.flows[-1] + 2 * _STEP if self.flows else max(self._inner, _STEP)
        for piece in rest:
            ended = self.line.rstrip(" \t")
            # After a backslash a blank is part of the text.
            self.lines.append(self.line if ended.endswith("\\") else ended)
            text = piece.lstrip(" \t")
            self.line = " " * indent + text if text else ""
        self.offset = end

    def _copy_block(self, start: int) -> None:
        """Copy a text of lines, `|` or `>`, with its lines moved to their new column."""
        assert self.line is not None
        end = self._end_of_line(start)
        header = _HEADER.fullmatch(self.source[start:end].rstrip())
        assert header is not None
        style, sign, digit, late_sign, comment = header.groups()
        sign = sign or late_sign
        around = next((level.old for level in reversed(self.levels) if not level.is_indentless), None)
        column = (around or 0) + int(digit) if digit else None
        least = 1 if around is None else around + 1
        content: list[str] = []
        # Without the blank lines at the end, unless they are part of the text.
        count, self.offset = 0, end + 1
        position = end + 1
        while position < len(self.source):
            end = self._end_of_line(position)
            text = self.source[position:end]
            if text.strip(" "):
                spaces = len(text) - len(text.lstrip(" "))
                if column is None:
                    column = max(spaces, least)
                if spaces < column:
                    break
            content.append(text[column:] if column is not None else "")
            position = end + 1
            if content[-1] or sign == "+":
                count, self.offset = len(content), position
        if self.offset > len(self.source):
            # Its last line has no end, and gets one.
            sign = "-"
        self.line += style + sign + (str(_STEP) if digit else "")
        if comment := comment.strip():
            self.comments.append(comment)
            self.line += f" {comment}"
        indent = " " * max(self._inner, _STEP)
        self.lines.append(self.line)
        self.lines += [indent + text if text else "" for text in content[:count]]
        self.line = None

    def _end_of_line(self, position: int) -> int:
        end = self.source.find("\n", position)
        return end if end >= 0 else len(self.source)
