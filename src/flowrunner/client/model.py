"""The base of typed answers: JSON objects whose members are attributes."""

import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from flowrunner.client.errors import UnreadableAnswer

Decode: TypeAlias = Callable[[Any], Any]
# The members that say which object it is. Others may be secret or long.
_SHOWN: Final = ("id", "execution_id", "key", "name", "number", "type", "status", "state", "message")
# By model, made when the first answer of it is read.
_DECODERS: "Final[dict[type[Model], Mapping[str, Decode]]]" = {}


class Model:
    """A JSON object of the API.

    Members are decoded when they are read; absent ones are None. Those that this version does not know are in ``raw``.

    Attributes:
        raw: The object as the server sent it.
        etag: The state of the object, for `if_match`, if the answer had one.
    """

    # These are no dataclasses: each of them costs a millisecond at import, and there are a hundred.
    def __init__(self, raw: Mapping[str, Any], etag: str | None = None) -> None:
        self.raw = raw
        self.etag = etag

    @classmethod
    def of(cls, value: Any, *, etag: str | None = None) -> Self:
        """Return the object that a JSON value is. Raises: UnreadableAnswer."""
        if not isinstance(value, dict):
            raise UnreadableAnswer(f"The answer has no {cls.__name__} where it should")
        return cls(value, etag)

    # To a type checker, a member that is not declared must be a fault.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            decode = _decoders(type(self)).get(name)
            if decode is None:
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
            value = self.raw.get(wire_name(name))
            try:
                decoded = None if value is None else decode(value)
            except (ValueError, TypeError, AttributeError):
                raise UnreadableAnswer(f"{name} of {type(self).__name__} has another type than it should") from None
            self.__dict__[name] = decoded
            return decoded

    def __getitem__(self, name: str) -> Any:
        return self.raw[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a member as the server sent it."""
        return self.raw.get(name, default)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self.raw[name]!r}" for name in _SHOWN if isinstance(self.raw.get(name), str | int))
        return f"{type(self).__name__}({shown})"


def wire_name(name: str) -> str:
    """Return the name in JSON of a name in Python, where it may be a keyword: `from_` is `from`."""
    return name.removesuffix("_")


def _decoders(model: type[Model]) -> Mapping[str, Decode]:
    if model not in _DECODERS:
        _DECODERS[model] = {name: _decoder(hint) for name, hint in typing.get_type_hints(model).items()}
    return _DECODERS[model]


def _decoder(hint: Any) -> Decode:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Model):
        return hint.of
    if hint is datetime:
        return datetime.fromisoformat
    if origin in (typing.Union, UnionType):
        (decode, *others) = [_decoder(part) for part in arguments if part is not NoneType]
        # A member that is an object or a text is left as it is.
        return _same if others else decode
    if origin is list:
        decode_entry = _decoder(arguments[0])
        return _same if decode_entry is _same else lambda value: [decode_entry(entry) for entry in value]
    if origin is dict:
        decode_value = _decoder(arguments[1])
        return _same if decode_value is _same else lambda value: {k: decode_value(v) for k, v in value.items()}
    return _same


def _same(value: Any) -> Any:
    return value
