"""The URL and the signing secret of a callback, which are sealed together."""

import re
import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Self
from urllib.parse import unquote, urlsplit

import msgspec

from flowrunner.domain.callbacks import WITH_SECRET_URL, Format
from flowrunner.domain.email_address import normal_email
from flowrunner.domain.errors import invalid
from flowrunner.domain.standard_webhooks import secret_of
from flowrunner.domain.values import rfc3339
from flowrunner.ports.callbacks import SealedCallback
from flowrunner.ports.secrets import ValueSealer

_KEY_BYTES: Final = 32
_MOST_ADDRESSES: Final = 5
_MAILTO: Final = "mailto:"
_SPECIAL: Final = re.compile(r"[\s<>()\[\]\\,;:\"]")


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The URL of a receiver, and the secret that signs what is sent to it.

    Attributes:
        previous: The secret before it, which signs too until ``previous_until`` (RFC 3339); both are "" without one.
    """

    url: str
    secret: str
    previous: str = ""
    previous_until: str = ""

    @classmethod
    def new(cls, url: str) -> Self:
        return cls(url=url, secret=secret_of(secrets.token_bytes(_KEY_BYTES)))

    @classmethod
    def opened(cls, vault: ValueSealer, callback: SealedCallback) -> Self:
        """Raises: WrongKey."""
        text = vault.open(callback.view.workspace_id, callback.sealed, callback.data_key)
        return cls(**msgspec.json.decode(text, type=dict[str, str]))

    @property
    def text(self) -> str:
        fields = {"url": self.url, "secret": self.secret}
        if self.previous:
            fields |= {"previous": self.previous, "previous_until": self.previous_until}
        return msgspec.json.encode(fields).decode()

    def rotated(self, *, until: datetime) -> Self:
        """Return the credentials with a new secret, beside which the present one is good until then."""
        secret = secret_of(secrets.token_bytes(_KEY_BYTES))
        return replace(self, secret=secret, previous=self.secret, previous_until=rfc3339(until))

    def previous_at(self, now: datetime) -> str | None:
        """Return the secret before this one, if it still signs."""
        return self.previous if self.previous and rfc3339(now) < self.previous_until else None

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(unquote(address) for address in self.url.removeprefix(_MAILTO).split(","))

    @property
    def receivers(self) -> tuple[str, ...]:
        """Return what tells receivers apart: the normalized mailboxes, or the URL."""
        return tuple(map(normal_email, self.addresses)) if self.url.startswith(_MAILTO) else (self.url,)


def _is_mailable(address: str) -> bool:
    """Return whether a text is one address, without characters that have a meaning in a header of addresses."""
    try:
        normal_email(address)
    except ValueError:
        return False
    return not _SPECIAL.search(address)


def shown_address(url: str, format: Format) -> str:
    """Return a URL without what could be a credential. Raises: InvalidInput if the format cannot have it."""
    if format == "email":
        if not url.startswith(_MAILTO):
            raise invalid("url", "must be an e-mail address: mailto:ops@example.com")
        addresses = url.removeprefix(_MAILTO).split(",")
        if len(addresses) > _MOST_ADDRESSES:
            raise invalid("url", f"has more than {_MOST_ADDRESSES} addresses")
        if not all(_is_mailable(unquote(address)) for address in addresses):
            raise invalid("url", "must be e-mail addresses: mailto:ops@example.com")
        return url
    if not url.isprintable() or " " in url:
        raise invalid("url", "must not contain spaces or control characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise invalid("url", "is not a URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise invalid("url", "must begin with https:// or http:// and contain a host")
    if "@" in parts.netloc:
        raise invalid("url", "must not contain a user and a password")
    netloc = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{netloc}" + ("" if port is None else f":{port}")
    if format in WITH_SECRET_URL:
        return f"{origin}/…"
    return f"{origin}{parts.path}" + ("?…" if parts.query else "")
