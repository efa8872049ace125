"""The lack of files that this process may open, which passes as other work ends."""

import errno
from collections.abc import Sequence
from typing import Final

# How often to begin a connection that lacks files, and the time between.
ATTEMPTS: Final = 20
PAUSE_SECONDS: Final = 0.5


def lacks_files(error: BaseException) -> bool:
    """Return whether an error comes from the lack of files of this process, or of the machine."""
    return any(isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE) for cause in causes_of(error))


def causes_of(error: BaseException) -> Sequence[BaseException]:
    """Return an error with all that it comes from."""
    found: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        cause = todo.pop()
        if cause is None or cause in found:
            continue
        found.append(cause)
        todo += [cause.__cause__, cause.__context__, getattr(cause, "os_error", None)]
        if isinstance(cause, BaseExceptionGroup):
            todo += cause.exceptions
    return found
