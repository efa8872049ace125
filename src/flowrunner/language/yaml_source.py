"""Reader of YAML text, which returns plain values with their places.

It works on the events of the parser, so that every limit is checked before a value is built. The subset is what a flow
needs: one document, no tags, no merge keys, and YAML 1.2 scalars, so that `no` and `on` stay text.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, NoReturn, TypeAlias

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, DocumentStartEvent, ScalarEvent

from flowrunner.domain.errors import MOST_PATH_CHARACTERS, Fault, InvalidFlow
from flowrunner.domain.surrogates import Surrogates
from flowrunner.domain.values import JSON
from flowrunner.language.yaml_syntax import syntax_fault

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 50
MAX_NODES: Final = 10_000

Keys: TypeAlias = tuple[str | int, ...]

# YAML has five line breaks. No other line of a flow begins with a percent sign.
_DIRECTIVE: Final = re.compile("(?:\\A\ufeff?|[\r\n\x85\u2028\u2029])(%[^\\s]{0,20})")
_BREAK: Final = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_A_NUMBER: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_QUOTE: Final = "quote it to keep it as text"
_WORDS: Final[Mapping[str, JSON]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Position(NamedTuple):
    """A position in the text, line and column counted from 1.

    Attributes:
        block_line: First line of the text of a literal block (`|`); None for other values.
    """

    line: int
    column: int
    block_line: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Values of a document with their places.

    Attributes:
        key_places: Position of the key of each entry; the place of the value is in `places`.
        older_keys: Keys as written, by the current keys to which they, and all within them, were rewritten.
    """

    value: JSON
    places: Mapping[Keys, Position]
    key_places: Mapping[Keys, Position]
    older_keys: Mapping[Keys, Keys] = field(default_factory=dict)

    def written(self, keys: Keys) -> Keys:
        """Return the keys in the document as written of what is now at ``keys``."""
        if self.older_keys:
            for length in range(len(keys), 0, -1):
                if (older := self.older_keys.get(keys[:length])) is not None:
                    return (*older, *keys[length:])
        return keys

    def place(self, keys: Keys, *, key: bool = False) -> Position:
        """Return the place of the value at ``keys``, or of the nearest value around it.

        Args:
            key: Return the place of the key, if the value has one.
        """
        keys = self.written(keys)
        if key and keys in self.key_places:
            return self.key_places[keys]
        while keys not in self.places and keys:
            keys = keys[:-1]
        return self.places.get(keys, Position(1, 1))


def dotted(keys: Keys) -> str:
    """Return keys as a path: `("nodes", "a", "items", 0)` as `nodes.a.items[0]`; a long one ends after a whole key.

    A key may have a megabyte, and thousands of values may be within it. It may also hold a secret, of which no part is
    shown.
    """
    text = ""
    for key in keys:
        part = f"[{key}]" if isinstance(key, int) else f"{'.' if text else ''}{key[:MOST_PATH_CHARACTERS]}"
        if len(text) + len(part) >= MOST_PATH_CHARACTERS:
            return f"{text}…"
        text += part
    return text


def lines_of(text: str) -> Sequence[str]:
    """Return the lines of a text, as YAML counts them."""
    return _BREAK.split(text)


def is_text(word: str) -> bool:
    """Return whether a word without quotes is read as text."""
    return word not in _WORDS and not any(form.fullmatch(word) for form in (_INT, _FLOAT, _NOT_A_NUMBER))


def read_yaml(text: str) -> Source:
    """Return the values of a document.

    Raises:
        InvalidFlow: If the text is not YAML, or exceeds the subset or the limits. A text that cannot be parsed has one
            fault, at the place of the first error.
    """
    source, faults = read_leniently(text)
    if faults:
        raise InvalidFlow(faults)
    return source


def read_leniently(text: str) -> tuple[Source, Sequence[Fault]]:
    """Return the values of a document up to the first place where it cannot be read, and the faults."""
    surrogates = Surrogates(text)
    builder = _Builder(surrogates)
    try:
        _read(text, builder)
    except InvalidFlow as error:
        return builder.source, error.faults
    return builder.source, builder.faults


def _read(text: str, builder: "_Builder") -> None:
    """Let the builder take the events of a document. Raises: InvalidFlow."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        _fail(Position(1, 1), (), "too_large", f"a flow document has at most {MAX_BYTES} bytes")
    if (directive := _DIRECTIVE.search(text)) is not None:
        # Before parsing, because the parser compares each directive with all earlier ones.
        line = len(_BREAK.findall(text, 0, directive.start(1))) + 1
        hint = "leave the line out; where it belongs to a text, indent it"
        _fail(
            Position(line, 1), (), "yaml.directive", f"directives such as '{directive[1]}' are not part of a flow", hint
        )
    try:
        for event in yaml.parse(builder.surrogates.set_apart(), Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.reader.ReaderError as error:
        # The position of this error is in bytes; all others are in characters.
        before = text.encode()[: error.position].decode(errors="ignore")
        _fail(
            Position(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1),
            (),
            "yaml.character",
            "the document holds a character that YAML does not allow",
        )
    except yaml.MarkedYAMLError as error:
        raise InvalidFlow([syntax_fault(text, error)]) from None
    except UnicodeEncodeError:
        _fail(Position(1, 1), (), "yaml.character", "the document holds half of a surrogate pair")


def _fail(place: Position, keys: Keys, code: str, message: str, hint: str | None = None) -> NoReturn:
    raise InvalidFlow(
        [Fault(path=dotted(keys), message=message, code=code, line=place.line, column=place.column, hint=hint)]
    )


@dataclass(slots=True)
class _Open:
    """List or map under construction."""

    keys: Keys
    value: "list[JSON] | dict[str, JSON]"
    anchor: str | None
    first_node: int
    first_character: int
    # True in a map before each key
    wants_key: bool
    key: str = ""

    def next_keys(self) -> Keys:
        return (*self.keys, len(self.value)) if isinstance(self.value, list) else (*self.keys, self.key)


@dataclass(slots=True)
class _Builder:
    """Builder of values from parser events."""

    surrogates: Surrogates
    stack: list[_Open] = field(default_factory=list)
    places: dict[Keys, Position] = field(default_factory=dict)
    key_places: dict[Keys, Position] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    # The value of each anchor, and how many nodes and characters it holds.
    anchors: dict[str, tuple[JSON, int, int]] = field(default_factory=dict)
    root: JSON = None
    documents: int = 0
    nodes: int = 0
    characters: int = 0

    def take(self, event: yaml.Event) -> None:
        mark = event.start_mark
        place = Position(mark.line + 1, mark.column + 1) if mark is not None else Position(1, 1)
        # Most events are scalars.
        if isinstance(event, ScalarEvent):
            self._take_scalar(event, place)
        elif isinstance(event, CollectionStartEvent):
            self._open(event, place)
        elif isinstance(event, CollectionEndEvent):
            done = self.stack.pop()
            if done.anchor is not None:
                nodes, characters = self.nodes - done.first_node, self.characters - done.first_character
                self.anchors[done.anchor] = done.value, nodes, characters
        elif isinstance(event, AliasEvent):
            self._alias(event, place)
        elif isinstance(event, DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self._stop(place, "yaml.documents", "a flow is one document, and here a second begins")

    def _take_scalar(self, event: yaml.ScalarEvent, place: Position) -> None:
        text = event.value
        self._count(place, 1, len(text))
        if event.tag is not None:
            self._reject_tag(event.tag, place)
        if self.surrogates.are_apart:
            event.value = text = self.surrogates.put_back(text, is_escaped=event.style == '"')
        if self._wants_key():
            self._key(event, place)
            return
        value = self._scalar(event, place)
        if event.style == "|":
            place = place._replace(block_line=place.line + 1)
        self._add(value, place)
        if event.anchor is not None:
            self.anchors[event.anchor] = value, 1, len(text)

    @property
    def source(self) -> Source:
        return Source(self.root, self.places, self.key_places)

    def _open(self, event: yaml.CollectionStartEvent, place: Position) -> None:
        self._count(place, 1, 0)
        if event.tag is not None:
            self._reject_tag(event.tag, place)
        if self._wants_key():
            self._stop(place, "yaml.key", "a key must be text", 'quote it if it holds "${…}"')
        if len(self.stack) >= MAX_DEPTH:
            self._stop(place, "too_deep", f"a flow document is at most {MAX_DEPTH} levels deep")
        keys = self.stack[-1].next_keys() if self.stack else ()
        value: list[JSON] | dict[str, JSON] = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        self._add(value, place)
        is_map = isinstance(value, dict)
        self.stack.append(_Open(keys, value, event.anchor, self.nodes - 1, self.characters, wants_key=is_map))

    def _wants_key(self) -> bool:
        return bool(self.stack) and self.stack[-1].wants_key

    def _key(self, event: yaml.ScalarEvent, place: Position) -> None:
        parent = self.stack[-1]
        assert isinstance(parent.value, dict)
        key = event.value
        keys = (*parent.keys, key)
        if "\x00" in key:
            self._note(place, keys, "yaml.character", "text must not hold a NUL character")
        if key == "<<" and event.implicit[0]:
            self._note(place, keys, "yaml.merge", "merge keys are not part of a flow", "write the keys out")
        elif key == "" and event.implicit[0]:
            self._note(place, keys, "yaml.key", "a key is missing before ':'")
        elif key in parent.value:
            first = self.key_places[keys]
            self._note(
                place,
                keys,
                "yaml.duplicate_key",
                f"'{key}' is already given in line {first.line}",
                "keep one of the two",
            )
        self.key_places.setdefault(keys, place)
        parent.key, parent.wants_key = key, False

    def _add(self, value: JSON, place: Position) -> None:
        if not self.stack:
            self.root = value
            self.places[()] = place
            return
        parent = self.stack[-1]
        self.places.setdefault(parent.next_keys(), place)
        if isinstance(parent.value, list):
            parent.value.append(value)
        else:
            parent.value[parent.key] = value
            parent.wants_key = True

    def _alias(self, event: yaml.AliasEvent, place: Position) -> None:
        if self._wants_key():
            self._stop(place, "yaml.key", "a key must be text")
        if event.anchor not in self.anchors:
            self._stop(place, "yaml.alias", f"'*{event.anchor}' refers to nothing before it")
        value, nodes, characters = self.anchors[event.anchor]
        self._count(place, nodes, characters)
        if len(self.stack) + _depth(value) > MAX_DEPTH:
            self._stop(place, "too_deep", f"a flow document is at most {MAX_DEPTH} levels deep")
        self._add(value, place)

    def _count(self, place: Position, nodes: int, characters: int) -> None:
        self.nodes += nodes
        self.characters += characters
        if self.nodes > MAX_NODES:
            self._stop(place, "too_large", f"a flow document has at most {MAX_NODES} values, aliases written out")
        if self.characters > MAX_BYTES:
            self._stop(place, "too_large", f"a flow document has at most {MAX_BYTES} characters, aliases written out")

    def _reject_tag(self, tag: str, place: Position) -> None:
        self._note_value(place, "yaml.tag", f"tags such as '{tag[:40]}' are not part of a flow", "leave it out")

    def _scalar(self, event: yaml.ScalarEvent, place: Position) -> JSON:
        text: str = event.value
        if "\x00" in text:
            self._note_value(place, "yaml.character", "text must not hold a NUL character")
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            number = int(text, 0) if text[:2] in ("0o", "0x") else int(text) if len(text) <= 20 else 2**64
            if not -(2**63) <= number < 2**63:
                self._note_value(place, "yaml.number", "the number does not fit 64 bits", _QUOTE)
            return number
        if _FLOAT.fullmatch(text):
            value = float(text)
            if value in (float("inf"), float("-inf")):
                self._note_value(place, "yaml.number", "the number is too large", _QUOTE)
            return value
        if _NOT_A_NUMBER.fullmatch(text):
            self._note_value(place, "yaml.number", f"'{text}' has no JSON form", _QUOTE)
        return text

    def _note_value(self, place: Position, code: str, message: str, hint: str | None = None) -> None:
        """Report a fault of the value that comes next."""
        self._note(place, self.stack[-1].next_keys() if self.stack else (), code, message, hint)

    def _note(self, place: Position, keys: Keys, code: str, message: str, hint: str | None = None) -> None:
        self.faults.append(
            Fault(path=dotted(keys), message=message, code=code, line=place.line, column=place.column, hint=hint)
        )

    def _stop(self, place: Position, code: str, message: str, hint: str | None = None) -> NoReturn:
        self._note(place, (), code, message, hint)
        raise InvalidFlow(self.faults)


def _depth(value: JSON) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
