"""How long ended executions are kept: by their age, and by their number of each flow."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

SHORTEST_AGE: Final = timedelta(minutes=5)
LONGEST_AGE: Final = timedelta(days=3650)
MOST_KEPT: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRule:
    """A rule of a flow, a workspace or the installation; what it leaves None, the next larger one says.

    Attributes:
        max_age: Time since the end of an execution after which it is deleted.
        max_count: Ended executions of a flow that are kept, those that began last.
    """

    max_age: timedelta | None = None
    max_count: int | None = None

    def within(self, outer: "RetentionRule") -> "RetentionRule":
        """Return the rule that holds where ``outer`` holds otherwise."""
        return RetentionRule(
            max_age=outer.max_age if self.max_age is None else self.max_age,
            max_count=outer.max_count if self.max_count is None else self.max_count,
        )

    def in_installation(self, rule: "RetentionRule") -> "RetentionRule":
        """Return the rule that holds with the installation's, whose age nothing exceeds."""
        found = self.within(rule)
        ages = [age for age in (found.max_age, rule.max_age) if age is not None]
        return RetentionRule(max_age=min(ages, default=None), max_count=found.max_count)
