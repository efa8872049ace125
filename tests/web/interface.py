"""The sources of the web interface, and the Node.js that checks and builds them."""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
UI: Final = ROOT / "ui"
# Generous: a first installation reads 90 MB from a disk that may be slow.
PATIENCE_SECONDS: Final = 110


def run(*arguments: str | Path, stdin: str | None = None) -> str:
    """Run a program of `ui/`, installed by its lock file when it is not there yet, and return what it prints.

    Raises:
        AssertionError: The program failed; the message has what it printed.
    """
    with _alone():
        _install()
    return _run("npx", "--no-install", *arguments, stdin=stdin)


def _install() -> None:
    mark, lock = UI / "node_modules" / ".installed", (UI / "package-lock.json").read_text()
    # npm may leave half of it behind when it is stopped, so the mark is made last.
    if not mark.exists() or mark.read_text() != lock:
        _run("npm", "ci", "--no-audit", "--no-fund")
        mark.write_text(lock)


def _run(*command: str | Path, stdin: str | None = None) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=UI,
        env={**os.environ, "PATH": path, "NO_COLOR": "1"},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with (UI / "node_modules.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
