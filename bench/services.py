"""The servers that a measurement needs beside FlowRunner, as the tests find and start them."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from support.postgres import PostgresServer, query
from support.temporal import Temporal

__all__ = ["PostgresServer", "Temporal", "query", "running_postgres", "running_temporal"]


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """With all that it takes to lose nothing, and no database of ours yet."""
    server = PostgresServer({"shared_buffers": "128MB", "max_wal_size": "1GB"})
    try:
        yield server.start()
    finally:
        server.stop()


@contextlib.contextmanager
def running_temporal(directory: Path) -> Iterator[Temporal]:
    """The development server, in memory; it looks for tasks 500 times a second and not 20, as `Temporal` has it."""
    directory.mkdir()
    server = Temporal(directory)
    try:
        yield server.start()
    finally:
        server.stop()
