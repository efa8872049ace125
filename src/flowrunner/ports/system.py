"""Facts about the installation that only its database knows."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """Facts about the database.

    Attributes:
        size: Its size in bytes, with free space that it keeps.
        listeners: Processes that listen for notifications of others on it.
    """

    size: int
    listeners: int


class DatabaseInspector(Protocol):
    async def facts(self) -> DatabaseFacts: ...
