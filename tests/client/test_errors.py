"""Errors of the client: the words for those of a connection, and the class of an answer's."""

import ssl

import pytest

from flowrunner.client import errors
from flowrunner.client.errors import ApiError, NotFoundError, UnavailableError, ValidationError, class_of, reason_of


def of_tls(**attributes: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL] failed (_ssl.c:1)")
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(110, "Connection timed out"), "it took too long"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (OSError("no route"), "no route"),
        (ConnectionResetError(), "ConnectionResetError"),
        (of_tls(reason="WRONG_VERSION_NUMBER"), "it does not speak TLS: the URL may have to begin with http://"),
        (of_tls(verify_message="certificate has expired"), f"{errors.NO_TRUST}: certificate has expired"),
        (of_tls(reason="OTHER"), "[SSL] failed (_ssl.c:1)"),
    ],
)
def test_an_error_of_a_connection_is_told_in_words(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        # The code counts before the status, which a proxy may have replaced.
        (502, "not_found", NotFoundError),
        (404, "", NotFoundError),
        (422, "of a later version", ValidationError),
        (503, "", UnavailableError),
        (418, "", ApiError),
    ],
)
def test_the_class_of_an_error_is_that_of_its_code_or_otherwise_of_its_status(
    status: int, code: str, kind: type[ApiError]
) -> None:
    assert class_of(status, code) is kind
