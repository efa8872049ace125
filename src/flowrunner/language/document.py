"""Typed access to the values of a document, and the faults found in it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from flowrunner.domain.duration import hint_for, parse_duration
from flowrunner.domain.errors import Fault
from flowrunner.domain.expression import CodePlace
from flowrunner.domain.flow import ParamFault
from flowrunner.domain.suggestions import SLIP, Suggestions, squashed
from flowrunner.domain.values import JSON
from flowrunner.language.yaml_source import Keys, Source, dotted

MAX_NAME_CHARACTERS: Final = 200
_FORBIDDEN_IN_NAMES: Final = frozenset("/[]")

_NO_FORMS: Final[Mapping[str, str]] = {}
# YAML reads `type:log` as one word.
_NO_BLANK: Final = re.compile(r"(\w+):(\S.*)", re.DOTALL)

# Rules whose violation loses nothing of the document. A new rule that older documents may violate belongs here.
_NOTHING_LOST: Final = frozenset(
    {
        "too_long", "too_large", "range", "metadata", "tests", "node.name", "node.unreachable", "retry.error",
        "expression.node", "expression.secret", "expression.scope", "expression.place", "expression.self",
    }
)  # fmt: skip

# Returns the faults of a JSON Schema, by keys within it.
CheckSchema: TypeAlias = Callable[[JSON], Sequence[ParamFault]]


def is_name(text: str) -> bool:
    """Return whether the text is allowed as a name of a node or branch."""
    return 0 < len(text) <= MAX_NAME_CHARACTERS and text.isprintable() and not _FORBIDDEN_IN_NAMES & set(text)


@dataclass(slots=True)
class Document:
    """Document that is being read, with the faults found so far.

    Attributes:
        flows: Flows that nodes call, by id or name, each with the place of its first use.
        listened: Flows whose ends start this one, in the same way.
        trigger_places: The place of each trigger, by its name.
        links: The places where links to approvals are made.
        is_stored: The document was checked when it was saved. Faults that lose nothing of it are ignored.
        unread: Paths of expressions that were replaced by a constant because of a fault.
        dangling_edges: Number of edges with an unknown target, which may be any node that no other edge leads to.
    """

    source: Source
    check_schema: CheckSchema
    is_stored: bool = False
    unread: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    suggestions: Suggestions = field(default_factory=Suggestions)
    flows: dict[str, CodePlace] = field(default_factory=dict)
    listened: dict[str, CodePlace] = field(default_factory=dict)
    trigger_places: dict[str, CodePlace] = field(default_factory=dict)
    links: list[CodePlace] = field(default_factory=list)
    dangling_edges: int = 0

    def map_at(self, parent: Mapping[str, JSON], at: Keys, key: str, hint: str | None = None) -> Mapping[str, JSON]:
        value = parent.get(key)
        if isinstance(value, dict):
            return value
        if value is not None:
            self.fault((*at, key), "type", "must be a map", hint)
        return {}

    def text_at(self, parent: Mapping[str, JSON], at: Keys, key: str, *, limit: int = MAX_NAME_CHARACTERS) -> str:
        value = parent.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            hint = None
            if isinstance(value, int | float):
                # The notation of a float is lost here: 1.10 is read as 1.1.
                hint = f'quote it: {key}: "{"…" if isinstance(value, float) else value}"'
            self.fault((*at, key), "type", "must be text", hint)
            return ""
        if len(value) > limit:
            self.fault((*at, key), "too_long", f"must have at most {limit} characters")
        return value

    def flag_at(self, parent: Mapping[str, JSON], at: Keys, key: str) -> bool | None:
        value = parent.get(key)
        if value is None or isinstance(value, bool):
            return value
        self.fault((*at, key), "type", "must be true or false")
        return None

    def whole_number_at(self, parent: Mapping[str, JSON], at: Keys, key: str, least: int, most: int) -> int | None:
        value = parent.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault((*at, key), "type", "must be a whole number")
            return None
        if not least <= value <= most:
            self.fault((*at, key), "range", f"must be between {least} and {most}")
            return value if self.is_stored else None
        return value

    def duration_at(self, parent: Mapping[str, JSON], at: Keys, key: str) -> float | None:
        value = parent.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.fault((*at, key), "type", "must be a duration", hint_for(value))
            return None
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fault((*at, key), "duration", str(error))
            return None
        if seconds <= 0 and key == "timeout":
            self.fault((*at, key), "range", "must be longer than 0")
            return None
        return seconds

    def known_keys(
        self, value: Mapping[str, JSON], at: Keys, known: tuple[str, ...], foreign_forms: Mapping[str, str] = _NO_FORMS
    ) -> frozenset[str]:
        """Report the unknown keys; return the known keys that they probably mean.

        Args:
            foreign_forms: Hints for keys of other systems, by the key as `squashed`.
        """
        meant = set()
        for key in value:
            if key in known or key.startswith("x-"):
                continue
            hint = foreign_forms.get(squashed(key))
            if hint is None and (joined := _NO_BLANK.fullmatch(key[:100])) and joined[1] in known:
                hint = f"put a blank after the colon: {joined[1]}: {joined[2]}"
                meant.add(joined[1])
            if hint is None and (near := self.meant_by(key, value, known)):
                hint = f"did you mean '{near}'?"
                meant.add(near)
            hint = hint or f"known keys: {', '.join(known)}, x-…"
            self.fault((*at, key), "unknown_key", f"unknown key '{key[:60]}'", hint, key=True)
        return frozenset(meant)

    def meant_by(self, key: str, value: Mapping[str, JSON], known: tuple[str, ...]) -> str | None:
        # A key that is present already can be meant by a typing error, but not by another word.
        absent = [name for name in known if name not in value]
        return self.suggestions.nearest(key, known, cutoff=SLIP) or self.suggestions.nearest(key, absent)

    def schema(self, schema: JSON, at: Keys) -> None:
        for fault in self.check_schema(schema):
            self.fault((*at, *fault.keys), fault.code, fault.message, fault.hint)

    def fault(self, keys: Keys, code: str, message: str, hint: str | None = None, *, key: bool = False) -> None:
        """Record a fault of the value at ``keys``, or of the key itself if ``key`` is set."""
        self.faults.append(self.found(keys, code, message, hint, key=key))

    def warn(self, keys: Keys, code: str, message: str, hint: str | None = None, *, key: bool = False) -> None:
        """Record a warning about something that is allowed but probably a mistake."""
        self.faults.append(replace(self.found(keys, code, message, hint, key=key), is_warning=True))

    def take_lost(self, count: int) -> list[Fault]:
        """Remove the faults after the first ``count``; return those that lose a part of the document."""
        found = self.faults[count:]
        del self.faults[count:]
        return [fault for fault in found if self.is_lost(fault)]

    def is_lost(self, fault: Fault) -> bool:
        if fault.is_warning or fault.code in _NOTHING_LOST:
            return False
        return fault.code != "expression.unknown_name" or fault.path in self.unread

    def warn_at(self, place: CodePlace, code: str, message: str, hint: str, line: int | None) -> None:
        """Record a warning about a piece of JavaScript, or about one line of it."""
        place = place.of_line(line)
        self.faults.append(
            Fault(
                path=place.path, line=place.line, column=place.column,
                code=code, message=message, hint=hint, is_warning=True,
            )
        )  # fmt: skip

    def place_parts(self, at: Keys, places: Mapping[Keys, Keys]) -> None:
        """Give parts of a node, at keys within it that the document does not have, the places where they are written.

        Args:
            places: Keys within the node as written, by those that the document does not have.
        """
        moved = {(*at, *keys): self.source.written((*at, *older)) for keys, older in places.items()}
        self.source = replace(self.source, older_keys={**self.source.older_keys, **moved})

    def code_place(self, keys: Keys) -> CodePlace:
        place = self.source.place(keys)
        return CodePlace(dotted(self.source.written(keys)), place.line, place.column, place.block_line)

    def found(self, keys: Keys, code: str, message: str, hint: str | None, *, key: bool) -> Fault:
        place, path = self.source.place(keys, key=key), dotted(self.source.written(keys))
        return Fault(path=path, message=message, code=code, line=place.line, column=place.column, hint=hint)
