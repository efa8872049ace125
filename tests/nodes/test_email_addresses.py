"""Addresses of e-mails, as flows write them."""

import pytest

from flowrunner.nodes.email_addresses import email_address_of

LABEL = "a" * 62


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("ada@example.com", "", "ada@example.com"), (" ada@example.com ", "", "ada@example.com"),
        ("Ada <ada@example.com>", "Ada", "ada@example.com"), ("<ada@example.com>", "", "ada@example.com"),
        (r'"Ada \"L\" B, C" <ada@example.com>', 'Ada "L" B, C', "ada@example.com"),
        # A name is not all that is between the outermost marks.
        ('"Ada" B <ada@example.com>', '"Ada" B', "ada@example.com"), ('" <ada@example.com>', '"', "ada@example.com"),
        ('Ada" <ada@example.com>', 'Ada"', "ada@example.com"), ('"" <ada@example.com>', "", "ada@example.com"),
        ("Ada@Example.COM", "", "Ada@example.com"), ("ädä@straße.example", "", "ädä@xn--strae-oqa.example"),
        ("a.b+c!@x-1.example", "", "a.b+c!@x-1.example"), ("a@localhost", "", "a@localhost"),
        (f"{'a' * 64}@example.com", "", f"{'a' * 64}@example.com"),
        (f"a@{f'{LABEL}.' * 4}b", "", f"a@{f'{LABEL}.' * 4}b"),
    ],
)  # fmt: skip
def test_an_address_is_read_with_its_name(text: str, name: str, address: str) -> None:
    found = email_address_of(text)

    assert (found.name, found.address) == (name, address)


@pytest.mark.parametrize(
    "text",
    [
        "", "ada", "@example.com", "ada@", "a@b@example.com", "a..b@example.com", ".a@example.com", "a@example..com",
        "a@-x.example", "a@x-.example", "a@exa mple.com", "a\u00a0b@example.com", "a\u200eb@example.com",
        # A letter beyond ASCII is two bytes.
        f"{'a' * 65}@example.com", f"{'ä' * 33}@example.com", f"a@{f'{LABEL}.' * 4}bc",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an e-mail address$"):
        email_address_of(text)
