"""Who uses FlowRunner: accounts and what their role lets them do."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from flowrunner.domain.errors import Fault
from flowrunner.domain.values import AccountId, SessionId

Role: TypeAlias = Literal["admin", "user"]

MIN_PASSWORD_CHARACTERS: Final = 12
MAX_PASSWORD_CHARACTERS: Final = 1024

# One "@", no spaces or control characters, a dot-free local domain allowed: the mail
# server decides what exists, this only stops what cannot be an address.
_EMAIL: Final = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    id: AccountId
    name: str
    email: str
    role: Role
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes a request: an account, by one of its sessions."""

    account_id: AccountId
    role: Role
    session_id: SessionId
    expires_at: datetime

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


def normal_email(text: str) -> str:
    """The form in which an address is stored and compared.

    Raises:
        ValueError: If it is not an address.
    """
    email = unicodedata.normalize("NFC", text.strip()).lower()
    if not _EMAIL.fullmatch(email):
        raise ValueError("must be an e-mail address such as name@example.com")
    return email


def password_faults(password: str, *, email: str, name: str) -> list[Fault]:
    """What is wrong with a new password; empty when nothing is.

    Length decides, not the mix of characters (OWASP ASVS 5.0, V6.2). Passwords that are one
    repeated character, a run, or built around the account's own words are refused.
    """

    def fault(code: str, message: str) -> list[Fault]:
        return [Fault(path="password", code=code, message=message)]

    if len(password) < MIN_PASSWORD_CHARACTERS:
        return fault("too_short", f"must have at least {MIN_PASSWORD_CHARACTERS} characters")
    if len(password) > MAX_PASSWORD_CHARACTERS:
        return fault("too_long", f"must have at most {MAX_PASSWORD_CHARACTERS} characters")
    folded = password.casefold()
    if len(set(folded)) < 4:
        return fault("too_simple", "must not repeat a few characters")
    steps = {ord(b) - ord(a) for a, b in pairwise(folded)}
    if len(steps) == 1:
        return fault("too_simple", "must not be a run of characters")
    for word in (*_COMMON_WORDS, email.partition("@")[0], name.casefold()):
        rest = folded.replace(word.casefold(), "") if len(word) >= 4 else folded
        if len(rest) < min(6, len(folded)):
            return fault("too_common", "is too easy to guess: add words that nobody expects")
    return []


# The stems around which the most leaked long passwords are built.
_COMMON_WORDS: Final = (
    "password", "passwort", "qwerty", "qwertyuiop", "letmein", "welcome", "administrator",
    "admin", "iloveyou", "flowrunner", "changeme", "1234567890", "123456789", "abc123", "1q2w3e4r",
)  # fmt: skip
