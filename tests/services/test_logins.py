"""The age of a login, which decides what it may change."""

from datetime import timedelta

import pytest

from flowrunner.domain.account import Caller, Session
from flowrunner.domain.errors import RecentLoginRequired
from flowrunner.domain.values import SessionId
from flowrunner.services.logins import RECENT_LOGIN, check_recent_login
from support.databases import MARA_ACCOUNT, NOON

MOMENT = timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "age", [timedelta(0), RECENT_LOGIN, -RECENT_LOGIN, RECENT_LOGIN + MOMENT, -RECENT_LOGIN - MOMENT]
)
def test_s66_a_login_is_recent_for_a_while_also_by_a_clock_that_was_set_back(age: timedelta) -> None:
    caller = Caller(account_id=MARA_ACCOUNT, role="user", credential=Session(SessionId("s"), NOON), expires_at=NOON)

    if abs(age) <= RECENT_LOGIN:
        assert check_recent_login(caller, at=NOON + age) == "s"
    else:
        with pytest.raises(RecentLoginRequired, match="for 15 minutes after a login"):
            check_recent_login(caller, at=NOON + age)
