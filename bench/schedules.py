"""What do ten thousand armed schedules cost, and how late do five hundred start that are due together?"""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bench.processes import BenchFailed, cpu_seconds, running_server

_FLOWS: Final = 95
_DUE_FLOWS: Final = 5
_OF_A_FLOW: Final = 100
_UNTIL_DUE: Final = timedelta(seconds=8)
_FLOW: Final = """\
metadata: {name: "%(name)s"}
inputs: {at: {type: string}}
nodes: {a: {type: return, params: {value: "${flow.input.at}"}}}
triggers:
%(triggers)s
"""
_TRIGGER: Final = '  t%(number)d: {type: schedule, %(due)s, input: {at: "${trigger.due_at}"}}'


def measure(directory: Path, *, idle_seconds: float) -> dict[str, Any]:
    """Percent of a core that the armed schedules take, and the seconds from the due time to the last start."""
    with running_server(directory / "data") as server:
        for number in range(_FLOWS):
            # Another minute each, far away.
            server.create_flow(_document(f"seldom-{number}", lambda n: f'cron: "{n % 60} 2 29 2 *"'))
        time.sleep(1.0)
        before = cpu_seconds(server.pid)
        time.sleep(idle_seconds)
        idle_percent = 100.0 * (cpu_seconds(server.pid) - before) / idle_seconds
        due_at = (datetime.now(UTC) + _UNTIL_DUE).replace(microsecond=0)
        due = [
            server.create_flow(_document(f"due-{number}", lambda n: f'at: "{due_at.isoformat()}"'))
            for number in range(_DUE_FLOWS)
        ]
        if datetime.now(UTC) >= due_at:
            raise BenchFailed("the flows were saved too late")
        time.sleep((due_at - datetime.now(UTC)).total_seconds())
        for flow_id in due:
            server.wait_until_all_completed(flow_id)
        starts = [datetime.fromisoformat(each["started_at"]) for id in due for each in _executions(server, id)]
    if len(starts) != _DUE_FLOWS * _OF_A_FLOW or min(starts) < due_at:
        raise BenchFailed(f"{len(starts)} executions were started, the first one at {min(starts, default=None)}")
    return {"last_start_seconds": (max(starts) - due_at).total_seconds(), "idle_percent": idle_percent}


def _document(name: str, due: Any) -> str:
    triggers = "\n".join(_TRIGGER % {"number": n, "due": due(n)} for n in range(_OF_A_FLOW))
    return _FLOW % {"name": name, "triggers": triggers}


def _executions(server: Any, flow_id: str) -> list[Any]:
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        found: list[Any] = server.call("GET", f"/api/v1/executions?flow_id={flow_id}&limit=1000")["executions"]
        if len(found) >= _OF_A_FLOW:
            return found
        time.sleep(0.05)
    raise BenchFailed("not all executions were started")
