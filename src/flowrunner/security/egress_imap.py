"""The IMAP client for all mailboxes of flows."""

import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from flowrunner.bounded_socket import InvalidAnswer
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.fair_slots import FairSlots
from flowrunner.imap.session import (
    PASSING,
    CommandRefused,
    ConnectionEnded,
    MailboxSession,
    TooManyFound,
    Unsupported,
)
from flowrunner.imap.wire import ImapWire
from flowrunner.plugin import ImapServer, ImapSession, NodeFailure
from flowrunner.security.egress_connections import EgressConnection, SessionClients, server_name
from flowrunner.security.egress_policy import EgressPolicy

T = TypeVar("T")

# Concurrent sessions: of all workspaces, of one workspace at most, and guaranteed to each. Each is a thread, with up to
# some 10 MB for the longest answers. Servers allow some ten to a user.
_SESSIONS: Final = 16
_SESSIONS_OF_A_WORKSPACE: Final = 4
_SURE_SESSIONS: Final = 2
# Things that a server refuses, by the stage of the session.
_REFUSED: Final = {
    "tls": "the encryption",
    "login": "the login",
    "folder": "the folder",
    "search": "the search",
    "message": "a message",
    "mark": "to mark messages as read",
    "move": "to move messages",
}


class EgressImapClients(SessionClients):
    """The clients of all workspaces. Implements `ports.ImapClients`.

    Args:
        lookups: The slots for lookups of names, which requests take too.
        processes: Processes that have such clients. Their sessions together keep the limits of one.
    """

    def __init__(self, policy: EgressPolicy, lookups: FairSlots, *, processes: int = 1) -> None:
        slots = FairSlots.of_process(processes, total=_SESSIONS, share=_SESSIONS_OF_A_WORKSPACE, sure=_SURE_SESSIONS)
        super().__init__(policy, lookups, slots, name="imap", use="read e-mails")

    def of(self, workspace_id: WorkspaceId) -> "_WorkspaceImap":
        return _WorkspaceImap(self, workspace_id)


@static_dataclass(frozen=True, slots=True)
class _WorkspaceImap:
    """Implements `plugin.ImapClient` for the nodes of one workspace."""

    clients: EgressImapClients
    workspace_id: WorkspaceId

    async def run(self, server: ImapServer, work: Callable[[ImapSession], T], *, seconds: float) -> T:
        deadline = time.monotonic() + seconds
        session = partial(_run, server=server, work=work, deadline=deadline)
        return await self.clients.run(self.workspace_id, server.host, server.port, session)


def _run(connection: EgressConnection, server: ImapServer, work: Callable[[ImapSession], T], *, deadline: float) -> T:
    """Do the work in a session on this thread. Raises: NodeFailure."""
    wire: ImapWire | None = None
    try:
        wire = ImapWire(connection.open(), deadline=deadline)
        # Not before: where no file can be opened, a context is made without the certificates that it trusts.
        session = MailboxSession(wire, server, encrypt=lambda: wire.encrypt(ssl.create_default_context(), server.host))
        session.begin()
        result = work(session)
        session.end()
        return result
    except (OSError, InvalidAnswer, CommandRefused, Unsupported, ConnectionEnded, TooManyFound) as error:
        raise _failure(error, server) from None
    finally:
        if wire is not None:
            wire.close()
        connection.close()


def _failure(error: Exception, server: ImapServer) -> NodeFailure:
    shown = server_name(server.host, server.port)
    match error:
        case CommandRefused():
            type = "email.login" if error.stage == "login" else "email.refused"
            if error.code in PASSING:
                type = "email.unavailable"
            which = f" (UID {', '.join(map(str, error.uids))})" if error.uids else ""
            text = f"{shown} refused {_REFUSED[error.stage]}{which}: {error.reply}"
            return NodeFailure(type, text, data=_data(error))
        case Unsupported() if error.stage == "tls":
            return NodeFailure("connection.tls", f"{shown} does not offer STARTTLS, and nothing is sent without")
        case Unsupported():
            type = "email.login" if error.stage == "login" else "email.unsupported"
            return NodeFailure(type, f"{shown} does not offer {error}")
        case TooManyFound():
            text = "The search gives too many messages: narrow it by 'since', or begin at a later 'after_uid'"
            return NodeFailure("email.too_large", text)
        case ConnectionEnded():
            return NodeFailure("connection.lost", f"{shown} ended the connection: {error}")
        case InvalidAnswer():
            hint = "" if server.security == "tls" else ". Port 993 begins with TLS: 'security: tls'"
            return NodeFailure("email.invalid_answer", f"The answer of {shown} is not valid IMAP{hint}")
        case ssl.SSLCertVerificationError():
            return NodeFailure("connection.tls", f"No trusted TLS connection to {shown}: {error.verify_message}")
        case ssl.SSLError():
            hint = "" if server.security == "starttls" else ". Port 143 begins without TLS: 'security: starttls'"
            return NodeFailure("connection.tls", f"No TLS connection to {shown}: {error.reason}{hint}")
        case TimeoutError():
            return NodeFailure("timeout", f"{shown} did not answer in time")
        case _:
            return NodeFailure("connection.lost", f"The connection ended before the answer was complete: {shown}")


def _data(refusal: CommandRefused) -> JSON:
    uids = {"uids": list(refusal.uids)} if refusal.uids else {}
    return {"stage": refusal.stage, "code": refusal.code, "reply": refusal.reply, **uids}
