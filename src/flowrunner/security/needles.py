"""The texts to search for in order to find a secret: its canonical forms, and encodings without a canonical form."""

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Final

import yarl

from flowrunner.security.canonical import folded, views

# Shorter texts would also match where they are unrelated to the secret.
LEAST_BYTES: Final = 8
# Many servers have the same short paths.
_LEAST_TARGET: Final = 16
# The start of an escape at the end of a secret. The characters after the secret may complete it, and decoding the
# text then replaces both.
_STARTED_ESCAPE: Final = re.compile(
    rb"(?:%|%[0-9A-F]|%u[0-9A-F]{0,3}|\\|\\[0-3][0-7]?|\\x[0-9A-F]?|\\u[0-9A-F]{0,3}|\\u\{[0-9A-F]{0,6}"
    rb"|\\U[0-9A-F]{0,7}|&|&[A-Z][0-9A-Z]{0,5}|&#[0-9]{0,7}|&#X[0-9A-F]{0,6})\Z",
    re.IGNORECASE,
)
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]")


def needles_of(secret: str) -> Iterable[bytes]:
    """Return the texts in the form in which folded views contain them."""
    raw = secret.encode("utf-8", "surrogatepass")
    # Also if it is short: the caller must reject values that are too short.
    found = {folded(raw) or raw: None}
    for form in (raw, *(url.encode("utf-8", "surrogatepass") for url in _urls(secret))):
        for view, _ in views(form, around=len(form), quotes=True):
            found[folded(view)] = None
            found[folded(_STARTED_ESCAPE.sub(b"", view))] = None
    for encoded in (*_base64(raw), *_base64_of_credentials(secret), raw.hex().encode()):
        found[folded(encoded)] = None
    return [needle for number, needle in enumerate(found) if number == 0 or len(needle) >= LEAST_BYTES]


def _urls(secret: str) -> Iterator[str]:
    """Yield a URL as clients send it, as browsers show it, and its path and query, which servers report."""
    if not _URL.match(secret):
        return
    try:
        url = yarl.URL(secret)
        plain = url.with_user(None) if url.user is not None else url
        yield from (str(url), str(plain), url.human_repr(), plain.human_repr())
    except (ValueError, TypeError):
        return
    if len(url.raw_path_qs) >= _LEAST_TARGET:
        yield url.raw_path_qs


def _base64(raw: bytes) -> Iterator[bytes]:
    """Yield the base64 characters of a value at each of the three alignments."""
    for offset in range(3):
        padded = b"\x00" * offset + raw
        # Characters at both ends that also depend on neighbouring bytes are removed.
        skip, whole = (0, 2, 3)[offset], len(padded) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(padded)[skip:whole]


def _base64_of_credentials(secret: str) -> Iterator[bytes]:
    """Yield the basic authentication that clients derive from user and password in a URL."""
    try:
        url = yarl.URL(secret) if _URL.match(secret) else None
        if url is not None and url.user is not None:
            yield from _base64(f"{url.user}:{url.password or ''}".encode())
    except (ValueError, TypeError):
        return
