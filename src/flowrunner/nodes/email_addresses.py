"""Addresses of e-mails."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flowrunner.domain.errors import quoted

if TYPE_CHECKING:
    from email.headerregistry import Address

# RFC 5321, 4.5.3.1.1 and .2: octets.
_MOST_LOCAL: Final = 64
_MOST_DOMAIN: Final = 253
_NAMED: Final = re.compile(r"([^<>]*)<([^<>]*)>")
# RFC 5322, 3.2.3, and RFC 6531, 3.3: the characters of a dot-atom, and all beyond ASCII.
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u00a1-\U0010ffff-]+"
_LOCAL: Final = re.compile(rf"{_ATOM}(\.{_ATOM})*")
_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """An address with the name of its owner, which may be empty.

    Attributes:
        domain: In ASCII, as DNS has it, and in lower case.
    """

    name: str
    local: str
    domain: str

    @property
    def address(self) -> str:
        return f"{self.local}@{self.domain}"

    def header(self) -> "Address":
        """Return the value for a header."""
        from email.headerregistry import Address

        return Address(display_name=self.name, username=self.local, domain=self.domain)


def email_address_of(text: str) -> EmailAddress:
    """Return one address, written `ada@example.com` or `Ada <ada@example.com>`.

    Raises:
        ValueError: It is none, or several, or its name has a line break or another control character.
    """
    named = _NAMED.fullmatch(text.strip())
    name, address = ("", text.strip()) if named is None else (named[1].strip(), named[2].strip())
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    local, _, given = address.rpartition("@")
    domain = _in_ascii(given)
    if (
        not _LOCAL.fullmatch(local)
        or not local.isprintable()
        or len(local.encode("utf-8", "replace")) > _MOST_LOCAL
        or not _DOMAIN.fullmatch(domain)
        or len(domain) > _MOST_DOMAIN
    ):
        several = ": write several as a list" if re.search("[,;]", text) else ""
        raise ValueError(f"{quoted(text)} is not an e-mail address{several}")
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise ValueError(f"{quoted(text)} has a line break or another control character")
    return EmailAddress(name, local, domain)


def _in_ascii(domain: str) -> str:
    """Return a domain as DNS has it, in the one case in which it is compared; empty if it has no such form."""
    if domain.isascii():
        return domain.lower()
    # Imported here, because few domains need it. The codec `idna` of Python turns ß into ss, which is another domain.
    from yarl import URL

    try:
        return URL.build(scheme="smtp", host=domain).raw_host or ""
    except ValueError:
        return ""
