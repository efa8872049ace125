"""Requests as values: origin, path, headers and body, without any I/O."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

QueryValue: TypeAlias = str | int | float | bool | Sequence[str] | None
Query: TypeAlias = Mapping[str, QueryValue]

API: Final = "/api/v1"
DEFAULT_URL: Final = "http://127.0.0.1:8080"
# Paths that do not belong to the API.
_OUTSIDE: Final = re.compile(r"/(?:api|hooks)/|/(?:healthz|readyz|metrics)(?:\?|$)")
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_TARGET: Final = re.compile(r"/(?!/)[\x21-\x22\x24-\x7e]*")
_BLANK: Final = re.compile(r"[\x00-\x20\x7f]")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_HEADER: Final = re.compile(r"[\x20-\x7e\t]*")


@dataclass(frozen=True, slots=True)
class Origin:
    """The server that a client talks to."""

    is_secure: bool
    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> "Origin":
        """Return the origin of a URL such as `https://flows.example.com`. Raises: ValueError."""
        url = url.strip()
        if _BLANK.search(url):
            # `urlsplit` leaves out line breaks: the token would go to another host than the one that is shown.
            raise ValueError("The URL of the server must not have spaces or control characters")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                "The URL of the server must begin with http:// or https:// and name a host, as in http://127.0.0.1:8080"
            )
        if parts.username is not None or parts.password is not None:
            raise ValueError("The URL of the server must not have a user or a password: give a token instead")
        if parts.query or parts.fragment:
            raise ValueError("The URL of the server must not have a query or a fragment")
        try:
            parts.hostname.encode("idna")
        except UnicodeError:
            raise ValueError(f"The URL of the server must name a host: {parts.hostname!r} is none") from None
        prefix = parts.path.rstrip("/")
        if prefix and not _TARGET.fullmatch(prefix):
            raise ValueError("The path in the URL of the server has characters that must be percent-encoded")
        is_secure = parts.scheme == "https"
        return cls(is_secure, parts.hostname, parts.port or (443 if is_secure else 80), prefix)

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.is_secure else 'http'}://{self.authority}{self.prefix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to the API.

    Attributes:
        target: The path with its query, below the prefix of the origin.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)

    @property
    def is_repeatable(self) -> bool:
        """A second one does nothing more."""
        return self.method in _IDEMPOTENT or any(name.lower() == "idempotency-key" for name in self.headers)


def request(
    method: str,
    path: str,
    *,
    query: Query | None = None,
    json: Any = None,
    content: bytes | str | None = None,
    content_type: str | None = None,
    headers: Mapping[str, str | None] | None = None,
    idempotency_key: str | bool | None = None,
) -> Request:
    """Return a request.

    Args:
        path: Below `/api/v1`, unless it begins with `/api/`.
        query: Parameters; those that are None are left out.
        json: A value for the body.
        content: A body as it is, with its `content_type`.
        headers: Further headers; those that are None are left out.
        idempotency_key: A key of the caller's, or True for one made here. With a key, a POST is repeated where an
            answer was lost.

    Raises:
        ValueError: The request could not be sent as it is.
    """
    body, media_type = _body(json, content, content_type)
    if idempotency_key == "":
        raise ValueError("The idempotency key is empty")
    key = new_key() if idempotency_key is True else idempotency_key or None
    kept = merged(headers or {}, {"Content-Type": media_type, "Idempotency-Key": key})
    for name, value in kept.items():
        if not _HEADER.fullmatch(value):
            raise ValueError(f"The header {name} has characters that a header cannot have")
    if not _TARGET.fullmatch(path):
        raise ValueError("A path begins with one '/', and its other characters are percent-encoded")
    target = (path if _OUTSIDE.match(path) else f"{API}{path}") + _encoded(query or {}, more="?" in path)
    return Request(method=method.upper(), target=target, headers=kept, body=body)


def merged(*headers: Mapping[str, str | None]) -> dict[str, str]:
    """Return all headers that are not None. A later one replaces an earlier one, however its name is written."""
    found = {name.lower(): (name, value) for each in headers for name, value in each.items() if value is not None}
    return dict(found.values())


def key_or_new(key: str | None) -> str | bool:
    """Return what `request` takes for the key of a caller, or for one made there if none is given."""
    return True if key is None else key


def segment(value: str | int) -> str:
    """Return a part of a path, such as an id. Raises: ValueError: A path cannot have it."""
    text = str(value)
    if text in ("", ".", ".."):
        raise ValueError(f"{text!r} is not an id")
    return quote(text, safe="")


def segments(value: str) -> str:
    """Return parts of a path that has slashes, such as the key of a signal. Raises: ValueError."""
    return "/".join(segment(part) for part in value.split("/"))


def new_key() -> str:
    return f"client-{os.urandom(16).hex()}"


def draw() -> float:
    """Return a uniform sample from [0, 1)."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


def authorization(token: str) -> str:
    """Return the header. Raises: ValueError, which does not contain the token."""
    if not _TOKEN.fullmatch(token):
        raise ValueError("The token is empty or has characters that no token has, such as a line break")
    return f"Bearer {token}"


def _body(value: Any, content: bytes | str | None, content_type: str | None) -> tuple[bytes | None, str | None]:
    if content is not None:
        return content.encode() if isinstance(content, str) else content, content_type or "application/octet-stream"
    if value is None:
        return None, None
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(), "application/json"


def _encoded(query: Query, *, more: bool) -> str:
    pairs = [
        (name, _text(item))
        for name, value in query.items()
        if value is not None
        for item in (value if isinstance(value, (list, tuple)) else (value,))
    ]
    return f"{'&' if more else '?'}{urlencode(pairs)}" if pairs else ""


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
