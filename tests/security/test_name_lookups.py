"""Lookups of names for flows: each gives its slot back, however it ends."""

import asyncio
import errno
import socket
import threading
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.values import WorkspaceId
from flowrunner.security import egress_connections, name_lookups
from flowrunner.security.egress_policy import EgressForbidden, EgressPolicy
from flowrunner.security.name_lookups import NameUnanswered, WorkspaceResolver, lookup_slots
from flowrunner.security.open_files import ATTEMPTS

MARA: Final = WorkspaceId("mara")
# The ends of a lookup, each with what its caller sees.
ENDS: Final[dict[str, type[BaseException] | None]] = {
    "answered": None,
    "closed": EgressForbidden,
    "unknown": socket.gaierror,
    "without an address": NameUnanswered,
    "no thread": NameUnanswered,
    "given up": asyncio.CancelledError,
    "late": NameUnanswered,
}


class Lookup:
    """The thread of a lookup, which runs at once, later or never."""

    end = "answered"
    late: Final[list[Any]] = []

    def __init__(self, *, target: Any, **_: object) -> None:
        self._target = target

    def start(self) -> None:
        if self.end == "no thread":
            raise RuntimeError("can't start new thread")
        if self.end in ("late", "given up"):
            self.late.append(self._target)
        else:
            self._target()


def addresses(host: str, port: int, family: int) -> list[Any]:
    if Lookup.end == "unknown":
        raise socket.gaierror(socket.EAI_NONAME, "unknown")
    if Lookup.end == "without an address":
        return []
    return [{"host": "10.0.0.1" if Lookup.end == "closed" else "93.184.216.34"}] * 20


async def play(ends: list[str], patch: pytest.MonkeyPatch) -> None:
    slots = lookup_slots()
    resolver = WorkspaceResolver(EgressPolicy(), slots, MARA)
    for end in ends:
        Lookup.end = end
        patch.setattr(name_lookups, "LOOKUP_SECONDS", 0.0 if end == "late" else 60.0)
        looking = asyncio.ensure_future(resolver.resolve("example.com", 443))
        if end == "given up":
            await asyncio.sleep(0)
            looking.cancel()
        seen: Any
        (seen,) = await asyncio.gather(looking, return_exceptions=True)
        expected = ENDS[end]
        if expected is None:
            assert len(seen) == 8
        else:
            assert isinstance(seen, expected), seen
        # One that nobody waits for any more holds its slot until its thread ends.
        assert slots.held(MARA) == len(Lookup.late)
        while Lookup.late:
            Lookup.late.pop()()
        await asyncio.sleep(0)
        assert slots.held(MARA) == 0


@given(st.lists(st.sampled_from(tuple(ENDS)), max_size=12))
def test_a_lookup_gives_its_slot_back_however_it_ends(ends: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "Thread", Lookup)
        patch.setattr(name_lookups, "addresses_of", addresses)
        asyncio.run(play(ends, patch))


@pytest.mark.parametrize(("number", "times"), [(errno.EMFILE, ATTEMPTS), (errno.ECONNREFUSED, 1)])
async def test_a_lookup_without_a_free_file_is_tried_again_a_few_times(
    monkeypatch: pytest.MonkeyPatch, number: int, times: int
) -> None:
    asked: list[str] = []

    class Failing:
        async def resolve(self, host: str, *_: object) -> list[Any]:
            asked.append(host)
            if len(asked) > ATTEMPTS:
                raise AssertionError("it does not end")
            raise OSError(number, "no")

    monkeypatch.setattr(egress_connections, "PAUSE_SECONDS", 0)
    resolver: Any = Failing()

    with pytest.raises(OSError, match="no"):
        await egress_connections._looked_up(resolver, "db.example.com", 5432)

    assert len(asked) == times
