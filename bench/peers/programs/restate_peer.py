"""The workloads on Restate: its server, and a service in TypeScript's way whose handlers are called over HTTP."""

import time
from functools import partial
from pathlib import Path

from bench.peers.load import Task, post, report, request_all, running, wait_for
from bench.processes import HOST, free_port


def main(task: Task) -> None:
    ingress, admin, fabric, service = (free_port() for _ in range(4))
    settings = {
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_BIND_IP": HOST,
        "RESTATE_BIND_PORT": str(fabric),
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_LOG_FILTER": "error",
    }
    binary = task.module("@restatedev/restate-server-*/bin/restate-server")
    handlers = Path(__file__).with_name("restate_service.cjs")
    begun = time.perf_counter()
    with (
        running(
            [binary, "--base-dir", task.directory],
            task,
            **settings,
        ) as server,
        running(
            [task.node, str(handlers), str(service), task.receiver],
            task,
            NODE_PATH=f"{task.installed}/node_modules",
            NODE_ENV="production",
        ) as node,
    ):
        register = {"uri": f"http://{HOST}:{service}"}
        wait_for(task, partial(post, f"http://{HOST}:{admin}/deployments", register), server, node)
        url = f"http://{HOST}:{ingress}"
        wait_for(task, partial(post, f"{url}/Peer/tenSteps"), server, node)
        started = time.perf_counter() - begun
        paths = {"W1": "/Peer/twoCalls", "W2": "/Peer/tenSteps", "W3": "/Peer/tenCalls"}
        report(request_all(url, paths, task, [server.pid, node.pid]), start_seconds=started)


if __name__ == "__main__":
    main(Task.given())
