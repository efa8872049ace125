"""The workloads on Prefect: its server with its own database, and flows in the process of the clients.

As the variant `served`, a second process serves the flows as deployments, and the clients start runs of them.
"""

# mypy: ignore-errors
# Its library is installed in another venv.

import asyncio
import contextlib
import os
import sys
import time
from functools import partial

from bench.peers.load import Task, log_file, report, run_all, running, succeeds, wait_for
from bench.processes import HOST, BenchFailed, free_port

# A run takes seconds, so that a shorter interval than this one would only load the server.
_POLL_SECONDS = 1.0


async def main(task: Task) -> None:
    begun = time.perf_counter()
    url = f"http://{HOST}:{(port := free_port())}/api"
    settings = {
        "PREFECT_HOME": task.directory,
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    # Prefect reads them when it is imported.
    os.environ.update(settings)
    with contextlib.ExitStack() as stack:
        start = [task.command("prefect"), "server", "start", "--host", HOST, "--port", str(port)]
        server = stack.enter_context(running(start, task, **settings))
        wait_for(task, partial(succeeds, f"{url}/health"), server)

        from bench.peers.programs.prefect_flows import FLOWS

        pids = [server.pid, os.getpid()]
        runs = {name: partial(workload, task.receiver) for name, workload in FLOWS.items()}
        if task.variant == "served":
            from prefect.deployments import arun_deployment

            async def completed(name: str) -> None:
                run = await arun_deployment(
                    name, parameters={"url": task.receiver}, timeout=None, poll_interval=_POLL_SECONDS
                )
                if not run.state.is_completed():
                    raise BenchFailed(f"a run ended as {run.state}")

            served = [sys.executable, "-m", "bench.peers.programs.prefect_flows"]
            server_of_flows = stack.enter_context(running(served, task, **settings))
            wait_for(task, lambda: "prefect deployment run" in log_file(task).read_text(), server, server_of_flows)
            pids = [server.pid, server_of_flows.pid]
            runs = {name: partial(completed, f"{flow.name}/peer") for name, flow in FLOWS.items()}
        started = time.perf_counter() - begun
        report(await run_all(runs, task, pids), start_seconds=started)


if __name__ == "__main__":
    asyncio.run(main(Task.given()))
