"""Parameters of tests that are large: built when their test begins, and freed when it ends."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Lazy:
    """A value for `pytest.mark.parametrize` that only its test takes the time and the memory for.

    Each process of a run collects all tests, and would build and keep the values of all of them.

    Attributes:
        build: Returns the value, a new one for each test.
    """

    build: Callable[[], object]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    for name, value in pyfuncitem.funcargs.items():
        if isinstance(value, Lazy):
            pyfuncitem.funcargs[name] = value.build()
