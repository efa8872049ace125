import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.account import MAX_PASSWORD_CHARACTERS, normal_email, password_faults


def codes(password: str, *, email: str = "mara@example.com", name: str = "Mara Lindqvist") -> list[str]:
    return [fault.code for fault in password_faults(password, email=email, name=name)]


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "vier-Worte und Zahl 7",
        "x" * 4 + "quietly-falls",
        "パスワードは長いほうが良いです",
        "a b c d e f g h",
    ],
)
def test_a_long_and_unexpected_password_is_accepted(password: str) -> None:
    assert codes(password) == []


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("", "too_short"),
        ("elevenchars", "too_short"),
        ("q8!" * 342, "too_long"),
        ("aaaaaaaaaaaa", "too_simple"),
        ("abababababab", "too_simple"),
        ("AaAaAaAaAaAa", "too_simple"),
        ("abcdefghijkl", "too_simple"),
        ("lkjihgfedcba", "too_simple"),
        ("passwordpassword", "too_common"),
        ("Password1234", "too_common"),
        ("administrator1", "too_common"),
        ("1234567890ab", "too_common"),
        ("qwertyuiop12", "too_common"),
        ("flowrunner12", "too_common"),
    ],
)
def test_a_password_that_is_easily_guessed_is_refused(password: str, code: str) -> None:
    assert codes(password) == [code]


def test_a_password_made_of_the_account_s_own_words_is_refused() -> None:
    assert codes("lindqvist.m.1234", email="lindqvist.m@example.com") == ["too_common"]
    assert codes("Mara Lindqvist1") == ["too_common"]


def test_a_short_name_does_not_spoil_a_good_password() -> None:
    assert codes("a tale of two otters", email="a@example.com", name="Otto") == []


@given(st.text(max_size=1100))
def test_every_password_gets_a_verdict(password: str) -> None:
    faults = password_faults(password, email="mara@example.com", name="Mara")

    assert len(faults) <= 1
    if len(password) < 12 or len(password) > MAX_PASSWORD_CHARACTERS:
        assert faults


@pytest.mark.parametrize(
    ("text", "email"),
    [
        (" Mara@Example.COM ", "mara@example.com"),
        ("root@localhost", "root@localhost"),
        ("cafe\u0301@example.com", "caf\u00e9@example.com"),
    ],
)
def test_an_address_has_one_form(text: str, email: str) -> None:
    assert normal_email(text) == email


@pytest.mark.parametrize("text", ["", "mara", "@example.com", "mara@", "a b@example.com", "a@b@c", "a\x00@b", "a@b\nc"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an e-mail address"):
        normal_email(text)


@given(st.text(max_size=40))
def test_the_form_of_an_address_is_stable(text: str) -> None:
    try:
        email = normal_email(text)
    except ValueError:
        return
    assert normal_email(email) == email
