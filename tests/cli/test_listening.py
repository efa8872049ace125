"""Requests to webhook triggers that are sent on to a program of the user's."""

import click
import pytest

from client.scripted import answer, error, hang_up, scripted
from flowrunner.cli import listening, outages
from flowrunner.cli.listening import body_of, forward, listen_to
from flowrunner.client import Client, UnauthorizedError
from flowrunner.services.hook_requests import body_value
from support.networks import unused_port


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


@pytest.mark.parametrize("own", ["", "?own=1"])
def test_a_request_is_forwarded_as_it_came(own: str) -> None:
    request = {
        "method": "PUT", "query": {"a": ["1", "2"], "b": "x y"}, "body": {"n": 1},
        "headers": {"content-type": "application/json", "x-signature": "abc", "host": "flows.example.com",
                    "connection": "upgrade", "content-length": "999"},
    }  # fmt: skip
    with scripted(answer(204), answer(204)) as program, click.Context(click.Command("listen")):
        forward(f"{program.url}/hook{own}", request)
        forward(f"{program.url}/hook{own}", {**request, "method": "GET", "query": {}})

        assert program.heads() == [
            f"PUT /hook{own}{'&' if own else '?'}a=1&a=2&b=x+y HTTP/1.1",
            f"GET /hook{own} HTTP/1.1",
        ]
        assert [request.partition("\r\n\r\n")[2] for request in program.requests] == ['{"n": 1}', ""]
        names = ("content-type", "x-signature", "host", "connection", "content-length")
        assert [program.header(0, name) for name in names] == [
            "application/json", "abc", program.url.removeprefix("http://"), "close", "8"
        ]  # fmt: skip


def test_a_program_that_does_not_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(click.Command("listen")):
        forward(f"http://127.0.0.1:{unused_port()}/hook", {"method": "POST"})

    assert capsys.readouterr().err.startswith("Forwarding failed: ")


def test_no_proxy_of_the_environment_is_between_the_listener_and_the_program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
    monkeypatch.delenv("no_proxy", raising=False)

    with scripted(answer(204)) as program, click.Context(click.Command("listen")):
        forward(f"{program.url}/hook", {"method": "POST"})

    assert capsys.readouterr().err == "Forwarded: 204\n"


def test_a_listener_outlasts_a_restart_of_the_server_and_misses_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(listening, "_POLL_SECONDS", 0.0)
    hook = {"id": "hook-1", "received_at": "2026-06-01T12:00:00Z", "state": "started", "size": 1}
    stored = {**hook, "request": {"method": "POST"}}
    listed = {"deliveries": [hook]}
    with scripted(answer(204)) as program, click.Context(click.Command("listen")):
        steps = answer(200, {"deliveries": []}), hang_up, answer(200, listed), hang_up, answer(200, stored)
        # Only Ctrl-C or a refusal ends it.
        with (
            scripted(*steps, answer(200, listed), error(401, "unauthorized")) as server,
            Client(server.url, retry_seconds=0) as client,
            pytest.raises(UnauthorizedError),
        ):
            listen_to(client, "/triggers/trig-1/deliveries", program.url)

    captured = capsys.readouterr()
    assert captured.out.count("hook-1") == 1
    assert captured.err.count("Forwarded: 204") == 1
    assert captured.err.count("Listening continues when the server is back") == 2
