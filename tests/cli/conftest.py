"""Users of the command line."""

import pytest

from cli.servers import User
from support.client import Client


@pytest.fixture(scope="module")
def user(admin: Client, tmp_path_factory: pytest.TempPathFactory) -> User:
    """Somebody with an account of their own, for the tests of a module."""
    return User(admin.new_account(), tmp_path_factory.mktemp("user"))


@pytest.fixture(scope="module")
def root(admin: Client, tmp_path_factory: pytest.TempPathFactory) -> User:
    """An admin of the installation."""
    return User(admin, tmp_path_factory.mktemp("root"))
