"""Limits of a workspace, an account and the server: the last one allowed, and the first one that is refused."""

import pytest

from flowrunner.domain.errors import LimitReached, TooManyRequests
from flowrunner.domain.limits import SOON, check_account_sockets, check_all_sockets, check_count


def test_one_below_a_limit_is_allowed_and_one_at_it_is_not() -> None:
    check_count("flows", 4, 5, limit="max_flows")
    check_account_sockets(4, 5)
    check_all_sockets(4, 5)

    with pytest.raises(LimitReached) as count:
        check_count("flows", 5, 5, limit="max_flows")
    with pytest.raises(TooManyRequests) as account:
        check_account_sockets(5, 5)
    with pytest.raises(TooManyRequests) as server:
        check_all_sockets(5, 5)

    assert (count.value.limit, count.value.most) == ("max_flows", 5)
    for error, limit in ((account.value, "account_sockets"), (server.value, "max_sockets")):
        assert (error.limit, error.most, error.retry_after) == (limit, 5, SOON)


def test_without_a_limit_any_number_is_allowed() -> None:
    check_count("flows", 10**9, None, limit="max_flows")
    check_account_sockets(10**9, None)
