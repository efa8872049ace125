"""How long does the server take from its start to its first 200 of `/readyz`?"""

from pathlib import Path

from bench.processes import Server


def start_twice(data_dir: Path) -> tuple[float, float]:
    """Seconds on a data directory that does not exist yet, and on the same once it does."""
    server = Server(data_dir)
    try:
        fresh = server.start()
    finally:
        server.stop()
    server = Server(data_dir)
    try:
        return fresh, server.start()
    finally:
        server.stop()
