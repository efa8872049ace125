"""Dumps of a PostgreSQL database by PostgreSQL's own programs."""

import asyncio
import ctypes
import os
import re
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import unquote, unquote_plus, urlsplit

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.storage.postgres.connections import CONNECT_SECONDS, connected

CURRENT_SCHEMA: Final = "SELECT current_schema()"
# A line of a dump's table of contents: number, two ids, kind, schema, name, owner.
_IN_SCHEMA: Final = re.compile(r"^\d+; \d+ \d+ TABLE (?!DATA )(.+) alembic_version ", re.MULTILINE)
# From <linux/prctl.h>.
_PR_SET_PDEATHSIG: Final = 1


async def dump(url: str, target: Path) -> None:
    """Write a consistent dump of the database, also while servers use it. Raises: FlowRunnerError."""
    # Other schemas are none of the installation's, and the role may not be allowed to read them. It may have another
    # client encoding, which has no form of some texts.
    schema = '"' + (await _schema_at(url)).replace('"', '""') + '"'
    await _run("pg_dump", url, "--format", "custom", "--encoding", "UTF8", "--schema", schema, "--file", str(target))
    await check_dump(target)


async def check_dump(path: Path) -> None:
    """Raise FlowRunnerError if the table of contents of a dump cannot be read."""
    await _contents(path)


async def check_schema(url: str, path: Path) -> None:
    """Raise FlowRunnerError if a dump is that of another schema than the role of the URL uses.

    Its tables would be made where no server looks for them.
    """
    found, schema = _IN_SCHEMA.search(await _contents(path)), await _schema_at(url)
    if found is not None and found[1] != schema:
        raise FlowRunnerError(
            f"The backup is that of a schema named '{found[1]}', and this role uses '{schema}': create the schema, "
            f"and let the role use it (ALTER ROLE … SET search_path = {found[1]})"
        )


async def load(url: str, source: Path) -> None:
    """Restore a dump into an empty database, completely or not at all. Raises: FlowRunnerError."""
    # The schema itself is there. Roles that were granted something may be missing here.
    await _run(
        "pg_restore", url, "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction",
        "--schema", await _schema_at(url), str(source),
    )  # fmt: skip


async def _contents(path: Path) -> str:
    return await _run("pg_restore", None, "--list", str(path))


async def _schema_at(url: str) -> str:
    """Return the schema that the role of the URL uses. Raises: FlowRunnerError."""
    async with connected(url, statement_seconds=CONNECT_SECONDS) as connection:
        return str(await connection.fetchval(CURRENT_SCHEMA))


async def _run(program: str, url: str | None, *arguments: str) -> str:
    """Return what the program writes to its standard output."""
    path = shutil.which(program)
    if path is None:
        raise FlowRunnerError(
            f"{program} is needed for a PostgreSQL database, and is not installed: "
            "on Debian and Ubuntu, apt install postgresql-client"
        )
    environment, to = dict(os.environ), list[str]()
    if url is not None:
        # Every user of the machine can read arguments.
        shown, password = without_password(url)
        to = ["--dbname", shown]
        if password:
            environment["PGPASSWORD"] = password
    process = await asyncio.create_subprocess_exec(
        path, *to, *arguments, env=environment, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, preexec_fn=_ending_with_this_process(),
    )  # fmt: skip
    try:
        out, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise FlowRunnerError(f"{program} has failed: {said.decode(errors='replace').strip()}")
    return out.decode(errors="replace")


def without_password(url: str) -> tuple[str, str]:
    """Return the URL without the password, and the password; empty if there is none.

    It stands before the host, or among the parameters, where the last one counts if none stands before the host.

    Raises: FlowRunnerError, if the URL has the passphrase of a key.
    """
    parts = urlsplit(url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    host = parts.netloc.rpartition("@")[2]
    others, last = [], ""
    for parameter in parts.query.split("&"):
        name, _, value = parameter.partition("=")
        if unquote_plus(name) == "sslpassword":
            # No variable of the environment holds it.
            raise FlowRunnerError(
                "The URL of the database has the passphrase of a key (sslpassword), which PostgreSQL's programs could "
                "only be given where every user of the machine can read it: use a key without a passphrase, in a file "
                "that only your user can read"
            )
        if unquote_plus(name) == "password":
            last = unquote_plus(value)
        else:
            others.append(parameter)
    shown = parts._replace(netloc=f"{user}@{host}" if user else host, query="&".join(others))
    return shown.geturl(), unquote(password) or last


def _ending_with_this_process() -> Callable[[], object] | None:
    """Return what has Linux kill a new process when this one is killed; elsewhere it goes on alone.

    A restoration would otherwise go on beside a repeated one, which then fails.
    """
    # Looked up before the fork.
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    return None if prctl is None else partial(prctl, _PR_SET_PDEATHSIG, signal.SIGKILL)
