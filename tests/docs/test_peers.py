"""The comparison with peers: its tables are made of what their programs print."""

import asyncio
import json
import os
import re
import tarfile
from pathlib import Path

import pytest
from bench.peers.__main__ import PEERS, Comparison, Installed, Peer, install, reason
from bench.peers.load import WORKLOADS, Task, report, run_all
from bench.processes import BenchFailed

ROOT = Path(__file__).resolve().parents[2]


def task(**changed: object) -> Task:
    given: dict[str, object] = {
        "database": "", "receiver": "", "seconds": 0, "clients": 4, "installed": "", "directory": "/nowhere",
        "node": "", "variant": "",
    }  # fmt: skip
    return Task(**(given | changed))  # type: ignore[arg-type] # each value has the type of its field


async def nothing() -> None:
    await asyncio.sleep(0)


def test_the_tables_are_made_of_what_a_program_prints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = asyncio.run(run_all(dict.fromkeys(WORKLOADS, nothing), task(), [os.getpid()]))
    report(found, start_seconds=1.5)
    printed = json.loads(capsys.readouterr().out)
    comparison = Comparison(tmp_path, 0)
    comparison.rounds["A peer"] = [printed]
    comparison.installed["A peer"] = Installed(place=tmp_path, version="1.2.3", size_mb=40.4)
    comparison.failed["Another"] = "npm error code E404"

    rows = comparison.workloads().splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["A peer"] * len(WORKLOADS)
    assert all(f"| {printed[name]['per_second']:.1f} |" in row for name, row in zip(WORKLOADS, rows, strict=True))
    programs = comparison.programs()
    assert f"| A peer | 1.2.3 | 40 | 1.5 | {printed['memory_mb']:.1f} |" in programs
    assert "| Another |  |  |  |  |" in programs
    assert programs.endswith("\nAnother failed: npm error code E404")


def test_executions_that_fail_are_counted_beside_those_that_end() -> None:
    outcomes = iter([True, False, True, False])

    async def every_second() -> None:
        await asyncio.sleep(0)
        if not next(outcomes):
            raise ValueError("refused")

    found = asyncio.run(run_all({"W1": every_second}, task(), [os.getpid()]))["W1"]
    assert (found["executions"], found["failed"]) == (2, 2)


def test_a_peer_that_ends_nothing_is_not_measured() -> None:
    async def refused() -> None:
        await asyncio.sleep(0)
        raise ValueError("refused")

    with pytest.raises(BenchFailed, match=r"no execution ended .*refused"):
        asyncio.run(run_all({"W1": refused}, task(), [os.getpid()]))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("npm error code E404\nnpm error 404 Not Found\nnpm error A complete log\n", "npm error code E404"),
        ("Traceback:\n  File x\nbench.processes.BenchFailed: it did not start:\nlog\n",
         "bench.processes.BenchFailed: it did not start:"),
        ("x.js:1\n    at y\nError: no module\n\nNode.js v24\n", "Error: no module"),
        ("killed\n", "killed"),
        ("", "no reason given"),
    ],
)  # fmt: skip
def test_the_reason_is_the_line_that_names_the_error(text: str, line: str) -> None:
    assert reason(text) == line


def test_each_peer_has_a_program_and_a_paragraph() -> None:
    readme = (ROOT / "bench" / "peers" / "README.md").read_text()
    for peer in PEERS.values():
        assert (ROOT / "bench" / "peers" / "programs" / f"{peer.program}.py").exists()
        assert re.search(rf"^- \*\*{peer.title.partition(',')[0]}\*\*", readme, re.MULTILINE), peer.title
        assert bool(peer.pip) != bool(peer.npm)


def test_npm_runs_only_the_scripts_of_the_packages_that_are_named(tmp_path: Path) -> None:
    packages = []
    for name in ("first-peer", "second-peer"):
        source = tmp_path / name
        source.mkdir()
        about = {"name": name, "version": "1.2.3", "scripts": {"install": "touch compiled"}}
        (source / "package.json").write_text(json.dumps(about))
        with tarfile.open(tmp_path / f"{name}.tgz", "w:gz") as archive:
            archive.add(source, "package")
        packages.append(f"{name}@file:{tmp_path / name}.tgz")
    peer = Peer(title="A peer", program="", npm=packages, scripts=["second-peer"])

    installed = install("a-peer", peer, tmp_path)

    assert installed.version == "1.2.3"
    assert [one.parent.name for one in installed.place.rglob("compiled")] == ["second-peer"]
