"""Runs of the tests in a flow document."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class MismatchView:
    """Difference between what a test expects and what happened."""

    what: str
    expected: Any
    actual: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowTestOutcome:
    """Result of one test.

    Attributes:
        path: Names of the flow's own nodes that ran, in order.
        handlers: Names of the handlers that ran.
        problems: Reasons why the test is not meaningful.
        explanation: Why it failed, as lines for people: the problems or mismatches, the nodes that ran, and the end of
            its log.
        virtual_seconds: Duration of the execution by its own clock, whose waits take no time.
    """

    name: str
    ok: bool
    status: str
    path: Sequence[str]
    handlers: Sequence[str]
    seconds: float
    virtual_seconds: float
    problems: Sequence[str]
    mismatches: Sequence[MismatchView]
    explanation: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class UntakenEdge:
    """Edge that no test has taken."""

    node: str
    action: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeCoverage:
    edges: int
    taken: int
    never: Sequence[UntakenEdge]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowTestRun:
    tests: Sequence[FlowTestOutcome]
    coverage: EdgeCoverage


class FlowTestRunner(Protocol):
    async def run(self, definition: str) -> FlowTestRun:
        """Run all tests of a valid document, offline.

        Raises:
            InvalidInput: If they take too long, or too much memory.
        """
        ...
