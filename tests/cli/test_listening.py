"""Requests to webhook triggers that are sent on to a program of the user's."""

import pytest

from flowrunner.cli.listening import body_of
from flowrunner.services.hook_requests import body_value


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"a": ["\xc3\xa9", 1.5]}'),
        ("application/json; charset=utf-8", b'"a text"'),
        ("application/cloudevents+json", b"7"),
        ("application/x-www-form-urlencoded", b"a=1&b=%C3%A9&b=2"),
        ("text/plain", b"caf\xc3\xa9"),
        ("text/plain; charset=ISO-8859-1", b"caf\xe9"),
        ("application/xml", b"<a/>"),
        ("image/png", b"\x89PNG\x00"),
        ("", b"anything"),
        ("application/json", b""),
    ],
)
def test_the_body_of_a_stored_request_is_written_in_the_form_in_which_it_came(content_type: str, body: bytes) -> None:
    stored = {"headers": {"content-type": content_type}, "body": body_value(content_type, body)}

    assert body_of(stored) == body
