"""What does a step cost a server on SQLite: processor time, bytes written, and bytes kept, by table?"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from bench.memory import start
from bench.processes import BenchFailed, cpu_seconds
from bench.rest import RestBench

# As many webhooks are used: fetch, shape, decide, send.
FOUR_STEPS: Final = """\
metadata: {{name: "Four steps", version: "1.0.0"}}
nodes:
  fetch: {{type: http.request, params: {{url: "{url}/item"}}, next: shape}}
  shape:
    type: transform
    params: {{value: {{id: 7, key: "${{nodes.fetch.result.body.key}}", state: "new"}}}}
    next: check
  check:
    type: switch
    params: {{cases: [{{when: "${{nodes.shape.result.id > 3}}", action: high}}]}}
    next: {{high: send}}
  send:
    type: http.request
    params: {{url: "{url}/callback", method: "POST", body: "${{nodes.shape.result}}"}}
"""
STEPS: Final = 4
_OBJECTS: Final = """
SELECT coalesce(o.tbl_name, s.name), s.name <> coalesce(o.tbl_name, s.name), sum(s.pgsize)
  FROM dbstat s LEFT JOIN sqlite_schema o ON o.name = s.name
 WHERE s.aggregate = TRUE GROUP BY 1, 2
"""
_SETTLE_SECONDS: Final = 1.0
# What the table names; the rest is one row.
_TABLES: Final = ("events", "executions", "audit")


def measure(rest: RestBench, count: int, seconds: float) -> dict[str, Any]:
    """Executions of four steps, as fast as 32 clients start them, and looked at by nobody until all have ended."""
    server = rest.server
    flow_id = server.create_flow(FOUR_STEPS.format(url=rest.receiver.url))
    path = server.data_dir / "flowrunner.db"
    sizes, written, cpu = sizes_of(path), _written(server.pid), cpu_seconds(server.pid)
    start(server, flow_id, count, seconds)
    server.wait_until_none(flow_id, "running", "waiting")
    time.sleep(_SETTLE_SECONDS)
    made = server.count(flow_id, "completed")
    cpu, written = cpu_seconds(server.pid) - cpu, _written(server.pid) - written
    grown = {name: (size - sizes.get(name, 0)) / made for name, size in sizes_of(path).items()}
    return {
        "cpu_ms": cpu / (made * STEPS) * 1000,
        "written_bytes": written / (made * STEPS),
        **grown,
        "all_bytes": sum(grown.values()),
        "executions": made,
    }


def sizes_of(path: Path) -> dict[str, float]:
    """Return the bytes of the pages of tables, with their indexes except for those of executions."""
    found: dict[str, float] = {}
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute(_OBJECTS).fetchall()
        except sqlite3.OperationalError as error:
            raise BenchFailed(f"SQLite cannot tell the sizes of tables: {error}") from error
    for table, is_index, size in rows:
        name = f"{table}_bytes" if table in _TABLES else "other_bytes"
        if is_index and table == "executions":
            name = "executions_index_bytes"
        found[name] = found.get(name, 0) + size
    return found


def _written(pid: int) -> int:
    """Bytes that the process has sent to the disk."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
