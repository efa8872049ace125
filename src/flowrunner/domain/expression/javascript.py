"""Static analysis of JavaScript: the end of an expression, the secrets and nodes it reads, and its unknown names.

The analysis works on tokens, not on the grammar, and does not report a name if it is unsure: the JavaScript engine
checks the syntax, and an undefined name fails when it is evaluated. Secrets are the exception: a secret is available
only if its name is in the text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

# Line terminators of comments, strings and regular expressions; strings may contain the last two.
_LINE_ENDS: Final = r"\n\r\u2028\u2029"
_ESCAPED: Final = r"\\u(?:[0-9a-fA-F]{4}|\{[0-9a-fA-F]{1,6}\})"
_ESCAPE: Final = re.compile(r"\\u(?:([0-9a-fA-F]{4})|\{([0-9a-fA-F]{1,6})\})")
_NAME: Final = rf"(?:[^\W\d]|\$|{_ESCAPED})(?:\w|\$|{_ESCAPED})*"
_TOKEN: Final = re.compile(
    rf"""
    (?P<space>[\s\ufeff]+|//[^{_LINE_ENDS}]*|/\*.*?\*/)
  | (?P<name>\#?{_NAME})
  | (?P<number>0[xXoObB][0-9a-fA-F_]+n?|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?n?)
  | (?P<string>"(?:[^"\\\n\r]|\\(?:\r\n|.))*"|'(?:[^'\\\n\r]|\\(?:\r\n|.))*')
  | (?P<mark>=>|\+\+|--|\?\.(?!\d)|\.\.\.|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_REGEX: Final = re.compile(
    rf"/(?:[^/\\\[{_LINE_ENDS}]|\\[^{_LINE_ENDS}]|\[(?:[^\]\\{_LINE_ENDS}]|\\[^{_LINE_ENDS}])*+\])++/\w*"
)
_LINE_END: Final = re.compile(f"[{_LINE_ENDS}]")
MAX_SCRIPT: Final = 64 * 1024
_DEEPEST: Final = 50
_DEEPEST_BRACKETS: Final = 200
OPENING: Final = frozenset(("(", "[", "{", "${"))
CLOSING: Final = frozenset(")]}")
DECLARING: Final = frozenset({"let", "const", "var"})
AFTER_VALUES: Final = frozenset({",", ";", ")", "}", "]", "of", "in", *DECLARING})

KEYWORDS: Final = frozenset(
    "async await break case catch class const continue debugger default delete do else export extends false finally"
    " for function get if import in instanceof let new null of return set static super switch this throw true try"
    " typeof var void while with yield".split()
)
# After these words a slash begins a regular expression, as after an operator.
_BEFORE_VALUES: Final = frozenset(
    "await case delete do else extends in instanceof new return throw typeof void yield".split()
)
# The brackets of these words are followed by a statement, other brackets by an operator.
_BEFORE_CONDITIONS: Final = frozenset({"if", "while", "for", "with"})
# A brace after one of these begins a block; elsewhere it begins an object, unless a name precedes it.
_BEFORE_BLOCKS: Final = frozenset({")", ";", "{", "}", "=>", "else", "do", "try", "finally", "catch", "static"})

# The global names of the language, available to every script.
GLOBALS: Final = frozenset(
    "AggregateError Array ArrayBuffer AsyncDisposableStack Atomics BigInt BigInt64Array BigUint64Array Boolean"
    " DOMException DataView Date DisposableStack Error EvalError FinalizationRegistry Float16Array Float32Array"
    " Float64Array Function Infinity Int16Array Int32Array Int8Array InternalError Iterator JSON Map Math NaN Number"
    " Object Promise Proxy RangeError ReferenceError Reflect RegExp Set SharedArrayBuffer String SuppressedError Symbol"
    " SyntaxError TypeError URIError Uint16Array Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakRef WeakSet"
    " arguments atob btoa console decodeURI decodeURIComponent encodeURI encodeURIComponent escape eval globalThis"
    " isFinite isNaN parseFloat parseInt performance queueMicrotask undefined unescape".split()
)


class Unclosed(ValueError):
    """The text ends within a string, a template or brackets."""


class JsToken(NamedTuple):
    """A token of a script; its kind is name, number, string, regex or mark."""

    kind: str
    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that a script may read from its scope.

    Attributes:
        keys: The literal members read from it: `nodes.a["b"]` has `a` and `b`.
        is_defined: The script defines the same name somewhere and may mean that one; there are no keys then.
        has_default: `??` or `?.` follows the first key, or the third one of `nodes.a.result.key`, so that the script
            expects that there may be no such member.
    """

    root: str
    keys: tuple[str, ...]
    is_defined: bool = False
    has_default: bool = False


def end_of_expression(text: str, start: int) -> int:
    """Return the position of the brace that ends the expression starting at ``start``.

    Raises:
        Unclosed: If there is none within `MAX_SCRIPT` characters.
    """
    _, end = _tokens(text, start, min(len(text), start + MAX_SCRIPT + 1), is_nested=True)
    return end


def references(text: str) -> tuple[Reference, ...]:
    """Return the names that a script may read from its scope, with their keys, without duplicates.

    Raises:
        Unclosed: If a string or a template in it does not end.
    """
    tokens = tokens_of(text)
    defined = frozenset(defined_names(tokens, pairs_of(tokens)))
    found: dict[Reference, None] = {}
    for index, token in enumerate(tokens):
        if token.kind != "name" or token.text in KEYWORDS or is_member(tokens, index) or is_key(tokens, index):
            continue
        # References to secrets are always reported, even if the script defines a name `secrets`.
        is_defined = token.text in defined and token.text != "secrets"
        keys, has_default = ((), False) if is_defined else _keys(tokens, index)
        found.setdefault(Reference(token.text, keys, is_defined, has_default))
    return tuple(found)


def has_braces_in_literals(text: str) -> bool:
    """Return whether every `${` of a text is in a template literal at a place where JavaScript allows one.

    In prose, a word is next to the literal: "Ask `${input.name}` for it".
    """
    if len(text) > MAX_SCRIPT or "`" not in text:
        return False
    try:
        tokens = tokens_of(text)
    except Unclosed:
        return False
    is_found = False
    for index, token in enumerate(tokens):
        if token.text == "``" and token.kind == "string":
            is_found = True
            if text[token.start] == "`" and index > 0 and not _may_precede_literal(tokens, index - 1):
                return False
            if index + 1 < len(tokens) and not _may_follow_literal(tokens[index + 1]):
                return False
        elif (token.kind in ("string", "regex") and "${" in token.text) or (
            token.text == "{" and text[max(token.start - 1, 0)] == "$"
        ):
            return False
    return is_found


def _may_precede_literal(tokens: Sequence[JsToken], index: int) -> bool:
    token = tokens[index]
    if token.kind == "name":
        return token.text in _BEFORE_VALUES or is_member(tokens, index)
    return token.kind == "mark"


def _may_follow_literal(token: JsToken) -> bool:
    return token.kind == "mark" or token.text in ("in", "instanceof")


def tokens_of(text: str) -> list[JsToken]:
    """Return the tokens of a script, without comments and white space.

    Raises:
        Unclosed: As `references`.
    """
    return _tokens(text, 0, len(text), is_nested=False)[0]


def _tokens(text: str, start: int, stop: int, *, is_nested: bool, depth: int = 0) -> tuple[list[JsToken], int]:
    """Return the tokens from ``start`` to ``stop`` or, with ``is_nested``, to the first unmatched closing brace."""
    if depth > _DEEPEST:
        raise Unclosed("templates are nested too deeply")
    tokens: list[JsToken] = []
    # For each open bracket, and for the last closed one: whether an operator follows its end.
    opened: list[bool] = []
    is_value = True
    # No regular expression ends before this position, so that the same characters are not searched for every slash.
    none_before = start
    braces, at = 0, start
    while at < stop:
        if text[at] == "`":
            inner, at = _template(text, at, stop, depth)
            tokens += inner
            continue
        if text.startswith("/*", at) and text.find("*/", at + 2, stop) < 0:
            raise Unclosed("a comment does not end")
        is_slash = text[at] == "/" and not text.startswith(("//", "/*"), at)
        if is_slash and at >= none_before and _may_be_regex(tokens, is_value):
            if regex := _REGEX.match(text, at, stop):
                tokens.append(JsToken("regex", regex[0], at))
                at = regex.end()
                continue
            line_end = _LINE_END.search(text, at, stop)
            none_before = stop if line_end is None else line_end.start()
        match = _TOKEN.match(text, at, stop)
        assert match is not None, "any character matches as a mark"
        kind, found = str(match.lastgroup), match[0]
        if kind == "mark":
            if found in "\"'":
                raise Unclosed(f"the string at {at} does not end")
            if found == "}" and braces == 0 and is_nested:
                return tokens, at
            braces += (found == "{") - (found == "}")
            if found in OPENING:
                opened.append(_ends_as_a_value(tokens, found))
            elif found in CLOSING:
                is_value = opened.pop() if opened else True
        if kind != "space":
            tokens.append(JsToken(kind, _unescaped(found) if kind == "name" else found, at))
        at = match.end()
    if is_nested:
        raise Unclosed("a brace is not closed")
    return tokens, at


def _template(text: str, start: int, stop: int, depth: int) -> tuple[list[JsToken], int]:
    """Return the tokens of a template literal, those within its `${…}` included, and the position of its end."""
    tokens, at = [JsToken("string", "``", start)], start + 1
    while at < stop:
        if text[at] == "\\":
            at += 2
        elif text[at] == "`":
            return tokens, at + 1
        elif text.startswith("${", at):
            inner, end = _tokens(text, at + 2, stop, is_nested=True, depth=depth + 1)
            # Marks around the inner tokens keep them separate from the outer ones.
            tokens += [JsToken("mark", "${", at), *inner, JsToken("mark", "}", end), JsToken("string", "``", end)]
            at = end + 1
        else:
            at += 1
    raise Unclosed(f"the template at {start} does not end")


def _may_be_regex(tokens: Sequence[JsToken], is_value: bool) -> bool:
    """Return whether a slash after ``tokens`` begins a regular expression rather than a division.

    Args:
        is_value: Whether the last closed bracket ends a value.
    """
    if not tokens:
        return True
    last = tokens[-1]
    if last.text == "of" and len(tokens) > 1:
        # After a name or a pattern, `of` is the keyword of a loop; elsewhere, as after a block, it is a name.
        before = tokens[-2]
        if before.text in ("]", "}"):
            return is_value
        return before.kind == "name" and before.text not in _BEFORE_VALUES
    if last.kind == "name":
        return last.text in _BEFORE_VALUES and not is_member(tokens, len(tokens) - 1)
    if last.kind != "mark" or last.text in ("]", "++", "--"):
        return False
    return not is_value if last.text in (")", "}") else True


def _ends_as_a_value(tokens: Sequence[JsToken], bracket: str) -> bool:
    """Return whether the bracket after ``tokens`` encloses a value, which an operator follows, not a statement."""
    last = tokens[-1] if tokens else None
    if last is None or bracket == "[":
        return True
    if bracket == "(":
        if last.text == "await" and len(tokens) > 1:
            last = tokens[-2]
        return last.text not in _BEFORE_CONDITIONS or is_member(tokens, len(tokens) - 1)
    is_after_a_name = last.kind == "name" and last.text not in KEYWORDS
    return not is_after_a_name and last.text not in _BEFORE_BLOCKS


def _unescaped(name: str) -> str:
    if "\\" not in name:
        return name
    return _ESCAPE.sub(lambda match: chr(min(int(match[1] or match[2], 16), 0x10FFFF)), name)


def is_member(tokens: Sequence[JsToken], index: int) -> bool:
    return tokens[index].text.startswith("#") or (index > 0 and tokens[index - 1].text in (".", "?."))


def is_key(tokens: Sequence[JsToken], index: int) -> bool:
    """Return whether a name is the key of an object's member: `{name: …}`."""
    if index == 0 or index + 1 == len(tokens):
        return False
    return tokens[index - 1].text in ("{", ",") and tokens[index + 1].text == ":"


def _keys(tokens: Sequence[JsToken], index: int) -> tuple[tuple[str, ...], bool]:
    """Return the literal members read from a name, and whether the first one, or that of a result, has a default."""
    keys: list[str] = []
    checked = 3 if tokens[index].text == "nodes" else 1
    at = index + 1
    has_default = False
    while at + 1 < len(tokens):
        if len(keys) == checked:
            has_default = tokens[at].text == "?." or (tokens[at].text == "?" and tokens[at + 1].text == "?")
        mark, after = tokens[at].text, tokens[at + 1]
        if mark == "?." and after.text == "[":
            at, mark, after = at + 1, "[", tokens[at + 2] if at + 2 < len(tokens) else after
        if mark in (".", "?.") and after.kind == "name":
            keys.append(after.text)
            at += 2
        elif mark == "[" and after.kind == "string" and "\\" not in after.text and after.text != "``":
            if at + 2 >= len(tokens) or tokens[at + 2].text != "]":
                break
            keys.append(after.text[1:-1])
            at += 3
        else:
            break
    return tuple(keys), has_default


def pairs_of(tokens: Sequence[JsToken]) -> Mapping[int, int]:
    """Return the index of each bracket's partner, both ways; an unmatched opening bracket pairs with the end."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind != "mark":
            continue
        if token.text in OPENING:
            opened.append(index)
            pairs[index] = len(tokens) - 1
            if len(opened) > _DEEPEST_BRACKETS:
                raise Unclosed(f"brackets are nested more than {_DEEPEST_BRACKETS} deep")
        elif token.text in CLOSING:
            pairs[index] = opened.pop() if opened else index
            pairs[pairs[index]] = index
    return pairs


def defined_names(tokens: Sequence[JsToken], pairs: Mapping[int, int], *, are_assigned: bool = True) -> Iterator[str]:
    """Yield the names that the script defines anywhere: parameters, variables, functions, classes.

    Args:
        are_assigned: Whether assignments without a declaration count.
    """
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        if token.text == "=>" and index > 0:
            before = tokens[index - 1]
            if before.kind == "name":
                yield before.text
            elif before.text == ")":
                yield from _names(tokens[pairs[index - 1] : index])
        elif following is None or token.kind != "name":
            continue
        elif token.text in DECLARING:
            yield from _declared(tokens, pairs, index + 1)
        elif token.text in ("break", "continue"):
            yield following.text
        elif are_assigned and following.text == "=" and not is_before(tokens, index + 1, "="):
            yield token.text
        elif token.text in ("function", "class", "catch"):
            if following.kind == "name":
                yield following.text
            opening = next((i for i in range(index + 1, min(index + 4, len(tokens))) if tokens[i].text == "("), None)
            if opening is not None and token.text != "class":
                yield from _names(tokens[opening : pairs[opening]])
        elif following.text == "(" and token.text not in KEYWORDS and is_before(tokens, pairs[index + 1], "{"):
            # A method: its body follows the brackets.
            yield token.text
            yield from _names(tokens[index + 1 : pairs[index + 1]])


def is_before(tokens: Sequence[JsToken], index: int, text: str) -> bool:
    return index + 1 < len(tokens) and tokens[index + 1].text == text


def _declared(tokens: Sequence[JsToken], pairs: Mapping[int, int], index: int) -> Iterator[str]:
    """Yield the names in the patterns of one declaration."""
    while index < len(tokens):
        token = tokens[index]
        if token.kind == "name" and token.text not in KEYWORDS:
            yield token.text
            index += 1
        elif token.text in ("[", "{"):
            yield from _names(tokens[index : pairs[index]])
            index = pairs[index] + 1
        else:
            return
        # Skip the value, up to the comma before the next name.
        while index < len(tokens) and tokens[index].text not in AFTER_VALUES:
            index = pairs[index] + 1 if tokens[index].text in OPENING else index + 1
        if index >= len(tokens) or tokens[index].text != ",":
            return
        index += 1


def _names(tokens: Sequence[JsToken]) -> Iterator[str]:
    return (token.text for token in tokens if token.kind == "name")
