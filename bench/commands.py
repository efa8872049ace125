"""How much processor time do commands take, as multiples of `python -c 'import click'`?"""

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.processes import Server

_FLOW: Final = "nodes:\n  a: {type: return, params: {value: '${flow.input.x}'}}\n"
_COMMANDS: Final = {
    "click": ("-c", "import click"),
    "help": ("-m", "flowrunner", "--help"),
    "validate": ("-m", "flowrunner", "validate", "flow.yaml"),
    "list": ("-m", "flowrunner", "executions", "list"),
}


def measure(directory: Path, *, times: int) -> Mapping[str, float]:
    """Run the commands in turn; return the medians as multiples of the first, and that in milliseconds."""
    (directory / "flow.yaml").write_text(_FLOW)
    server = Server(directory / "data")
    server.start()
    try:
        server.log_in()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUNNER_")}
        environment |= {"HOME": str(directory), "FLOWRUNNER_URL": server.url, "FLOWRUNNER_TOKEN": server.token}
        seconds: dict[str, list[float]] = {name: [] for name in _COMMANDS}
        for _ in range(times):
            for name, arguments in _COMMANDS.items():
                start = _used()
                subprocess.run(
                    [sys.executable, *arguments], cwd=directory, env=environment, capture_output=True, check=True
                )
                seconds[name].append(_used() - start)
    finally:
        server.stop()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        **{f"{name}_times": medians[name] / medians["click"] for name in _COMMANDS if name != "click"},
        "click_ms": medians["click"] * 1000,
    }


def _used() -> float:
    """Return the seconds of processor time of the commands that have ended: other load prolongs them, and not these."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
