"""Workspaces: the slugs that names suggest, and roles."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.account import rights_of
from flowrunner.domain.workspace import MAX_SLUG_CHARACTERS, WORKSPACE_ROLES, includes, slug_of, workspace_faults

# Names of every kind, and those that have to be cut near a blank.
LONG = st.builds(
    lambda size, end: "a" * size + f" {end}", st.integers(59, 64), st.text(st.sampled_from("b -"), max_size=5)
)
NAMES = st.text(st.sampled_from("aZ09 -_.é"), max_size=MAX_SLUG_CHARACTERS + 5) | st.text() | LONG


@given(NAMES)
def test_the_slug_that_a_name_suggests_is_one_unless_it_is_too_short(name: str) -> None:
    slug = slug_of(name)

    assert len(slug) < 3 or workspace_faults(name=None, slug=slug) == []
    assert slug_of(slug) == slug


@given(NAMES)
def test_a_name_suggests_a_slug_of_its_first_letters_and_digits(name: str) -> None:
    plain = [character for character in name.lower() if character in "abcdefghijklmnopqrstuvwxyz0123456789"]
    slug = slug_of(name)

    assert plain[: len(slug.replace("-", ""))] == list(slug.replace("-", ""))
    assert len(slug) >= min(len(plain), MAX_SLUG_CHARACTERS // 2)


@given(st.text(max_size=5) | st.builds(lambda size, end: "a" * size + end, st.integers(198, 201), st.text(max_size=1)))
def test_a_name_has_up_to_200_characters_that_are_all_shown(name: str) -> None:
    is_name = name.isprintable() and name.strip() != "" and len(name) <= 200

    assert (workspace_faults(name=name, slug=None) == []) == is_name


def test_a_role_includes_another_if_it_has_its_rights() -> None:
    for role, other in product(WORKSPACE_ROLES, repeat=2):
        has_rights = rights_of("user", None, role) >= rights_of("user", None, other)

        assert includes(role, other) == has_rights, (role, other)
