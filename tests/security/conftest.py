"""What attacks share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support import passwords
from support.server import Server

# The usual program, which hashes passwords as it does for users.
_REAL_HASHES: Final = (
    "-c",
    """
from support import passwords
passwords.use(passwords.REAL)
from flowrunner.cli.main import main
main()
""",
)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """Start a server for one test, which hashes passwords as it does for users."""
    running = Server(tmp_path, program=_REAL_HASHES)
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
