"""Conditions on the stored state of an object that a request changes."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final


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


ANY: Final = Precondition()
