"""Configuration values: what may be one, and those that a flow reads."""

from collections.abc import Mapping, Sequence

import pytest

from flowrunner.domain.config import MAX_VALUE_CHARACTERS, config_faults, config_of
from flowrunner.domain.expression import ExpressionFailed
from flowrunner.domain.prepared import Mentions
from flowrunner.domain.values import JSON


@pytest.mark.parametrize(
    ("name", "value", "characters", "faults"),
    [
        ("region", "eu", 4, []), ("_R2", [], 2, []), ("a" * 128, 0, 1, []), ("a" * 129, 0, 1, [("name", "name")]),
        ("2a", 0, 1, [("name", "name")]), ("a-b", 0, 1, [("name", "name")]), ("", 0, 1, [("name", "name")]),
        ("a", None, 4, [("value", "required")]), ("a", "", MAX_VALUE_CHARACTERS, []), ("a", False, 5, []),
        ("a", "", MAX_VALUE_CHARACTERS + 1, [("value", "too_long")]),
        ("ä", None, MAX_VALUE_CHARACTERS + 1, [("name", "name"), ("value", "required"), ("value", "too_long")]),
    ],
)  # fmt: skip
def test_a_value_has_a_name_a_content_and_a_size(
    name: str, value: JSON, characters: int, faults: Sequence[tuple[str, str]]
) -> None:
    assert [(fault.path, fault.code) for fault in config_faults(name, value, characters=characters)] == faults


@pytest.mark.parametrize(
    ("needed", "values", "found"),
    [
        (frozenset(), {"b": 1, "c": 2}, {"b": 1}),
        (frozenset({("config", "b")}), {"a": None, "b": 1}, {"a": None, "b": 1}),
        (frozenset({("config", "a")}), {"b": 1}, None), (frozenset({("secrets", "a")}), {"b": 1}, {"b": 1}),
    ],
)  # fmt: skip
def test_a_flow_reads_the_values_that_it_names_and_needs_those_without_a_default(
    needed: frozenset[tuple[str, str]], values: Mapping[str, JSON], found: Mapping[str, JSON] | None
) -> None:
    mentions = Mentions(config=frozenset({"a", "b"}), needed=needed)
    if found is None:
        with pytest.raises(ExpressionFailed, match="'a'"):
            config_of(mentions, values)
    else:
        assert config_of(mentions, values) == found
