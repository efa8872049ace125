"""Outages of a server, such as its restart, while a command follows what goes on without the command."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from flowrunner.cli.common import CommandFailed
from flowrunner.cli.exits import UNREACHABLE
from flowrunner.client import ServerUnreachable, UnavailableError

T = TypeVar("T")

# A restart takes less; who waits for a server that is gone for good is told.
_AWAY_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 1.0
ERRORS: Final = (ServerUnreachable, UnavailableError)


class Outage:
    """The time for which a server has not answered.

    Args:
        tell: Takes the reason, once each time the server stops answering.
        then: What happens when the server is back.
        command: Follows the same again.
    """

    def __init__(self, *, tell: Callable[[str], None], then: str, command: str) -> None:
        self._tell = tell
        self._then = then
        self._command = command
        self._until: float | None = None

    def end(self) -> None:
        """Note that the server has answered."""
        self._until = None

    def wait(self, error: Exception) -> None:
        """Wait a moment after an error of `ERRORS`. Raises: CommandFailed: The server does not come back."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + _AWAY_SECONDS
            self._tell(f"{error}. {self._then} when the server is back; waiting for it")
        elif now >= self._until:
            raise CommandFailed(f"{error}. {self._then} when the server is back: {self._command}", UNREACHABLE)
        time.sleep(_AGAIN_SECONDS)

    def outlasted(self, call: Callable[[], T]) -> T:
        """Repeat a call until the server answers. Raises: CommandFailed: It does not come back."""
        while True:
            try:
                answer = call()
            except ERRORS as error:
                self.wait(error)
            else:
                self.end()
                return answer
