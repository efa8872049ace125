"""The node type `email.receive` as tests run it, and servers that only look like IMAP."""

import atexit
import imaplib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.policy import SMTP
from functools import cache
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, cast

import pytest

from flowrunner.domain.values import WorkspaceId
from flowrunner.nodes.email_receive import EmailReceive
from flowrunner.plugin import NodeFailure
from flowrunner.security.egress_imap import EgressImapClients
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.security.name_lookups import lookup_slots
from support.contexts import PlainContext
from support.databases import MARA
from support.mailbox import scripted_mail_server
from support.networks import LOOPBACK, unused_port
from support.tls import Issuer
from support.waiting import wait_for

PASSWORD: Final = "a-very-long-password"
# What a server says to a command, before it says that it has done it; or something that it does instead.
Answer: TypeAlias = bytes | Callable[["Talk"], None]
ENVELOPE: Final = (
    b'("Tue, 01 Dec 2026 03:00:00 +0100" "Hello" (("Ada" NIL "ada" "example.com")) NIL NIL '
    b'(("" NIL "orders" "example.com")) NIL NIL NIL "<1@example.com>")'
)
TEXT_PART: Final = b'("TEXT" "PLAIN" ("CHARSET" "utf-8") NIL NIL "8BIT" 5 1)'


class Reader:
    """Reads a mailbox as a node of a flow does."""

    def __init__(self, port: int, policy: EgressPolicy | None = None, *, security: str = "tls") -> None:
        self.given: dict[str, Any] = {
            "host": "localhost",
            "port": port,
            "security": security,
            "username": "ada",
            "password": PASSWORD,
        }
        self.clients = EgressImapClients(policy or EgressPolicy([LOOPBACK]), lookup_slots())
        self.context = PlainContext(http=cast("Any", None), imap=self.clients.of(WorkspaceId(MARA)))
        self.type = EmailReceive()

    async def read(self, **params: Any) -> Any:
        given = {name: value for name, value in {**self.given, **params}.items() if value is not None}
        return await self.type.run(self.type.read(given), self.context)

    async def messages(self, **params: Any) -> Any:
        return (await self.read(**params))["messages"]

    async def fail(self, **params: Any) -> NodeFailure:
        with pytest.raises(NodeFailure) as raised:
            await self.read(**params)
        return raised.value


def described(
    uid: int = 1, *, envelope: bytes = ENVELOPE, structure: bytes = TEXT_PART, more: bytes = b"", number: int = 1
) -> bytes:
    """Return what a server says of a message."""
    return (
        b'* %d FETCH (UID %d FLAGS (\\Seen) INTERNALDATE "01-Dec-2026 03:10:47 +0100" RFC822.SIZE 512 ENVELOPE %s '
        b"BODYSTRUCTURE %s%s)\r\n" % (number, uid, envelope, structure, more)
    )


def body(text: bytes, uid: int = 1, section: bytes = b"1") -> bytes:
    return b"* 1 FETCH (UID %d BODY[%s]<0> {%d}\r\n%s)\r\n" % (uid, section, len(text), text)


ANSWERS: Final[Mapping[str, Answer]] = {
    "CAPABILITY": b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN MOVE\r\n",
    "EXAMINE": b"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] UIDs valid\r\n",
    "SELECT": b"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] UIDs valid\r\n",
    "UID SEARCH": b"* SEARCH 1\r\n",
    "UID FETCH 1 (UID FLAGS": described(),
    "UID FETCH 1 (BODY.PEEK[1]": body(b"Hello"),
}


class Talk:
    """A connection of a client.

    Attributes:
        commands: Those that it has sent, without their tags.
    """

    def __init__(
        self, connection: socket.socket, context: ssl.SSLContext, answers: Mapping[str, Answer], commands: list[str]
    ) -> None:
        self.connection = connection
        self.context = context
        self.answers = {**ANSWERS, **answers}
        self.commands = commands
        self.tag = b""

    def encrypt(self) -> None:
        self.connection = self.context.wrap_socket(self.connection, server_side=True)

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def line(self) -> bytes:
        """Return the next line, read byte by byte, so that nothing is read of what follows a STARTTLS."""
        line = b""
        while not line.endswith(b"\n"):
            if not (read := self.connection.recv(1)):
                raise ConnectionError
            line += read
        return line.rstrip(b"\r\n")

    def command(self) -> str:
        """Return the next command with its literals in angle brackets."""
        line = self.line()
        while found := re.search(rb"\{(\d+)\}$", line):
            self.send(b"+ go on\r\n")
            size = int(found[1])
            data = b""
            while len(data) < size:
                data += self.connection.recv(size - len(data))
            line = line[: found.start()] + b"<" + data + b">" + self.line()
        self.tag, _, command = line.partition(b" ")
        return command.decode()

    def ask(self) -> bytes:
        """Return what the client says to a request for more."""
        self.send(b"+ \r\n")
        return b64decode(self.line())

    def talk(self, greeting: bytes) -> None:
        self.send(greeting)
        while True:
            command = self.command()
            self.commands.append(command)
            found = max(
                (name for name in self.answers if command.upper().startswith(name.upper())), key=len, default=None
            )
            answer = b"" if found is None else self.answers[found]
            if callable(answer):
                answer(self)
                continue
            if found is None and command.startswith("AUTHENTICATE"):
                self.commands.append(self.ask().decode())
            self.send(answer + self.tag + b" OK done\r\n")


class ImapServers:
    """Servers with a certificate that the client trusts."""

    def __init__(self, directory: Path) -> None:
        issuer = Issuer(directory, "issuer")
        self.trusted = issuer.file
        self.certificate = issuer.issue("server", host="localhost")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*self.certificate)
        self.commands: list[str] = []

    @contextmanager
    def scripted(
        self,
        answers: Mapping[str, Answer] | None = None,
        *,
        greeting: bytes = b"* OK hello\r\n",
        starttls: bool = False,
    ) -> Iterator[Reader]:
        """Give a reader of a server whose answers differ from the usual ones."""

        def talk(connection: socket.socket) -> None:
            client = Talk(connection, self.context, answers or {}, self.commands)
            try:
                if not starttls:
                    client.encrypt()
                client.talk(greeting)
            finally:
                client.connection.close()

        with scripted_mail_server(talk) as port:
            yield Reader(port, security="starttls" if starttls else "tls")


@cache
def _certified() -> ImapServers:
    directory = Path(tempfile.mkdtemp(prefix="flowrunner-imap-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return ImapServers(directory)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> ImapServers:
    found = _certified()
    # What a connection of an earlier test still says goes into the earlier list.
    found.commands = []
    monkeypatch.setenv("SSL_CERT_FILE", str(found.trusted))
    return found


class MailboxServer:
    """A real IMAP server with one mailbox, which encrypts by STARTTLS.

    Attributes:
        port: The port of the server, on the loopback address.
    """

    def __init__(self, servers: ImapServers) -> None:
        self.servers = servers
        self.port = unused_port()

    def start(self) -> Self:
        certificate, key = map(str, self.servers.certificate)
        # After STARTTLS only a reference cycle holds the task of a connection, which the collector would end with it.
        program = "import gc; from pymap.main import main; gc.disable(); main()"
        command = [
            *(sys.executable, "-c", program),
            *("--host", "127.0.0.1", "--port", str(self.port), "--cert", certificate, "--key", key),
            *("dict", "--demo-user", "ada", "--demo-password", PASSWORD),
        ]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

        def end() -> None:
            process.kill()
            process.wait()

        atexit.register(end)
        wait_for(lambda: is_listening(self.port, process))
        return self

    def empty(self) -> None:
        """Delete all messages and all further folders."""
        with self.client() as client:
            # With their flags before the separator, and in quotes if need be.
            folders = [line.partition(b' "/" ')[2].decode() for line in client.list()[1] if isinstance(line, bytes)]
            for folder in folders:
                if folder.strip('"').upper() != "INBOX":
                    client.delete(folder)
            client.select("INBOX")
            client.store("1:*", "+FLAGS", "\\Deleted")
            client.expunge()

    @contextmanager
    def client(self) -> Iterator[imaplib.IMAP4]:
        """Give a session of another client."""
        with imaplib.IMAP4("localhost", self.port) as client:
            client.starttls(ssl.create_default_context(cafile=str(self.servers.trusted)))
            client.login("ada", PASSWORD)
            yield client

    def put(self, *messages: bytes | EmailMessage, folder: str = "INBOX") -> None:
        with self.client() as client:
            for message in messages:
                data = message if isinstance(message, bytes) else message.as_bytes(policy=SMTP)
                answer = client.append(folder, "", "", data)
                assert answer[0] == "OK", answer

    def unseen(self) -> list[int]:
        """Return the UIDs of the messages that are not marked as read."""
        with self.client() as client:
            client.select("INBOX", readonly=True)
            return [int(uid) for uid in client.uid("SEARCH", "UNSEEN")[1][0].split()]

    def reader(self) -> Reader:
        return Reader(self.port, security="starttls")


def is_listening(port: int, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "the server has ended"
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@cache
def _mailbox_server() -> MailboxServer:
    """Start the server of all tests of this process: its start takes longer than most of them."""
    return MailboxServer(_certified()).start()


@pytest.fixture
def mailbox(servers: ImapServers) -> MailboxServer:
    found = _mailbox_server()
    found.empty()
    return found
