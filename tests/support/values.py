"""Values of any type for tests, of which no two are equal."""

import itertools
import random
import types
import typing
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from flowrunner.domain.values import JSON

# Stored JSON that has a form of its own.
FORMS: Final[Mapping[str, Callable[[int], bytes]]] = {
    "log_counts": lambda n: msgspec.json.encode({"debug": n, "info": n + 1, "warn": n + 2, "error": n + 3}),
    "labels": lambda n: msgspec.json.encode({f"label-{n}": str(n)}),
    "waiting_at": lambda n: msgspec.json.encode({"type": f"type-{n}", "node": f"node-{n}"}),
    "waiting_for": lambda n: msgspec.json.encode([{"type": f"type-{n}", "node": f"node-{n}"}]),
    "failure": lambda n: msgspec.json.encode(
        {
            "error": {"type": f"type-{n}", "message": f"message-{n}", "node": f"node-{n}", "data": n},
            "step": f"step-{n}",
            "attempt": n + 1,
            "input": n + 2,
        }
    ),
}


class Maker:
    """A maker of values, of which no two are equal."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._numbers = itertools.count(2)

    def value(self, kind: Any, name: str) -> Any:
        """Return a value of a type for a part of this name."""
        origin, arguments = get_origin(kind), get_args(kind)
        if hasattr(kind, "__supertype__"):
            return self.value(kind.__supertype__, name)
        if origin is typing.Annotated:
            return self.value(arguments[0], name)
        if origin is Literal:
            return self._random.choice(arguments)
        if origin in (types.UnionType, typing.Union):
            if kind == JSON:
                return self.value(Any, name)
            return self.value(self._random.choice(arguments), name)
        if origin is tuple and Ellipsis not in arguments:
            return tuple(self.value(argument, name) for argument in arguments)
        if origin in (list, tuple, Sequence, Collection, frozenset, set):
            return tuple(self.value(arguments[0], name) for _ in range(self._random.randint(1, 2)))
        if origin is Counter:
            return Counter[Any]({self.value(arguments[0], name): self.value(int, name)})
        if origin in (dict, Mapping):
            return {self.value(arguments[0], name): self.value(arguments[1], name)}
        if kind is Any and name == "error":
            return {part: f"{part}-{next(self._numbers)}" for part in ("type", "message", "node", "data")}
        if kind is Any:
            return {f"{name}-{next(self._numbers)}": next(self._numbers)}
        if parts(kind) is not None:
            return self.made(kind)
        return self._simple(kind, name)

    def _simple(self, kind: Any, name: str) -> Any:
        if issubclass(kind, Enum):
            return self._random.choice(list(kind))
        number = next(self._numbers)
        simple: dict[Any, Callable[[], object]] = {
            type(None): lambda: None,
            str: lambda: f"{name}-{number}",
            bytes: lambda: FORMS[name](number) if name in FORMS else msgspec.json.encode(number),
            bool: lambda: self._random.random() < 0.5,
            int: lambda: number,
            float: lambda: float(number),
            timedelta: lambda: timedelta(seconds=number),
            datetime: lambda: datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=number * number),
        }
        return simple[kind]()

    def made(self, kind: Any) -> Any:
        hints = typing.get_type_hints(kind)
        given = [part.name for part in fields(kind) if part.init] if is_dataclass(kind) else parts(kind) or ()
        return kind(**{name: self.value(hints[name], name) for name in given})


def parts(kind: Any) -> Sequence[str] | None:
    """Return the names of the parts of a value or a type; None if it has none."""
    if is_dataclass(kind):
        return [part.name for part in fields(kind)]
    named: Sequence[str] | None = getattr(kind, "_fields", None) or getattr(kind, "__struct_fields__", None)
    return named
