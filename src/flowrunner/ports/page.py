"""Pages of lists."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    limit: int
    offset: int
