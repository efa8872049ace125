"""The right to be the active server of a database."""

from collections.abc import Callable
from typing import Protocol


class Ownership(Protocol):
    """The right of one of several servers to be the active one.

    Attributes:
        is_held: This process may claim the database.
        epoch: The epoch of the last claim by any process, as last seen; None if this process does not watch it.
        is_lost: This process needs the database for itself, and processes that share the journal are active on it.
        is_silent: The database has not answered for so long that others may be active on it without notice here.
    """

    @property
    def is_held(self) -> bool: ...
    @property
    def epoch(self) -> int | None: ...
    @property
    def is_lost(self) -> bool: ...
    @property
    def is_silent(self) -> bool: ...

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; it is checked after each reading of the state of the ownership."""
        ...
