"""Keys that a process holds, and the positions and states that lists and preconditions show."""

from dataclasses import replace
from datetime import timedelta

import pytest

from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.values import FlowId
from flowrunner.ports.config import ConfigView
from flowrunner.ports.flows import FlowName
from flowrunner.ports.keys import HeldKeys
from flowrunner.ports.page import Page
from support.databases import NOON


@pytest.mark.parametrize(
    ("keys", "uses", "has"),
    [
        (HeldKeys("ab"), ["ab", "abc"], ["ab", "abc"]),
        (HeldKeys("ab", "cd"), ["ab", "abc"], ["ab", "abc", "cd", "cde"]),
    ],
)  # fmt: skip
def test_a_process_uses_its_present_key_and_has_the_next_one_too(
    keys: HeldKeys, uses: list[str], has: list[str]
) -> None:
    ids = ["ab", "abc", "a", "cd", "cde", "bc"]

    assert [id for id in ids if keys.uses(id)] == uses
    assert [id for id in ids if keys.has(id)] == has


def test_a_page_with_one_more_entry_is_the_same_otherwise() -> None:
    page = Page(limit=10, offset=3, cursor="token-1", counts=False, is_reversed=True)

    assert page.with_one_more() == replace(page, limit=11)


def test_the_position_of_a_page_is_read_as_its_list_needs_it() -> None:
    first, other, pair = Page(limit=1), Page(limit=1, cursor="token-1"), Page(limit=1, cursor="7:a:b")

    assert (first.after, first.after_id("token"), first.pair, first.before_pair[1]) == ("", "", ("", ""), "")
    assert first.before == first.before_pair[0] > 10**18
    assert (other.after_id("token"), pair.pair, pair.before_pair) == ("token-1", ("7", "a:b"), (7, "a:b"))
    assert Page(limit=1, cursor="12").before == 12
    for wrong in (lambda: other.after_id("exec"), lambda: other.before, lambda: other.before_pair):
        with pytest.raises(InvalidInput) as raised:
            wrong()
        assert raised.value.faults[0].path == "cursor"


def test_the_state_of_a_configuration_value_differs_after_every_change() -> None:
    view = ConfigView(name="a", value=1, created_at=NOON, updated_at=NOON)
    others = [
        replace(view, value=2), replace(view, edition=2), replace(view, created_at=NOON + timedelta(milliseconds=1)),
        replace(view, value="1"),
    ]  # fmt: skip

    assert len({view.state, *(other.state for other in others)}) == 5
    assert view.state == replace(view, updated_at=NOON + timedelta(days=1), used_by=[FlowName(FlowId("f"), "F")]).state
