"""The redactors that are in memory, and what they take."""

import secrets
import tracemalloc
import weakref
from typing import Final

import pytest

from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.security import redactors
from flowrunner.security.hidden_values import HiddenValues
from flowrunner.security.redaction import SecretRedactor
from flowrunner.security.redactors import Redactors

_LONG: Final = 8000


def used(found: Redactors, name: str, *values: str) -> HiddenValues:
    hidden = found.of(WorkspaceId(name))
    hidden.add(values)
    found.keep(WorkspaceId(name), hidden)
    return hidden


def test_s56_redactors_that_nobody_holds_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    one = SecretRedactor()
    one.add([secrets.token_hex(_LONG // 2)])
    monkeypatch.setattr(redactors, "MOST_BYTES", 3 * one.weight + one.weight // 2)
    found = Redactors(lambda _: HiddenValues())

    made = [weakref.ref(used(found, f"w{n}", secrets.token_hex(_LONG // 2))) for n in range(20)]

    assert [number for number, ref in enumerate(made) if ref() is not None] == [17, 18, 19]


def test_s56_redactors_of_workspaces_without_secrets_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redactors, "MOST_BYTES", 3 * SecretRedactor().weight)
    found = Redactors(lambda _: HiddenValues())

    made = [weakref.ref(used(found, f"w{n}")) for n in range(20)]

    assert [number for number, ref in enumerate(made) if ref() is not None] == [17, 18, 19]


def test_a_redactor_that_grew_is_weighed_again_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    more = [secrets.token_hex(_LONG // 16) for _ in range(10)]
    grown = SecretRedactor()
    grown.add(["a short value 3", *more])
    monkeypatch.setattr(redactors, "MOST_BYTES", grown.weight)
    found = Redactors(lambda _: HiddenValues())
    made = [weakref.ref(used(found, f"w{n}", f"a short value {n}")) for n in range(4)]

    used(found, "w3", *more)

    assert [ref() is not None for ref in made] == [False, False, False, True]


def test_whoever_holds_a_redactor_has_the_one_of_its_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redactors, "MOST_BYTES", 0)
    found = Redactors(lambda _: HiddenValues())

    held = used(found, "w", "the value of w")
    used(found, "other", "the value of another")

    assert found.of(WorkspaceId("w")) is held
    assert found.get(WorkspaceId("w")) is held
    assert found.get(WorkspaceId("other")) is None
    assert list(found) == [held]


def test_the_redactor_of_a_deleted_workspace_is_not_kept() -> None:
    found = Redactors(lambda _: HiddenValues())
    gone = weakref.ref(used(found, "w", "the value of w"))

    found.forget(WorkspaceId("w"))

    assert gone() is None
    assert found.get(WorkspaceId("w")) is None


def test_the_redactor_of_a_workspace_that_is_deleted_while_it_is_read_is_not_kept() -> None:
    found = Redactors(lambda _: HiddenValues())
    hidden = used(found, "w", "the value of w")
    found.forget(WorkspaceId("w"))

    found.keep(WorkspaceId("w"), hidden)
    gone = weakref.ref(hidden)
    del hidden

    assert gone() is None


@pytest.mark.parametrize("values", [
    [f"{number:08}{'a' * _LONG}" for number in range(50)],
    [secrets.token_hex(20) for _ in range(200)],
], ids=["long", "short"])  # fmt: skip
def test_a_redactor_weighs_about_what_it_takes(values: list[str]) -> None:
    redactor = SecretRedactor()

    tracemalloc.start()
    try:
        redactor.add(values)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # The tree of the search is not traced.
    assert 0.5 * taken < redactor.weight < 2 * taken


def test_s26_a_secret_that_is_a_number_is_hidden_as_one_and_others_stay_what_they_are() -> None:
    redactor = SecretRedactor()
    redactor.add(["12345678", "0.1234567"])
    value: JSON = {"n": 12345678, "list": [0.1234567, 1234567, True, None], "12345678": "n"}

    assert redactor.redact(value) == {"n": "***", "list": ["***", 1234567, True, None], "***": "n"}
