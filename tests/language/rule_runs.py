"""Runs of the cases, each with and without crashes."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import pytest
from msgspec import UNSET

from flowrunner.ports.sandbox import Sandbox
from language.backend import Backend
from language.case import Case, all_cases
from language.rule_runner import rule_runner

# Flows whose executions pause before they end. Crashes at other moments are for other tests.
_RESTS: Final = re.compile(r"delay|wait|approval|retry|timeout|limits|type: flow")


@dataclass(frozen=True, slots=True)
class RuleRun:
    """Run of a case, as it is or with a crash at each pause."""

    name: str
    case: Case
    crashes_at_rest: bool

    @property
    def directory(self) -> str:
        """Return the directory of the rule."""
        return self.name.partition("/")[0]

    @property
    def starts(self) -> bool:
        """Return whether the case starts an execution."""
        return self.case.expect.refused is UNSET and self.case.expect.not_started is UNSET


RULE_RUNS: Final[Sequence[RuleRun]] = [
    RuleRun(found.name + (", crashing" if crashes else ""), found.case, crashes)
    for found in all_cases()
    for crashes in (False, True)
    if not crashes or _RESTS.search(str(found.case.flow))
]


def each_of(runs: Iterable[RuleRun]) -> pytest.MarkDecorator:
    """Parametrize a test with each run as `run`."""
    return pytest.mark.parametrize("run", [pytest.param(run, id=run.name) for run in runs])


def one_of_each_directory(runs: Iterable[RuleRun]) -> Sequence[RuleRun]:
    """Return one run that starts an execution of each directory. The choice is stable when cases are added."""
    return _one_of_each(runs, lambda run: run.directory)


def one_of_each_rule(runs: Iterable[RuleRun]) -> Sequence[RuleRun]:
    """Return one run that starts an execution of each rule, for some rules a crashing one."""
    return _one_of_each(runs, lambda run: run.case.rule)


def _one_of_each(runs: Iterable[RuleRun], group: Callable[[RuleRun], str]) -> Sequence[RuleRun]:
    chosen: dict[str, RuleRun] = {}
    for run in sorted(runs, key=lambda run: crc32(run.name.encode())):
        if run.starts:
            chosen.setdefault(group(run), run)
    return list(chosen.values())


async def faults_of(run: RuleRun, backend: Backend, sandbox: Sandbox) -> str:
    """Return the differences from the rule, or an empty text if the rule holds."""
    async with rule_runner(backend, sandbox, run.case, crashes_at_rest=run.crashes_at_rest) as opened:
        await opened.run()
        return "\n".join([run.case.rule, *opened.faults]) if opened.faults else ""
