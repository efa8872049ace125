"""The workloads on Node-RED: a flow for each, which an HTTP request starts and its end answers."""

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.peers.load import Task, post, report, request_all, running, wait_for
from bench.processes import HOST, free_port


def in_a_row(path: str, *nodes: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """Return the nodes of a flow that a POST to the path starts."""
    row = [{"type": "http in", "url": path, "method": "post"}, *nodes, {"type": "http response"}]
    ids = [f"{path[1:]}-{number}" for number in range(len(row))]
    wires = [[[following]] for following in ids[1:]] + [[]]
    return [{"id": id, "z": "tab", "wires": to, **node} for id, to, node in zip(ids, wires, row, strict=True)]


def flows(receiver: str) -> Sequence[dict[str, Any]]:
    get = {"type": "http request", "method": "GET", "ret": "obj", "url": receiver}
    nothing = {"type": "function", "func": "return msg;", "outputs": 1}
    return [
        {"id": "tab", "type": "tab", "label": "peer"},
        *in_a_row("/w1", get, get | {"method": "POST"}),
        *in_a_row("/w2", *([nothing] * 10)),
        *in_a_row("/w3", *([get] * 10)),
    ]


def main(task: Task) -> None:
    file = Path(task.directory, "flows.json")
    file.write_text(json.dumps(flows(task.receiver)))
    url = f"http://{HOST}:{(port := free_port())}"
    command = [task.node, task.module("node-red/red.js"), "--userDir", task.directory, "--port", str(port),
               "--no-telemetry", "-D", f"uiHost={HOST}", str(file)]  # fmt: skip
    begun = time.perf_counter()
    with running(command, task) as server:
        wait_for(task, partial(post, f"{url}/w2"), server)
        started = time.perf_counter() - begun
        paths = {"W1": "/w1", "W2": "/w2", "W3": "/w3"}
        report(request_all(url, paths, task, [server.pid]), start_seconds=started)


if __name__ == "__main__":
    main(Task.given())
