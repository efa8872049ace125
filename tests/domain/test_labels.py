"""The terms by which lists select executions: labels, searchable inputs and jobs."""

import pytest

from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.labels import MAX_VALUE_CHARACTERS, input_term, label_term, terms_of
from flowrunner.domain.values import JSON, JobId


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("EU", "EU"), (42, "42"), (42.0, "42"), (0.5, "0.5"), (True, "true"), (0, "0"), (False, "false"),
        ("a" * MAX_VALUE_CHARACTERS, "a" * MAX_VALUE_CHARACTERS), ("a" * (MAX_VALUE_CHARACTERS + 1), None),
        ("", None), ("a\0", None), (None, None), ([1], None), ({}, None),
    ],
)  # fmt: skip
def test_an_input_is_found_by_its_short_text(value: JSON, text: str | None) -> None:
    found = terms_of({}, {"region": value, "other": "x"}, ["region", "missing"], None)

    assert list(found) == ([] if text is None else [input_term("region", text)])


def test_labels_inputs_and_jobs_of_one_name_are_different_terms() -> None:
    found = terms_of({"a": "1"}, {"a": "1"}, ["a"], JobId("1"))

    assert len(set(found)) == 3
    assert label_term("a:1", "label") in found


@pytest.mark.parametrize("text", ["team", "", ":core", "team:", "te am:core", "team:a\0"])
def test_a_label_is_wanted_by_its_name_and_its_value(text: str) -> None:
    with pytest.raises(InvalidInput, match="must be the name and the value of a label"):
        label_term(text, "label")


def test_the_value_of_a_wanted_label_may_have_colons() -> None:
    assert label_term("at:10:30", "label") in terms_of({"at": "10:30"}, {}, [], None)
