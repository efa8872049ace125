"""Which right name a wrong one is nearest to."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

# A document full of wrong names is not compared with all right ones for minutes: this many take half a second.
_MOST_COMPARED: Final = 10_000
_MOST_CHARACTERS: Final = 60


@dataclass(slots=True)
class Suggestions:
    """Hints for the faults of one document, as long as they cost little: the first faults get one."""

    left: int = _MOST_COMPARED

    def did_you_mean(self, text: str, known: Collection[str], *, cutoff: float = 0.6) -> str | None:
        """`did you mean 'params'?`, or None where nothing is near; ``cutoff`` is how near, from 0 to 1."""
        if len(text) > _MOST_CHARACTERS or len(known) > self.left:
            return None
        self.left -= len(known)
        near = difflib.get_close_matches(text, known, n=1, cutoff=cutoff)
        return f"did you mean '{near[0]}'?" if near else None
