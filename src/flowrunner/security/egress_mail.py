"""The SMTP client for all e-mails of flows."""

import smtplib
import ssl
from collections.abc import Callable, Sequence
from email.errors import MessageError
from email.message import EmailMessage
from functools import partial
from typing import Final

from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.fair_slots import FairSlots
from flowrunner.plugin import MailServer, NodeFailure, RefusedRecipient
from flowrunner.security.egress_connections import EgressConnection, SessionClients, server_name
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.smtp import SmtpSession

# Concurrent e-mails: of all workspaces, of one workspace at most, and guaranteed to each. Each is a thread, with up to
# some 50 MB for a message of the longest parameters.
_MAILS: Final = 16
_MAILS_OF_A_WORKSPACE: Final = 4
_SURE_MAILS: Final = 2
# A step's own time limit is shorter, and ends the session.
_MOST_SECONDS: Final = 3600.0
# The name of this machine is no business of other servers (RFC 5321, 4.1.3: an address will do).
_OWN_NAME: Final = "[127.0.0.1]"

# Things that a server refuses, by the stage of the session.
_REFUSED: Final = {
    "connection": "the connection",
    "tls": "the encryption",
    "login": "the login",
    "sender": "the sender",
    "recipients": "every recipient",
    "message": "the e-mail",
}


class EgressMailClients(SessionClients):
    """The clients of all workspaces. Implements `ports.MailClients`.

    Args:
        lookups: The slots for lookups of names, which requests take too.
        processes: Processes that have such clients. Their e-mails together keep the limits of one.
    """

    def __init__(self, policy: EgressPolicy, lookups: FairSlots, *, processes: int = 1) -> None:
        slots = FairSlots.of_process(processes, total=_MAILS, share=_MAILS_OF_A_WORKSPACE, sure=_SURE_MAILS)
        super().__init__(policy, lookups, slots, name="e-mail", use="send e-mails")

    def of(self, workspace_id: WorkspaceId) -> "_WorkspaceMail":
        return _WorkspaceMail(self, workspace_id)


@static_dataclass(frozen=True, slots=True)
class _WorkspaceMail:
    """Implements `plugin.MailClient` for the nodes of one workspace."""

    clients: EgressMailClients
    workspace_id: WorkspaceId

    async def send(
        self, server: MailServer, *, sender: str, recipients: Sequence[str], write: Callable[[], EmailMessage]
    ) -> Sequence[RefusedRecipient]:
        # Otherwise flows could deliver to every mailbox of the world under the name of this machine, and use servers
        # that trust it by its address.
        closed = "an e-mail without a login needs a server opened for flows" if server.username is None else None
        session = partial(_send, server=server, sender=sender, recipients=recipients, write=write)
        return await self.clients.run(self.workspace_id, server.host, server.port, session, unless_opened=closed)


def _send(
    connection: EgressConnection,
    server: MailServer,
    sender: str,
    recipients: Sequence[str],
    write: Callable[[], EmailMessage],
) -> Sequence[RefusedRecipient]:
    """Send an e-mail on this thread. Raises: NodeFailure."""
    if server.security == "none" and server.username is not None:
        raise NodeFailure("connection.tls", "A password is sent over an encrypted connection only")
    is_international = not all(address.isascii() for address in (sender, *recipients))
    # Before there is a connection, so that what cannot be written is not taken for a fault of the server.
    data, stage = _written(write(), is_international=is_international), "connection"
    try:
        session = _session(connection, server)
        try:
            session.ehlo_or_helo_if_needed()
            if server.security == "starttls":
                stage = "tls"
                session.encrypt(ssl.create_default_context())
            if server.username is not None:
                stage = "login"
                session.login(server.username, server.password or "")
            stage = "message"
            if is_international and not session.has_extn("smtputf8"):
                raise smtplib.SMTPNotSupportedError
            options = ["SMTPUTF8", "BODY=8BITMIME"] if is_international else []
            refused = session.sendmail(sender, recipients, data, mail_options=options)
            session.leave()
        finally:
            session.close()
    except (OSError, ValueError) as error:
        # Those of smtplib, and a reply that cannot be decoded. Anything else is a bug.
        raise _failure(error, server, stage) from None
    finally:
        connection.close()
    return _refused(refused)


def _written(message: EmailMessage, *, is_international: bool) -> bytes:
    """Return the text of a message. Raises: NodeFailure `input.invalid`."""
    for name in ("Bcc", "Resent-Bcc"):
        del message[name]
    try:
        policy = message.policy.clone(linesep="\r\n", utf8=is_international)  # type: ignore[call-arg] # has it
        return message.as_bytes(policy=policy)
    except (ValueError, LookupError, MessageError) as error:
        raise NodeFailure("input.invalid", f"The e-mail cannot be written: {error}") from None


def _session(connection: EgressConnection, server: MailServer) -> SmtpSession:
    return SmtpSession(
        server.host,
        connect=connection.open,
        tls=ssl.create_default_context if server.security == "tls" else None,
        seconds=_MOST_SECONDS,
        reply_seconds=_MOST_SECONDS,
        own_name=_OWN_NAME,
    )


def _refused(recipients: dict[str, tuple[int, bytes]]) -> Sequence[RefusedRecipient]:
    return [
        RefusedRecipient(address=address, code=code, reply=_text(reply))
        for address, (code, reply) in recipients.items()
    ]


def _failure(error: OSError | ValueError, server: MailServer, stage: str) -> NodeFailure:
    shown = server_name(server.host, server.port)
    match error:
        case UnicodeError() if stage == "login":
            return NodeFailure("email.login", "The user name or password cannot be sent: it is no Unicode text")
        case ssl.SSLCertVerificationError():
            return NodeFailure("connection.tls", f"No trusted TLS connection to {shown}: {error.verify_message}")
        case ssl.SSLError():
            hint = "" if server.security == "starttls" else ". Port 587 begins without TLS: 'security: starttls'"
            return NodeFailure("connection.tls", f"No TLS connection to {shown}: {error.reason}{hint}")
        case smtplib.SMTPNotSupportedError() if stage == "tls":
            return NodeFailure("connection.tls", f"{shown} does not offer STARTTLS, and nothing is sent without")
        case smtplib.SMTPNotSupportedError() if stage == "login":
            return NodeFailure("email.login", f"{shown} offers no login")
        case smtplib.SMTPNotSupportedError():
            text = f"{shown} does not deliver to addresses with other letters than ASCII before the @ (SMTPUTF8)"
            return NodeFailure("email.unsupported", text)
        case smtplib.SMTPRecipientsRefused():
            refused = _refused(error.recipients)
            # A code below 500 asks to try again, so the lowest one decides.
            first = min(refused, key=lambda recipient: recipient.code)
            listed: list[JSON] = [{"address": one.address, "code": one.code, "reply": one.reply} for one in refused]
            return _refusal(server, first.code, first.reply, "recipients", listed)
        case smtplib.SMTPSenderRefused():
            # The size of the e-mail is announced with the sender, and these codes refuse that (RFC 1870, 6.1).
            refused_stage = "message" if error.smtp_code in (452, 552) else "sender"
            return _refusal(server, error.smtp_code, _text(error.smtp_error), refused_stage)
        case smtplib.SMTPResponseException():
            return _refusal(server, error.smtp_code, _text(error.smtp_error), stage)
        case smtplib.SMTPException() if stage == "login" and not isinstance(error, smtplib.SMTPServerDisconnected):
            return NodeFailure("email.login", f"{shown} offers no login with a password (PLAIN, LOGIN, CRAM-MD5)")
        case TimeoutError():
            return NodeFailure("timeout", f"{shown} did not answer in time")
        case smtplib.SMTPServerDisconnected() | OSError():
            if isinstance(error.__context__, TimeoutError):
                return NodeFailure("timeout", f"{shown} did not answer in time")
            return NodeFailure("connection.lost", f"The connection ended before the answer was complete: {shown}")
        case _:
            return NodeFailure("email.invalid_answer", f"The answer of {shown} is not valid SMTP")


def _refusal(server: MailServer, code: int, reply: str, stage: str, refused: Sequence[JSON] = ()) -> NodeFailure:
    if not 400 <= code <= 599:
        return NodeFailure(
            "email.invalid_answer", f"The answer of {server_name(server.host, server.port)} is not valid SMTP"
        )
    return NodeFailure(
        f"email.{code}",
        f"{server_name(server.host, server.port)} refused {_REFUSED[stage]} with code {code}: {reply}",
        data={"code": code, "reply": reply, "stage": stage, "refused": list(refused)},
    )


def _text(reply: bytes | str) -> str:
    text = reply if isinstance(reply, str) else reply.decode("utf-8", "replace")
    # Databases cannot store a NUL in text.
    return text.replace("\x00", "\ufffd")
