"""What the attack tests have shown, as one table: `make security` prints it.

A test takes part in two ways, and neither needs more than what is described here:

- Its name carries the ids of the security requirements it attacks, right after `test`:
  `test_s31_closed_addresses_are_refused`, `test_s05_s06_forged_tokens_are_refused`. An id is met when
  at least one test carries it, and all that do have passed: a skipped one counts as failed.
- It asks for the fixture `scoreboard` and says how much it tried and how much of that went wrong:

      def test_s13_every_route_refuses_strangers(scoreboard: Scoreboard) -> None:
          ...
          scoreboard.count("authorisation matrix: answers that leak", cases=len(tried), failures=len(leaks))
          assert leaks == []

  Figures of one name add up, over the cases of a parametrised test and over tests. Count before the
  assertion, so that a failure is seen in the table too.

With `--scoreboard`, only such tests run, and the table follows the results.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pytest

REQUIREMENTS: Final = tuple(f"S{number:02}" for number in range(1, 77))
# Why a requirement has no test. The reason goes when the test comes.
NOT_YET: Final[Mapping[str, str]] = {}

_IDS: Final = re.compile(r"test((?:_s\d\d)+)(?:_|\[|$)")


@dataclass(slots=True)
class Figure:
    cases: int = 0
    failures: int = 0


@dataclass(slots=True)
class Scoreboard:
    figures: dict[str, Figure] = field(default_factory=lambda: defaultdict(Figure))
    # By requirement: the tests that carry its id, and whether each has passed.
    tests: dict[str, dict[str, bool]] = field(default_factory=lambda: defaultdict(dict))

    def count(self, name: str, *, cases: int, failures: int) -> None:
        """Add to a row of the table.

        Args:
            name: What a failure is: "egress: closed addresses reached".
        """
        figure = self.figures[name]
        figure.cases += cases
        figure.failures += failures

    def note(self, test: str, *, passed: bool) -> None:
        """Keep how a test, or one stage of it, has ended."""
        for id in ids_of(test.rpartition("::")[2]):
            self.tests[id][test] = passed and self.tests[id].get(test, True)

    def is_met(self, id: str) -> bool:
        tests = self.tests.get(id, {})
        return bool(tests) and all(tests.values())

    def table(self) -> str:
        """The figures, as a table of Markdown, and what is missing."""
        lines = ["| attack | cases | failures |", "| --- | ---: | ---: |"]
        lines += [f"| {name} | {f.cases:,} | {f.failures:,} |" for name, f in sorted(self.figures.items())]
        met = [id for id in REQUIREMENTS if self.is_met(id)]
        lines += ["", f"Requirements with tests that pass: {len(met)} of {len(REQUIREMENTS)}."]
        lines += [f"- {id}: {self._reason(id)}" for id in REQUIREMENTS if id not in met]
        return "\n".join(lines)

    def _reason(self, id: str) -> str:
        failed = sorted(test for test, passed in self.tests.get(id, {}).items() if not passed)
        if failed:
            return f"{len(failed)} of its tests failed or were skipped, among them {failed[0]}"
        return NOT_YET.get(id, "no test carries its id")


def ids_of(test: str) -> tuple[str, ...]:
    """The requirements that a test's name carries: `("S05", "S06")` of `test_s05_s06_forged_tokens`."""
    found = _IDS.match(test)
    return tuple(part.upper() for part in found[1].split("_")[1:]) if found else ()


_KEPT: Final = pytest.StashKey[Scoreboard]()


@pytest.fixture(scope="session")
def scoreboard(pytestconfig: pytest.Config) -> Scoreboard:
    """Where a test says what it tried and what went wrong: `scoreboard.count(name, cases=…, failures=…)`."""
    return pytestconfig.stash[_KEPT]


class _Recorder:
    def __init__(self, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._scoreboard.note(report.nodeid, passed=report.passed)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if terminalreporter.config.getoption("--scoreboard"):
            terminalreporter.section("scoreboard")
            terminalreporter.write_line(self._scoreboard.table())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scoreboard", action="store_true", help="run the attack tests, and print what they have shown")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_KEPT] = Scoreboard()
    config.pluginmanager.register(_Recorder(config.stash[_KEPT]))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--scoreboard"):
        return
    attacks = [item for item in items if ids_of(item.name) or "scoreboard" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(attacks)])
    items[:] = attacks
