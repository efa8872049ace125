"""The repetition of failed tests: not those of pure code, and each is named in the summary."""

import shutil
import subprocess
import sys
from pathlib import Path

from docs.pages import ROOT

FAILS_ONCE = """
from pathlib import Path

def test_of_{name}():
    seen = Path(__file__).with_suffix(".seen")
    is_first = not seen.exists()
    seen.touch()
    assert not is_first
"""


def test_all_but_tests_of_pure_code_are_run_once_more_and_the_summary_names_them(tmp_path: Path) -> None:
    for name in ("scenarios", "domain"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"test_{name}.py").write_text(FAILS_ONCE.format(name=name))
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    run = (ROOT / ".ci" / "run").read_text()
    arguments = run.partition("make --no-print-directory test ARGS='")[2].partition("'")[0].split()

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *arguments, str(tmp_path)],
        cwd=ROOT / "tests", capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "1 failed, 1 passed, 1 rerun" in done.stdout
    assert "test_of_domain" in done.stdout
    assert "RERUN" in done.stdout
    (named,) = [line for line in done.stdout.splitlines() if line.startswith("RERUN ")]
    assert named.endswith("::test_of_scenarios")
