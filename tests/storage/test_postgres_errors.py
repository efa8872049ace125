"""Kinds of errors of PostgreSQL, and what an operator reads of them."""

import asyncpg
import pytest

from flowrunner.storage.postgres.connections import (
    as_refusal,
    is_damage,
    is_fault_of_a_part,
    is_write_refused,
    text_for_log,
    with_advice,
)

ENDED = asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress")


@pytest.mark.parametrize(
    ("error", "kinds"),
    [
        (asyncpg.QueryCanceledError("x"), {"part"}), (asyncpg.SerializationError("x"), {"part"}),
        (asyncpg.DeadlockDetectedError("x"), {"part"}), (asyncpg.DiskFullError("x"), {"part", "write"}),
        (asyncpg.OutOfMemoryError("x"), {"part"}), (asyncpg.ConfigurationLimitExceededError("x"), {"part"}),
        (asyncpg.StatementTooComplexError("x"), {"part"}), (asyncpg.DataCorruptedError("x"), {"part", "damage"}),
        (asyncpg.ReadOnlySQLTransactionError("x"), {"write"}),
        # It may have been committed.
        (asyncpg.StatementCompletionUnknownError("x"), set()), (asyncpg.ConnectionDoesNotExistError("x"), set()),
        (asyncpg.TooManyConnectionsError("x"), set()), (asyncpg.UniqueViolationError("x"), set()),
        (asyncpg.PostgresError("x"), set()), (OSError("57014"), set()), (ENDED, set()),
    ],
)  # fmt: skip
def test_errors_are_told_apart_by_what_may_be_tried_next(error: Exception, kinds: set[str]) -> None:
    found = {"part": is_fault_of_a_part(error), "write": is_write_refused(error), "damage": is_damage(error)}

    assert {kind for kind, holds in found.items() if holds} == kinds


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (asyncpg.InvalidPasswordError("no\nHINT: none."), "no. HINT: none; correct the user or the password in"),
        (asyncpg.InvalidCatalogNameError("none"), "none; create it: createdb"),
        (asyncpg.UniqueViolationError("twice"), "twice"),
        (TimeoutError(), "it does not answer within"),
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), "Connection refused"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 101] other"), "Connection refused"),
        (OSError(None, "resolution failed"), "resolution failed"),
        (ENDED, "it has ended the session"),
        (asyncpg.InterfaceError(""), "InterfaceError"),
    ],
)
def test_an_operator_reads_what_is_wrong_and_what_to_do(error: Exception, text: str) -> None:
    assert with_advice(error).startswith(text)


def test_the_log_has_the_words_for_an_ended_session_and_other_errors_as_they_are() -> None:
    assert text_for_log(ENDED) == "The database has ended the session"
    assert text_for_log(OSError("x")) == "OSError('x')"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (asyncpg.InvalidPasswordError("no"), "UnfitServer"), (asyncpg.InsufficientPrivilegeError("no"), "UnfitServer"),
        (asyncpg.InvalidAuthorizationSpecificationError("no"), "UnfitServer"),
        (ConnectionRefusedError(111, "no"), "CannotConnect"),
        (asyncpg.CannotConnectNowError("starts"), "CannotConnect"),
        (asyncpg.TooManyConnectionsError("no"), "CannotConnect"),
    ],
)  # fmt: skip
def test_a_start_is_tried_again_only_where_that_may_help(error: Exception, kind: str) -> None:
    assert type(as_refusal(error)).__name__ == kind
