"""E-mails to people about their accounts."""

import structlog

from flowrunner.ports.callbacks import Mailer, MailFailed
from flowrunner.services.links import link_to

logger = structlog.get_logger()

MOST_NAME_CHARACTERS = 80


class Mails:
    """The sender of e-mails to accounts, where the installation can send them.

    Args:
        mailer: None if there is no SMTP server.
        public_url: The origin in links. Without it nothing is sent: a mailbox shows no path as a link, and the host
            that a request names may be anybody's.
    """

    def __init__(self, mailer: Mailer | None, *, public_url: str | None) -> None:
        self._mailer = mailer
        self._public_url = public_url

    @property
    def are_possible(self) -> bool:
        return self._mailer is not None and self._public_url is not None

    async def send(
        self, to: str, subject: str, text: str, *, message_id: str, page: str | None = None, token: str = ""
    ) -> bool:
        """Send a text, and return whether a server has taken it.

        Args:
            page: The page of a link that follows the text, with a token; None for no link.
        """
        if self._mailer is None or self._public_url is None:
            return False
        if page is not None:
            text = f"{text}\n\n{link_to(self._public_url, page, token)}"
        try:
            await self._mailer.send([to], subject, f"{text}\n", message_id=message_id)
        except MailFailed as error:
            logger.warning("mail.failed", reason=str(error), message=message_id)
            return False
        return True


def shown_name(name: str) -> str:
    """Return a name of somebody's choice as a short part of one line."""
    return " ".join("".join(c if c.isprintable() else " " for c in name[:MOST_NAME_CHARACTERS]).split())
