"""The store of e-mails that are not sent yet, their sender, and the tokens in their links."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMail:
    """An e-mail of the store; its fields are those of `OutgoingMail`.

    Attributes:
        failures: Attempts to send it so far.
    """

    id: str
    to: str
    subject: str
    text: str
    page: str | None
    seed: str | None
    expires_at: datetime
    failures: int


class OutgoingMailStore(Protocol):
    """E-mails that are not sent yet. An audit entry with e-mails adds them in its own commit."""

    async def next_due(self) -> datetime | None:
        """Return when the next attempt is due; None if there is no e-mail."""
        ...

    async def due(self, *, now: datetime, limit: int) -> Sequence[QueuedMail]:
        """Return due e-mails, in the order in which they became due."""
        ...

    async def postpone(self, id: str, *, until: datetime) -> None:
        """Count a failed attempt; the next one is due at this time."""
        ...

    async def delete(self, id: str) -> None: ...

    async def purge(self, *, now: datetime, limit: int) -> int:
        """Delete at most ``limit`` expired e-mails; return their number."""
        ...


class MailedTokens(Protocol):
    """The maker of tokens for links in e-mails. A token with its signature proves that its holder reads the mailbox."""

    def new(self) -> tuple[str, str]:
        """Return a token, and the seed that it is derived from, which is useless without a key."""
        ...

    def derived(self, seed: str) -> str | None:
        """Return the token of a seed; None if its key is gone."""
        ...

    def mailed(self, token: str) -> str:
        """Return a token with a signature."""
        ...

    def read(self, text: str) -> tuple[str, bool]:
        """Return the token, and whether it has a signature of this installation."""
        ...


class Mailer(Protocol):
    """The sender of e-mails."""

    async def send(self, to: Sequence[str], subject: str, text: str, *, message_id: str) -> Mapping[str, int]:
        """Send an e-mail, and return the recipients that the server has refused, each with its code.

        Raises: MailFailed, also if all recipients were refused.
        """
        ...


class MailFailed(Exception):
    """The failure to send an e-mail; the message is a kind of error, without any text of the server."""
