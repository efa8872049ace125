"""The HTTP clients: wrk, a process of its own, with a Lua script that reports as JSON."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from bench.processes import BenchFailed, Server

_SCRIPTS: Final = Path(__file__).parent / "scripts"
_GRACE_SECONDS: Final = 30.0


def missing() -> str | None:
    """Why wrk cannot be used, after trying to install it; None when it can."""
    if shutil.which("wrk"):
        return None
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "wrk"]):
            subprocess.run(command, stdout=subprocess.DEVNULL, timeout=180, check=False)
    return None if shutil.which("wrk") else "wrk is not installed: apt-get install wrk"


def wrk(
    server: Server, script: str, *arguments: object, threads: int, connections: int, seconds: float
) -> dict[str, Any]:
    """What the script reports of a run against ``server``, which takes ``seconds`` at most."""
    return wrk_at(
        server.url, script, *arguments,
        threads=threads, connections=connections, seconds=seconds, token=server.token,
    )  # fmt: skip


def wrk_at(
    url: str,
    script: str,
    *arguments: object,
    threads: int,
    connections: int,
    seconds: float,
    token: str = "",
    timeout: int = 10,
) -> dict[str, Any]:
    """Args: timeout: In seconds: what is not answered by then is an error."""
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", f"{timeout}s",
               "-s", str(_SCRIPTS / script), url, "--", *map(str, arguments)]  # fmt: skip
    environment = {**os.environ, "BENCH_TOKEN": token}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=seconds + _GRACE_SECONDS, check=False
    )
    reports = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not reports:
        raise BenchFailed(f"wrk failed:\n{(done.stdout + done.stderr)[-2000:]}")
    report: dict[str, Any] = json.loads(reports[-1])
    return report
