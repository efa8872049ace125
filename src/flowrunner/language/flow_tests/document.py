"""Typed access to the values of flow tests, with the faults found in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from flowrunner.domain.duration import HINT as DURATION_HINT
from flowrunner.domain.duration import parse_duration
from flowrunner.domain.suggestions import Suggestions
from flowrunner.domain.values import JSON
from flowrunner.language.flow_tests.flow_test import NOW
from flowrunner.language.yaml_source import Keys

MOST_ANSWERS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFault:
    """Fault in the tests of a flow.

    Attributes:
        keys: Keys from `tests` to the value.
        is_of_key: The fault is in the key, not in the value.
        is_warning: The value is allowed but probably a mistake.
    """

    keys: Keys
    code: str
    message: str
    hint: str | None
    is_of_key: bool
    is_warning: bool = False


@dataclass(slots=True)
class FlowTestDocument:
    """Tests that are being read, with the faults found so far."""

    faults: list[FoundFault] = field(default_factory=list)
    suggestions: Suggestions = field(default_factory=Suggestions)

    def one_or_more(self, value: JSON, at: Keys) -> list[tuple[JSON, Keys]]:
        if not isinstance(value, list):
            return [(value, at)]
        if not 0 < len(value) <= MOST_ANSWERS:
            self.fault(at, "range", f"must have 1 to {MOST_ANSWERS} entries")
        return [(item, (*at, index)) for index, item in enumerate(value)]

    def map_at(self, parent: Mapping[str, JSON], at: Keys, key: str) -> Mapping[str, JSON]:
        value = parent.get(key)
        if isinstance(value, dict):
            return value
        if value is not None:
            self.fault((*at, key), "type", "must be a map")
        return {}

    def text_at(self, parent: Mapping[str, JSON], at: Keys, key: str) -> str | None:
        value = parent.get(key)
        if value is not None and not isinstance(value, str):
            self.fault((*at, key), "type", "must be text")
            return None
        return value

    def duration_at(self, parent: Mapping[str, JSON], at: Keys, key: str) -> float | None:
        value = parent.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.fault((*at, key), "type", "must be a duration", DURATION_HINT)
            return None
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fault((*at, key), "duration", str(error))
            return None

    def moment_at(self, parent: Mapping[str, JSON], at: Keys, key: str) -> datetime:
        value = parent.get(key)
        if value is None:
            return NOW
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else None
            # Years below 9000 leave time for long delays before the calendar ends.
            if moment is not None and moment.tzinfo is not None and 1 < moment.year < 9000:
                return moment.astimezone(UTC)
        except ValueError:
            pass
        self.fault((*at, key), "moment", "must be a moment with its time zone", "such as 2027-01-31T08:00:00Z")
        return NOW

    def known_keys(self, value: Mapping[str, JSON], at: Keys, known: tuple[str, ...]) -> None:
        for key in value:
            if key not in known and not key.startswith("x-"):
                hint = self.suggestions.did_you_mean(key, known) or f"known keys: {', '.join(known)}, x-…"
                self.fault((*at, key), "unknown_key", f"unknown key '{short(key)}'", hint, is_of_key=True)

    def fault(self, keys: Keys, code: str, message: str, hint: str | None = None, *, is_of_key: bool = False) -> None:
        self.faults.append(FoundFault(keys=keys, code=code, message=message, hint=hint, is_of_key=is_of_key))

    def warn(self, keys: Keys, code: str, message: str, hint: str | None = None, *, is_of_key: bool = False) -> None:
        self.faults.append(
            FoundFault(keys=keys, code=code, message=message, hint=hint, is_of_key=is_of_key, is_warning=True)
        )


def short(text: str) -> str:
    return text[:60]
