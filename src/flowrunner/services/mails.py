"""E-mails to people about their accounts, as changes add them to their audit entries."""

from datetime import timedelta
from typing import Final

from flowrunner.domain.mails import OutgoingMail
from flowrunner.domain.values import AccountId
from flowrunner.ids import new_id
from flowrunner.ports.clock import Clock

MOST_NAME_CHARACTERS: Final = 80
# An e-mail without a link is still of use after a long outage of the mail server.
_LIFE: Final = timedelta(days=2)


class Mails:
    """The maker of e-mails to accounts, where the installation can send them.

    Args:
        are_possible: There are an SMTP server and a public address. Without the latter nothing is sent: a mailbox shows
            no path as a link, and the host that a request names may be anybody's.
    """

    def __init__(self, clock: Clock, *, are_possible: bool) -> None:
        self._clock = clock
        self.are_possible = are_possible

    def make(
        self,
        account_id: AccountId,
        subject: str,
        text: str,
        *,
        to: str | None = None,
        page: str | None = None,
        seed: str | None = None,
        life: timedelta = _LIFE,
    ) -> tuple[OutgoingMail, ...]:
        """Return an e-mail for an audit entry; nothing if the installation sends none.

        Args: as the fields of `OutgoingMail`.
        """
        if not self.are_possible:
            return ()
        now = self._clock.now()
        mail = OutgoingMail(
            id=new_id("mail", now),
            account_id=account_id,
            to=to,
            subject=subject,
            text=text,
            page=page,
            seed=seed,
            created_at=now,
            expires_at=now + life,
        )
        return (mail,)


def shown_name(name: str) -> str:
    """Return a name that somebody has chosen as a short part of one line."""
    return " ".join("".join(c if c.isprintable() else " " for c in name[:MOST_NAME_CHARACTERS]).split())
