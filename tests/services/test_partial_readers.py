"""Readers of a part of what is stored: they find in it what the readers of the whole find."""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from datetime import datetime
from typing import Any, Final, get_type_hints

import msgspec
import pytest

from flowrunner import services, storage
from flowrunner.domain.events import EVENT_TYPES, Logged
from flowrunner.domain.values import rfc3339
from flowrunner.domain.waits import ApprovalWait
from flowrunner.ports.event_codec import COMPACT_DEFAULTS, PartialDecoder, decode_event, encode_event, stored_type
from flowrunner.services.approvals import _approvals_in
from support.values import Maker

SEEDS: Final = range(8)


def decoders() -> Iterator[Any]:
    for package in (services, storage):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, PartialDecoder):
                    for type, kind in EVENT_TYPES.items():
                        # Events that are no lines have no use for the fields of lines.
                        if name != "_LINE" or kind is Logged:
                            yield pytest.param(value, kind, id=f"{module.name}.{name} {type}")


def least(kind: Any) -> Any:
    """Return an event of which nothing is stored that can be left out."""
    defaults = {part.name: part.default for part in fields(kind) if part.default is not MISSING and part.init}
    defaults |= {name: value for name, value in COMPACT_DEFAULTS.items() if name in get_type_hints(kind)}
    return replace(Maker(0).made(kind), **defaults)


def plain(value: Any) -> Any:
    """Return a value in the form in which it is compared: of JSON, of a struct or of an event."""
    match value:
        case msgspec.Raw():
            return msgspec.json.decode(value) if bytes(value) else None
        case datetime():
            return rfc3339(value)
        case dict():
            return {key: plain(one) for key, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
        case _:
            return value


@pytest.mark.parametrize(("decoder", "kind"), list(decoders()))
def test_a_part_of_an_event_is_what_the_whole_event_has(decoder: PartialDecoder[Any], kind: Any) -> None:
    hints = get_type_hints(kind)
    for event in (least(kind), *(Maker(seed).made(kind) for seed in SEEDS)):
        type, data = stored_type(event), encode_event(event)

        whole, part = decode_event(type, data), decoder.decode(type, data)

        for field in msgspec.structs.fields(part):
            if field.name in hints:
                found, expected = getattr(part, field.name), getattr(whole, field.name)
                if isinstance(found, msgspec.Struct):
                    pairs = [(getattr(found, name), getattr(expected, name)) for name in found.__struct_fields__]
                else:
                    pairs = [(found, expected)]
                for one, other in pairs:
                    # What an event need not have is left empty in the part.
                    assert plain(one) == plain(other) or (other is None and one == field.default), field.name


def test_an_approval_in_a_list_needs_what_its_wait_says() -> None:
    for seed in SEEDS:
        wait: ApprovalWait = Maker(seed).made(ApprovalWait)
        stored = {"node": "n", "step": "n.1", **wait.describe()}

        (found,) = _approvals_in(msgspec.json.encode([{"type": "retry"}, stored]))

        for name in ("prompt", "roles", "members", "count", "needed"):
            assert plain(getattr(found.wait, name)) == plain(getattr(wait, name)), name
        assert (found.link, msgspec.json.decode(found.form)) == (wait.link, wait.form)
