"""The scoreboard tells what happened, and not more."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from docs.pages import ROOT
from support.scoreboard import NOT_YET, REQUIREMENTS, Scoreboard, ids_of


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("test_s31_closed", ("S31",)), ("test_s05_s06_s07_forged", ("S05", "S06", "S07")), ("test_s30[x]", ("S30",)),
        ("test_s3_x", ()), ("test_s314_x", ()), ("test_secrets_s05_x", ()), ("test_some_s05", ()),
    ],
)  # fmt: skip
def test_a_name_carries_ids_right_after_test(name: str, ids: tuple[str, ...]) -> None:
    assert ids_of(name) == ids


def test_figures_of_one_name_add_up() -> None:
    board = Scoreboard()

    board.count("walls climbed", cases=1000, failures=0)
    board.count("walls climbed", cases=234, failures=2)

    assert "| walls climbed | 1,234 | 2 |" in board.table()


def test_a_requirement_is_met_when_all_its_tests_have_passed(tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text(
        dedent("""
        import pytest

        def test_s01_passes(scoreboard):
            scoreboard.count("doors opened", cases=7, failures=0)

        def test_s01_s02_passes_too(): pass

        def test_s02_fails(): assert False

        @pytest.mark.skip
        def test_s03_is_skipped(): pass

        @pytest.fixture
        def broken():
            yield
            raise ValueError

        def test_s04_fails_at_its_end(broken): pass

        def test_of_no_requirement(): assert False
        """)
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "support.scoreboard", "--scoreboard", str(tmp_path)],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "tests")}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 1, done.stdout
    assert "| doors opened | 7 | 0 |" in done.stdout
    assert "Requirements with tests that pass: 1 of 76." in done.stdout
    assert "- S01" not in done.stdout
    for id in ("S02", "S03", "S04"):
        assert f"- {id}: 1 of its tests failed or were skipped" in done.stdout
    assert "- S05: no test carries its id" in done.stdout
    assert "test_of_no_requirement" not in done.stdout


def test_a_requirement_has_tests_or_a_reason_and_not_both() -> None:
    named = re.findall(r"^ *(?:async )?def (test_s\d\d\w*)", "\n".join(_texts_of_tests()), re.MULTILINE)
    tested = {id for name in named for id in ids_of(name)}

    assert tested - set(REQUIREMENTS) == set()
    assert set(REQUIREMENTS) - tested == set(NOT_YET)


def _texts_of_tests() -> Iterator[str]:
    # Not this file: its samples have tests of their own.
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path != Path(__file__):
            yield path.read_text()
