"""Hashes of passwords that take 30 µs in place of 30 ms, for tests that are not about what a guess costs."""

from typing import Final

import argon2

from flowrunner.security import credentials

REAL: Final = credentials._ARGON2
_QUICK: Final = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=argon2.Type.ID)


def hash_quickly() -> None:
    """Hash so in this process and its forks."""
    use(_QUICK)


def use(hasher: argon2.PasswordHasher) -> None:
    """Hash with it in this process, also in place of a missing hash."""
    credentials._ARGON2 = hasher  # type: ignore[misc]
    credentials._hash_of_nobody.cache_clear()
