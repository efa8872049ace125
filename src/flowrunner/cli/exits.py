"""Exit codes of the commands."""

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
EXECUTION_FAILED: Final = 3
DENIED: Final = 4
NOT_FOUND: Final = 5
INVALID: Final = 6
UNREACHABLE: Final = 7
STILL_RUNNING: Final = 8
CANCELLED: Final = 9
INTERRUPTED: Final = 130
