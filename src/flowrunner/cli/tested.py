"""Results of the tests of a flow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from flowrunner.domain.counted import counted
from flowrunner.domain.errors import Fault
from flowrunner.domain.events import Logged
from flowrunner.flowtest.memory import GivenFlow
from flowrunner.flowtest.paths import Edge, edges_of
from flowrunner.flowtest.run_test import FlowTestResult
from flowrunner.language.flow_tests import FlowTest

# Limits for the output of a failed test.
_LOG_LINES = 10
_MOST_LINES = 200
_MOST_CHARACTERS = 500


@dataclass(slots=True)
class FlowTestReport:
    """Document with the results of its tests.

    Attributes:
        given: The flow; None if the document has faults.
    """

    file: str
    faults: Sequence[Fault]
    given: GivenFlow | None = None
    tests: Mapping[str, FlowTest] = field(default_factory=dict)
    results: list[FlowTestResult] = field(default_factory=list)
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_invalid(self) -> bool:
        return self.given is None

    @property
    def never_taken(self) -> Sequence[tuple[Edge, str]]:
        """Return the edges that no test has taken, with their targets."""
        if self.given is None:
            return ()
        seen = frozenset[Edge]().union(*(result.edges for result in self.results))
        return [(edge, target) for edge, target in edges_of(self.given.flow).items() if edge not in seen]


def results_of(tested: Sequence[FlowTestReport]) -> Sequence[FlowTestResult]:
    return [result for one in tested for result in one.results]


def explain(result: FlowTestResult) -> Sequence[str]:
    """Return the reasons why a test failed, as lines."""
    if result.has_passed:
        return ()
    lines = list(result.problems)
    for mismatch in result.mismatches:
        if len(mismatch.lines) == 1:
            lines.append(f"{mismatch.what}: {mismatch.lines[0]}")
        else:
            lines += [f"{mismatch.what}:", *mismatch.lines]
    if result.mismatches:
        lines.append(f"it ran: {', '.join((*result.trace.path, *result.trace.handlers)) or 'nothing'}")
        grave = [event for event in result.events if isinstance(event, Logged) and event.level in ("warn", "error")]
        if grave:
            lines.append("its log:")
            lines += [f"  {line.level} {line.node or ''}: {line.message}" for line in grave[-_LOG_LINES:]]
    lines = [_short(part) for line in lines for part in line.split("\n")]
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"… {counted(len(lines) - _MOST_LINES, 'more line')}"]
    return lines


def _short(line: str) -> str:
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}…"
