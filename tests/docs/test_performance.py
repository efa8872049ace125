"""The table of what a step costs, and the judge that compares later measurements with it."""

from typing import Any

import pytest
from bench import kept, report

PAGE = "<!-- bench -->\n| old | 1 | |\n<!-- /bench -->\n\n<!-- steps -->\nnothing yet\n<!-- /steps -->\nend\n"
STORED = {
    "written_bytes": 3000.0, "all_bytes": 4800.0, "events_bytes": 3500.0, "executions_bytes": 258.0,
    "executions_index_bytes": 600.0, "audit_bytes": 420.0,
}  # fmt: skip
Rounds = dict[str, list[dict[str, Any]]]


def rounds(*, machine: float = 1.0, **changed: float) -> Rounds:
    """Return what two rounds have measured on a machine that takes so many times as long."""
    of_steps = {"cpu_ms": 0.6, **STORED} | changed
    one = {
        "limit": {"per_second": 8000 / machine, "cpu_ms": 0.1 * machine},
        "noop-2": {"per_second": 3000 / machine},
        "noop-10": {"per_second": 700 / machine, "cpu_ms": 0.2 * machine},
        "step-costs": {**of_steps, "cpu_ms": of_steps["cpu_ms"] * machine, "executions": 1000},
    }
    return {name: [figures, figures] for name, figures in one.items()}


def verdicts(measured: Rounds, page: str) -> dict[str, bool | None]:
    """Return the verdicts by name; those of a ratio have the name of the row before it too."""
    found: dict[str, bool | None] = {}
    last = ""
    for row in report.rows(measured, kept.read(page)):
        last = last if row.name.startswith("  ") else row.name
        found[last if row.name == last else last + row.name] = row.is_met
    return found


OVER_REST = "a step of four over REST: two calls, `transform`, `switch`  times that of the bare loop"


def test_the_table_is_read_as_it_was_written() -> None:
    page = kept.replaced(PAGE, rounds(), "Measured at commit `abc`.")

    found = kept.read(page)
    assert found["kept of an execution of four such steps"] == kept.KeptCost(4800, None)
    assert found["a step of the bare loop, 2 no-op nodes"] == kept.KeptCost(0.1, None)
    assert found["a step of four over REST: two calls, `transform`, `switch`"] == kept.KeptCost(0.6, 6)
    assert page.startswith(PAGE[: PAGE.index("nothing yet")])
    assert "\n\nMeasured at commit `abc`.\n<!-- /steps -->\nend\n" in page
    assert kept.replaced(page, rounds(), "Measured at commit `abc`.") == page


@pytest.mark.parametrize("machine", [0.5, 1.0, 10.0])
def test_the_same_cost_is_met_on_any_machine(machine: float) -> None:
    page = kept.replaced(PAGE, rounds(), "")

    assert False not in verdicts(rounds(machine=machine), page).values()
    assert verdicts(rounds(machine=machine), page)[OVER_REST]


def test_a_slow_step_is_missed_on_any_machine() -> None:
    page = kept.replaced(PAGE, rounds(), "")

    assert verdicts(rounds(cpu_ms=0.74), page)[OVER_REST]
    for machine in (0.1, 1.0):
        slow = verdicts(rounds(cpu_ms=0.76, machine=machine), page)
        assert [name for name, is_met in slow.items() if is_met is False] == [OVER_REST]


def test_more_bytes_are_missed() -> None:
    page = kept.replaced(PAGE, rounds(), "")

    larger = verdicts(rounds(events_bytes=3700.0, all_bytes=5000.0), page)
    assert [name for name, is_met in larger.items() if is_met is False] == ["its events"]
    assert not verdicts(rounds(all_bytes=5050.0), page)["kept of an execution of four such steps"]


def test_a_slow_engine_is_missed_by_the_bare_loop_of_its_own_round() -> None:
    slow = rounds()
    slow["noop-2"] = [{"per_second": 1900}, {"per_second": 1900}]

    rows = {row.name: row for row in report.rows(slow)}
    share = rows["engine alone, 2 no-op nodes ÷ bare loop"]
    assert (share.is_met, share.as_json()["met"]) == (False, False)
    (line,) = [line for line in report.table(list(rows.values())).splitlines() if share.name in line]
    assert line.split("|")[4].strip() == "0.237"
    assert line.endswith("MISSED |")


def test_a_page_without_a_place_for_the_table_is_an_error() -> None:
    for use in (kept.read, lambda page: kept.replaced(page, rounds(), "")):
        with pytest.raises(ValueError, match="steps"):
            use("# Performance\n")


def test_the_published_table_has_every_cost() -> None:
    found = kept.read(kept.PAGE.read_text())

    assert list(found) == [cost.name for cost in kept.COSTS]
    assert [name for name, cost in found.items() if cost.times is not None] == [
        cost.name for cost in kept.COSTS if cost.is_time and cost is not kept.BARE
    ]
