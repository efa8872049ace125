"""Rules of retention: what a flow leaves open its workspace says, and nothing outlives the installation's age."""

from datetime import timedelta

import pytest

from flowrunner.domain.retention import RetentionRule

DAY = timedelta(days=1)


def rule(days: int | None = None, count: int | None = None) -> RetentionRule:
    return RetentionRule(max_age=None if days is None else days * DAY, max_count=count)


@pytest.mark.parametrize(
    ("inner", "outer", "found"),
    [
        (rule(), rule(3, 10), rule(3, 10)), (rule(5), rule(3, 10), rule(5, 10)),
        (rule(None, 20), rule(3, 10), rule(3, 20)),
        (rule(5, 20), rule(3, 10), rule(5, 20)), (rule(5, 20), rule(), rule(5, 20)), (rule(), rule(), rule()),
        (rule(None, 0), rule(3, 10), rule(3, 0)),
    ],
)  # fmt: skip
def test_a_rule_leaves_what_it_does_not_say_to_the_one_around_it(
    inner: RetentionRule, outer: RetentionRule, found: RetentionRule
) -> None:
    assert inner.within(outer) == found


@pytest.mark.parametrize(
    ("own", "installation", "found"),
    [
        (rule(5, 20), rule(3, 10), rule(3, 20)), (rule(2, 20), rule(3, 10), rule(2, 20)), (rule(5), rule(), rule(5)),
        (rule(), rule(3, 10), rule(3, 10)), (rule(), rule(), rule()), (rule(None, 20), rule(3), rule(3, 20)),
    ],
)  # fmt: skip
def test_no_rule_keeps_executions_longer_than_the_installation_but_more_of_them(
    own: RetentionRule, installation: RetentionRule, found: RetentionRule
) -> None:
    assert own.in_installation(installation) == found
