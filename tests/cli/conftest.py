"""Users of the command line."""

from pathlib import Path

import pytest

from cli.servers import User
from support.client import Client


@pytest.fixture
def user(account: Client, tmp_path: Path) -> User:
    """Somebody with an account of their own."""
    return User(account, tmp_path)
