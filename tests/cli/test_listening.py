"""Requests to webhook triggers that are sent on to a program of the user's."""

import click
import pytest

from flowrunner.cli.listening import body_of, forward
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


def test_a_request_that_cannot_be_written_again_does_not_end_the_listener(capsys: pytest.CaptureFixture[str]) -> None:
    # A secret was redacted in the middle of what was base64.
    with click.Context(click.Command("listen")):
        forward("http://127.0.0.1:9/hook", {"headers": {"content-type": "image/png"}, "body": "abc[x]d"})

    assert "Forwarding failed" in capsys.readouterr().err
