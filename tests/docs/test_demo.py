"""The output of `make demo`, and its failure when a result is wrong."""

import shutil
import subprocess
import sys
from pathlib import Path

from docs.pages import ROOT
from support.server import clean_environment


def run_demo(directory: Path, temporary: Path) -> subprocess.CompletedProcess[str]:
    temporary.mkdir()
    return subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=directory,
        env=clean_environment(TMPDIR=str(temporary)),
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def test_the_demo_runs_flows_and_leaves_nothing(tmp_path: Path) -> None:
    done = run_demo(ROOT, tmp_path / "temporary")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("execution_completed") == 2
    assert "Idempotency-Key: exec-" in done.stdout
    assert "Hello, Ada!" in done.stdout
    assert "Hello, the clock!" in done.stdout
    assert "\x1b" not in done.stdout
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_demo_fails_when_a_result_is_another_one(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "demo", tmp_path / "demo")
    flow = tmp_path / "demo" / "order.yaml"
    text = flow.read_text()
    flow.write_text(text.replace(" ordered ", " bought "))
    assert flow.read_text() != text

    done = run_demo(tmp_path, tmp_path / "temporary")

    assert done.returncode == 1
    assert "The demo failed. The result is another one" in done.stderr
    assert "Ada bought 2 things" in done.stderr
    assert list((tmp_path / "temporary").iterdir()) == []
