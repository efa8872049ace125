"""How fast are three workloads here and on peers that install from a registry?

`python -m bench.peers [--directory DIR] [--seconds 10] [--rounds 3]`: installs each peer into a venv of its own below
DIR, which is outside of this tree, and measures it and FlowRunner in turn. README.md says what is compared, and what
is not.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.processes import BenchFailed, running_receiver, scratch
from bench.rest import RestBench, rest_bench
from bench.services import running_postgres

CLIENTS: Final = 32
WORKLOADS: Final = {"W1": "GET, then POST", "W2": "ten steps that do nothing", "W3": "ten GETs, each a durable step"}
_FIGURES: Final = ("per_second", "p50_ms", "p99_ms", "cpu_ms")
_GRACE_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A program that does the workloads with a library. Args: packages: What its venv has."""

    packages: Sequence[str]
    program: str


PEERS: Final = {"dbos": Peer(packages=("dbos", "aiohttp"), program="dbos_peer.py")}


def install(name: str, directory: Path) -> Path:
    """Return the interpreter of the peer's venv, which is made if it is missing."""
    place = directory / name
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS[name].packages], check=True)
    return python


def measure_peer(name: str, python: Path, *, database: str, seconds: float) -> dict[str, Any]:
    program = Path(__file__).parent / "programs" / PEERS[name].program
    with running_receiver() as receiver:
        command = [str(python), str(program), database, receiver.url, str(seconds), str(CLIENTS)]
        limit = 3 * seconds + _GRACE_SECONDS
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode != 0:
        raise BenchFailed(f"{name} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_ours(directory: Path, *, database: str | None, seconds: float) -> dict[str, Any]:
    with rest_bench(directory, database_url=database) as bench:
        runs = {"W1": RestBench.run_many, "W2": RestBench.run_steps, "W3": RestBench.run_calls}
        found: dict[str, Any] = {name: run(bench, seconds) for name, run in runs.items()}
        found["memory_mb"] = bench.server.rss() / 2**20
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()) / "flowrunner-peers")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each workload")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    pythons = {name: install(name, options.directory) for name in PEERS}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for number in range(options.rounds):
        with scratch() as directory, running_postgres() as postgres:
            for name, python in pythons.items():
                measured = measure_peer(name, python, database=postgres.new_database(), seconds=options.seconds)
                found.setdefault(f"{name}, PostgreSQL", []).append(measured)
        with scratch() as directory, running_postgres() as postgres:
            ours = measure_ours(directory, database=postgres.new_database(), seconds=options.seconds)
            found.setdefault("FlowRunner, PostgreSQL", []).append(ours)
        with scratch() as directory:
            found.setdefault("FlowRunner, SQLite", []).append(
                measure_ours(directory, database=None, seconds=options.seconds)
            )
        print(f"round {number + 1} of {options.rounds} is done", file=sys.stderr)
    print(table(found))
    for name, python in pythons.items():
        print(f"\n{name}: {version_of(python, PEERS[name].packages[0])}")


def version_of(python: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the medians of the rounds as a table in Markdown."""
    lines = ["| | | per second | p50 ms | p99 ms | processor ms each |", "| --- | --- | --- | --- | --- | --- |"]
    for workload, meaning in WORKLOADS.items():
        for name, rounds in found.items():
            figures = [statistics.median(one[workload][figure] for one in rounds) for figure in _FIGURES]
            lines.append(
                f"| {workload}: {meaning} | {name} | " + " | ".join(f"{value:.1f}" for value in figures) + " |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
