"""Dumps of a PostgreSQL database by PostgreSQL's own programs."""

import asyncio
import os
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flowrunner.domain.errors import FlowRunnerError


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
        path, *to, *arguments, env=environment, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise FlowRunnerError(f"{program} has failed: {said.decode(errors='replace').strip()}")
