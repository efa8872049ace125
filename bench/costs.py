"""What does one execution cost: processor time, log, and space in the database?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bench.memory import start
from bench.processes import cpu_seconds
from bench.rest import RestBench
from bench.services import PostgresServer, query

SIZE: Final = "SELECT pg_total_relation_size('executions') + pg_total_relation_size('events')"
WRITTEN: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"


@dataclass(frozen=True, slots=True)
class StorageCosts:
    """A database of PostgreSQL, as the disk sees it."""

    postgres: PostgresServer
    url: str

    def size(self) -> int:
        """Bytes of executions and their events, indexes too."""
        return int(query(self.url, SIZE)[0][0])

    def written(self) -> int:
        """Bytes of the log so far."""
        return int(query(self.url, WRITTEN)[0][0])

    def per_execution(self, work: Callable[[], int]) -> dict[str, float]:
        """Args: work: Gives how many executions it has made and seen to their end."""
        # The first change of a page after a checkpoint puts all of it into the log: as much of that as there can be.
        query(self.url, "CHECKPOINT")
        size, written = self.size(), self.written()
        count = work()
        return {"stored_bytes": (self.size() - size) / count, "log_bytes": (self.written() - written) / count}


def measure(rest: RestBench, stored: StorageCosts, count: int, seconds: float) -> dict[str, Any]:
    """Executions of two calls, as fast as 32 clients start them, and looked at by nobody until all have ended."""
    server = rest.server
    before = server.count(rest.flow_id)
    pids = {"server": server.pid, "postgres": stored.postgres.pid}
    cpu_before = {name: cpu_seconds(pid) for name, pid in pids.items()}

    def work() -> int:
        start(server, rest.flow_id, count, seconds)
        server.wait_until_none(rest.flow_id, "running", "waiting")
        return server.count(rest.flow_id) - before

    spent = stored.per_execution(work)
    made = server.count(rest.flow_id) - before
    cpu = {f"{name}_ms": (cpu_seconds(pid) - cpu_before[name]) / made * 1000 for name, pid in pids.items()}
    return {**cpu, **spent, "executions": made}
