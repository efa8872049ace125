"""Which cases are played how, and how one of them is."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import pytest
from msgspec import UNSET

from flowrunner.ports import Sandbox
from language.backend import Backend
from language.case import Case, all_cases
from language.stage import stage

# What makes an execution come to rest before it ends; a crash at any other moment is for other tests.
_RESTS: Final = re.compile(r"delay|wait|approval|retry|timeout|limits|type: flow")


@dataclass(frozen=True, slots=True)
class Play:
    """A case, as it is or with a crash whenever nothing goes on by itself."""

    name: str
    case: Case
    crashes_at_rest: bool

    @property
    def chapter(self) -> str:
        """The directory of its rule."""
        return self.name.partition("/")[0]

    @property
    def starts(self) -> bool:
        """Whether there is an execution in it."""
        return self.case.expect.refused is UNSET and self.case.expect.not_started is UNSET


PLAYS: Final[Sequence[Play]] = [
    Play(found.name + (", crashing" if crashes else ""), found.case, crashes)
    for found in all_cases()
    for crashes in (False, True)
    if not crashes or _RESTS.search(str(found.case.flow))
]


def each_of(plays: Iterable[Play]) -> pytest.MarkDecorator:
    """Has a test called with each play as `play`."""
    return pytest.mark.parametrize("play", [pytest.param(play, id=play.name) for play in plays])


def one_of_each_chapter(plays: Iterable[Play]) -> Sequence[Play]:
    """One that starts something; neither the first nor the last, and the same one however many come and go."""
    return _one_of_each(plays, lambda play: play.chapter)


def one_of_each_rule(plays: Iterable[Play]) -> Sequence[Play]:
    """One that starts something, chosen likewise: a crashing one of some rules."""
    return _one_of_each(plays, lambda play: play.case.rule)


def _one_of_each(plays: Iterable[Play], group: Callable[[Play], str]) -> Sequence[Play]:
    chosen: dict[str, Play] = {}
    for play in sorted(plays, key=lambda play: crc32(play.name.encode())):
        if play.starts:
            chosen.setdefault(group(play), play)
    return list(chosen.values())


async def faults_of(play: Play, backend: Backend, sandbox: Sandbox) -> str:
    """What was seen in a play that its rule says otherwise; nothing if the rule holds."""
    async with stage(backend, sandbox, play.case, crashes_at_rest=play.crashes_at_rest) as opened:
        await opened.play()
        return "\n".join([play.case.rule, *opened.faults]) if opened.faults else ""
