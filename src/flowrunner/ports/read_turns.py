"""Whose request reads the database, so that accounts take turns."""

from contextvars import ContextVar
from typing import Final

from flowrunner.domain.values import AccountId

# The account whose request the running task answers; None for work of the server itself, which waits for no turn. Tasks
# inherit it, so those that a request starts for others set it to None.
READS_FOR: Final[ContextVar[AccountId | None]] = ContextVar("READS_FOR", default=None)
