"""E-mails to people about their accounts."""

from dataclasses import dataclass
from datetime import datetime

from flowrunner.domain.values import AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMail:
    """An e-mail that is stored in the commit of what it tells of, and sent afterwards.

    Attributes:
        account_id: The account that it is about or that has caused it. The number of its unsent e-mails is limited.
        to: The address; None for the one that the account has, if that is confirmed.
        page: The page of the interface that a link below the text leads to; None for no link.
        seed: What the token of that link is derived from, with a key of the installation.
        expires_at: When it is given up.
    """

    id: str
    account_id: AccountId
    to: str | None
    subject: str
    text: str
    page: str | None = None
    seed: str | None = None
    created_at: datetime
    expires_at: datetime
