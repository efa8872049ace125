"""The form in which a password goes into a login by SCRAM, which has to be that of the server."""

import pytest

from flowrunner.postgres.scram import _prepared


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        # The examples of RFC 4013, of which PostgreSQL takes a prohibited text as it is.
        ("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX"), ("\u0007", "\u0007"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("ä\u0007", "ä\u0007"), ("a\u00a0b", "a b"), ("a\u0308", "ä"), ("\u00ad", "\u00ad"),
        # From right to left: from the first to the last letter, or not at all.
        ("\u0627ﬁ\u0628", "\u0627ﬁ\u0628"), ("\u0627\u00b2\u0628", "\u06272\u0628"), ("\u00b2\u0628", "\u00b2\u0628"),
        ("\u0628\u00b2", "\u0628\u00b2"),
    ],
)  # fmt: skip
def test_a_password_is_prepared_as_postgresql_does(password: str, prepared: str) -> None:
    assert _prepared(password) == prepared.encode()
