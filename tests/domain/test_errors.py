"""Messages of errors, and what they tell besides."""

from datetime import UTC, datetime

import pytest

from flowrunner.domain.errors import (
    AmbiguousName,
    Fault,
    FlowDisabled,
    FlowRunnerError,
    HookNotFound,
    InvalidFlows,
    LinkNotValid,
    NoExecutionToSignal,
    PasswordLoginDisabled,
    PersonalWorkspaceNotEmpty,
    SecondFactorRequired,
    SecretExists,
    UnknownAccount,
    UnknownEmail,
    quoted,
)
from flowrunner.domain.sign_on import SignOnFailed

FAULT = Fault(path="nodes", message="is missing", code="required")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoExecutionToSignal(), "No open execution fits the filter"), (UnknownAccount(), "No account has this id"),
        (UnknownEmail("a@b.test"), "No account has the e-mail address 'a@b.test'"),
        (LinkNotValid(), "The link is not valid"),
        (HookNotFound(), "Webhook not found"), (FlowDisabled("sync"), "The flow 'sync' is disabled"),
        (AmbiguousName("sync"), "'sync'"), (SecretExists(), "exists already"),
        (PasswordLoginDisabled(), "accepts no passwords"),
        (PersonalWorkspaceNotEmpty(flows=2, members=1), "(flows: 2, other members: 1)"),
        (SignOnFailed("expired", "too late"), "too late"),
        (InvalidFlows([("a", "flows[0]", FAULT), ("a", "flows[0]", FAULT)]), "1 of the flows has faults"),
        (InvalidFlows([("a", "flows[0]", FAULT), ("b", "flows[1]", FAULT)]), "2 of the flows have faults"),
    ],
)  # fmt: skip
def test_an_error_says_what_is_wrong(error: FlowRunnerError, message: str) -> None:
    assert message in str(error)


def test_a_second_step_says_how_it_can_be_made() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    error = SecondFactorRequired(
        challenge="c", methods=["totp", "passkey"], expires_at=noon, passkey={"challenge": "p"}
    )

    assert (error.challenge, error.methods, error.expires_at) == ("c", ("totp", "passkey"), noon)
    assert error.passkey == {"challenge": "p"}
    assert (SignOnFailed("expired", "").fault, SignOnFailed("expired", "").next) == ("expired", None)


def test_a_fault_keeps_a_bounded_part_of_each_of_its_texts() -> None:
    fault = Fault(path="a key." * 200, message="some words " * 200, code="c", hint="an advice " * 300)

    assert [len(fault.path), len(fault.message), len(fault.hint or "")] == [998, 1996, 1993]
    assert {fault.path[-1], fault.message[-1], (fault.hint or "")[-1]} == {"…"}
    whole = Fault(path="p" * 1000, message="m" * 2000, code="c", hint="h" * 2000)
    assert "…" not in whole.path + whole.message + (whole.hint or "")


def test_a_long_value_is_not_quoted() -> None:
    assert quoted("a" * 60) == f"'{'a' * 60}'"
    assert quoted("a" * 61) == "a text of 61 characters"
