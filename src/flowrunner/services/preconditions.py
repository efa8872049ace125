"""Conditions on the stored state of an object that a request changes."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from flowrunner.domain.errors import PreconditionFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Precondition:
    """A condition on a stored object.

    Attributes:
        states: The acceptable states; None accepts any.
        must_exist: There is such an object.
        must_be_new: There is none.
    """

    states: Collection[str] | None = None
    must_exist: bool = False
    must_be_new: bool = False

    def allows(self, state: str | None) -> bool:
        """Return True if the object may be changed. Args: state: Its state; None if there is no such object."""
        if state is None:
            return not self.must_exist and self.states is None
        return not self.must_be_new and (self.states is None or state in self.states)

    def check(self, state: str | None, what: str, *, revision: int | None = None, changed: str | None = None) -> None:
        """Raises: PreconditionFailed if the object may not be changed.

        Args:
            state: As of `allows`.
            what: The kind of the object, for the message.
            revision: Its revision, if it has any.
            changed: The message if it has changed; None for the usual one.
        """
        if self.allows(state):
            return
        if state is None:
            raise PreconditionFailed(f"There is no such {what}")
        message = changed or f"The {what} has changed since"
        if self.must_be_new:
            message = f"The {what} is there already"
        raise PreconditionFailed(message, revision=revision, state=state)


ANY: Final = Precondition()
