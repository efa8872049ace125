"""Runs the command in a process of its own."""

import os
import pty
import subprocess
import termios
from collections.abc import Mapping
from pathlib import Path

from support.preloaded import forked_command, run_forked
from support.server import clean_environment

PATIENCE_SECONDS = 60.0


def flowrunner(
    *arguments: str | Path, at: Path, stdin: str | bytes | None = None, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the command in the directory ``at``.

    Its modules have been imported before; `test_startup` tests what a command imports.
    """
    return run_forked(
        ["-m", "flowrunner", *map(str, arguments)],
        cwd=at, env=_environment(at, environment), timeout=PATIENCE_SECONDS,
        input=stdin.encode() if isinstance(stdin, str) else stdin or b"",
    )  # fmt: skip


def start_flowrunner(
    *arguments: str | Path, at: Path, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Start the command with its outputs as pipes. It gets the signals that are sent to the process."""
    command = forked_command()
    return subprocess.Popen(
        [command.path, *map(str, arguments)], pass_fds=[command.descriptor], cwd=at,
        env=_environment(at, environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def on_a_terminal(
    *arguments: str | Path, at: Path, environment: Mapping[str, str] | None = None, columns: int = 0,
    redirected: bool = False,
) -> str:  # fmt: skip
    """Run the command on a terminal; return what it shows: both outputs, or the standard error if ``redirected``."""
    command = forked_command()
    ours, theirs = pty.openpty()
    if columns:
        termios.tcsetwinsize(theirs, (24, columns))
    try:
        process = subprocess.Popen(
            [command.path, *map(str, arguments)], pass_fds=[command.descriptor],
            cwd=at, env=_environment(at, {"TERM": "xterm", **(environment or {})}),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL if redirected else theirs, stderr=theirs,
        )  # fmt: skip
    finally:
        os.close(theirs)
    seen = b""
    try:
        # The end of the other side is an error here, not an empty read.
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:
        pass
    finally:
        os.close(ours)
        process.wait(PATIENCE_SECONDS)
    return seen.decode()


def _environment(home: Path, more: Mapping[str, str] | None) -> dict[str, str]:
    environment = clean_environment(HOME=str(home))
    for name in ("NO_COLOR", "FORCE_COLOR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    return {**environment, **(more or {})}
