"""Errors that recur, of which the log needs one."""

import math
from typing import Final

# Time for which an error is not logged again, and the number of errors that are told apart.
_QUIET_SECONDS: Final = 10.0
_MOST_ERRORS: Final = 100


class RepeatedErrors:
    """The errors that were logged a moment ago, which are only counted.

    During an outage everything in memory is tried again. A line for each attempt would fill what is left of a full disk
    that has the log, too.
    """

    def __init__(self) -> None:
        # By text: when it was logged, and how often it has occurred since.
        self._logged: dict[str, tuple[float, int]] = {}

    def count(self, error: str, *, at: float) -> int | None:
        """Return how often the error has occurred since it was logged, or None if it need not be logged now.

        Args:
            at: The time of `time.monotonic()`.
        """
        since, repeats = self._logged.get(error, (-math.inf, 0))
        if at - since < _QUIET_SECONDS:
            self._logged[error] = since, repeats + 1
            return None
        if len(self._logged) >= _MOST_ERRORS:
            self._logged.clear()
        self._logged[error] = at, 0
        return repeats


def as_field(repeats: int) -> dict[str, int]:
    """Return the field of a log event that has the number; none for 0."""
    return {"repeats": repeats} if repeats else {}
