"""Lint of JavaScript that is valid but probably does not do what its author meant."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from flowrunner.domain.expression.javascript import (
    AFTER_VALUES,
    CLOSING,
    DECLARING,
    KEYWORDS,
    OPENING,
    JsToken,
    Unclosed,
    defined_names,
    is_before,
    is_key,
    is_member,
    pairs_of,
    tokens_of,
)

# Cheap checks that run before the expensive ones.
_MAY_ASSIGN: Final = re.compile(r"(?<![=!<>])=(?![=>])")
_MAY_CHANGE: Final = re.compile(r"(?<![=!<>])=(?![=>])|\+\+|--|\b(?:push|pop|shift|unshift|splice|delete)\b")
_ASSIGNS: Final = re.compile(r"(?:\*\*|\?\?|\|\||&&|<<|>>>?|[-+*/%&|^])?=(?![=>])|\+\+|--")
_OPERATORS: Final = frozenset("+-*/%&|^?<>")
# Methods that change the list they are called on, and whose result is rarely used.
_CHANGING: Final = frozenset({"push", "pop", "shift", "unshift", "splice"})


class Change(NamedTuple):
    """A change of a script's input that has no effect.

    Attributes:
        root: The name whose value, or a part of it, is changed.
        keys: The literal members that lead to the changed part.
        text: The source of the change, without the new value.
    """

    root: str
    keys: tuple[str, ...]
    text: str
    start: int


def assignment(text: str) -> int | None:
    """Return the position of an assignment to an outer name, such as `a = 1`; None if there is none.

    Assignments in blocks, declarations and parameter lists are local and ignored.

    Raises:
        Unclosed: As `references`.
    """
    if _MAY_ASSIGN.search(text) is None:
        return None
    tokens = tokens_of(text)
    if tokens and tokens[0].text in DECLARING:
        return None
    pairs = pairs_of(tokens)
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if token.text == "{" or (token.text == "(" and _is_parameters(tokens, index, pairs[index])):
            index = pairs[index]
        elif token.text == "=" and token.kind == "mark" and not _is_part_of_an_operator(tokens, index):
            return token.start
        index += 1
    return None


def returns(text: str) -> bool:
    """Return whether the body of a function has a `return` or a `throw`, or cannot be read."""
    if "return" not in text and "throw" not in text:
        return False
    try:
        tokens = tokens_of(text)
    except Unclosed:
        return True
    return any(token.kind == "name" and token.text in ("return", "throw") for token in tokens)


def lost_changes(text: str, names: Collection[str], kept: str) -> list[Change]:
    """Return the changes of a script's inputs that have no effect, because the inputs are copies.

    Args:
        names: The names of the inputs.
        kept: A name whose changes are reported even if the script also reads it.

    Raises:
        Unclosed: As `references`.
    """
    if _MAY_CHANGE.search(text) is None:
        return []
    tokens = tokens_of(text)
    pairs = pairs_of(tokens)
    inside = frozenset(defined_names(tokens, pairs, are_assigned=False))
    found, is_read = [], set()
    for index, token in enumerate(tokens):
        if token.kind != "name" or token.text not in names or is_member(tokens, index) or is_key(tokens, index):
            continue
        if token.text in inside:
            continue
        change = _change(text, tokens, pairs, index)
        if change is None:
            is_read.add(token.text)
        else:
            found.append(change)
    return [change for change in found if change.root == kept or change.root not in is_read]


def read_before_defined(text: str, name: str) -> str | None:
    """Return the member that a script reads of a name before it defines that name itself, or None.

    A parameter is defined in its function alone, and a variable after its value, whose functions may read it.

    Raises:
        Unclosed: As `references`.
    """
    tokens = tokens_of(text)
    pairs = pairs_of(tokens)
    if name not in defined_names(tokens, pairs):
        return None
    # The end of the value that defines the name; before there is one, that of the script.
    end, is_value = len(tokens), False
    index = 0
    while index < end:
        parameters = _end_of_parameters(tokens, pairs, index)
        if parameters is not None and (is_value or any(part.text == name for part in tokens[index : parameters + 1])):
            index = _end_of_function(text, tokens, pairs, parameters)
            continue
        token = tokens[index]
        index += 1
        if token.text != name or token.kind != "name" or is_member(tokens, index - 1) or is_key(tokens, index - 1):
            continue
        if (member := next((key for key, _ in _members(tokens, pairs, index - 1)), None)) is not None:
            return member
        if not is_value:
            if not is_before(tokens, index - 1, "="):
                return None
            end, is_value = _end_of_value(text, tokens, pairs, index + 1), True
    return None


def _change(text: str, tokens: Sequence[JsToken], pairs: Mapping[int, int], index: int) -> Change | None:
    """Return the change that starts with the name at ``index``, if there is one."""
    start, root = tokens[index].start, tokens[index].text
    members = list(_members(tokens, pairs, index))
    end = members[-1][1] if members else index
    keys = tuple(key for key, _ in members if key is not None)
    following = tokens[end + 1] if end + 1 < len(tokens) else None
    before = tokens[index - 1].text if index > 0 else ""
    if before in ("++", "--", "delete"):
        return Change(root, keys, text[tokens[index - 1].start : _end(tokens[end])], tokens[index - 1].start)
    if following is not None and (operator := _ASSIGNS.match(text, following.start)):
        return Change(root, keys, text[start : operator.end()], start)
    begins_a_statement = before in ("", ";", "{", "}") or "\n" in text[_end(tokens[index - 1]) : start]
    if begins_a_statement and keys and keys[-1] in _CHANGING and following is not None and following.text == "(":
        return Change(root, keys[:-1], text[start : following.start], start)
    return None


def _members(tokens: Sequence[JsToken], pairs: Mapping[int, int], index: int) -> Iterator[tuple[str | None, int]]:
    """Yield each member read from a name: its key if that is literal, and its last token."""
    at = index + 1
    while at + 1 < len(tokens):
        if tokens[at].text in (".", "?.") and tokens[at + 1].kind == "name":
            yield tokens[at + 1].text, at + 1
            at += 2
        elif tokens[at].text == "[" and pairs[at] > at:
            yield None, pairs[at]
            at = pairs[at] + 1
        else:
            return


def _end(token: JsToken) -> int:
    return token.start + len(token.text)


def _is_parameters(tokens: Sequence[JsToken], opening: int, closing: int) -> bool:
    return is_before(tokens, closing, "=>") or (opening > 0 and tokens[opening - 1].text == "function")


def _is_part_of_an_operator(tokens: Sequence[JsToken], index: int) -> bool:
    """Return whether a `=` is part of an operator such as `==`, `<=` or `+=`."""
    # No JavaScript begins with a `=`, or has a blank between the two.
    follows = tokens[index - 1].text in ("=", "!", *_OPERATORS)
    return follows or any(after.text in ("=", "=>") for after in tokens[index + 1 : index + 2])


def _end_of_parameters(tokens: Sequence[JsToken], pairs: Mapping[int, int], index: int) -> int | None:
    """Return the last token of the parameters that begin at ``index``; None if none begin there."""
    token = tokens[index]
    if token.kind == "name" and is_before(tokens, index, "=>"):
        return index
    if token.text != "(":
        return None
    closing, before = pairs[index], tokens[index - 1] if index > 0 else None
    is_named = before is not None and before.kind == "name" and before.text not in KEYWORDS - {"catch"}
    has_body = is_named and is_before(tokens, closing, "{")
    return closing if has_body or _is_parameters(tokens, index, closing) else None


def _end_of_function(text: str, tokens: Sequence[JsToken], pairs: Mapping[int, int], parameters: int) -> int:
    """Return the index after a function whose parameters end at ``parameters``."""
    body = parameters + (2 if is_before(tokens, parameters, "=>") else 1)
    if body < len(tokens) and tokens[body].text == "{":
        return pairs[body] + 1
    return _end_of_value(text, tokens, pairs, body)


def _end_of_value(text: str, tokens: Sequence[JsToken], pairs: Mapping[int, int], index: int) -> int:
    """Return the index after the value that begins at ``index``."""
    start = index
    while index < len(tokens) and tokens[index].text not in AFTER_VALUES:
        before = tokens[index - 1]
        is_after_value = index > start and (before.kind != "mark" or before.text in CLOSING)
        # A statement may end without a semicolon.
        if is_after_value and tokens[index].kind != "mark" and "\n" in text[_end(before) : tokens[index].start]:
            break
        index = pairs[index] + 1 if tokens[index].text in OPENING else index + 1
    return index
