"""What attacks share."""

from collections.abc import Iterator

import pytest

from support import passwords


@pytest.fixture
def real_hashes() -> Iterator[None]:
    """Let a hash take as long as it does for users, in the tests' own process."""
    passwords.use(passwords.REAL)
    yield
    passwords.hash_quickly()
