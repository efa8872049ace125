"""`email.send` against a real server."""

import asyncio
import contextlib
import hmac
import socket
import ssl
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from flowrunner.domain.values import WorkspaceId
from flowrunner.nodes.email_send import EmailSend
from flowrunner.plugin import MailServer, NodeFailure
from flowrunner.security import egress_connections, name_lookups
from flowrunner.security.egress_mail import EgressMailClients
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.security.name_lookups import lookup_slots
from flowrunner.smtp import SmtpSession
from support.contexts import PlainContext
from support.databases import MARA, NOON
from support.mailbox import Mailbox, open_mailbox, scripted_mail_server
from support.networks import LOOPBACK, unused_port
from support.open_files import without_files
from support.tls import Issuer
from support.waiting import PATIENCE_SECONDS, wait_for

NODE: Final = EmailSend()
PLAIN: Final[Mapping[str, Any]] = {"host": "127.0.0.1", "security": "none", "from": "flows@example.com"}

MANY: Final = [f"a{number}@example.com" for number in range(60)]
FILE: Final = {"filename": "a", "base64": ""}


class Sender:
    """Sends as a node of a flow does, by default without a login to the loopback address."""

    def __init__(self) -> None:
        self.clients = EgressMailClients(EgressPolicy([LOOPBACK]), lookup_slots())
        self.context = PlainContext(http=None, mail=self.clients.of(WorkspaceId(MARA)))  # type: ignore[arg-type] # unused

    async def send(self, port: int, **params: Any) -> Any:
        given = {**PLAIN, "port": port, "to": "ada@example.com", "subject": "Hello", "body": "It works", **params}
        given = {name: value for name, value in given.items() if value is not None}
        return await NODE.run(NODE.read(given), self.context)

    async def fail(self, port: int, **params: Any) -> NodeFailure:
        with pytest.raises(NodeFailure) as failed:
            await self.send(port, **params)
        return failed.value

    async def pass_on(
        self,
        port: int,
        *,
        write: Callable[[], EmailMessage] = EmailMessage,
        recipients: Sequence[Any] = ("a@b.example",),
    ) -> None:
        """Send as another node type may do it."""
        server = MailServer(host="127.0.0.1", port=port, security="none")
        await self.context.mail.send(server, sender="flows@example.com", recipients=recipients, write=write)


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    with open_mailbox() as opened:
        yield opened


def only_one(mailbox: Mailbox) -> tuple[Envelope, EmailMessage]:
    ((envelope, message),) = mailbox.arrived
    assert isinstance(message, EmailMessage)
    return envelope, message


def faults_of(**params: Any) -> list[str]:
    given = {"host": "smtp.example.com", "from": "a@example.com", "to": "b@example.com", "body": "x", **params}
    return [fault.message for fault in NODE.check({name: value for name, value in given.items() if value is not None})]


async def test_an_email_arrives_with_its_headers_text_and_html(sender: Sender, mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox

    result = await sender.send(
        port, **{"from": "Flöws <flows@example.com>"}, to=["Ada Lovelace <ada@example.com>", "kim@example.com"],
        cc="cy@example.com", bcc=["bo@example.com"], reply_to="help@example.com", subject="Größe ✓",
        body="Grüße\n.\nEnd", html="<p>Grüße</p>",
    )  # fmt: skip

    envelope, message = only_one(box)
    recipients = ["ada@example.com", "kim@example.com", "cy@example.com", "bo@example.com"]
    assert (envelope.mail_from, envelope.rcpt_tos) == ("flows@example.com", recipients)
    assert message["From"] == "Flöws <flows@example.com>"
    assert message["To"] == "Ada Lovelace <ada@example.com>, kim@example.com"
    assert (message["Cc"], message["Bcc"], message["Reply-To"]) == ("cy@example.com", None, "help@example.com")
    assert (message["Subject"], message["Message-ID"]) == ("Größe ✓", result["message_id"])
    # As it is told to recipients, and so that their automatic answers do not come back.
    assert (message["Date"].datetime, message["Auto-Submitted"]) == (NOON, "auto-generated")
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert isinstance(plain, EmailMessage)
    assert isinstance(html, EmailMessage)
    assert plain.get_content().replace("\r\n", "\n") == "Grüße\n.\nEnd\n"
    assert html.get_content().strip() == "<p>Grüße</p>"
    assert result == {"message_id": message["Message-ID"], "accepted": recipients, "refused": []}


async def test_attachments_arrive_byte_by_byte(sender: Sender, mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    content = bytes(range(256)) * 1024

    await sender.send(
        port,
        body=None,
        html="<p>Files</p>",
        attachments=[
            {"filename": 'résumé "1".pdf', "content_type": "application/pdf", "base64": b64encode(content).decode()},
            {"filename": "rows.csv", "content_type": "text/csv; charset=utf-8", "text": "a,é\n1,2\n"},
            {"filename": "notes", "text": "ä"},
        ],
    )  # fmt: skip

    _, message = only_one(box)
    found = [(part.get_filename(), part.get_content_type(), part.get_content()) for part in message.iter_attachments()]
    assert found[0] == ('résumé "1".pdf', "application/pdf", content)
    assert found[1:] == [("rows.csv", "text/csv", "a,é\n1,2\n"), ("notes", "text/plain", "ä")]


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        ("text/csv", "utf-8"),
        (None, "utf-8"),
        ("text/csv; charset=latin1", "latin1"),
        ('text/csv; Charset="UTF-16"', "utf-16"),
    ],
)
async def test_an_attached_text_is_in_the_charset_that_it_names(
    sender: Sender, mailbox: tuple[Mailbox, int], content_type: str | None, charset: str
) -> None:
    box, port = mailbox
    kind = {} if content_type is None else {"content_type": content_type}

    await sender.send(port, attachments=[{"filename": "rows.csv", "text": "1,é\n", **kind}])

    (attachment,) = only_one(box)[1].iter_attachments()
    assert attachment.get_content_charset() == charset
    assert attachment.get_content() == "1,é\n"


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        (
            "text/csv; charset=klingon",
            "The charset of 'attachments.0.content_type' is not known. Give the bytes as 'base64'",
        ),
        ("text/csv; charset=ascii", "The text has characters that the charset of 'attachments.0.content_type' has not"),
    ],
)
async def test_a_text_that_its_charset_cannot_have_is_not_sent(
    sender: Sender, mailbox: tuple[Mailbox, int], content_type: str, message: str
) -> None:
    box, port = mailbox

    failed = await sender.fail(port, attachments=[{"filename": "a", "text": "é", "content_type": content_type}])

    assert (failed.type, failed.message) == ("input.invalid", message)
    assert box.arrived == []


async def test_a_mailbox_that_is_named_twice_with_domains_in_other_cases_gets_one_email(
    sender: Sender, mailbox: tuple[Mailbox, int]
) -> None:
    box, port = mailbox

    sent = await sender.send(port, to=["ada@example.com", "Ada <ada@Example.COM>"], cc="Ada@example.com")

    # Before the @, only the server itself may ignore the case.
    assert sent["accepted"] == only_one(box)[0].rcpt_tos == ["ada@example.com", "Ada@example.com"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_email_waits_while_the_server_can_open_no_more_files(
    sender: Sender, mailbox: tuple[Mailbox, int], host: str
) -> None:
    box, port = mailbox
    with without_files(left=0):
        sending = asyncio.create_task(sender.send(port, host=host))
        await asyncio.wait([sending], timeout=0.2)

    assert not sending.done()
    assert (await sending)["accepted"] == only_one(box)[0].rcpt_tos == ["ada@example.com"]


async def test_a_nul_in_the_text_arrives_and_is_not_sent_as_it_is(sender: Sender, mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox

    await sender.send(port, body="a\x00b")

    envelope, message = only_one(box)
    assert isinstance(envelope.content, bytes)
    assert b"\x00" not in envelope.content
    assert message.get_content() == "a\x00b"


async def test_an_email_that_is_too_large_is_not_told_as_a_fault_of_its_sender(sender: Sender) -> None:
    with open_mailbox(data_size_limit=500) as (_, port):
        failed = await sender.fail(port, body="x" * 1000)

    assert (failed.type, failed.data["stage"]) == ("email.552", "message")  # type: ignore[call-overload,index] # a dict
    assert "refused the e-mail with code 552" in failed.message


async def test_a_long_text_arrives_whole(sender: Sender, mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    text = "ä\n\r\n.\n" * 100_000

    await sender.send(port, body=text)

    _, message = only_one(box)
    assert message.get_content() == text.replace("\r\n", "\n").replace("\n", "\r\n")


async def test_every_attempt_of_a_step_has_the_same_message_id_and_another_step_has_not(
    sender: Sender, mailbox: tuple[Mailbox, int]
) -> None:
    _, port = mailbox
    first = await sender.send(port)
    sender.context.attempt = 2
    second = await sender.send(port)
    sender.context.iteration = 2
    third = await sender.send(port)

    assert first["message_id"] == second["message_id"] != third["message_id"]
    assert first["message_id"].endswith("@example.com>")


async def test_refused_recipients_are_named_and_the_others_get_the_email(
    sender: Sender, mailbox: tuple[Mailbox, int]
) -> None:
    box, port = mailbox

    result = await sender.send(port, to=["nobody@example.com", "ada@example.com"], cc="busy@example.com")

    assert only_one(box)[0].rcpt_tos == ["ada@example.com"]
    assert result["accepted"] == ["ada@example.com"]
    assert result["refused"] == [
        {"address": "nobody@example.com", "code": 550, "reply": "No such mailbox"},
        {"address": "busy@example.com", "code": 450, "reply": "Try again later"},
    ]
    ((level, _, facts),) = sender.context.lines
    assert (level, facts) == ("warn", {"message_id": result["message_id"], "accepted": 1, "refused": 2})


async def test_an_email_that_every_recipient_is_refused_fails_with_the_code_that_may_pass(
    sender: Sender, mailbox: tuple[Mailbox, int]
) -> None:
    box, port = mailbox

    forever = await sender.fail(port, to="nobody@example.com")
    later = await sender.fail(port, to=["nobody@example.com", "busy@example.com"])
    box.rejections = 1
    whole = await sender.fail(port)

    assert (forever.type, later.type, whole.type) == ("email.550", "email.450", "email.451")
    assert forever.message == f"127.0.0.1:{port} refused every recipient with code 550: No such mailbox"
    assert isinstance(later.data, dict)
    assert later.data["stage"] == "recipients"
    assert later.data["refused"] == [
        {"address": "nobody@example.com", "code": 550, "reply": "No such mailbox"},
        {"address": "busy@example.com", "code": 450, "reply": "Try again later"},
    ]
    assert whole.data == {"code": 451, "reply": "Later", "stage": "message", "refused": []}
    assert box.arrived == []


async def test_domains_go_in_ascii_and_other_letters_before_the_at_only_to_servers_that_take_them(
    sender: Sender,
) -> None:
    with open_mailbox(enable_SMTPUTF8=False) as (box, port), open_mailbox() as (international, its_port):
        await sender.send(port, to="ada@straße.example")
        refused = await sender.fail(port, to="adá@example.com")
        await sender.send(its_port, to="adá@example.com")

        assert only_one(box)[0].rcpt_tos == ["ada@xn--strae-oqa.example"]
        assert refused.type == "email.unsupported"
        envelope, message = only_one(international)
        assert (envelope.rcpt_tos, message["To"]) == (["adá@example.com"], "adá@example.com")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"to": "a@example.com, b@example.com"}, "is not an e-mail address: write several as a list"),
        ({"to": "Ada <a@example.com>, b@example.com"}, "is not an e-mail address: write several as a list"),
        ({"to": "a@example.com\r\nBcc: b@example.com"}, "is not an e-mail address"),
        ({"to": "Ada\r\nBcc: b@example.com <a@example.com>"}, "has a line break or another control character"),
        ({"to": "a@example.com>\r\nDATA"}, "is not an e-mail address"),
        ({"to": "a b@example.com"}, "is not an e-mail address"),
        ({"to": "a@exa mple.com"}, "is not an e-mail address"),
        ({"to": "ada"}, "'ada' is not an e-mail address"),
        ({"from": "a@example.com\nX: y"}, "is not an e-mail address"),
        ({"subject": "Hello\r\nBcc: b@example.com"}, "must be one line without control characters"),
        ({"subject": "Copied\u2028from a web page"}, "must be one line without control characters"),
        ({"to": MANY, "cc": MANY}, "must have at most 100 recipients in all: send several e-mails"),
        ({"to": None}, "give at least one recipient: 'to', 'cc' or 'bcc'"),
        ({"body": None}, "give 'body', 'html' or both"),
        ({"username": "ada"}, "give 'username' and 'password', or neither"),
        (
            {"username": "ada", "password": "x", "security": "none"},
            "a password is sent over an encrypted connection only: use 'starttls' or 'tls'",
        ),
        (
            {"port": 465, "security": "starttls"},
            "servers expect TLS from the start at port 465: use 'tls', or another port",
        ),
        (
            {"port": 465, "security": "none"},
            "servers expect TLS from the start at port 465: use 'tls', or another port",
        ),
        ({"host": "smtp://smtp.example.com"}, "must be the name of a server alone, such as smtp.example.com"),
        ({"host": "smtp.example.com:587"}, "must be the name of a server alone: write the port as 'port'"),
        ({"attachments": [FILE | {"content_type": "pdf"}]}, "'pdf' is not a content type, such as application/pdf"),
        ({"attachments": [FILE | {"filename": "a\r\nX: y"}]}, "must be one line without control characters"),
        (
            {"attachments": [FILE | {"content_type": "message/rfc822"}]},
            "a file of type message/rfc822 is sent as application/octet-stream",
        ),
    ],
)
def test_what_cannot_be_sent_is_a_fault_of_the_flow(params: dict[str, Any], message: str) -> None:
    (found,) = faults_of(**params)

    assert found.endswith(message)


def test_parameters_with_expressions_are_judged_when_their_values_are_known() -> None:
    expressions = dict.fromkeys(("host", "port", "security", "from", "to", "subject", "body"), "${input.x}")

    assert faults_of(**expressions) == []
    assert faults_of(to="${input.x}@example.com", subject="${'a\\nb'}") == []


@pytest.mark.parametrize(
    "params",
    [
        {"to": "${x}\r\nBcc: b@example.com <a@example.com>"},
        {"to": "${x} <a@example.com\r\nRCPT TO:<b@example.com>>"},
        {"from": "${x}\r\n <flows@example.com>\r\nX: y"},
        {"subject": "${x}\r\nBcc: b@example.com"},
        {"reply_to": "${\n"},
        {"attachments": [{"filename": "${x}\r\nX-Injected: y\r\n\r\nz", "text": "content"}]},
        {"attachments": [{"filename": "a", "content_type": "${x}", "text": ""}]},
        {"attachments": [{"filename": "a", "base64": "ä"}]},
    ],
)
async def test_values_that_hold_a_dollar_and_a_brace_cannot_inject_headers(
    sender: Sender, mailbox: tuple[Mailbox, int], params: dict[str, Any]
) -> None:
    box, port = mailbox

    failed = await sender.fail(port, **params)

    assert (failed.type, box.arrived) == ("input.invalid", [])


async def test_a_message_that_cannot_be_written_fails_before_the_server_is_asked(sender: Sender) -> None:
    def write() -> EmailMessage:
        message = EmailMessage()
        message.set_payload("\ud800")
        return message

    with pytest.raises(NodeFailure) as failed:
        await sender.pass_on(unused_port(), write=write)

    assert failed.value.type == "input.invalid"


async def test_a_bug_is_not_told_as_a_fault_of_the_mail_server(sender: Sender, mailbox: tuple[Mailbox, int]) -> None:
    with pytest.raises(TypeError):
        await sender.pass_on(mailbox[1], recipients=[b"ada@example.com"])


class Office:
    """A server that asks for a login over TLS, with a certificate for `localhost`."""

    def __init__(self, directory: Path) -> None:
        self.logins: list[bool] = []
        self.user, self.password = "ada", "a long password"
        self.issuer = Issuer(directory, "issuer")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*self.issuer.issue("server", host="localhost"))

    @contextmanager
    def open(self, *, tls: bool, **more: Any) -> Iterator[tuple[Mailbox, int]]:
        options: dict[str, Any] = (
            {"ssl_context": self.context, "auth_require_tls": False} if tls else {"tls_context": self.context}
        )
        with open_mailbox(authenticator=self._log_in, **options, **more) as opened:
            yield opened

    def _log_in(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: object) -> AuthResult:
        is_right = given == LoginPassword(self.user.encode(), self.password.encode())
        self.logins.append(is_right)
        return AuthResult(success=is_right, handled=False, message=None if is_right else "535 5.7.8 Not that password")


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    office = Office(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(office.issuer.file))
    return office


LOGIN: Final = {"host": "localhost", "security": None, "username": "ada", "password": "a long password"}


@pytest.mark.parametrize("security", ["tls", "starttls", None])
async def test_a_login_goes_over_tls(sender: Sender, office: Office, security: str | None) -> None:
    with office.open(tls=security == "tls") as (box, port):
        await sender.send(port, **{**LOGIN, "security": security})

        assert (office.logins, only_one(box)[0].rcpt_tos) == ([True], ["ada@example.com"])


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_a_login_may_have_any_letters(sender: Sender, office: Office, mechanism: str) -> None:
    office.user, office.password = "adá@example.com", "пароль 密碼"
    others = [other for other in ("PLAIN", "LOGIN") if other != mechanism]
    with office.open(tls=True, auth_exclude_mechanism=others) as (box, port):
        await sender.send(port, **{**LOGIN, "security": "tls", "username": office.user, "password": office.password})

        assert (office.logins, only_one(box)[0].rcpt_tos) == ([True], ["ada@example.com"])


def test_a_challenge_is_answered_with_any_letters_of_the_password() -> None:
    user, password, answers = "adá", "пароль", []

    def talk(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        for reply in (b"220 x", b"250-x\r\n250 AUTH CRAM-MD5", b"334 " + b64encode(b"<1@x>"), b"235 ok"):
            connection.sendall(reply + b"\r\n")
            answers.append(lines.readline())

    with scripted_mail_server(talk) as port:
        session = SmtpSession(
            "127.0.0.1",
            connect=lambda: socket.create_connection(("127.0.0.1", port)),
            tls=None,
            seconds=PATIENCE_SECONDS,
            reply_seconds=PATIENCE_SECONDS,
        )
        session.login(user, password)
        session.close()

    digest = hmac.new(password.encode(), b"<1@x>", "md5").hexdigest()
    assert b64decode(answers[2]) == f"{user} {digest}".encode()


async def test_a_wrong_password_fails_with_the_reply_of_the_server(sender: Sender, office: Office) -> None:
    with office.open(tls=True) as (box, port):
        failed = await sender.fail(port, **{**LOGIN, "security": "tls", "password": "wrong"})

    assert (failed.type, failed.data) == (
        "email.535",
        {"code": 535, "reply": "5.7.8 Not that password", "stage": "login", "refused": []},
    )
    assert failed.message == f"localhost:{port} refused the login with code 535: 5.7.8 Not that password"
    assert box.arrived == []


async def test_a_certificate_that_is_not_trusted_or_for_another_name_is_refused(
    sender: Sender, office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with office.open(tls=True) as (box, port), office.open(tls=False) as (other_box, other_port):
        name = await sender.fail(port, **{**LOGIN, "security": "tls", "host": "127.0.0.1"})
        other = await sender.fail(other_port, **{**LOGIN, "host": "127.0.0.1"})
        monkeypatch.setenv("SSL_CERT_FILE", str(Issuer(tmp_path, "stranger").file))
        stranger = await sender.fail(port, **{**LOGIN, "security": "tls"})

    assert [error.type for error in (name, other, stranger)] == ["connection.tls"] * 3
    assert "IP address mismatch" in name.message
    assert "certificate" in stranger.message
    assert box.arrived == other_box.arrived == []


async def test_nothing_is_sent_without_encryption_to_a_server_that_does_not_offer_it(
    sender: Sender, mailbox: tuple[Mailbox, int]
) -> None:
    box, port = mailbox

    failed = await sender.fail(port, **LOGIN)
    unencrypted = await sender.fail(port, security="starttls")

    assert (failed.type, unencrypted.type) == ("connection.tls", "connection.tls")
    assert failed.message == f"localhost:{port} does not offer STARTTLS, and nothing is sent without"
    assert box.arrived == []


async def test_an_email_without_a_login_needs_a_server_that_an_operator_has_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(name_lookups, "addresses_of", lambda host, port, family: [{"host": "8.8.8.8"}])

    failed = await Sender().fail(25, host="mx.example.com")

    assert failed.type == "egress.forbidden"
    assert failed.message == (
        "Flows may not connect to mx.example.com:25: an e-mail without a login needs a server opened for flows: "
        "an operator can open 8.8.8.8 with FLOWRUNNER_EGRESS_ALLOW"
    )


async def test_greetings_that_are_no_smtp_or_refuse_are_told(sender: Sender) -> None:
    def of(reply: bytes) -> Any:
        return scripted_mail_server(lambda connection: connection.sendall(reply))

    found = {}
    for reply in (
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"554 No\x00 service\r\n",
        b"421 Busy\r\n",
        b"",
        b"220 \xff\r\n",
    ):
        with of(reply) as port:
            found[reply[:3]] = await sender.fail(port)

    assert {begin: error.type for begin, error in found.items()} == {
        b"HTT": "email.invalid_answer",
        b"554": "email.554",
        b"421": "email.421",
        b"": "connection.lost",
        b"220": "connection.lost",
    }
    assert found[b"554"].message.endswith("refused the connection with code 554: No\ufffd service")
    assert (await sender.fail(unused_port())).type == "connection.refused"
    assert (await sender.fail(25, host="nowhere.invalid")).type == "connection.dns"


async def test_replies_without_an_end_are_cut(sender: Sender) -> None:
    def talk(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"220-" + b"x" * 4000 + b"\r\n")

    with scripted_mail_server(talk) as port:
        failed = await sender.fail(port)

    assert failed.type == "connection.lost"


async def test_the_end_of_a_step_ends_its_connection(sender: Sender) -> None:
    asked, ended = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"220 hello\r\n")
        connection.recv(1000)
        loop.call_soon_threadsafe(asked.set)
        # Nothing is left to read only once the client has ended the connection.
        if connection.recv(1000) == b"":
            ended.set()

    with scripted_mail_server(talk) as port:
        sending = asyncio.create_task(sender.send(port))
        await asked.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

        assert await asyncio.to_thread(ended.wait, PATIENCE_SECONDS)


async def test_the_addresses_of_a_server_share_one_time_limit(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [{"host": "127.0.0.2"}, {"host": "127.0.0.1"}]
    monkeypatch.setattr(name_lookups, "addresses_of", lambda host, port, family: addresses)
    monkeypatch.setattr(egress_connections, "_MOST_CONNECT_SECONDS", 0.1)

    # Nobody listens at the second address, which would refuse the connection.
    port = unused_port()
    with unanswering_server("127.0.0.2", port):
        failed = await sender.fail(port, host="two.example")

    assert (failed.type, failed.message) == ("timeout", f"two.example:{port} did not answer in time")


async def test_a_step_that_has_ended_connects_to_no_further_address(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [{"host": "127.0.0.2"}, {"host": "127.0.0.1"}]
    monkeypatch.setattr(name_lookups, "addresses_of", lambda host, port, family: addresses)
    reached: list[socket.socket] = []

    def emails() -> int:
        return sender.clients.slots.held(WorkspaceId(MARA))

    with scripted_mail_server(reached.append) as port, unanswering_server("127.0.0.2", port):
        sending = asyncio.create_task(sender.send(port, host="two.example"))
        await asyncio.to_thread(wait_for, lambda: emails() == 1)
        sending.cancel()
        await asyncio.to_thread(wait_for, lambda: emails() == 0)
        # Connections are accepted in their order, so an earlier one would be there, too.
        socket.create_connection(("127.0.0.1", port)).close()
        await asyncio.to_thread(wait_for, lambda: bool(reached))

        assert len(reached) == 1


@contextmanager
def unanswering_server(address: str, port: int) -> Iterator[None]:
    """Open a port that answers no attempt to connect, because its queue is full."""
    with socket.create_server((address, port), backlog=0), contextlib.ExitStack() as waiting:
        for _ in range(4):
            connection = waiting.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex((address, port))
        yield


async def test_a_server_learns_neither_the_name_nor_the_network_of_this_machine(sender: Sender) -> None:
    said: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"220 hello\r\n")
        said.append(connection.recv(1000))

    with scripted_mail_server(talk) as port:
        await sender.fail(port)

    assert said == [b"ehlo [127.0.0.1]\r\n"]
