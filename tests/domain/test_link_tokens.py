"""Tokens of links to approvals are found in every form that texts usually have."""

import base64
import html
import json
import quopri
import re
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.link_tokens import may_have_link_token, without_link_tokens

TOKEN = "fr_approve_exec-01m8frh424q4y79sb3j1gdwbnghdz33mh7gx.17.7oekX7J--JatTquJTwTgWpVnnVALQnnFVZJYCzWvgFs"
SECRET = TOKEN[-43:]


@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_s26_s73_a_token_is_hidden_in_plain_text_base64_and_hexadecimal(before: str, after: str) -> None:
    text = f"{before}https://flows.example.com/approve/{TOKEN} {after}".encode(errors="replace")
    forms = [
        text.decode(),
        quote(text),
        base64.b64encode(text).decode(),
        base64.urlsafe_b64encode(text).decode().rstrip("="),
        text.hex(),
        text.hex().upper(),
        json.dumps(text.decode()),
    ]

    for form in forms:
        hidden = without_link_tokens(form)
        assert may_have_link_token(json.dumps(form).encode())
        assert SECRET not in hidden
        for offset in range(3):
            part = base64.b64encode(b"\0" * offset + SECRET.encode()).decode()[4:-4]
            assert part not in hidden
        assert SECRET.encode().hex() not in hidden.lower()


def quoted_printable(text: str) -> str:
    return quopri.encodestring(text.encode(), quotetabs=True).decode()


def all_but_alphanumeric(escape: str, text: str) -> str:
    return "".join(c if c.isalnum() else escape.format(ord(c)) for c in text)


def folded(text: str, *, columns: int = 76, end: str = "\r\n") -> str:
    return end.join(text[start : start + columns] for start in range(0, len(text), columns))


@given(before=st.text(alphabet="ab \u00e4=", max_size=90), end=st.sampled_from(["\n", "\r\n"]))
def test_s26_s73_a_token_is_hidden_where_mails_and_encoders_break_or_escape_it(before: str, end: str) -> None:
    text = f"{before}https://flows.example.com/approve/{TOKEN} and {before}"
    forms = [
        quoted_printable(text).replace("\n", end),
        folded(base64.b64encode(text.encode()).decode(), end=end),
        folded(base64.b64encode(text.encode()).decode(), columns=64, end=end),
        folded(text.encode().hex(), end=end),
        *(
            all_but_alphanumeric(escape, text)
            for escape in (
                "%{:02X}", "%{:02x}", "%25{:02X}", "={:02X}", "\\u{:04x}", "\\u{:04X}", "\\\\u{:04x}",
                "\\x{:02X}", "&#{};", "&#x{:x};", "&#x{:04X};", "&amp;#{};",
            )
        ),
    ]  # fmt: skip

    for form in forms:
        hidden = without_link_tokens(form)
        assert may_have_link_token(json.dumps(form).encode()), form
        # No part of the signature that is long enough to go on from.
        for shown in (hidden, unescaped(hidden), decoded(hidden)):
            assert not any(SECRET[start : start + 8] in shown for start in range(len(SECRET) - 8)), form


def unescaped(text: str) -> str:
    plain = html.unescape(html.unescape(unquote(unquote(text))))
    return re.sub(r"\\+(?:u00|x)([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), plain)


def decoded(text: str) -> str:
    """Decode base64 and hexadecimal from each place."""
    letters = re.sub(r"[^A-Za-z0-9+/]", "", text)
    found = [quopri.decodestring(text.encode(errors="replace"))]
    for start in range(4):
        part = letters[start : start + (len(letters) - start) // 4 * 4]
        found.append(base64.b64decode(part))
    digits = re.sub(r"[^0-9a-f]", "", text)
    found.append(bytes.fromhex(digits[: len(digits) // 2 * 2]))
    return " ".join(each.decode("latin-1") for each in found)


@pytest.mark.parametrize(
    "text", ["approved", "fr approve x", "disapprove_", "a=\nb approve", "fr%5Fapproved", "approve: true\nfr_"]
)
def test_s26_words_like_the_prefix_stay(text: str) -> None:
    assert without_link_tokens(text) == text


def test_s61_long_texts_that_nearly_have_a_token_are_searched_once() -> None:
    # A search that begins again at each place would take an hour.
    for piece in ("fr_approve", "fr=\n_approve", "fr=\r\n", "66725f617070726f", "A\n", "ZnJfYXBwcm92ZV", "\\\\\\"):
        without_link_tokens(piece * (1_000_000 // len(piece)))


@given(st.text().filter(lambda text: "approve" not in text))
def test_other_text_stays(text: str) -> None:
    assert without_link_tokens(text) == text
