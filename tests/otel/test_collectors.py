"""Collectors as attackers: what they answer takes no memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any, Final

import pytest
import requests

from flowrunner.otel.collectors import session_for
from flowrunner.otel.export import open_exporters
from support.http_servers import QuietHandler, serving

# More than fits into the buffers of the connection.
_MOST_BYTES: Final = 64 * 2**20


class Answers:
    """The record of what a collector has done.

    Attributes:
        addresses: Those of its clients, one for each connection.
        sent: The bytes of each answer that it could send before the connection ended.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.addresses: set[Any] = set()
        self.sent: list[int] = []


@contextmanager
def answering(body: bytes, *, repeat: bool, **headers: str) -> Iterator[Answers]:
    """A collector. Args: body: Of its answers. repeat: Whether it is sent again and again."""

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answers.addresses.add(self.client_address)
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(_MOST_BYTES if repeat else len(body)))
            self.end_headers()
            sent = 0
            try:
                while sent < (_MOST_BYTES if repeat else len(body)):
                    self.wfile.write(body)
                    sent += len(body)
            except OSError:
                self.close_connection = True
            answers.sent.append(sent)

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        answers = Answers(url)
        yield answers


def session_for_traces() -> requests.Session:
    session = session_for("TRACES", {})
    assert session is not None
    return session


@pytest.mark.parametrize("headers", [{}, {"Content_Encoding": "gzip"}])
def test_a_long_answer_of_a_collector_is_not_read(headers: dict[str, str]) -> None:
    with (
        answering(b"x" * 2**16, repeat=True, **headers) as answers,
        session_for_traces() as session,
    ):
        found = [session.post(answers.url, b"spans", timeout=10, allow_redirects=False) for _ in range(2)]

    assert [(each.status_code, each.content) for each in found] == [(200, b"")] * 2
    assert len(answers.sent) == 2
    assert max(answers.sent) < _MOST_BYTES


def test_short_answers_of_a_collector_leave_the_connection_open() -> None:
    with answering(b"{}", repeat=False) as answers, session_for_traces() as session:
        for _ in range(3):
            assert session.post(answers.url, b"spans", timeout=10, allow_redirects=False).content == b""

    assert answers.sent == [2, 2, 2]
    assert len(answers.addresses) == 1


def test_exporters_do_not_read_long_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(b"x" * 2**16, repeat=True) as answers:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", answers.url)
        exporters = open_exporters()
        exporters.log({"event": "server.started", "level": "info"})
        assert exporters.metrics is not None
        exporters.metrics.put([])
        exporters.close()

    assert len(answers.sent) >= 1
    assert max(answers.sent) < _MOST_BYTES


def test_a_provider_of_credentials_keeps_its_own_session() -> None:
    name = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_{}CREDENTIAL_PROVIDER"

    assert session_for("LOGS", {name.format("LOGS_"): "mine"}) is None
    assert session_for("LOGS", {name.format(""): "mine"}) is None
    assert session_for("LOGS", {name.format("TRACES_"): "mine"}) is not None
