"""E-mails of flows, by a real SMTP server."""

import socket
import ssl
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from flowrunner.domain.events import Completed, Failed
from flowrunner.security.egress_mail import EgressMailClients
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.security.name_lookups import lookup_slots
from support.databases import contents_of
from support.dependencies import Machine, machine, secret
from support.mailbox import open_mailbox, scripted_mail_server
from support.networks import LOOPBACK
from support.tls import Issuer

from .events import ending

PASSWORD: Final = "a-very-long-password"


def with_mail(machine: Machine) -> Machine:
    machine.deps.mail = EgressMailClients(EgressPolicy([LOOPBACK]), lookup_slots())
    return machine


def flow(port: int, more: str = "", params: str = "security: none") -> str:
    return f"""
nodes:
  send:
    type: email.send
    params: {{host: localhost, port: {port}, {params}, from: f@example.com, to: ada@example.com, body: Hello}}
    {more}
"""


def forgetful_server(sent: list[str]) -> AbstractContextManager[int]:
    """Give the port of a server that accepts every e-mail, but does not answer the first one."""

    def talk(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        connection.sendall(b"220 hello\r\n")
        for line in lines:
            is_data = line.upper().startswith(b"DATA")
            connection.sendall(b"354 Go on\r\n" if is_data else b"250 OK\r\n")
            if is_data:
                message = list(iter(lines.readline, b".\r\n"))
                sent.extend(line.decode().strip() for line in message if line.startswith(b"Message-ID:"))
                if len(sent) == 1:
                    # The connection lasts as long as the process that has opened it.
                    lines.read()
                    return
                connection.sendall(b"250 OK\r\n")

    return scripted_mail_server(talk)


async def die_after_the_email(path: Path, port: int, sent: list[str], more: str = "") -> None:
    async def was_sent() -> bool:
        return bool(sent)

    async with machine(path) as before:
        await with_mail(before).save(flow(port, more))
        await before.start()
        await before.until(was_sent)


async def test_an_email_whose_acceptance_was_not_recorded_is_sent_again_with_the_same_id(tmp_path: Path) -> None:
    sent: list[str] = []
    with forgetful_server(sent) as port:
        await die_after_the_email(tmp_path / "a.db", port, sent)
        async with machine(tmp_path / "a.db") as after:
            await with_mail(after).until_ended()
            events = await after.events()

    assert isinstance(ending(events), Completed)
    assert len(sent) == 2
    assert sent[0] == sent[1]


async def test_an_email_that_is_not_idempotent_is_not_sent_again(tmp_path: Path) -> None:
    sent: list[str] = []
    with forgetful_server(sent) as port:
        await die_after_the_email(tmp_path / "a.db", port, sent, more="idempotent: false")
        async with machine(tmp_path / "a.db") as after:
            await with_mail(after).until_ended()
            events = await after.events()

    assert isinstance(ending(events), Failed)
    assert (ending(events).error.type, len(sent)) == ("interrupted", 1)


@pytest.mark.parametrize(("more", "attempts"), [("retry: {max: 2, delay: 1ms}", 2), ("", 1)])
async def test_an_email_is_retried_only_if_its_own_node_says_so(engine: Machine, more: str, attempts: int) -> None:
    with open_mailbox() as (mailbox, port):
        mailbox.rejections = 1
        events = await with_mail(engine).run(f"defaults: {{retry: {{max: 5, delay: 1ms}}}}\n{flow(port, more)}")

    assert isinstance(ending(events), Completed if attempts == 2 else Failed)
    assert len(mailbox.arrived) == attempts - 1


async def test_an_email_that_is_refused_for_good_is_not_retried(engine: Machine) -> None:
    document = flow(1, "retry: {max: 5, delay: 1ms}").replace("ada@", "nobody@")
    with open_mailbox() as (_, port):
        events = await with_mail(engine).run(document.replace("port: 1,", f"port: {port},"))

    assert (ending(events).error.type, ending(events).error.message) == (
        "email.550",
        f"localhost:{port} refused every recipient with code 550: No such mailbox",
    )
    assert len([event for event in events if type(event).__name__ == "NodeFailed"]) == 1


async def test_s26_a_password_that_a_mail_server_repeats_is_stored_nowhere(
    engine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer(tmp_path, "issuer")
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer.file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*issuer.issue("server", host="localhost"))
    passwords: list[bytes] = []

    def refuse(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: object) -> AuthResult:
        assert isinstance(given, LoginPassword)
        passwords.append(given.password)
        return AuthResult(success=False, handled=False, message=f"535 {given.password.decode()} is wrong")

    await secret(with_mail(engine), "SMTP_PASSWORD", PASSWORD)
    with open_mailbox(authenticator=refuse, tls_context=context) as (_, port):
        events = await engine.run(flow(port, params='username: ada, password: "${secrets.SMTP_PASSWORD}"'))

    assert set(passwords) == {PASSWORD.encode()}
    assert ending(events).error.type == "email.535"
    assert ending(events).error.message == f"localhost:{port} refused the login with code 535: *** is wrong"
    assert isinstance(engine.path, Path)
    assert PASSWORD not in "\n".join(contents_of(engine.path))
