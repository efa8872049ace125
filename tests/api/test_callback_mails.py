"""Callbacks as e-mails, through a real SMTP server."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from flowrunner.mail import SmtpMailer, _kind_of
from flowrunner.ports.outgoing_mails import MailFailed
from flowrunner.smtp import SmtpSession
from support.client import Client
from support.mailbox import Mailbox, open_mailbox, scripted_mail_server, text_of
from support.networks import unused_port
from support.server import Server
from support.tls import Issuer
from support.waiting import PATIENCE_SECONDS, wait_for

FAILING: Final = "metadata: {name: Pläne}\nnodes:\n  only: {type: fail, params: {message: 'out of paper'}}\n"


@pytest.fixture(scope="module")
def smtp() -> Iterator[tuple[Mailbox, int]]:
    with open_mailbox() as opened:
        yield opened


@pytest.fixture(scope="module")
def mailing(tmp_path_factory: pytest.TempPathFactory, smtp: tuple[Mailbox, int]) -> Iterator[Client]:
    settings = {
        "SMTP_URL": f"smtp://127.0.0.1:{smtp[1]}?from=flows@example.com",
        "PUBLIC_URL": "https://flows.example.com",
        "ALLOWED_HOSTS": "localhost",
    }
    server = Server(tmp_path_factory.mktemp("mailing"), settings)
    try:
        yield server.start().admin()
    finally:
        server.stop()


def test_tests_of_callbacks_do_not_flood_a_mailbox(mailing: Client, smtp: tuple[Mailbox, int]) -> None:
    before = len(smtp[0].arrived)
    body = {"url": "mailto:victim@example.net", "format": "email", "events": ["execution.failed"]}
    urls = ("mailto:victim@example.net", "mailto:VICTIM%40example.net,other@example.net")
    paths = [f"/api/v1/callbacks/{mailing.post('/api/v1/callbacks', {**body, 'url': url}).json['id']}" for url in urls]
    replies = [mailing.post(f"{paths[number % 2]}/test") for number in range(16)]
    for path in paths:
        mailing.delete(path)
    arrived = len(smtp[0].arrived) - before
    # The tests that follow look at what arrives from the beginning.
    del smtp[0].arrived[before:]

    refused = [reply for reply in replies if reply.status == 429]
    assert (len(replies) - len(refused), arrived) == (arrived, arrived)
    assert 12 <= arrived <= 14
    assert refused[0].json["error"]["details"] == {"limit": "callback_tests", "most": 12}
    assert 0 < int(refused[0].headers["retry-after"]) <= 5


def test_a_failure_is_mailed_with_a_link_and_once_more_if_the_server_does_not_take_it(
    mailing: Client, smtp: tuple[Mailbox, int]
) -> None:
    mailbox, _ = smtp
    mailbox.rejections = 1
    body = {
        "url": "mailto:ops@example.com,dev%2Ba@example.com",
        "format": "email",
        "events": ["execution.failed"],
        "name": "On call",
    }
    callback = mailing.post("/api/v1/callbacks", body)
    assert callback.status == 201, callback
    id = mailing.ended(mailing.run(mailing.new_flow(FAILING, name="Pläne")))["id"]

    wait_for(lambda: len(mailbox.arrived) == 1, 30.0)

    envelope, message = mailbox.arrived[0]
    assert envelope.mail_from == "flows@example.com"
    assert envelope.rcpt_tos == ["ops@example.com", "dev+a@example.com"]
    assert message["Subject"] == "Flow 'Pläne' failed: out of paper"
    lines = text_of(message).splitlines()
    assert lines[:4] == [
        "Flow 'Pläne' failed: out of paper",
        "",
        f"https://flows.example.com/w/{mailing.account_id}/executions/{id}",
        "",
    ]
    assert f"Execution: {id}" in lines
    assert lines[-1] == "Sent by the callback 'On call'."
    assert (message["From"], message["Auto-Submitted"]) == ("flows@example.com", "auto-generated")
    assert message["Date"] is not None
    listed = mailing.get(f"/api/v1/callbacks/{callback.json['id']}/deliveries").json["deliveries"]
    assert message["Message-ID"] == f"<{listed[0]['id']}@example.com>"
    mailing.delete(f"/api/v1/callbacks/{callback.json['id']}")


def test_the_recipients_that_the_mail_server_refuses_are_named_in_the_delivery(
    mailing: Client, smtp: tuple[Mailbox, int]
) -> None:
    mailbox, _ = smtp
    before = len(mailbox.arrived)
    refused = "email.550: nobody@example.org, email.450: busy@example.org"
    body = {
        "url": "mailto:nobody@example.org,team@example.org,busy@example.org",
        "format": "email",
        "events": ["execution.failed"],
    }
    path = f"/api/v1/callbacks/{mailing.post('/api/v1/callbacks', body).json['id']}"

    tested = mailing.post(f"{path}/test").json
    mailing.ended(mailing.run(mailing.new_flow(FAILING, name="Of some")))
    wait_for(lambda: mailing.get(f"{path}/deliveries").json["deliveries"][0]["state"] == "delivered", 30.0)

    (sent, _) = mailing.get(f"{path}/deliveries").json["deliveries"]
    assert (tested["state"], tested["error"]) == ("delivered", refused)
    assert (sent["event"], sent["error"], sent["attempts"]) == ("execution.failed", refused, 1)
    # Also where all callbacks are looked at: those recipients get nothing, and the callback does not fail.
    listed = [each for each in mailing.get("/api/v1/callbacks").json["callbacks"] if path.endswith(each["id"])]
    assert [(each["last_error"], each["failures"]) for each in (*listed, mailing.get(path).json)] == [(refused, 0)] * 2
    assert [envelope.rcpt_tos for envelope, _ in mailbox.arrived[before:]] == [["team@example.org"]] * 2
    mailing.delete(path)
    # The tests that follow look at what arrives from the beginning.
    del mailbox.arrived[before:]


@pytest.mark.parametrize(
    "url",
    [
        "ops@example.com", "mailto:", "mailto:a", "https://example.com", "mailto:" + ",".join(["a@b.c"] * 6),
        # Several addresses, or none, to the reader of a header.
        "mailto:root%2Cstaff@b.c", 'mailto:-=@%2C"', "mailto:a@b.c%0D%0ABcc:x", "mailto:all:;@b.c", "mailto:<a@b.c>",
    ],
)  # fmt: skip
def test_what_is_no_address_is_rejected(mailing: Client, url: str) -> None:
    reply = mailing.post("/api/v1/callbacks", {"url": url, "format": "email", "events": ["execution.failed"]})

    assert (reply.status, reply.error["details"]["field"]) == (422, "url")


async def test_a_failure_is_named_by_its_kind_alone(smtp: tuple[Mailbox, int]) -> None:
    mailbox, port = smtp
    mailer = SmtpMailer.of(f"smtp://127.0.0.1:{port}")
    for to, kind in (("nobody@example.com", "email.550"), ("a@example.com", "email.451")):
        mailbox.rejections = 1
        with pytest.raises(MailFailed, match=f"^{kind}$"):
            await mailer.send([to], "s", "t", message_id="m")
    mailbox.rejections = 0
    with pytest.raises(MailFailed, match=r"^email\.connection$"):
        await SmtpMailer.of("smtp://127.0.0.1:1").send(["a@example.com"], "s", "t", message_id="m")
    with pytest.raises(MailFailed, match=r"^email\.(tls|connection)$"):
        await SmtpMailer.of(f"smtps://127.0.0.1:{port}").send(["a@example.com"], "s", "t", message_id="m")


async def test_a_password_is_sent_to_no_server_that_does_not_encrypt() -> None:
    # Its address is not one of those that certainly are this machine's.
    controller = Controller(Mailbox(), hostname="127.0.0.2", port=unused_port("127.0.0.2"))
    controller.start()
    try:
        for user, kind in (("", None), ("user:p%40ss@", "email.tls")):
            mailer = SmtpMailer.of(f"smtp://{user}127.0.0.2:{controller.port}")
            with nullcontext() if kind is None else pytest.raises(MailFailed, match=f"^{kind}$"):
                await mailer.send(["a@example.com"], "s", "t", message_id="m")
    finally:
        controller.stop()


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_an_encrypted_server_gets_the_password_if_its_certificate_is_trusted_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    known, unknown = Issuer(tmp_path, "known"), Issuer(tmp_path, "unknown")
    monkeypatch.setenv("SSL_CERT_FILE", str(known.file))
    certificates = {
        "trusted": known.issue("a", "localhost"),
        "of another host": known.issue("b", "example.com"),
        "of an unknown issuer": unknown.issue("c", "localhost"),
    }
    passwords: dict[str, list[bytes]] = {what: [] for what in certificates}
    outcomes = {}
    for what, (certificate, key) in certificates.items():
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)

        def authenticate(*given: Any, seen: list[bytes] = passwords[what]) -> AuthResult:
            seen.append(given[4].password)
            return AuthResult(success=True)

        # The server of the tests offers logins only after STARTTLS, unless it is told not to ask for it.
        options = {"tls_context": context} if scheme == "smtp" else {"ssl_context": context, "auth_require_tls": False}
        controller = Controller(
            Mailbox(), hostname="127.0.0.1", port=unused_port(), authenticator=authenticate, **options
        )
        controller.start()
        try:
            mailer = SmtpMailer.of(f"{scheme}://user:p%40ss@localhost:{controller.port}")
            await mailer.send(["a@example.com"], "s", "t", message_id="m")
            outcomes[what] = "sent"
        except MailFailed as error:
            outcomes[what] = str(error)
        finally:
            controller.stop()

    assert outcomes == {"trusted": "sent", "of another host": "email.tls", "of an unknown issuer": "email.tls"}
    assert passwords == {"trusted": [b"p@ss"], "of another host": [], "of an unknown issuer": []}


@pytest.mark.parametrize(
    ("options", "user", "to", "kind"),
    [
        # Without encryption, the server of the tests offers none.
        ({}, "user:word@", "a@example.com", "email.login"),
        (
            {"authenticator": lambda *_: AuthResult(success=False, handled=False), "auth_require_tls": False},
            "user:word@", "a@example.com", "email.login",
        ),
        ({"enable_SMTPUTF8": False}, "", "müller@example.com", "email.invalid"),
        ({"enable_SMTPUTF8": True}, "", "müller@example.com", None),
    ],
    ids=["no logins", "another password", "no such letters", "all letters"],
)  # fmt: skip
async def test_what_a_mail_server_does_not_offer_is_no_lost_connection(
    options: dict[str, Any], user: str, to: str, kind: str | None
) -> None:
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=unused_port(), **options)
    controller.start()
    try:
        mailer = SmtpMailer.of(f"smtp://{user}127.0.0.1:{controller.port}")
        with nullcontext() if kind is None else pytest.raises(MailFailed, match=f"^{kind}$"):
            await mailer.send([to], "s", "t", message_id="m")
    finally:
        controller.stop()

    assert [envelope.rcpt_tos for envelope, _ in mailbox.arrived] == ([[to]] if kind is None else [])


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("smtp://mail.example.com", ("mail.example.com", 25)),
        ("smtps://mail.example.com", ("mail.example.com", 465)),
        ("smtp://mail.example.com:587", ("mail.example.com", 587)),
        ("smtps://[::1]:2465", ("::1", 2465)),
    ],
)
async def test_a_mail_server_is_at_the_port_of_its_scheme_unless_its_url_has_another(
    monkeypatch: pytest.MonkeyPatch, url: str, address: tuple[str, int]
) -> None:
    tried = []

    def refuse(target: tuple[str, int], *_: object) -> socket.socket:
        tried.append(target)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(MailFailed, match=r"^email\.connection$"):
        await SmtpMailer.of(url).send(["a@example.com"], "s", "t", message_id="m")

    assert tried == [address]


# What a server of e-mails is told, in the order of a message, and what a client without STARTTLS reads first.
TOLD: Final = ("banner", "ehlo", "AUTH", "mail", "rcpt", "data", ".")


@pytest.mark.parametrize("stage", TOLD)
@pytest.mark.parametrize(
    ("reply", "kind"),
    [(b"", "email.connection"), (b"421 4.3.2 closing\r\n", "email.421"), (b"554 5.7.1 no\r\n", "email.554")],
    ids=["cut off", "closing", "refused"],
)
async def test_the_kind_of_a_failed_email_tells_what_the_server_has_said(stage: str, reply: bytes, kind: str) -> None:
    def talk(connection: socket.socket) -> None:
        with connection.makefile("rb") as told:
            for each in TOLD:
                line = b"" if each == "banner" else told.readline()
                while each == "." and line != b".\r\n":
                    line = told.readline()
                if each == stage:
                    connection.sendall(reply)
                    if each == "ehlo" and reply:
                        # The client asks once more, in the older form.
                        told.readline()
                        connection.sendall(reply)
                    return
                replies = {"banner": b"220 a", "ehlo": b"250-a\r\n250 AUTH PLAIN", "AUTH": b"235 a", "data": b"354 a"}
                connection.sendall(replies.get(each, b"250 a") + b"\r\n")

    with scripted_mail_server(talk) as port:
        mailer = SmtpMailer.of(f"smtp://user:password@127.0.0.1:{port}")
        with pytest.raises(MailFailed) as failed:
            await mailer.send(["a@example.com"], "s", "t", message_id="m")

    # Whatever code a server has for it, a login that it refuses is one.
    assert str(failed.value) == ("email.login" if stage == "AUTH" and reply else kind)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(399, "connection"), (400, "400"), (599, "599"), (600, "connection"), (-1, "connection")],
)
def test_a_code_that_no_mail_server_answers_with_is_a_failed_connection(code: int, kind: str) -> None:
    # Of HTTP, for example.
    assert _kind_of(code) == f"email.{kind}"


def _drips(connection: socket.socket) -> None:
    while connection.send(b"2"):
        time.sleep(0.05)


def _repeats_a_line(connection: socket.socket) -> None:
    while connection.send(b"220-x\r\n" * 1000):
        pass


def _asks_for_what_is_no_base64(connection: socket.socket) -> None:
    connection.sendall(b"220 a\r\n250-a\r\n250 AUTH CRAM-MD5\r\n334 a\r\n")
    while connection.recv(4096):
        pass


@pytest.mark.parametrize("talk", [_drips, _repeats_a_line, _asks_for_what_is_no_base64])
async def test_a_mail_server_without_a_proper_reply_fails_and_delays_no_other_work(
    monkeypatch: pytest.MonkeyPatch, talk: Callable[[socket.socket], None]
) -> None:
    monkeypatch.setattr("flowrunner.mail._MOST_SECONDS", 1.0)
    with scripted_mail_server(talk) as port:
        mailer = SmtpMailer.of(f"smtp://user:password@127.0.0.1:{port}")
        # More than the event loop has threads.
        sending = [mailer.send(["a@example.com"], "s", "t", message_id="m") for _ in range(40)]
        first, *others = [asyncio.create_task(each) for each in sending]
        await asyncio.sleep(0.1)
        await asyncio.to_thread(lambda: None)
        assert not (talk is _drips and first.done())

        with pytest.raises(MailFailed, match=r"^email\.connection$"):
            await first
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@pytest.mark.parametrize(
    "greeting",
    [b"SSH-2.0-x\r\n", b"999 x\r\n", b"220 " + b"x" * 100_000],
    ids=["another protocol", "no code", "a line"],
)
async def test_what_is_no_mail_server_has_rejected_no_e_mail_for_good(greeting: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(greeting)
        while connection.recv(4096):
            pass

    with scripted_mail_server(talk) as port:
        with pytest.raises(MailFailed, match=r"^email\.connection$"):
            await SmtpMailer.of(f"smtp://127.0.0.1:{port}").send(["a@example.com"], "s", "t", message_id="m")


def test_the_end_of_a_session_is_told_to_the_server_without_waiting_for_its_answer() -> None:
    asked = threading.Event()

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"220 a\r\n")
        if connection.recv(100).upper() == b"QUIT\r\n":
            asked.set()
            connection.sendall(b"221 a\r\n")

    with scripted_mail_server(talk) as port:
        session = SmtpSession(
            "127.0.0.1",
            connect=lambda: socket.create_connection(("127.0.0.1", port)),
            tls=None,
            seconds=PATIENCE_SECONDS,
            reply_seconds=PATIENCE_SECONDS,
        )
        unread = session.unread_bytes
        session.leave()
        session.close()

        assert asked.wait(PATIENCE_SECONDS)
    assert session.unread_bytes == unread


@pytest.mark.parametrize("farewell", [b"500 no\r\n", b""])
async def test_an_e_mail_that_was_accepted_is_sent_however_the_session_ends(farewell: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"220 a\r\n")
        for command in connection.makefile("rb"):
            word = command[:4].upper()
            if word == b"QUIT":
                connection.sendall(farewell)
            elif word == b"DATA":
                connection.sendall(b"354 a\r\n")
            elif word in (b"EHLO", b"MAIL", b"RCPT", b".\r\n"):
                connection.sendall(b"250 a\r\n")

    with scripted_mail_server(talk) as port:
        await SmtpMailer.of(f"smtp://127.0.0.1:{port}").send(["a@example.com"], "s", "t", message_id="m")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://user:hunter22222@host", "must be a URL such as smtps://"),
        ("smtp://user:hunter22222@host:465", "must begin with smtps:// at port 465"),
    ],
)
def test_a_faulty_smtp_url_stops_the_start_without_being_shown(url: str, said: str, tmp_path: Path) -> None:
    server = Server(tmp_path, {"SMTP_URL": url}).spawn()

    assert server.wait() != 0
    assert f"SMTP_URL: {said}" in server.log
    assert "hunter22222" not in server.log
