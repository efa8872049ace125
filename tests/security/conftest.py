"""What attacks share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import passwords
from support.server import REAL_HASHES, Server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """Start a server for one test, which hashes passwords as it does for users."""
    running = Server(tmp_path, program=REAL_HASHES)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def real_hashes() -> Iterator[None]:
    """Let a hash take as long as it does for users, in the tests' own process."""
    passwords.use(passwords.REAL)
    yield
    passwords.hash_quickly()
