"""The command as people call it: a process of its own."""

import subprocess
import sys
from pathlib import Path

from support.server import clean_environment


def flowrunner(
    *arguments: str, at: Path, stdin: str | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "flowrunner", *arguments],
        cwd=at, env=clean_environment(HOME=str(at), **environment), input=stdin, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
