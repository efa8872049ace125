"""Dumps of a PostgreSQL database by PostgreSQL's own programs."""

import asyncio
import ctypes
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from flowrunner.domain.errors import FlowRunnerError

# From <linux/prctl.h>.
_PR_SET_PDEATHSIG: Final = 1


async def dump(url: str, target: Path) -> None:
    """Write a consistent dump of the database, also while servers use it. Raises: FlowRunnerError."""
    await _run("pg_dump", url, "--format", "custom", "--file", str(target))
    await check_dump(target)


async def check_dump(path: Path) -> None:
    """Raise FlowRunnerError if the table of contents of a dump cannot be read."""
    await _run("pg_restore", None, "--list", "--file", os.devnull, str(path))


async def load(url: str, source: Path) -> None:
    """Restore a dump into an empty database, completely or not at all. Raises: FlowRunnerError."""
    await _run("pg_restore", url, "--no-owner", "--exit-on-error", "--single-transaction", str(source))


async def _run(program: str, url: str | None, *arguments: str) -> None:
    path = shutil.which(program)
    if path is None:
        raise FlowRunnerError(
            f"{program} is needed for a PostgreSQL database, and is not installed: "
            "on Debian and Ubuntu, apt install postgresql-client"
        )
    environment, to = dict(os.environ), list[str]()
    if url is not None:
        parts = urlsplit(url)
        # Every user of the machine can read arguments.
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        host = parts.netloc.rpartition("@")[2]
        to = ["--dbname", parts._replace(netloc=f"{user}@{host}" if user else host).geturl()]
        if password:
            environment["PGPASSWORD"] = unquote(password)
    process = await asyncio.create_subprocess_exec(
        path, *to, *arguments, env=environment, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        preexec_fn=_ending_with_this_process(),
    )  # fmt: skip
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise FlowRunnerError(f"{program} has failed: {said.decode(errors='replace').strip()}")


def _ending_with_this_process() -> Callable[[], object] | None:
    """Return what has Linux kill a new process when this one is killed; elsewhere it goes on alone.

    A restoration would otherwise go on beside a repeated one, which then fails.
    """
    # Looked up before the fork.
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    return None if prctl is None else partial(prctl, _PR_SET_PDEATHSIG, signal.SIGKILL)
