"""The types that programs see: those of both clients, by mypy."""

import re
import subprocess
import sys
from pathlib import Path

from docs.pages import ROOT

PROGRAM = """
from flowrunner.client import AsyncClient, Client

def synchronous(client: Client) -> None:
    reveal_type(client.flows.get("x"))
    reveal_type(client.executions.list(status="failed"))
    reveal_type(next(iter(client.executions.list())).started_at)
    reveal_type(client.run("x").wait())
    client.flows.get(7)
    client.flows.get("x", nothing=1)
    client.flows.get("x").nothing

async def asynchronous(client: AsyncClient) -> None:
    reveal_type(await client.flows.get("x"))
    reveal_type([flow async for flow in client.flows.list()])
    reveal_type(await (await client.run("x")).wait())
"""


def test_both_clients_have_the_types_of_the_answers(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    # The configuration of the project, whose cache has the types already.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    revealed = [re.sub(r"\b[a-z_]+\.", "", found) for found in re.findall(r'Revealed type is "(.*)"', done.stdout)]
    assert revealed == [
        "FlowDetail",
        "SyncEntries[Execution]",
        "datetime",
        "ExecutionDetail",
        "FlowDetail",
        "list[Flow]",
        "ExecutionDetail",
    ], done.stdout
    errors = re.findall(r"program.py:(\d+): error: .*\[(.*)\]", done.stdout)
    assert errors == [("9", "arg-type"), ("10", "call-arg"), ("11", "attr-defined")], done.stdout
