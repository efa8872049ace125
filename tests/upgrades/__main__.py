"""Recording of the stored installation in `fixture/`: `make upgrade-fixture`.

Every later version must open it and finish its executions, so it is recorded again only before the first release. Texts
and kinds are the same each time; times, ids and keys are not.
"""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

from support.client import Client
from support.postgres import PostgresServer
from support.server import Server, clean_environment
from support.waiting import wait_for
from upgrades.flows import FLOWS, SECRET

FIXTURE: Final = Path(__file__).parent / "fixture"


def start_all(account: Client) -> None:
    """Leave an execution of each flow open, and a second one of the flow with a concurrency limit."""
    account.new_secret(*SECRET)
    # Sub-flows are found by name. Executions that continue by themselves start last: the server ends before they do.
    order = sorted(FLOWS, key=lambda name: name in ("delay", "retry"))
    flows = {name: account.new_flow(FLOWS[name].flow, name=name) for name in order}
    for name in order:
        id = account.run(flows[name])
        for node in FLOWS[name].waits_at:
            account.waiting_at(id, node)
        if name == "queued":
            account.run(flows[name])


def record(directory: Path) -> None:
    server = Server(directory)
    try:
        start_all(server.start().admin())
        # The retry waits after its first attempt.
        wait_for(lambda: "retry" in waiting_names(server.database))
        server.kill()
    finally:
        server.stop()
    shutil.rmtree(FIXTURE, ignore_errors=True)
    FIXTURE.mkdir()
    with closing(sqlite3.connect(server.database)) as connection:
        connection.execute("VACUUM INTO ?", (str(FIXTURE / "flowrunner.db"),))
    shutil.copytree(server.data_dir / "keys", FIXTURE / "keys")
    (FIXTURE / "postgres.sql").write_text(dump_of_a_copy(server))


def waiting_names(database: Path) -> set[str]:
    """Return the flows that have an execution which waits for a time."""
    query = "SELECT f.name FROM executions x JOIN flows f ON f.id = x.flow_id WHERE x.wake_at IS NOT NULL"
    with closing(sqlite3.connect(database)) as connection:
        return {name for (name,) in connection.execute(query)}


def dump_of_a_copy(server: Server) -> str:
    postgres = PostgresServer({"fsync": "on"}).start()
    try:
        url = postgres.new_database()
        copy = [sys.executable, "-m", "flowrunner", "copy", "--to", url, "--data-dir", str(server.data_dir)]
        subprocess.run(copy, env=clean_environment(), check=True)
        dump = subprocess.run(
            [postgres.program("pg_dump"), "--no-owner", "--inserts", url], capture_output=True, text=True, check=True
        ).stdout
    finally:
        postgres.stop()
    # Without commands of psql, which newer versions of pg_dump write.
    return "".join(line for line in dump.splitlines(keepends=True) if not line.startswith("\\"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        record(Path(made))
