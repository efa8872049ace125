"""The workloads on n8n: a workflow for each, which a webhook starts and the end of its last node answers."""

import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.peers.load import Task, log_file, report, request_all, running, wait_for
from bench.processes import HOST, BenchFailed, free_port


def in_a_row(path: str, *nodes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a workflow whose id is the path that a POST starts it at."""
    webhook = {
        "type": "n8n-nodes-base.webhook",
        "typeVersion": 2,
        "webhookId": path,
        "parameters": {"httpMethod": "POST", "path": path, "responseMode": "lastNode"},
    }
    row = [
        {"id": f"{path}-{number}", "name": f"{number}", "position": [200 * number, 0], **node}
        for number, node in enumerate((webhook, *nodes))
    ]
    links = {
        one["name"]: {"main": [[{"node": following["name"], "type": "main", "index": 0}]]}
        for one, following in pairwise(row)
    }
    return {"id": path, "name": path, "active": False, "nodes": row, "connections": links, "settings": {}}


def workflows(receiver: str) -> Sequence[Mapping[str, Any]]:
    def request(**parameters: object) -> Mapping[str, Any]:
        return {"type": "n8n-nodes-base.httpRequest", "typeVersion": 4.2, "parameters": {"url": receiver, **parameters}}

    nothing = {"type": "n8n-nodes-base.noOp", "typeVersion": 1, "parameters": {}}
    body = {"method": "POST", "sendBody": True, "specifyBody": "json", "jsonBody": "={{ $json }}"}
    return [
        in_a_row("w1", request(), request(**body)),
        in_a_row("w2", *([nothing] * 10)),
        in_a_row("w3", *([request()] * 10)),
    ]


def ends(url: str) -> bool:
    """Return if a POST is answered by a workflow's end: while n8n starts, it answers all with its own page."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=30) as answer:
            return "body" in json.load(answer)
    except (OSError, ValueError):
        return False


def main(task: Task) -> None:
    command = [task.node, task.module("n8n/bin/n8n")]
    settings = {
        "N8N_LISTEN_ADDRESS": HOST,
        "N8N_PORT": str(port := free_port()),
        "N8N_RUNNERS_BROKER_PORT": str(free_port()),
        "N8N_DIAGNOSTICS_ENABLED": "false",
        "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
        "N8N_DYNAMIC_BANNERS_ENABLED": "false",
        "N8N_TEMPLATES_ENABLED": "false",
    }

    def run(*arguments: str) -> None:
        with running([*command, *arguments], task, **settings) as process:
            if process.wait() != 0:
                raise BenchFailed(f"{arguments} failed:\n{log_file(task).read_text()[-2000:]}")

    file = Path(task.directory, "workflows.json")
    file.write_text(json.dumps(given := workflows(task.receiver)))
    run("import:workflow", f"--input={file}")
    for workflow in given:
        run("publish:workflow", f"--id={workflow['id']}")
    url = f"http://{HOST}:{port}"
    paths = {"W1": "/webhook/w1", "W2": "/webhook/w2", "W3": "/webhook/w3"}
    begun = time.perf_counter()
    with running([*command, "start"], task, **settings) as server:
        wait_for(task, partial(ends, url + paths["W2"]), server)
        started = time.perf_counter() - begun
        report(request_all(url, paths, task, [server.pid]), start_seconds=started)


if __name__ == "__main__":
    main(Task.given())
