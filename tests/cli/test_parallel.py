"""The run of tests in several processes: each test once, and nothing that fails is lost."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_TESTS = Path(__file__).parents[1]
_SOME = """
import os, signal, subprocess
import pytest

def test_passes(tmp_path): (tmp_path / "made").touch()

def test_fails():
    print("printed by it")
    assert 1 == 2

def test_ends_its_process(): os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.parametrize("number", range(3))
def test_comes_after_that(number): pass

def test_is_skipped(): pytest.skip("for a reason")

@pytest.fixture
def broken(): raise ValueError("in the fixture")

def test_cannot_begin(broken): pass
"""
_LASTING = """
import pytest

@pytest.fixture(scope="session", autouse=True)
def lasting(pytestconfig):
    with (pytestconfig.rootpath / "made").open("a") as made:
        made.write("once\\n")
"""
_OTHERS = """
import subprocess
attempts = 0

def test_captures(capfd):
    subprocess.run(["echo", "said"], check=True)
    assert capfd.readouterr().out == "said\\n"

def test_passes_at_last():
    global attempts
    attempts += 1
    assert attempts == 2
"""


def test_each_test_is_run_once_and_reported(tmp_path: Path) -> None:
    files = {"conftest.py": _LASTING, "test_some.py": _SOME, **{f"test_other_{n}.py": _OTHERS for n in range(9)}}

    written = _written_by(tmp_path, files, "--reruns=1")

    assert "2 failed, 22 passed, 1 skipped, 1 error, 11 rerun" in written
    assert "printed by it" in written
    assert "the process of this test has ended with -9" in written
    assert "ValueError: in the fixture" in written
    # By each process, and by the one that goes on where another has ended.
    assert (tmp_path / "made").read_text().count("once") <= 4


def test_no_test_begins_after_as_many_failures_as_are_wanted(tmp_path: Path) -> None:
    many = "import time\n" + "".join(f"def test_{n}(): time.sleep(0.05)\n" for n in range(400))

    written = _written_by(tmp_path, {"test_failing.py": "def test_it(): assert False", "test_many.py": many}, "-x")

    assert "stopping after 1 failures" in written
    passed = re.search(r"(\d+) passed", written)
    assert passed is None or int(passed[1]) < 400


def _written_by(directory: Path, files: Mapping[str, str], *options: str) -> str:
    for name, text in files.items():
        (directory / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "support.parallel"]
    ended = subprocess.run(
        [*command, "-q", "--numprocesses", "3", f"--rootdir={directory}", *options, str(directory)],
        env={**os.environ, "PYTHONPATH": str(_TESTS)}, cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    return ended.stdout
