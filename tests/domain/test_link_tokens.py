"""Tokens of links to approvals are found in every form that texts usually have."""

import base64
import json
from urllib.parse import quote

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


@given(st.text())
def test_other_text_stays(text: str) -> None:
    assert without_link_tokens(text) == text
