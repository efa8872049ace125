"""A PostgreSQL server of the benchmark's own, with all that it takes to lose nothing."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def running_postgres() -> Iterator[str]:
    """Gives the URL of an empty database."""
    # The tests know how to find one and to start it.
    sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
    from support.postgres import PostgresServer

    server = PostgresServer({"shared_buffers": "128MB", "max_wal_size": "1GB"})
    try:
        yield server.start().new_database()
    finally:
        server.stop()
