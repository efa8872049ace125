"""Programs of Node.js packages, which a directory's lock file names, on the Node.js of the development dependencies."""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Generous: a first installation reads 120 MB from a disk that may be slow.
PATIENCE_SECONDS: Final = 280


def run_program(directory: Path, name: str, *arguments: str | Path, stdin: str | None = None) -> str:
    """Run a program of the packages of a directory, which are installed if they are not, and return what it prints.

    Raises:
        AssertionError: The program failed; the message has what it printed.
    """
    installed(directory)
    return run_command(directory, directory / "node_modules" / ".bin" / name, *arguments, stdin=stdin)


def installed(directory: Path) -> None:
    """Install the packages of a directory, unless they are."""
    with _alone(directory):
        _install(directory)


def run_command(directory: Path, *command: str | Path, stdin: str | None = None) -> str:
    """Run a command in a directory, and return what it prints. Raises: AssertionError, as `run_program`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "PATH": path, "NO_COLOR": "1"},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def _install(directory: Path) -> None:
    mark, lock = directory / "node_modules" / ".installed", (directory / "package-lock.json").read_text()
    # npm may leave half of it behind when it is stopped, so the mark is made last.
    if not mark.exists() or mark.read_text() != lock:
        run_command(directory, "npm", "ci", "--no-audit", "--no-fund")
        mark.write_text(lock)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    with (directory / "node_modules.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
